//! The algorithms that may have signed a token, and what each asks of its key.
//!
//! The list is closed: `none` and everything with a shared secret is no algorithm here, so no header can ask for
//! it. Signatures are checked by ring, which is in every node anyway for TLS.

use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// One of them. compat: AUTH-20
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// The one of a name, as in a header's or a key's `alg`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // The older name, and the one that says which curve.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A public key as its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

impl Material {
    /// Whether keys of this kind sign with `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.check(algorithm).is_some()
    }

    /// Whether this key signed `message` with `algorithm`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self.check(algorithm) {
            Some(Check::Rsa(rule, key)) => key.verify(rule, message, signature).is_ok(),
            Some(Check::Curve(rule, key)) => {
                let key = UnparsedPublicKey::new(rule, key);
                key.verify(message, signature).is_ok()
            }
            None => false,
        }
    }

    fn check(&self, algorithm: Algorithm) -> Option<Check<'_>> {
        match self {
            Self::Rsa { n, e } => {
                let rule = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return None,
                };
                let (n, e) = (n.as_slice(), e.as_slice());
                Some(Check::Rsa(rule, RsaPublicKeyComponents { n, e }))
            }
            Self::P256(point) if algorithm == Algorithm::Es256 => {
                Some(Check::Curve(&ECDSA_P256_SHA256_FIXED, point))
            }
            Self::P384(point) if algorithm == Algorithm::Es384 => {
                Some(Check::Curve(&ECDSA_P384_SHA384_FIXED, point))
            }
            Self::Ed25519(key) if algorithm == Algorithm::EdDsa => {
                Some(Check::Curve(&ED25519, key))
            }
            _ => None,
        }
    }
}

/// How a signature is checked, with the key it is checked against.
enum Check<'a> {
    Rsa(
        &'static signature::RsaParameters,
        RsaPublicKeyComponents<&'a [u8]>,
    ),
    Curve(&'static dyn VerificationAlgorithm, &'a [u8]),
}
