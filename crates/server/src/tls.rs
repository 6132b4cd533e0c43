//! The hub's private CA and server certificate, and the TLS settings made of them.
//!
//! The CA is made once and kept. The server certificate is issued again whenever names or addresses
//! changed, or its end is near, so clients go on trusting the same `ca.pem`. The chain that is sent holds
//! the leaf only: clients test that a stranger cannot complete it.

use std::{fs, io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use fanfare_hub::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::danger::ClientCertVerifier,
};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};
use zeroize::Zeroizing;

use crate::{
    compose::Vault,
    data_dir::{PUBLIC_MODE, replace},
    vault::{read_private, write_private},
};

/// A server certificate with its key.
pub(crate) struct ServerCertificate {
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
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
    /// A certificate cannot be made.
    #[error("the hub's certificate cannot be issued")]
    Issue(#[from] rcgen::Error),
    /// TLS cannot be set up with it.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Clocks of clients may be behind by this much.
const BACKDATED: Duration = DAY;
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3_600);
/// Clients of some systems refuse certificates of more than 825 days.
const LEAF_LIFE: Duration = Duration::from_secs(800 * 24 * 3_600);
/// A certificate with less than this left is issued again.
const LEAF_LEFT_MIN: Duration = Duration::from_secs(30 * 24 * 3_600);

impl ServerCertificate {
    /// The certificate for `names` in the folder, issued (again) where need be.
    ///
    /// # Errors
    /// The files cannot be read, written or understood.
    pub(crate) fn provide(
        folder: &Path,
        names: &[String],
        vault: &Vault,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let issuer = authority(folder, vault, now)?;
        let (certificate_path, key_path) =
            (folder.join("server.pem"), folder.join("server-key.pem"));
        if certificate_path.exists() && key_path.exists() {
            let kept = Self::read(&certificate_path, &key_path, vault)?;
            if kept.is_good_for(names, now) {
                return Ok(kept);
            }
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = leaf_params(names, now)?.signed_by(&key, &issuer)?;
        write_key(&key_path, &key, vault)?;
        write(&certificate_path, &leaf.pem())?;
        tracing::info!(host.names = ?names, "issued a server certificate");
        Self::read(&certificate_path, &key_path, vault)
    }

    fn read(certificate: &Path, key: &Path, vault: &Vault) -> Result<Self, TlsError> {
        let leaf = CertificateDer::from_pem_slice(read(certificate)?.as_bytes())
            .map_err(|error| content(certificate, &error))?;
        let key = PrivateKeyDer::from_pem_slice(read_key(key, vault)?.as_bytes())
            .map_err(|error| content(key, &error))?;
        Ok(Self { leaf, key })
    }

    fn is_good_for(&self, names: &[String], now: Timestamp) -> bool {
        let Ok((_, leaf)) = x509_parser::parse_x509_certificate(&self.leaf) else {
            return false;
        };
        let ends = Timestamp(
            leaf.validity()
                .not_after
                .timestamp()
                .saturating_mul(1_000_000),
        );
        let mut wanted: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut there = names_of(&leaf);
        wanted.sort_unstable();
        there.sort_unstable();
        there == wanted && ends.since(now) > LEAF_LEFT_MIN
    }

    /// TLS 1.2 and 1.3 with this certificate, offering these application protocols. `clients` decides whether
    /// clients are asked for certificates.
    ///
    /// # Errors
    /// When key and certificate do not fit together.
    pub(crate) fn server_config(
        &self,
        protocols: &[&[u8]],
        clients: Arc<dyn ClientCertVerifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        // Named, because a process may hold more than one provider.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.leaf.clone()], self.key.clone_key())?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// The names a certificate needs: what clients call the hub, and the addresses it listens on.
pub(crate) fn certificate_names(host_names: &[String], bind: &[IpAddr]) -> Vec<String> {
    let addresses = bind.iter().filter(|address| !address.is_unspecified());
    let mut names: Vec<String> = Vec::new();
    for name in host_names
        .iter()
        .cloned()
        .chain(addresses.map(IpAddr::to_string))
    {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }
    names
}

/// The folder's CA, made at the first start.
fn authority(
    folder: &Path,
    vault: &Vault,
    now: Timestamp,
) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let (certificate_path, key_path) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
    match (certificate_path.exists(), key_path.exists()) {
        (true, true) => {
            let key = KeyPair::from_pem(&read_key(&key_path, vault)?)
                .map_err(|error| content(&key_path, &error))?;
            Issuer::from_ca_cert_pem(&read(&certificate_path)?, key)
                .map_err(|error| content(&certificate_path, &error))
        }
        (true, false) => Err(TlsError::Content {
            path: key_path.display().to_string(),
            problem: "it is gone while ca.pem is there; restore it, or remove ca.pem to start \
                      with a new authority that every client must be told to trust"
                .to_owned(),
        }),
        (false, _) => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let params = authority_params(now);
            let certificate = params.self_signed(&key)?;
            // The key first: a certificate without its key would be an error at the next start.
            write_key(&key_path, &key, vault)?;
            write(&certificate_path, &certificate.pem())?;
            // A leaf of an earlier authority is of no use any more.
            let _ = fs::remove_file(folder.join("server.pem"));
            Ok(Issuer::new(params, key))
        }
    }
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Fanfare");
    params
        .distinguished_name
        .push(DnType::CommonName, "Fanfare private CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now) - BACKDATED;
    params.not_after = moment(now) + CA_LIFE;
    params
}

fn leaf_params(names: &[String], now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Fanfare");
    params
        .distinguished_name
        .push(DnType::CommonName, "Fanfare hub");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = moment(now) - BACKDATED;
    params.not_after = moment(now) + LEAF_LIFE;
    Ok(params)
}

fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1_000_000))
        .expect("timestamps lie within the years 1 to 9999")
}

fn names_of(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|v4| IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text.as_bytes(), PUBLIC_MODE).map_err(|source| TlsError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn read_key(path: &Path, vault: &Vault) -> Result<Zeroizing<String>, TlsError> {
    read_private(path, vault).map_err(|source| TlsError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn write_key(path: &Path, key: &KeyPair, vault: &Vault) -> Result<(), TlsError> {
    let pem = Zeroizing::new(key.serialize_pem());
    write_private(path, &pem, vault).map_err(|source| TlsError::Io {
        path: path.display().to_string(),
        source,
    })
}

fn content(path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::Content {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Timestamp = Timestamp(1_900_000_000_000_000);

    fn provide(folder: &Path, names: &[&str], now: Timestamp) -> ServerCertificate {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        ServerCertificate::provide(folder, &names, &Vault::plain(), now).unwrap()
    }

    #[test]
    fn the_certificate_is_kept_until_names_change_or_its_end_is_near() {
        let folder = tempfile::tempdir().unwrap();
        let first = provide(folder.path(), &["localhost", "127.0.0.1"], NOW);
        let ca = fs::read(folder.path().join("ca.pem")).unwrap();
        let again = provide(folder.path(), &["127.0.0.1", "localhost"], NOW + DAY);
        assert_eq!(first.leaf, again.leaf);

        let renamed = provide(folder.path(), &["hub.test", "::1"], NOW);
        assert_ne!(first.leaf, renamed.leaf);
        let (_, leaf) = x509_parser::parse_x509_certificate(&renamed.leaf).unwrap();
        assert_eq!(names_of(&leaf), ["hub.test", "::1"]);

        let near_the_end = NOW + DAY * 771;
        let renewed = provide(folder.path(), &["hub.test", "::1"], near_the_end);
        assert_ne!(renamed.leaf, renewed.leaf);
        assert_eq!(
            fs::read(folder.path().join("ca.pem")).unwrap(),
            ca,
            "the CA stays"
        );
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        provide(folder.path(), &["localhost"], NOW);
        for (file, mode) in [
            ("ca.pem", 0o644),
            ("ca-key.pem", 0o600),
            ("server.pem", 0o644),
            ("server-key.pem", 0o600),
        ] {
            let found = fs::metadata(folder.path().join(file))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(found & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn a_lost_ca_key_is_said_not_papered_over() {
        let folder = tempfile::tempdir().unwrap();
        provide(folder.path(), &["localhost"], NOW);
        fs::remove_file(folder.path().join("ca-key.pem")).unwrap();
        let names = ["localhost".to_owned()];
        let refused = ServerCertificate::provide(folder.path(), &names, &Vault::plain(), NOW)
            .err()
            .unwrap();
        assert!(refused.to_string().contains("ca-key.pem"), "{refused}");
    }

    #[test]
    fn names_are_host_names_and_addresses_once_each() {
        let bind = ["127.0.0.2", "0.0.0.0", "::1"].map(|text| text.parse().unwrap());
        let names = certificate_names(&["Hub".to_owned(), "127.0.0.2".to_owned()], &bind);
        assert_eq!(names, ["Hub", "127.0.0.2", "::1"]);
    }
}
