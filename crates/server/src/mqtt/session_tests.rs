//! The session's rules as tables.

use std::num::NonZeroU16;

use fanfare_hub::ids::Term;
use proptest::prelude::*;
use rmqtt_codec::{
    types::Protocol,
    v3::{Connect, ConnectAck, ConnectAckReason},
};

use super::*;
use crate::mqtt::codec::{PacketReader, encode};

const METHODS: &str = "$iothub/methods/POST/#";
const ONE_METHOD: &str = "$iothub/methods/POST/lockDoor/#";
const ANSWERS: &str = "$iothub/twin/res/#";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const DEVICE_BOUND: &str = "devices/door-1/messages/devicebound/#";

fn connect() -> Connect {
    Connect {
        protocol: Protocol(4),
        clean_session: false,
        keep_alive: 60,
        last_will: None,
        client_id: "door-1".into(),
        username: Some("hub.test/door-1/?api-version=2021-04-12".into()),
        password: Some("SharedAccessSignature sr=x".into()),
        cert: None,
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

fn kept(filters: &[(&str, u8)]) -> store::Session {
    let line = |(text, quality): &(&str, u8)| ((*text).to_owned(), *quality);
    store::Session {
        filters: filters.iter().map(line).collect(),
    }
}

fn open(filters: &[(&str, u8)], now: Instant) -> Session {
    Session::open(&Opening {
        claim: &Claim::read(&connect()).unwrap(),
        kept: Some(&kept(filters)),
        now,
        expires: now + HOUR,
        ready_after: SECOND,
    })
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn subscribe(filters: &[(&str, QoS)]) -> Packet {
    let line = |(text, quality): &(&str, QoS)| ((*text).into(), *quality);
    Packet::Subscribe {
        packet_id: id(7),
        topic_filters: filters.iter().map(line).collect(),
    }
}

fn change(session: &mut Session, packet: Packet, now: Instant) -> Change {
    match session.receive(packet, now) {
        Step::Keep(change) => change,
        other => panic!("not a change of filters: {other:?}"),
    }
}

/// SUBACK's codes and what adopting the filters did.
fn subscribed(
    session: &mut Session,
    filters: &[(&str, QoS)],
    now: Instant,
) -> (Vec<u8>, bool, Adopted) {
    let change = change(session, subscribe(filters), now);
    let Packet::SubscribeAck { packet_id, status } = &change.reply else {
        panic!("SUBSCRIBE is answered by SUBACK");
    };
    assert_eq!(*packet_id, id(7));
    let code = |code: &SubscribeReturnCode| match code {
        SubscribeReturnCode::Success(quality) => u8::from(*quality),
        SubscribeReturnCode::Failure => 0x80,
    };
    let codes = status.iter().map(code).collect();
    let is_new = change.is_new;
    (codes, is_new, session.adopt(change))
}

#[test]
fn filters_are_granted_in_order_up_to_quality_1_and_five_of_them() {
    let now = Instant::now();
    let mut session = open(&[], now);
    let asked = [
        ("something/else", QoS::AtMostOnce),
        (METHODS, QoS::ExactlyOnce),
        (ANSWERS, QoS::AtMostOnce),
        (DESIRED, QoS::AtLeastOnce),
        ("$iothub/#", QoS::AtMostOnce),
        (DEVICE_BOUND, QoS::AtLeastOnce),
        (ONE_METHOD, QoS::AtMostOnce),
        ("$iothub/methods/POST/sixth/#", QoS::AtMostOnce),
        (ANSWERS, QoS::AtLeastOnce),
    ];
    let (codes, is_new, adopted) = subscribed(&mut session, &asked, now);
    assert_eq!(codes, [0x80, 1, 0, 1, 0x80, 1, 0, 0x80, 1]);
    assert!(is_new);
    assert_eq!(
        adopted,
        Adopted {
            ready: true,
            unready: false,
            desired_begins: true
        }
    );

    let (codes, is_new, adopted) = subscribed(&mut session, &[(DESIRED, QoS::ExactlyOnce)], now);
    assert_eq!(
        (codes, is_new, adopted),
        (vec![1], false, Adopted::default())
    );
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let now = Instant::now();
    let mut session = open(&[], now);
    let change = change(
        &mut session,
        subscribe(&[(METHODS, QoS::AtMostOnce), (DESIRED, QoS::ExactlyOnce)]),
        now,
    );
    assert_eq!(change.kept(), kept(&[(METHODS, 0), (DESIRED, 1)]));
    let restored = open(
        &[
            (METHODS, 0),
            (DESIRED, 1),
            ("unknown", 0),
            ("devices/x/y/#", 0),
        ],
        now,
    );
    assert_eq!(restored.filters, change.filters);
    assert!(restored.wants_calls() && restored.wants_desired() && !restored.wants_twin_answers());
}

#[test]
fn a_clean_session_forgets_what_was_kept() {
    let mut clean = connect();
    clean.clean_session = true;
    let now = Instant::now();
    let session = Session::open(&Opening {
        claim: &Claim::read(&clean).unwrap(),
        kept: Some(&kept(&[(METHODS, 0)])),
        now,
        expires: now + HOUR,
        ready_after: SECOND,
    });
    assert!(!session.wants_calls() && !session.is_durable());
}

#[test]
fn another_identitys_filter_ends_the_connection() {
    let now = Instant::now();
    for foreign in [
        "devices/door-2/messages/devicebound/#",
        "devices/door-1/modules/m/inputs/#",
    ] {
        let packet = subscribe(&[(METHODS, QoS::AtMostOnce), (foreign, QoS::AtMostOnce)]);
        let step = open(&[], now).receive(packet, now);
        assert!(matches!(step, Step::End(End::Illegal(_))), "{foreign}");
    }
}

#[test]
fn unsubscribing_is_always_answered() {
    let now = Instant::now();
    let mut session = open(&[(METHODS, 0), (DESIRED, 1)], now);
    let packet = |filters: &[&'static str]| Packet::Unsubscribe {
        packet_id: id(9),
        topic_filters: filters.iter().map(|text| (*text).into()).collect(),
    };
    let none = change(
        &mut session,
        packet(&["devices/door-2/messages/devicebound/#"]),
        now,
    );
    assert!(!none.is_new);
    assert_eq!(none.reply, Packet::UnsubscribeAck { packet_id: id(9) });
    assert_eq!(session.adopt(none), Adopted::default());

    let calls = change(&mut session, packet(&[METHODS]), now);
    assert_eq!(calls.kept(), kept(&[(DESIRED, 1)]));
    assert!(session.adopt(calls).unready);
    assert_eq!(session.next_deadline(), now + 90 * SECOND);
}

#[test]
fn a_restored_session_is_ready_a_second_later_or_when_it_subscribes() {
    let now = Instant::now();
    let mut session = open(&[(METHODS, 0)], now);
    assert_eq!(session.next_deadline(), now + SECOND);
    assert_eq!(session.due(now + SECOND / 2), Due::Nothing);
    assert_eq!(session.due(now + SECOND), Due::Ready);
    assert_eq!(session.due(now + SECOND), Due::Nothing);

    let mut session = open(&[(METHODS, 0)], now);
    let (_, is_new, adopted) = subscribed(&mut session, &[(METHODS, QoS::AtMostOnce)], now);
    assert!(!is_new && adopted.ready);
    let (_, _, again) = subscribed(&mut session, &[(METHODS, QoS::AtMostOnce)], now);
    assert!(!again.ready);
    assert_eq!(session.due(now + SECOND), Due::Nothing);

    let mut other = open(&[(METHODS, 0)], now);
    let (_, _, adopted) = subscribed(&mut other, &[(ANSWERS, QoS::AtMostOnce)], now);
    assert!(!adopted.ready, "only the filter of calls makes ready");
    assert_eq!(other.due(now + SECOND), Due::Ready);
}

#[test]
fn every_packet_counts_against_silence_and_none_against_expiry() {
    let start = Instant::now();
    let mut session = open(&[], start);
    for minute in 1..=60 {
        let now = start + 60 * SECOND * minute;
        assert_eq!(
            session.receive(Packet::PingRequest, now),
            Step::Reply(Packet::PingResponse)
        );
        assert_eq!(
            session.next_deadline(),
            (now + 90 * SECOND).min(start + HOUR)
        );
    }
    assert_eq!(session.due(start + HOUR), Due::End(End::Expired));

    let mut silent = open(&[], start);
    assert_eq!(silent.due(start + 89 * SECOND), Due::Nothing);
    assert_eq!(silent.due(start + 90 * SECOND), Due::End(End::Silent));
}

fn publish(topic: &str, qos: QoS, payload: &'static [u8]) -> Packet {
    let packet_id = (qos != QoS::AtMostOnce).then(|| id(11));
    let topic = topic.to_owned().into();
    let payload = Bytes::from_static(payload);
    Publish {
        dup: false,
        retain: false,
        qos,
        topic,
        packet_id,
        payload,
        properties: None,
    }
    .into()
}

#[test]
fn publishes_become_questions_to_the_hub() {
    let now = Instant::now();
    let mut session = open(&[], now);
    let rid = || "r-1".to_owned();
    let call = CallId {
        term: Term(1),
        number: 0xab,
    };
    let answer = |status, payload| Ask::Answer {
        call,
        status,
        payload,
    };
    let answer_topic = |status: &str| format!("$iothub/methods/res/{status}/?$rid={call}");
    let no_bytes = Bytes::new;
    let cases = [
        (
            "devices/door-1/messages/events/".to_owned(),
            &b"1234"[..],
            Ask::Telemetry(4),
        ),
        (
            "devices/door-1/messages/events/a=b&c".to_owned(),
            b"",
            Ask::Telemetry(0),
        ),
        (
            "$iothub/twin/GET/?$rid=r-1".to_owned(),
            b" ",
            Ask::TwinGet { rid: rid() },
        ),
        (
            "$iothub/twin/PATCH/properties/reported/?$rid=r-1&$version=4".to_owned(),
            b"{}",
            Ask::Report {
                rid: rid(),
                base: Some(4),
                patch: Bytes::from_static(b"{}"),
            },
        ),
        (
            answer_topic("200"),
            b"1",
            answer(200, Bytes::from_static(b"1")),
        ),
        (answer_topic("-7"), b"", answer(-7, no_bytes())),
        (
            answer_topic("9999999999"),
            b"",
            answer(i32::MAX, no_bytes()),
        ),
        (
            answer_topic("-9999999999"),
            b"",
            answer(i32::MIN, no_bytes()),
        ),
        (
            "$iothub/methods/res/200/?$rid=1".to_owned(),
            b"",
            Ask::Nothing,
        ),
    ];
    for (topic, payload, ask) in cases {
        let step = session.receive(publish(&topic, QoS::AtLeastOnce, payload), now);
        assert_eq!(step, Step::Ask(ask, Some(Receipt(11))), "{topic}");
    }
    let step = session.receive(
        publish("$iothub/twin/GET/?$rid=r-1", QoS::AtMostOnce, b""),
        now,
    );
    assert_eq!(step, Step::Ask(Ask::TwinGet { rid: rid() }, None));
}

#[test]
fn illegal_packets_end_the_connection() {
    static LARGE: [u8; limits::MESSAGE_BYTES_MAX + 1] = [0; limits::MESSAGE_BYTES_MAX + 1];
    let events = "devices/door-1/messages/events/";
    let illegal = [
        publish(events, QoS::ExactlyOnce, b""),
        publish(events, QoS::AtMostOnce, &LARGE),
        publish("devices/door-2/messages/events/", QoS::AtLeastOnce, b""),
        publish("devices/door-1/messages/events/a=%", QoS::AtLeastOnce, b""),
        publish("some/topic", QoS::AtMostOnce, b""),
        publish("$iothub/twin/GET/", QoS::AtMostOnce, b""),
        publish("$iothub/methods/res/ok/?$rid=1", QoS::AtMostOnce, b""),
        Packet::Connect(Box::new(connect())),
        Packet::ConnectAck(ConnectAck {
            return_code: ConnectAckReason::ConnectionAccepted,
            session_present: false,
        }),
        Packet::PublishReceived { packet_id: id(1) },
        Packet::PublishRelease { packet_id: id(1) },
        Packet::PublishComplete { packet_id: id(1) },
        Packet::UnsubscribeAck { packet_id: id(1) },
        Packet::PingResponse,
    ];
    let now = Instant::now();
    for packet in illegal {
        let step = open(&[], now).receive(packet.clone(), now);
        assert!(
            matches!(step, Step::End(End::Illegal(_))),
            "{packet:?}: {step:?}"
        );
    }
    let mut session = open(&[], now);
    assert_eq!(
        session.receive(Packet::Disconnect, now),
        Step::End(End::Disconnected)
    );
    assert_eq!(
        session.receive(Packet::PublishAck { packet_id: id(3) }, now),
        Step::Nothing
    );
    assert_eq!(
        session.receive(publish(events, QoS::AtMostOnce, &LARGE[1..]), now),
        Step::Ask(Ask::Telemetry(limits::MESSAGE_BYTES_MAX), None)
    );
}

/// The bytes of one packet of each kind that devices send.
fn conversation() -> Vec<Vec<u8>> {
    let packets = [
        connect().into(),
        subscribe(&[
            (METHODS, QoS::AtMostOnce),
            (DESIRED, QoS::ExactlyOnce),
            ("a/+/#", QoS::AtLeastOnce),
        ]),
        Packet::Unsubscribe {
            packet_id: id(2),
            topic_filters: vec![METHODS.into()],
        },
        publish(
            "devices/door-1/messages/events/a=b",
            QoS::AtLeastOnce,
            b"12",
        ),
        publish(
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=3",
            QoS::AtMostOnce,
            b"{}",
        ),
        publish(
            "$iothub/methods/res/200/?$rid=00000001000000000002",
            QoS::AtLeastOnce,
            b"1",
        ),
        Packet::PingRequest,
        Packet::PublishAck { packet_id: id(3) },
    ];
    packets
        .into_iter()
        .map(|packet| encode(packet).to_vec())
        .collect()
}

proptest! {
    #[test]
    fn damaged_conversations_never_panic(
        order in prop::collection::vec(0usize..8, 1..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        piece in 1usize..64,
    ) {
        let packets = conversation();
        let mut stream: Vec<u8> = order.iter().flat_map(|at| packets[*at].clone()).collect();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let now = Instant::now();
        let mut session = open(&[(ANSWERS, 0)], now);
        let mut reader = PacketReader::new();
        'pieces: for bytes in stream.chunks(piece) {
            reader.feed(bytes);
            while let Ok(Some(packet)) = reader.next() {
                if let Packet::Connect(connect) = &packet {
                    let _ = Claim::read(connect);
                }
                match session.receive(packet, now) {
                    Step::Keep(change) => drop(session.adopt(change)),
                    Step::End(_) => break 'pieces,
                    _ => {}
                }
                prop_assert!(session.filters.0.len() <= limits::FILTERS_MAX);
            }
        }
    }
}
