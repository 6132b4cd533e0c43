use super::*;
use crate::fleet::spec::Behaviour;

fn session(behaviour: Behaviour) -> Session {
    let spec = DeviceSpec {
        id: "d1".to_owned(),
        key: String::new(),
        behaviour,
    };
    Session::new(Arc::new(spec), Arc::default(), Arc::new(Counters::new()), 1)
}

fn open(session: &mut Session, present: bool, now: Instant) -> Vec<Packet> {
    let mut out = Vec::new();
    session.opened(present, now, &mut out);
    out
}

fn receive(session: &mut Session, packet: Packet, now: Instant) -> Vec<Packet> {
    let mut out = Vec::new();
    session.received(packet, now, &mut out);
    session.write_due(now, &mut out);
    out
}

fn suback(packets: &[Packet]) -> Packet {
    let Some(Packet::Subscribe {
        packet_id,
        topic_filters,
    }) = packets.first()
    else {
        panic!("no SUBSCRIBE in {packets:?}")
    };
    let granted = SubscribeReturnCode::Success(QoS::AtLeastOnce);
    Packet::SubscribeAck {
        packet_id: *packet_id,
        status: vec![granted; topic_filters.len()],
    }
}

fn call(rid: &str) -> Packet {
    let topic = format!("$iothub/methods/POST/lockDoor/?$rid={rid}");
    publish(topic, Bytes::from_static(b"null")).into()
}

fn desired(version: u64, body: &str) -> Packet {
    let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
    publish(topic, Bytes::copy_from_slice(body.as_bytes())).into()
}

fn answer_of(packet: &Packet) -> &Publish {
    let Packet::Publish(publish) = packet else {
        panic!("{packet:?} is not a PUBLISH")
    };
    publish
}

#[tokio::test]
async fn an_answer_without_puback_is_sent_again_with_dup_until_acknowledged() {
    let now = Instant::now();
    let mut device = session(Behaviour::answers(Duration::ZERO..Duration::ZERO));
    let opened = open(&mut device, false, now);
    receive(&mut device, suback(&opened), now);
    let answers = receive(&mut device, call("a1"), now);
    let first = answer_of(&answers[0]).clone();
    assert_eq!(&*first.topic, "$iothub/methods/res/200/?$rid=a1");
    assert!(!first.dup);

    device.closed();
    let opened = open(&mut device, true, now);
    let again = answer_of(&opened[1]).clone();
    assert!(again.dup);
    assert_eq!(
        (again.packet_id, again.payload),
        (first.packet_id, first.payload)
    );

    let packet_id = again.packet_id.expect("QoS 1 has a packet id");
    receive(&mut device, Packet::PublishAck { packet_id }, now);
    device.closed();
    assert_eq!(open(&mut device, true, now).len(), 1, "the SUBSCRIBE alone");
    let log = device.log();
    let answer = log.calls[0].answer.as_ref().expect("it was answered");
    assert_eq!((answer.sends, answer.acknowledged_at), (2, Some(now)));
    assert!(log.faults.is_empty(), "{:?}", log.faults);
}

#[tokio::test]
async fn an_answer_that_comes_due_while_away_goes_out_on_the_next_connection() {
    let now = Instant::now();
    let wait = Duration::from_secs(2);
    let mut device = session(Behaviour::answers(wait..wait));
    open(&mut device, false, now);
    assert!(receive(&mut device, call("a1"), now).is_empty());
    assert_eq!(device.next_due(), Some(now + wait));
    device.closed();
    let opened = open(&mut device, true, now + wait);
    assert_eq!(
        &*answer_of(&opened[1]).topic,
        "$iothub/methods/res/200/?$rid=a1"
    );
    assert_eq!(device.next_due(), None);
}

#[tokio::test]
async fn a_device_that_never_subscribes_again_is_online_at_once_and_misses_a_lost_session() {
    let now = Instant::now();
    let mut device = session(Behaviour {
        subscribing: Subscribing::FirstSessionOnly,
        ..Behaviour::default()
    });
    let opened = open(&mut device, false, now);
    receive(&mut device, suback(&opened), now);
    device.closed();
    assert!(open(&mut device, true, now).is_empty());
    assert_eq!(*device.counters.online.borrow(), 1);
    device.closed();
    open(&mut device, false, now);
    let log = device.log();
    assert_eq!(log.subscribes, 1);
    assert!(
        log.faults[0].contains("forgot the session"),
        "{:?}",
        log.faults
    );
}

#[tokio::test]
async fn a_call_twice_and_a_version_that_goes_back_are_faults() {
    let now = Instant::now();
    let mut device = session(Behaviour::default());
    open(&mut device, false, now);
    receive(&mut device, call("a1"), now);
    receive(&mut device, call("a1"), now);
    receive(&mut device, desired(4, r#"{"floor":3,"$version":4}"#), now);
    receive(&mut device, desired(3, r#"{"floor":2,"$version":3}"#), now);
    let log = device.log();
    assert_eq!(log.calls.len(), 1);
    assert_eq!(log.desired_version, 4);
    assert!(
        log.faults[0].contains("delivered twice"),
        "{:?}",
        log.faults
    );
    assert!(
        log.faults[1].contains("desired version 3 after 4"),
        "{:?}",
        log.faults
    );
    assert_eq!(log.faults.len(), 2);
}

#[tokio::test]
async fn an_acknowledged_report_that_is_gone_is_a_fault() {
    let now = Instant::now();
    let mut device = session(Behaviour {
        twin: TwinUse::ReadAndReport,
        ..Behaviour::default()
    });
    open(&mut device, false, now);
    let done = publish(
        "$iothub/twin/res/204/?$rid=p1&$version=2".to_owned(),
        Bytes::new(),
    );
    receive(&mut device, done.into(), now);
    device.closed();
    open(&mut device, false, now);
    let twin = r#"{"desired":{"floor":3,"$version":1},"reported":{"$version":1}}"#;
    let reply = publish("$iothub/twin/res/200/?$rid=g2".to_owned(), twin.into());
    receive(&mut device, reply.into(), now);
    let log = device.log();
    assert!(
        log.faults[0].contains("Some(1) was acknowledged"),
        "{:?}",
        log.faults
    );
    assert_eq!(log.desired, Some(json!({"floor": 3})));
}
