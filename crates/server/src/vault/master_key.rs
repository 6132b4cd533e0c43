//! Where an operator keeps the master key: a key file, or a file with a passphrase.
//!
//! Never a flag and never an environment variable, which other processes can see; only the *names* of the
//! files are settings. Both must belong to their owner alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    compose::{KEY_BYTES, MasterKey},
    data_dir::SECRET_MODE,
    entropy,
};

/// The file that holds the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// 32 random bytes as base64 or hex.
    KeyFile(PathBuf),
    /// A passphrase, of which the key is derived.
    PassphraseFile(PathBuf),
}

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The file cannot be read or written.
    #[error("the file {} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read or write the file.
    #[error(
        "the file {} has mode {mode:04o}: others can read or change it; give it to its owner alone with chmod 600",
        path.display()
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error("the file {} {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Bytes of a file with a key or a passphrase. Ours.
const FILE_BYTES_MAX: u64 = 4_096;
/// Characters of a passphrase, at least: shorter ones are guessed however slow a guess is. Ours.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Bits of others in a file's mode.
const OTHERS: u32 = 0o077;

impl KeySource {
    /// Which file it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::KeyFile(path) | Self::PassphraseFile(path) => path,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub(crate) fn read(&self) -> Result<MasterKey, KeyFault> {
        let path = self.path();
        let text = read(path)?;
        let fault = |problem| KeyFault::Content {
            path: path.to_owned(),
            problem,
        };
        match self {
            Self::KeyFile(_) => key_bytes(text.trim())
                .map(MasterKey::File)
                .ok_or_else(|| fault("does not hold 32 bytes as base64 or hex")),
            Self::PassphraseFile(_) => {
                // What editors put at the end is not part of it; blanks are.
                let passphrase = text.trim_end_matches(['\n', '\r']);
                match passphrase.chars().count() >= PASSPHRASE_CHARS_MIN {
                    true => Ok(MasterKey::Passphrase(Zeroizing::new(passphrase.to_owned()))),
                    false => Err(fault("holds a passphrase of less than 12 characters")),
                }
            }
        }
    }
}

/// Makes a key file with 32 new random bytes as base64. Returns the id of the key, 16 hex digits.
///
/// # Errors
/// The file is there already or cannot be written.
pub fn generate(path: &Path) -> Result<String, KeyFault> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    entropy::fill(&mut *bytes);
    let mut text = Zeroizing::new(String::with_capacity(64));
    STANDARD.encode_string(*bytes, &mut text);
    text.push('\n');
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(SECRET_MODE)
        .open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|source| KeyFault::Io {
        path: path.to_owned(),
        source,
    })?;
    let id = MasterKey::File(bytes).id();
    Ok(id.map(|id| id.to_string()).unwrap_or_default())
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyFault> {
    let fail = |source| KeyFault::Io {
        path: path.to_owned(),
        source,
    };
    // Of the open file: its name may be given to another one meanwhile.
    let file = fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        let path = path.to_owned();
        return Err(KeyFault::Open { path, mode });
    }
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(KeyFault::Content {
            path: path.to_owned(),
            problem: "is not a file of at most 4,096 bytes",
        });
    }
    // As long as it may ever be: growing it would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 64));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyFault::Content {
        path: path.to_owned(),
        problem: "is not text",
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// 32 bytes of 64 hex digits or of base64.
fn key_bytes(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        return Some(bytes);
    }
    let mut decoded = STANDARD.decode(text).ok()?;
    let fits = decoded.len() == KEY_BYTES;
    if fits {
        bytes.copy_from_slice(&decoded);
    }
    decoded.zeroize();
    fits.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, content: &str, mode: u32) -> PathBuf {
        let path = folder.join(format!("{:x}-{mode:o}", content.len()));
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode))
            .unwrap();
        path
    }

    #[test]
    fn a_generated_key_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.key");
        let id = generate(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let key = KeySource::KeyFile(path.clone()).read().unwrap();
        assert_eq!(key.id().unwrap().to_string(), id);
        assert!(
            matches!(generate(&path), Err(KeyFault::Io { .. })),
            "never over another"
        );
        assert_eq!(format!("{key:?}"), "MasterKey(..)");
    }

    #[test]
    fn base64_and_hex_are_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let hex = "00ff".repeat(16);
        let base64 = STANDARD.encode([0, 255].repeat(16));
        let id = |content: &str| {
            let path = file(folder.path(), content, 0o400);
            KeySource::KeyFile(path).read().unwrap().id().unwrap()
        };
        assert_eq!(id(&hex), id(&format!("{base64}\n")));
        for content in ["", "short", &hex[1..], &STANDARD.encode([7; 31])] {
            let path = file(folder.path(), content, 0o600);
            let refused = KeySource::KeyFile(path).read().unwrap_err().to_string();
            assert!(
                refused.ends_with("does not hold 32 bytes as base64 or hex"),
                "{refused}"
            );
            assert!(content.len() < 5 || !refused.contains(content), "{refused}");
        }
    }

    #[test]
    fn files_of_everyone_and_short_passphrases_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o602] {
            let path = file(folder.path(), "correct horse battery", mode);
            let refused = KeySource::PassphraseFile(path).read().unwrap_err();
            assert!(matches!(refused, KeyFault::Open { .. }), "{refused}");
        }
        let path = file(folder.path(), "elevenchars\n", 0o600);
        let refused = KeySource::PassphraseFile(path)
            .read()
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("less than 12") && !refused.contains("eleven"),
            "{refused}"
        );
        let path = file(folder.path(), "twelve chars\r\n", 0o600);
        let key = KeySource::PassphraseFile(path).read().unwrap();
        assert!(matches!(key, MasterKey::Passphrase(text) if *text == "twelve chars"));
    }
}
