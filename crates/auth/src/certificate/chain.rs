//! Whether an authority that the hub trusts vouches for a certificate, directly or over others.
//!
//! webpki builds and checks the path: signatures, dates, usages, name constraints. Here is what it leaves to its
//! caller, the authority's own dates and how long a path it allows; and certificates of version 1, which webpki does
//! not read and which `openssl x509 -req` made for decades when it was given no extensions.

use std::cell::Cell;

use fanfare_hub::{authorities::TrustedCertificate, time::Timestamp};
use rustls::{
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor},
};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    x509::X509Version,
};

use super::{
    authority::path_length,
    device::CertificateRefusal,
    presented::{OutOfDate, Validity, unix_time},
};

/// The authorities in force, read once.
pub(super) struct Issuers {
    anchors: Vec<TrustAnchor<'static>>,
    /// In the same order.
    issuers: Vec<Issuer>,
    algorithms: WebPkiSupportedAlgorithms,
}

struct Issuer {
    thumbprint: [u8; 32],
    validity: Validity,
    /// Authorities that may lie between it and a device.
    path_length: Option<u32>,
    subject: Vec<u8>,
    key: SubjectPublicKeyInfoDer<'static>,
}

/// Who vouches for a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Vouched {
    /// SHA-256 of the authority.
    pub(super) authority: [u8; 32],
    /// The first end of any certificate on the way, the device's own and the authority's included.
    pub(super) until: Timestamp,
}

impl Issuers {
    /// Reads them. One that cannot be read vouches for nobody.
    pub(super) fn read(trusted: &[TrustedCertificate]) -> Self {
        let read = trusted.iter().filter_map(Issuer::read);
        let (anchors, issuers) = read.unzip();
        Self {
            anchors,
            issuers,
            algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms,
        }
    }

    /// Who vouches at `now` for the first certificate of `chain`; the others may lie in between.
    pub(super) fn vouch(
        &self,
        chain: &[CertificateDer<'_>],
        leaf: &X509Certificate<'_>,
        now: Timestamp,
    ) -> Result<Vouched, CertificateRefusal> {
        let (first, between) = chain.split_first().ok_or(CertificateRefusal::Unreadable)?;
        if leaf.version() == X509Version::V1 && leaf.extensions().is_empty() {
            return self.vouch_directly(leaf, now);
        }
        let end_entity = EndEntityCert::try_from(first).map_err(CertificateRefusal::Chain)?;
        let out_of_date = Cell::new(None);
        let is_allowed = |path: &VerifiedPath<'_>| {
            let issuer = self.issuer_of(path).ok_or(webpki::Error::UnknownIssuer)?;
            if let Err(when) = issuer.validity.check(now) {
                out_of_date.set(Some(when));
                return Err(webpki::Error::UnknownIssuer);
            }
            let between = path.intermediate_certificates().count();
            let max = issuer.path_length.map_or(usize::MAX, |max| max as usize);
            match between <= max {
                true => Ok(()),
                false => Err(webpki::Error::PathLenConstraintViolated),
            }
        };
        let path = end_entity.verify_for_usage(
            self.algorithms.all,
            &self.anchors,
            between,
            unix_time(now),
            KeyUsage::client_auth(),
            None,
            Some(&is_allowed),
        );
        let path = path.map_err(|error| refusal(error, out_of_date.get()))?;
        let issuer = self
            .issuer_of(&path)
            .ok_or(CertificateRefusal::UnknownIssuer)?;
        let ends = path.intermediate_certificates().map(|between| {
            let between = between.der();
            let read = X509Certificate::from_der(&between).ok();
            read.map_or(Timestamp::FAR_FUTURE, |(_, read)| Validity::of(&read).to)
        });
        let leaf_end = Validity::of(leaf).to;
        Ok(Vouched {
            authority: issuer.thumbprint,
            until: ends.fold(leaf_end.min(issuer.validity.to), Timestamp::min),
        })
    }

    /// A certificate without extensions has no usages to check, and no place for authorities in between.
    fn vouch_directly(
        &self,
        leaf: &X509Certificate<'_>,
        now: Timestamp,
    ) -> Result<Vouched, CertificateRefusal> {
        let mut refused = CertificateRefusal::UnknownIssuer;
        for issuer in &self.issuers {
            if issuer.subject != leaf.issuer().as_raw() || !is_signed_by(leaf, &issuer.key) {
                continue;
            }
            match issuer.validity.check(now) {
                Ok(()) => {
                    return Ok(Vouched {
                        authority: issuer.thumbprint,
                        until: Validity::of(leaf).to.min(issuer.validity.to),
                    });
                }
                Err(when) => refused = CertificateRefusal::AuthorityOutOfDate(when),
            }
        }
        Err(refused)
    }

    fn issuer_of(&self, path: &VerifiedPath<'_>) -> Option<&Issuer> {
        let anchor = path.anchor();
        let mut anchors = self.anchors.iter();
        // By place: two certificates of one authority make equal anchors.
        let at = anchors.position(|known| std::ptr::eq(known, anchor))?;
        self.issuers.get(at)
    }
}

impl Issuer {
    fn read(trusted: &TrustedCertificate) -> Option<(TrustAnchor<'static>, Self)> {
        let der = CertificateDer::from(&*trusted.der);
        let anchor = anchor_from_trusted_cert(&der).ok()?.to_owned();
        let (_, read) = X509Certificate::from_der(&trusted.der).ok()?;
        let key = read.tbs_certificate.subject_pki.raw.to_vec();
        let issuer = Self {
            thumbprint: trusted.thumbprint,
            validity: Validity::of(&read),
            path_length: path_length(&read),
            subject: read.subject().as_raw().to_vec(),
            key: SubjectPublicKeyInfoDer::from(key),
        };
        Some((anchor, issuer))
    }
}

fn refusal(error: webpki::Error, out_of_date: Option<OutOfDate>) -> CertificateRefusal {
    match (error, out_of_date) {
        (_, Some(when)) => CertificateRefusal::AuthorityOutOfDate(when),
        (webpki::Error::UnknownIssuer, None) => CertificateRefusal::UnknownIssuer,
        (error, None) => CertificateRefusal::Chain(error),
    }
}

/// Whether a key signed a certificate, by any algorithm that the hub takes.
pub(super) fn is_signed_by(
    certificate: &X509Certificate<'_>,
    key: &SubjectPublicKeyInfoDer<'_>,
) -> bool {
    let Ok(key) = RawPublicKeyEntity::try_from(key) else {
        return false;
    };
    let signed = certificate.tbs_certificate.as_ref();
    let signature = &certificate.signature_value.data;
    let provider = rustls::crypto::ring::default_provider();
    let mut algorithms = provider.signature_verification_algorithms.all.iter();
    algorithms.any(|algorithm| key.verify_signature(*algorithm, signed, signature).is_ok())
}
