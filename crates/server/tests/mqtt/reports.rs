//! What a device may report and on which version, and what it hears of a replacement.

use fanfare_hub::twin::document::TwinReplacement;
use serde_json::{Value, json};

use crate::rig::{ANSWERS, Client, DESIRED, Rig, id};

const REPORT: &str = "$iothub/twin/PATCH/properties/reported/";

/// Sends a patch and hears what becomes of it.
async fn report(client: &mut Client, query: &str, patch: &[u8]) -> (String, String) {
    client
        .publish(&format!("{REPORT}{query}"), None, patch)
        .await;
    client.hear().await
}

async fn stored(rig: &Rig) -> fanfare_hub::twin::document::TwinDocument {
    let view = rig.hub.twins.get(&id("door-1")).await;
    let view = view.expect("the store works");
    view.expect("the device is registered").twin.document
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "k": inner }))
}

fn filling(bytes: usize) -> Value {
    // Sixteen members of one size, each with a key of one byte.
    assert_eq!(bytes % 16, 0);
    let member = |n| (format!("{n:x}"), "x".repeat(bytes / 16 - 1).into());
    Value::Object((0..16).map(member).collect())
}

#[tokio::test]
async fn a_refused_report_is_explained_and_changes_nothing() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[ANSWERS]).await;
    let (topic, _) = report(&mut client, "?$rid=0", br#"{"fw":{"a":1}}"#).await;
    assert_eq!(topic, "$iothub/twin/res/204/?$rid=0&$version=2");
    let before = stored(&rig).await;

    let mut cases: Vec<(&str, Vec<u8>, u32, &str)> = vec![
        ("&$version=1", b"{\"a\":1}".to_vec(), 412_001, "$version"),
        ("&$version=3", b"{\"a\":1}".to_vec(), 412_001, "$version"),
        (
            "&$version=18446744073709551615",
            b"{}".to_vec(),
            412_001,
            "$version",
        ),
        ("&%24version=0", b"{}".to_vec(), 412_001, "$version"),
    ];
    let mut refused = |patch: &[u8], says: &'static str| {
        cases.push(("&$version=2", patch.to_vec(), 400_004, says));
    };
    for text in [
        "",
        " ",
        "null",
        "[]",
        "3",
        "{",
        "{}{}",
        "{\"a\":1,}",
        "{a:1}",
    ] {
        refused(text.as_bytes(), "");
    }
    refused(b"\xef\xbb\xbf{}", "");
    refused(b"{\"a\":\"\xff\"}", "");
    for (patch, says) in [
        (json!({"$version": 1}), "$version"),
        (json!({"$metadata": {}}), "$metadata"),
        (json!({"a": {"$version": 1}}), "$version"),
        (json!({"a.b": 1}), "a.b"),
        (json!({"a b": 1}), "a b"),
        (json!({"\u{1f}": 1}), "control"),
        (json!({"\u{9f}": 1}), "control"),
        (json!({"": 1}), "empty"),
        (json!({ "k".repeat(1_025): 1 }), "1024"),
        (json!({"a": "x".repeat(4_097)}), "4097"),
        (
            json!({"a": 4_503_599_627_370_496_i64}),
            "properties.reported.a",
        ),
        (
            json!({"a": [-4_503_599_627_370_497_i64]}),
            "properties.reported.a",
        ),
        (json!({"k": nested(11)}), "10 levels"),
        (filling(32_768), "32768 are allowed"),
    ] {
        refused(patch.to_string().as_bytes(), says);
    }
    refused(b"{\"a\":18446744073709551616}", "18446744073709551616");

    for (query, patch, number, says) in cases {
        let shown = String::from_utf8_lossy(&patch)
            .chars()
            .take(60)
            .collect::<String>();
        let (topic, body) = report(&mut client, &format!("?$rid=r-1{query}"), &patch).await;
        let status = number / 1_000;
        assert_eq!(
            topic,
            format!("$iothub/twin/res/{status}/?$rid=r-1"),
            "{shown}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        let members: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["errorCode", "message", "timestampUtc", "trackingId"]
        );
        assert_eq!(body["errorCode"], number, "{shown}");
        assert!(
            body["message"].as_str().unwrap().contains(says),
            "{shown}: {body}"
        );
        let tracking = body["trackingId"].as_str().unwrap();
        assert!(tracking.contains("-G:1-TimeStamp:"), "{tracking}");
        assert_eq!(stored(&rig).await, before, "{shown}");
    }
    // The version it is at is the one that may be changed.
    let (topic, body) = report(&mut client, "?$rid=9&$version=2", br#"{"fw":{"a":null}}"#).await;
    assert_eq!(
        (topic.as_str(), body.as_str()),
        ("$iothub/twin/res/204/?$rid=9&$version=3", "")
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_report_at_every_limit_is_taken() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[ANSWERS]).await;
    let mut version = 1;
    for patch in [
        json!({ "k".repeat(1_024): "x".repeat(4_096), "n": [4_503_599_627_370_495_i64, null] }),
        json!({"k".repeat(1_024): null, "n": null}),
        json!({"k": nested(10)}),
        json!({"k": null}),
        filling(32_768),
        json!({}),
    ] {
        let bytes = patch.to_string();
        let query = format!("?$rid=1&$version={version}");
        version += 1;
        let (topic, _) = report(&mut client, &query, bytes.as_bytes()).await;
        let taken = format!("$iothub/twin/res/204/?$rid=1&$version={version}");
        assert_eq!(topic, taken, "{}", &bytes[..bytes.len().min(60)]);
    }
    let reported = stored(&rig).await.reported;
    assert_eq!(Value::Object(reported.values), filling(32_768));
    assert_eq!(reported.metadata.children.len(), 16);
    rig.stop().await;
}

#[tokio::test]
async fn a_replacement_is_told_as_the_whole_section() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[DESIRED]).await;
    rig.desire("door-1", r#"{"a":{"x":1,"y":2},"gone":1}"#)
        .await;
    assert_eq!(
        client.hear().await.0,
        "$iothub/twin/PATCH/properties/desired/?$version=2"
    );

    let replace = async |tags: Option<Value>, desired: Option<Value>| {
        let object = |value: Value| value.as_object().unwrap().clone();
        let replacement = TwinReplacement::new(tags.map(object), desired.map(object)).unwrap();
        let id = id("door-1");
        let replaced = rig.hub.twins.replace(&id, replacement, None).await;
        replaced.unwrap().twin.document.desired.version
    };
    let next = json!({"a": {"x": 1, "y": null}, "b": [1, null]});
    assert_eq!(replace(None, Some(next)).await, 3);
    let (topic, body) = client.hear().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=3");
    assert_eq!(body, r#"{"a":{"x":1},"b":[1,null],"$version":3}"#);

    // Tags are not its business, and replacing only them says nothing.
    assert_eq!(replace(Some(json!({"site": "b4"})), None).await, 3);
    client.hears_nothing().await;
    assert_eq!(replace(Some(json!({})), Some(json!({}))).await, 4);
    let (topic, body) = client.hear().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=4");
    assert_eq!(body, r#"{"$version":4}"#);
    // Patches go on from there.
    rig.desire("door-1", r#"{"c":1}"#).await;
    assert_eq!(client.hear().await.1, r#"{"c":1,"$version":5}"#);
    rig.stop().await;
}
