//! A node of these tests, and clients that look at what it shows.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use fanfare_hub::{
    ports::{Clock, clock::ManualClock},
    time::Timestamp,
};
use fanfare_server::{Config, Flags, Node, StartError};
use fanfare_wire::sas::{SasGrant, sign};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rmqtt_codec::{
    types::Protocol,
    v3::{Codec, Connect, Packet},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::Encoder as _;

use crate::made::Files;

/// Where the nodes of these tests listen.
pub(crate) const ADDRESS: &str = "127.0.0.120";
/// What clients call them.
pub(crate) const NAME: &str = "hub.test";
/// Where the tests' own clocks begin.
pub(crate) const START: Timestamp = Timestamp(1_900_000_000_000_000);
/// Between two looks of a node at its files, and then some.
pub(crate) const LOOK: Duration = Duration::from_secs(11);
/// A moment that tokens of these tests outlive.
const FAR_EXPIRY: i64 = 4_000_000_000;
/// Nothing here takes this long; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A running node with its data folder and its clock.
pub(crate) struct Hub {
    pub(crate) node: Node,
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn flags(folder: &TempDir) -> Flags {
    Flags {
        data_dir: Some(folder.path().join("data")),
        bind: vec![ADDRESS.to_owned()],
        host_name: vec![NAME.to_owned()],
        https_port: Some(0),
        mqtts_port: Some(0),
        ..Flags::default()
    }
}

/// The flags of a node that is told of an operator's files.
pub(crate) fn own(files: &Files, flags: &mut Flags) {
    flags.tls_certificate_file = Some(files.certificate());
    flags.tls_key_file = Some(files.key());
}

impl Hub {
    /// With some settings of its own.
    pub(crate) async fn start(change: impl FnOnce(&mut Flags)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), START, change).await
    }

    pub(crate) async fn with_files(files: &Files) -> Self {
        Self::start(|flags| own(files, flags)).await
    }

    pub(crate) async fn on(
        folder: TempDir,
        now: Timestamp,
        change: impl FnOnce(&mut Flags),
    ) -> Self {
        let mut flags = flags(&folder);
        change(&mut flags);
        let config = Config::from_layers(flags, []).unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let node = start(&config, clock.clone()).await.unwrap();
        Self {
            node,
            folder,
            clock,
        }
    }

    pub(crate) async fn stop(self) -> TempDir {
        soon("the node's end", self.node.stop()).await;
        self.folder
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.node.addresses().https[0]
    }

    pub(crate) fn mqtts(&self) -> SocketAddr {
        self.node.addresses().mqtts[0]
    }

    /// The first certificate of a new handshake with the service API, which is that of MQTT as well.
    pub(crate) async fn shown(&self) -> CertificateDer<'static> {
        let https = handshake(self.https(), &TLS13).await.unwrap();
        let mqtts = handshake(self.mqtts(), &TLS12).await;
        let https = chain(&https)[0].clone();
        if let Ok(mqtts) = mqtts {
            assert_eq!(chain(&mqtts)[0], https);
        }
        https
    }

    /// Moves time on, look by look, until new handshakes show another certificate, which it returns.
    pub(crate) async fn comes_to_show_other_than(
        &self,
        first: &CertificateDer<'_>,
    ) -> CertificateDer<'static> {
        let come = async {
            loop {
                let stream = handshake(self.https(), &TLS13).await.unwrap();
                if chain(&stream)[0] != *first {
                    return;
                }
                self.clock.advance(LOOK);
            }
        };
        soon("another certificate", come).await;
        self.shown().await
    }

    /// A service's connection.
    pub(crate) async fn session(&self) -> Session {
        let stream = handshake(self.https(), &TLS13).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(async move {
            let _: Result<(), hyper::Error> = connection.await;
        });
        let owner = self.node.policy("iothubowner").unwrap();
        let token = token(NAME, owner.primary.expose(), Some("iothubowner"));
        Session {
            sender,
            driver,
            token,
        }
    }

    /// A signed-in device.
    pub(crate) async fn device(&self, name: &str) -> Device {
        let mut session = self.session().await;
        let made = session.ask("PUT", &format!("/devices/{name}")).await;
        let made: Value = serde_json::from_str(&made).unwrap();
        let key = made["authentication"]["symmetricKey"]["primaryKey"]
            .as_str()
            .unwrap();
        let connect = Connect {
            protocol: Protocol(4),
            clean_session: true,
            keep_alive: 600,
            last_will: None,
            client_id: name.to_owned().into(),
            username: Some(format!("{NAME}/{name}/?api-version=2021-04-12").into()),
            password: Some(token(&format!("{NAME}/devices/{name}"), key, None).into()),
            cert: None,
        };
        let mut bytes = BytesMut::new();
        Codec::default()
            .encode(Packet::Connect(Box::new(connect)), &mut bytes)
            .unwrap();
        let mut stream = handshake(self.mqtts(), &TLS13).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut connack = [0; 4];
        soon("CONNACK", stream.read_exact(&mut connack))
            .await
            .unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        Device { stream }
    }

    /// The value of a metric's series; nothing when it is not shown.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let page = self.session().await.ask("GET", "/fanfare/v1/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(series))?;
        Some(line.trim().parse().unwrap())
    }
}

/// A start that may fail.
pub(crate) async fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Node, StartError> {
    soon("the node's start", Node::start_at(config, clock)).await
}

fn token(resource: &str, key: &str, policy: Option<&str>) -> String {
    sign(&SasGrant {
        resource,
        key,
        policy,
        expiry: FAR_EXPIRY,
    })
    .unwrap()
}

/// A connection to the service API that stays.
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    token: String,
}

impl Session {
    /// As the owner; what must succeed.
    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> String {
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?api-version=2021-04-12"))
            .header("host", NAME)
            .header("authorization", &self.token)
            .body(Full::from(if method == "PUT" { "{}" } else { "" }))
            .unwrap();
        let exchange = async {
            let reply = self.sender.send_request(request).await.unwrap();
            let status = reply.status();
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let (status, body) = soon("an answer", exchange).await;
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        body
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A signed-in device's connection.
pub(crate) struct Device {
    stream: TlsStream<TcpStream>,
}

impl Device {
    /// Asks and hears that it is connected.
    pub(crate) async fn ping(&mut self) {
        self.stream.write_all(&[0xc0, 0]).await.unwrap();
        let mut answer = [0; 2];
        soon("PINGRESP", self.stream.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer, [0xd0, 0]);
    }
}

/// A whole handshake. The client trusts whoever proves to have the key of the certificate it shows.
pub(crate) async fn handshake(
    address: SocketAddr,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    connect(address, config).await
}

/// A whole handshake with settings of one's own.
pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    soon("a handshake", connector.connect(name, stream)).await
}

/// What the node showed.
pub(crate) fn chain(stream: &TlsStream<TcpStream>) -> &[CertificateDer<'static>] {
    stream.get_ref().1.peer_certificates().unwrap()
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
