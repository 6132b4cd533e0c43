//! How an identity proves who it is, and what a caller may ask for there.
//!
//! Decides which keys are good enough, and that a key nobody named is made here. Whether a made key is
//! used, or one that is there already stays, only the store's writer can say: see [`Made`].

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Registry, RegistryError};
use crate::ports::Entropy;

/// How an identity proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Tokens signed with one of two keys.
    Sas {
        /// The first key.
        primary: SymmetricKey,
        /// The second key, for rotation.
        secondary: SymmetricKey,
    },
    /// A certificate known by thumbprint (hex text as given).
    SelfSigned {
        /// The first thumbprint.
        primary: Option<String>,
        /// The second, for rotation.
        secondary: Option<String>,
    },
    /// A certificate from a known authority.
    CertificateAuthority,
    /// It cannot prove anything, so it cannot connect.
    None,
}

impl Authentication {
    /// What is stored over `before`: its own keys stay where the caller named none.
    pub fn over(self, before: &Self, made: Made) -> Self {
        match (self, before) {
            (
                Self::Sas { primary, secondary },
                Self::Sas {
                    primary: own_primary,
                    secondary: own_secondary,
                },
            ) => Self::Sas {
                primary: if made.primary {
                    own_primary.clone()
                } else {
                    primary
                },
                secondary: if made.secondary {
                    own_secondary.clone()
                } else {
                    secondary
                },
            },
            (other, _) => other,
        }
    }
}

/// What of a write the hub made up because the caller did not name it. It counts where there is nothing yet;
/// an entry keeps what it has, as the writer finds it, so that no change in between is undone.
/// compat: REG-17, REG-50
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    /// The first key.
    pub primary: bool,
    /// The second key.
    pub secondary: bool,
    /// The status, and with it a reason that is not given.
    pub status: bool,
}

/// A shared key as base64 text, kept as its owner wrote it. Never printed, compared in the same time whatever
/// it is, and zeroed with its last copy.
#[derive(Clone)]
pub struct SymmetricKey(Arc<Zeroizing<String>>);

impl SymmetricKey {
    /// Wraps base64 text.
    pub fn new(base64: &str) -> Self {
        Self(Arc::new(Zeroizing::new(base64.to_owned())))
    }

    /// A key that was not read because nobody asked for it. Its text is empty, so it signs nothing.
    pub fn withheld() -> Self {
        Self::new("")
    }

    /// The base64 text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SymmetricKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}

impl Eq for SymmetricKey {}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(..)")
    }
}

/// The credentials that a caller names; an absent key means "make one" (or keep the one there is).
#[derive(Clone, PartialEq, Eq)]
pub enum AuthenticationRequest {
    /// Base64 keys of 16 to 64 bytes, not checked yet.
    Sas {
        /// The first key.
        primary: Option<SymmetricKey>,
        /// The second key.
        secondary: Option<SymmetricKey>,
    },
    /// Hex thumbprints of 40 or 64 digits.
    SelfSigned {
        /// The first thumbprint.
        primary: Option<String>,
        /// The second.
        secondary: Option<String>,
    },
    /// A certificate from a known authority.
    CertificateAuthority,
    /// Nothing.
    None,
}

impl fmt::Debug for AuthenticationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sas { .. } => "Sas(..)",
            Self::SelfSigned { .. } => "SelfSigned(..)",
            Self::CertificateAuthority => "CertificateAuthority",
            Self::None => "None",
        })
    }
}

impl Registry {
    /// The credentials asked for, with a new key for each that was not named.
    pub(super) fn credentials(
        &self,
        request: AuthenticationRequest,
    ) -> Result<(Authentication, Made), RegistryError> {
        let key = |given: Option<SymmetricKey>, field| match given {
            Some(key) => checked_key(key.expose(), field),
            None => Ok(self.new_key()),
        };
        let mut made = Made::default();
        let authentication = match request {
            AuthenticationRequest::Sas { primary, secondary } => {
                made = Made {
                    primary: primary.is_none(),
                    secondary: secondary.is_none(),
                    status: false,
                };
                Authentication::Sas {
                    primary: key(primary, "primaryKey")?,
                    secondary: key(secondary, "secondaryKey")?,
                }
            }
            AuthenticationRequest::SelfSigned { primary, secondary } => {
                Authentication::SelfSigned {
                    primary: checked_thumbprint(primary, "primaryThumbprint")?,
                    secondary: checked_thumbprint(secondary, "secondaryThumbprint")?,
                }
            }
            AuthenticationRequest::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationRequest::None => Authentication::None,
        };
        Ok((authentication, made))
    }

    /// 32 random bytes as base64.
    pub fn new_key(&self) -> SymmetricKey {
        random_key(&*self.entropy)
    }
}

/// 32 random bytes as base64.
pub(crate) fn random_key(entropy: &dyn Entropy) -> SymmetricKey {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(&mut *bytes);
    SymmetricKey::new(&Zeroizing::new(STANDARD.encode(*bytes)))
}

const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// The key, if it is base64 of as many bytes as the contract allows.
pub(crate) fn checked_key(
    base64: &str,
    field: &'static str,
) -> Result<SymmetricKey, RegistryError> {
    let invalid = |problem: &str| RegistryError::Invalid {
        field,
        problem: problem.to_owned(),
    };
    let bytes = STANDARD
        .decode(base64)
        .map(Zeroizing::new)
        .map_err(|_| invalid("is not base64"))?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(invalid("must have 16 to 64 bytes"));
    }
    Ok(SymmetricKey::new(base64))
}

fn checked_thumbprint(
    hex: Option<String>,
    field: &'static str,
) -> Result<Option<String>, RegistryError> {
    let is_fine = |hex: &str| {
        matches!(hex.len(), 40 | 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match hex {
        Some(hex) if !is_fine(&hex) => Err(RegistryError::Invalid {
            field,
            problem: "must have 40 or 64 hexadecimal digits".to_owned(),
        }),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(primary: &str, secondary: &str) -> Authentication {
        Authentication::Sas {
            primary: SymmetricKey::new(primary),
            secondary: SymmetricKey::new(secondary),
        }
    }

    #[test]
    fn made_keys_give_way_to_those_that_are_there() {
        let made = |primary, secondary| Made {
            primary,
            secondary,
            status: false,
        };
        let certified = Authentication::CertificateAuthority;
        for (asked, before, made, stored) in [
            (
                keys("n", "N"),
                keys("o", "O"),
                made(true, true),
                keys("o", "O"),
            ),
            (
                keys("n", "N"),
                keys("o", "O"),
                made(true, false),
                keys("o", "N"),
            ),
            (
                keys("n", "N"),
                keys("o", "O"),
                made(false, true),
                keys("n", "O"),
            ),
            (
                keys("n", "N"),
                keys("o", "O"),
                made(false, false),
                keys("n", "N"),
            ),
            (
                keys("n", "N"),
                certified.clone(),
                made(true, true),
                keys("n", "N"),
            ),
            (
                certified.clone(),
                keys("o", "O"),
                made(false, false),
                certified,
            ),
        ] {
            assert_eq!(asked.over(&before, made), stored);
        }
    }
}
