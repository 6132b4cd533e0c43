//! A device's twin: reading, reporting, and hearing of desired properties.

use fanfare_hub::{
    ids::IdentityId,
    ports::store::{RegistryStore as _, TwinStore as _},
    profile::{OperationClass, Profile, Tier},
    registry::{IdentityWrite, Made, Precondition},
    time::Timestamp,
};
use rmqtt_codec::v3::ConnectAckReason;

use crate::rig::{ANSWERS, DESIRED, Rig, connect, id};

#[tokio::test]
async fn a_device_reads_and_reports_its_twin() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[ANSWERS]).await;
    rig.desire("door-1", r#"{"floor":3,"a":{"b":[1]}}"#).await;

    let patch = "$iothub/twin/PATCH/properties/reported/";
    client
        .publish(
            &format!("{patch}?$rid=7"),
            Some(2),
            br#"{"fw": "1.2", "old": null}"#,
        )
        .await;
    assert_eq!(
        client.hear().await,
        ("$iothub/twin/res/204/?$rid=7&$version=2".into(), "".into())
    );
    client.hear_puback(2).await;

    client
        .publish("$iothub/twin/GET/?$rid=g", Some(3), b" ")
        .await;
    let (topic, body) = client.hear().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=g");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "desired": { "floor": 3, "a": { "b": [1] }, "$version": 2 },
        "reported": { "fw": "1.2", "$version": 2 },
    });
    assert_eq!(body, expected);
    client.hear_puback(3).await;

    let too_large = format!("{{\"a\":\"{}\"}}", "x".repeat(5_000));
    let cases = [
        ("?$rid=1", "{\"$version\":1}", 400, 400_004),
        ("?$rid=1", "{\"a.b\":1}", 400, 400_004),
        ("?$rid=1", "not json", 400, 400_004),
        ("?$rid=1", "[]", 400, 400_004),
        ("?$rid=1", "", 400, 400_004),
        ("?$rid=1", too_large.as_str(), 400, 400_004),
        ("?$rid=1&$version=1", "{\"a\":1}", 412, 412_001),
    ];
    for (query, payload, status, code) in cases {
        client
            .publish(&format!("{patch}{query}"), Some(4), payload.as_bytes())
            .await;
        let (topic, body) = client.hear().await;
        assert_eq!(
            topic,
            format!("$iothub/twin/res/{status}/?$rid=1"),
            "{payload}"
        );
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["errorCode"], code);
        assert!(
            body["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(body["trackingId"].is_string() && body["timestampUtc"].is_string());
        client.hear_puback(4).await;
    }
    client
        .publish(
            &format!("{patch}?$rid=8&$version=2"),
            None,
            b"{\"fw\":\"1.3\"}",
        )
        .await;
    assert_eq!(
        client.hear().await.0,
        "$iothub/twin/res/204/?$rid=8&$version=3"
    );
    rig.stop().await;
}

#[tokio::test]
async fn desired_patches_arrive_in_order_and_only_where_they_are_wanted() {
    let (rig, _folder) = Rig::new().await;
    let mut deaf = rig.connect("door-2", false).await;
    rig.desire("door-2", "{\"a\":1}").await;
    deaf.hears_nothing().await;

    let mut client = rig.connect("door-1", false).await;
    rig.desire("door-1", "{\"before\":1}").await;
    client.subscribe(&[DESIRED, ANSWERS]).await;
    client.hears_nothing().await;
    for floor in 3..6 {
        let version = rig
            .desire("door-1", &format!("{{\"floor\":{floor},\"old\":null}}"))
            .await;
        let (topic, body) = client.hear().await;
        assert_eq!(
            topic,
            format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
        );
        let expected = serde_json::json!({ "floor": floor, "old": null, "$version": version });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&body).unwrap(),
            expected
        );
    }
    drop(client);

    // Never queued; what it missed shows in its GET, and the next patch comes alone.
    let version = rig.desire("door-1", "{\"missed\":1}").await;
    let mut client = rig.connect("door-1", true).await;
    client.publish("$iothub/twin/GET/?$rid=1", None, b"").await;
    assert!(
        client
            .hear()
            .await
            .1
            .contains(&format!("\"$version\":{version}"))
    );
    client.hears_nothing().await;
    rig.desire("door-1", "{\"next\":1}").await;
    assert_eq!(
        client.hear().await.1,
        format!("{{\"next\":1,\"$version\":{}}}", version + 1)
    );
    rig.stop().await;
}

/// Deletes an identity and makes it again, as it is for its connection before that is cut.
async fn replace(rig: &Rig, id: &IdentityId) {
    let old = rig.hub.registry.get(id).await.expect("the store works");
    let old = old.expect("it is registered");
    let writes = vec![
        IdentityWrite::Delete {
            id: id.clone(),
            precondition: Precondition::Exists,
        },
        IdentityWrite::Put {
            id: id.clone(),
            settings: old.settings,
            made: Made::default(),
            modules: Vec::new(),
            precondition: Precondition::Absent,
            twin: None,
        },
    ];
    let written = rig.store.identity_write(writes, Timestamp(0)).await;
    let written = written.expect("the store works");
    assert!(written.iter().all(Result::is_ok), "{written:?}");
}

#[tokio::test]
async fn a_connection_of_a_deleted_identity_reaches_no_later_one_of_its_name() {
    let (rig, _folder) = Rig::new().await;
    let door = id("door-1");
    for topic in [
        "$iothub/twin/PATCH/properties/reported/?$rid=1",
        "$iothub/twin/GET/?$rid=1",
    ] {
        let mut client = rig.connect("door-1", false).await;
        client.subscribe(&[ANSWERS]).await;
        replace(&rig, &door).await;
        client.publish(topic, Some(1), b"{\"late\":1}").await;
        assert_eq!(client.try_receive().await, None, "{topic}");
        let twin = rig.store.twin_get(&door).await.unwrap().unwrap();
        assert_eq!(twin.document.reported.version, 1, "{topic}");
    }
    rig.stop().await;
}

/// The buckets fill with real time, so each is emptied until somebody came too soon.
#[tokio::test]
async fn a_device_over_the_rate_hears_so_and_may_come_again() {
    let (rig, _folder) = Rig::with_profile(Profile::of(Tier::AzureS1, 1)).await;
    let throttle = rig.throttle.clone().unwrap();
    let empty = |class| while throttle.take(class, 1).is_ok() {};
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[ANSWERS]).await;
    for (class, topic) in [
        (OperationClass::TwinReads, "$iothub/twin/GET/"),
        (
            OperationClass::TwinUpdates,
            "$iothub/twin/PATCH/properties/reported/",
        ),
    ] {
        let mut refused = None;
        while refused.is_none() {
            empty(class);
            client
                .publish(&format!("{topic}?$rid=1"), Some(9), b"{}")
                .await;
            let (topic, body) = client.hear().await;
            client.hear_puback(9).await;
            refused = (topic == "$iothub/twin/res/429/?$rid=1").then_some(body);
        }
        let body: serde_json::Value = serde_json::from_str(&refused.unwrap()).unwrap();
        assert_eq!(body["errorCode"], 429_001);
    }
    loop {
        empty(OperationClass::Connects);
        let (_client, answer) = rig.knock(connect("door-2")).await;
        match answer.return_code {
            ConnectAckReason::ConnectionAccepted => {}
            refused => {
                assert_eq!(refused, ConnectAckReason::ServiceUnavailable);
                break;
            }
        }
    }
    rig.stop().await;
}
