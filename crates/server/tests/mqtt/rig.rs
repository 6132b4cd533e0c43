//! A hub on an embedded store with the MQTT gateway in front, and a raw MQTT client.

#![allow(
    clippy::unwrap_used,
    reason = "a rig that cannot be set up fails its test"
)]

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU8},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use fanfare_hub::{
    Hub,
    access::{DEFAULT_POLICIES, Policy},
    ids::{DeviceId, Etag, IdentityId, ModuleId},
    ports::{Clock, Entropy, store::PolicyStore as _},
    profile::Profile,
    registry::{
        AuthenticationRequest, Identity, IdentityRequest, Precondition, Status, SymmetricKey,
    },
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinPatch},
};
use fanfare_server::{
    auth::{Access, LocalAuth},
    mqtt::{self, Gateway, GatewayLimits},
    throttle::Throttle,
};
use fanfare_store::Embedded;
use fanfare_wire::sas::{SasGrant, sign};
use futures_util::future::BoxFuture;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rmqtt_codec::{
    types::{Protocol, Publish, QoS},
    v3::{Codec, Connect, ConnectAck, Packet, SubscribeReturnCode},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::ring,
    pki_types::PrivateKeyDer,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::codec::{Decoder, Encoder};

pub(crate) const HOST: &str = "hub.test";
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
/// What modules of these tests sign in with first.
pub(crate) const MODULE_KEY: &str = "bW9kdWxlcycgb3duIGtleQ==";
pub(crate) const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMA==";
pub(crate) const METHODS: &str = "$iothub/methods/POST/#";
pub(crate) const ANSWERS: &str = "$iothub/twin/res/#";
pub(crate) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Time that begins at [`START`] and runs on.
struct RunningClock(Instant);

/// A tenth of a second before a whole second, so that a token can end soon.
pub(crate) const START: Timestamp = Timestamp(1_900_000_000_900_000);
/// The seconds of [`START`].
pub(crate) const START_SECONDS: i64 = 1_900_000_000;

impl Clock for RunningClock {
    fn now(&self) -> Timestamp {
        START + self.0.elapsed()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(at.since(self.now())))
    }
}

/// Keys nobody needs to guess.
struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

/// How a hub is reached.
pub(crate) enum Door {
    Plain,
    Tls(&'static SupportedProtocolVersion),
}

/// A hub with its gateway.
pub(crate) struct Rig {
    pub(crate) hub: Arc<Hub>,
    /// Below the hub: no connection hears of what is written here.
    pub(crate) store: Arc<Embedded>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) throttle: Option<Arc<Throttle>>,
    tls: Option<Arc<ClientConfig>>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    engine: JoinHandle<()>,
}

impl Rig {
    /// A new hub with the devices `door-1` and `door-2`, on a plain port.
    pub(crate) async fn new() -> (Self, TempDir) {
        Self::with(Door::Plain, GatewayLimits::default()).await
    }

    pub(crate) async fn with(door: Door, limits: GatewayLimits) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let rig = Self::open(folder.path(), door, limits).await;
        for name in ["door-1", "door-2"] {
            rig.register(name).await;
        }
        (rig, folder)
    }

    /// A new hub with the devices `door-1` and `door-2` that imposes the limits of a profile.
    pub(crate) async fn with_profile(profile: Profile) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let limits = GatewayLimits::default();
        let rig = Self::open_with(folder.path(), Door::Plain, limits, profile).await;
        for name in ["door-1", "door-2"] {
            rig.register(name).await;
        }
        (rig, folder)
    }

    /// A new hub with the devices `door-1` and `door-2` that takes only some kinds of local tokens.
    pub(crate) async fn with_local(local: LocalAuth) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let limits = GatewayLimits::default();
        let rig =
            Self::open_local(folder.path(), Door::Plain, limits, Profile::open(), local).await;
        for name in ["door-1", "door-2"] {
            rig.register(name).await;
        }
        (rig, folder)
    }

    /// A hub on the store in `folder`.
    pub(crate) async fn open(folder: &Path, door: Door, limits: GatewayLimits) -> Self {
        Self::open_with(folder, door, limits, Profile::open()).await
    }

    async fn open_with(folder: &Path, door: Door, limits: GatewayLimits, profile: Profile) -> Self {
        Self::open_local(folder, door, limits, profile, LocalAuth::default()).await
    }

    async fn open_local(
        folder: &Path,
        door: Door,
        limits: GatewayLimits,
        profile: Profile,
        local: LocalAuth,
    ) -> Self {
        let store = Arc::new(Embedded::open(&folder.join("hub.db")).unwrap());
        let clock = Arc::new(RunningClock(Instant::now()));
        let entropy = Arc::new(Counting(AtomicU8::new(0)));
        let history = Duration::from_secs(3_600);
        let (hub, engine) = Hub::with_profile(store.clone(), clock, entropy, history, profile);
        let policy = |(name, rights): (&str, _)| Policy {
            name: name.into(),
            rights,
            primary: SymmetricKey::new(KEY),
            secondary: SymmetricKey::new(OTHER_KEY),
            etag: Etag(0),
        };
        let defaults = DEFAULT_POLICIES.map(policy).into();
        store.policy_seed(defaults).await.unwrap();
        hub.policies.load().await.unwrap();
        let access = Access::new(vec![HOST.to_owned()], hub.policies.clone());
        let access = Arc::new(access.with_local(local));
        let gateway = Gateway::with_limits(hub.clone(), access, limits);
        let throttle = Throttle::of(&hub.profile);
        let gateway = Arc::new(gateway.throttled(throttle.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (server, client) = match door {
            Door::Plain => (None, None),
            Door::Tls(version) => {
                let (server, client) = tls(version);
                (Some(server), Some(client))
            }
        };
        let serving = tokio::spawn(mqtt::serve(listener, server, gateway, stopped.clone()));
        let engine = tokio::spawn(engine.scheduler.run(stopped));
        Self {
            hub,
            store,
            address,
            throttle,
            tls: client,
            stop,
            serving,
            engine,
        }
    }

    pub(crate) async fn register(&self, name: &str) -> Identity {
        self.put(name, Precondition::Absent, Status::Enabled, KEY)
            .await
    }

    /// Creates or changes a device, or a module: `device/module`.
    pub(crate) async fn put(
        &self,
        name: &str,
        precondition: Precondition,
        status: Status,
        key: &str,
    ) -> Identity {
        let request = IdentityRequest {
            id: id(name),
            precondition,
            status: Some(status),
            status_reason: None,
            authentication: AuthenticationRequest::Sas {
                primary: Some(SymmetricKey::new(key)),
                secondary: Some(SymmetricKey::new(OTHER_KEY)),
            },
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
            twin: None,
        };
        self.hub.registry.put(request).await.unwrap()
    }

    /// Changes desired properties as a service does; returns the new version.
    pub(crate) async fn desire(&self, name: &str, members: &str) -> u64 {
        let members: Object = serde_json::from_str(members).unwrap();
        let patch = TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(members)).unwrap();
        let view = self.hub.twins.patch(&id(name), patch, None).await.unwrap();
        view.twin.document.desired.version
    }

    pub(crate) async fn socket(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let connector = TlsConnector::from(config.clone());
                let name = "localhost".try_into().unwrap();
                Box::new(soon("TLS", connector.connect(name, stream)).await.unwrap())
            }
        };
        Client::over(stream)
    }

    /// Signs in and hopes for CONNACK.
    pub(crate) async fn knock(&self, connect: Connect) -> (Client, ConnectAck) {
        let mut client = self.socket().await;
        let level = connect.protocol.0;
        // The codec writes level 4 whatever it is told, and an older name for an older level.
        let mut bytes = client.encode(
            Connect {
                protocol: Protocol(4),
                ..connect
            }
            .into(),
        );
        let name = bytes.windows(4).position(|four| four == b"MQTT").unwrap();
        bytes[name + 4] = level;
        client.send_bytes(&bytes).await;
        match client.receive().await {
            Packet::ConnectAck(connack) => (client, connack),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Signs in; the session must be there before or not, as told.
    pub(crate) async fn connect(&self, name: &str, session_present: bool) -> Client {
        let (client, connack) = self.knock(connect(name)).await;
        assert_eq!(u8::from(connack.return_code), 0);
        assert_eq!(connack.session_present, session_present);
        client
    }

    /// Stops everything; connections are gone then.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        soon("the gateway's end", self.serving).await.unwrap();
        soon("the engine's end", self.engine).await.unwrap();
    }
}

fn tls(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// The identity of a client id: `device` or `device/module`.
pub(crate) fn id(name: &str) -> IdentityId {
    let (device, module) = match name.split_once('/') {
        Some((device, module)) => (device, Some(module)),
        None => (name, None),
    };
    IdentityId {
        device: DeviceId::parse(device).unwrap(),
        module: module.map(|module| ModuleId::parse(module).unwrap()),
    }
}

/// A token of a device's or module's own key, good for an hour.
pub(crate) fn token(name: &str) -> String {
    let (resource, key) = match name.split_once('/') {
        Some((device, module)) => (format!("{device}/modules/{module}"), MODULE_KEY),
        None => (name.to_owned(), KEY),
    };
    let resource = format!("{HOST}/devices/{resource}");
    token_of(&resource, key, None, START_SECONDS + 3_600)
}

pub(crate) fn token_of(resource: &str, key: &str, policy: Option<&str>, expiry: i64) -> String {
    sign(&SasGrant {
        resource,
        key,
        policy,
        expiry,
    })
    .unwrap()
}

/// CONNECT as the SDKs send it.
pub(crate) fn connect(name: &str) -> Connect {
    Connect {
        protocol: Protocol(4),
        clean_session: false,
        keep_alive: 180,
        last_will: None,
        client_id: name.to_owned().into(),
        username: Some(format!("{HOST}/{name}/?api-version=2021-04-12").into()),
        password: Some(token(name).into()),
        cert: None,
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An MQTT client that does nothing by itself.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    codec: Codec,
    inbox: BytesMut,
}

impl Client {
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            codec: Codec::default(),
            inbox: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let bytes = self.encode(packet);
        self.send_bytes(&bytes).await;
    }

    fn encode(&mut self, packet: Packet) -> BytesMut {
        let mut bytes = BytesMut::new();
        self.codec.encode(packet, &mut bytes).unwrap();
        bytes
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn publish(&mut self, topic: &str, packet_id: Option<u16>, payload: &[u8]) {
        let publish = Publish {
            dup: false,
            retain: false,
            qos: if packet_id.is_some() {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            },
            topic: topic.to_owned().into(),
            packet_id: packet_id.map(|id| id.try_into().unwrap()),
            payload: Bytes::copy_from_slice(payload),
            properties: None,
        };
        self.send(publish.into()).await;
    }

    /// Subscribes and returns the codes of SUBACK.
    pub(crate) async fn subscribe(&mut self, filters: &[&str]) -> Vec<SubscribeReturnCode> {
        let wanted = filters
            .iter()
            .map(|text| ((*text).to_owned().into(), QoS::AtMostOnce));
        let packet_id = 77.try_into().unwrap();
        self.send(Packet::Subscribe {
            packet_id,
            topic_filters: wanted.collect(),
        })
        .await;
        match self.receive().await {
            Packet::SubscribeAck {
                packet_id: id,
                status,
            } if id == packet_id => status,
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// The next packet, or `None` when the hub closed the connection.
    pub(crate) async fn try_receive(&mut self) -> Option<Packet> {
        loop {
            if let Some((packet, _)) = self.codec.decode(&mut self.inbox).unwrap() {
                return Some(packet);
            }
            let read = soon("a packet", self.stream.read_buf(&mut self.inbox)).await;
            // A cut is a reset, or over TLS an end without notice.
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Packet {
        self.try_receive()
            .await
            .expect("the hub keeps the connection")
    }

    /// The next packet, which is a PUBLISH: its topic and payload.
    pub(crate) async fn hear(&mut self) -> (String, String) {
        match self.receive().await {
            Packet::Publish(publish) => {
                assert_eq!(
                    (publish.qos, publish.retain, publish.dup),
                    (QoS::AtMostOnce, false, false)
                );
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                (publish.topic.to_string(), payload)
            }
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    /// The next packet is PUBACK of this id.
    pub(crate) async fn hear_puback(&mut self, id: u16) {
        let expected = Packet::PublishAck {
            packet_id: id.try_into().unwrap(),
        };
        assert_eq!(self.receive().await, expected);
    }

    /// The hub has nothing more to say: a PINGREQ is answered at once.
    pub(crate) async fn hears_nothing(&mut self) {
        self.send(Packet::PingRequest).await;
        assert_eq!(self.receive().await, Packet::PingResponse);
    }

    /// The hub closes the connection, whatever it says before.
    pub(crate) async fn ends(&mut self) {
        while self.try_receive().await.is_some() {}
    }
}
