//! The folder that holds everything of a hub, and the lock that keeps a second process out.
//!
//! Files a script may rely on: `ca.pem`, `fanfare.db`. `hub.toml` says under which name the hub was last
//! started, for commands that work beside it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A data folder this process may use; others are kept out until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock lives as long as the open file.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error(
        "the data folder {} is in use by another fanfare process; stop that one, or give this one a \
         folder of its own with --data-dir", .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be made, read or written.
    #[error("the data folder {} cannot be used", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What commands beside a running hub must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HubFile {
    /// The first host name, without a port.
    pub host_name: String,
    /// The port of the service API.
    pub https_port: u16,
}

const FOLDER_MODE: u32 = 0o700;
/// Mode of files with secrets.
pub(crate) const SECRET_MODE: u32 = 0o600;
/// Mode of files for everyone.
pub(crate) const PUBLIC_MODE: u32 = 0o644;

impl DataDir {
    /// Makes the folder if need be and takes its lock.
    ///
    /// # Errors
    /// Another process has it, or the file system refuses.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataDirError> {
        let fail = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(fail)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(SECRET_MODE);
        let lock = options.open(path.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The certificate that clients must trust.
    pub(crate) fn ca_pem(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    /// Says under which name the hub runs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn put_hub_file(&self, hub: &HubFile) -> Result<(), DataDirError> {
        let text = format!(
            "host-name = {:?}\nhttps-port = {}\n",
            hub.host_name, hub.https_port
        );
        replace(&self.path.join(HUB_FILE), text.as_bytes(), PUBLIC_MODE).map_err(|source| {
            DataDirError::Io {
                path: self.path.clone(),
                source,
            }
        })
    }
}

const HUB_FILE: &str = "hub.toml";

/// The store's file.
pub(crate) fn store_file(data_dir: &Path) -> PathBuf {
    data_dir.join("fanfare.db")
}

/// Under which name a hub was last started on this folder.
///
/// # Errors
/// No hub was ever started on it, or the file cannot be read.
pub(crate) fn read_hub_file(data_dir: &Path) -> Result<HubFile, DataDirError> {
    let fail = |source| DataDirError::Io {
        path: data_dir.to_owned(),
        source,
    };
    let text = fs::read_to_string(data_dir.join(HUB_FILE)).map_err(|error| {
        let what = format!("no hub was started on it yet ({HUB_FILE}: {error})");
        fail(io::Error::new(error.kind(), what))
    })?;
    use figment::providers::{Format as _, Toml};
    figment::Figment::from(Toml::string(&text))
        .extract()
        .map_err(|error| {
            fail(io::Error::new(
                io::ErrorKind::InvalidData,
                error.to_string(),
            ))
        })
}

/// Writes a whole file in place of what is there: after a crash it is the old one or the new one.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("deep/data");
        let first = DataDir::lock(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let refused = DataDir::lock(&path).unwrap_err().to_string();
        assert!(
            refused.contains(path.to_str().unwrap()) && refused.contains("in use"),
            "{refused}"
        );
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn the_hub_file_reads_back() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = read_hub_file(scratch.path()).unwrap_err();
        let cause = std::error::Error::source(&missing).unwrap().to_string();
        assert!(cause.contains("no hub was started"), "{cause}");
        let folder = DataDir::lock(scratch.path()).unwrap();
        let hub = HubFile {
            host_name: "127.0.0.2".to_owned(),
            https_port: 8_443,
        };
        folder.put_hub_file(&hub).unwrap();
        assert_eq!(read_hub_file(scratch.path()).unwrap(), hub);
    }
}
