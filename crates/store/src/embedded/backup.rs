//! A copy of the store's file, taken while a hub writes to it, and what a copy needs before a hub runs on it.
//!
//! A copy is one moment of the store: a read transaction is held until the last page is written, so commits
//! that happen meanwhile are not in it and do not make it start again. Writers do not wait for it; the log
//! beside the file grows until it is done. Knows pages and the term, not what else a backup holds.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use fanfare_hub::ids::Term;
use rusqlite::{
    Connection, OptionalExtension as _,
    backup::{Backup, StepResult},
};

use super::{
    Embedded,
    core::{FORMAT, OpenError, format_of, open_reader},
    keys::{KeyStanding, KeysError, standing_of},
};

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreCopy {
    /// The format of the tables.
    pub format: u32,
    /// The term of the last start before the copy.
    pub term: Term,
    /// How its keys are encrypted; absent when they are not.
    pub keys: Option<KeyStanding>,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes copied.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Why a copy was not made, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store's file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not say how its keys are encrypted.
    #[error("the store does not say how its keys are encrypted")]
    Keys(#[from] KeysError),
    /// SQLite failed.
    #[error("the store could not be copied")]
    Sqlite(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the copy could not be written")]
    Io(#[from] io::Error),
    /// The copy is damaged.
    #[error("the copy of the store is damaged: {0}")]
    Damaged(String),
}

/// Pages copied between two reports; a page has 4 KiB.
const STEP_PAGES: i32 = 1_024;
/// Terms between a copy and a hub that goes on from it, at least: a clock that went back must not bring
/// back call ids. Ours.
const TERMS_SKIPPED: u32 = 1_000;

impl Embedded {
    /// Copies the store in the file `from` to the file `to`, which must not exist, whether a hub runs on it
    /// or not. The copy is on the disk when this returns.
    ///
    /// # Errors
    /// [`CopyError`]; `to` may be left behind unfinished.
    pub fn copy(
        from: &Path,
        to: &Path,
        progress: &mut dyn FnMut(CopyProgress),
    ) -> Result<StoreCopy, CopyError> {
        let source = open_reader(from)?;
        let moment = source.unchecked_transaction()?;
        let copied = StoreCopy {
            format: format_of(&moment)?,
            term: term_of(&moment)?,
            keys: standing_of(&moment)?,
        };
        let page_bytes: u64 = moment.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(to)?;
        let mut target = Connection::open(to)?;
        // The file is flushed below, once and whole.
        target.pragma_update(None, "synchronous", "off")?;
        {
            let backup = Backup::new(&moment, &mut target)?;
            loop {
                let step = backup.step(STEP_PAGES)?;
                let pages = backup.progress();
                let bytes = |count: i32| u64::try_from(count).unwrap_or(0) * page_bytes;
                progress(CopyProgress {
                    done: bytes(pages.pagecount - pages.remaining),
                    total: bytes(pages.pagecount),
                });
                if step == StepResult::Done {
                    break;
                }
            }
        }
        target.close().map_err(|(_, error)| error)?;
        File::open(to)?.sync_all()?;
        Ok(copied)
    }

    /// Makes a copy fit to go on from: checks it, and moves its term to `floor` or further, so that no call
    /// id of the time between the copy and its loss is ever handed out again. Returns the term before and
    /// after.
    ///
    /// # Errors
    /// [`CopyError`]; the file may have changed.
    pub fn adopt_copy(path: &Path, floor: Term) -> Result<(Term, Term), CopyError> {
        let db = Connection::open(path)?;
        let found = format_of(&db)?;
        if found > FORMAT {
            return Err(CopyError::Open(OpenError::Newer {
                path: path.display().to_string(),
                found,
                known: FORMAT,
            }));
        }
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(CopyError::Damaged(verdict));
        }
        // One file without a log beside it, until a hub opens it.
        db.query_row("PRAGMA journal_mode = delete", [], |_| Ok(()))?;
        let before = term_of(&db)?;
        let after = Term(before.0.saturating_add(TERMS_SKIPPED).max(floor.0));
        db.execute(
            "INSERT INTO hub (name, value) VALUES ('term', ?1)
             ON CONFLICT (name) DO UPDATE SET value = ?1",
            [after.0],
        )?;
        db.close().map_err(|(_, error)| error)?;
        File::open(path)?.sync_all()?;
        Ok((before, after))
    }
}

fn term_of(db: &Connection) -> rusqlite::Result<Term> {
    let term = db
        .query_row("SELECT value FROM hub WHERE name = 'term'", [], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(Term(term.unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use fanfare_hub::{
        access::{Policy, Rights},
        ids::Etag,
        ports::{Store as _, store::PolicyStore as _},
        registry::SymmetricKey,
    };

    use super::*;

    fn policy(name: String) -> Policy {
        // Long, so that the file has more pages than one step copies.
        let key = SymmetricKey::new(&"k".repeat(8_192));
        Policy {
            name: name.into(),
            rights: Rights::SERVICE_CONNECT,
            primary: key.clone(),
            secondary: key,
            etag: Etag(0),
        }
    }

    #[tokio::test]
    async fn a_copy_is_one_moment_although_writes_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let store = Embedded::open_inline(&file).unwrap();
        let first = (0..1_000).map(|at| policy(format!("before-{at:04}")));
        store.policy_seed(first.collect()).await.unwrap();
        let other = Connection::open(&file).unwrap();
        let (mut steps, mut last) = (0, None);
        let copied = Embedded::copy(&file, &copy, &mut |progress| {
            steps += 1;
            other
                .execute(
                    "INSERT INTO policy VALUES (?1, 0, ?1, ?1, 0)",
                    [format!("during-{steps}")],
                )
                .unwrap();
            last = Some(progress);
        })
        .unwrap();
        assert!(steps > 2, "{steps} steps");
        let last = last.unwrap();
        assert_eq!((copied.term, last.done), (store.term(), last.total));
        assert_eq!(
            store.policy_list().await.unwrap().policies.len(),
            1_000 + steps
        );

        let (before, after) = Embedded::adopt_copy(&copy, Term(7)).unwrap();
        assert_eq!((before, after), (Term(1), Term(1_001)));
        let restored = Embedded::open_inline(&copy).unwrap();
        assert_eq!(restored.term(), Term(1_002));
        let names = restored.policy_list().await.unwrap().policies;
        assert_eq!(names.len(), 1_000);
        assert!(
            names
                .iter()
                .all(|policy| policy.name.starts_with("before-"))
        );
    }

    #[test]
    fn a_copy_never_replaces_a_file_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        drop(Embedded::open_inline(&file).unwrap());
        std::fs::write(&copy, "mine").unwrap();
        let refused = Embedded::copy(&file, &copy, &mut |_| {}).unwrap_err();
        assert!(matches!(refused, CopyError::Io(_)), "{refused:?}");
        assert_eq!(std::fs::read(&copy).unwrap(), b"mine");
        assert!(Embedded::adopt_copy(&copy, Term(0)).is_err());
        let (_, after) = Embedded::adopt_copy(&file, Term(5_000)).unwrap();
        assert_eq!(after, Term(5_000));
    }
}
