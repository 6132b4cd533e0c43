//! What the hub shows its peers in a TLS handshake, and what it asks of them.
//!
//! The certificate is the operator's own ([`own_files`]) or one of the hub's private CA ([`private_ca`]). All listeners
//! share the [`CurrentCertificate`], which [`keeper`] exchanges while they serve: nobody's connection ends for it. What
//! is a usable pair of chain and key is decided in [`pair`].

mod current;
mod keeper;
mod own_files;
mod pair;
mod private_ca;

use std::{io, path::Path, path::PathBuf, sync::Arc};

use fanfare_hub::{Hub, time::Timestamp};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    server::danger::ClientCertVerifier,
    version::{TLS12, TLS13},
};

use self::own_files::Fingerprint;
pub use self::{
    current::CurrentCertificate,
    keeper::{Exchange, Reloaded, Reloader},
    own_files::{CertificateFiles, FileRole, OwnFileError},
};
pub(crate) use self::{
    keeper::{DeviceCa, Keeper},
    own_files::holds_its_root,
    private_ca::certificate_names,
};
use crate::{compose::Vault, config::Config};

/// What a node is told of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// The operator's own certificate; without it the hub's private CA issues one.
    pub files: Option<CertificateFiles>,
    /// What peers must speak at least.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2, with ciphers of forward secrecy alone.
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

impl TlsVersion {
    /// It and those after it. compat: AUTH-55
    fn and_later(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V1_2 => vec![&TLS13, &TLS12],
            Self::V1_3 => vec![&TLS13],
        }
    }
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("the certificate file {path} cannot be used")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the certificate file {path} is not usable: {problem}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the operator's own.
    #[error(transparent)]
    Own(#[from] OwnFileError),
    /// A certificate cannot be made.
    #[error("the hub's certificate cannot be issued")]
    Issue(#[from] rcgen::Error),
    /// TLS cannot be set up with it.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}

/// A node's TLS: what listeners serve with, and what the keeper needs to keep it going.
pub(crate) struct Tls {
    current: Arc<CurrentCertificate>,
    config: TlsConfig,
    folder: PathBuf,
    /// What its certificate should carry.
    names: Vec<String>,
    fingerprint: Option<Fingerprint>,
}

impl Tls {
    /// Reads the operator's certificate, or issues one in the data folder.
    ///
    /// # Errors
    /// There is none that can be used.
    pub(crate) fn start(
        config: &Config,
        folder: &Path,
        vault: &Vault,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let (names, current, fingerprint) = match &config.tls.files {
            Some(files) => {
                let names = config.host_names.clone();
                let (pair, fingerprint) = files.read()?;
                pair.tell_doubts(&names, now);
                (
                    names,
                    CurrentCertificate::new(pair, None),
                    Some(fingerprint),
                )
            }
            None => {
                let names = certificate_names(&config.host_names, &config.bind);
                let issued = private_ca::provide(folder, &names, vault, now)?;
                let current = CurrentCertificate::new(issued.pair, Some(issued.authority_ends));
                (names, current, None)
            }
        };
        Ok(Self {
            current,
            config: config.tls.clone(),
            folder: folder.to_owned(),
            names,
            fingerprint,
        })
    }

    /// What is in use, for the metrics.
    pub(crate) fn current(&self) -> &Arc<CurrentCertificate> {
        &self.current
    }

    /// For listeners that offer these application protocols. `clients` decides whether clients are asked for
    /// certificates.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn server_config(
        &self,
        protocols: &[&[u8]],
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        // Named, because a process may hold more than one provider.
        let mut config = ServerConfig::builder_with_provider(Arc::new(pair::provider()))
            .with_protocol_versions(&self.config.min_version.and_later())?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Who keeps it good while the node runs, and whom to ask for a reload. Authorities of devices' certificates are
    /// read again on the same occasion.
    pub(crate) fn keeper(
        &self,
        vault: Arc<Vault>,
        hub: &Arc<Hub>,
        device_ca: DeviceCa,
    ) -> (Keeper, Reloader) {
        Keeper::new(self, vault, hub.clone(), device_ca)
    }
}
