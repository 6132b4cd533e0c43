//! What a certificate says about itself: who, from when to when, and its hashes.

use fanfare_hub::{presence::Thumbprints, time::Timestamp};
use ring::digest;
use rustls::pki_types::UnixTime;
use x509_parser::{prelude::X509Certificate, time::ASN1Time};

/// When a certificate counts, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub to: Timestamp,
}

/// Where a moment lies outside a validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfDate {
    /// Before it.
    #[error("is not valid before {0}")]
    NotYet(Timestamp),
    /// After it.
    #[error("was valid until {0}")]
    Expired(Timestamp),
}

impl Validity {
    /// Of a certificate that was read.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            from: timestamp(validity.not_before),
            to: timestamp(validity.not_after),
        }
    }

    /// Whether it counts at `now`, to the second. No allowance for clocks that differ. compat: AUTH-43
    pub(super) fn check(&self, now: Timestamp) -> Result<(), OutOfDate> {
        let seconds = |at: Timestamp| at.0.div_euclid(1_000_000);
        if seconds(now) < seconds(self.from) {
            Err(OutOfDate::NotYet(self.from))
        } else if seconds(now) > seconds(self.to) {
            Err(OutOfDate::Expired(self.to))
        } else {
            Ok(())
        }
    }
}

fn timestamp(time: ASN1Time) -> Timestamp {
    let micros = time.timestamp().saturating_mul(1_000_000);
    Timestamp(micros.clamp(Timestamp::NEVER.0, Timestamp::FAR_FUTURE.0))
}

/// A moment as webpki takes it; before 1970 nothing is valid.
pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    let since = now.since(Timestamp(0));
    UnixTime::since_unix_epoch(since)
}

/// The hashes of a certificate's DER.
pub fn thumbprints(der: &[u8]) -> Thumbprints {
    let mut found = Thumbprints {
        sha1: [0; 20],
        sha256: [0; 32],
    };
    // Names a certificate, as the contract does; nothing is signed or proven by it.
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    found.sha1.copy_from_slice(sha1.as_ref());
    found
        .sha256
        .copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    found
}

/// The one common name; none when there are several, or one that is no text.
pub(super) fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    names.next().is_none().then_some(name)
}
