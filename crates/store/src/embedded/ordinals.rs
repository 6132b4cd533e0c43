//! Sets of ordinals as they are stored: target sets in records of 65,536 ordinals, and the settled sets of
//! a running job at its last checkpoint. Both are roaring's own portable format inside a frame.

use fanfare_hub::{ids::JobNumber, jobs::ledger::SettledSets, ports::StoreError};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::core::unavailable;
use crate::record::{corrupt, open, open_value, seal, seal_value};

const TARGETS_V1: u8 = 1;
const CHECKPOINT_V1: u8 = 1;

/// Keeps one record of a target set.
pub(super) fn add_targets(
    db: &Connection,
    number: JobNumber,
    targets: &RoaringBitmap,
) -> Result<(), StoreError> {
    let Some(first) = targets.min() else {
        return Ok(());
    };
    let record = pack_targets(targets);
    // The same record may come twice, when the result of the first try was lost.
    db.prepare_cached("REPLACE INTO job_targets (number, chunk, record) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![number.0, first >> 16, record]))
        .map(drop)
        .map_err(unavailable)
}

/// A job's whole target set.
pub(super) fn load_targets(
    db: &Connection,
    number: JobNumber,
) -> Result<RoaringBitmap, StoreError> {
    let mut select = db
        .prepare_cached("SELECT record FROM job_targets WHERE number = ?1 ORDER BY chunk")
        .map_err(unavailable)?;
    let mut rows = select.query([number.0]).map_err(unavailable)?;
    let mut targets = RoaringBitmap::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let record: Vec<u8> = row.get(0).map_err(unavailable)?;
        targets |= unpack_targets(&record)?;
    }
    Ok(targets)
}

fn pack_targets(targets: &RoaringBitmap) -> Vec<u8> {
    seal(TARGETS_V1, &pack_set(targets))
}

fn unpack_targets(record: &[u8]) -> Result<RoaringBitmap, StoreError> {
    match open("target set", record)? {
        (TARGETS_V1, content) => unpack_set(content),
        _ => Err(corrupt(
            "target set",
            "has a version this program does not know",
        )),
    }
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    succeeded: Vec<u8>,
    failed: Vec<u8>,
    canceled: Vec<u8>,
}

fn pack_checkpoint(sets: &SettledSets) -> Vec<u8> {
    let checkpoint = Checkpoint {
        succeeded: pack_set(&sets.succeeded),
        failed: pack_set(&sets.failed),
        canceled: pack_set(&sets.canceled),
    };
    seal_value(CHECKPOINT_V1, &checkpoint)
}

fn unpack_checkpoint(record: &[u8]) -> Result<SettledSets, StoreError> {
    let packed: Checkpoint = open_value("checkpoint", CHECKPOINT_V1, record)?;
    Ok(SettledSets {
        succeeded: unpack_set(&packed.succeeded)?,
        failed: unpack_set(&packed.failed)?,
        canceled: unpack_set(&packed.canceled)?,
    })
}

/// Keeps the settled sets as of the segment `sequence`.
pub(super) fn write_checkpoint(
    db: &Connection,
    number: JobNumber,
    sequence: i64,
    sets: &SettledSets,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO job_checkpoint (number, sequence, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (number) DO UPDATE SET sequence = excluded.sequence, record = excluded.record",
    )
    .and_then(|mut put| put.execute(params![number.0, sequence, pack_checkpoint(sets)]))
    .map(drop)
    .map_err(unavailable)
}

/// The settled sets as of a segment; empty as of the first when there is no checkpoint yet.
pub(super) fn load_checkpoint(
    db: &Connection,
    number: JobNumber,
) -> Result<(i64, SettledSets), StoreError> {
    let row = db
        .prepare_cached("SELECT sequence, record FROM job_checkpoint WHERE number = ?1")
        .and_then(|mut select| {
            select
                .query_row([number.0], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
                })
                .optional()
        })
        .map_err(unavailable)?;
    let Some((sequence, record)) = row else {
        return Ok((0, SettledSets::default()));
    };
    Ok((sequence, unpack_checkpoint(&record)?))
}

fn pack_set(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(set.serialized_size());
    set.serialize_into(&mut bytes)
        .expect("a vector takes every byte");
    bytes
}

fn unpack_set(bytes: &[u8]) -> Result<RoaringBitmap, StoreError> {
    RoaringBitmap::deserialize_from(bytes).map_err(|_| corrupt("set", "cannot be decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &[u8] = include_bytes!("../../tests/golden/job-targets-v1.bin");
    const CHECKPOINT: &[u8] = include_bytes!("../../tests/golden/job-checkpoint-v1.bin");

    /// Scattered ordinals, half of a record, and a run: each of roaring's three ways.
    fn golden_targets() -> RoaringBitmap {
        let mut targets: RoaringBitmap = [65_536, 65_540, 131_071].into_iter().collect();
        targets.extend((70_000..90_000).step_by(2));
        targets.insert_range(100_000..120_000);
        targets
    }

    fn golden_sets() -> SettledSets {
        SettledSets {
            succeeded: golden_targets(),
            failed: [3, 4_000_000_000].into_iter().collect(),
            canceled: RoaringBitmap::new(),
        }
    }

    #[test]
    fn version_1_loads() {
        assert_eq!(unpack_targets(TARGETS).unwrap(), golden_targets());
        assert_eq!(unpack_checkpoint(CHECKPOINT).unwrap(), golden_sets());
    }

    #[test]
    fn version_1_is_what_is_written() {
        assert!(pack_targets(&golden_targets()) == TARGETS);
        assert!(pack_checkpoint(&golden_sets()) == CHECKPOINT);
    }
}
