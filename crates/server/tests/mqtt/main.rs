//! The MQTT gateway over real sockets, in front of a hub on an embedded store.

mod access;
mod bulk;
mod methods;
mod modules;
mod repeated;
mod reports;
mod rig;
mod twins;
mod x509;

use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{
    method::MethodError,
    registry::{KeyRenewal, Precondition, Status},
};
use fanfare_server::mqtt::{GatewayLimits, limits};
use rmqtt_codec::{
    types::{Protocol, Publish, QoS},
    v3::{Connect, Packet, SubscribeReturnCode},
};

use self::{
    methods::{answer_topic, lock_door, ready_after, rid},
    rig::{
        ANSWERS, Door, HOST, KEY, METHODS, OTHER_KEY, Rig, START_SECONDS, connect, id, token_of,
    },
};

#[tokio::test]
async fn connects_are_answered_by_their_code() {
    let (rig, _folder) = Rig::new().await;
    rig.put("off", Precondition::Absent, Status::Disabled, KEY)
        .await;
    for (at, (code, connect)) in good_and_bad_tokens()
        .into_iter()
        .chain(other_connects())
        .enumerate()
    {
        let (mut client, connack) = rig.knock(connect).await;
        assert_eq!(u8::from(connack.return_code), code, "case {at}");
        if code == 0 {
            client.hears_nothing().await;
        } else {
            assert!(!connack.session_present);
            client.ends().await;
        }
    }
    rig.stop().await;
}

/// Tokens and the code they are answered with.
fn good_and_bad_tokens() -> Vec<(u8, Connect)> {
    let with_token = |resource: &str, key, policy, expiry| {
        let password = token_of(resource, key, policy, expiry);
        Connect {
            password: Some(password.into()),
            ..connect("door-1")
        }
    };
    let hour = START_SECONDS + 3_600;
    let device = format!("{HOST}/devices/door-1");
    vec![
        (0, with_token(&device, OTHER_KEY, None, hour)),
        (
            0,
            with_token("HUB.test:8883/devices/door-1", KEY, None, hour),
        ),
        (
            0,
            with_token(&format!("{HOST}/devices"), KEY, Some("device"), hour),
        ),
        (0, with_token(HOST, OTHER_KEY, Some("iothubowner"), hour)),
        (0, with_token(&device, KEY, None, START_SECONDS - 200)),
        (5, with_token(&device, "c29tZSBvdGhlciBrZXk=", None, hour)),
        (5, with_token(&device, KEY, None, START_SECONDS - 301)),
        (
            5,
            with_token(&format!("{HOST}/devices/door-2"), KEY, None, hour),
        ),
        (5, with_token(&device, KEY, Some("service"), hour)),
        (5, with_token(&device, KEY, Some("nobodys"), hour)),
    ]
}

/// What else may be right or wrong with CONNECT.
fn other_connects() -> Vec<(u8, Connect)> {
    vec![
        (0, connect("door-1")),
        (
            1,
            Connect {
                protocol: Protocol(3),
                ..connect("door-1")
            },
        ),
        (
            1,
            Connect {
                protocol: Protocol(5),
                ..connect("door-1")
            },
        ),
        (
            2,
            Connect {
                client_id: "".into(),
                ..connect("door-1")
            },
        ),
        (
            2,
            Connect {
                client_id: "".into(),
                clean_session: true,
                ..connect("door-1")
            },
        ),
        (
            5,
            Connect {
                client_id: "door-2".into(),
                ..connect("door-1")
            },
        ),
        (
            5,
            Connect {
                username: Some("other.hub/door-1/".into()),
                ..connect("door-1")
            },
        ),
        (
            5,
            Connect {
                username: None,
                ..connect("door-1")
            },
        ),
        (
            5,
            Connect {
                password: None,
                ..connect("door-1")
            },
        ),
        (
            5,
            Connect {
                password: Some(Bytes::from_static(b"secret")),
                ..connect("door-1")
            },
        ),
        (5, connect("nobody")),
        (5, connect("off")),
    ]
}

#[tokio::test]
async fn subscriptions_outlive_connections_and_the_hub() {
    let limits = || ready_after(Duration::from_millis(10));
    let (rig, folder) = Rig::with(Door::Plain, limits()).await;
    let mut client = rig.connect("door-1", false).await;
    let codes = client.subscribe(&[METHODS, "what/ever", ANSWERS]).await;
    let granted = SubscribeReturnCode::Success(QoS::AtMostOnce);
    assert_eq!(codes, [granted, SubscribeReturnCode::Failure, granted]);
    client.send(Packet::Disconnect).await;
    client.ends().await;

    // The next one says nothing but CONNECT.
    let mut client = rig.connect("door-1", true).await;
    client
        .publish("$iothub/twin/GET/?$rid=a%20b", None, b" ")
        .await;
    assert_eq!(client.hear().await.0, "$iothub/twin/res/200/?$rid=a%20b");
    drop(client);
    rig.stop().await;

    let rig = Rig::open(folder.path(), Door::Plain, limits()).await;
    let mut client = rig.connect("door-1", true).await;
    let door_1 = id("door-1");
    let device = async {
        let (topic, _) = client.hear().await;
        client
            .publish(&answer_topic("200", &rid(&topic)), None, b"")
            .await;
    };
    let (answer, ()) = tokio::join!(rig.hub.methods.invoke(&door_1, lock_door(20)), device);
    assert_eq!(answer.unwrap().status, 200);

    let packet_id = 3.try_into().unwrap();
    let topic_filters = vec![METHODS.into(), "devices/else/#".into()];
    client
        .send(Packet::Unsubscribe {
            packet_id,
            topic_filters,
        })
        .await;
    assert_eq!(client.receive().await, Packet::UnsubscribeAck { packet_id });
    let mut client = rig.connect("door-1", true).await;
    client.hears_nothing().await;
    let refused = rig.hub.methods.invoke(&door_1, lock_door(0)).await;
    assert!(matches!(refused, Err(MethodError::NotOnline { .. })));

    let clean = Connect {
        clean_session: true,
        ..connect("door-1")
    };
    let (mut client, connack) = rig.knock(clean).await;
    assert!(!connack.session_present);
    client.subscribe(&[METHODS]).await;
    rig.connect("door-1", false).await;
    rig.stop().await;
}

#[tokio::test]
async fn the_newest_connection_wins() {
    let (rig, _folder) = Rig::new().await;
    let key = rig
        .hub
        .registry
        .get(&id("door-1"))
        .await
        .unwrap()
        .unwrap()
        .key;
    let mut older = rig.connect("door-1", false).await;
    for _ in 0..5 {
        let mut newer = rig.connect("door-1", false).await;
        older.ends().await;
        newer.hears_nothing().await;
        assert!(rig.hub.presence.view(key).connected);
        older = newer;
    }
    rig.stop().await;
}

#[tokio::test]
async fn telemetry_is_acknowledged() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    let largest = vec![7; limits::MESSAGE_BYTES_MAX];
    let events = "devices/door-1/messages/events";
    for (topic, payload) in [
        (events.to_owned(), &b"{}"[..]),
        (format!("{events}/"), &b""[..]),
        (
            format!("{events}/%24.mid=id%201&a%20b=c%2Fd%26e&alone"),
            &largest[..],
        ),
    ] {
        client.publish(&topic, Some(6), payload).await;
        client.hear_puback(6).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn illegal_packets_close_the_connection() {
    let (rig, _folder) = Rig::new().await;
    let publish = |topic: &str, qos, payload: Vec<u8>| -> Packet {
        let packet_id = (qos != QoS::AtMostOnce).then(|| 8.try_into().unwrap());
        let (topic, payload) = (topic.to_owned().into(), payload.into());
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
    };
    let events = "devices/door-1/messages/events/";
    let foreign = Packet::Subscribe {
        packet_id: 1.try_into().unwrap(),
        topic_filters: vec![(
            "devices/door-2/messages/devicebound/#".into(),
            QoS::AtMostOnce,
        )],
    };
    let illegal = [
        publish(events, QoS::ExactlyOnce, vec![]),
        publish(
            events,
            QoS::AtLeastOnce,
            vec![0; limits::MESSAGE_BYTES_MAX + 1],
        ),
        publish(
            events,
            QoS::AtMostOnce,
            vec![0; limits::PACKET_BYTES_MAX as usize],
        ),
        publish("devices/door-2/messages/events/", QoS::AtLeastOnce, vec![]),
        publish(
            "devices/door-1/messages/events/a=%zz",
            QoS::AtLeastOnce,
            vec![],
        ),
        publish("a/topic", QoS::AtMostOnce, vec![]),
        foreign,
        connect("door-1").into(),
    ];
    for packet in illegal {
        let what = format!("{packet:?}");
        let mut client = rig.connect("door-1", false).await;
        client.send(packet).await;
        assert_eq!(client.try_receive().await, None, "{what}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn strangers_cannot_make_the_hub_wait_or_allocate() {
    let limits = GatewayLimits {
        sign_in: Duration::from_millis(50),
        unfinished_connections: 1,
        ..GatewayLimits::default()
    };
    let (rig, _folder) = Rig::with(Door::Plain, limits).await;
    // One at a time: the second waits until the silent first has used up its time.
    let mut silent = rig.socket().await;
    let mut waiting = rig.socket().await;
    waiting.send(connect("door-1").into()).await;
    assert!(matches!(waiting.receive().await, Packet::ConnectAck(_)));
    silent.ends().await;

    for bytes in [
        &[0x10, 0x80, 0x80, 0x40][..],
        &[0xc0, 0],
        &[0x30, 2, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
    ] {
        let mut stranger = rig.socket().await;
        stranger.send_bytes(bytes).await;
        assert_eq!(stranger.try_receive().await, None, "{bytes:02x?}");
    }
    waiting.hears_nothing().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_device_that_may_no_longer_connect_is_cut() {
    let (rig, _folder) = Rig::new().await;
    let mut client = rig.connect("door-1", false).await;
    rig.put("door-1", Precondition::Exists, Status::Disabled, KEY)
        .await;
    client.ends().await;
    assert_eq!(
        u8::from(rig.knock(connect("door-1")).await.1.return_code),
        5
    );

    rig.put("door-1", Precondition::Exists, Status::Enabled, KEY)
        .await;
    let mut client = rig.connect("door-1", false).await;
    client.subscribe(&[METHODS]).await;
    rig.put(
        "door-1",
        Precondition::Exists,
        Status::Enabled,
        "YW5vdGhlciBsb25nIGtleQ==",
    )
    .await;
    client.ends().await;

    rig.put("door-1", Precondition::Exists, Status::Enabled, KEY)
        .await;
    let mut client = rig.connect("door-1", true).await;
    rig.hub
        .registry
        .delete(id("door-1"), Precondition::Exists)
        .await
        .unwrap();
    client.ends().await;
    assert_eq!(
        u8::from(rig.knock(connect("door-1")).await.1.return_code),
        5
    );
    rig.register("door-1").await;
    rig.connect("door-1", false).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_device_is_cut_when_the_key_it_came_with_is_renewed() {
    let (rig, _folder) = Rig::new().await;
    let mut other = rig.connect("door-2", false).await;
    for (renewal, code_after) in [
        (KeyRenewal::Secondary, 0),
        (KeyRenewal::Swap, 0),
        // The key of the tests is the second one now.
        (KeyRenewal::Secondary, 5),
    ] {
        let (mut client, connack) = rig.knock(connect("door-1")).await;
        assert_eq!(u8::from(connack.return_code), 0, "before {renewal:?}");
        let renewed = rig.hub.registry.renew_keys(&[id("door-1")], renewal).await;
        assert!(renewed.unwrap().iter().all(Result::is_ok));
        match code_after {
            0 => client.hears_nothing().await,
            _ => client.ends().await,
        }
        let (_, connack) = rig.knock(connect("door-1")).await;
        assert_eq!(u8::from(connack.return_code), code_after, "{renewal:?}");
    }
    other.hears_nothing().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let (rig, _folder) = Rig::new().await;
    // The hub's clock began a tenth of a second before the whole second in which this one ends, skew
    // included.
    let resource = format!("{HOST}/devices/door-1");
    let token = token_of(&resource, KEY, None, START_SECONDS + 1 - 300);
    let (mut client, connack) = rig
        .knock(Connect {
            password: Some(token.into()),
            ..connect("door-1")
        })
        .await;
    assert_eq!(u8::from(connack.return_code), 0);
    client.ends().await;
    assert!(rig.hub.clock.now().0 >= (START_SECONDS + 1) * 1_000_000);
    rig.stop().await;
}

#[tokio::test]
async fn stopping_cuts_every_connection_and_lets_nobody_in() {
    let (rig, _folder) = Rig::new().await;
    let mut device = rig.connect("door-1", false).await;
    let mut stranger = rig.socket().await;
    let address = rig.address;
    rig.stop().await;
    device.ends().await;
    stranger.ends().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
