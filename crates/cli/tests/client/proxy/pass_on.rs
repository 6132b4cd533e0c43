//! The way from the proxy to the hub: one connection for each request, so that no fault of one is another's.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use fanfare_cli::hub_process::HubOptions;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the hub is and whom to trust for it.
#[derive(Clone)]
pub(super) struct Hub {
    address: SocketAddr,
    name: String,
    connector: TlsConnector,
}

impl Hub {
    /// The hub of `options`, which has run at least once.
    pub(super) fn of(options: &HubOptions) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let pem = options.ca_pem().unwrap();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: SocketAddr::new(options.bind, options.https_port),
            name: options.host_name.clone(),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// The hub's reply to a request, its body still to come.
    pub(super) async fn ask(&self, head: Parts, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(self.name.clone())?;
        let tls = self.connector.connect(name, tcp).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        // Ends with the reply's body, or when nobody reads that any more.
        tokio::spawn(connection);
        let mut reply = sender.send_request(self.request(head, body)?).await?;
        // The way back has its own idea of both.
        reply.headers_mut().remove(CONNECTION);
        reply.headers_mut().remove(TRANSFER_ENCODING);
        *reply.version_mut() = Version::HTTP_11;
        Ok(reply)
    }

    fn request(&self, mut head: Parts, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let path = head.uri.path_and_query().context("a request has a path")?;
        head.uri = path.as_str().parse()?;
        head.version = Version::HTTP_11;
        head.headers.remove(CONNECTION);
        if !head.headers.contains_key(HOST) {
            head.headers.insert(HOST, self.name.parse()?);
        }
        Ok(Request::from_parts(head, Full::new(body)))
    }
}
