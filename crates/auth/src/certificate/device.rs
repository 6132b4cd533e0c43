//! Whether a certificate is an identity's, in the way that the identity asks for.
//!
//! A refusal names the check that failed, for the hub's log alone: the peer hears nothing of it. compat: AUTH-13

use std::sync::{Arc, Mutex, PoisonError};

use fanfare_hub::{
    authorities::TrustedCertificate,
    ids::IdentityId,
    presence::Admission,
    registry::{Authentication, Identity},
    time::Timestamp,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    chain::Issuers,
    presented::{OutOfDate, Validity, common_name, thumbprints},
};

/// Why a certificate does not let an identity in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// There is none, or it is none.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// The identity does not sign in with certificates.
    #[error("authentication.type is {0}, which takes no certificate")]
    OtherWay(&'static str),
    /// The identity names another certificate.
    #[error("the thumbprint is neither the primary nor the secondary one")]
    Thumbprint,
    /// The certificate does not count now.
    #[error("the certificate {0}")]
    OutOfDate(#[from] OutOfDate),
    /// It was made out to somebody else.
    #[error("the common name is {found}, it must be {expected:?}")]
    CommonName {
        /// What it is, or that there is not exactly one.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Nobody whom the hub trusts signed it.
    #[error("no authority that the hub trusts vouches for it")]
    UnknownIssuer,
    /// Somebody did whose time is over or has not come.
    #[error("its authority's certificate {0}")]
    AuthorityOutOfDate(OutOfDate),
    /// Something on the way to an authority is wrong.
    #[error("its chain is not good: {0}")]
    Chain(webpki::Error),
}

/// Decides over devices' certificates. Keeps the authorities that it read until there are others.
#[derive(Default)]
pub struct DeviceCertificates {
    read: Mutex<Option<Read>>,
}

struct Read {
    trusted: Arc<[TrustedCertificate]>,
    issuers: Arc<Issuers>,
}

impl DeviceCertificates {
    /// Until when the certificates that a peer sent, its own first, let an identity stay connected, and what it was
    /// that let it in. The peer proved in the handshake that it has the key of the first one. compat: AUTH-41,
    /// AUTH-42, AUTH-44
    ///
    /// # Errors
    /// [`CertificateRefusal`]: the first check that failed.
    pub fn admit(
        &self,
        chain: &[CertificateDer<'_>],
        identity: &Identity,
        trusted: &Arc<[TrustedCertificate]>,
        now: Timestamp,
    ) -> Result<(Timestamp, Admission), CertificateRefusal> {
        let first = chain.first().ok_or(CertificateRefusal::Unreadable)?;
        let Ok(([], leaf)) = X509Certificate::from_der(first) else {
            return Err(CertificateRefusal::Unreadable);
        };
        let validity = Validity::of(&leaf);
        match &identity.settings.authentication {
            Authentication::SelfSigned { primary, secondary } => {
                let seen = thumbprints(first);
                let named = [primary, secondary].into_iter().flatten();
                // Both are compared, whichever it is.
                let is_named = named.fold(false, |is, named| seen.include(named) | is);
                if !is_named {
                    return Err(CertificateRefusal::Thumbprint);
                }
                validity.check(now)?;
                Ok((validity.to, Admission::Thumbprint(seen)))
            }
            Authentication::CertificateAuthority => {
                check_name(&leaf, &identity.id)?;
                validity.check(now)?;
                let vouched = self.issuers(trusted).vouch(chain, &leaf, now)?;
                let thumbprint = vouched.authority;
                Ok((vouched.until, Admission::Authority { thumbprint }))
            }
            Authentication::Sas { .. } => Err(CertificateRefusal::OtherWay("sas")),
            Authentication::None => Err(CertificateRefusal::OtherWay("none")),
        }
    }

    fn issuers(&self, trusted: &Arc<[TrustedCertificate]>) -> Arc<Issuers> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some(read) if Arc::ptr_eq(&read.trusted, trusted) => read.issuers.clone(),
            _ => {
                let issuers = Arc::new(Issuers::read(trusted));
                *read = Some(Read {
                    trusted: trusted.clone(),
                    issuers: issuers.clone(),
                });
                issuers
            }
        }
    }
}

/// The common name is `{device}`, or `{device}/{module}`. compat: AUTH-44
fn check_name(leaf: &X509Certificate<'_>, id: &IdentityId) -> Result<(), CertificateRefusal> {
    let expected = match &id.module {
        None => id.device.to_string(),
        Some(module) => format!("{}/{module}", id.device),
    };
    let found = common_name(leaf);
    if found == Some(expected.as_str()) {
        return Ok(());
    }
    let found = found.map_or_else(
        || "missing or given twice".to_owned(),
        |found| {
            format!(
                "{:?}",
                found.chars().take(NAME_CHARS_SHOWN).collect::<String>()
            )
        },
    );
    Err(CertificateRefusal::CommonName { found, expected })
}

/// Characters of a stranger's text that a log line may hold. Ours.
const NAME_CHARS_SHOWN: usize = 128;
