//! The store on one machine: SQLite in one file.
//!
//! [`core`] is the writer and its transactions, [`shell`] the threads around it; the other files say what
//! each aggregate reads and writes, one `impl` of its port trait each.

mod actor;
mod authorities;
mod backup;
mod configurations;
mod core;
mod device_jobs;
mod jobs;
mod journal;
mod keys;
mod measures;
mod merge;
mod ordinals;
mod policies;
mod queries;
mod registry;
mod rows;
mod segment;
mod sessions;
mod shell;
mod transfers;
mod twins;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fanfare_hub::{
    ids::Term,
    ports::{Store, StoreError},
};

use self::shell::Shell;
pub use self::{
    backup::{CopyError, CopyProgress, StoreCopy},
    core::OpenError,
    keys::{Converted, KeyProgress, KeyStanding, KeyState, KeysError},
};
use crate::vault::Vault;

/// A store in one file.
pub struct Embedded {
    shell: Shell,
    path: PathBuf,
    /// What encrypts keys.
    vault: Arc<Vault>,
}

impl Embedded {
    /// Opens or creates the file, with threads around it; its keys are not encrypted. The caller makes sure
    /// that no other process writes to it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Vault::plain())
    }

    /// Like [`Self::open`], with what [`Self::encrypt_keys`] gave for this file.
    pub fn open_with(path: &Path, vault: Vault) -> Result<Self, OpenError> {
        let vault = Arc::new(vault);
        Ok(Self {
            shell: Shell::threads(path, vault.clone())?,
            path: path.to_owned(),
            vault,
        })
    }

    /// Opens or creates the file without threads: every call runs on the caller's.
    pub fn open_inline(path: &Path) -> Result<Self, OpenError> {
        Self::open_inline_with(path, Vault::plain())
    }

    /// Like [`Self::open_inline`], with what [`Self::encrypt_keys`] gave for this file.
    pub fn open_inline_with(path: &Path, vault: Vault) -> Result<Self, OpenError> {
        let vault = Arc::new(vault);
        Ok(Self {
            shell: Shell::inline(path, vault.clone())?,
            path: path.to_owned(),
            vault,
        })
    }

    /// What seals and opens the secrets in it.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Durable commits since it was opened.
    pub fn commits(&self) -> u64 {
        self.shell.commits()
    }

    /// Lets `commits` more commits happen and fails every later one, as if the process had died there, or
    /// the disk were full until this is called again. For stores opened inline; no effect on others.
    pub fn crash_after(&self, commits: u64) {
        if let Shell::Inline(inline) = &self.shell {
            inline.core().crash_after(commits);
        }
    }

    /// Lets the commit after `commits` more happen and report a failure all the same, once. For stores
    /// opened inline; no effect on others.
    pub fn lose_result_after(&self, commits: u64) {
        if let Shell::Inline(inline) = &self.shell {
            inline.core().lose_result_after(commits);
        }
    }

    /// Whether [`Self::lose_result_after`] still has a result to lose.
    pub fn is_losing_a_result(&self) -> bool {
        match &self.shell {
            Shell::Inline(inline) => inline.core().is_losing_a_result(),
            Shell::Threads(_) => false,
        }
    }

    /// Writes a checkpoint of a job's journal every so many commits of that job, so that a test sees some.
    /// For stores opened inline; no effect on others.
    pub fn checkpoint_every(&self, commits: u32) {
        if let Shell::Inline(inline) = &self.shell {
            inline.core().checkpoint_every(commits);
        }
    }

    /// Does maintenance of journals until none is due, also such that only pays later. For stores opened
    /// inline; others do it by themselves.
    pub fn maintain(&self) -> Result<(), StoreError> {
        if let Shell::Inline(inline) = &self.shell {
            while inline.core().maintain(true)? {}
        }
        Ok(())
    }
}

impl Store for Embedded {
    fn term(&self) -> Term {
        self.shell.term()
    }
}
