//! What a link lets through, and in which order. The peer is a socket that is read at the end.

use fanfare_hub::{
    ids::{DeviceId, MethodName, Term},
    json::JsonText,
    presence::KeyMark,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::mqtt::{codec::PacketReader, transport};

const ALL: Wants = Wants {
    calls: true,
    desired: true,
};

struct Peer(TcpStream);

impl Peer {
    /// The topics of everything that was sent, once the link is closed.
    async fn topics(mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await.unwrap();
        let mut reader = PacketReader::new();
        reader.feed(&bytes);
        let mut topics = Vec::new();
        while let Some(packet) = reader.next().unwrap() {
            topics.push(match packet {
                rmqtt_codec::v3::Packet::Publish(publish) => publish.topic.to_string(),
                other => format!("{:02x}", other.packet_type()),
            });
        }
        topics
    }
}

async fn link() -> (DeviceLink, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (_, outgoing) = transport::accept(server, None).await.unwrap();
    let id = IdentityId::device(DeviceId::parse("door-1").unwrap());
    let admission = Admission::OwnKey {
        key: KeyMark::of("key"),
    };
    (
        DeviceLink::new(id, admission, outgoing, Timestamp(0)),
        Peer(client),
    )
}

fn patch(version: u64) -> DesiredNotice {
    DesiredNotice {
        full: false,
        ..full_notice("{}", version)
    }
}

fn full(version: u64) -> DesiredNotice {
    full_notice("{}", version)
}

fn call(link: &DeviceLink) -> Delivery {
    let name = MethodName::parse("lockDoor").unwrap();
    let template = CallTemplate::new(name, JsonText::null());
    link.call(
        CallId {
            term: Term(1),
            number: 2,
        },
        &template,
    )
}

fn desired_topic(version: u64) -> String {
    topic::desired_patch(version)
}

#[tokio::test]
async fn nothing_leaves_before_connack_nor_after_a_cut() {
    let (link, peer) = link().await;
    assert!(!link.takes_calls());
    assert_eq!(call(&link), Delivery::Closed);
    assert_eq!(link.desired(&full(1)), DesiredDelivery::NotNeeded);
    assert_eq!(link.desired_sent(), None);

    link.welcome(&[0x20, 2, 0, 0], ALL, 3);
    assert!(link.takes_calls());
    assert_eq!(call(&link), Delivery::Sent);
    link.acknowledge(Receipt(5));

    link.cut(CutReason::AccessChanged);
    link.cut(CutReason::Closing);
    assert_eq!(link.cut_reason(), Some(CutReason::AccessChanged));
    assert!(!link.takes_calls());
    assert_eq!(call(&link), Delivery::Closed);
    assert_eq!(link.desired(&full(9)), DesiredDelivery::NotNeeded);
    assert_eq!(link.desired_sent(), None);
    let call = "$iothub/methods/POST/lockDoor/?$rid=00000001000000000002";
    assert_eq!(peer.topics().await, ["20", call, "40"]);
}

#[tokio::test]
async fn desired_versions_never_go_back_and_gaps_are_told() {
    let (link, peer) = link().await;
    link.welcome(&[0x20, 2, 0, 0], ALL, 3);
    for (notice, delivery, sent) in [
        (patch(3), DesiredDelivery::NotNeeded, 3),
        (patch(4), DesiredDelivery::Sent, 4),
        (patch(6), DesiredDelivery::Gap, 4),
        (full(7), DesiredDelivery::Sent, 7),
        (patch(5), DesiredDelivery::NotNeeded, 7),
        (full(7), DesiredDelivery::NotNeeded, 7),
        (patch(8), DesiredDelivery::Sent, 8),
    ] {
        assert_eq!(link.desired(&notice), delivery, "{notice:?}");
        assert_eq!(link.desired_sent(), Some(sent));
    }
    link.close();
    let notices = [4, 7, 8].map(desired_topic);
    assert_eq!(peer.topics().await[1..], notices);
}

#[tokio::test]
async fn a_get_is_never_answered_with_less_than_a_notice_said() {
    let (link, peer) = link().await;
    link.welcome(&[0x20, 2, 0, 0], ALL, 3);
    let answer = |version: u64| codec::publish(format!("get/{version}"), Bytes::new());
    assert_eq!(link.desired(&patch(4)), DesiredDelivery::Sent);
    assert_eq!(
        link.twin_answer(&answer(3), &full(3)),
        TwinDelivery::Overtaken
    );
    assert_eq!(link.twin_answer(&answer(4), &full(4)), TwinDelivery::Done);
    // The notices 5 and 6 are still on their way: their content is heard as one, in order.
    assert_eq!(link.twin_answer(&answer(6), &full(6)), TwinDelivery::Done);
    assert_eq!(link.desired(&patch(5)), DesiredDelivery::NotNeeded);
    assert_eq!(link.desired(&patch(6)), DesiredDelivery::NotNeeded);
    link.close();
    let said = [
        desired_topic(4),
        "get/4".into(),
        "get/6".into(),
        desired_topic(6),
    ];
    assert_eq!(peer.topics().await[1..], said);
}

#[tokio::test]
async fn a_device_that_begins_to_listen_hears_what_it_missed_since_its_get() {
    let deaf = Wants {
        calls: false,
        desired: false,
    };
    let listens = Wants {
        calls: false,
        desired: true,
    };
    let answer = codec::publish("get".to_owned(), Bytes::new());
    for (known, sent) in [
        (None, vec![]),
        (Some(5), vec![desired_topic(6)]),
        (Some(6), vec![]),
    ] {
        let (link, peer) = link().await;
        link.welcome(&[0x20, 2, 0, 0], deaf, 3);
        if let Some(version) = known {
            link.twin_answer(&answer, &full(version));
        }
        link.listen();
        assert_eq!(link.desired_sent(), Some(known.unwrap_or(0)));
        link.desired_known(&full(6));
        assert_eq!(link.desired_sent(), Some(6));
        link.adopt(&[0x90, 3, 0, 7, 0], listens);
        link.close();
        let mut heard = peer.topics().await;
        heard.retain(|topic| !["20", "90", "get"].contains(&topic.as_str()));
        assert_eq!(heard, sent);
    }
}

#[tokio::test]
async fn what_changes_between_subscribe_and_suback_is_told() {
    let (link, peer) = link().await;
    let wants = |desired| Wants {
        calls: false,
        desired,
    };
    link.welcome(&[0x20, 2, 0, 0], wants(false), 3);
    link.listen();
    // A patch is no use to a device of which nobody knows yet what it knows: the whole section follows.
    assert_eq!(link.desired(&patch(4)), DesiredDelivery::Gap);
    assert_eq!(link.desired(&full(4)), DesiredDelivery::Sent);
    link.desired_known(&full(4));
    link.adopt(&[0x90, 3, 0, 7, 0], wants(true));
    assert_eq!(link.desired(&patch(5)), DesiredDelivery::Sent);
    link.close();
    let heard = peer.topics().await;
    assert_eq!(
        heard[1..],
        [desired_topic(4), "90".into(), desired_topic(5)]
    );
}

#[tokio::test]
async fn a_change_before_connack_is_noted_as_missed() {
    let wants = |desired| Wants {
        calls: false,
        desired,
    };
    for (listens, changed, missed) in [(true, 4, true), (true, 3, false), (false, 4, false)] {
        let (link, _peer) = link().await;
        assert_eq!(link.desired(&patch(changed)), DesiredDelivery::NotNeeded);
        assert_eq!(link.welcome(&[0x20, 2, 0, 0], wants(listens), 3), missed);
    }
}

#[test]
fn a_section_ends_with_its_version() {
    assert_eq!(with_version("{}", 1), r#"{"$version":1}"#);
    assert_eq!(with_version(r#"{"a":{}}"#, 2), r#"{"a":{},"$version":2}"#);
}
