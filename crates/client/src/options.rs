//! Settings of a client, and how it comes to trust the hub's certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::SetupError;
use crate::{Error, Proxy, RetryPolicy};

/// Settings of a client; [`Default`] suits a hub on the standard port with a publicly trusted certificate.
///
/// ```
/// use std::time::Duration;
/// use fanfare_client::{ClientOptions, Trust};
/// # let ca_pem = Vec::new();
/// let options = ClientOptions {
///     trust: Trust::SystemAnd(ca_pem),
///     timeout: Duration::from_secs(20),
///     ..ClientOptions::default()
/// };
/// ```
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Port to use in place of the endpoint's.
    pub port: Option<u16>,
    /// Longest time one try may take, from connecting to the last byte of the reply. A call on which the hub itself
    /// may take longer, such as a method call with a long response time-out, has as long as that. Connecting alone
    /// may take 15 s of it. Default 100 s, as the Python SDK waits.
    pub timeout: Duration,
    /// `api-version` of every request.
    pub api_version: String,
    /// `User-Agent` of every request.
    pub user_agent: String,
    /// How failed calls are made again.
    pub retry: RetryPolicy,
    /// The HTTP proxy on the way; `None` goes straight to the hub, whatever the environment says.
    pub proxy: Option<Proxy>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            port: None,
            timeout: Duration::from_secs(100),
            api_version: fanfare_wire::http::API_VERSION.to_owned(),
            user_agent: concat!("fanfare-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            proxy: None,
        }
    }
}

/// Whose certificates a client believes. The bytes are PEM, one certificate or more, as in a hub's `ca.pem`.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, Trust};
///
/// # fn main() -> Result<(), fanfare_client::Error> {
/// let trust = Trust::system_and_file("fanfare-data/ca.pem")?;
/// let options = ClientOptions { trust, ..ClientOptions::default() };
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Trust {
    /// The authorities the system trusts. Needs the feature `platform-verifier`.
    #[default]
    System,
    /// These beside the system's. Needs the feature `platform-verifier`.
    SystemAnd(Vec<u8>),
    /// These alone.
    Only(Vec<u8>),
}

impl Trust {
    /// The certificates in a PEM file, beside the system's.
    ///
    /// # Errors
    /// [`SetupError::Trust`] when the file cannot be read.
    ///
    /// ```
    /// assert!(fanfare_client::Trust::system_and_file("no/such/ca.pem").is_err());
    /// ```
    pub fn system_and_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        pem_file(path.as_ref()).map(Self::SystemAnd)
    }

    /// The certificates in a PEM file alone.
    ///
    /// # Errors
    /// [`SetupError::Trust`] when the file cannot be read.
    ///
    /// ```
    /// assert!(fanfare_client::Trust::only_file("no/such/ca.pem").is_err());
    /// ```
    pub fn only_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        pem_file(path.as_ref()).map(Self::Only)
    }

    /// TLS settings on the ring provider, named explicitly so that no other provider in the process matters.
    pub(crate) fn tls_config(&self) -> Result<rustls::ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        match self {
            Self::Only(pem) => only(certificates(pem)?, provider),
            Self::System => system_and(Vec::new(), provider),
            Self::SystemAnd(pem) => system_and(certificates(pem)?, provider),
        }
    }
}

/// A bundle of authorities would fill a log.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::SystemAnd(pem) => write!(f, "SystemAnd({} bytes)", pem.len()),
            Self::Only(pem) => write!(f, "Only({} bytes)", pem.len()),
        }
    }
}

fn only(
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| SetupError::Trust(error.to_string()))?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(feature = "platform-verifier")]
fn system_and(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ClientConfig, Error> {
    use rustls_platform_verifier::Verifier;

    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(tls)?;
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?;
    Ok(builder
        .dangerous() // our own choice of verifier; this one checks chain, name and dates
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

#[cfg(not(feature = "platform-verifier"))]
fn system_and(
    _: Vec<CertificateDer<'static>>,
    _: Arc<CryptoProvider>,
) -> Result<rustls::ClientConfig, Error> {
    let why = "this build of fanfare-client cannot ask the system whom it trusts: \
        give the certificates with Trust::Only, or turn on the feature platform-verifier";
    Err(SetupError::Trust(why.to_owned()).into())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| SetupError::Trust(error.to_string()))?;
    if found.is_empty() {
        return Err(SetupError::Trust("it holds no certificate".to_owned()).into());
    }
    Ok(found)
}

fn pem_file(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path)
        .map_err(|error| SetupError::Trust(format!("{}: {error}", path.display())).into())
}

fn tls(error: rustls::Error) -> Error {
    SetupError::Tls(error.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_none_are_refused_with_the_reason() {
        for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            let error = Trust::Only(pem.into()).tls_config().expect_err(pem);
            assert!(
                matches!(error, Error::Setup(SetupError::Trust(_))),
                "{error}"
            );
        }
        let error = Trust::only_file("no/such/ca.pem").expect_err("no file");
        assert!(error.to_string().contains("no/such/ca.pem"), "{error}");
    }

    #[test]
    fn a_bundle_is_shown_by_its_length() {
        assert_eq!(format!("{:?}", Trust::Only(vec![0; 9])), "Only(9 bytes)");
    }

    #[cfg(not(feature = "platform-verifier"))]
    #[test]
    fn a_small_build_says_why_it_cannot_trust_the_system() {
        let error = Trust::System.tls_config().expect_err("no verifier");
        assert!(error.to_string().contains("platform-verifier"), "{error}");
    }
}
