//! The hub's private CA and the server certificate it issues, where no certificate of the operator's is named.
//!
//! The CA is made once and kept. The server certificate is issued again when names or addresses changed, when two
//! thirds of its life are over, or when the CA is another one, so clients go on trusting the same `ca.pem`. The chain
//! that is sent holds the leaf only: clients test that a stranger cannot complete it.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use fanfare_hub::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};
use zeroize::Zeroizing;

use super::{
    TlsError,
    pair::{self, Pair},
};
use crate::{
    compose::Vault,
    data_dir::{PUBLIC_MODE, replace},
    vault::{read_private, write_private},
};

/// A server certificate of the private CA.
pub(super) struct Issued {
    pub(super) pair: Pair,
    /// When the CA itself ends.
    pub(super) authority_ends: Timestamp,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Clocks of clients may be behind by this much.
const BACKDATED: Duration = DAY;
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3_600);
/// Clients of some systems refuse certificates of more than 825 days.
const LEAF_LIFE: Duration = Duration::from_secs(800 * 24 * 3_600);

/// The certificate for `names` in the folder, issued (again) where need be; the CA is made when there is none.
///
/// # Errors
/// The files cannot be read, written or understood.
pub(super) fn provide(
    folder: &Path,
    names: &[String],
    vault: &Vault,
    now: Timestamp,
) -> Result<Issued, TlsError> {
    if !folder.join("ca.pem").exists() {
        make_authority(folder, vault, now)?;
    }
    provide_again(folder, names, vault, now)
}

/// The same while a node runs, whose clients trust a CA already: another one is not made behind their backs.
///
/// # Errors
/// As [`provide`], or there is no CA any more.
pub(super) fn provide_again(
    folder: &Path,
    names: &[String],
    vault: &Vault,
    now: Timestamp,
) -> Result<Issued, TlsError> {
    let authority = Authority::read(folder, vault)?;
    let authority_ends = authority.ends()?;
    let (certificate_path, key_path) = (folder.join("server.pem"), folder.join("server-key.pem"));
    if certificate_path.exists()
        && key_path.exists()
        && let Some(pair) = kept(&certificate_path, &key_path, vault)?
        && authority.has_issued(&pair)
        && is_for(&pair, names)
        && !is_due(&pair, now)
    {
        return Ok(Issued {
            pair,
            authority_ends,
        });
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = leaf_params(names, now)?.signed_by(&key, &authority.issuer)?;
    write_key(&key_path, &key, vault)?;
    write(&certificate_path, &leaf.pem())?;
    tracing::info!(host.names = ?names, "issued a server certificate");
    match kept(&certificate_path, &key_path, vault)? {
        Some(pair) => Ok(Issued {
            pair,
            authority_ends,
        }),
        None => Err(content(
            &certificate_path,
            &"it does not read back as it was written",
        )),
    }
}

/// Whether a certificate should be replaced: two thirds of its life are over, or a clock was set back behind its
/// beginning.
pub(super) fn is_due(pair: &Pair, now: Timestamp) -> bool {
    let life = pair.validity.end.since(pair.validity.start);
    now < pair.validity.start || now >= pair.validity.start + life * 2 / 3
}

/// The pair in the folder; nothing when the files do not fit together, as when a crash came between them, or
/// hold something else.
fn kept(certificate: &Path, key: &Path, vault: &Vault) -> Result<Option<Pair>, TlsError> {
    let leaf = CertificateDer::from_pem_slice(read(certificate)?.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(read_key(key, vault)?.as_bytes());
    let (Ok(leaf), Ok(key)) = (leaf, key) else {
        return Ok(None);
    };
    Ok(Pair::new(vec![leaf], key).ok())
}

fn is_for(pair: &Pair, names: &[String]) -> bool {
    let leaf = pair.certified.cert.first();
    let read = leaf.and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
    let Some((_, leaf)) = read else {
        return false;
    };
    let mut wanted: Vec<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut there = names_of(&leaf);
    wanted.sort_unstable();
    there.sort_unstable();
    there == wanted
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

/// The folder's CA.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    path: std::path::PathBuf,
}

impl Authority {
    fn read(folder: &Path, vault: &Vault) -> Result<Self, TlsError> {
        let (path, key_path) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
        if !key_path.exists() {
            let problem = "it is gone while ca.pem is there; restore it, or remove ca.pem to start \
                           with a new authority that every client must be told to trust";
            return Err(content(&key_path, &problem));
        }
        let pem = read(&path)?;
        let key = KeyPair::from_pem(&read_key(&key_path, vault)?)
            .map_err(|error| content(&key_path, &error))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| content(&path, &error))?;
        let its_key = key.subject_public_key_info();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| content(&path, &error))?;
        let authority = Self {
            certificate,
            issuer,
            path,
        };
        if authority.parsed()?.public_key().raw != its_key.as_slice() {
            return Err(content(&key_path, &"it is not the key of ca.pem"));
        }
        Ok(authority)
    }

    fn parsed(&self) -> Result<X509Certificate<'_>, TlsError> {
        match x509_parser::parse_x509_certificate(&self.certificate) {
            Ok((_, certificate)) => Ok(certificate),
            Err(error) => Err(content(&self.path, &error)),
        }
    }

    fn ends(&self) -> Result<Timestamp, TlsError> {
        let ends = self.parsed()?.validity().not_after.timestamp();
        Ok(pair::moment(Some(ends)))
    }

    fn has_issued(&self, pair: &Pair) -> bool {
        let leaf = pair.certified.cert.first();
        let leaf = leaf.and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
        match (leaf, self.parsed()) {
            (Some((_, leaf)), Ok(authority)) => {
                leaf.verify_signature(Some(authority.public_key())).is_ok()
            }
            _ => false,
        }
    }
}

fn make_authority(folder: &Path, vault: &Vault, now: Timestamp) -> Result<(), TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority_params(now).self_signed(&key)?;
    // The key first: a certificate without its key would be an error at the next start.
    write_key(&folder.join("ca-key.pem"), &key, vault)?;
    write(&folder.join("ca.pem"), &certificate.pem())?;
    // A leaf of an earlier authority is of no use any more.
    let _ = fs::remove_file(folder.join("server.pem"));
    Ok(())
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
    params.not_before = date(now) - BACKDATED;
    params.not_after = date(now) + CA_LIFE;
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
    params.not_before = date(now) - BACKDATED;
    params.not_after = date(now) + LEAF_LIFE;
    Ok(params)
}

fn date(at: Timestamp) -> OffsetDateTime {
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
    fs::read_to_string(path).map_err(|source| TlsError::io(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    replace(path, text.as_bytes(), PUBLIC_MODE).map_err(|source| TlsError::io(path, source))
}

fn read_key(path: &Path, vault: &Vault) -> Result<Zeroizing<String>, TlsError> {
    read_private(path, vault).map_err(|source| TlsError::io(path, source))
}

fn write_key(path: &Path, key: &KeyPair, vault: &Vault) -> Result<(), TlsError> {
    let pem = Zeroizing::new(key.serialize_pem());
    write_private(path, &pem, vault).map_err(|source| TlsError::io(path, source))
}

fn content(path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::Content {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
#[path = "private_ca_tests.rs"]
mod tests;
