//! Files of a backup on the disk: private, flushed, checked, and never over something else.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{BackedUpFile, BackupError, Manifest};
use crate::data_dir::SECRET_MODE;

const FOLDER_MODE: u32 = 0o700;
const CHUNK_BYTES: usize = 1024 * 1024;
/// What the lock of an otherwise empty folder is called.
const LOCK: &str = "lock";

/// A backup being written under another name; removed when it is dropped.
pub(super) struct Draft {
    path: Option<PathBuf>,
}

impl Draft {
    /// A new folder beside `to`, on the same file system.
    pub(super) fn beside(to: &Path) -> Result<Self, BackupError> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        let path = to.with_file_name(name);
        DirBuilder::new()
            .mode(FOLDER_MODE)
            .create(&path)
            .map_err(|error| BackupError::io(&path, error))?;
        Ok(Self { path: Some(path) })
    }

    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives it its name, once everything in it is on the disk.
    pub(super) fn publish(mut self, to: &Path) -> Result<(), BackupError> {
        flush(self.path())?;
        fs::rename(self.path(), to).map_err(|error| BackupError::io(to, error))?;
        self.path = None;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        flush(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What cannot be removed is named `.unfinished` and does not pass for a backup.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Makes the names in a folder durable.
pub(super) fn flush(folder: &Path) -> Result<(), BackupError> {
    let flushed = File::open(folder).and_then(|folder| folder.sync_all());
    flushed.map_err(|error| BackupError::io(folder, error))
}

/// Writes a new private file.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let written = create(path, SECRET_MODE).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| BackupError::io(path, error))
}

/// Copies a small file to a new private one; false when it is not there.
pub(super) fn copy(from: &Path, to: &Path) -> Result<bool, BackupError> {
    match fs::read(from) {
        Ok(content) => write(to, &content).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BackupError::io(from, error)),
    }
}

/// What the manifest says of a file that was just written.
pub(super) fn describe(folder: &Path, name: &str, mode: u32) -> Result<BackedUpFile, BackupError> {
    let path = folder.join(name);
    let read = File::open(&path).and_then(|file| digest(file, |_, _| Ok(())));
    let (bytes, sha256) = read.map_err(|error| BackupError::io(&path, error))?;
    Ok(BackedUpFile {
        name: name.to_owned(),
        bytes,
        sha256,
        mode: format!("{mode:04o}"),
    })
}

/// Copies a file of a backup, and refuses one that is not what the manifest says.
pub(super) fn copy_checked(
    from: &Path,
    to: &Path,
    expected: &BackedUpFile,
    progress: &mut dyn FnMut(u64),
) -> Result<(), BackupError> {
    let mode = u32::from_str_radix(&expected.mode, 8)
        .ok()
        .filter(|mode| mode & !0o777 == 0)
        .ok_or_else(|| BackupError::unusable(from, "its mode is not one"))?;
    let source = File::open(from).map_err(|error| BackupError::io(from, error))?;
    let length = source.metadata().map(|file| file.len());
    if length.map_err(|error| BackupError::io(from, error))? != expected.bytes {
        let problem = format!("it does not have {} bytes", expected.bytes);
        return Err(BackupError::unusable(from, problem));
    }
    let fail = |error| BackupError::io(to, error);
    let mut target = create(to, SECRET_MODE).map_err(fail)?;
    let (_, sha256) = digest(source, |chunk, done| {
        target.write_all(chunk)?;
        progress(done);
        Ok(())
    })
    .map_err(|error| BackupError::io(from, error))?;
    if sha256 != expected.sha256 {
        return Err(BackupError::unusable(from, "its checksum is another"));
    }
    target
        .set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| target.sync_all())
        .map_err(fail)
}

/// Reads to the end; returns length and SHA-256.
fn digest(
    mut file: File,
    mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let (mut hash, mut done) = (Sha256::new(), 0);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let digits = hash.finalize();
            let hex = digits.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((done, hex));
        }
        done += read as u64;
        hash.update(&buffer[..read]);
        each(&buffer[..read], done)?;
    }
}

/// Refuses a folder that holds anything but the lock of a start that never was; a folder that is not
/// there is empty.
pub(super) fn check_empty(folder: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io(folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| BackupError::io(folder, error))?;
        if entry.file_name() != LOCK {
            return Err(BackupError::NotEmpty(folder.to_owned()));
        }
    }
    Ok(())
}

/// The name a file has until everything is there.
pub(super) fn fresh_name(name: &str) -> String {
    format!("{name}.restoring")
}

/// Removes what a failed restore left; what cannot be removed keeps the folder from being used.
pub(super) fn clear(folder: &Path, manifest: &Manifest) {
    for file in &manifest.files {
        let _ = fs::remove_file(folder.join(fresh_name(&file.name)));
        let _ = fs::remove_file(folder.join(&file.name));
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)
}
