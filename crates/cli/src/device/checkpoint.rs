//! What an import or export remembers beside its file, so that one that was cut goes on where it was.
//!
//! A checkpoint says how far, of which file, with which hub. It is replaced as a whole and is on the disk before
//! anything relies on it; it never says more than is true, so that work after it may be there already and is
//! gone over again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::lines::Place;

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ImportCheckpoint {
    /// Shape of this document: 1.
    pub(super) import: u32,
    /// Host name of the hub.
    pub(super) hub: String,
    /// Mode of lines that name none.
    pub(super) mode: String,
    /// Which file.
    pub(super) file: FileMark,
    /// Lines up to here are done, or refused for good.
    pub(super) lines: u64,
    /// The same in bytes.
    pub(super) bytes: u64,
    /// No line behind this one was ever sent. Those between `lines` and it may have been done.
    pub(super) sent_lines_max: u64,
    /// Changes the hub has made.
    pub(super) changed: u64,
    /// Changes it had made before, as far as can be told.
    pub(super) found_done: u64,
    /// Lines that failed.
    pub(super) failed: u64,
    /// Bytes of the file of errors that belong to the lines above.
    pub(super) errors_bytes: u64,
}

impl ImportCheckpoint {
    /// An import of `file` that has not begun.
    pub(super) fn new(hub: &str, mode: &str, file: FileMark) -> Self {
        Self {
            import: SHAPE,
            hub: hub.to_owned(),
            mode: mode.to_owned(),
            file,
            lines: 0,
            bytes: 0,
            sent_lines_max: 0,
            changed: 0,
            found_done: 0,
            failed: 0,
            errors_bytes: 0,
        }
    }

    /// The place of the file to go on at.
    pub(super) fn place(&self) -> Place {
        Place {
            lines: self.lines,
            bytes: self.bytes,
        }
    }

    /// Why an import that would begin as `wanted` is not the one that was cut; `None` when it is.
    pub(super) fn differs(&self, wanted: &Self) -> Option<String> {
        if self.import != SHAPE {
            return Some("it was written by another version of fanfare".to_owned());
        }
        if self.hub != wanted.hub {
            return Some(format!("it is of an import into the hub {}", self.hub));
        }
        if self.file != wanted.file {
            return Some("the file has changed since it was written".to_owned());
        }
        (self.mode != wanted.mode)
            .then(|| format!("the import it is of was begun with --mode {}", self.mode))
    }
}

/// How far an export has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExportCheckpoint {
    /// Shape of this document: 1.
    pub(super) export: u32,
    /// Host name of the hub.
    pub(super) hub: String,
    /// Which devices; absent for all.
    pub(super) condition: Option<String>,
    /// Whether keys go along.
    pub(super) keys: bool,
    /// Where the next page begins; absent at the start.
    pub(super) continuation: Option<String>,
    /// Lines that are in the file.
    pub(super) lines: u64,
    /// Bytes of the file that are whole lines of pages before.
    pub(super) bytes: u64,
    /// Identities that were deleted while they were being read.
    pub(super) gone: u64,
}

impl ExportCheckpoint {
    /// An export that has not begun.
    pub(super) fn new(hub: &str, condition: Option<&str>, keys: bool) -> Self {
        Self {
            export: SHAPE,
            hub: hub.to_owned(),
            condition: condition.map(str::to_owned),
            keys,
            continuation: None,
            lines: 0,
            bytes: 0,
            gone: 0,
        }
    }

    /// Why an export that would begin as `wanted` is not the one that was cut; `None` when it is.
    pub(super) fn differs(&self, wanted: &Self) -> Option<String> {
        if self.export != SHAPE {
            return Some("it was written by another version of fanfare".to_owned());
        }
        if self.hub != wanted.hub {
            return Some(format!("it is of an export of the hub {}", self.hub));
        }
        if self.condition != wanted.condition {
            let was = self.condition.as_deref().unwrap_or("none");
            return Some(format!("the export it is of had another condition: {was}"));
        }
        (self.keys != wanted.keys).then(|| {
            let had = if self.keys { "had" } else { "had no" };
            format!("the export it is of {had} keys")
        })
    }
}

const SHAPE: u32 = 1;

/// Tells a file from another, and from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileMark {
    /// Its size.
    pub(super) bytes: u64,
    /// When it was last written, in nanoseconds since 1970; 0 where the file system does not say.
    pub(super) written: u64,
    /// SHA-256 of its first [`HEAD_BYTES`], hexadecimal.
    pub(super) head: String,
}

/// Bytes of a file's head. Ours.
const HEAD_BYTES: usize = 64 * 1024;

impl FileMark {
    /// The mark of what cannot be gone back to, and so needs none.
    pub(super) fn of_a_stream() -> Self {
        Self {
            bytes: 0,
            written: 0,
            head: String::new(),
        }
    }

    /// The mark of a file; reads its head, and leaves the place that it is read at.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let written = found.modified().ok();
        let since = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
        let mut head =
            vec![0; usize::try_from(found.len()).map_or(HEAD_BYTES, |n| n.min(HEAD_BYTES))];
        file.read_exact_at(&mut head, 0)?;
        let digest = Sha256::digest(&head);
        Ok(Self {
            bytes: found.len(),
            written: nanoseconds.unwrap_or_default(),
            head: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Where the checkpoint of `file` is: beside it, with `ending` added to its name.
pub(super) fn path_beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    file.with_file_name(name)
}

/// Reads a checkpoint; `None` when there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Replaces a checkpoint; when this returns, the new one is on the disk. When it fails, the old one is there still.
pub(super) fn save(path: &Path, checkpoint: &impl Serialize) -> io::Result<()> {
    let begun = path_beside(path, ".new");
    let mut text = serde_json::to_vec(checkpoint)?;
    text.push(b'\n');
    let written = write_durably(&begun, &text).and_then(|()| fs::rename(&begun, path));
    if written.is_err() {
        // A full disk is no place for half a checkpoint.
        let _ = fs::remove_file(&begun);
    }
    written?;
    sync_folder_of(path)
}

fn write_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Removes a checkpoint whose work is done.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder_of(path),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(text: &str) -> FileMark {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.txt");
        fs::write(&path, text).unwrap();
        let file = File::options().write(true).read(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        FileMark::of(&file).unwrap()
    }

    #[test]
    fn a_file_that_was_written_again_is_another() {
        let mut file = tempfile::tempfile().unwrap();
        let text = vec![b'a'; 2 * HEAD_BYTES];
        file.write_all(&text).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        let before = FileMark::of(&file).unwrap();
        assert_eq!(FileMark::of(&file).unwrap(), before);
        // Behind its head, and of the same length.
        file.write_all_at(b"b", HEAD_BYTES as u64 + 1).unwrap();
        assert_ne!(FileMark::of(&file).unwrap(), before);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.import");
        save(&path, &1).unwrap();
        fs::create_dir(folder.path().join("x.import.new")).unwrap();
        assert!(save(&path, &2).is_err());
        assert_eq!(load(&path).unwrap(), Some(1));
    }

    #[test]
    fn a_checkpoint_is_kept_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_beside(&folder.path().join("devices.txt"), ".import");
        assert_eq!(path.file_name().unwrap(), "devices.txt.import");
        assert_eq!(load::<ImportCheckpoint>(&path).unwrap(), None);
        let mut checkpoint = ImportCheckpoint::new("h", "createOrUpdate", mark("a"));
        for lines in [100, 200] {
            checkpoint.lines = lines;
            save(&path, &checkpoint).unwrap();
            assert_eq!(load(&path).unwrap().as_ref(), Some(&checkpoint));
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(&path, "{\"import\":").unwrap();
        assert!(load::<ImportCheckpoint>(&path).is_err());
    }

    #[test]
    fn an_import_goes_on_only_with_the_same_file_hub_and_mode() {
        let was = ImportCheckpoint {
            lines: 7,
            ..ImportCheckpoint::new("h", "create", mark("abc"))
        };
        let same = ImportCheckpoint::new("h", "create", mark("abc"));
        assert_eq!(was.differs(&same), None);
        for (other, why) in [
            (
                ImportCheckpoint::new("g", "create", mark("abc")),
                "the hub h",
            ),
            (
                ImportCheckpoint::new("h", "create", mark("abd")),
                "has changed",
            ),
            (
                ImportCheckpoint::new("h", "create", mark("abcd")),
                "has changed",
            ),
            (
                ImportCheckpoint::new("h", "update", mark("abc")),
                "--mode create",
            ),
        ] {
            let told = was.differs(&other).unwrap();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn an_export_goes_on_only_with_the_same_devices_and_keys() {
        let was = ExportCheckpoint::new("h", Some("tags.a = 1"), true);
        assert_eq!(was.differs(&was.clone()), None);
        for (other, why) in [
            (
                ExportCheckpoint::new("g", Some("tags.a = 1"), true),
                "the hub h",
            ),
            (
                ExportCheckpoint::new("h", None, true),
                "condition: tags.a = 1",
            ),
            (
                ExportCheckpoint::new("h", Some("tags.a = 1"), false),
                "had keys",
            ),
        ] {
            let told = was.differs(&other).unwrap();
            assert!(told.contains(why), "{told}");
        }
    }
}
