//! Blobs as files in folders below one root, which no name can leave.
//!
//! Each part of a path is opened relative to the one before, and never through a symbolic link; only the
//! root itself may be one, since whoever owns the data folder made it. A file is written beside its place,
//! made durable, and then moved there.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::PathBuf,
};

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_hub::{
    ports::blobs::{BlobError, BlobReader, BlobWriter},
    transfers::BlobName,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Bytes read at once.
const PIECE_BYTES: usize = 1024 * 1024;
const FOLDER_MODE: u32 = 0o700;
/// Exports hold keys.
const FILE_MODE: u32 = 0o600;

/// Runs work that may block on a thread for that.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::other("the work was cut")));
    done.map_err(|error| failed(what, &error))
}

fn failed(what: &str, error: &io::Error) -> BlobError {
    let (what, problem) = (what.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::Absent(what),
        // What a symbolic link, a folder or a pipe in the way says.
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput => BlobError::Refused { what, problem },
        _ if error.raw_os_error() == Some(SYMBOLIC_LINK) => BlobError::Refused { what, problem },
        _ => BlobError::Unavailable { what, problem },
    }
}

/// What opening a symbolic link says when links are not to be followed.
const SYMBOLIC_LINK: i32 = rustix::io::Errno::LOOP.raw_os_error();

/// Where a file lies: its folder, and its name in there.
struct Spot {
    folder: OwnedFd,
    name: String,
}

impl Spot {
    /// Walks down to the folder, making what is missing if `make`.
    fn find(root: &PathBuf, folder: Vec<String>, blob: &str, make: bool) -> io::Result<Self> {
        if make {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(root)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(root, flags, Mode::empty())?;
        let mut parts = folder;
        parts.extend(blob.split('/').map(str::to_owned));
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            if make {
                match rustix::fs::mkdirat(&at, &*part, Mode::from_raw_mode(FOLDER_MODE)) {
                    Ok(()) => rustix::fs::fsync(&at)?,
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            at = rustix::fs::openat(&at, &*part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(Self { folder: at, name })
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Without NONBLOCK, opening a pipe would wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file = rustix::fs::openat(&self.folder, name, flags, mode)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        match kind {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a plain file",
            )),
        }
    }
}

/// A file being read.
pub(crate) struct FolderReader {
    /// Absent while a thread has it.
    file: Option<File>,
    bytes: u64,
    what: String,
}

impl FolderReader {
    pub(crate) async fn open(
        root: PathBuf,
        folder: Vec<String>,
        blob: &BlobName,
        what: String,
    ) -> Result<Self, BlobError> {
        let blob = blob.as_str().to_owned();
        let open = move || {
            let spot = Spot::find(&root, folder, &blob, false)?;
            let file = spot.open(&spot.name, OFlags::RDONLY)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        let (file, bytes) = blocking(&what, open).await?;
        Ok(Self {
            file: Some(file),
            bytes,
            what,
        })
    }
}

#[async_trait]
impl BlobReader for FolderReader {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let Some(mut file) = self.file.take() else {
            return Ok(None);
        };
        let read = move || {
            let mut piece = Vec::new();
            let bytes = (&mut file)
                .take(PIECE_BYTES as u64)
                .read_to_end(&mut piece)?;
            Ok((file, piece, bytes))
        };
        let (file, piece, bytes) = blocking(&self.what, read).await?;
        if bytes == 0 {
            return Ok(None);
        }
        self.file = Some(file);
        Ok(Some(piece.into()))
    }
}

/// A file being written.
pub(crate) struct FolderWriter {
    /// Absent while a thread has it.
    under_way: Option<(Spot, File)>,
    what: String,
}

impl FolderWriter {
    pub(crate) async fn create(
        root: PathBuf,
        folder: Vec<String>,
        blob: &BlobName,
        what: String,
    ) -> Result<Self, BlobError> {
        let blob = blob.as_str().to_owned();
        let create = move || {
            let spot = Spot::find(&root, folder, &blob, true)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
            let file = spot.open(&partial(&spot.name), flags)?;
            Ok((spot, file))
        };
        let under_way = Some(blocking(&what, create).await?);
        Ok(Self { under_way, what })
    }

    fn take(&mut self) -> Result<(Spot, File), BlobError> {
        self.under_way.take().ok_or_else(|| BlobError::Unavailable {
            what: self.what.clone(),
            problem: "an earlier piece could not be written".to_owned(),
        })
    }
}

#[async_trait]
impl BlobWriter for FolderWriter {
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError> {
        let (spot, mut file) = self.take()?;
        let write = move || {
            file.write_all(&piece)?;
            Ok((spot, file))
        };
        self.under_way = Some(blocking(&self.what, write).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        let (spot, file) = self.take()?;
        let finish = move || {
            file.sync_all()?;
            let fresh = partial(&spot.name);
            rustix::fs::renameat(&spot.folder, &*fresh, &spot.folder, &*spot.name)?;
            rustix::fs::fsync(&spot.folder)?;
            Ok(())
        };
        blocking(&self.what, finish).await
    }
}

impl Drop for FolderWriter {
    fn drop(&mut self) {
        if let Some((spot, _)) = self.under_way.take() {
            // What stays in spite of this is overwritten by the next writer of the same name.
            let _ = rustix::fs::unlinkat(&spot.folder, &*partial(&spot.name), AtFlags::empty());
        }
    }
}

/// Where a file is written before it is whole.
fn partial(name: &str) -> String {
    format!(".{name}.partial")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use fanfare_hub::{ports::Blobs as _, transfers::ContainerUri};

    use crate::{BlobPlaces, BlobSettings};

    use super::*;

    fn places(root: &Path) -> BlobPlaces {
        let settings = BlobSettings {
            folder: root.to_owned(),
            ..BlobSettings::default()
        };
        BlobPlaces::new(settings).expect("the client can be made")
    }

    fn names(container: &str, blob: &str) -> (ContainerUri, BlobName) {
        (
            ContainerUri::new(container),
            BlobName::parse(blob).expect("the name is fine"),
        )
    }

    async fn put(
        places: &BlobPlaces,
        container: &str,
        blob: &str,
        pieces: &[&'static str],
    ) -> Result<(), BlobError> {
        let (container, blob) = names(container, blob);
        let mut writer = places.create(&container, &blob).await?;
        for piece in pieces {
            writer.write(Bytes::from_static(piece.as_bytes())).await?;
        }
        writer.finish().await
    }

    async fn got(places: &BlobPlaces, container: &str, blob: &str) -> Result<Vec<u8>, BlobError> {
        let (container, blob) = names(container, blob);
        let mut reader = places.open(&container, &blob).await?;
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await? {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len() as u64, reader.bytes());
        Ok(all)
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let places = places(&scratch.path().join("blobs"));
        put(&places, "file:a/b", "c/d.txt", &["one\n", "two"])
            .await
            .unwrap();
        assert_eq!(
            got(&places, "file:a/b", "c/d.txt").await.unwrap(),
            b"one\ntwo"
        );
        put(&places, "file:a/b", "c/d.txt", &[]).await.unwrap();
        assert_eq!(got(&places, "file:a/b/c", "d.txt").await.unwrap(), b"");
        let nothing = got(&places, "file:a", "nothing").await;
        assert!(matches!(nothing, Err(BlobError::Absent(_))), "{nothing:?}");
        let long = "0123456789".repeat(300_000);
        fs::write(scratch.path().join("blobs/a/long"), &long).unwrap();
        assert_eq!(
            got(&places, "file:a", "long").await.unwrap(),
            long.as_bytes()
        );
    }

    #[tokio::test]
    async fn nobody_sees_half_a_blob() {
        let scratch = tempfile::tempdir().unwrap();
        let places = places(scratch.path());
        put(&places, "file:a", "b", &["old"]).await.unwrap();
        let (container, blob) = names("file:a", "b");
        let mut writer = places.create(&container, &blob).await.unwrap();
        writer.write(Bytes::from_static(b"new")).await.unwrap();
        assert_eq!(got(&places, "file:a", "b").await.unwrap(), b"old");
        drop(writer);
        assert_eq!(got(&places, "file:a", "b").await.unwrap(), b"old");
        assert_eq!(
            fs::read_dir(scratch.path().join("a")).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn links_lead_nowhere() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("blobs");
        let outside = scratch.path().join("outside");
        fs::create_dir_all(root.join("in")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("secret"), root.join("in/secret")).unwrap();
        symlink(outside.join("made"), root.join("in/.made.partial")).unwrap();
        let places = places(&root);
        for (container, blob) in [
            ("file:link", "secret"),
            ("file:in", "secret"),
            ("file:in/secret", "x"),
        ] {
            let refused = got(&places, container, blob).await;
            assert!(
                matches!(refused, Err(BlobError::Refused { .. })),
                "{container} {blob}: {refused:?}"
            );
        }
        for (container, blob) in [("file:link", "made"), ("file:in", "made")] {
            let refused = put(&places, container, blob, &["x"]).await;
            assert!(
                matches!(refused, Err(BlobError::Refused { .. })),
                "{container} {blob}: {refused:?}"
            );
        }
        // A file takes the place of a link, not of what it leads to.
        put(&places, "file:in", "secret", &["mine"]).await.unwrap();
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let folder = got(&places, "file:link/..", "x").await;
        assert!(matches!(folder, Err(BlobError::Container(_))), "{folder:?}");
        let folder = got(&places, "file:in", "x/y").await;
        assert!(matches!(folder, Err(BlobError::Absent(_))), "{folder:?}");
    }
}
