//! Modules: identities, twins, queries and jobs. What connected modules do is tested with MQTT.

use serde_json::{Value, json};

use crate::harness::Hub;

const ANY_VERSION: &[(&str, &str)] = &[("if-match", "\"*\"")];

/// The primary key in the document of an identity.
fn primary_key(document: &Value) -> &str {
    document["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_own_code() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let patch = json!({"tags": {"a": 1}}).to_string();
    let call = json!({"methodName": "m"}).to_string();
    for (device, module, code) in [
        ("d", "nothing", "ModuleNotFound"),
        ("d", "no%20name", "ModuleNotFound"),
        ("nobody", "m", "DeviceNotFound"),
        ("no%20name", "m", "DeviceNotFound"),
    ] {
        let identity = format!("/devices/{device}/modules/{module}");
        let twin = format!("/twins/{device}/modules/{module}");
        let methods = format!("{twin}/methods");
        for (method, path, body) in [
            ("GET", &identity, ""),
            ("DELETE", &identity, ""),
            ("GET", &twin, ""),
            ("PATCH", &twin, &patch),
            ("POST", &methods, &call),
        ] {
            let reply = hub
                .send("iothubowner", method, path, ANY_VERSION, body)
                .await;
            assert_eq!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.code(), code, "{method} {path}");
        }
    }
    for (path, code) in [
        ("/devices/d/modules/nothing", "ModuleNotFound"),
        ("/devices/nobody/modules/m", "DeviceNotFound"),
        ("/devices/d/modules/no%20name", "ArgumentInvalid"),
    ] {
        let change = hub
            .send("iothubowner", "PUT", path, ANY_VERSION, "{}")
            .await;
        assert_eq!(change.code(), code, "{path}");
    }
    for path in ["/devices/nobody/modules/m", "/devices/no%20name/modules/m"] {
        assert_eq!(
            hub.ask("PUT", path, json!({})).await.code(),
            "DeviceNotFound"
        );
    }
    let modules = hub.ask("GET", "/devices/nobody/modules", Value::Null).await;
    assert_eq!(modules.code(), "DeviceNotFound");
    hub.stop().await;
}

#[tokio::test]
async fn a_module_is_created_changed_and_deleted_with_etags() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d%231", json!({})).await;
    let path = "/devices/d%231/modules/$m%23";
    let body = json!({
        "deviceId": "d#1", "moduleId": "$m#", "managedBy": "depot",
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
    });
    let reply = hub.ask("PUT", path, body.clone()).await;
    assert_eq!(reply.status, 200);
    let created = reply.json();
    let mut members: Vec<_> = created.as_object().unwrap().keys().collect();
    members.sort_unstable();
    let expected = [
        "authentication",
        "cloudToDeviceMessageCount",
        "connectionState",
        "connectionStateUpdatedTime",
        "deviceId",
        "etag",
        "generationId",
        "lastActivityTime",
        "managedBy",
        "moduleId",
    ];
    assert_eq!(members, expected);
    assert_eq!(
        (&created["moduleId"], &created["managedBy"]),
        (&json!("$m#"), &json!("depot"))
    );
    assert_eq!(primary_key(&created).len(), 44, "a new key");
    assert_eq!(hub.done("GET", path, Value::Null).await, created);
    let taken = hub.ask("PUT", path, body.clone()).await;
    assert_eq!(
        (taken.status.as_u16(), taken.code().as_str()),
        (409, "ModuleAlreadyExistsOnDevice")
    );

    let change = json!({"moduleId": "$m#"}).to_string();
    let put = |etag| hub.send("iothubowner", "PUT", path, etag, &change);
    assert_eq!(
        put(&[("if-match", "\"bm8=\"")]).await.code(),
        "PreconditionFailed"
    );
    let quoted = format!("\"{}\"", created["etag"].as_str().unwrap());
    let first = [("if-match", quoted.as_str())];
    let changed = put(&first).await.json();
    assert_ne!(changed["etag"], created["etag"]);
    assert_eq!(changed["managedBy"], Value::Null);
    assert_eq!(changed["generationId"], created["generationId"]);
    assert_eq!(
        primary_key(&changed),
        primary_key(&created),
        "keys that are not named stay"
    );
    assert_eq!(put(ANY_VERSION).await.status, 200);

    let delete = |etag| hub.send("iothubowner", "DELETE", path, etag, "");
    assert_eq!(delete(&first).await.code(), "PreconditionFailed");
    let gone = delete(ANY_VERSION).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(delete(ANY_VERSION).await.code(), "ModuleNotFound");

    let again = hub.done("PUT", path, body).await;
    assert_ne!(again["generationId"], created["generationId"]);
    assert_eq!(delete(&first).await.code(), "PreconditionFailed");
    hub.stop().await;
}

#[tokio::test]
async fn what_no_module_can_be_is_refused() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    for (module, body, part) in [
        ("no%2Fname", json!({}), "module id"),
        ("m", json!({"moduleId": "n"}), "moduleId"),
        ("m", json!({"deviceId": "other"}), "deviceId"),
        ("m", json!({"managedBy": "x".repeat(129)}), "managedBy"),
        (
            "m",
            json!({"authentication": {"symmetricKey": {"secondaryKey": "c2hvcnQ="}}}),
            "secondaryKey",
        ),
    ] {
        let path = format!("/devices/d/modules/{module}");
        let reply = hub.ask("PUT", &path, body).await;
        assert_eq!(reply.code(), "ArgumentInvalid", "{part}");
        let message = reply.json()["Message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{message}");
    }
    let modules = hub.done("GET", "/devices/d/modules", Value::Null).await;
    assert_eq!(modules, json!([]));
    hub.stop().await;
}

#[tokio::test]
async fn a_device_lists_up_to_fifty_modules() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    for n in 0..50 {
        hub.done("PUT", &format!("/devices/d/modules/m{n}"), json!({}))
            .await;
    }
    let refused = hub
        .ask("PUT", "/devices/d/modules/one-more", json!({}))
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (413, "TooManyModulesOnDevice")
    );
    let modules = hub.done("GET", "/devices/d/modules", Value::Null).await;
    let modules = modules.as_array().unwrap();
    assert_eq!(modules.len(), 50);
    let last = hub.done("GET", "/devices/d/modules/m49", Value::Null).await;
    assert_eq!(modules[49], last);
    let statistics = hub.done("GET", "/statistics/devices", Value::Null).await;
    assert_eq!(statistics["totalDeviceCount"], 1, "modules are no devices");
    hub.stop().await;
}

#[tokio::test]
async fn an_edge_device_comes_with_its_scope_and_its_modules() {
    let hub = Hub::start().await;
    let edge = json!({"capabilities": {"iotEdge": true}});
    let gate = hub.done("PUT", "/devices/gate", edge.clone()).await;
    let scope = gate["deviceScope"].as_str().unwrap();
    let number = scope.strip_prefix("ms-azure-iot-edge://gate-").unwrap();
    assert!(number.parse::<u64>().is_ok(), "{scope}");
    let modules = hub.done("GET", "/devices/gate/modules", Value::Null).await;
    let names: Vec<_> = modules
        .as_array()
        .unwrap()
        .iter()
        .map(|module| (&module["moduleId"], &module["managedBy"]))
        .collect();
    let by = json!("iotEdge");
    assert_eq!(
        names,
        [(&json!("$edgeAgent"), &by), (&json!("$edgeHub"), &by)]
    );
    assert_ne!(primary_key(&modules[0]), primary_key(&modules[1]));
    assert_ne!(primary_key(&modules[0]), primary_key(&gate));

    let agent = "/devices/gate/modules/$edgeAgent";
    let kept = hub.ask("DELETE", agent, Value::Null).await;
    assert_eq!(
        (kept.status.as_u16(), kept.code().as_str()),
        (400, "InvalidOperation")
    );

    let leaf = hub
        .done("PUT", "/devices/leaf", json!({"deviceScope": scope}))
        .await;
    assert_eq!(
        (&leaf["deviceScope"], &leaf["parentScopes"]),
        (&json!(scope), &json!([scope]))
    );

    hub.done("PUT", "/devices/later", json!({})).await;
    let edge = edge.to_string();
    let later = hub
        .send("iothubowner", "PUT", "/devices/later", ANY_VERSION, &edge)
        .await
        .json();
    assert_ne!(later["deviceScope"], gate["deviceScope"]);
    let modules = hub.done("GET", "/devices/later/modules", Value::Null).await;
    assert_eq!(modules.as_array().unwrap().len(), 2);
    hub.stop().await;
}

#[tokio::test]
async fn keys_of_modules_are_renewed() {
    let hub = Hub::start().await;
    let device = hub.done("PUT", "/devices/d", json!({})).await;
    let module = hub.done("PUT", "/devices/d/modules/m", json!({})).await;
    let request = json!({"policyKey": "primaryKey", "devices": [
        {"id": "d", "moduleId": "m"},
        {"id": "d", "moduleId": "no name"},
        {"id": "nobody", "moduleId": "m"},
    ]});
    let result = hub.done("POST", "/devices/keys/regenerate", request).await;
    let errors: Vec<_> = result["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["moduleId"].clone(), error["errorCode"].clone()))
        .collect();
    assert_eq!(
        errors,
        [
            (json!("no name"), json!("ModuleNotFound")),
            (json!("m"), json!("DeviceNotFound"))
        ]
    );
    let renewed = hub.done("GET", "/devices/d/modules/m", Value::Null).await;
    assert_ne!(primary_key(&renewed), primary_key(&module));
    let untouched = hub.done("GET", "/devices/d", Value::Null).await;
    assert_eq!(untouched, device);
    hub.stop().await;
}

#[tokio::test]
async fn a_put_undoes_no_renewal_of_keys() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let renewal = json!({"policyKey": "primaryKey", "devices": [{"id": "d"}]});
    let mut seen = std::collections::HashSet::new();
    for round in 0..20 {
        let change = json!({"statusReason": round.to_string()}).to_string();
        let put = hub.send("iothubowner", "PUT", "/devices/d", ANY_VERSION, &change);
        let renew = hub.done("POST", "/devices/keys/regenerate", renewal.clone());
        let (put, renewed) = tokio::join!(put, renew);
        assert_eq!(put.status, 200);
        assert_eq!(renewed["errors"], json!([]));
        let now = hub.done("GET", "/devices/d", Value::Null).await;
        assert!(
            seen.insert(primary_key(&now).to_owned()),
            "the key of an earlier round is back"
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_put_enables_no_module_that_is_disabled() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let off = json!({"id": "d", "moduleId": "m", "status": "disabled", "statusReason": "broken"});
    hub.done("POST", "/devices", json!([off])).await;
    let path = "/devices/d/modules/m";
    let body = json!({"managedBy": "depot"}).to_string();
    let put = hub.send("iothubowner", "PUT", path, ANY_VERSION, &body);
    assert_eq!(put.await.json()["managedBy"], "depot");
    let named = json!({"id": "d", "moduleId": "m", "managedBy": "depot"});
    for twin in [None, Some(json!([named]))] {
        if let Some(again) = twin {
            hub.done("POST", "/devices", again).await;
        }
        let twin = hub.done("GET", "/twins/d/modules/m", Value::Null).await;
        assert_eq!(
            (&twin["status"], &twin["statusReason"]),
            (&json!("disabled"), &json!("broken"))
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn twins_of_modules_are_patched_queried_and_gone_with_their_device() {
    let hub = Hub::start().await;
    for (device, module) in [("d", "m"), ("d", "n"), ("e", "m")] {
        let path = format!("/devices/{device}");
        hub.ask("PUT", &path, json!({})).await;
        let body = json!({"managedBy": format!("by-{device}")});
        hub.done("PUT", &format!("{path}/modules/{module}"), body)
            .await;
    }
    let patch = json!({"tags": {"ring": 1}, "properties": {"desired": {"speed": 3}}});
    let twin = hub.done("PATCH", "/twins/d/modules/m", patch).await;
    assert_eq!(
        (&twin["deviceId"], &twin["moduleId"], &twin["tags"]),
        (&json!("d"), &json!("m"), &json!({"ring": 1}))
    );
    assert_eq!(twin["managedBy"], "by-d");
    assert_eq!(
        hub.done("GET", "/twins/d/modules/m", Value::Null).await,
        twin
    );
    let of_device = hub.done("GET", "/twins/d", Value::Null).await;
    assert_eq!(of_device["tags"], json!({}), "its device has its own");
    assert!(of_device.get("moduleId").is_none());

    let names = async |condition: &str| {
        let query = format!("SELECT * FROM devices.modules WHERE {condition}");
        let rows = hub
            .done("POST", "/devices/query", json!({"query": query}))
            .await;
        let name = |row: &Value| {
            let part = |name: &str| row[name].as_str().unwrap().to_owned();
            format!("{}/{}", part("deviceId"), part("moduleId"))
        };
        rows.as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names("tags.ring = 1").await, ["d/m"]);
    assert_eq!(names("moduleId = 'm'").await, ["d/m", "e/m"]);
    assert_eq!(names("deviceId = 'd'").await, ["d/m", "d/n"]);
    assert_eq!(names("managedBy = 'by-e'").await, ["e/m"]);

    hub.done("DELETE", "/devices/d", Value::Null).await;
    assert_eq!(names("IS_DEFINED(moduleId)").await, ["e/m"]);
    hub.done("PUT", "/devices/d", json!({})).await;
    let modules = hub.done("GET", "/devices/d/modules", Value::Null).await;
    assert_eq!(modules, json!([]));
    hub.done("PUT", "/devices/d/modules/m", json!({})).await;
    let fresh = hub.done("GET", "/twins/d/modules/m", Value::Null).await;
    assert_eq!(fresh["tags"], json!({}));
    assert_eq!(fresh["properties"]["desired"]["$version"], 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_twin_job_reaches_the_modules_it_selects() {
    let hub = Hub::start().await;
    for device in ["d", "e"] {
        let path = format!("/devices/{device}");
        hub.done("PUT", &path, json!({})).await;
        for module in ["m", "n"] {
            hub.done("PUT", &format!("{path}/modules/{module}"), json!({}))
                .await;
        }
    }
    let job = json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "tags": {"ring": 2}},
        "queryCondition": "FROM devices.modules WHERE moduleId = 'm'",
    });
    hub.done("PUT", "/jobs/v2/j", job).await;
    let ended = hub.ended("j").await;
    assert_eq!(
        (
            &ended["status"],
            &ended["deviceJobStatistics"]["succeededCount"]
        ),
        (&json!("completed"), &json!(2))
    );
    for (path, tags) in [
        ("/twins/d/modules/m", json!({"ring": 2})),
        ("/twins/e/modules/m", json!({"ring": 2})),
        ("/twins/d/modules/n", json!({})),
        ("/twins/d", json!({})),
    ] {
        assert_eq!(
            hub.done("GET", path, Value::Null).await["tags"],
            tags,
            "{path}"
        );
    }
    hub.done("DELETE", "/devices/e", Value::Null).await;
    for (condition, expected) in [
        ("devices.jobs.jobId = 'j'", &["d/m", "e/m"][..]),
        ("devices.jobs.moduleId = 'm'", &["d/m", "e/m"]),
        ("devices.jobs.deviceId = 'd' AND moduleId = 'm'", &["d/m"]),
        ("moduleId = 'n'", &[]),
    ] {
        let query = format!("SELECT * FROM devices.jobs WHERE {condition}");
        let rows = hub
            .done("POST", "/devices/query", json!({"query": query}))
            .await;
        let rows: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                assert_eq!(row["status"], "completed");
                let part = |name: &str| row[name].as_str().unwrap().to_owned();
                format!("{}/{}", part("deviceId"), part("moduleId"))
            })
            .collect();
        assert_eq!(rows, expected, "{condition}");
    }
    hub.stop().await;
}
