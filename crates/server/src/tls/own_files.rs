//! An operator's own certificate and key, in two PEM files (or twice the same one).

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::pair::{Pair, PairFault};
use crate::data_dir::{SECRET_MODE, check_private};

/// Where an operator's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The hub's certificate, then what issued it, in PEM.
    pub certificate: PathBuf,
    /// Its private key in PEM, for its owner alone.
    pub key: PathBuf,
}

/// What is wrong with one of the two files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {role} file {} {problem}", path.display())]
pub struct OwnFileError {
    /// Which of the two.
    pub role: FileRole,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong, as the end of a sentence about the file.
    pub problem: String,
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// The one with the chain.
    Certificate,
    /// The one with the key.
    Key,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
        })
    }
}

/// What was in both files, in short.
pub(super) type Fingerprint = [u8; 32];

/// Longest file. Ours; a chain has some ten thousand bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

impl CertificateFiles {
    /// Reads and checks both.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn read(&self) -> Result<(Pair, Fingerprint), OwnFileError> {
        let of_chain = |problem| self.fault(FileRole::Certificate, problem);
        let of_key = |problem| self.fault(FileRole::Key, problem);
        let chain = read(&self.certificate, |_| Ok(())).map_err(of_chain)?;
        let key = read(&self.key, |file| {
            let found = file.metadata().map_err(|error| unreadable(&error))?;
            check_private(&self.key, &found, SECRET_MODE).map_err(|refused| refused.problem())
        })
        .map_err(of_key)?;
        let mut hash = Sha256::new();
        // The length keeps the border between them in place.
        hash.update((chain.len() as u64).to_be_bytes());
        hash.update(&*chain);
        hash.update(&*key);
        let fingerprint = hash.finalize().into();
        let chain = certificates(&chain).map_err(of_chain)?;
        let key = private_key(&self.key, &key).map_err(of_key)?;
        let pair = Pair::new(chain, key).map_err(|fault| match fault {
            PairFault::Chain(problem) => of_chain(problem),
            PairFault::Key(problem) => of_key(problem),
        })?;
        Ok((pair, fingerprint))
    }

    fn fault(&self, role: FileRole, problem: String) -> OwnFileError {
        let path = match role {
            FileRole::Certificate => &self.certificate,
            FileRole::Key => &self.key,
        };
        OwnFileError {
            role,
            path: path.clone(),
            problem,
        }
    }
}

/// Whether the chain in a file ends in its own root, so that a client may trust the file; otherwise its
/// issuer must be known to whoever checks it.
pub(crate) fn holds_its_root(certificate: &Path) -> bool {
    let read = read(certificate, |_| Ok(())).and_then(|pem| certificates(&pem));
    let Ok(Some(last)) = read.map(|mut chain| chain.pop()) else {
        return false;
    };
    x509_parser::parse_x509_certificate(&last)
        .is_ok_and(|(_, last)| last.subject().as_raw() == last.issuer().as_raw())
}

/// The whole of a file that passes `check`, which sees the file that is read and not what else may have its name.
fn read(
    path: &Path,
    check: impl FnOnce(&File) -> Result<(), String>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let found = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err("is not a file of at most 1 MiB".to_owned());
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    check(&file)?;
    // As long as it may be: growing it would leave a copy of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(found.len() as usize + 64));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned())
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is not whole: {error}")),
    }
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if is_encrypted(pem) {
        let path = path.display();
        return Err(format!(
            "holds a key under a passphrase, and nobody is there to type it when a hub starts; \
             write one without: openssl pkey -in {path} -out NEW, chmod 600 NEW"
        ));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)".to_owned()
        }
        // What the parser says may quote the file.
        _ => "is not whole, or not PEM".to_owned(),
    })
}

/// PKCS #8 says so in the label, the older forms in a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |text: &[u8]| pem.windows(text.len()).any(|there| there == text);
    holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED")
}
