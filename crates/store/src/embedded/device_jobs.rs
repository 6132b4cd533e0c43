//! Shows the rows of `devices.jobs`: job after job in order of acceptance, device after device in order of
//! ordinal, running or ended, merged or not.
//!
//! A row's state is put together from the target set, the segments that cover its ordinal, and the calls in
//! flight. A reader goes through a job in stretches, and opens each segment once.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::Arc,
};

use fanfare_hub::{
    ids::{DeviceId, IdentityId, IdentityKey, JobNumber, Ordinal, Space},
    jobs::{
        job::Job,
        ledger::{InFlight, Outcome, Rest, RestOutcome},
    },
    ports::{
        StoreError,
        store::{DeviceJobRow, DeviceJobScan, DeviceJobState, DeviceJobVisitor},
    },
    time::Timestamp,
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    core::unavailable,
    jobs::{ConditionsUpTo, JobKey, LoadedJob, load_job, number_column},
    journal::content,
    ordinals::load_targets,
    rows::{identity_key, name_of, row_key},
    segment::{Packed, unpack_calls, unpack_payload, unpack_settled},
};
use crate::record::corrupt;

/// Rows put together at once.
const STRETCH: usize = 1_000;

/// Shows rows until the visitor breaks.
pub(super) fn scan_device_jobs(
    db: &Connection,
    scan: DeviceJobScan,
    mut visit: DeviceJobVisitor,
) -> Result<(), StoreError> {
    let devices = scan
        .devices
        .as_deref()
        .map(|ids| keys_of(db, ids))
        .transpose()?;
    let after = scan.after;
    for number in job_numbers(db, &scan)? {
        let Some(loaded) = load_job(db, JobKey::Number(number), ConditionsUpTo::NONE)? else {
            continue;
        };
        if loaded.job.sealed().is_none() {
            continue;
        }
        let from = match after {
            Some((job, ordinal)) if job == number => ordinal.checked_add(1),
            _ => Some(0),
        };
        let Some(from) = from else { continue };
        let space = loaded.job.plan.space;
        let mut targets = load_targets(db, number)?;
        if let Some(devices) = &devices {
            targets &= &devices[space as usize];
        }
        targets.remove_range(..from);
        if JobScan::new(db, loaded)?
            .show(&targets, &mut visit)?
            .is_break()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// The jobs that a scan shows, in order.
fn job_numbers(db: &Connection, scan: &DeviceJobScan) -> Result<Vec<JobNumber>, StoreError> {
    let from = scan.after.map_or(0, |(job, _)| number_column(job));
    let Some(ids) = &scan.jobs else {
        return db
            .prepare_cached(
                "SELECT number FROM job WHERE number >= ?1 AND sealed IS NOT NULL ORDER BY number",
            )
            .and_then(|mut select| {
                select
                    .query_map([from], |row| row.get(0).map(JobNumber))?
                    .collect()
            })
            .map_err(unavailable);
    };
    let mut numbers = Vec::with_capacity(ids.len());
    let mut select = db
        .prepare_cached("SELECT number FROM job WHERE id = ?1")
        .map_err(unavailable)?;
    for id in ids {
        let number: Option<u64> = select
            .query_row([id.as_str()], |row| row.get(0))
            .optional()
            .map_err(unavailable)?;
        let number = number.map(JobNumber);
        numbers.extend(number.filter(|number| number_column(*number) >= from));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Every ordinal that these names have, or had before a deletion, by space.
fn keys_of(db: &Connection, devices: &[DeviceId]) -> Result<[RoaringBitmap; 2], StoreError> {
    let mut keys = <[RoaringBitmap; 2]>::default();
    for sql in [
        "SELECT key FROM identity WHERE device_id = ?1",
        "SELECT key FROM tombstone WHERE device_id = ?1",
    ] {
        let mut select = db.prepare_cached(sql).map_err(unavailable)?;
        for device in devices {
            let mut rows = select.query([device.as_str()]).map_err(unavailable)?;
            while let Some(row) = rows.next().map_err(unavailable)? {
                let key = identity_key(row.get(0).map_err(unavailable)?);
                keys[key.space as usize].insert(key.ordinal);
            }
        }
    }
    Ok(keys)
}

/// One job being shown.
struct JobScan<'a> {
    db: &'a Connection,
    job: Arc<Job>,
    sealed: Timestamp,
    rest: Option<Rest>,
    calls: HashMap<Ordinal, InFlight>,
    /// Segments under the present stretch, opened once.
    open: HashMap<i64, Vec<Packed>>,
}

impl<'a> JobScan<'a> {
    fn new(db: &'a Connection, loaded: LoadedJob) -> Result<Self, StoreError> {
        let number = loaded.job.number;
        let sealed = loaded.job.sealed().unwrap_or(loaded.job.created);
        let calls = match loaded.job.is_running() {
            true => calls_of(db, number)?,
            false => HashMap::new(),
        };
        let (job, rest) = (Arc::new(loaded.job), loaded.rest);
        Ok(Self {
            db,
            job,
            sealed,
            rest,
            calls,
            open: HashMap::new(),
        })
    }

    fn show(
        mut self,
        targets: &RoaringBitmap,
        visit: &mut DeviceJobVisitor,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut ordinals = targets.iter();
        loop {
            let stretch: Vec<Ordinal> = ordinals.by_ref().take(STRETCH).collect();
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
                return Ok(ControlFlow::Continue(()));
            };
            let settled = self.settled_between(*first, *last)?;
            for ordinal in stretch {
                let row = self.row(ordinal, settled.get(&ordinal))?;
                if visit(row).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    fn settled_between(
        &mut self,
        first: Ordinal,
        last: Ordinal,
    ) -> Result<BTreeMap<Ordinal, Packed>, StoreError> {
        let mut select = self
            .db
            .prepare_cached(
                "SELECT sequence FROM job_segment
                 WHERE number = ?1 AND kind = 2 AND last >= ?2 AND first <= ?3",
            )
            .map_err(unavailable)?;
        let sequences: Vec<i64> = select
            .query_map(params![self.job.number.0, first, last], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(unavailable)?;
        let mut still_open = HashMap::with_capacity(sequences.len());
        let mut settled = BTreeMap::new();
        for sequence in sequences {
            let entries = match self.open.remove(&sequence) {
                Some(entries) => entries,
                None => unpack_settled(&content(self.db, sequence)?)?,
            };
            let from = entries.partition_point(|entry| entry.settled.ordinal < first);
            let to = entries.partition_point(|entry| entry.settled.ordinal <= last);
            let covered = entries[from..to].iter().cloned();
            settled.extend(covered.map(|entry| (entry.settled.ordinal, entry)));
            still_open.insert(sequence, entries);
        }
        self.open = still_open;
        Ok(settled)
    }

    fn row(&self, ordinal: Ordinal, settled: Option<&Packed>) -> Result<DeviceJobRow, StoreError> {
        let (state, updated) = match (settled, self.calls.get(&ordinal), self.rest) {
            (Some(entry), ..) => (
                DeviceJobState::Ended(self.outcome(entry)?),
                entry.settled.at,
            ),
            (None, Some(call), _) => (DeviceJobState::Running, call.dispatched),
            (None, None, Some(rest)) => (DeviceJobState::Ended(rest_outcome(rest)), rest.at),
            (None, None, None) => (DeviceJobState::Pending, self.sealed),
        };
        let id = name(self.db, self.job.plan.space, ordinal)?;
        Ok(DeviceJobRow {
            job: self.job.clone(),
            ordinal,
            id,
            state,
            updated,
        })
    }

    fn outcome(&self, entry: &Packed) -> Result<Outcome, StoreError> {
        let mut outcome = entry.settled.outcome.clone();
        if let (true, Outcome::Answered { payload, .. }) = (entry.is_apart, &mut outcome) {
            let record: Vec<u8> = self
                .db
                .prepare_cached("SELECT record FROM job_payload WHERE number = ?1 AND ordinal = ?2")
                .and_then(|mut select| {
                    let key = params![self.job.number.0, entry.settled.ordinal];
                    select.query_row(key, |row| row.get(0))
                })
                .map_err(unavailable)?;
            *payload = Some(unpack_payload(&record)?);
        }
        Ok(outcome)
    }
}

fn rest_outcome(rest: Rest) -> Outcome {
    match rest.outcome {
        RestOutcome::Unreachable => Outcome::Unreachable,
        RestOutcome::Canceled => Outcome::Canceled,
    }
}

/// The calls in flight of a running job, also those already answered.
fn calls_of(db: &Connection, number: JobNumber) -> Result<HashMap<Ordinal, InFlight>, StoreError> {
    let mut select = db
        .prepare_cached(
            "SELECT kind, record FROM job_segment
             WHERE number = ?1 AND kind IN (0, 1) ORDER BY sequence",
        )
        .map_err(unavailable)?;
    let mut rows = select.query([number.0]).map_err(unavailable)?;
    let mut calls: HashMap<Ordinal, InFlight> = HashMap::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        let kind: u8 = row.get(0).map_err(unavailable)?;
        let record: Vec<u8> = row.get(1).map_err(unavailable)?;
        for (ordinal, flight) in unpack_calls(&record)? {
            if kind == 0 {
                calls.insert(ordinal, flight);
            } else if calls
                .get(&ordinal)
                .is_some_and(|dispatched| dispatched.call == flight.call)
            {
                calls.remove(&ordinal);
            }
        }
    }
    Ok(calls)
}

fn name(db: &Connection, space: Space, ordinal: Ordinal) -> Result<IdentityId, StoreError> {
    let key = row_key(IdentityKey { space, ordinal });
    for sql in [
        "SELECT device_id, module_id FROM identity WHERE key = ?1",
        "SELECT device_id, module_id FROM tombstone WHERE key = ?1",
    ] {
        let names: Option<(String, String)> = db
            .prepare_cached(sql)
            .and_then(|mut select| {
                select
                    .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(unavailable)?;
        if let Some((device, module)) = names {
            return name_of(&device, &module);
        }
    }
    Err(corrupt("device job", "names an identity that never was"))
}
