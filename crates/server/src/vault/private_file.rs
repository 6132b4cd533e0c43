//! A private key file: PEM text as it is, or encrypted in an armour of our own that nothing takes for a key.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    compose::Vault,
    data_dir::{SECRET_MODE, replace},
};

const BEGIN: &str = "-----BEGIN FANFARE ENCRYPTED KEY-----";
const END: &str = "-----END FANFARE ENCRYPTED KEY-----";
const LINE_CHARS: usize = 64;

/// The PEM text of a private key file, decrypted where it is encrypted.
///
/// # Errors
/// The file cannot be read, or is encrypted and does not open.
pub(crate) fn read_private(path: &Path, vault: &Vault) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let Some(body) = body(&text) else {
        return Ok(text);
    };
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    let sealed = STANDARD
        .decode(body)
        .map_err(|_| invalid("it is encrypted and damaged"))?;
    let key = vault
        .open(&owner(path), &sealed)
        .map_err(|refused| invalid(&format!("it {refused}")))?;
    let key = std::str::from_utf8(&key).map_err(|_| invalid("it holds no text"))?;
    Ok(Zeroizing::new(key.to_owned()))
}

/// Writes a private key file in place of what is there, encrypted where the folder's keys are.
///
/// # Errors
/// The file system refuses.
pub(crate) fn write_private(path: &Path, pem: &str, vault: &Vault) -> io::Result<()> {
    let Some(sealed) = vault.seal(&owner(path), pem.as_bytes()) else {
        return replace(path, pem.as_bytes(), SECRET_MODE);
    };
    let base64 = STANDARD.encode(sealed);
    let mut text = format!("{BEGIN}\n");
    for at in (0..base64.len()).step_by(LINE_CHARS) {
        text.push_str(&base64[at..base64.len().min(at + LINE_CHARS)]);
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    replace(path, text.as_bytes(), SECRET_MODE)
}

/// Whether a private key file is encrypted.
pub(super) fn is_encrypted(path: &Path) -> io::Result<bool> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    Ok(body(&text).is_some())
}

/// Encrypts a private key file; false when it is already.
pub(super) fn encrypt(path: &Path, vault: &Vault) -> io::Result<bool> {
    if is_encrypted(path)? {
        return Ok(false);
    }
    // What was there goes on existing under no name until its blocks are written again: they are now, as far
    // as the file system writes in place. A crash in between leaves the key twice, never not at all.
    let mut old = OpenOptions::new().write(true).open(path)?;
    let pem = read_private(path, vault)?;
    write_private(path, &pem, vault)?;
    old.write_all(&vec![0; pem.len()])?;
    old.sync_all()?;
    Ok(true)
}

/// Decrypts a private key file; false when it is not encrypted.
pub(super) fn decrypt(path: &Path, vault: &Vault) -> io::Result<bool> {
    if !is_encrypted(path)? {
        return Ok(false);
    }
    let pem = read_private(path, vault)?;
    write_private(path, &pem, &Vault::plain())?;
    Ok(true)
}

/// What is between the armour's lines, without line breaks; nothing when there is no armour.
fn body(text: &str) -> Option<String> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    Some(body.split_ascii_whitespace().collect())
}

/// An encrypted file opens under its own name alone.
fn owner(path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default();
    [b"private key file\0", name.as_encoded_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_files_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca-key.pem");
        write_private(&path, "-----BEGIN PRIVATE KEY-----\n", &Vault::plain()).unwrap();
        assert!(!is_encrypted(&path).unwrap());
        let read = read_private(&path, &Vault::plain()).unwrap();
        assert_eq!(&*read, "-----BEGIN PRIVATE KEY-----\n");
        assert!(!decrypt(&path, &Vault::plain()).unwrap());
    }

    #[test]
    fn an_encrypted_file_without_its_key_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca-key.pem");
        for (content, problem) in [
            (
                format!("{BEGIN}\nAAAA\n{END}\n"),
                "there is no key to open it",
            ),
            (format!("{BEGIN}\n?\n{END}\n"), "damaged"),
        ] {
            fs::write(&path, content).unwrap();
            let refused = read_private(&path, &Vault::plain())
                .unwrap_err()
                .to_string();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
