//! Journals of jobs: what a commit records, and the accounts that guard it.
//!
//! The writer keeps the [`Ledger`] of every running job it was asked about, and records only moves the
//! ledger allows: exactly one outcome a device, whatever a caller says. Losing the cache loses nothing; it
//! is read again from the target set, the last checkpoint and the segments since.
//!
//! Reading rows is [`super::device_jobs`]; keeping segments few is [`super::merge`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fanfare_hub::{
    ids::{CallId, JobNumber, Ordinal},
    jobs::{
        job::Job,
        ledger::{InFlight, Ledger, Outcome, Rest, Settled, SettledSets, Standing},
    },
    ports::{
        StoreError,
        store::{JobCommitted, JobRecords},
    },
    time::Timestamp,
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

pub(super) use super::device_jobs::scan_device_jobs;
use super::{
    core::{Writer, unavailable},
    jobs::{JobKey, finish_job, load_job, write_progress},
    merge::{self, Merge},
    segment::{
        self, BYTES_MAX, ENTRIES_MAX, INLINE_BYTES_MAX, Packed, pack_calls, pack_payload,
        pack_settled, unpack_calls, unpack_settled,
    },
};
use crate::record::{corrupt, open_value, seal_value};

const TARGETS_V1: u8 = 1;
const CHECKPOINT_V1: u8 = 1;
/// Commits of one job between two checkpoints of its sets.
const CHECKPOINT_COMMITS: u32 = 128;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Calls about to leave.
    Dispatched = 0,
    /// Calls that never left.
    Withdrawn = 1,
    /// Outcomes.
    Settled = 2,
}

impl Kind {
    fn from_column(value: u8) -> Result<Self, StoreError> {
        match value {
            0 => Ok(Self::Dispatched),
            1 => Ok(Self::Withdrawn),
            2 => Ok(Self::Settled),
            _ => Err(corrupt("segment", "is of an unknown kind")),
        }
    }
}

/// A segment without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: i64,
    pub(super) kind: Kind,
    pub(super) level: u8,
    pub(super) first: Ordinal,
    pub(super) last: Ordinal,
    pub(super) entries: u32,
    pub(super) bytes: u32,
}

/// The running jobs that the writer knows by heart.
#[derive(Default)]
pub(crate) struct RunningJobs {
    jobs: HashMap<JobNumber, RunningJob>,
    /// Jobs whose segments changed since maintenance last looked at them.
    touched: BTreeSet<JobNumber>,
}

/// One job as the writer knows it. The condition's text is left out.
pub(super) struct RunningJob {
    pub(super) job: Job,
    pub(super) ledger: Ledger,
    pub(super) heads: Vec<Head>,
    commits_since_checkpoint: u32,
}

/// Something to do to a journal in a transaction of its own.
pub(crate) enum MaintenanceStep {
    /// Write fewer segments.
    Merge(JobNumber, Merge),
    /// Write the sets down.
    Checkpoint(JobNumber),
}

impl RunningJobs {
    /// The next step of maintenance that is due. See [`super::merge::plan`] for `idle`.
    pub(crate) fn next_step(&mut self, idle: bool) -> Option<MaintenanceStep> {
        let numbers: Vec<JobNumber> = self.touched.iter().copied().collect();
        for number in numbers {
            let Some(running) = self.jobs.get(&number) else {
                self.touched.remove(&number);
                continue;
            };
            if running.commits_since_checkpoint >= CHECKPOINT_COMMITS && running.job.is_running() {
                return Some(MaintenanceStep::Checkpoint(number));
            }
            if let Some(merge) = merge::plan(&running.heads, running.job.is_ended(), idle) {
                return Some(MaintenanceStep::Merge(number, merge));
            }
            let waits_for_idle = !idle && merge::is_worth_finishing(&running.heads);
            if running.job.is_ended() && waits_for_idle {
                continue;
            }
            if running.job.is_ended() {
                self.jobs.remove(&number);
            }
            self.touched.remove(&number);
        }
        None
    }

    pub(super) fn insert(&mut self, number: JobNumber, running: RunningJob) {
        self.jobs.insert(number, running);
    }

    pub(super) fn get_mut(&mut self, number: JobNumber) -> Option<&mut RunningJob> {
        self.jobs.get_mut(&number)
    }

    pub(super) fn touch(&mut self, number: JobNumber) {
        self.touched.insert(number);
    }

    /// Forgets a job that is gone.
    pub(super) fn forget(&mut self, number: JobNumber) {
        self.jobs.remove(&number);
        self.touched.remove(&number);
    }
}

/// The writer's account of a job that is running; `None` when it is not (any more).
pub(super) fn running<'w>(
    writer: &'w mut Writer<'_>,
    number: JobNumber,
) -> Result<Option<&'w mut RunningJob>, StoreError> {
    if writer.running.get_mut(number).is_none() {
        let Some(job) = load_job(writer.db, JobKey::Number(number), false)? else {
            return Ok(None);
        };
        if !job.job.is_running() {
            return Ok(None);
        }
        let loaded = load(writer.db, job.job, job.rest)?;
        writer.running.insert(number, loaded);
    }
    Ok(writer
        .running
        .get_mut(number)
        .filter(|running| running.job.is_running()))
}

/// Puts a job's account together from what is stored.
pub(super) fn load(
    db: &Connection,
    job: Job,
    rest: Option<Rest>,
) -> Result<RunningJob, StoreError> {
    let number = job.number;
    let targets = load_targets(db, number)?;
    let (sequence, mut sets) = load_checkpoint(db, number)?;
    let heads = load_heads(db, number)?;
    let mut calls: BTreeMap<Ordinal, InFlight> = BTreeMap::new();
    for head in &heads {
        match head.kind {
            Kind::Settled if head.sequence <= sequence => {}
            Kind::Settled => {
                for entry in unpack_settled(&content(db, head.sequence)?)? {
                    sets.insert(entry.settled.ordinal, entry.settled.outcome.verdict());
                }
            }
            Kind::Dispatched => calls.extend(unpack_calls(&content(db, head.sequence)?)?),
            Kind::Withdrawn => {
                for (ordinal, withdrawn) in unpack_calls(&content(db, head.sequence)?)? {
                    if calls
                        .get(&ordinal)
                        .is_some_and(|flight| flight.call == withdrawn.call)
                    {
                        calls.remove(&ordinal);
                    }
                }
            }
        }
    }
    calls.retain(|ordinal, _| !sets.contains(*ordinal));
    let mut ledger = Ledger::restored(targets, sets, None);
    for (ordinal, call) in calls {
        let dispatched = ledger.dispatch(ordinal, call);
        dispatched.map_err(|_| corrupt("journal", "dispatches a device outside its targets"))?;
    }
    if let Some(rest) = rest {
        ledger.close(rest);
    }
    Ok(RunningJob {
        job,
        ledger,
        heads,
        commits_since_checkpoint: 0,
    })
}

/// Records what one job's driver brings; ends the job with its last device job.
pub(super) fn record(
    writer: &mut Writer<'_>,
    records: &JobRecords,
    at: Timestamp,
) -> Result<JobCommitted, StoreError> {
    let number = records.job;
    let all = || {
        records
            .dispatched
            .iter()
            .map(|(ordinal, _)| *ordinal)
            .collect()
    };
    let Some(running) = running(writer, number)? else {
        let ended = load_job(writer.db, JobKey::Number(number), false)?;
        let progress = ended
            .and_then(|loaded| loaded.job.progress)
            .unwrap_or_default();
        return Ok(JobCommitted {
            job: number,
            refused: all(),
            progress,
            ended: true,
        });
    };
    let withdrawn = withdraw(&mut running.ledger, &records.withdrawn);
    let (dispatched, refused) = match running.job.may_begin() {
        true => dispatch(&mut running.ledger, &records.dispatched, at),
        false => (Vec::new(), all()),
    };
    let settled = settle(&mut running.ledger, &records.settled);
    write_calls(writer, number, Kind::Withdrawn, withdrawn)?;
    write_calls(writer, number, Kind::Dispatched, dispatched)?;
    write_settled(writer, number, settled)?;
    let (progress, ended) = conclude(writer, number, at)?;
    Ok(JobCommitted {
        job: number,
        refused,
        progress,
        ended,
    })
}

fn withdraw(ledger: &mut Ledger, calls: &[(Ordinal, CallId)]) -> Vec<(Ordinal, InFlight)> {
    let flight = |call| InFlight {
        call,
        dispatched: Timestamp(0),
    };
    calls
        .iter()
        .filter(|(ordinal, call)| ledger.withdraw(*ordinal, *call).is_ok())
        .map(|(ordinal, call)| (*ordinal, flight(*call)))
        .collect()
}

fn dispatch(
    ledger: &mut Ledger,
    calls: &[(Ordinal, CallId)],
    at: Timestamp,
) -> (Vec<(Ordinal, InFlight)>, Vec<Ordinal>) {
    let (mut dispatched, mut refused) = (Vec::new(), Vec::new());
    for (ordinal, call) in calls.iter().copied() {
        let flight = InFlight {
            call,
            dispatched: at,
        };
        match ledger.dispatch(ordinal, flight) {
            Ok(()) => dispatched.push((ordinal, flight)),
            // The same batch again, after a commit whose result was lost.
            Err(illegal) if is_the_same(illegal.from, call) => {}
            Err(_) => refused.push(ordinal),
        }
    }
    (dispatched, refused)
}

fn is_the_same(standing: Standing, call: CallId) -> bool {
    matches!(standing, Standing::InFlight(flight) if flight.call == call)
}

fn settle(ledger: &mut Ledger, settled: &[Settled]) -> Vec<Settled> {
    let legal = |entry: &&Settled| {
        ledger
            .settle(entry.ordinal, entry.outcome.verdict())
            .is_ok()
    };
    settled.iter().filter(legal).cloned().collect()
}

/// Settles devices outside a driver's batch (a twin page, the end of a window).
pub(super) fn settle_now(
    writer: &mut Writer<'_>,
    number: JobNumber,
    settled: &[Settled],
) -> Result<(), StoreError> {
    let Some(running) = running(writer, number)? else {
        return Ok(());
    };
    let settled = settle(&mut running.ledger, settled);
    write_settled(writer, number, settled)
}

/// Brings the job's row up to date, and ends the job if every device has its outcome.
pub(super) fn conclude(
    writer: &mut Writer<'_>,
    number: JobNumber,
    at: Timestamp,
) -> Result<(fanfare_hub::jobs::job::Progress, bool), StoreError> {
    let db = writer.db;
    let Some(running) = running(writer, number)? else {
        return Ok((Default::default(), true));
    };
    running.commits_since_checkpoint += 1;
    let progress = running.ledger.progress();
    running.job.progress = Some(progress);
    let ended = running.ledger.is_done();
    if ended {
        running
            .job
            .finish(at)
            .map_err(|_| corrupt("job", "is done but not running"))?;
        running.heads.retain(|head| head.kind == Kind::Settled);
        finish_job(db, &running.job)?;
    }
    write_progress(db, number, &progress)?;
    writer.running.touch(number);
    Ok((progress, ended))
}

fn write_calls(
    writer: &mut Writer<'_>,
    number: JobNumber,
    kind: Kind,
    mut calls: Vec<(Ordinal, InFlight)>,
) -> Result<(), StoreError> {
    calls.sort_unstable_by_key(|(ordinal, _)| *ordinal);
    for group in calls.chunks(ENTRIES_MAX) {
        let (first, last) = (group[0].0, group[group.len() - 1].0);
        let record = pack_calls(group);
        insert(
            writer,
            number,
            NewSegment {
                kind,
                level: 0,
                first,
                last,
                entries: group.len(),
                record,
            },
        )?;
    }
    Ok(())
}

fn write_settled(
    writer: &mut Writer<'_>,
    number: JobNumber,
    mut settled: Vec<Settled>,
) -> Result<(), StoreError> {
    settled.sort_unstable_by_key(|entry| entry.ordinal);
    let mut packed = Vec::with_capacity(settled.len());
    for entry in settled {
        packed.push(put_apart(writer.db, number, entry)?);
    }
    for group in segment::split(packed) {
        write_group(writer, number, birth_level(&group), &group)?;
    }
    Ok(())
}

/// A segment that is nearly full as it is needs no company.
fn birth_level(group: &[Packed]) -> u8 {
    u8::from(group.len() >= ENTRIES_MAX / 2)
}

/// Writes a group of sorted outcomes that fits one segment.
pub(super) fn write_group(
    writer: &mut Writer<'_>,
    number: JobNumber,
    level: u8,
    group: &[Packed],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return Ok(());
    };
    let segment = NewSegment {
        kind: Kind::Settled,
        level,
        first: first.settled.ordinal,
        last: last.settled.ordinal,
        entries: group.len(),
        record: pack_settled(group),
    };
    insert(writer, number, segment)
}

fn put_apart(db: &Connection, number: JobNumber, mut entry: Settled) -> Result<Packed, StoreError> {
    let Outcome::Answered { payload, .. } = &mut entry.outcome else {
        return Ok(Packed {
            settled: entry,
            is_apart: false,
        });
    };
    let Some(large) = payload.take_if(|text| text.as_str().len() > INLINE_BYTES_MAX) else {
        return Ok(Packed {
            settled: entry,
            is_apart: false,
        });
    };
    db.prepare_cached("INSERT INTO job_payload (number, ordinal, record) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| {
            insert.execute(params![number.0, entry.ordinal, pack_payload(&large)])
        })
        .map_err(unavailable)?;
    Ok(Packed {
        settled: entry,
        is_apart: true,
    })
}

struct NewSegment {
    kind: Kind,
    level: u8,
    first: Ordinal,
    last: Ordinal,
    entries: usize,
    record: Vec<u8>,
}

fn insert(
    writer: &mut Writer<'_>,
    number: JobNumber,
    segment: NewSegment,
) -> Result<(), StoreError> {
    let NewSegment {
        kind,
        level,
        first,
        last,
        entries,
        record,
    } = segment;
    debug_assert!(
        record.len() <= BYTES_MAX + 64 * 1024,
        "segments are split before"
    );
    let db = writer.db;
    db.prepare_cached(
        "INSERT INTO job_segment (number, term, kind, level, first, last, entries, bytes, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            number.0,
            writer.term.0,
            kind as u8,
            level,
            first,
            last,
            entries as u32,
            record.len() as u32,
            record
        ])
    })
    .map_err(unavailable)?;
    let head = Head {
        sequence: db.last_insert_rowid(),
        kind,
        level,
        first,
        last,
        entries: entries as u32,
        bytes: record.len() as u32,
    };
    if let Some(running) = writer.running.get_mut(number) {
        running.heads.push(head);
    }
    Ok(())
}

/// Does one step of maintenance.
pub(crate) fn maintain(writer: &mut Writer<'_>, step: &MaintenanceStep) -> Result<(), StoreError> {
    match step {
        MaintenanceStep::Checkpoint(number) => checkpoint(writer, *number),
        MaintenanceStep::Merge(number, Merge::Calls { sequences }) => {
            merge_calls(writer, *number, sequences)
        }
        MaintenanceStep::Merge(number, Merge::Settled { sequences, level }) => {
            merge_settled(writer, *number, sequences, *level)
        }
    }
}

/// What is in flight is few: it is written anew, and everything it replaces goes.
fn merge_calls(
    writer: &mut Writer<'_>,
    number: JobNumber,
    sequences: &[i64],
) -> Result<(), StoreError> {
    let Some(running) = writer.running.get_mut(number) else {
        return Ok(());
    };
    let calls = running
        .ledger
        .in_flight()
        .iter()
        .map(|(ordinal, call)| (*ordinal, *call))
        .collect();
    delete_segments(writer, number, sequences)?;
    write_calls(writer, number, Kind::Dispatched, calls)
}

fn merge_settled(
    writer: &mut Writer<'_>,
    number: JobNumber,
    sequences: &[i64],
    level: u8,
) -> Result<(), StoreError> {
    let mut entries = Vec::new();
    for sequence in sequences {
        entries.extend(unpack_settled(&content(writer.db, *sequence)?)?);
    }
    entries.sort_unstable_by_key(|entry| entry.settled.ordinal);
    delete_segments(writer, number, sequences)?;
    for group in segment::split(entries) {
        write_group(writer, number, level, &group)?;
    }
    Ok(())
}

fn delete_segments(
    writer: &mut Writer<'_>,
    number: JobNumber,
    sequences: &[i64],
) -> Result<(), StoreError> {
    let mut delete = writer
        .db
        .prepare_cached("DELETE FROM job_segment WHERE sequence = ?1")
        .map_err(unavailable)?;
    for sequence in sequences {
        delete.execute([sequence]).map_err(unavailable)?;
    }
    let gone: HashSet<i64> = sequences.iter().copied().collect();
    if let Some(running) = writer.running.get_mut(number) {
        running.heads.retain(|head| !gone.contains(&head.sequence));
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    succeeded: Vec<u8>,
    failed: Vec<u8>,
    canceled: Vec<u8>,
}

fn checkpoint(writer: &mut Writer<'_>, number: JobNumber) -> Result<(), StoreError> {
    let db = writer.db;
    let Some(running) = writer.running.get_mut(number) else {
        return Ok(());
    };
    let sequence = running
        .heads
        .iter()
        .map(|head| head.sequence)
        .max()
        .unwrap_or(0);
    let sets = running.ledger.settled_sets();
    let record = Checkpoint {
        succeeded: pack_set(&sets.succeeded),
        failed: pack_set(&sets.failed),
        canceled: pack_set(&sets.canceled),
    };
    db.prepare_cached(
        "INSERT INTO job_checkpoint (number, sequence, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (number) DO UPDATE SET sequence = excluded.sequence, record = excluded.record",
    )
    .and_then(|mut put| {
        put.execute(params![
            number.0,
            sequence,
            seal_value(CHECKPOINT_V1, &record)
        ])
    })
    .map_err(unavailable)?;
    running.commits_since_checkpoint = 0;
    Ok(())
}

fn load_checkpoint(db: &Connection, number: JobNumber) -> Result<(i64, SettledSets), StoreError> {
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
    let packed: Checkpoint = open_value("checkpoint", CHECKPOINT_V1, &record)?;
    let sets = SettledSets {
        succeeded: unpack_set(&packed.succeeded)?,
        failed: unpack_set(&packed.failed)?,
        canceled: unpack_set(&packed.canceled)?,
    };
    Ok((sequence, sets))
}

fn load_heads(db: &Connection, number: JobNumber) -> Result<Vec<Head>, StoreError> {
    let mut select = db
        .prepare_cached(
            "SELECT sequence, kind, level, first, last, entries, bytes
             FROM job_segment WHERE number = ?1 ORDER BY sequence",
        )
        .map_err(unavailable)?;
    let mut rows = select.query([number.0]).map_err(unavailable)?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        heads.push(Head {
            sequence: row.get(0).map_err(unavailable)?,
            kind: Kind::from_column(row.get(1).map_err(unavailable)?)?,
            level: row.get(2).map_err(unavailable)?,
            first: row.get(3).map_err(unavailable)?,
            last: row.get(4).map_err(unavailable)?,
            entries: row.get(5).map_err(unavailable)?,
            bytes: row.get(6).map_err(unavailable)?,
        });
    }
    Ok(heads)
}

/// A segment's content.
pub(super) fn content(db: &Connection, sequence: i64) -> Result<Vec<u8>, StoreError> {
    db.prepare_cached("SELECT record FROM job_segment WHERE sequence = ?1")
        .and_then(|mut select| select.query_row([sequence], |row| row.get(0)))
        .map_err(unavailable)
}

/// Keeps one record of a target set.
pub(super) fn add_targets(
    db: &Connection,
    number: JobNumber,
    targets: &RoaringBitmap,
) -> Result<(), StoreError> {
    let Some(first) = targets.min() else {
        return Ok(());
    };
    let record = crate::record::seal(TARGETS_V1, &pack_set(targets));
    db.prepare_cached("INSERT INTO job_targets (number, chunk, record) VALUES (?1, ?2, ?3)")
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
        match crate::record::open("target set", &record)? {
            (TARGETS_V1, content) => targets |= unpack_set(content)?,
            _ => {
                return Err(corrupt(
                    "target set",
                    "has a version this program does not know",
                ));
            }
        }
    }
    Ok(targets)
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
