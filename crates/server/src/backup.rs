//! A hub's folder copied while the hub runs, and made into a folder again.
//!
//! A backup is a folder: the store as of one moment, the CA, the server certificate and the hub's name, and
//! beside them `manifest.json` with a checksum of each. It appears whole or not at all. A restored hub goes
//! on from that moment under a term that no later start of the lost hub can have had, so that a call it
//! hands out is never taken for one of the lost hub's.

mod files;
mod manifest;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use fanfare_hub::{ids::Term, ports::Clock as _, time::Timestamp};

pub use self::manifest::{BackedUpFile, KeyFacts, Manifest, StoreFacts};
use crate::{
    clock::SystemClock,
    compose,
    data_dir::{DataDir, DataDirError, PUBLIC_MODE, SECRET_MODE, read_hub_file, store_file},
};

/// What a backup holds beside the store, with the mode it has in a hub's folder.
const FILES: [(&str, u32); 5] = [
    ("ca.pem", PUBLIC_MODE),
    ("ca-key.pem", SECRET_MODE),
    ("server.pem", PUBLIC_MODE),
    ("server-key.pem", SECRET_MODE),
    ("hub.toml", SECRET_MODE),
];
const STORE: &str = "fanfare.db";
const STORE_MODE: u32 = SECRET_MODE;

/// How far a backup or a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the store done.
    pub done: u64,
    /// Bytes of the store in all.
    pub total: u64,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was restored.
    pub manifest: Manifest,
    /// The term that the next start of the hub exceeds.
    pub term: u32,
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder is not that of a hub, or another process uses it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Something is there already.
    #[error("{} exists already; a backup never replaces anything", .0.display())]
    Exists(PathBuf),
    /// The folder to restore into holds something.
    #[error("the folder {} is not empty; restore into a new one", .0.display())]
    NotEmpty(PathBuf),
    /// The store's file.
    #[error("the store's file could not be copied")]
    Store(#[from] compose::CopyError),
    /// A file.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The backup is not one, or not whole.
    #[error("{} is not a backup that can be restored: {problem}", path.display())]
    Unusable {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl BackupError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    fn unusable(path: &Path, problem: impl Into<String>) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Copies the hub in `data_dir`, running or not, to the new folder `to`. All of it is on the disk when this
/// returns; after an error nothing is left.
///
/// # Errors
/// [`BackupError`]: no hub was started on the folder, `to` exists, or a file cannot be read or written.
pub fn backup(
    data_dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Manifest, BackupError> {
    read_hub_file(data_dir)?;
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let draft = files::Draft::beside(to)?;
    let created = fanfare_wire::Timestamp::from_micros(SystemClock.now().0).to_string();
    let copied = compose::copy_store(data_dir, &draft.path().join(STORE), progress)?;
    let keys = copied.keys.map(|standing| KeyFacts {
        key_id: standing.id.to_string(),
        kind: standing.kind.to_string(),
    });
    let mut files = vec![files::describe(draft.path(), STORE, STORE_MODE)?];
    for (name, mode) in FILES {
        if files::copy(&data_dir.join(name), &draft.path().join(name))? {
            files.push(files::describe(draft.path(), name, mode)?);
        }
    }
    let manifest = Manifest {
        format: manifest::FORMAT,
        fanfare: env!("CARGO_PKG_VERSION").to_owned(),
        created,
        store: StoreFacts {
            format: copied.format,
            term: copied.term.0,
        },
        keys,
        files,
    };
    manifest.write(draft.path())?;
    draft.publish(to)?;
    Ok(manifest)
}

/// Makes `data_dir`, which must be new or empty, the folder of the hub in the backup `from`. The backup is
/// not changed and may be restored again, though never twice at the same second.
///
/// # Errors
/// [`BackupError`]: the backup is not whole, the folder holds something or is in use, or a file cannot be
/// read or written.
pub fn restore(
    from: &Path,
    data_dir: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(from)?;
    check_names(from, &manifest)?;
    files::check_empty(data_dir)?;
    // Held to the end, so that no hub starts on half a folder.
    let folder = DataDir::lock(data_dir)?;
    let done = bring_back(from, folder.path(), &manifest, progress);
    if done.is_err() {
        // The folder is ours: it was empty, and its lock is held.
        files::clear(folder.path(), &manifest);
    }
    let term = done?;
    Ok(Restored {
        manifest,
        term: term.0,
    })
}

/// The store comes last: a folder without it is not yet a hub's.
fn bring_back(
    from: &Path,
    folder: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<Term, BackupError> {
    for file in &manifest.files {
        let fresh = folder.join(files::fresh_name(&file.name));
        let mut report = |done| {
            if file.name == STORE {
                progress(Progress {
                    done,
                    total: file.bytes,
                });
            }
        };
        files::copy_checked(&from.join(&file.name), &fresh, file, &mut report)?;
    }
    let store = folder.join(files::fresh_name(STORE));
    let (_, term) = compose::adopt_store(&store, floor(SystemClock.now()))?;
    let mut names: Vec<_> = manifest.files.iter().map(|file| &*file.name).collect();
    names.sort_by_key(|name| *name == STORE);
    for name in names {
        let path = folder.join(name);
        fs::rename(folder.join(files::fresh_name(name)), &path)
            .map_err(|error| BackupError::io(&path, error))?;
    }
    files::flush(folder)?;
    Ok(term)
}

/// Names that the manifest may give, each once, the store among them: nothing else is ever written.
fn check_names(from: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let known = |name: &str| name == STORE || FILES.iter().any(|(file, _)| *file == name);
    for (at, file) in manifest.files.iter().enumerate() {
        if !known(&file.name) {
            let problem = format!("the manifest names {:?}, which no hub has", file.name);
            return Err(BackupError::unusable(from, problem));
        }
        if manifest.files[..at]
            .iter()
            .any(|other| other.name == file.name)
        {
            let problem = format!("the manifest names {} twice", file.name);
            return Err(BackupError::unusable(from, problem));
        }
    }
    let store = store_file(from);
    match manifest.files.iter().any(|file| file.name == STORE) {
        true => Ok(()),
        false => Err(BackupError::unusable(
            &store,
            "the manifest does not name it",
        )),
    }
}

/// The seconds since 2020 as a term. A hub starts less than once a second, so a restored hub is ahead of
/// whatever the lost one came to, and of an earlier restore of the same backup.
fn floor(now: Timestamp) -> Term {
    const BEGIN: i64 = 1_577_836_800;
    let seconds = now.0.div_euclid(1_000_000) - BEGIN;
    Term(u32::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
