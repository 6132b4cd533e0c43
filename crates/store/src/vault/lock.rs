//! How a store's data key is kept: sealed under a master key that is not in the data folder.
//!
//! The master key is 32 bytes of a key file, or argon2id of a passphrase. Changing it seals one small record
//! anew and no secret. A master key is told apart by its [`KeyId`], a hash of it, so that a wrong one is
//! known before anything is opened, and a backup can say which one it needs.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{XChaCha20Poly1305, aead::KeyInit as _};
use fanfare_hub::ports::StoreError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{DataKey, KEY_BYTES, fill, open, seal};
use crate::record;

const WHAT: &str = "the record of the data key";
const V1: u8 = 1;

/// What an operator gives to open a store. Never printed, zeroed when it goes.
pub enum MasterKey {
    /// The bytes of a key file.
    File(Zeroizing<[u8; KEY_BYTES]>),
    /// A passphrase; the key is derived from it.
    Passphrase(Zeroizing<String>),
}

impl MasterKey {
    /// Which of the two it is.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::File(_) => KeyKind::File,
            Self::Passphrase(_) => KeyKind::Passphrase,
        }
    }

    /// The id of a key file's key; a passphrase has none before it meets a store's salt.
    pub fn id(&self) -> Option<KeyId> {
        match self {
            Self::File(bytes) => Some(KeyId::of(bytes)),
            Self::Passphrase(_) => None,
        }
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What kind of master key a store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A key file.
    File,
    /// A passphrase.
    Passphrase,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "key file",
            Self::Passphrase => "passphrase",
        })
    }
}

/// Tells master keys apart and gives nothing of them away: the first 8 bytes of a SHA-256, 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new_with_prefix(b"fanfare key id\0")
            .chain_update(key)
            .finalize();
        let head = digest.first_chunk().expect("a SHA-256 has 32 bytes");
        Self(*head)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a master key does not open a store.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The other kind is needed.
    #[error("a {given} was given, but the keys are encrypted under a {needed} (key id {id})")]
    Kind {
        /// What was given.
        given: KeyKind,
        /// What is needed.
        needed: KeyKind,
        /// The id of the key that is needed.
        id: KeyId,
    },
    /// Another key file is needed.
    #[error("the key file holds key {given}, but the keys are encrypted under key {needed}")]
    OtherKey {
        /// The id of the key that was given.
        given: KeyId,
        /// The id of the key that is needed.
        needed: KeyId,
    },
    /// The passphrase is another.
    #[error("the passphrase is not the one under which the keys are encrypted (key id {0})")]
    OtherPassphrase(KeyId),
    /// The record of the data key cannot be right.
    #[error("the data key cannot be opened although the master key is right; restore a backup")]
    Damaged(#[source] StoreError),
    /// Argon2 failed.
    #[error("no key could be derived from the passphrase: {0}")]
    Derivation(argon2::Error),
}

/// A data key under a master key, as it is kept.
#[derive(Clone)]
pub(crate) struct Lock(LockRecord);

/// Version 1, in postcard. Never change it: a new shape is a new version.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct LockRecord {
    key_id: [u8; 8],
    /// Absent for the key of a key file.
    derivation: Option<Derivation>,
    sealed: Vec<u8>,
}

/// How argon2id makes a key of a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Derivation {
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// What new passphrases cost: RFC 9106's choice for memory that is not plentiful, 64 MiB and three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// A record that asks for more was not written by us.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

impl Lock {
    /// Keeps a data key under a master key.
    pub(crate) fn new(data_key: &DataKey, master: &MasterKey) -> Result<Self, UnlockError> {
        let derivation = match master {
            MasterKey::File(_) => None,
            MasterKey::Passphrase(_) => {
                let mut salt = [0; 16];
                fill(&mut salt);
                Some(Derivation {
                    salt,
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    lanes: LANES,
                })
            }
        };
        let key = key_of(master, derivation.as_ref())?;
        let mut record = LockRecord {
            key_id: KeyId::of(&key).0,
            derivation,
            sealed: Vec::new(),
        };
        let cipher = XChaCha20Poly1305::new((&*key).into());
        record.sealed = seal(&cipher, &record.owner(), &*data_key.0);
        Ok(Self(record))
    }

    /// Gives the data key out.
    pub(crate) fn open(&self, master: &MasterKey) -> Result<DataKey, UnlockError> {
        let record = &self.0;
        if master.kind() != self.kind() {
            return Err(UnlockError::Kind {
                given: master.kind(),
                needed: self.kind(),
                id: self.id(),
            });
        }
        let key = key_of(master, record.derivation.as_ref())?;
        let given = KeyId::of(&key);
        if given != self.id() {
            return Err(match self.kind() {
                KeyKind::File => UnlockError::OtherKey {
                    given,
                    needed: self.id(),
                },
                KeyKind::Passphrase => UnlockError::OtherPassphrase(self.id()),
            });
        }
        let cipher = XChaCha20Poly1305::new((&*key).into());
        let damaged = |problem: &str| UnlockError::Damaged(record::corrupt(WHAT, problem));
        let opened = open(&cipher, &record.owner(), &record.sealed)
            .map_err(|refused| damaged(&refused.to_string()))?;
        let mut data_key = Zeroizing::new([0; KEY_BYTES]);
        if opened.len() != KEY_BYTES {
            return Err(damaged("holds no key"));
        }
        data_key.copy_from_slice(&opened);
        Ok(DataKey(data_key))
    }

    /// Which master key it needs.
    pub(crate) fn id(&self) -> KeyId {
        KeyId(self.0.key_id)
    }

    /// What kind of master key it needs.
    pub(crate) fn kind(&self) -> KeyKind {
        match self.0.derivation {
            Some(_) => KeyKind::Passphrase,
            None => KeyKind::File,
        }
    }

    /// Bytes to store.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        record::seal_value(V1, &self.0)
    }

    /// From stored bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let record: LockRecord = record::open_value(WHAT, V1, bytes)?;
        let is_sane = record.derivation.is_none_or(|derivation| {
            derivation.memory_kib <= MEMORY_KIB_MAX && derivation.passes <= PASSES_MAX
        });
        match is_sane {
            true => Ok(Self(record)),
            false => Err(record::corrupt(WHAT, "asks for an impossible derivation")),
        }
    }
}

impl LockRecord {
    /// Whom the data key is sealed for: nothing of the record can be exchanged.
    fn owner(&self) -> Vec<u8> {
        postcard::to_stdvec(&("fanfare data key", self.key_id, self.derivation))
            .expect("numbers and bytes can be written")
    }
}

fn key_of(
    master: &MasterKey,
    derivation: Option<&Derivation>,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, UnlockError> {
    match (master, derivation) {
        (MasterKey::Passphrase(passphrase), Some(derivation)) => {
            let Derivation {
                memory_kib,
                passes,
                lanes,
                ..
            } = *derivation;
            let params = Params::new(memory_kib, passes, lanes, Some(KEY_BYTES))
                .map_err(UnlockError::Derivation)?;
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase.as_bytes(), &derivation.salt, &mut *key)
                .map_err(UnlockError::Derivation)?;
            Ok(key)
        }
        (MasterKey::File(key), _) => Ok(key.clone()),
        // No record asks for it: its derivation is what makes it one of a passphrase.
        (MasterKey::Passphrase(_), None) => {
            Err(UnlockError::Derivation(argon2::Error::SaltTooShort))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/data-key-v1.bin");

    fn file(byte: u8) -> MasterKey {
        MasterKey::File(Zeroizing::new([byte; KEY_BYTES]))
    }

    fn passphrase(text: &str) -> MasterKey {
        MasterKey::Passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn each_kind_opens_what_it_locked_and_a_wrong_one_is_named() {
        let data_key = DataKey::random();
        for (right, wrong, problem) in [
            (file(1), file(2), "holds key"),
            (file(1), passphrase("rain"), "a passphrase was given"),
            (
                passphrase("rain"),
                passphrase("sun"),
                "the passphrase is not",
            ),
            (passphrase("rain"), file(1), "a key file was given"),
        ] {
            let lock = Lock::new(&data_key, &right).unwrap();
            let lock = Lock::from_bytes(&lock.to_bytes()).unwrap();
            assert_eq!(*lock.open(&right).unwrap().0, *data_key.0);
            let refused = lock.open(&wrong).err().unwrap().to_string();
            assert!(refused.contains(problem), "{refused}");
            assert!(refused.contains(&lock.id().to_string()), "{refused}");
            assert!(!refused.contains("rain") && !refused.contains("sun"));
        }
    }

    #[test]
    fn version_1_still_loads() {
        let lock = Lock::from_bytes(GOLDEN).unwrap();
        assert_eq!(lock.kind(), KeyKind::File);
        let data_key = lock.open(&file(7)).unwrap();
        assert_eq!(*data_key.0, [9; KEY_BYTES]);
        assert_eq!(lock.to_bytes(), GOLDEN);
    }

    #[test]
    fn a_changed_record_is_damage_not_a_wrong_key() {
        let mut lock = Lock::new(&DataKey::random(), &file(3)).unwrap();
        *lock.0.sealed.last_mut().unwrap() ^= 1;
        let refused = lock.open(&file(3)).err().unwrap();
        assert!(matches!(refused, UnlockError::Damaged(_)), "{refused}");
        let mut greedy = Lock::new(&DataKey::random(), &file(3)).unwrap();
        greedy.0.derivation = Some(Derivation {
            salt: [0; 16],
            memory_kib: u32::MAX,
            passes: 1,
            lanes: 1,
        });
        assert!(Lock::from_bytes(&greedy.to_bytes()).is_err());
    }
}
