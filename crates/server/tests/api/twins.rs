//! Twins over the service API.

use serde_json::{Value, json};

use crate::harness::Hub;

#[tokio::test]
async fn a_twin_shows_its_sections_versions_and_identity() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let twin = hub.done("GET", "/twins/d", Value::Null).await;
    assert_eq!(
        (&twin["etag"], &twin["deviceEtag"]),
        (&json!("AAAAAAAAAAE="), &json!("MQ=="))
    );
    assert_eq!((&twin["version"], &twin["tags"]), (&json!(1), &json!({})));
    assert_eq!(twin["authenticationType"], "sas");
    assert_eq!(twin["statusUpdateTime"], "0001-01-01T00:00:00Z");
    let desired = &twin["properties"]["desired"];
    assert_eq!(
        (
            &desired["$version"],
            &desired["$metadata"]["$lastUpdatedVersion"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        twin["properties"]["reported"]["$metadata"].get("$lastUpdatedVersion"),
        None
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_patch_merges_and_moves_what_it_touches() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let patch = json!({
        "etag": "bm8=",
        "tags": {"site": "b4", "floor": 3},
        "properties": {"desired": {"rate": {"unit": "s", "value": 5}}, "reported": {"x": 1}},
    });
    let twin = hub.done("PATCH", "/twins/d", patch).await;
    assert_eq!(twin["etag"], "AAAAAAAAAAI=");
    let desired = &twin["properties"]["desired"];
    assert_eq!(desired["$version"], 2);
    assert_eq!(
        desired["$metadata"]["rate"]["value"]["$lastUpdatedVersion"],
        2
    );
    assert_eq!(twin["properties"]["reported"].get("x"), None);

    let twin = hub
        .done("PATCH", "/twins/d", json!({"tags": {"floor": null}}))
        .await;
    assert_eq!(twin["tags"], json!({"site": "b4"}));
    assert_eq!(
        (&twin["properties"]["desired"]["$version"], &twin["version"]),
        (&json!(2), &json!(3))
    );

    let cleared = json!({"tags": null, "properties": {"desired": null}});
    let twin = hub.done("PATCH", "/twins/d", cleared).await;
    assert_eq!(twin["tags"], json!({}));
    let desired = twin["properties"]["desired"].as_object().unwrap();
    assert!(
        desired.keys().all(|key| key.starts_with('$')),
        "{desired:?}"
    );
    assert_eq!(desired["$version"], 3);
    hub.stop().await;
}

#[tokio::test]
async fn a_patch_with_another_etag_or_over_a_limit_changes_nothing() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let send = |etag: &'static str, body: &'static str| {
        let hub = &hub;
        async move {
            let headers = [("if-match", etag)];
            hub.send("service", "PATCH", "/twins/d", &headers, body)
                .await
        }
    };
    assert_eq!(send("\"AAAA=\"", "{}").await.code(), "PreconditionFailed");
    for (body, part) in [
        (r#"{"tags":{"a.b":1}}"#, "a.b"),
        (r#"{"tags":{"a":9007199254740993}}"#, "tags.a"),
        (
            r#"{"properties":{"desired":{"a":{"$version":5}}}}"#,
            "$version",
        ),
        (r#"{"tags":[]}"#, "tags"),
    ] {
        let reply = send("\"*\"", body).await;
        assert_eq!(reply.code(), "ArgumentInvalid", "{body}");
        assert!(
            reply.json()["Message"].as_str().unwrap().contains(part),
            "{reply:?}"
        );
    }
    let large =
        json!({"tags": {"a": "x".repeat(4_000), "b": "x".repeat(4_000), "c": "x".repeat(400)}});
    assert_eq!(
        hub.ask("PATCH", "/twins/d", large).await.code(),
        "ArgumentInvalid"
    );
    assert_eq!(hub.done("GET", "/twins/d", Value::Null).await["version"], 1);
    assert_eq!(
        send("\"AAAAAAAAAAE=\"", r#"{"tags":{"a":1}}"#).await.status,
        200
    );
    assert_eq!(
        hub.ask("PATCH", "/twins/never", json!({})).await.code(),
        "DeviceNotFound"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_replacement_overwrites_the_sections_it_has() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let first = json!({
        "tags": {"site": "b4"},
        "properties": {"desired": {"rate": {"unit": "s", "value": 5}, "gone": 1}},
    });
    hub.done("PATCH", "/twins/d", first).await;

    // What was read is sent back whole, with a member more and one less.
    let mut read = hub.done("GET", "/twins/d", Value::Null).await;
    let desired = read["properties"]["desired"].as_object_mut().unwrap();
    desired.remove("gone");
    desired.insert("list".to_owned(), json!([1, {"n": null}]));
    desired["rate"]["value"] = Value::Null;
    read["properties"]["reported"]["never"] = json!(1);
    let headers = [("if-match", "\"*\"")];
    let reply = hub
        .send("service", "PUT", "/twins/d", &headers, &read.to_string())
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let twin = reply.json();
    assert_eq!(
        (&twin["etag"], &twin["version"]),
        (&json!("AAAAAAAAAAM="), &json!(3))
    );
    assert_eq!(twin["tags"], json!({"site": "b4"}));
    assert_eq!(twin["properties"]["reported"].get("never"), None);
    let desired = &twin["properties"]["desired"];
    assert_eq!(desired["rate"], json!({"unit": "s"}));
    assert_eq!(desired["list"], json!([1, {"n": null}]));
    let stamp = &desired["$metadata"]["$lastUpdated"];
    let leaf = json!({"$lastUpdated": stamp, "$lastUpdatedVersion": 3});
    let mut rate = leaf.clone();
    rate["unit"] = leaf.clone();
    let mut metadata = leaf.clone();
    metadata["rate"] = rate;
    metadata["list"] = leaf;
    assert_eq!(
        (&desired["$metadata"], &desired["$version"]),
        (&metadata, &json!(3))
    );

    let twin = hub.done("PUT", "/twins/d", json!({"tags": null})).await;
    assert_eq!((&twin["tags"], &twin["version"]), (&json!({}), &json!(4)));
    assert_eq!(twin["properties"]["desired"], *desired);
    let twin = hub
        .done("PUT", "/twins/d", json!({"properties": {"desired": {}}}))
        .await;
    let desired = twin["properties"]["desired"].as_object().unwrap();
    assert_eq!(
        desired.keys().collect::<Vec<_>>(),
        ["$metadata", "$version"]
    );
    assert_eq!(desired["$version"], 4);
    hub.stop().await;
}

#[tokio::test]
async fn a_replacement_with_another_etag_or_over_a_limit_changes_nothing() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let before = hub.done("GET", "/twins/d", Value::Null).await;
    let stale = [("if-match", "\"AAAAAAAAAAI=\"")];
    let body = json!({"tags": {"a": 1}}).to_string();
    let reply = hub.send("service", "PUT", "/twins/d", &stale, &body).await;
    assert_eq!(reply.code(), "PreconditionFailed");
    // The tags alone would fit.
    let half = json!({"tags": {"a": 1}, "properties": {"desired": {"a": "x".repeat(4_097)}}});
    let reply = hub.ask("PUT", "/twins/d", half).await;
    assert_eq!(reply.code(), "ArgumentInvalid");
    assert_eq!(hub.done("GET", "/twins/d", Value::Null).await, before);

    let known = [("if-match", "\"AAAAAAAAAAE=\"")];
    let reply = hub.send("service", "PUT", "/twins/d", &known, &body).await;
    assert_eq!(reply.json()["tags"], json!({"a": 1}));
    hub.stop().await;
}

/// Numbers come back as they went in, or not at all.
#[tokio::test]
async fn numbers_survive_the_wire_and_the_store() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({})).await;
    for method in ["PATCH", "PUT"] {
        for (sent, shown) in [
            ("4503599627370495", "4503599627370495"),
            ("-4503599627370496", "-4503599627370496"),
            ("9007199254740992.0", "9007199254740992.0"),
            ("-0", "-0.0"),
            ("1e300", "1e+300"),
            ("1E-7", "1e-7"),
            ("31.245270191439438", "31.245270191439438"),
            ("0.1", "0.1"),
            ("5e-324", "5e-324"),
        ] {
            let body = format!(r#"{{"tags":{{"n":{sent}}}}}"#);
            let reply = hub.send("service", method, "/twins/d", &[], &body).await;
            assert_eq!(reply.status, 200, "{sent}: {reply:?}");
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            let kept = format!(r#""tags":{{"n":{shown}}}"#);
            assert!(text.contains(&kept), "{sent}: {text}");
        }
    }
    hub.stop().await;
}
