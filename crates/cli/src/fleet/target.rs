//! Where a fleet connects to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ConfigBuilder, WantsVerifier};
use rustls_platform_verifier::Verifier;

/// The MQTT port of a hub and the host name its devices sign in with.
#[derive(Clone)]
pub struct FleetTarget {
    pub(super) host_name: String,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for FleetTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetTarget")
            .field("host_name", &self.host_name)
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl FleetTarget {
    /// The unencrypted MQTT port of a hub (`fanfare serve --mqtt-plain-port`).
    pub fn plain(host_name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            host_name: host_name.into(),
            address,
            tls: None,
        }
    }

    /// The TLS port of a hub whose certificate `ca_pem` vouches for.
    ///
    /// # Errors
    /// When `ca_pem` holds no certificate, or the host name cannot be in one.
    pub fn tls(
        host_name: impl Into<String>,
        address: SocketAddr,
        ca_pem: &[u8],
    ) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem) {
            roots.add(certificate.context("the CA file is not PEM")?)?;
        }
        anyhow::ensure!(!roots.is_empty(), "the CA file holds no certificate");
        let config = tls_builder()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self::with_config(host_name.into(), address, config)
    }

    /// The TLS port of a hub whose certificate the system's authorities vouch for.
    ///
    /// # Errors
    /// When the system trusts nobody, or the host name cannot be in a certificate.
    pub fn tls_with_system_roots(
        host_name: impl Into<String>,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = tls_builder()?
            .dangerous() // our own choice of verifier; this one checks chain, name and dates
            .with_custom_certificate_verifier(Arc::new(Verifier::new(provider)?))
            .with_no_client_auth();
        Self::with_config(host_name.into(), address, config)
    }

    fn with_config(
        host_name: String,
        address: SocketAddr,
        config: rustls::ClientConfig,
    ) -> anyhow::Result<Self> {
        let bare = host_name
            .rsplit_once(':')
            .map_or(&*host_name, |(bare, _)| bare);
        let name = ServerName::try_from(bare.to_owned())
            .with_context(|| format!("{bare} is no name a certificate can carry"))?;
        Ok(Self {
            host_name,
            address,
            tls: Some((Arc::new(config), name)),
        })
    }
}

/// On the ring provider, named explicitly so that no other provider in the process matters.
fn tls_builder() -> anyhow::Result<ConfigBuilder<rustls::ClientConfig, WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?)
}
