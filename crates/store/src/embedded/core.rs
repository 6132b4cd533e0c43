//! The synchronous heart of the embedded store: one SQLite file, one writer, transactions of many items.
//!
//! An item decides before it writes; a refusal is a value it returns, so it fails alone, and so does one
//! that meets a corrupt record before it writes. Any other error of the database ends the transaction for
//! every item in it, and drops what was cached, so that memory never runs ahead of the file. Knows nothing
//! of threads; see [`super::shell`].

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fanfare_hub::{
    ids::Term,
    ports::{
        StoreError,
        measures::{Ended, StoreMeasures},
    },
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::journal::RunningJobs;
use crate::vault::Vault;

/// Why a store file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite refused.
    #[error("the store file {path} could not be opened")]
    Sqlite {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer program wrote it.
    #[error("the store file {path} has format {found}, this program knows formats up to {known}")]
    Newer {
        /// Which file.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Its keys are encrypted and it is opened without them, or the other way round.
    #[error("the store file {path} was not unlocked with the key that it needs")]
    Locked {
        /// Which file.
        path: String,
    },
}

/// Each brings a store from the format of its place to the next.
pub(crate) const MIGRATIONS: [&str; 7] = [
    include_str!("../../migrations/embedded/0001_first_light.sql"),
    include_str!("../../migrations/embedded/0002_configurations.sql"),
    include_str!("../../migrations/embedded/0003_transfers.sql"),
    include_str!("../../migrations/embedded/0004_etags.sql"),
    include_str!("../../migrations/embedded/0005_policies.sql"),
    include_str!("../../migrations/embedded/0006_vault.sql"),
    include_str!("../../migrations/embedded/0007_authorities.sql"),
];
/// The format this program writes.
pub(crate) const FORMAT: u32 = MIGRATIONS.len() as u32;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the checkpointer may hold up the writer while it waits for readers: a long read or a backup
/// makes the log longer, never the answers slower.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(100);
/// KiB of page cache of the writer; readers have a quarter each.
const CACHE_KIB: i64 = 64 * 1024;

/// The writer.
pub(crate) struct Core {
    db: Connection,
    vault: Arc<Vault>,
    term: Term,
    running: RunningJobs,
    commits: u64,
    measures: Arc<StoreMeasures>,
    /// Tests crash here: commits that may still happen.
    commits_left: Option<u64>,
    /// Tests lose a result here: commits before the one that happens and says it did not.
    commits_told: Option<u64>,
}

/// One transaction under way.
pub(crate) struct Writer<'a> {
    /// The open transaction.
    pub(crate) db: &'a Connection,
    /// What encrypts keys.
    pub(crate) vault: &'a Vault,
    /// This start's number.
    pub(crate) term: Term,
    /// Ledgers and segment heads of running jobs.
    pub(crate) running: &'a mut RunningJobs,
    /// Device jobs it ends.
    pub(crate) ended: &'a mut Ended,
    /// What is counted whatever becomes of it.
    pub(crate) measures: &'a StoreMeasures,
}

/// Something to do inside a transaction.
pub(crate) trait Item: Send {
    /// Does it. An error ends the transaction for every item in it, except for one that found something
    /// corrupt before it wrote anything: that item fails alone. Only the item that found it is told that
    /// something is corrupt.
    fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError>;

    /// Answers whoever waits, after the commit or its failure.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// An item that has run, and what it failed of by itself.
type Done = (Box<dyn Item>, Result<(), StoreError>);

impl Core {
    /// Opens or creates the file, brings it up to date, and begins a new term. Where its keys are encrypted
    /// the vault must be the one that was opened for this file.
    pub(crate) fn open(path: &Path, vault: Arc<Vault>) -> Result<Self, OpenError> {
        let db = open_writer(path)?;
        let fail = |source| OpenError::Sqlite {
            path: path.display().to_string(),
            source,
        };
        if super::keys::is_encrypted(&db).map_err(fail)? != vault.is_sealing() {
            return Err(OpenError::Locked {
                path: path.display().to_string(),
            });
        }
        let term = next_number(&db, "term").map_err(fail)?;
        Ok(Self {
            db,
            vault,
            term: Term(term as u32),
            running: RunningJobs::default(),
            commits: 0,
            measures: Arc::default(),
            commits_left: None,
            commits_told: None,
        })
    }

    /// What is measured.
    pub(crate) fn measures(&self) -> Arc<StoreMeasures> {
        self.measures.clone()
    }

    /// The number of this start.
    pub(crate) fn term(&self) -> Term {
        self.term
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Lets `commits` more commits happen; every later one fails, as after a crash.
    pub(crate) fn crash_after(&mut self, commits: u64) {
        self.commits_left = Some(commits);
    }

    /// Lets the commit after `commits` more happen and fail all the same, as when its result is lost.
    pub(crate) fn lose_result_after(&mut self, commits: u64) {
        self.commits_told = Some(commits);
    }

    /// Whether a result is still to be lost.
    pub(crate) fn is_losing_a_result(&self) -> bool {
        self.commits_told.is_some()
    }

    /// Sets how many commits of a job lie between two checkpoints of its journal.
    pub(crate) fn checkpoint_every(&mut self, commits: u32) {
        self.running.checkpoint_every(commits);
    }

    /// Whether maintenance waits for a quiet moment.
    pub(crate) fn has_idle_work(&self) -> bool {
        self.running.has_ended()
    }

    /// Runs items until `next` gives no more, in one transaction; commits; answers all.
    pub(crate) fn commit(&mut self, mut next: impl FnMut() -> Option<Box<dyn Item>>) {
        let Some(first) = next() else { return };
        let mut done = Vec::new();
        let result = self.transaction(first, &mut next, &mut done);
        if result.is_err() {
            self.running.clear();
        }
        for (item, own) in done {
            item.finish(own.and_then(|()| result.clone()));
        }
    }

    fn transaction(
        &mut self,
        first: Box<dyn Item>,
        next: &mut impl FnMut() -> Option<Box<dyn Item>>,
        done: &mut Vec<Done>,
    ) -> Result<(), StoreError> {
        let start = Instant::now();
        let mut ended = Ended::default();
        // Immediate: a read that becomes a write would not wait for whoever holds the lock a moment.
        let began = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate);
        let began = began.map_err(unavailable);
        let mut item = Some(first);
        let mut writer = Writer {
            db: &self.db,
            vault: &self.vault,
            term: self.term,
            running: &mut self.running,
            ended: &mut ended,
            measures: &self.measures,
        };
        let mut ran = Ok(());
        while let Some(mut current) = item.take() {
            let mut own = Ok(());
            if began.is_ok() {
                let changes = self.db.total_changes();
                ran = current.run(&mut writer);
                if matches!(ran, Err(StoreError::Corrupt(_))) {
                    let others = match self.db.total_changes() == changes {
                        // Found before anything was written: nobody else need suffer for it.
                        true => Ok(()),
                        // What is corrupt is this item's: the others may try again.
                        false => Err(StoreError::Unavailable(
                            "another write beside it met something corrupt".into(),
                        )),
                    };
                    own = std::mem::replace(&mut ran, others);
                }
            }
            done.push((current, own));
            if began.is_ok() && ran.is_ok() {
                item = next();
            }
        }
        let transaction = began?;
        ran?;
        match &mut self.commits_left {
            Some(0) => return Err(StoreError::Unavailable("crashed for a test".into())),
            Some(left) => *left -= 1,
            None => {}
        }
        transaction.commit().map_err(unavailable)?;
        self.commits += 1;
        self.measures.commits.add(1);
        self.measures.ended.add(&ended);
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.measures.commit.record(micros);
        match &mut self.commits_told {
            Some(0) => {
                self.commits_told = None;
                return Err(StoreError::Unavailable("a result lost for a test".into()));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// One step of background work on journals, in a transaction of its own, if any is due. `idle` tells
    /// that nobody waits, so work that only pays later may be done now. Returns whether it did anything.
    pub(crate) fn maintain(&mut self, idle: bool) -> Result<bool, StoreError> {
        let Some(step) = self.running.next_step(idle) else {
            return Ok(false);
        };
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let mut item: Option<Box<dyn Item>> = Some(Box::new(MaintenanceItem { step, answer }));
        self.commit(|| item.take());
        match answered.try_recv() {
            Ok(result) => result.map(|()| true),
            Err(_) => Err(StoreError::Unavailable("maintenance did not run".into())),
        }
    }
}

struct MaintenanceItem {
    step: super::journal::MaintenanceStep,
    answer: std::sync::mpsc::SyncSender<Result<(), StoreError>>,
}

impl Item for MaintenanceItem {
    fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
        super::journal::maintain(writer, &self.step)
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        // The receiver lives until the commit returned; it cannot be gone.
        let _ = self.answer.send(committed);
    }
}

/// The connection of whoever writes: opens or creates the file and brings it up to date.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let fail = |source| OpenError::Sqlite {
        path: path.display().to_string(),
        source,
    };
    create_private(path);
    let mut db = Connection::open(path).map_err(fail)?;
    configure(&db, CACHE_KIB).map_err(fail)?;
    let found = format_of(&db).map_err(fail)?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            path: path.display().to_string(),
            found,
            known: FORMAT,
        });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let tx = db.transaction().map_err(fail)?;
        tx.execute_batch(migration).map_err(fail)?;
        tx.pragma_update(None, "user_version", index as u32 + 1)
            .map_err(fail)?;
        tx.commit().map_err(fail)?;
    }
    Ok(db)
}

/// Makes a new file for its owner alone. SQLite gives its log and index the same mode; to a file that it makes itself it
/// gives what the umask leaves. A file that is there is not even opened: closing it would drop SQLite's locks.
fn create_private(path: &Path) {
    let mut options = OpenOptions::new();
    // What cannot be made SQLite cannot open, and says why.
    let _ = options.write(true).create_new(true).mode(0o600).open(path);
}

/// A connection for reads; sees what was committed when its transaction began.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let fail = |source| OpenError::Sqlite {
        path: path.display().to_string(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(fail)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB / 4)
        .map_err(fail)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// A connection that moves committed pages from the log into the file.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection, OpenError> {
    let fail = |source| OpenError::Sqlite {
        path: path.display().to_string(),
        source,
    };
    let db = Connection::open(path).map_err(fail)?;
    configure(&db, 1024).map_err(fail)?;
    db.busy_timeout(CHECKPOINT_WAIT).map_err(fail)?;
    Ok(db)
}

fn configure(db: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", -cache_kib)?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(())
}

pub(crate) fn format_of(db: &Connection) -> rusqlite::Result<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Takes the next number of a counter of the table `hub`, starting at 1.
pub(crate) fn next_number(db: &Connection, counter: &str) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached(
        "INSERT INTO hub (name, value) VALUES (?1, 1)
         ON CONFLICT (name) DO UPDATE SET value = value + 1
         RETURNING value",
    )?;
    let value: Option<u64> = statement
        .query_row([counter], |row| row.get(0))
        .optional()?;
    value.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// What an error of SQLite means for the caller.
pub(crate) fn unavailable(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => StoreError::Corrupt(Arc::from(error.to_string())),
        _ => StoreError::Unavailable(Arc::from(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Told = Arc<Mutex<Vec<[&'static str; 2]>>>;

    struct Step {
        name: &'static str,
        writes: bool,
        fails: bool,
        told: Told,
    }

    impl Item for Step {
        fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
            if self.writes {
                next_number(writer.db, self.name).map_err(unavailable)?;
            }
            match self.fails {
                true => Err(StoreError::Corrupt(self.name.into())),
                false => Ok(()),
            }
        }

        fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
            let what = match committed {
                Ok(()) => "done",
                Err(StoreError::Corrupt(_)) => "corrupt",
                Err(_) => "try again",
            };
            let mut told = self.told.lock().expect("nobody panics with it");
            told.push([self.name, what]);
        }
    }

    /// What each of three items in one transaction is told; the one in the middle meets something corrupt.
    fn told(writes: bool) -> Vec<[&'static str; 2]> {
        let folder = tempfile::tempdir().expect("the system's folder is writable");
        let mut core = Core::open(&folder.path().join("store.db"), Arc::new(Vault::plain()))
            .expect("it is new");
        let told = Told::default();
        let step = |name, writes, fails| Step {
            name,
            writes,
            fails,
            told: told.clone(),
        };
        let mut items = [
            step("one", true, false),
            step("two", writes, true),
            step("three", true, false),
        ]
        .into_iter()
        .map(|step| Box::new(step) as Box<dyn Item>);
        core.commit(|| items.next());
        std::mem::take(&mut *told.lock().expect("nobody panics with it"))
    }

    #[test]
    fn only_the_item_that_met_something_corrupt_is_told_so() {
        let alone = [["one", "done"], ["two", "corrupt"], ["three", "done"]];
        assert_eq!(told(false), alone);
        // The third waits for the next transaction.
        let together = [["one", "try again"], ["two", "corrupt"]];
        assert_eq!(told(true), together);
    }
}
