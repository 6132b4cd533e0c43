//! Settings of a client, and how it comes to trust the hub's certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

use crate::Error;

/// Settings of a client; [`Default`] suits a hub on the standard port with a publicly trusted certificate.
///
/// ```
/// use fanfare_client::{ClientOptions, Trust};
/// # let ca_pem = Vec::new();
/// let options = ClientOptions { trust: Trust::SystemAnd(ca_pem), ..ClientOptions::default() };
/// ```
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Port to use in place of the endpoint's; connection strings have no place for one.
    pub port: Option<u16>,
    /// Longest wait for one reply. Default 100 s, as the Python SDK waits.
    pub timeout: Duration,
    /// `api-version` of every request.
    pub api_version: String,
    /// `User-Agent` of every request.
    pub user_agent: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            port: None,
            timeout: Duration::from_secs(100),
            api_version: fanfare_wire::http::API_VERSION.to_owned(),
            user_agent: concat!("fanfare-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Whose certificates a client believes. The bytes are PEM, one certificate or more, as in a hub's `ca.pem`.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// The authorities the system trusts.
    #[default]
    System,
    /// These beside the system's.
    SystemAnd(Vec<u8>),
    /// These alone.
    Only(Vec<u8>),
}

impl Trust {
    /// TLS settings on the ring provider, named explicitly so that no other provider in the process matters.
    pub(crate) fn tls_config(&self) -> Result<rustls::ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let mut config = match self {
            Self::Only(pem) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in certificates(pem)? {
                    roots.add(certificate)?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Self::System | Self::SystemAnd(_) => {
                let extra = match self {
                    Self::SystemAnd(pem) => certificates(pem)?,
                    _ => Vec::new(),
                };
                let verifier = Verifier::new_with_extra_roots(extra, provider)?;
                builder
                    .dangerous() // our own choice of verifier; this one checks chain, name and dates
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Trust(error.to_string()))?;
    if found.is_empty() {
        return Err(Error::Trust("it holds no certificate".to_owned()));
    }
    Ok(found)
}
