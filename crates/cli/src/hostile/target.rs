//! Where hostile peers connect, from which addresses, and what insiders among them hold.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::hub_process::HubOptions;

/// A hub under attack.
#[derive(Clone)]
pub struct HostileTarget {
    pub(super) https: SocketAddr,
    pub(super) mqtts: SocketAddr,
    pub(super) host_name: String,
    /// The insiders' `Authorization`.
    pub(super) token: String,
    /// A device that exists.
    pub(super) device: String,
    /// A job that exists.
    pub(super) job: String,
    sources: Vec<IpAddr>,
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
    plain: TlsConnector,
}

/// Bytes the kernel takes for a peer that does not read.
const RECEIVE_BYTES: u32 = 16 * 1024;

/// What is spoken over TLS.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speech {
    Http1,
    Http2,
    Mqtt,
}

impl HostileTarget {
    /// A hub of ours. `token` is an `Authorization` value that may query and follow jobs, `device` and `job` are
    /// ids that exist, `sources` the addresses that peers come from, at least one.
    ///
    /// # Errors
    /// When the hub's certificate cannot be read.
    ///
    /// # Panics
    /// Without a source.
    pub fn new(
        hub: &HubOptions,
        token: String,
        (device, job): (String, String),
        sources: Vec<IpAddr>,
    ) -> anyhow::Result<Self> {
        assert!(!sources.is_empty(), "peers come from somewhere");
        let ca = hub.ca_pem()?;
        let connector = |protocols: &[&[u8]]| -> anyhow::Result<TlsConnector> {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&ca) {
                roots.add(certificate.context("the CA file is not PEM")?)?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            https: SocketAddr::new(hub.bind, hub.https_port),
            mqtts: SocketAddr::new(hub.bind, hub.mqtts_port),
            host_name: hub.host_name.clone(),
            token,
            device,
            job,
            sources,
            name: ServerName::try_from(hub.host_name.clone())?,
            http1: connector(&[b"http/1.1"])?,
            http2: connector(&[b"h2"])?,
            plain: connector(&[])?,
        })
    }

    /// A bare connection from the address of one of the peers.
    pub(super) async fn tcp(&self, address: SocketAddr, peer: usize) -> io::Result<TcpStream> {
        let source = self.sources[peer % self.sources.len()];
        Self::tcp_from(source, address).await
    }

    async fn tcp_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match source {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Nobody here wants to hear much; the sooner the hub has to wait for whom it answers, the better.
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(address).await
    }

    /// A connection with its handshake done.
    pub(super) async fn tls(
        &self,
        speech: Speech,
        peer: usize,
    ) -> io::Result<TlsStream<TcpStream>> {
        let (connector, address) = match speech {
            Speech::Http1 => (&self.http1, self.https),
            Speech::Http2 => (&self.http2, self.https),
            Speech::Mqtt => (&self.plain, self.mqtts),
        };
        let stream = self.tcp(address, peer).await?;
        connector.connect(self.name.clone(), stream).await
    }

    /// The same of an insider, who comes from the hub's own address: that of strangers is full of them.
    pub(super) async fn inside(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = Self::tcp_from(self.https.ip(), self.https).await?;
        self.http1.connect(self.name.clone(), stream).await
    }
}

/// Reads until the hub ends the connection, one way or the other.
pub(super) async fn until_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4_096];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}
