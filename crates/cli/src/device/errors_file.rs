//! The file in which an import says what became of lines that failed: one JSON object a line.

use std::fs::{self, File};
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
    bytes: u64,
}

impl ErrorsFile {
    /// Goes on behind the first `bytes` of a file; with none, a file that is there goes away.
    pub(super) fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut open = None;
        if bytes > 0 {
            let mut file = File::options().write(true).open(path)?;
            if file.metadata()?.len() < bytes {
                let words = "it is shorter than the checkpoint says";
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            open = Some(BufWriter::new(file));
        } else if path.is_file() {
            fs::remove_file(path)?;
        }
        Ok(Self {
            path: path.to_owned(),
            open,
            bytes,
        })
    }

    /// Adds one error.
    pub(super) fn push(&mut self, error: &LineError) -> io::Result<()> {
        let mut text = serde_json::to_vec(error)?;
        text.push(b'\n');
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(BufWriter::new(File::create(&self.path)?)),
        };
        file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Makes what was added durable and says how long the file is.
    pub(super) fn sync(&mut self) -> io::Result<u64> {
        if let Some(file) = &mut self.open {
            file.flush()?;
            file.get_ref().sync_data()?;
        }
        Ok(self.bytes)
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
        assert_eq!(file.sync().unwrap(), 0);
        assert!(!path.exists());
        file.push(&error(3)).unwrap();
        let durable = file.sync().unwrap();
        file.push(&error(4)).unwrap();
        drop(file);

        let mut file = ErrorsFile::open(&path, durable).unwrap();
        file.push(&error(5)).unwrap();
        file.sync().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let want = "{\"line\":3,\"deviceId\":\"d\",\"errorCode\":\"DeviceAlreadyExists\",\"errorStatus\":\"there\",\"operation\":\"create\"}";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines, [want, &want.replace(":3,", ":5,")]);

        assert!(ErrorsFile::open(&path, 100_000).is_err());
        ErrorsFile::open(&path, 0).unwrap();
        assert!(!path.exists());
    }
}
