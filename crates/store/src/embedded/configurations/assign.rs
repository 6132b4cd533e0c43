//! Brings twins to what configurations want, inside the writer.

use std::collections::BTreeMap;

use fanfare_hub::{
    configurations::{Applied, assignment::patch_by_hand, content::Settings},
    ids::{IdentityId, IdentityKey, Space},
    ports::{
        configurations::{AssignmentItem, AssignmentsApplied, ContentRefused, TwinWritten},
        store::StoreError,
    },
    time::Timestamp,
    twin::document::{Object, TwinDocument, TwinError, TwinPatch},
};
use rusqlite::{Connection, OptionalExtension};

use super::{applied_to, record::pack_applied};
use crate::embedded::{
    core::{Writer, unavailable},
    rows::{identity_key, module_column, row_key},
    twins::{
        PatchedRow, patch_row,
        record::{Sections, parse_section},
    },
};

const SELECT_TWIN: &str = "SELECT record FROM twin WHERE key = ?1";
const SELECT_KEY: &str = "SELECT key FROM identity WHERE device_id = ?1 AND module_id = ?2";
const PUT_APPLIED: &str = "INSERT INTO configuration_applied (key, record) VALUES (?1, ?2)
     ON CONFLICT (key) DO UPDATE SET record = excluded.record";
const DELETE_APPLIED: &str = "DELETE FROM configuration_applied WHERE key = ?1";
const SELECT_STAMP: &str = "SELECT stamp FROM configuration_dirty WHERE key = ?1";
const SET_STAMP: &str = "UPDATE configuration_dirty SET stamp = ?2 WHERE key = ?1";
const DELETE_STAMP: &str = "DELETE FROM configuration_dirty WHERE key = ?1";

/// Gives each identity what it should have, and remembers it.
pub(super) fn assign(
    writer: &Writer<'_>,
    space: Space,
    items: &[AssignmentItem],
    at: Timestamp,
) -> Result<AssignmentsApplied, StoreError> {
    let mut done = AssignmentsApplied::default();
    for item in items {
        let key = IdentityKey {
            space,
            ordinal: item.ordinal,
        };
        match assign_one(writer, key, item, at)? {
            One::Done => {}
            One::Written(written) => done.written.push(*written),
            One::Refused(error) => done.refused.push((item.ordinal, error)),
        }
    }
    Ok(done)
}

enum One {
    Done,
    Written(Box<TwinWritten>),
    Refused(TwinError),
}

fn assign_one(
    writer: &Writer<'_>,
    key: IdentityKey,
    item: &AssignmentItem,
    at: Timestamp,
) -> Result<One, StoreError> {
    let db = writer.db;
    let Some(desired) = desired_of(db, row_key(key))? else {
        // It was deleted meanwhile, and its record with it.
        return Ok(One::Done);
    };
    let before = applied_to(db, row_key(key))?.unwrap_or_default();
    let outcome = match item.wanted.patch(&before.paths, &desired) {
        Ok(None) => One::Done,
        Ok(Some(patch)) => write_twin(writer, key, patch, at)?,
        Err(error) => One::Refused(error),
    };
    let after = match &outcome {
        One::Refused(_) => Some(item.wanted.refused(before.clone())),
        One::Done | One::Written(_) => item.wanted.applied(),
    };
    remember(db, row_key(key), &before, after.as_ref())?;
    Ok(outcome)
}

/// Patches a twin and leaves no mark: what configurations write themselves is looked at by the next whole
/// pass only, or one that undoes its own condition would never rest.
fn write_twin(
    writer: &Writer<'_>,
    key: IdentityKey,
    patch: TwinPatch,
    at: Timestamp,
) -> Result<One, StoreError> {
    let stamp = stamp_of(writer.db, row_key(key))?;
    let outcome = match patch_row(writer, row_key(key), &patch, at)? {
        PatchedRow::Absent | PatchedRow::Patched(None) => One::Done,
        PatchedRow::Refused(error) => One::Refused(error),
        PatchedRow::Patched(Some(change)) => {
            One::Written(Box::new(TwinWritten { key, patch, change }))
        }
    };
    restore_stamp(writer.db, row_key(key), stamp)?;
    Ok(outcome)
}

fn remember(
    db: &Connection,
    key: i64,
    before: &Applied,
    after: Option<&Applied>,
) -> Result<(), StoreError> {
    let done = match after {
        Some(after) if after == before => Ok(0),
        Some(after) => db
            .prepare_cached(PUT_APPLIED)
            .and_then(|mut put| put.execute((key, pack_applied(after)))),
        None => db
            .prepare_cached(DELETE_APPLIED)
            .and_then(|mut delete| delete.execute([key])),
    };
    done.map(drop).map_err(unavailable)
}

/// Writes a content to a device and its modules by hand. Everything is found and checked before anything
/// is written.
pub(super) fn apply_content(
    writer: &Writer<'_>,
    parts: &[(IdentityId, Settings)],
    at: Timestamp,
) -> Result<Result<Vec<TwinWritten>, ContentRefused>, StoreError> {
    let mut patches = BTreeMap::new();
    for (id, settings) in parts {
        let Some(key) = key_of(writer.db, id)? else {
            return Ok(Err(ContentRefused::Absent(id.clone())));
        };
        let desired = desired_of(writer.db, key)?.unwrap_or_default();
        match checked(settings, desired, at) {
            Ok(None) => {}
            Ok(Some(patch)) => {
                patches.insert(key, patch);
            }
            Err(source) => {
                let id = id.clone();
                return Ok(Err(ContentRefused::Twin { id, source }));
            }
        }
    }
    let mut written = Vec::new();
    for (key, patch) in patches {
        if let PatchedRow::Patched(Some(change)) = patch_row(writer, key, &patch, at)? {
            written.push(TwinWritten {
                key: identity_key(key),
                patch,
                change,
            });
        }
    }
    Ok(Ok(written))
}

/// The patch, tried on a copy.
fn checked(
    settings: &Settings,
    desired: Object,
    at: Timestamp,
) -> Result<Option<TwinPatch>, TwinError> {
    let patch = patch_by_hand(settings, &desired)?;
    if let Some(patch) = &patch {
        let mut copy = TwinDocument::new(at);
        copy.desired.values = desired;
        copy.patch(patch, at)?;
    }
    Ok(patch)
}

fn key_of(db: &Connection, id: &IdentityId) -> Result<Option<i64>, StoreError> {
    let mut select = db.prepare_cached(SELECT_KEY).map_err(unavailable)?;
    let names = (id.device.as_str(), module_column(id));
    let key = select.query_row(names, |row| row.get(0)).optional();
    key.map_err(unavailable)
}

fn desired_of(db: &Connection, key: i64) -> Result<Option<Object>, StoreError> {
    let mut select = db.prepare_cached(SELECT_TWIN).map_err(unavailable)?;
    let record: Option<Vec<u8>> = select
        .query_row([key], |row| row.get(0))
        .optional()
        .map_err(unavailable)?;
    record
        .map(|record| parse_section(Sections::open(&record)?.desired))
        .transpose()
}

fn stamp_of(db: &Connection, key: i64) -> Result<Option<i64>, StoreError> {
    let mut select = db.prepare_cached(SELECT_STAMP).map_err(unavailable)?;
    let stamp = select.query_row([key], |row| row.get(0)).optional();
    stamp.map_err(unavailable)
}

fn restore_stamp(db: &Connection, key: i64, stamp: Option<i64>) -> Result<(), StoreError> {
    let done = match stamp {
        Some(stamp) => db
            .prepare_cached(SET_STAMP)
            .and_then(|mut set| set.execute((key, stamp))),
        None => db
            .prepare_cached(DELETE_STAMP)
            .and_then(|mut delete| delete.execute([key])),
    };
    done.map(drop).map_err(unavailable)
}
