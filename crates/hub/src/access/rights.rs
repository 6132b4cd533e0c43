//! The rights of shared access policies, and the policies that a hub begins with.

use std::{fmt, ops::BitOr, sync::Arc};

use crate::{ids::Etag, registry::SymmetricKey};

/// A set of rights; the flags are the contract's. compat: AUTH-10
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read identities.
    pub const REGISTRY_READ: Self = Self(1);
    /// Change identities; implies reading them.
    pub const REGISTRY_WRITE: Self = Self(3);
    /// Use the service side: twins, methods, queries, jobs.
    pub const SERVICE_CONNECT: Self = Self(4);
    /// Connect as any device.
    pub const DEVICE_CONNECT: Self = Self(8);
    /// All four. Whoever has them owns the hub: policies and authorities ask for no less.
    pub const OWNER: Self = Self(15);

    /// From stored flags; unknown ones are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0xf)
    }

    /// From the contract's words, which may come in any order and repeat. `RegistryWrite` brings
    /// `RegistryRead` along.
    ///
    /// # Errors
    /// [`ParseRightsError`] names the first text that is no right.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ParseRightsError> {
        words.into_iter().try_fold(Self::NONE, |rights, word| {
            let known = RIGHTS.iter().find(|(known, _)| *known == word);
            known
                .map(|(_, right)| rights | *right)
                .ok_or_else(|| ParseRightsError(word.to_owned()))
        })
    }

    /// The contract's words for it, the implied `RegistryRead` included.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let words = RIGHTS.into_iter();
        words.filter_map(move |(word, right)| self.include(right).then_some(word))
    }

    /// The flags.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `needed` are here.
    pub fn include(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}

const RIGHTS: [(&str, Rights); 4] = [
    ("RegistryRead", Rights::REGISTRY_READ),
    ("RegistryWrite", Rights::REGISTRY_WRITE),
    ("ServiceConnect", Rights::SERVICE_CONNECT),
    ("DeviceConnect", Rights::DEVICE_CONNECT),
];

/// A text that is no right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no right; RegistryRead, RegistryWrite, ServiceConnect and DeviceConnect are")]
pub struct ParseRightsError(pub String);

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words().collect();
        f.write_str(&words.join(", "))
    }
}

/// A named pair of keys and what they open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name, as in `SharedAccessKeyName`.
    pub name: Arc<str>,
    /// What it grants.
    pub rights: Rights,
    /// The first key.
    pub primary: SymmetricKey,
    /// The second key, for rotation.
    pub secondary: SymmetricKey,
    /// Its version.
    pub etag: Etag,
}

/// The policies that every hub starts with. compat: AUTH-11
pub const DEFAULT_POLICIES: [(&str, Rights); 5] = [
    ("iothubowner", Rights::OWNER),
    ("service", Rights::SERVICE_CONNECT),
    ("device", Rights::DEVICE_CONNECT),
    ("registryRead", Rights::REGISTRY_READ),
    ("registryReadWrite", Rights::REGISTRY_WRITE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_written_in_the_words_of_the_contract() {
        let table: [(&[&str], Rights, &[&str]); 4] = [
            (&[], Rights::NONE, &[]),
            (
                &["RegistryWrite"],
                Rights::REGISTRY_WRITE,
                &["RegistryRead", "RegistryWrite"],
            ),
            (
                &["ServiceConnect", "RegistryRead", "ServiceConnect"],
                Rights::REGISTRY_READ | Rights::SERVICE_CONNECT,
                &["RegistryRead", "ServiceConnect"],
            ),
            (
                &["DeviceConnect", "ServiceConnect", "RegistryWrite"],
                Rights::OWNER,
                &[
                    "RegistryRead",
                    "RegistryWrite",
                    "ServiceConnect",
                    "DeviceConnect",
                ],
            ),
        ];
        for (words, rights, written) in table {
            assert_eq!(Rights::parse(words.iter().copied()), Ok(rights));
            assert_eq!(rights.words().collect::<Vec<_>>(), written);
        }
        let odd = Rights::parse(["RegistryRead", "registrywrite"]);
        assert_eq!(odd, Err(ParseRightsError("registrywrite".to_owned())));
    }
}
