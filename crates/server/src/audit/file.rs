//! The file of the audit log, and the full ones beside it.
//!
//! Whole lines are appended. A file that would grow over its bound is renamed and a new one begun; both are one step
//! of the file system, so that a crash leaves either the old name or the new one. Another program may move or cut the
//! file meanwhile: where a write begins is the end of the file as it is, and a file that was moved is noticed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use fanfare_hub::time::Timestamp;

use super::line::moment;
use crate::{config::AuditConfig, data_dir::SECRET_MODE};

/// The file that is written. The names of full ones say when they were full: `audit-20310203T040506Z-0001.jsonl`.
const NAME: &str = "audit.jsonl";
const FOLDER_MODE: u32 = 0o700;

/// The audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {} cannot be written", path.display())]
pub struct AuditFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl AuditFileError {
    /// The system has no thread left to write it.
    pub(super) fn no_thread(source: io::Error) -> Self {
        Self {
            path: NAME.into(),
            source,
        }
    }
}

/// The file of a folder that is written.
pub(super) struct AuditFile {
    folder: PathBuf,
    bytes_max: u64,
    files_max: usize,
    open: Option<Arc<File>>,
    /// Over this it is full: its bound, or more after it could not be renamed.
    full_at: u64,
    /// What was written since the last time it was made safe, and folders with new names.
    unsafe_yet: Vec<Arc<File>>,
}

impl AuditFile {
    /// In a folder, which need not be there. Nothing is opened yet.
    pub(super) fn new(folder: PathBuf, config: &AuditConfig) -> Self {
        Self {
            folder,
            bytes_max: config.file_bytes,
            files_max: config.files,
            open: None,
            full_at: config.file_bytes,
            unsafe_yet: Vec::new(),
        }
    }

    /// Opens the file unless it is open. A line that a crash left half-written gets its end, so that the next one
    /// stands alone.
    pub(super) fn ready(&mut self) -> Result<(), AuditFileError> {
        self.opened().map(drop)
    }

    /// Appends whole lines, or nothing as far as the file system lets one take back what was begun.
    pub(super) fn append(&mut self, lines: &[u8], now: Timestamp) -> Result<(), AuditFileError> {
        let mut file = self.opened()?;
        let mut length = self.length(&file)?;
        if length > 0 && length + lines.len() as u64 > self.full_at {
            match self.rotate(&file, now) {
                Ok(()) => {
                    file = self.opened()?;
                    length = self.length(&file)?;
                }
                Err(error) => {
                    tracing::warn!(%error, "a full file of the audit log cannot be renamed");
                    self.full_at = length + self.bytes_max / 8;
                }
            }
        }
        if let Err(source) = (&*file).write_all(lines) {
            // What cannot be cut off gets its end when the file is opened again.
            let _ = file.set_len(length);
            self.open = None;
            return Err(self.fail(source));
        }
        self.note_unsafe(file);
        Ok(())
    }

    /// What must be flushed for all that was written to survive a power cut. Looks on the way whether the file
    /// was moved, by a program that rotates logs: the next line then goes to a new one.
    pub(super) fn take_unsafe(&mut self) -> Vec<Arc<File>> {
        if let Some(file) = &self.open
            && !is_at(file, &self.path())
        {
            self.open = None;
        }
        std::mem::take(&mut self.unsafe_yet)
    }

    /// Makes safe what was written.
    pub(super) fn sync(&mut self) -> Result<(), AuditFileError> {
        let files = self.take_unsafe();
        let mut files = files.iter();
        files
            .try_for_each(|file| file.sync_all())
            .map_err(|source| self.fail(source))
    }

    fn opened(&mut self) -> Result<Arc<File>, AuditFileError> {
        if let Some(file) = &self.open {
            return Ok(file.clone());
        }
        let file = open(&self.folder, &self.path()).map_err(|source| self.fail(source))?;
        let file = Arc::new(file);
        self.open = Some(file.clone());
        self.full_at = self.bytes_max;
        if let Ok(folder) = File::open(&self.folder) {
            self.note_unsafe(Arc::new(folder));
        }
        Ok(file)
    }

    fn rotate(&mut self, file: &Arc<File>, now: Timestamp) -> io::Result<()> {
        let mut full = self.full()?;
        let name = next_name(full.last().map(String::as_str), now);
        // Whoever moved it away has rotated it already.
        if is_at(file, &self.path()) {
            fs::rename(self.path(), self.folder.join(&name))?;
            full.push(name);
        }
        self.open = None;
        let over = full.len().saturating_sub(self.files_max);
        for name in full.iter().take(over) {
            if let Err(error) = fs::remove_file(self.folder.join(name)) {
                tracing::warn!(%error, "an old file of the audit log cannot be removed");
            }
        }
        Ok(())
    }

    /// The names of full files, from old to new.
    fn full(&self) -> io::Result<Vec<String>> {
        let mut full = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                full.extend(place(&name).is_some().then_some(name));
            }
        }
        full.sort();
        Ok(full)
    }

    fn note_unsafe(&mut self, file: Arc<File>) {
        if !self
            .unsafe_yet
            .iter()
            .any(|known| Arc::ptr_eq(known, &file))
        {
            self.unsafe_yet.push(file);
        }
    }

    fn length(&mut self, file: &File) -> Result<u64, AuditFileError> {
        let metadata = file.metadata().map_err(|source| self.fail(source))?;
        Ok(metadata.len())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn fail(&self, source: io::Error) -> AuditFileError {
        AuditFileError {
            path: self.path(),
            source,
        }
    }
}

fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(folder)?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(SECRET_MODE);
    let mut file = options.open(path)?;
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// The time and number in the name of a full file.
fn place(name: &str) -> Option<(&str, u32)> {
    let (time, number) = name
        .strip_prefix("audit-")?
        .strip_suffix(".jsonl")?
        .rsplit_once('-')?;
    Some((time, number.parse().ok()?))
}

/// A name behind all there are, whatever the clock says: the first in order are the first to go.
fn next_name(last: Option<&str>, now: Timestamp) -> String {
    let now: String = moment(now)
        .chars()
        .take_while(|c| *c != '.')
        .filter(|c| !matches!(c, '-' | ':'))
        .chain(['Z'])
        .collect();
    let (time, number) = match last.and_then(place) {
        Some((last, number)) if last >= now.as_str() => (last, number + 1),
        _ => (now.as_str(), 1),
    };
    format!("audit-{time}-{number:04}.jsonl")
}

/// Whether an open file is the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(there)) => id(file) == id(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Timestamp = Timestamp(1_927_857_906_123_456);

    fn file(scratch: &tempfile::TempDir, file_bytes: u64, files: usize) -> AuditFile {
        let config = AuditConfig {
            file_bytes,
            files,
            ..AuditConfig::default()
        };
        AuditFile::new(scratch.path().join("audit"), &config)
    }

    fn read(scratch: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(scratch.path().join("audit").join(name)).unwrap()
    }

    fn names(scratch: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(scratch.path().join("audit")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn folder_and_file_are_their_owners_alone() {
        let scratch = tempfile::tempdir().unwrap();
        file(&scratch, 100, 2).append(b"one\n", NOW).unwrap();
        let mode = |path: &str| {
            let metadata = fs::metadata(scratch.path().join(path)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!((mode("audit"), mode("audit/audit.jsonl")), (0o700, 0o600));
    }

    #[test]
    fn a_half_written_line_gets_its_end() {
        let scratch = tempfile::tempdir().unwrap();
        file(&scratch, 100, 2).append(b"one\ntw", NOW).unwrap();
        file(&scratch, 100, 2).append(b"three\n", NOW).unwrap();
        assert_eq!(read(&scratch, NAME), "one\ntw\nthree\n");
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = file(&scratch, 9, 2);
        for line in ["one1\n", "two2\n", "and3\n", "and4\n", "and5\n"] {
            file.append(line.as_bytes(), NOW).unwrap();
        }
        let stamp = "audit-20310203T040506Z";
        let expected = [
            format!("{stamp}-0003.jsonl"),
            format!("{stamp}-0004.jsonl"),
            NAME.to_owned(),
        ];
        assert_eq!(names(&scratch), expected);
        assert_eq!(read(&scratch, &expected[0]), "and3\n");
        assert_eq!(read(&scratch, &expected[1]), "and4\n");
        assert_eq!(read(&scratch, NAME), "and5\n");
        file.append(b"x\n", NOW).unwrap();
        assert_eq!(read(&scratch, NAME), "and5\nx\n");
        file.sync().unwrap();
    }

    #[test]
    fn a_clock_that_goes_back_does_not_make_a_new_file_old() {
        let first = next_name(None, NOW);
        assert_eq!(first, "audit-20310203T040506Z-0001.jsonl");
        let before = next_name(Some(&first), Timestamp(0));
        assert_eq!(before, "audit-20310203T040506Z-0002.jsonl");
        let after = next_name(Some(&before), Timestamp(NOW.0 + 1_000_000));
        assert_eq!(after, "audit-20310203T040507Z-0001.jsonl");
    }

    #[test]
    fn a_file_that_was_moved_or_cut_by_others_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let mut file = file(&scratch, 1_000, 2);
        file.append(b"one\n", NOW).unwrap();
        let place = scratch.path().join("audit");
        fs::rename(place.join(NAME), place.join("moved")).unwrap();
        file.append(b"two\n", NOW).unwrap();
        assert_eq!(read(&scratch, "moved"), "one\ntwo\n");
        file.take_unsafe();
        file.append(b"three\n", NOW).unwrap();
        assert_eq!(read(&scratch, NAME), "three\n");
        // As copytruncate does.
        File::options()
            .write(true)
            .truncate(true)
            .open(place.join(NAME))
            .unwrap();
        file.append(b"four\n", NOW).unwrap();
        assert_eq!(read(&scratch, NAME), "four\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("audit");
        fs::write(&place, "in the way").unwrap();
        let mut file = file(&scratch, 1_000, 2);
        let refused = file.append(b"one\n", NOW).unwrap_err().to_string();
        assert!(
            refused.contains("audit.jsonl cannot be written"),
            "{refused}"
        );
        fs::remove_file(&place).unwrap();
        file.append(b"two\n", NOW).unwrap();
        assert_eq!(read(&scratch, NAME), "two\n");
    }
}
