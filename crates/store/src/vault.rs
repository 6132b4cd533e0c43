//! Seals secrets for the disk, and opens them again.
//!
//! A store has one random data key. Every secret is sealed under it by XChaCha20-Poly1305 with a nonce of its
//! own, drawn at random (192 bits: chance alone never repeats one), and bound to its *owner*: which record of
//! whom it belongs to. What was sealed for one owner opens for no other, so sealed secrets cannot be
//! exchanged on the disk. Knows nothing of rows and files; how the data key itself is kept is in [`lock`].

pub mod lock;

use std::fmt;

use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{AeadInOut as _, KeyInit as _},
};
use zeroize::Zeroizing;

pub use self::lock::{KeyId, KeyKind, MasterKey, UnlockError};

/// Bytes of the data key and of every key it is kept under.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// The random key under which the secrets of one store are sealed. Zeroed when it goes.
pub(crate) struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// A new one.
    pub(crate) fn random() -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill(&mut *bytes);
        Self(bytes)
    }
}

/// What seals and opens the secrets of one store; without a data key they lie as they are.
pub struct Vault {
    /// Zeroed when it goes.
    cipher: Option<XChaCha20Poly1305>,
}

/// Why a sealed secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenSealError {
    /// This vault has no data key.
    #[error("is sealed, and there is no key to open it")]
    NoKey,
    /// It was changed, it belongs to another owner, or it was sealed under another data key.
    #[error("is sealed and does not open: it was changed, or is not its owner's")]
    Refused,
}

impl Vault {
    /// A vault that seals nothing.
    pub fn plain() -> Self {
        Self { cipher: None }
    }

    /// A vault that seals under this data key.
    pub(crate) fn new(key: &DataKey) -> Self {
        Self {
            cipher: Some(XChaCha20Poly1305::new((&*key.0).into())),
        }
    }

    /// Whether secrets are sealed. A plain secret is then one that somebody else put there.
    pub fn is_sealing(&self) -> bool {
        self.cipher.is_some()
    }

    /// Seals a secret for its owner; nothing when this vault has no data key.
    pub fn seal(&self, owner: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        self.cipher
            .as_ref()
            .map(|cipher| seal(cipher, owner, secret))
    }

    /// Opens what was sealed for this owner.
    ///
    /// # Errors
    /// [`OpenSealError`].
    pub fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenSealError> {
        let cipher = self.cipher.as_ref().ok_or(OpenSealError::NoKey)?;
        open(cipher, owner, sealed)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_sealing() {
            true => "Vault(sealing)",
            false => "Vault(plain)",
        })
    }
}

/// Nonce, then the secret encrypted, then the tag.
fn seal(cipher: &XChaCha20Poly1305, owner: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_BYTES];
    fill(&mut nonce);
    // As long as it will ever be: growing it would leave a copy of the secret behind.
    let mut sealed = Vec::with_capacity(NONCE_BYTES + secret.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(secret);
    let tag = cipher
        .encrypt_inout_detached((&nonce).into(), owner, (&mut sealed[NONCE_BYTES..]).into())
        .expect("secrets are far shorter than 256 GiB");
    sealed.extend_from_slice(&tag);
    sealed
}

fn open(
    cipher: &XChaCha20Poly1305,
    owner: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenSealError> {
    let (nonce, rest) = sealed
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(OpenSealError::Refused)?;
    let (content, tag) = rest
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(OpenSealError::Refused)?;
    let mut secret = Zeroizing::new(content.to_vec());
    cipher
        .decrypt_inout_detached(
            nonce.into(),
            owner,
            secret.as_mut_slice().into(),
            tag.into(),
        )
        .map_err(|_| OpenSealError::Refused)?;
    Ok(secret)
}

/// Random bytes of the operating system.
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_owner_alone() {
        let vault = Vault::new(&DataKey::random());
        let sealed = vault.seal(b"door-1", b"c2VjcmV0").unwrap();
        assert_eq!(&**vault.open(b"door-1", &sealed).unwrap(), b"c2VjcmV0");
        assert_eq!(vault.open(b"door-2", &sealed), Err(OpenSealError::Refused));
        let other = Vault::new(&DataKey::random());
        assert_eq!(other.open(b"door-1", &sealed), Err(OpenSealError::Refused));
        let none = Vault::plain();
        assert_eq!(none.open(b"door-1", &sealed), Err(OpenSealError::NoKey));
        assert_eq!(none.seal(b"door-1", b"c2VjcmV0"), None);
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_refused() {
        let vault = Vault::new(&DataKey::random());
        let sealed = vault.seal(b"owner", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut broken = sealed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(b"owner", &broken).is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(vault.open(b"owner", &sealed[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let vault = Vault::new(&DataKey::random());
        let once = vault.seal(b"owner", b"secret").unwrap();
        assert_ne!(once, vault.seal(b"owner", b"secret").unwrap());
        assert!(!once.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(format!("{vault:?}"), "Vault(sealing)");
    }
}
