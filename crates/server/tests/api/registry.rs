//! Device identities: one at a time, and in numbers.

use serde_json::{Value, json};

use crate::harness::Hub;

#[tokio::test]
async fn a_device_is_created_changed_and_deleted_with_etags() {
    let hub = Hub::start().await;
    let node = json!({
        "deviceId": "d#1",
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
    });
    let created = hub.done("PUT", "/devices/d%231", node.clone()).await;
    assert_eq!(created["deviceId"], "d#1");
    assert_eq!(created["etag"], "MQ==");
    assert_eq!(
        (&created["status"], &created["connectionState"]),
        (&json!("enabled"), &json!("Disconnected"))
    );
    assert_eq!(created["statusUpdatedTime"], "0001-01-01T00:00:00Z");
    let key = created["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    assert_eq!(key.len(), 44, "a new key");

    assert_eq!(
        hub.ask("PUT", "/devices/d%231", node).await.code(),
        "DeviceAlreadyExists"
    );
    let disabled =
        json!({"deviceId": "d#1", "status": "disabled", "statusReason": "lost"}).to_string();
    let put = |etag| hub.send("iothubowner", "PUT", "/devices/d%231", etag, &disabled);
    assert_eq!(
        put(&[("if-match", "\"bm8=\"")]).await.code(),
        "PreconditionFailed"
    );
    let changed = put(&[("if-match", "\"MQ==\"")]).await.json();
    assert_eq!(
        (&changed["status"], &changed["etag"]),
        (&json!("disabled"), &json!("Mg=="))
    );
    let kept = changed["authentication"]["symmetricKey"]["primaryKey"].as_str();
    assert_eq!(kept, Some(key), "keys that are not named stay");
    assert_eq!(put(&[("if-match", "\"*\"")]).await.status, 200);
    let shown = hub.done("GET", "/devices/d%231", Value::Null).await;
    assert_eq!(shown["statusReason"], "lost");

    let delete = |etag| hub.send("iothubowner", "DELETE", "/devices/d%231", etag, "");
    assert_eq!(
        delete(&[("if-match", "\"MQ==\"")]).await.code(),
        "PreconditionFailed"
    );
    let gone = delete(&[("if-match", "\"*\"")]).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(
        delete(&[("if-match", "\"*\"")]).await.code(),
        "DeviceNotFound"
    );
    let absent = put(&[("if-match", "\"*\"")]).await;
    assert_eq!(absent.code(), "DeviceNotFound");
    hub.stop().await;
}

#[tokio::test]
async fn what_no_device_can_be_is_refused() {
    let hub = Hub::start().await;
    for (path, body, part) in [
        ("/devices/invalid%2Fname", json!({}), "device id"),
        ("/devices/a", json!({"deviceId": "b"}), "deviceId"),
        ("/devices/a", json!({"status": "asleep"}), "status"),
        (
            "/devices/a",
            json!({"statusReason": "r".repeat(129)}),
            "statusReason",
        ),
        (
            "/devices/a",
            json!({"authentication": {"symmetricKey": {"primaryKey": "c2hvcnQ="}}}),
            "primaryKey",
        ),
        (
            "/devices/a",
            json!({"authentication": {"x509Thumbprint": {"primaryThumbprint": "zz"}}}),
            "primaryThumbprint",
        ),
    ] {
        let reply = hub.ask("PUT", path, body).await;
        assert_eq!(reply.code(), "ArgumentInvalid", "{part}");
        assert!(
            reply.json()["Message"].as_str().unwrap().contains(part),
            "{reply:?}"
        );
    }
    assert_eq!(hub.done("GET", "/devices", Value::Null).await, json!([]));
    hub.stop().await;
}

#[tokio::test]
async fn the_scope_of_a_device_stays() {
    let hub = Hub::start().await;
    hub.done(
        "PUT",
        "/devices/leaf",
        json!({"deviceScope": "ms-azure-iot-edge://edge-1"}),
    )
    .await;
    let moved = json!({"deviceScope": "bogus"}).to_string();
    let headers = [("if-match", "\"*\"")];
    let reply = hub
        .send("iothubowner", "PUT", "/devices/leaf", &headers, &moved)
        .await;
    assert_eq!(reply.code(), "ArgumentInvalid");
    hub.stop().await;
}

#[tokio::test]
async fn a_device_may_be_called_query() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/query", json!({"deviceId": "query"}))
        .await;
    assert_eq!(
        hub.done("GET", "/devices/query", Value::Null).await["deviceId"],
        "query"
    );
    hub.done("DELETE", "/devices/query", Value::Null).await;
    assert_eq!(
        hub.ask("GET", "/devices/query", Value::Null).await.code(),
        "DeviceNotFound"
    );
    hub.stop().await;
}

#[tokio::test]
async fn lists_and_numbers_show_who_is_there() {
    let hub = Hub::start().await;
    for id in ["a", "b", "c"] {
        hub.done("PUT", &format!("/devices/{id}"), json!({})).await;
    }
    hub.done("PUT", "/devices/off", json!({"status": "disabled"}))
        .await;
    for (path, count) in [
        ("/devices/", 4),
        ("/devices", 4),
        ("/devices?top=2", 2),
        ("/devices?top=0", 4),
        ("/devices?top=5000", 4),
    ] {
        let list = hub.done("GET", path, Value::Null).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{path}");
    }
    let statistics = hub.done("GET", "/statistics/devices", Value::Null).await;
    assert_eq!(
        statistics,
        json!({"totalDeviceCount": 4, "enabledDeviceCount": 3, "disabledDeviceCount": 1})
    );
    let connected = hub.done("GET", "/statistics/service", Value::Null).await;
    assert_eq!(connected, json!({"connectedDeviceCount": 0}));
    assert_eq!(
        hub.done("GET", "/devices/a/modules", Value::Null).await,
        json!([])
    );
    hub.stop().await;
}
