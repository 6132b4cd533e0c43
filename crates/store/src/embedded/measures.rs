//! What the store tells whoever watches it: its counts, the size of its files, what waits, how many jobs.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use fanfare_hub::ports::{
    StoreError,
    measures::{MeasuredStore, StoreMeasures, StoreReading},
    store::{IdentityRow, IdentityVisitor},
};
use rusqlite::Connection;

use super::{Embedded, core::unavailable, shell::log_path};

#[async_trait]
impl MeasuredStore for Embedded {
    fn measures(&self) -> &StoreMeasures {
        self.shell.measures()
    }

    async fn reading(&self) -> Result<StoreReading, StoreError> {
        let counted = self.shell.read(Counted::read).await?;
        let (writes_waiting, reads_waiting) = self.shell.waiting();
        Ok(StoreReading {
            file_bytes: bytes_of(self.path()),
            log_bytes: bytes_of(&log_path(self.path())),
            writes_waiting,
            reads_waiting,
            jobs: counted.jobs,
            transfers: counted.transfers,
            configurations: counted.configurations,
            configuration_marks: counted.configuration_marks,
        })
    }
}

/// Names of a job's states by their numbers; those beyond are jobs being removed, which nobody sees.
const JOB_STATES: [&str; 6] = [
    "waiting",
    "running",
    "draining",
    "completed",
    "cancelled",
    "failed",
];
/// The same of import and export jobs.
const TRANSFER_STATES: [&str; 5] = ["waiting", "running", "completed", "failed", "cancelled"];

/// What is counted in the tables: walks rows that are small and few beside everything else.
struct Counted {
    jobs: Vec<(&'static str, u64)>,
    transfers: Vec<(&'static str, u64)>,
    configurations: u64,
    configuration_marks: u64,
}

impl Counted {
    fn read(db: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            jobs: by_state(
                db,
                "SELECT state, COUNT(*) FROM job GROUP BY state",
                &JOB_STATES,
            )?,
            transfers: by_state(
                db,
                "SELECT state, COUNT(*) FROM transfer GROUP BY state",
                &TRANSFER_STATES,
            )?,
            configurations: count(db, "SELECT COUNT(*) FROM configuration")?,
            configuration_marks: count(db, "SELECT COUNT(*) FROM configuration_dirty")?,
        })
    }
}

fn count(db: &Connection, statement: &str) -> Result<u64, StoreError> {
    let mut select = db.prepare_cached(statement).map_err(unavailable)?;
    select.query_row([], |row| row.get(0)).map_err(unavailable)
}

/// Every state with its number, those of nobody too.
fn by_state(
    db: &Connection,
    statement: &str,
    states: &[&'static str],
) -> Result<Vec<(&'static str, u64)>, StoreError> {
    let mut counts: Vec<_> = states.iter().map(|state| (*state, 0)).collect();
    let mut select = db.prepare_cached(statement).map_err(unavailable)?;
    let rows = select
        .query_map([], |row| Ok((row.get::<_, usize>(0)?, row.get(1)?)))
        .map_err(unavailable)?;
    for row in rows {
        let (state, count) = row.map_err(unavailable)?;
        if let Some(entry) = counts.get_mut(state) {
            entry.1 = count;
        }
    }
    Ok(counts)
}

/// A file that is not there has no bytes: the log comes and goes.
fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// A visitor that counts the rows it is shown.
pub(super) fn counted(measures: Arc<StoreMeasures>, mut visit: IdentityVisitor) -> IdentityVisitor {
    let mut rows = RowCount { measures, rows: 0 };
    Box::new(move |row: &dyn IdentityRow| {
        // A method, so that the closure owns the whole count and not a copy of its number.
        rows.see_one();
        visit(row)
    })
}

/// Rows of one scan, added to all others' when it is over.
struct RowCount {
    measures: Arc<StoreMeasures>,
    rows: u64,
}

impl RowCount {
    fn see_one(&mut self) {
        self.rows += 1;
    }
}

impl Drop for RowCount {
    fn drop(&mut self) {
        self.measures.rows_scanned.add(self.rows);
    }
}
