//! Removes the history of jobs that ended long ago, a little at a time.

use fanfare_hub::{ids::JobNumber, ports::StoreError, time::Timestamp};
use rusqlite::{Connection, params};

use super::row::EXPIRED;
use crate::embedded::core::{Writer, unavailable};

/// What one transaction removes at most.
struct ExpireBudget {
    rows: u32,
    bytes: u64,
}

/// Rows of history that one transaction removes.
pub(super) const EXPIRE_ROWS: u32 = 1_000;
/// Bytes of history that one transaction removes.
const EXPIRE_BYTES: u64 = 4 * 1024 * 1024;

impl ExpireBudget {
    fn is_spent(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

/// Removes jobs, or a part of one when it is large; returns how many it came to.
pub(super) fn expire(
    writer: &mut Writer<'_>,
    before: Timestamp,
    limit: u32,
) -> Result<u32, StoreError> {
    let numbers: Vec<u64> = writer
        .db
        .prepare_cached(
            "SELECT number FROM job WHERE state >= 3 AND ended < ?1 ORDER BY ended LIMIT ?2",
        )
        .and_then(|mut select| {
            select
                .query_map(params![before.0, limit], |row| row.get(0))?
                .collect()
        })
        .map_err(unavailable)?;
    let mut budget = ExpireBudget {
        rows: EXPIRE_ROWS,
        bytes: EXPIRE_BYTES,
    };
    let mut touched = 0;
    for number in numbers {
        if budget.is_spent() {
            break;
        }
        writer.running.forget(JobNumber(number));
        remove_some(writer.db, number, &mut budget)?;
        touched += 1;
    }
    Ok(touched)
}

const HIDE_JOB: &str = "UPDATE job SET state = ?2, id = '#' || number, sealed = NULL
     WHERE number = ?1 AND state < ?2";

/// What to look for and how to remove it.
const HISTORY: [(&str, &str); 3] = [
    (
        "SELECT rowid, length(record) FROM job_payload WHERE number = ?1",
        "DELETE FROM job_payload WHERE rowid = ?1",
    ),
    (
        "SELECT sequence, bytes FROM job_segment WHERE number = ?1",
        "DELETE FROM job_segment WHERE sequence = ?1",
    ),
    (
        "SELECT rowid, length(record) FROM job_targets WHERE number = ?1",
        "DELETE FROM job_targets WHERE rowid = ?1",
    ),
];

/// Removes rows of one job, and the job itself when the budget reaches to its end. From the first row on
/// the job is seen by nobody: half a history would be a false one.
fn remove_some(db: &Connection, number: u64, budget: &mut ExpireBudget) -> Result<(), StoreError> {
    db.prepare_cached(HIDE_JOB)
        .and_then(|mut hide| hide.execute(params![number, EXPIRED]))
        .map_err(unavailable)?;
    for (select, delete) in HISTORY {
        if !remove_rows(db, number, (select, delete), budget).map_err(unavailable)? {
            return Ok(());
        }
    }
    for sql in [
        "DELETE FROM job_plan WHERE number = ?1",
        "DELETE FROM job WHERE number = ?1",
    ] {
        db.prepare_cached(sql)
            .and_then(|mut delete| delete.execute([number]))
            .map_err(unavailable)?;
    }
    Ok(())
}

/// True when no such row is left.
fn remove_rows(
    db: &Connection,
    number: u64,
    (select, delete): (&str, &str),
    budget: &mut ExpireBudget,
) -> rusqlite::Result<bool> {
    let mut gone: Vec<i64> = Vec::new();
    let mut select = db.prepare_cached(select)?;
    let mut rows = select.query([number])?;
    let is_last = loop {
        let Some(row) = rows.next()? else { break true };
        if budget.is_spent() {
            break false;
        }
        gone.push(row.get(0)?);
        budget.rows -= 1;
        budget.bytes = budget.bytes.saturating_sub(row.get(1)?);
    };
    let mut delete = db.prepare_cached(delete)?;
    for row in gone {
        delete.execute([row])?;
    }
    Ok(is_last)
}
