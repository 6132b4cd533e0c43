//! Keys at rest of a data folder: where the master key comes from, and what happens to everything secret in
//! the folder when one is given, changed or taken away.
//!
//! The store encrypts the keys in it; this module does the same for the private key files beside it, and
//! decides the order: the store first when keys become encrypted, the files first when they become plain, so
//! that whatever is encrypted can always be opened. Each step may be interrupted and done again.
//!
//! [`read_private`] and [`write_private`] are the way to a private key file for everybody else.

mod master_key;
mod private_file;

use std::{io, path::Path, path::PathBuf};

pub use self::master_key::{KeyFault, KeySource, generate};
pub(crate) use self::private_file::{read_private, write_private};
pub use crate::compose::KeyState;
use crate::{
    compose::{self, KeyStanding, KeysError, Vault},
    data_dir::{DataDir, DataDirError, store_file},
};

/// The private key files of a data folder.
pub(crate) const PRIVATE_FILES: [&str; 2] = ["ca-key.pem", "server-key.pem"];

/// Why the keys of a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The folder is in use, or cannot be.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// No hub was ever started on it.
    #[error("no hub was started on the folder {} yet", .0.display())]
    NoStore(PathBuf),
    /// The master key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// A master key is needed and none was given.
    #[error(
        "the keys in {} are encrypted: give the {kind} with the id {id}, as {setting}", folder.display()
    )]
    Needed {
        /// The data folder, or the backup.
        folder: PathBuf,
        /// What kind of key.
        kind: String,
        /// Its id.
        id: String,
        /// The settings that name it.
        setting: &'static str,
    },
    /// The master key is the wrong one, or the store cannot be used.
    #[error("the keys in {} cannot be used", folder.display())]
    Keys {
        /// The data folder, or the backup.
        folder: PathBuf,
        /// Why.
        #[source]
        source: KeysError,
    },
    /// A private key file.
    #[error("the private key file {} cannot be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How far a conversion has come: identities done, and in all.
pub type KeyProgress<'a> = &'a mut dyn FnMut(u64, u64);

/// What a data folder says of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The store's; nothing when its keys lie as they are.
    pub store: Option<StoreKeys>,
    /// The private key files there are, and whether each is encrypted.
    pub files: Vec<(&'static str, bool)>,
}

/// How the keys in a store are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreKeys {
    /// The id of the master key: 16 hex digits.
    pub id: String,
    /// `key file` or `passphrase`.
    pub kind: String,
    /// How far they are.
    pub state: KeyState,
}

impl From<KeyStanding> for StoreKeys {
    fn from(standing: KeyStanding) -> Self {
        Self {
            id: standing.id.to_string(),
            kind: standing.kind.to_string(),
            state: standing.state,
        }
    }
}

/// What a conversion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConverted {
    /// Identities whose keys were converted.
    pub identities: u64,
    /// Policies whose keys were converted.
    pub policies: u64,
    /// Private key files that were converted.
    pub files: u64,
    /// Identities that cannot be read and were left as they are.
    pub damaged: u64,
    /// Why plain keys may still be found in the store's file, though no longer in use.
    pub leftover: Option<String>,
}

/// What opens the keys of a folder that this process holds. With a master key everything plain in it is
/// encrypted first; without one nothing may be encrypted.
///
/// # Errors
/// [`VaultError`]; nothing is changed when the key is wrong or missing.
pub(crate) fn unlock(folder: &DataDir, source: Option<&KeySource>) -> Result<Vault, VaultError> {
    let Some(source) = source else {
        return peek(folder.path(), None);
    };
    let mut told = 0;
    let mut progress = |done, total| {
        if done - told >= PROGRESS_EVERY {
            told = done;
            tracing::info!(
                identities = done,
                identities.total = total,
                "encrypting keys"
            );
        }
    };
    let (vault, converted) = encrypt_folder(folder.path(), source, &mut progress)?;
    if converted.identities + converted.policies + converted.files > 0 {
        let KeysConverted {
            identities,
            policies,
            files,
            ..
        } = converted;
        tracing::info!(identities, policies, files, "encrypted keys at rest");
    }
    if converted.damaged > 0 {
        tracing::error!(
            identities = converted.damaged,
            "identities cannot be read and stay as they are"
        );
    }
    if let Some(error) = converted.leftover {
        tracing::warn!(%error, "overwritten plain keys may still lie in the store's file");
    }
    Ok(vault)
}

/// Identities between two lines of the log.
const PROGRESS_EVERY: u64 = 100_000;

/// What opens the keys of a folder or a backup, whether a hub runs on it or not. Changes nothing.
///
/// # Errors
/// [`VaultError`].
pub(crate) fn peek(folder: &Path, source: Option<&KeySource>) -> Result<Vault, VaultError> {
    let key = source.map(KeySource::read).transpose()?;
    compose::peek_vault(folder, key.as_ref()).map_err(|error| refused(folder, error))
}

/// Whether the master key opens what is encrypted in a folder or a backup; none is needed where nothing is.
///
/// # Errors
/// [`VaultError`] when it does not.
pub fn check(folder: &Path, source: Option<&KeySource>) -> Result<(), VaultError> {
    peek(folder, source).map(drop)
}

/// What a data folder says of its keys, whether a hub runs on it or not.
///
/// # Errors
/// No hub was started on it, or its files cannot be read.
pub fn status(data_dir: &Path) -> Result<KeyStatus, VaultError> {
    require_store(data_dir)?;
    let store = compose::key_standing(data_dir).map_err(|error| refused(data_dir, error))?;
    let mut files = Vec::new();
    for name in PRIVATE_FILES {
        let path = data_dir.join(name);
        match private_file::is_encrypted(&path) {
            Ok(is_encrypted) => files.push((name, is_encrypted)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(VaultError::File { path, source }),
        }
    }
    let store = store.map(StoreKeys::from);
    Ok(KeyStatus { store, files })
}

/// Encrypts everything secret in a data folder on which no hub runs.
///
/// # Errors
/// [`VaultError`]. May be done again after any of them.
pub fn encrypt(
    data_dir: &Path,
    source: &KeySource,
    progress: KeyProgress<'_>,
) -> Result<KeysConverted, VaultError> {
    let folder = claim(data_dir)?;
    encrypt_folder(folder.path(), source, progress).map(|(_, converted)| converted)
}

/// Decrypts everything secret in a data folder on which no hub runs.
///
/// # Errors
/// [`VaultError`]. May be done again after any of them.
pub fn decrypt(
    data_dir: &Path,
    source: &KeySource,
    progress: KeyProgress<'_>,
) -> Result<KeysConverted, VaultError> {
    let folder = claim(data_dir)?;
    let key = source.read()?;
    let fail = |error| refused(data_dir, error);
    compose::key_standing(data_dir)
        .and_then(|standing| standing.ok_or(KeysError::Plain))
        .map_err(fail)?;
    let vault = compose::peek_vault(data_dir, Some(&key)).map_err(fail)?;
    let files = convert_files(folder.path(), &vault, private_file::decrypt)?;
    let converted = compose::decrypt_keys(data_dir, &key, progress).map_err(fail)?;
    Ok(KeysConverted {
        identities: converted.identities,
        policies: converted.policies,
        files,
        damaged: converted.damaged,
        leftover: None,
    })
}

/// Puts the data key of a folder on which no hub runs under another master key.
///
/// # Errors
/// [`VaultError`]; then nothing changed.
pub fn change(
    data_dir: &Path,
    source: &KeySource,
    new: &KeySource,
) -> Result<StoreKeys, VaultError> {
    let _folder = claim(data_dir)?;
    let (key, new) = (source.read()?, new.read()?);
    compose::change_master_key(data_dir, &key, &new)
        .map(StoreKeys::from)
        .map_err(|error| refused(data_dir, error))
}

fn encrypt_folder(
    folder: &Path,
    source: &KeySource,
    progress: KeyProgress<'_>,
) -> Result<(Vault, KeysConverted), VaultError> {
    let key = source.read()?;
    let (vault, converted) =
        compose::encrypt_keys(folder, &key, progress).map_err(|error| refused(folder, error))?;
    let files = convert_files(folder, &vault, private_file::encrypt)?;
    let converted = KeysConverted {
        identities: converted.identities,
        policies: converted.policies,
        files,
        damaged: converted.damaged,
        leftover: converted.leftover,
    };
    Ok((vault, converted))
}

/// How many private key files `convert` changed.
fn convert_files(
    folder: &Path,
    vault: &Vault,
    convert: fn(&Path, &Vault) -> io::Result<bool>,
) -> Result<u64, VaultError> {
    let mut files = 0;
    for name in PRIVATE_FILES {
        let path = folder.join(name);
        match convert(&path, vault) {
            Ok(changed) => files += u64::from(changed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(VaultError::File { path, source }),
        }
    }
    Ok(files)
}

/// The lock of a folder on which a hub was started once.
fn claim(data_dir: &Path) -> Result<DataDir, VaultError> {
    require_store(data_dir)?;
    Ok(DataDir::lock(data_dir)?)
}

fn require_store(data_dir: &Path) -> Result<(), VaultError> {
    match store_file(data_dir).exists() {
        true => Ok(()),
        false => Err(VaultError::NoStore(data_dir.to_owned())),
    }
}

fn refused(folder: &Path, error: KeysError) -> VaultError {
    let folder = folder.to_owned();
    match error {
        KeysError::Needed { kind, id } => VaultError::Needed {
            folder,
            kind: kind.to_string(),
            id: id.to_string(),
            setting: match kind {
                compose::KeyKind::File => "--key-file or FANFARE_KEY_FILE",
                compose::KeyKind::Passphrase => "--passphrase-file or FANFARE_PASSPHRASE_FILE",
            },
        },
        source => VaultError::Keys { folder, source },
    }
}

#[cfg(test)]
mod tests;
