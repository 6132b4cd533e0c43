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
        (r#"{"properties":{"desired":{"$version":5}}}"#, "$version"),
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
    assert_eq!(
        hub.ask("PUT", "/twins/d", json!({})).await.code(),
        "GenericMethodNotAllowed"
    );
    hub.stop().await;
}
