//! A way to the hub that offers nothing newer than HTTP/1.1, so that a client which would rather speak HTTP/2 can be
//! measured at both.
//!
//! It ends the client's TLS with the hub's own certificate, and passes on what it decrypts over a connection of its
//! own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::hub_process::HubOptions;

/// What ALPN calls it.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Relays until it is dropped.
pub(super) struct Http1Relay {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Both ends of what the relay passes on.
#[derive(Clone)]
struct Ends {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    hub: SocketAddr,
    name: ServerName<'static>,
}

impl Http1Relay {
    /// Listens on a free port of the hub's address.
    ///
    /// # Errors
    /// When the hub's certificate cannot be used, or no port is free.
    pub(super) async fn start(hub: &HubOptions) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((hub.bind, 0)).await?;
        let address = listener.local_addr()?;
        let ends = Ends {
            acceptor: acceptor(&hub.data_dir)?,
            connector: connector(&hub.ca_pem()?)?,
            hub: SocketAddr::new(hub.bind, hub.https_port),
            name: ServerName::try_from(hub.host_name.clone())?,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let ends = ends.clone();
                connections.spawn(async move {
                    // Whoever measures sees a connection that ends too early for itself.
                    let _ = ends.pass_on(stream).await;
                });
            }
        });
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Ends {
    async fn pass_on(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut client = self.acceptor.accept(stream).await?;
        let stream = TcpStream::connect(self.hub).await?;
        stream.set_nodelay(true)?;
        let mut hub = self.connector.connect(self.name.clone(), stream).await?;
        copy_bidirectional(&mut client, &mut hub).await?;
        Ok(())
    }
}

fn acceptor(data_dir: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(data_dir.join("server.pem"))
        .context("the hub's certificate cannot be read")?;
    let key = PrivateKeyDer::from_pem_file(data_dir.join("server-key.pem"))
        .context("the hub's key cannot be read")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(ca_pem: &[u8]) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
