//! A device against a scripted peer on a real socket: what it writes, and what it does when it is cut off.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Codec, ConnectAck, Packet, SubscribeReturnCode};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::*;
use crate::fleet::{Behaviour, Fleet, FleetOptions, FleetTarget, new_key};

/// The peer's end of one connection.
struct Peer<S = TcpStream> {
    stream: S,
    codec: Codec,
    inbox: BytesMut,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("the device connects");
        Self::on(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    fn on(stream: S) -> Self {
        Self {
            stream,
            codec: Codec::default(),
            inbox: BytesMut::new(),
        }
    }

    async fn read(&mut self) -> Packet {
        loop {
            if let Some((packet, _)) = self.codec.decode(&mut self.inbox).expect("valid MQTT") {
                return packet;
            }
            let read = self
                .stream
                .read_buf(&mut self.inbox)
                .await
                .expect("the socket is read");
            assert_ne!(read, 0, "the device hung up");
        }
    }

    async fn write(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        self.codec.encode(packet, &mut bytes).expect("valid MQTT");
        self.stream
            .write_all(&bytes)
            .await
            .expect("the socket is written");
        self.stream.flush().await.expect("the socket is written");
    }

    /// Takes CONNECT and SUBSCRIBE and grants both.
    async fn welcome(&mut self, session_present: bool) -> Box<Connect> {
        let Packet::Connect(connect) = self.read().await else {
            panic!("no CONNECT")
        };
        let return_code = ConnectAckReason::ConnectionAccepted;
        self.write(Packet::ConnectAck(ConnectAck {
            return_code,
            session_present,
        }))
        .await;
        let Packet::Subscribe {
            packet_id,
            topic_filters,
        } = self.read().await
        else {
            panic!("no SUBSCRIBE")
        };
        let granted = SubscribeReturnCode::Success(QoS::AtLeastOnce);
        let status = vec![granted; topic_filters.len()];
        self.write(Packet::SubscribeAck { packet_id, status }).await;
        connect
    }

    async fn call(&mut self, rid: &str) {
        let topic = format!("$iothub/methods/POST/lockDoor/?$rid={rid}");
        let publish = Publish {
            dup: false,
            retain: false,
            qos: QoS::AtMostOnce,
            topic: topic.into(),
            packet_id: None,
            payload: Bytes::from_static(b"null"),
            properties: None,
        };
        self.write(publish.into()).await;
    }

    async fn read_publish(&mut self) -> Box<Publish> {
        let Packet::Publish(publish) = self.read().await else {
            panic!("no PUBLISH")
        };
        publish
    }
}

async fn fleet_of_one() -> (TcpListener, Fleet) {
    let (listener, address) = listener().await;
    (listener, fleet_at(FleetTarget::plain("hub.test", address)))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn fleet_at(target: FleetTarget) -> Fleet {
    let backoff = Duration::from_millis(1)..Duration::from_millis(10);
    let options = FleetOptions {
        backoff,
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::new(target, options);
    let behaviour = Behaviour::answers(Duration::ZERO..Duration::ZERO);
    fleet.add(DeviceSpec {
        id: "d1".to_owned(),
        key: new_key(),
        behaviour,
    });
    fleet.start_all();
    fleet
}

#[tokio::test]
async fn an_answer_survives_the_cut_of_its_connection() {
    let (listener, mut fleet) = fleet_of_one().await;
    let mut peer = Peer::accept(&listener).await;
    let connect = peer.welcome(false).await;
    assert!(!connect.clean_session);
    assert_eq!(&*connect.client_id, "d1");
    let username = connect.username.expect("it signs in");
    assert!(
        username.starts_with("hub.test/d1/?api-version=2021-04-12&"),
        "{username}"
    );
    fleet.wait_online(1).await;

    peer.call("a1").await;
    let first = peer.read_publish().await;
    assert_eq!(&*first.topic, "$iothub/methods/res/200/?$rid=a1");
    drop(peer);

    let mut peer = Peer::accept(&listener).await;
    peer.welcome(true).await;
    let again = peer.read_publish().await;
    assert!(again.dup);
    assert_eq!(
        (again.packet_id, &again.payload),
        (first.packet_id, &first.payload)
    );
    let packet_id = again.packet_id.expect("QoS 1 has a packet id");
    peer.write(Packet::PublishAck { packet_id }).await;
    peer.call("a2").await;
    assert!(peer.read_publish().await.topic.ends_with("$rid=a2"));

    fleet.stop("d1").await;
    assert_eq!(peer.read().await, Packet::Disconnect);
    let stats = fleet.stats();
    assert_eq!((stats.online, stats.connects, stats.calls), (0, 2, 2));
    assert_eq!(
        (stats.answers, stats.answers_again, stats.acknowledged),
        (2, 1, 1)
    );
    assert_eq!(stats.faults, 0, "{:?}", fleet.log("d1"));
}

#[tokio::test]
async fn a_refused_device_comes_back() {
    let (listener, fleet) = fleet_of_one().await;
    let mut peer = Peer::accept(&listener).await;
    assert!(matches!(peer.read().await, Packet::Connect(_)));
    let return_code = ConnectAckReason::ServiceUnavailable;
    peer.write(Packet::ConnectAck(ConnectAck {
        return_code,
        session_present: false,
    }))
    .await;
    let mut peer = Peer::accept(&listener).await;
    peer.welcome(false).await;
    fleet.wait_online(1).await;
    assert_eq!(fleet.stats().refused, 1);
}

#[tokio::test]
async fn a_device_speaks_tls_to_a_peer_that_its_ca_vouches_for() {
    let issued =
        rcgen::generate_simple_self_signed(["hub.test".to_owned()]).expect("a key is made");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .expect("the key fits the certificate");
    let (listener, address) = listener().await;
    // The port in the host name is for the username alone.
    let target = FleetTarget::tls("hub.test:8883", address, issued.cert.pem().as_bytes());
    let fleet = fleet_at(target.expect("the certificate is PEM"));

    let (tcp, _) = listener.accept().await.expect("the device connects");
    let stream = TlsAcceptor::from(Arc::new(config))
        .accept(tcp)
        .await
        .expect("TLS is agreed");
    let mut peer = Peer::on(stream);
    let connect = peer.welcome(false).await;
    assert!(
        connect
            .username
            .expect("it signs in")
            .starts_with("hub.test:8883/d1/?")
    );
    fleet.wait_online(1).await;
    peer.call("a1").await;
    assert_eq!(
        &*peer.read_publish().await.topic,
        "$iothub/methods/res/200/?$rid=a1"
    );
}
