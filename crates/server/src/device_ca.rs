//! Reads the operator's files of authorities for devices' certificates.
//!
//! They need no proof: whoever writes the node's files owns it. They are read at the start; one that cannot be read
//! whole stops it, since a fleet that silently stays out is worse than a hub that does not start.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fanfare_auth::certificate::{AuthorityCertificate, AuthorityRefusal};

/// Why a file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceCaError {
    /// It cannot be read.
    #[error("the file of authorities {path} cannot be read")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("the file of authorities {path} {refusal}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong.
        refusal: AuthorityRefusal,
    },
}

/// The certificates of all files, DER, in order.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Arc<[u8]>>, DeviceCaError> {
    let mut all = Vec::new();
    for path in files {
        let authorities = read_one(path)?;
        tracing::info!(
            file.path = %path.display(), authorities = authorities.len(),
            "authorities of a file vouch for devices"
        );
        all.extend(authorities.into_iter().map(|authority| authority.der));
    }
    Ok(all)
}

fn read_one(path: &Path) -> Result<Vec<AuthorityCertificate>, DeviceCaError> {
    let name = || path.display().to_string();
    let pem = fs::read(path).map_err(|source| DeviceCaError::Io {
        path: name(),
        source,
    })?;
    AuthorityCertificate::all_from_pem(&pem).map_err(|refusal| DeviceCaError::Content {
        path: name(),
        refusal,
    })
}
