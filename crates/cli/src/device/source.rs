//! The file that an import reads: opened, taken for this import alone, and cut into chunks ahead of the calls.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fanfare_wire::registry::ImportMode;
use tokio::sync::mpsc;

use super::chunk::{Chunk, Chunks};
use super::lines::Place;
use crate::failure::Failure;

/// Chunks that are read and wait to be sent.
const CHUNKS_READ_MAX: usize = 4;

/// What is imported.
pub(super) struct Source {
    pub(super) input: File,
    /// The path of a file that can be gone back to; a pipe has none.
    pub(super) path: Option<PathBuf>,
    /// For people.
    pub(super) name: String,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let real = if is_stdin {
            Path::new("/dev/stdin")
        } else {
            path
        };
        let name = if is_stdin {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let unreadable =
            |error: io::Error| Failure::usage(format!("{name} cannot be read")).because(error);
        let input = File::open(real).map_err(unreadable)?;
        let kind = input.metadata().map_err(unreadable)?.file_type();
        if kind.is_dir() {
            return Err(Failure::usage(format!("{name} is a folder, not a file")));
        }
        let path = (kind.is_file() && !is_stdin).then(|| path.to_owned());
        Ok(Self { input, path, name })
    }

    /// The rest of it behind `place`.
    pub(super) fn positioned(mut self, place: Place) -> Result<Positioned, Failure> {
        if place.bytes > 0 {
            self.input.seek(SeekFrom::Start(place.bytes))?;
        }
        Ok(Positioned {
            input: BufReader::with_capacity(256 * 1024, self.input),
            place,
        })
    }
}

/// A file that stands at a place.
pub(super) struct Positioned {
    input: BufReader<File>,
    place: Place,
}

/// Reads and cuts in a thread of its own: parsing is as much work as sending. The thread ends with the file, or
/// when nobody listens; one that waits for a pipe ends with the process.
pub(super) fn read_ahead(from: Positioned, mode: ImportMode) -> mpsc::Receiver<io::Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_READ_MAX);
    std::thread::spawn(move || {
        let mut chunks = Chunks::new(from.input, from.place, mode);
        while let Some(chunk) = next_of(&mut chunks) {
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next_of(chunks: &mut Chunks<impl BufRead>) -> Option<io::Result<Chunk>> {
    chunks.next().transpose()
}

/// Takes the file for this import alone; the system gives it back with the process, however that ends.
pub(super) fn lock(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display())).because(error)
    })?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let title = format!("another import of {} is running", path.display());
            Err(Failure::usage(title))
        }
        // Some file systems know no locks; then it is the user who must not import a file twice at once.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_file_is_imported_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.txt");
        std::fs::write(&path, "").unwrap();
        let held = lock(&path).unwrap();
        assert_eq!(lock(&path).unwrap_err().exit(), Exit::Usage);
        drop(held);
        assert!(lock(&path).is_ok());
    }
}
