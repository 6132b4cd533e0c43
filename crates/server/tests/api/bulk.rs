//! `POST /devices`: every mode, modules, what fails and how it is told.

use serde_json::{Value, json};

use crate::harness::Hub;

/// Devices or modules at fault with the names of their codes, in the order of the answer.
async fn faults(hub: &Hub, items: Value) -> Vec<(String, String)> {
    let reply = hub.ask("POST", "/devices", items).await;
    let result = reply.json();
    let errors = result["errors"].as_array().unwrap();
    assert_eq!(result["isSuccessful"], errors.is_empty(), "{result}");
    assert_eq!(reply.status, if errors.is_empty() { 200 } else { 400 });
    assert_eq!(result["warnings"], json!([]));
    let named = |error: &Value| match error["moduleId"].as_str() {
        Some(module) => format!("{}/{module}", error["deviceId"].as_str().unwrap()),
        None => error["deviceId"].as_str().unwrap().to_owned(),
    };
    let told = errors.iter().map(|error| {
        assert!(
            !error["errorStatus"].as_str().unwrap().is_empty(),
            "{error}"
        );
        (
            named(error),
            error["errorCode"].as_str().unwrap().to_owned(),
        )
    });
    told.collect()
}

fn told(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected
        .iter()
        .map(|(id, code)| ((*id).to_owned(), (*code).to_owned()));
    owned.collect()
}

async fn etag(hub: &Hub, path: &str) -> String {
    let document = hub.done("GET", path, Value::Null).await;
    document["etag"].as_str().unwrap().to_owned()
}

/// It is done.
const THERE: &str = "";

/// Mode, etag given, the code for a device that is not there, the code for one that is.
const MODES: &[(&str, Option<&str>, &str, &str)] = &[
    ("create", None, THERE, "DeviceAlreadyExists"),
    ("createOrUpdate", None, THERE, THERE),
    ("CREATEORUPDATE", Some("wrong"), THERE, THERE),
    (
        "createOrUpdateIfMatchETag",
        None,
        THERE,
        "PreconditionFailed",
    ),
    (
        "createOrUpdateIfMatchETag",
        Some("wrong"),
        THERE,
        "PreconditionFailed",
    ),
    ("createOrUpdateIfMatchETag", Some("right"), THERE, THERE),
    ("createOrUpdateIfMatchETag", Some("*"), THERE, THERE),
    ("update", None, "DeviceNotFound", THERE),
    ("updateIfMatchETag", None, "ArgumentNull", "ArgumentNull"),
    (
        "updateIfMatchETag",
        Some("wrong"),
        "DeviceNotFound",
        "PreconditionFailed",
    ),
    ("updateIfMatchETag", Some("right"), "DeviceNotFound", THERE),
    ("updateIfMatchETag", Some("*"), "DeviceNotFound", THERE),
    ("updateTwin", None, "DeviceNotFound", THERE),
    ("delete", None, "DeviceNotFound", THERE),
    ("deleteIfMatchETag", None, "ArgumentNull", "ArgumentNull"),
    (
        "deleteIfMatchETag",
        Some("wrong"),
        "DeviceNotFound",
        "PreconditionFailed",
    ),
    ("deleteIfMatchETag", Some("right"), "DeviceNotFound", THERE),
];

/// compat: REG-46
#[tokio::test]
async fn every_mode_decides_by_what_is_there() {
    let hub = Hub::start().await;
    for (row, (mode, given, absent, present)) in MODES.iter().copied().enumerate() {
        let (there, not_there) = (format!("there-{row}"), format!("absent-{row}"));
        hub.done("PUT", &format!("/devices/{there}"), json!({}))
            .await;
        let right = etag(&hub, &format!("/devices/{there}")).await;
        let mut items = json!([{"id": not_there}, {"id": there}]);
        for item in items.as_array_mut().unwrap() {
            item["importMode"] = json!(mode);
            item["statusReason"] = json!("changed");
            match given {
                None => {}
                Some("right") => item["eTag"] = json!(right),
                Some("wrong") => item["etag"] = json!("bm8="),
                Some(other) => item["eTag"] = json!(other),
            }
        }
        let mut expected = Vec::new();
        for (id, code) in [(&not_there, absent), (&there, present)] {
            if !code.is_empty() {
                expected.push((id.clone(), code.to_owned()));
            }
        }
        assert_eq!(faults(&hub, items).await, expected, "{mode} {given:?}");
        for (id, code, was_there) in [(&not_there, absent, false), (&there, present, true)] {
            let is_done = code.is_empty();
            let deletes = mode.starts_with("delete");
            let found = hub.ask("GET", &format!("/devices/{id}"), Value::Null).await;
            let is_there = if is_done { !deletes } else { was_there };
            assert_eq!(found.status == 200, is_there, "{mode} {given:?} {id}");
            if is_there {
                let writes_entry = is_done && mode != "updateTwin";
                let reason = found.json()["statusReason"].clone();
                assert_eq!(reason == "changed", writes_entry, "{mode} {given:?} {id}");
            }
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn twins_are_changed_by_their_own_modes() {
    let hub = Hub::start().await;
    let devices = json!([{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d"}]);
    assert_eq!(faults(&hub, devices).await, []);
    let right = etag(&hub, "/twins/b").await;
    let items = json!([
        {"id": "a", "importMode": "updateTwin", "tags": {"ring": 2}, "properties": {"desired": {"x": 1}}},
        {"id": "b", "importMode": "updateTwinIfMatchETag", "twinETag": right, "tags": {"ring": 3}},
        {"id": "c", "importMode": "updateTwinIfMatchETag", "twinETag": "AAAAAAAAAAc=", "tags": {"ring": 4}},
        {"id": "d", "importMode": "updateTwinIfMatchETag", "tags": {"ring": 5}},
        {"id": "nobody", "importMode": "updateTwin", "tags": {}},
    ]);
    let expected = [
        ("c", "PreconditionFailed"),
        ("d", "ArgumentNull"),
        ("nobody", "DeviceNotFound"),
    ];
    assert_eq!(faults(&hub, items).await, told(&expected));
    for (device, tags) in [
        ("a", json!({"ring": 2})),
        ("b", json!({"ring": 3})),
        ("c", json!({})),
        ("d", json!({})),
    ] {
        let twin = hub
            .done("GET", &format!("/twins/{device}"), Value::Null)
            .await;
        assert_eq!(twin["tags"], tags, "{device}");
    }
    let twin = hub.done("GET", "/twins/a", Value::Null).await;
    assert_eq!(twin["properties"]["desired"]["x"], 1);
    hub.stop().await;
}

/// compat: REG-45
#[tokio::test]
async fn a_first_twin_comes_with_the_device() {
    let hub = Hub::start().await;
    let device = json!({
        "id": "a", "importMode": "create", "tags": {"ring": 1},
        "properties": {
            "desired": {"x": 1, "$version": 9, "$metadata": {"$lastUpdated": "2031-01-01T00:00:00Z"}},
            "reported": {"y": 2, "$version": 4},
        },
    });
    assert_eq!(faults(&hub, json!([device])).await, []);
    let twin = hub.done("GET", "/twins/a", Value::Null).await;
    assert_eq!(twin["tags"], json!({"ring": 1}));
    let properties = &twin["properties"];
    assert_eq!(
        (
            &properties["desired"]["x"],
            &properties["desired"]["$version"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(properties["reported"].get("y"), None);
    assert_eq!(properties["reported"]["$version"], 1);

    // Of a device that is there, it is a change of its twin; one that cannot be leaves the device alone.
    let again = json!([
        {"id": "a", "tags": {"site": "b4"}},
        {"id": "b", "tags": {"a.b": 1}},
        {"id": "a2", "status": "disabled", "properties": {"desired": {"n": 9007199254740993_u64}}},
    ]);
    let expected = [("b", "ArgumentInvalid"), ("a2", "ArgumentInvalid")];
    assert_eq!(faults(&hub, again).await, told(&expected));
    let twin = hub.done("GET", "/twins/a", Value::Null).await;
    assert_eq!(twin["tags"], json!({"ring": 1, "site": "b4"}));
    for absent in ["/devices/b", "/devices/a2"] {
        assert_eq!(hub.ask("GET", absent, Value::Null).await.status, 404);
    }
    hub.stop().await;
}

#[tokio::test]
async fn modules_are_named_beside_their_device() {
    let hub = Hub::start().await;
    let items = json!([
        {"id": "a", "importMode": "create"},
        {"id": "a", "moduleId": "m", "importMode": "create", "managedBy": "us", "tags": {"k": 1}},
        {"id": "a", "moduleId": "n"},
        {"id": "nobody", "moduleId": "m"},
        {"id": "a", "moduleId": "no/thing"},
    ]);
    let expected = [
        ("nobody/m", "DeviceNotFound"),
        ("a/no/thing", "ArgumentInvalid"),
    ];
    assert_eq!(faults(&hub, items).await, told(&expected));
    let module = hub.done("GET", "/devices/a/modules/m", Value::Null).await;
    assert_eq!(module["managedBy"], "us");
    let twin = hub.done("GET", "/twins/a/modules/m", Value::Null).await;
    assert_eq!(twin["tags"], json!({"k": 1}));

    let tag = etag(&hub, "/devices/a/modules/m").await;
    let items = json!([
        {"id": "a", "moduleId": "m", "importMode": "create"},
        {"id": "a", "moduleId": "x", "importMode": "Update"},
        {"id": "a", "moduleId": "n", "importMode": "updateTwin", "properties": {"desired": {"v": 2}}},
        {"id": "a", "moduleId": "y", "importMode": "updateTwin"},
    ]);
    let expected = [
        ("a/m", "ModuleAlreadyExistsOnDevice"),
        ("a/x", "ModuleNotFound"),
        ("a/y", "ModuleNotFound"),
    ];
    assert_eq!(faults(&hub, items).await, told(&expected));
    let twin = hub.done("GET", "/twins/a/modules/n", Value::Null).await;
    assert_eq!(twin["properties"]["desired"]["v"], 2);

    let gone =
        json!([{"id": "a", "moduleId": "m", "importMode": "deleteIfMatchETag", "etag": tag}]);
    assert_eq!(faults(&hub, gone).await, []);
    let left = hub.done("GET", "/devices/a/modules", Value::Null).await;
    assert_eq!(left.as_array().unwrap().len(), 1);
    hub.stop().await;
}

/// compat: REG-47
#[tokio::test]
async fn failures_are_told_in_the_order_of_the_items() {
    let hub = Hub::start().await;
    hub.done("POST", "/devices", json!([{"id": "a"}, {"id": "c"}]))
        .await;
    let items = json!([
        {"id": "a", "importMode": "create"},
        {"id": "b"},
        {"id": "twice"},
        {"id": "c", "importMode": "updateTwinIfMatchETag"},
        {"id": "not/a/name"},
        {"id": "twice", "importMode": "delete"},
        {"id": "c", "moduleId": "m"},
        {"id": "never", "importMode": "Delete"},
        {"id": "d", "authentication": {"symmetricKey": {"primaryKey": "no base64"}}},
        {"id": "e", "statusReason": "x".repeat(129)},
    ]);
    let reply = hub.ask("POST", "/devices", items.clone()).await.json();
    let first = &reply["errors"][0];
    assert_eq!(
        (&first["operation"], first.get("moduleId")),
        (&json!("create"), None)
    );
    hub.done(
        "POST",
        "/devices",
        json!([{"id": "b", "importMode": "delete"}]),
    )
    .await;
    let expected = [
        ("a", "DeviceAlreadyExists"),
        ("twice", "DeviceDefinedMultipleTimes"),
        ("c", "ArgumentNull"),
        ("not/a/name", "ArgumentInvalid"),
        ("twice", "DeviceDefinedMultipleTimes"),
        ("never", "DeviceNotFound"),
        ("d", "ArgumentInvalid"),
        ("e", "ArgumentInvalid"),
    ];
    assert_eq!(faults(&hub, items).await, told(&expected));
    for (device, is_there) in [("b", true), ("twice", false), ("d", false), ("e", false)] {
        let found = hub
            .ask("GET", &format!("/devices/{device}"), Value::Null)
            .await;
        assert_eq!(found.status == 200, is_there, "{device}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_call_is_for_one_to_a_hundred() {
    let hub = Hub::start().await;
    let many =
        |count: usize| -> Value { (0..count).map(|n| json!({"id": format!("n{n}")})).collect() };
    let refused = hub.ask("POST", "/devices", many(101)).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (413, "TooManyDevices")
    );
    let refused = hub.ask("POST", "/devices", many(0)).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (400, "ArgumentInvalid")
    );
    for malformed in [
        json!({"id": "x"}),
        json!([{"importMode": "create"}]),
        json!([{"id": "x", "importMode": "replace"}]),
    ] {
        let refused = hub.ask("POST", "/devices", malformed.clone()).await;
        assert_eq!(refused.status, 400, "{malformed}");
        refused.code();
    }
    let numbers = hub.done("GET", "/statistics/devices", Value::Null).await;
    assert_eq!(numbers["totalDeviceCount"], 0);

    // A hundred devices with all the twin a device may have are one call.
    let tags: serde_json::Map<_, _> = (0..2)
        .map(|n| (format!("t{n}"), json!("x".repeat(3_900))))
        .collect();
    let desired: serde_json::Map<_, _> = (0..8)
        .map(|n| (format!("d{n}"), json!("x".repeat(4_000))))
        .collect();
    let mut full = many(100);
    for item in full.as_array_mut().unwrap() {
        item["tags"] = json!(tags);
        item["properties"] = json!({"desired": desired});
    }
    assert_eq!(faults(&hub, full).await, []);
    let numbers = hub.done("GET", "/statistics/devices", Value::Null).await;
    assert_eq!(numbers["totalDeviceCount"], 100);
    hub.stop().await;
}
