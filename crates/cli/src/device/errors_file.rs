//! The file in which an import says what became of lines that failed: one JSON object a line.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One line that failed. The text of the line is never repeated: it may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LineError {
    /// The line of the file, from 1.
    pub(super) line: u64,
    /// Where in the line, in bytes from 1, for one that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<u64>,
    /// The device, if the line names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<String>,
    /// Its module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module_id: Option<String>,
    /// The hub's name for what is wrong, or `InvalidLine`.
    pub(super) error_code: String,
    /// What is wrong, for a person.
    pub(super) error_status: String,
    /// The mode it was tried with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
}

/// The code of a line that was not sent, because it is no change.
pub(super) const INVALID_LINE: &str = "InvalidLine";

/// The file; there is none before the first error.
#[derive(Debug)]
pub(super) struct ErrorsFile {
    path: PathBuf,
    open: Option<BufWriter<File>>,
    /// Where the errors of the last [`Self::push`] that succeeded end.
    bytes: u64,
}

impl ErrorsFile {
    /// Goes on behind the first `bytes` of a file; with none, a file that is there goes away.
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut open = None;
        if bytes > 0 {
            let mut file = claimed(File::options().write(true).open(path)?)?;
            if file.metadata()?.len() < bytes {
                let words = "it is shorter than the checkpoint says";
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            open = Some(BufWriter::new(file));
        } else if path.is_file() {
            claimed(File::open(path)?)?;
            fs::remove_file(path)?;
        } else {
            // It may be long until the first error; a folder that is not there is told now.
            let folder = path.parent().filter(|name| !name.as_os_str().is_empty());
            fs::metadata(folder.unwrap_or(Path::new(".")))?;
        }
        Ok(Self {
            path: path.to_owned(),
            open,
            bytes,
        })
    }

    /// Adds the errors of one call: all of them, or [`Self::bytes`] is what it was.
    pub(super) fn push(&mut self, errors: &[LineError]) -> io::Result<()> {
        if errors.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for error in errors {
            serde_json::to_writer(&mut text, error)?;
            text.push(b'\n');
        }
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(BufWriter::new(create(&self.path)?)),
        };
        file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// How long the file is once it is durable.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes what was added durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.open {
            file.flush()?;
            file.get_ref().sync_data()?;
        }
        Ok(())
    }
}

/// The file, empty and for this import alone.
fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let file = claimed(file)?;
    file.set_len(0)?;
    Ok(file)
}

/// Two imports that write into one file would lose each other's errors.
fn claimed(file: File) -> io::Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let words = "another import that runs writes into it";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, words))
        }
        // Some file systems know no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: u64) -> LineError {
        LineError {
            line,
            column: None,
            device_id: Some("d".into()),
            module_id: None,
            error_code: "DeviceAlreadyExists".into(),
            error_status: "there".into(),
            operation: Some("create".into()),
        }
    }

    #[test]
    fn errors_behind_the_checkpoint_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        let mut file = ErrorsFile::open(&path, 0).unwrap();
        file.push(&[]).unwrap();
        file.sync().unwrap();
        assert!(!path.exists());
        file.push(&[error(3)]).unwrap();
        file.sync().unwrap();
        let durable = file.bytes();
        file.push(&[error(4)]).unwrap();
        assert!(ErrorsFile::open(&path, durable).is_err(), "it is in use");
        assert!(ErrorsFile::open(&path, 0).is_err(), "it is in use");
        drop(file);

        let mut file = ErrorsFile::open(&path, durable).unwrap();
        file.push(&[error(5)]).unwrap();
        file.sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let want = "{\"line\":3,\"deviceId\":\"d\",\"errorCode\":\"DeviceAlreadyExists\",\"errorStatus\":\"there\",\"operation\":\"create\"}";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, [want, &want.replace(":3,", ":5,")]);

        assert!(ErrorsFile::open(&path, 100_000).is_err());
        drop(file);
        ErrorsFile::open(&path, 0).unwrap();
        assert!(!path.exists());
        assert!(ErrorsFile::open(&folder.path().join("absent/e.jsonl"), 0).is_err());
    }
}
