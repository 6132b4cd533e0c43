//! What may be an authority, and how somebody proves to have its key.
//!
//! Decided once, at the upload or the start, so that a certificate that could never vouch for a device is refused
//! where a person reads why.

use std::sync::Arc;

use fanfare_hub::{presence::Thumbprints, time::Timestamp};
use rustls::pki_types::{
    CertificateDer, SubjectPublicKeyInfoDer,
    pem::{PemObject as _, SectionKind},
};
use webpki::anchor_from_trusted_cert;
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519},
    prelude::{FromDer as _, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{
    chain::is_signed_by,
    presented::{OutOfDate, Validity, common_name, thumbprints},
};

/// Bytes of a certificate at most. Ours; with PEM around it is a third more.
const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// Bits of an RSA key. *ring* checks no signatures of others.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// A certificate that may vouch for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// DER.
    pub der: Arc<[u8]>,
    /// Whose it is, as `CN=…, O=…`.
    pub subject: String,
    /// When it counts.
    pub validity: Validity,
    /// Its hashes.
    pub thumbprints: Thumbprints,
}

/// Why a certificate cannot be an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefusal {
    /// It is not what PEM looks like.
    #[error("is no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NotPem,
    /// A key came along, which belongs to nobody but its owner.
    #[error(
        "holds a private key; the hub wants the certificate alone, and the key is now known to it"
    )]
    PrivateKey,
    /// There is not exactly one.
    #[error("holds {0} certificates, it must hold one")]
    NotOne(usize),
    /// It cannot be read.
    #[error("holds a certificate that cannot be read")]
    Unreadable,
    /// It is longer than any that is needed.
    #[error("holds a certificate of more than {CERTIFICATE_BYTES_MAX} bytes")]
    TooLong,
    /// It says it is none, or does not say that it is one.
    #[error(
        "holds a certificate that is no authority: it needs basicConstraints CA:TRUE and, if it has a key usage, keyCertSign"
    )]
    NoAuthority,
    /// The hub cannot check its signatures.
    #[error(
        "has a key that the hub cannot use: RSA of 2048 to 8192 bits, P-256, P-384 and Ed25519 it can"
    )]
    Key,
    /// Its time is over.
    #[error("holds a certificate that {0}")]
    Expired(OutOfDate),
}

/// Why a proof is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// It is no certificate.
    #[error(transparent)]
    Certificate(#[from] AuthorityRefusal),
    /// It names something else.
    #[error("has another common name than the verification code")]
    Code,
    /// It does not count now.
    #[error("holds a certificate that {0}")]
    OutOfDate(OutOfDate),
    /// Somebody else signed it.
    #[error("holds a certificate that was not signed with the authority's key")]
    Signature,
}

impl AuthorityCertificate {
    /// Reads the one certificate of a PEM text.
    ///
    /// # Errors
    /// [`AuthorityRefusal`].
    pub fn from_pem(pem: &[u8], now: Timestamp) -> Result<Self, AuthorityRefusal> {
        let der = one_certificate(pem)?;
        let authority = Self::read(&der)?;
        match authority.validity.check(now) {
            // One that counts from tomorrow on may be uploaded today.
            Ok(()) | Err(OutOfDate::NotYet(_)) => Ok(authority),
            Err(expired) => Err(AuthorityRefusal::Expired(expired)),
        }
    }

    /// Reads a file of authorities. One that has expired stays among them, and vouches for nobody.
    ///
    /// # Errors
    /// [`AuthorityRefusal`] of the first that is none, or when there are none.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, AuthorityRefusal> {
        let certificates = certificates(pem)?;
        if certificates.is_empty() {
            return Err(AuthorityRefusal::NotPem);
        }
        certificates.iter().map(|der| Self::read(der)).collect()
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// [`AuthorityRefusal`].
    pub fn read(der: &[u8]) -> Result<Self, AuthorityRefusal> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(AuthorityRefusal::TooLong);
        }
        let certificate = read_one(der)?;
        let basic = certificate.basic_constraints();
        let basic = basic.map_err(|_| AuthorityRefusal::Unreadable)?;
        let usage = certificate.key_usage();
        let usage = usage.map_err(|_| AuthorityRefusal::Unreadable)?;
        if !basic.is_some_and(|basic| basic.value.ca)
            || usage.is_some_and(|usage| !usage.value.key_cert_sign())
        {
            return Err(AuthorityRefusal::NoAuthority);
        }
        if !is_key_usable(certificate.public_key()) {
            return Err(AuthorityRefusal::Key);
        }
        let anchor = CertificateDer::from(der);
        anchor_from_trusted_cert(&anchor).map_err(|_| AuthorityRefusal::Unreadable)?;
        Ok(Self {
            subject: certificate.subject().to_string(),
            validity: Validity::of(&certificate),
            thumbprints: thumbprints(der),
            der: der.into(),
        })
    }

    /// Whether `pem` proves that somebody has this authority's key: a certificate whose common name is `code`, signed
    /// by the key, in date. Whatever else it says does not matter, it is of no other use. compat: AUTH-53
    ///
    /// # Errors
    /// [`ProofRefusal`].
    pub fn check_proof(&self, pem: &[u8], code: &str, now: Timestamp) -> Result<(), ProofRefusal> {
        let der = one_certificate(pem)?;
        let proof = read_one(&der)?;
        let authority = read_one(&self.der)?;
        if !common_name(&proof).is_some_and(|name| name.eq_ignore_ascii_case(code)) {
            return Err(ProofRefusal::Code);
        }
        let validity = Validity::of(&proof).check(now);
        validity.map_err(ProofRefusal::OutOfDate)?;
        let key = SubjectPublicKeyInfoDer::from(authority.tbs_certificate.subject_pki.raw);
        let is_named = proof.issuer().as_raw() == authority.subject().as_raw();
        match is_named && is_signed_by(&proof, &key) {
            true => Ok(()),
            false => Err(ProofRefusal::Signature),
        }
    }
}

/// How many authorities may lie between this one and a device, if it says so.
pub(super) fn path_length(certificate: &X509Certificate<'_>) -> Option<u32> {
    let basic = certificate.basic_constraints().ok()??;
    basic.value.path_len_constraint
}

fn read_one(der: &[u8]) -> Result<X509Certificate<'_>, AuthorityRefusal> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(AuthorityRefusal::Unreadable),
    }
}

fn one_certificate(pem: &[u8]) -> Result<Vec<u8>, AuthorityRefusal> {
    let mut certificates = certificates(pem)?;
    match certificates.len() {
        0 => Err(AuthorityRefusal::NotPem),
        1 => Ok(certificates.remove(0)),
        many => Err(AuthorityRefusal::NotOne(many)),
    }
}

/// The certificates of a PEM text; whatever stands between them does not matter, unless it is a key.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, AuthorityRefusal> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section.map_err(|_| AuthorityRefusal::NotPem)? {
            (SectionKind::Certificate, der) => found.push(der),
            (
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
                _,
            ) => return Err(AuthorityRefusal::PrivateKey),
            _ => {}
        }
    }
    Ok(found)
}

fn is_key_usable(key: &SubjectPublicKeyInfo<'_>) -> bool {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => RSA_BITS.contains(&rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|curve| curve.as_oid().ok());
            curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384)
        }
        _ => key.algorithm.algorithm == OID_SIG_ED25519,
    }
}
