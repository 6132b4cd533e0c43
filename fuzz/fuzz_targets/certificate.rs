//! A certificate as a stranger presents or uploads it: reading it never panics, and nobody is let in but for the bytes
//! that were really signed.
//!
//! The first byte says what the rest is: `D` a device's certificate, `I` one between a device's and its authority, `A`
//! an authority's (all DER), `P` what is uploaded as an authority or as the proof for one (PEM).
#![no_main]

use std::sync::{Arc, LazyLock};

use fanfare_auth::certificate::{AuthorityCertificate, DeviceCertificates, thumbprints};
use fanfare_hub::{
    authorities::TrustedCertificate,
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, Space},
    registry::{Authentication, Identity, IdentitySettings, Status},
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;

const NOW: Timestamp = Timestamp(1_900_000_000_000_000);
/// Vouches for [`BETWEEN`], which vouches for [`LEAF`]; all of them were made by openssl, and nobody has their keys.
const ROOT: &[u8] = include_bytes!("../fixtures/root.der");
const BETWEEN: &[u8] = include_bytes!("../fixtures/between.der");
const LEAF: &[u8] = include_bytes!("../fixtures/leaf.der");
const SELF_SIGNED: &[u8] = include_bytes!("../fixtures/self.der");

struct Fleet {
    certificates: DeviceCertificates,
    trusted: Arc<[TrustedCertificate]>,
    root: AuthorityCertificate,
    by_thumbprint: Identity,
    by_authority: Identity,
}

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let own = thumbprints(SELF_SIGNED);
    let fleet = Fleet {
        certificates: DeviceCertificates::default(),
        trusted: Arc::from([TrustedCertificate::new(ROOT.into())]),
        root: AuthorityCertificate::read(ROOT).expect("it is an authority's"),
        by_thumbprint: identity(Authentication::SelfSigned {
            primary: Some(own.sha256_hex()),
            secondary: None,
        }),
        by_authority: identity(Authentication::CertificateAuthority),
    };
    assert!(fleet.admits(&[SELF_SIGNED], &fleet.by_thumbprint));
    assert!(fleet.admits(&[LEAF, BETWEEN], &fleet.by_authority));
    fleet
});

impl Fleet {
    fn admits(&self, chain: &[&[u8]], identity: &Identity) -> bool {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(*der)).collect();
        let admitted = self
            .certificates
            .admit(&chain, identity, &self.trusted, NOW);
        admitted.is_ok()
    }
}

fn identity(authentication: Authentication) -> Identity {
    Identity {
        id: IdentityId {
            device: DeviceId::parse("door-1").expect("it is a name"),
            module: None,
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

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let fleet = &*FLEET;
    match kind {
        b'D' => {
            let is_own = fleet.admits(&[rest], &fleet.by_thumbprint);
            assert_eq!(
                is_own,
                rest == SELF_SIGNED,
                "another certificate's thumbprint"
            );
            if fleet.admits(&[rest, BETWEEN], &fleet.by_authority) {
                assert!(contains(rest, signed_part(LEAF)), "a leaf was forged");
            }
        }
        b'I' => {
            if fleet.admits(&[LEAF, rest], &fleet.by_authority) {
                assert!(contains(rest, signed_part(BETWEEN)), "an issuer was forged");
            }
        }
        b'A' => check_authority(rest),
        b'P' => check_upload(rest),
        _ => {}
    }
});

/// Whoever else is trusted does not vouch for a device of the root's.
fn check_authority(der: &[u8]) {
    let Ok(authority) = AuthorityCertificate::read(der) else {
        return;
    };
    let _ = authority.subject.len();
    let certificates = DeviceCertificates::default();
    let trusted: Arc<[_]> = Arc::from([TrustedCertificate::new(authority.der)]);
    let chain = [LEAF, BETWEEN].map(CertificateDer::from);
    let by_authority = &FLEET.by_authority;
    if certificates
        .admit(&chain, by_authority, &trusted, NOW)
        .is_ok()
    {
        let vouches = [ROOT, BETWEEN].map(|der| contains(&trusted[0].der, public_point(der)));
        assert!(vouches.contains(&true), "a stranger vouched for a device");
    }
}

/// A proof is one for its own code alone.
fn check_upload(pem: &[u8]) {
    let _ = AuthorityCertificate::from_pem(pem, NOW);
    let _ = AuthorityCertificate::all_from_pem(pem);
    let _ = FLEET.root.check_proof(pem, "0123456789ABCDEF", NOW);
    let other = FLEET
        .root
        .check_proof(pem, "a code that nobody was given", NOW);
    assert!(other.is_err(), "a proof without its code");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What the issuer signed of a certificate: both lengths before it take two bytes after `30 82`.
fn signed_part(der: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([der[6], der[7]]));
    assert_eq!(
        (&der[..2], &der[4..6]),
        (&[0x30, 0x82][..], &[0x30, 0x82][..])
    );
    &der[4..8 + length]
}

/// The public key of a certificate whose key is on P-256.
fn public_point(der: &[u8]) -> &[u8] {
    const BEFORE: &[u8] = &[0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0, 4];
    let start = der
        .windows(BEFORE.len())
        .position(|window| window == BEFORE);
    let start = start.expect("its key is on P-256") + BEFORE.len();
    &der[start..start + 64]
}
