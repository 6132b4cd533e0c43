//! What a backup says of itself.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{BackupError, files};

/// The only shape of a manifest so far.
pub(super) const FORMAT: u32 = 1;
const NAME: &str = "manifest.json";
/// Bytes of a manifest. Ours; one is about 1 KiB.
const BYTES_MAX: u64 = 64 * 1024;

/// What a backup says of itself, in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The shape of this document.
    pub format: u32,
    /// The version of the program that made it.
    pub fanfare: String,
    /// When it was begun, UTC.
    pub created: String,
    /// What the store's copy holds.
    pub store: StoreFacts,
    /// How its keys are encrypted; absent when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyFacts>,
    /// Every file of the backup but this one.
    pub files: Vec<BackedUpFile>,
}

/// How the keys in a backup are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFacts {
    /// The id of the master key that opens them, 16 hex digits.
    pub key_id: String,
    /// `key file` or `passphrase`.
    pub kind: String,
}

/// What the store's copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFacts {
    /// The format of its tables.
    pub format: u32,
    /// The term of the last start before the copy.
    pub term: u32,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpFile {
    /// Its name, in the backup and in a hub's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hex digits.
    pub sha256: String,
    /// Its mode in a hub's folder, octal digits.
    pub mode: String,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is text and numbers");
        text.push('\n');
        files::write(&folder.join(NAME), text.as_bytes())
    }

    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(NAME);
        let fail = |error| BackupError::io(&path, error);
        if fs::metadata(&path).map_err(fail)?.len() > BYTES_MAX {
            return Err(BackupError::unusable(
                &path,
                "it is too long for a manifest",
            ));
        }
        let text = fs::read(&path).map_err(fail)?;
        // The shape first: a newer one may look different in everything else.
        let shape: Shape = serde_json::from_slice(&text)
            .map_err(|error| BackupError::unusable(&path, error.to_string()))?;
        if shape.format != FORMAT {
            let problem = format!(
                "it has format {}, this program knows format {FORMAT}",
                shape.format
            );
            return Err(BackupError::unusable(&path, problem));
        }
        serde_json::from_slice(&text)
            .map_err(|error| BackupError::unusable(&path, error.to_string()))
    }
}

#[derive(Deserialize)]
struct Shape {
    format: u32,
}
