//! A node on free ports of a loopback address of its own, and a client that sends what it is told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use fanfare_server::{Config, Flags, Node};
use fanfare_wire::sas::{SasGrant, sign};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where the nodes of these tests listen.
pub(crate) const ADDRESS: &str = "127.0.0.11";
/// A moment that tokens of these tests outlive.
const FAR_EXPIRY: i64 = 4_000_000_000;
/// Nothing here takes this long; a test that hangs says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node with its data folder.
pub(crate) struct Hub {
    pub(crate) node: Node,
    pub(crate) folder: TempDir,
    address: SocketAddr,
    connector: TlsConnector,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The name of the error code, which header and body agree on.
    pub(crate) fn code(&self) -> String {
        let name = self
            .header("iothub-errorcode")
            .unwrap_or_default()
            .to_owned();
        let body = fanfare_wire::error::ErrorReport::parse(&self.body).unwrap();
        assert_eq!(body.name.as_deref(), Some(name.as_str()), "{self:?}");
        name
    }
}

pub(crate) fn flags(folder: &TempDir) -> Flags {
    Flags {
        data_dir: Some(folder.path().join("data")),
        bind: vec![ADDRESS.to_owned()],
        host_name: vec![ADDRESS.to_owned()],
        https_port: Some(0),
        mqtts_port: Some(0),
        ..Flags::default()
    }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    /// A node on a folder that may have been used before.
    pub(crate) async fn on(folder: TempDir) -> Self {
        Self::with(folder, |_| {}).await
    }

    /// A node with some settings of its own.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Flags)) -> Self {
        Self::with(tempfile::tempdir().unwrap(), change).await
    }

    /// A node on a folder that may have been used before, with some settings of its own.
    pub(crate) async fn with(folder: TempDir, change: impl FnOnce(&mut Flags)) -> Self {
        let mut flags = flags(&folder);
        change(&mut flags);
        let config = Config::from_layers(flags, []).unwrap();
        let node = Node::start(&config).await.unwrap();
        let address = node.addresses().https[0];
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(node.ca_pem()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            node,
            folder,
            address,
            connector: TlsConnector::from(Arc::new(tls)),
        }
    }

    /// Stops the node; its folder stays.
    pub(crate) async fn stop(self) -> TempDir {
        self.node.stop().await;
        self.folder
    }

    /// An `Authorization` value of a policy.
    pub(crate) fn token(&self, policy: &str) -> String {
        let key = self
            .node
            .policy(policy)
            .unwrap()
            .primary
            .expose()
            .to_owned();
        let grant = SasGrant {
            resource: ADDRESS,
            key: &key,
            policy: Some(policy),
            expiry: FAR_EXPIRY,
        };
        sign(&grant).unwrap()
    }

    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.dial(self.address).await
    }

    /// A connection to another of its ports.
    pub(crate) async fn dial(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(ADDRESS).unwrap();
        self.connector.connect(name, stream).await.unwrap()
    }

    /// Sends a request as it is.
    pub(crate) async fn raw(&self, request: Request<Full<Bytes>>) -> Reply {
        let exchange = async {
            let stream = TokioIo::new(self.connect().await);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let reply = sender.send_request(request).await.unwrap();
            let (parts, body) = reply.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            drop(sender);
            connection.abort();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }

    /// Sends a request with a policy's token; `path` is followed by the version.
    pub(crate) async fn send(
        &self,
        policy: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{mark}api-version=2021-04-12"))
            .header("host", ADDRESS)
            .header("authorization", self.token(policy));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.raw(request.body(Full::from(body.to_owned())).unwrap())
            .await
    }

    /// Asks with an `Authorization` value.
    pub(crate) async fn show(&self, authorization: &str, path: &str) -> Reply {
        let request = Request::builder()
            .uri(format!("{path}?api-version=2021-04-12"))
            .header("host", ADDRESS)
            .header("authorization", authorization);
        self.raw(request.body(Full::default()).unwrap()).await
    }

    /// Sends a request as the owner.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send("iothubowner", method, path, &[], &body).await
    }

    /// As [`Self::ask`] for what must succeed.
    pub(crate) async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.ask(method, path, body).await;
        assert!(reply.status.is_success(), "{method} {path}: {reply:?}");
        if reply.body.is_empty() {
            Value::Null
        } else {
            reply.json()
        }
    }

    /// Asks until the job has ended; each look is a whole request.
    pub(crate) async fn ended(&self, job: &str) -> Value {
        let path = format!("/jobs/v2/{job}");
        let look = async {
            loop {
                let document = self.done("GET", &path, Value::Null).await;
                if ["completed", "failed", "cancelled"]
                    .iter()
                    .any(|end| document["status"] == *end)
                {
                    return document;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap()
    }
}
