//! New keys for devices, and the queue that can be emptied.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::Hub;

const REGENERATE: &str = "/devices/keys/regenerate";

/// The primary and the secondary key of a device.
async fn keys(hub: &Hub, id: &str) -> [String; 2] {
    let path = format!("/devices/{id}");
    let shown = hub.done("GET", &path, Value::Null).await;
    let key = |name| {
        let key = shown["authentication"]["symmetricKey"][name].as_str();
        key.unwrap().to_owned()
    };
    [key("primaryKey"), key("secondaryKey")]
}

#[tokio::test]
async fn keys_are_renewed_one_at_a_time_or_change_places() {
    let hub = Hub::start().await;
    let settings = json!({
        "status": "disabled",
        "statusReason": "in the workshop",
        "capabilities": {"iotEdge": true},
    });
    hub.done("PUT", "/devices/a", settings).await;
    hub.done("PUT", "/devices/b", json!({})).await;
    let before = hub.done("GET", "/devices/a", Value::Null).await;
    let [primary, secondary] = keys(&hub, "a").await;
    let [_, other_secondary] = keys(&hub, "b").await;

    let renew = |policy: &str| {
        hub.done(
            "POST",
            REGENERATE,
            json!({"policyKey": policy, "devices": [{"id": "a"}, {"id": "b"}]}),
        )
    };
    assert_eq!(
        renew("primaryKey").await,
        json!({"policyKey": "primaryKey", "errors": []})
    );
    let [new_primary, kept] = keys(&hub, "a").await;
    assert_ne!(new_primary, primary);
    assert_eq!(new_primary.len(), 44, "32 bytes in base64");
    assert_eq!(kept, secondary);
    let [other_primary, kept] = keys(&hub, "b").await;
    assert_ne!(other_primary, new_primary);
    assert_eq!(kept, other_secondary);

    renew("secondaryKey").await;
    let [kept, new_secondary] = keys(&hub, "a").await;
    assert_eq!(kept, new_primary);
    assert_ne!(new_secondary, secondary);
    assert_eq!(new_secondary.len(), 44);

    assert_eq!(
        renew("swap").await,
        json!({"policyKey": "swap", "errors": []})
    );
    assert_eq!(keys(&hub, "a").await, [new_secondary, new_primary]);

    let mut after = hub.done("GET", "/devices/a", Value::Null).await;
    assert_ne!(after["etag"], before["etag"], "each renewal is a change");
    for moved in ["authentication", "etag"] {
        after[moved] = before[moved].clone();
    }
    assert_eq!(after, before, "nothing else changed");
    hub.stop().await;
}

#[tokio::test]
async fn keys_that_cannot_be_renewed_are_told_one_by_one() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/fine", json!({})).await;
    hub.done("PUT", "/devices/twice", json!({})).await;
    let authority = json!({"authentication": {"type": "certificateAuthority"}});
    hub.done("PUT", "/devices/certified", authority).await;
    let (fine, twice) = (keys(&hub, "fine").await, keys(&hub, "twice").await);

    let request = json!({"policyKey": "swap", "devices": [
        {"id": "never"},
        {"id": "certified"},
        {"id": "fine", "moduleId": "m"},
        {"id": "fine", "moduleId": null},
        {"id": "twice"}, {"id": "twice"},
        {"id": "no/device"},
    ]});
    let result = hub.done("POST", REGENERATE, request).await;
    assert_eq!(result["policyKey"], "swap");
    let mut errors: Vec<_> = result["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            let text = |name: &str| error[name].as_str().unwrap_or_default();
            assert!(!text("errorStatus").is_empty(), "{error}");
            (text("deviceId"), text("moduleId"), text("errorCode"))
        })
        .collect();
    errors.sort_unstable();
    let expected = [
        ("certified", "", "InvalidOperation"),
        ("fine", "m", "ModuleNotFound"),
        ("never", "", "DeviceNotFound"),
        ("no/device", "", "DeviceNotFound"),
        ("twice", "", "DeviceDefinedMultipleTimes"),
        ("twice", "", "DeviceDefinedMultipleTimes"),
    ];
    assert_eq!(errors, expected);
    let [primary, secondary] = fine;
    assert_eq!(keys(&hub, "fine").await, [secondary, primary]);
    assert_eq!(keys(&hub, "twice").await, twice);

    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("n{n}")})).collect();
    for (devices, code) in [
        (json!(many), "TooManyDevices"),
        (json!([]), "ArgumentInvalid"),
    ] {
        let request = json!({"policyKey": "swap", "devices": devices});
        assert_eq!(hub.ask("POST", REGENERATE, request).await.code(), code);
    }
    let unknown = json!({"policyKey": "thirdKey", "devices": [{"id": "fine"}]});
    let reply = hub.ask("POST", REGENERATE, unknown).await;
    assert_eq!(reply.code(), "ArgumentInvalid");
    hub.stop().await;
}

#[tokio::test]
async fn renewals_at_the_same_time_all_count() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/a", json!({})).await;
    let [primary, secondary] = keys(&hub, "a").await;
    // Each lost round of one is a round that another won, so five need five rounds at the most.
    let swaps = (0..5).map(|_| {
        let request = json!({"policyKey": "swap", "devices": [{"id": "a"}]});
        hub.done("POST", REGENERATE, request)
    });
    for result in join_all(swaps).await {
        assert_eq!(result["errors"], json!([]));
    }
    assert_eq!(
        keys(&hub, "a").await,
        [secondary, primary],
        "an odd number of swaps"
    );
    hub.stop().await;
}

#[tokio::test]
async fn the_queue_of_a_device_is_empty() {
    let hub = Hub::start().await;
    // The last two share their path's beginning with routes of their own.
    for id in ["d%231", "query", "keys"] {
        let path = format!("/devices/{id}");
        hub.done("PUT", &path, json!({})).await;
        let shown = hub.done("GET", &path, Value::Null).await;
        let purged = hub
            .done("DELETE", &format!("{path}/commands"), Value::Null)
            .await;
        let expected = json!({
            "totalMessagesPurged": 0,
            "deviceId": shown["deviceId"],
            "moduleId": null,
        });
        assert_eq!(purged, expected);
    }
    for id in ["never", "no%2Fdevice"] {
        let path = format!("/devices/{id}/commands");
        let reply = hub.ask("DELETE", &path, Value::Null).await;
        assert_eq!(reply.code(), "DeviceNotFound", "{id}");
    }
    hub.stop().await;
}
