//! Certificates of every kind, and identities that sign in with them.

use std::sync::Arc;

use fanfare_auth::certificate::{CertificateRefusal, DeviceCertificates};
use fanfare_hub::{
    authorities::TrustedCertificate,
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, ModuleId, Space},
    presence::Admission,
    registry::{Authentication, Identity, IdentitySettings, Status},
    time::Timestamp,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

/// 2031-01-01.
pub(crate) const NOW: Timestamp = Timestamp(1_924_992_000_000_000);
pub(crate) const DAY: i64 = 24 * 3_600;

/// A certificate with its key.
pub(crate) struct Made {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
    pub(crate) params: CertificateParams,
}

/// `days` around now in which a certificate counts.
pub(crate) fn params(name: &str, days: std::ops::Range<i64>) -> CertificateParams {
    let at = |days: i64| {
        OffsetDateTime::from_unix_timestamp(NOW.0 / 1_000_000 + days * DAY)
            .expect("a few days around 2031")
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(days.start);
    params.not_after = at(days.end);
    params
}

/// An authority that counts from ten days ago to a thousand days from now.
pub(crate) fn authority_params(name: &str, between: Option<u8>) -> CertificateParams {
    let mut params = params(name, -10..1_000);
    let constraints = between.map_or(BasicConstraints::Unconstrained, |between| {
        BasicConstraints::Constrained(between)
    });
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn usage(
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    params.extended_key_usages = vec![usage];
    params
}

impl Made {
    /// Signed by its own key.
    pub(crate) fn alone(params: CertificateParams) -> Self {
        Self::alone_with(params, KeyPair::generate().unwrap())
    }

    pub(crate) fn alone_with(params: CertificateParams, key: KeyPair) -> Self {
        let made = params.self_signed(&key).unwrap();
        Self {
            der: made.der().clone(),
            pem: made.pem(),
            key,
            params,
        }
    }

    pub(crate) fn root(name: &str) -> Self {
        Self::alone(authority_params(name, None))
    }

    /// Signed by another's.
    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).unwrap();
        Self {
            der: made.der().clone(),
            pem: made.pem(),
            key,
            params,
        }
    }

    pub(crate) fn trusted(&self) -> TrustedCertificate {
        TrustedCertificate::new(Arc::from(&*self.der))
    }

    pub(crate) fn admission(&self) -> Admission {
        Admission::Authority {
            thumbprint: self.trusted().thumbprint,
        }
    }
}

/// `door-1`, or one of its modules.
pub(crate) fn identity(module: Option<&str>, authentication: Authentication) -> Identity {
    Identity {
        id: IdentityId {
            device: DeviceId::parse("door-1").unwrap(),
            module: module.map(|module| ModuleId::parse(module).unwrap()),
        },
        key: IdentityKey {
            space: Space::Devices,
            ordinal: 1,
        },
        generation: Generation(1),
        etag: Etag(1),
        settings: IdentitySettings {
            status: Status::Enabled,
            status_reason: None,
            authentication,
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
        },
        status_updated: Timestamp::NEVER,
    }
}

pub(crate) fn by_thumbprint(primary: Option<&str>, secondary: Option<&str>) -> Authentication {
    Authentication::SelfSigned {
        primary: primary.map(str::to_owned),
        secondary: secondary.map(str::to_owned),
    }
}

pub(crate) type Answer = Result<(Timestamp, Admission), CertificateRefusal>;

/// Whether `door-1` (or its module) gets in below `trusted`.
pub(crate) fn below(
    module: Option<&str>,
    trusted: &[&Made],
    chain: &[&Made],
    now: Timestamp,
) -> Answer {
    let trusted = trusted.iter().map(|made| made.trusted()).collect();
    let chain: Vec<_> = chain.iter().map(|made| made.der.clone()).collect();
    let identity = identity(module, Authentication::CertificateAuthority);
    DeviceCertificates::default().admit(&chain, &identity, &trusted, now)
}

/// Whether `door-1` gets in with what it names itself.
pub(crate) fn with(
    authentication: Authentication,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Answer {
    let identity = identity(None, authentication);
    DeviceCertificates::default().admit(chain, &identity, &Arc::from([]), now)
}

pub(crate) fn days(days: i64) -> Timestamp {
    Timestamp(NOW.0 + days * DAY * 1_000_000)
}
