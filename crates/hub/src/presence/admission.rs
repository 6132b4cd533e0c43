//! What let a connection in.
//!
//! Each connection keeps it, so that a change of credentials ends those connections whose credential is gone
//! and no others: that is what makes it possible to renew keys and certificates without an interruption.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

/// What let a connection in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// A token signed with a key of the identity.
    OwnKey {
        /// Which key.
        key: KeyMark,
    },
    /// A token signed with a key of a shared access policy.
    Policy {
        /// The policy.
        name: Arc<str>,
        /// Which of its keys.
        key: KeyMark,
    },
    /// A certificate that the identity names by thumbprint.
    Thumbprint(Thumbprints),
    /// A certificate below an authority that the hub trusts.
    Authority {
        /// SHA-256 of the authority's certificate.
        thumbprint: [u8; 32],
    },
}

/// Tells keys apart without being one: the first bytes of a key's hash. Never printed, since a weak key could be
/// found from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyMark([u8; 8]);

impl KeyMark {
    /// The mark of a key's base64 text.
    pub fn of(base64: &str) -> Self {
        let hash = Sha256::digest(base64);
        Self(std::array::from_fn(|at| hash[at]))
    }
}

impl fmt::Debug for KeyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMark(..)")
    }
}

/// The two thumbprints of one certificate: hashes of its DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thumbprints {
    /// SHA-1, which the contract knows by its 40 digits.
    pub sha1: [u8; 20],
    /// SHA-256, by its 64.
    pub sha256: [u8; 32],
}

impl Thumbprints {
    /// The SHA-1 one as the contract shows it: 40 digits.
    pub fn sha1_hex(&self) -> String {
        hex(&self.sha1)
    }

    /// The SHA-256 one likewise: 64 digits.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// Whether `hex` (any case) is one of them. Takes the same time wherever they differ.
    pub fn include(&self, hex: &str) -> bool {
        is_hex_of(hex, &self.sha1) || is_hex_of(hex, &self.sha256)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn is_hex_of(hex: &str, bytes: &[u8]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if hex.len() != bytes.len() * 2 {
        return false;
    }
    let digit = |half: u8| DIGITS[usize::from(half)];
    let expected = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    let pairs = hex.bytes().zip(expected);
    let difference = pairs.fold(0, |all, (seen, expected)| {
        all | (seen.to_ascii_lowercase() ^ expected)
    });
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_known_by_either_hash_in_any_case_and_whole() {
        let seen = Thumbprints {
            sha1: [0x1f; 20],
            sha256: [0xe0; 32],
        };
        for hex in ["1f".repeat(20), "1F".repeat(20), "E0".repeat(32)] {
            assert!(seen.include(&hex), "{hex}");
        }
        for hex in [seen.sha1_hex(), seen.sha256_hex()] {
            assert!(seen.include(&hex), "{hex}");
        }
        let mut off_by_one = "1f".repeat(19);
        off_by_one.push_str("1e");
        for hex in [
            off_by_one,
            "1f".repeat(19),
            "1f".repeat(21),
            "1f".repeat(32),
            String::new(),
        ] {
            assert!(!seen.include(&hex), "{hex}");
        }
    }

    #[test]
    fn a_mark_is_not_printed() {
        assert_eq!(format!("{:?}", KeyMark::of("a")), "KeyMark(..)");
    }
}
