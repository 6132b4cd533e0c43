//! Method calls to devices, and their answers.

use std::time::Duration;

use fanfare_hub::{
    ids::{CallId, JobId, MethodName, Term},
    jobs::{
        JobRequest,
        job::{MethodOperation, Operation},
    },
    json::JsonText,
    method::{MethodCall, MethodError},
    presence::{CallTemplate, Delivery},
};
use fanfare_server::mqtt::GatewayLimits;
use rmqtt_codec::v3::Packet;

use crate::rig::{Door, METHODS, Rig, id, soon};

pub(crate) fn lock_door(connect_seconds: u32) -> MethodCall {
    MethodCall {
        name: MethodName::parse("lockDoor").expect("a legal name"),
        payload: JsonText::null(),
        response_seconds: 30,
        connect_seconds,
    }
}

pub(crate) fn ready_after(ready_after_restore: Duration) -> GatewayLimits {
    GatewayLimits {
        ready_after_restore,
        ..GatewayLimits::default()
    }
}

/// The request id of a method request's topic.
pub(crate) fn rid(topic: &str) -> String {
    let rid = topic.strip_prefix("$iothub/methods/POST/lockDoor/?$rid=");
    let rid = rid.unwrap_or_else(|| panic!("{topic} is no request of lockDoor"));
    assert_eq!(rid.len(), CallId::TEXT_LEN);
    rid.to_owned()
}

pub(crate) fn answer_topic(status: &str, rid: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={rid}")
}

#[tokio::test]
async fn a_method_goes_to_the_device_and_its_answer_comes_back() {
    let doors = [
        Door::Plain,
        Door::Tls(&rustls::version::TLS12),
        Door::Tls(&rustls::version::TLS13),
    ];
    for door in doors {
        let (rig, _folder) = Rig::with(door, GatewayLimits::default()).await;
        let mut client = rig.connect("door-1", false).await;
        let refused = rig.hub.methods.invoke(&id("door-1"), lock_door(0)).await;
        assert!(
            matches!(refused, Err(MethodError::NotOnline { .. })),
            "not subscribed yet"
        );
        client.subscribe(&[METHODS]).await;

        let large = format!("\"{}\"", "x".repeat(100_000));
        let cases = [
            ("200", Some(9), "{\"ok\":true}", 200, Some("{\"ok\":true}")),
            ("-5", None, "", -5, None),
            ("404", Some(9), "null", 404, Some("null")),
            ("200", None, large.as_str(), 200, Some(large.as_str())),
        ];
        for (status, packet_id, payload, seen_status, seen_payload) in cases {
            let door_1 = id("door-1");
            let device = async {
                let (topic, body) = client.hear().await;
                assert_eq!(body, "null", "never an empty body");
                let topic = answer_topic(status, &rid(&topic));
                client.publish(&topic, packet_id, payload.as_bytes()).await;
                if let Some(packet_id) = packet_id {
                    client.hear_puback(packet_id).await;
                }
            };
            let (answer, ()) = tokio::join!(rig.hub.methods.invoke(&door_1, lock_door(0)), device);
            let answer = answer.unwrap();
            assert_eq!(answer.status, seen_status);
            assert_eq!(answer.payload.as_ref().map(JsonText::as_str), seen_payload);
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn answers_to_nobody_are_received_and_dropped() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    let stranger = CallId {
        term: Term(9),
        number: 9,
    }
    .to_string();
    for (packet_id, rid) in [(1, "1"), (2, "not-ours"), (3, &stranger)] {
        client
            .publish(&answer_topic("200", rid), Some(packet_id), b"{}")
            .await;
        client.hear_puback(packet_id).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_on_the_next_connection_counts() {
    let (rig, _folder) = Rig::new().await;
    let mut first = rig.connect("door-1", false).await;
    first.subscribe(&[METHODS]).await;
    let door_1 = id("door-1");
    let device = async {
        let (topic, _) = first.hear().await;
        let mut second = rig.connect("door-1", true).await;
        first.ends().await;
        second
            .publish(&answer_topic("201", &rid(&topic)), Some(4), b"1")
            .await;
        second.hear_puback(4).await;
        second
    };
    let (answer, _second) = tokio::join!(rig.hub.methods.invoke(&door_1, lock_door(0)), device);
    assert_eq!(answer.unwrap().status, 201);
    rig.stop().await;
}

#[tokio::test]
async fn puback_of_a_jobs_answer_means_that_it_is_recorded() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[METHODS]).await;
    let job = JobId::parse("lock").unwrap();
    let operation = Operation::Method(MethodOperation {
        name: MethodName::parse("lockDoor").unwrap(),
        payload: JsonText::null(),
        response_seconds: 30,
        connect_seconds: None,
    });
    let request = JobRequest {
        id: job.clone(),
        condition: "deviceId = 'door-1'".into(),
        operation,
        start: None,
        window_seconds: 60,
        creator: None,
    };
    rig.hub.jobs.schedule(request).await.unwrap();
    let (topic, _) = client.hear().await;
    client
        .publish(&answer_topic("200", &rid(&topic)), Some(5), b"{}")
        .await;
    client.hear_puback(5).await;
    let progress = rig.hub.jobs.get(&job).await.unwrap().unwrap().progress;
    assert_eq!(progress.unwrap().succeeded, 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_restored_subscription_takes_calls_at_once_and_is_ready_when_it_is_asked_for_again() {
    let (rig, _folder) = Rig::with(Door::Plain, ready_after(Duration::from_secs(3_600))).await;
    let key = rig
        .hub
        .registry
        .get(&id("door-1"))
        .await
        .unwrap()
        .unwrap()
        .key;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[METHODS]).await;
    assert!(rig.hub.presence.ready_link(key).is_some());

    let mut client = rig.connect("door-1", true).await;
    assert!(rig.hub.presence.ready_link(key).is_none());
    let link = rig.hub.presence.link(key).unwrap();
    assert!(link.takes_calls());
    let ready = rig.hub.presence.wait_ready(key);
    client.subscribe(&[METHODS]).await;
    soon("readiness", ready).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_does_not_read_is_cut_not_waited_for() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[METHODS]).await;
    let key = rig
        .hub
        .registry
        .get(&id("door-1"))
        .await
        .unwrap()
        .unwrap()
        .key;
    let link = rig.hub.presence.link(key).unwrap();
    let payload = JsonText::parse(format!("\"{}\"", "x".repeat(100_000)).as_bytes()).unwrap();
    let name = MethodName::parse("lockDoor").unwrap();
    let template = CallTemplate::new(name, payload);
    let mut sent = 0;
    while link.call(
        CallId {
            term: Term(1),
            number: sent,
        },
        &template,
    ) == Delivery::Sent
    {
        sent += 1;
    }
    assert!(!link.takes_calls());
    for number in 0.. {
        let Some(Packet::Publish(publish)) = client.try_receive().await else {
            assert!(number > 0 && number <= sent);
            break;
        };
        let call = CallId {
            term: Term(1),
            number,
        };
        assert_eq!(
            rid(&publish.topic),
            call.to_string(),
            "in order, none left out"
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_named_one_method_hears_of_every_one() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&["$iothub/methods/POST/openDoor/#"]).await;
    let door_1 = id("door-1");
    let device = async {
        let (topic, _) = client.hear().await;
        client
            .publish(&answer_topic("200", &rid(&topic)), None, b"")
            .await;
    };
    let (answer, ()) = tokio::join!(rig.hub.methods.invoke(&door_1, lock_door(0)), device);
    assert_eq!(answer.unwrap().status, 200);
    rig.stop().await;
}
