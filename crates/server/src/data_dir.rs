//! The folder that holds everything of a hub, and the lock that keeps a second process out.
//!
//! Files a script may rely on: `ca.pem`, `fanfare.db`. `hub.toml` says under which name the hub was last
//! started, for commands that work beside it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{tls::holds_its_root, vault::PRIVATE_FILES};

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
    /// Others can reach it, or a file with secrets in it.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
}

/// Others than its owner can reach something with secrets in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {}", path.display(), self.problem())]
pub struct NotPrivate {
    path: PathBuf,
    mode: u32,
    wanted: u32,
}

impl NotPrivate {
    /// The end of a sentence about it, with the way out.
    pub(crate) fn problem(&self) -> String {
        let Self { path, mode, wanted } = self;
        format!(
            "has mode {mode:04o}, so others can reach what is in it; run: chmod {wanted:03o} {}",
            path.display()
        )
    }
}

/// What commands beside a running hub must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HubFile {
    /// The first host name, without a port.
    pub host_name: String,
    /// The port of the service API.
    pub https_port: u16,
    /// The operator's own certificate, where one is named; otherwise the folder's CA vouches for the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
}

impl HubFile {
    /// The file of the authority that a client must trust, if the system's own do not do.
    pub(crate) fn trusted_ca(&self, data_dir: &Path) -> Option<PathBuf> {
        match &self.certificate_file {
            None => Some(data_dir.join("ca.pem")),
            Some(file) => holds_its_root(file).then(|| file.clone()),
        }
    }
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
        check_private(path, &fs::metadata(path).map_err(fail)?, FOLDER_MODE)?;
        check_files(path)?;
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
        let mut text = format!(
            "host-name = {:?}\nhttps-port = {}\n",
            hub.host_name, hub.https_port
        );
        if let Some(file) = &hub.certificate_file {
            text.push_str(&format!(
                "certificate-file = {:?}\n",
                file.to_string_lossy()
            ));
        }
        replace(&self.path.join(HUB_FILE), text.as_bytes(), SECRET_MODE).map_err(|source| {
            DataDirError::Io {
                path: self.path.clone(),
                source,
            }
        })
    }
}

const HUB_FILE: &str = "hub.toml";

/// Refuses what group or others can reach in any way.
///
/// # Errors
/// It is not private; says how to make it so.
pub(crate) fn check_private(
    path: &Path,
    found: &fs::Metadata,
    wanted: u32,
) -> Result<(), NotPrivate> {
    let mode = found.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(NotPrivate { path, mode, wanted })
}

/// Bits of group and others in a mode.
const OTHERS: u32 = 0o077;

/// Refuses keys that others could have read. The store's files, which earlier versions left to the umask, are made
/// private: their folder kept others out.
fn check_files(folder: &Path) -> Result<(), DataDirError> {
    for name in PRIVATE_FILES {
        let path = folder.join(name);
        if let Ok(found) = fs::metadata(&path) {
            check_private(&path, &found, SECRET_MODE)?;
        }
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut path = store_file(folder).into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        let is_open = fs::metadata(&path)
            .is_ok_and(|found| check_private(&path, &found, SECRET_MODE).is_err());
        if is_open {
            let private = fs::Permissions::from_mode(SECRET_MODE);
            fs::set_permissions(&path, private)
                .map_err(|source| DataDirError::Io { path, source })?;
        }
    }
    Ok(())
}

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
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("deep/data");
        let first = DataDir::lock(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let refused = DataDir::lock(&path).unwrap_err().to_string();
        assert!(
            refused.contains(path.to_str().unwrap()) && refused.contains("in use"),
            "{refused}"
        );
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn a_folder_that_others_can_reach_is_refused_with_the_way_out() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        drop(DataDir::lock(&path).unwrap());
        for others in [0o701, 0o710, 0o750, 0o755, 0o777] {
            set_mode(&path, others);
            let refused = DataDir::lock(&path).unwrap_err().to_string();
            let way_out = format!("chmod 700 {}", path.display());
            assert!(refused.ends_with(&way_out), "{refused}");
            assert!(refused.contains(&format!("{others:04o}")), "{refused}");
        }
        set_mode(&path, 0o500);
        let is_private = check_private(&path, &fs::metadata(&path).unwrap(), 0o700);
        assert!(is_private.is_ok(), "less is no fault");
        set_mode(&path, 0o700);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn keys_that_others_could_read_are_refused_and_the_store_is_made_private() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("data");
        drop(DataDir::lock(&path).unwrap());
        for name in PRIVATE_FILES {
            let key = path.join(name);
            fs::write(&key, "").unwrap();
            set_mode(&key, 0o640);
            let refused = DataDir::lock(&path).unwrap_err().to_string();
            let way_out = format!("chmod 600 {}", key.display());
            assert!(refused.ends_with(&way_out), "{refused}");
            set_mode(&key, 0o400);
        }
        let store = store_file(&path);
        let log = path.join("fanfare.db-wal");
        for file in [&store, &log] {
            fs::write(file, "").unwrap();
            set_mode(file, 0o644);
        }
        DataDir::lock(&path).unwrap();
        assert_eq!([mode(&store), mode(&log)], [0o600, 0o600]);
    }

    #[test]
    fn the_hub_file_reads_back() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = read_hub_file(scratch.path()).unwrap_err();
        let cause = std::error::Error::source(&missing).unwrap().to_string();
        assert!(cause.contains("no hub was started"), "{cause}");
        let path = scratch.path().join("data");
        let folder = DataDir::lock(&path).unwrap();
        for certificate_file in [None, Some(PathBuf::from("/etc/fanfare/\"my\" hub.pem"))] {
            let hub = HubFile {
                host_name: "127.0.0.2".to_owned(),
                https_port: 8_443,
                certificate_file,
            };
            folder.put_hub_file(&hub).unwrap();
            assert_eq!(read_hub_file(&path).unwrap(), hub);
        }
        assert_eq!(mode(&path.join(HUB_FILE)), 0o600);
    }

    #[test]
    fn a_hub_file_without_a_certificate_means_the_private_ca() {
        let scratch = tempfile::tempdir().unwrap();
        let text = "host-name = \"hub\"\nhttps-port = 443\n";
        fs::write(scratch.path().join(HUB_FILE), text).unwrap();
        let hub = read_hub_file(scratch.path()).unwrap();
        let ca = scratch.path().join("ca.pem");
        assert_eq!(hub.trusted_ca(scratch.path()), Some(ca));
    }
}
