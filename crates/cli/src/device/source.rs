//! The file that an import reads: opened, looked at, taken for this import alone, and cut into chunks ahead of the
//! calls.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
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
    pub(super) input: BufReader<File>,
    /// The path of a file that can be gone back to; a pipe has none.
    pub(super) path: Option<PathBuf>,
    /// For people.
    pub(super) name: String,
}

impl Source {
    /// Opens a file, or standard input for `-`, and waits for its first bytes.
    ///
    /// # Errors
    /// When it cannot be read, or is of another form altogether, whose lines would all be wrong.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let unreadable =
            |error: io::Error| Failure::usage(format!("{name} cannot be read")).because(error);
        let file = match is_stdin {
            // The very descriptor: its place counts, and a socket has no path to open.
            true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
            false => File::open(path),
        };
        let file = file.map_err(unreadable)?;
        let kind = file.metadata().map_err(unreadable)?.file_type();
        if kind.is_dir() {
            return Err(Failure::usage(format!("{name} is a folder, not a file")));
        }
        let path = (kind.is_file() && !is_stdin).then(|| path.to_owned());
        let mut input = BufReader::with_capacity(256 * 1024, file);
        let head = input.fill_buf().map_err(unreadable)?;
        if let Some((what, command)) = other_form(head) {
            let failure = Failure::usage(format!("{name} is {what}, not one JSON object a line"));
            return Err(failure.try_this(match &path {
                Some(_) => format!("{command} {name} | fanfare device import -"),
                None => format!("{command} before it in the pipe"),
            }));
        }
        Ok(Self { input, path, name })
    }

    /// Takes the file for this import alone, as long as what is returned lives; the system gives it back with the
    /// process, however that ends.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let file = self.input.get_ref().try_clone()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Failure::usage(format!(
                "another import of {} is running",
                self.name
            ))),
            // Some file systems know no locks; then it is the user who must not import a file twice at once.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Whether `path` is this file, by whatever name.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let of = |found: std::fs::Metadata| (found.dev(), found.ino());
        let own = self.input.get_ref().metadata().map(of);
        let other = std::fs::metadata(path).map(of);
        matches!((own, other), (Ok(own), Ok(other)) if own == other)
    }

    /// The rest of it behind `place`.
    pub(super) fn positioned(mut self, place: Place) -> Result<Positioned, Failure> {
        if place.bytes > 0 {
            self.input.seek(SeekFrom::Start(place.bytes))?;
        }
        Ok(Positioned {
            input: self.input,
            place,
        })
    }
}

/// What a file is that is taken for lines by mistake, and the command that makes lines of it.
fn other_form(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const TO_UTF_8: &str = "iconv -f UTF-16 -t UTF-8";
    let found = match head {
        [0x1f, 0x8b, ..] => ("compressed with gzip", "gzip -dc"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed with zstd", "zstd -dc"),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive", "unzip -p"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("text in UTF-16", TO_UTF_8),
        [b'{' | b'[', 0, ..] => ("text in UTF-16", "iconv -f UTF-16LE -t UTF-8"),
        [0, b'{' | b'[', ..] => ("text in UTF-16", "iconv -f UTF-16BE -t UTF-8"),
        _ => {
            let text = head.strip_prefix("\u{feff}".as_bytes()).unwrap_or(head);
            let text = text.trim_ascii_start();
            let first = text.split(|byte| *byte == b'\n').next()?.trim_ascii();
            match (first.first()?, first.len() < text.len()) {
                (b'[', _) => ("a JSON array", "jq -c '.[]'"),
                (b'{', true) if first == b"{" => ("JSON spread over several lines", "jq -c ."),
                _ => return None,
            }
        }
    };
    Some(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::plain;
    use crate::failure::Exit;

    #[test]
    fn a_file_is_imported_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.txt");
        std::fs::write(&path, "{}\n").unwrap();
        let source = || Source::open(&path).unwrap();
        let held = source().lock().unwrap();
        assert_eq!(source().lock().unwrap_err().exit(), Exit::Usage);
        drop(held);
        assert!(source().lock().is_ok());
        let other_name = folder.path().join("link");
        std::fs::hard_link(&path, &other_name).unwrap();
        assert!(source().is_at(&path) && source().is_at(&other_name));
        assert!(!source().is_at(folder.path()) && !source().is_at(Path::new("absent")));
    }

    #[test]
    fn a_file_of_another_form_is_called_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.txt");
        for (text, what, command) in [
            (&b"\x1f\x8b\x08\0"[..], "compressed with gzip", "gzip -dc "),
            (b"\x28\xb5\x2f\xfd..", "compressed with zstd", "zstd -dc "),
            (b"PK\x03\x04", "a ZIP archive", "unzip -p "),
            (b"\xff\xfe{\0", "UTF-16", "iconv -f UTF-16 "),
            (b"{\0\"\0", "UTF-16", "iconv -f UTF-16LE "),
            (b"\0{\0\"", "UTF-16", "iconv -f UTF-16BE "),
            (b"\n [{\"id\":\"a\"}]", "a JSON array", "jq -c '.[]' "),
            (b"\xef\xbb\xbf[\n", "a JSON array", "jq -c '.[]' "),
            (b"{ \r\n \"id\":1}", "spread over several lines", "jq -c . "),
        ] {
            std::fs::write(&path, text).unwrap();
            let told = Source::open(&path).err().map(|failure| plain(&failure));
            let told = told.expect("it is refused");
            assert!(told.contains(what) && told.contains(command), "{told}");
        }
        for text in ["", "\n\n", "{", "{}", "nonsense", "\u{feff}{\"id\":\"a\"}"] {
            std::fs::write(&path, text).unwrap();
            assert!(Source::open(&path).is_ok(), "{text:?}");
        }
    }
}
