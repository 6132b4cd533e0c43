//! Journals of jobs: what a commit records, and the accounts that guard it.
//!
//! The writer keeps the [`Ledger`] of every running job it was asked about, and records only moves the
//! ledger allows: exactly one outcome a device, whatever a caller says. Losing the cache loses nothing; it
//! is read again from the target set, the last checkpoint and the segments since.
//!
//! Reading rows is [`super::device_jobs`]; keeping segments few is [`super::merge`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fanfare_hub::{
    ids::{CallId, JobNumber, Ordinal},
    jobs::{
        job::{Job, Progress},
        ledger::{InFlight, Ledger, Outcome, Rest, Settled, Standing},
    },
    ports::{
        StoreError,
        store::{JobCommitted, JobRecords},
    },
    time::Timestamp,
};
use rusqlite::{Connection, params};

pub(super) use super::device_jobs::scan_device_jobs;
use super::{
    core::{Writer, unavailable},
    jobs::{ConditionsUpTo, JobKey, finish_job, load_job, write_progress},
    merge::{Head, Heads, Kind, Merge},
    ordinals::{load_checkpoint, load_targets, write_checkpoint},
    segment::{
        self, BYTES_MAX, ENTRIES_MAX, INLINE_BYTES_MAX, Packed, pack_calls, pack_payload,
        pack_settled, unpack_calls, unpack_settled,
    },
};
use crate::record::corrupt;

/// Commits of one job between two checkpoints of its sets.
const CHECKPOINT_COMMITS: u32 = 128;

/// The running jobs that the writer knows by heart.
pub(crate) struct RunningJobs {
    jobs: HashMap<JobNumber, RunningJob>,
    /// Running jobs that changed since maintenance last looked at them.
    touched: BTreeSet<JobNumber>,
    /// Ended jobs whose merging is not finished.
    ended: BTreeMap<JobNumber, Heads>,
    checkpoint_commits: u32,
}

/// One job as the writer knows it. The condition's text is left out.
pub(super) struct RunningJob {
    pub(super) job: Job,
    pub(super) ledger: Ledger,
    heads: Heads,
    commits_since_checkpoint: u32,
    /// A segment turned out to be corrupt: merging would lose what is left of the journal.
    is_left_unmerged: bool,
}

/// Something to do to a journal in a transaction of its own.
pub(crate) enum MaintenanceStep {
    /// Write fewer segments.
    Merge(JobNumber, Merge),
    /// Write the sets down.
    Checkpoint(JobNumber),
}

impl Default for RunningJobs {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            touched: BTreeSet::new(),
            ended: BTreeMap::new(),
            checkpoint_commits: CHECKPOINT_COMMITS,
        }
    }
}

impl RunningJobs {
    /// Sets how many commits of a job lie between two checkpoints; tests make it small.
    pub(crate) fn checkpoint_every(&mut self, commits: u32) {
        self.checkpoint_commits = commits;
    }

    /// Forgets everything: the file is right, whatever was thought here.
    pub(crate) fn clear(&mut self) {
        self.jobs.clear();
        self.touched.clear();
        self.ended.clear();
    }

    /// The next step of maintenance that is due; when `idle`, also of journals that only become quicker
    /// to read by it.
    pub(crate) fn next_step(&mut self, idle: bool) -> Option<MaintenanceStep> {
        while let Some(number) = self.touched.first().copied() {
            if let Some(step) = self.due(number) {
                return Some(step);
            }
            self.touched.remove(&number);
        }
        while idle && let Some(mut ended) = self.ended.first_entry() {
            if let Some(merge) = ended.get_mut().finish() {
                return Some(MaintenanceStep::Merge(*ended.key(), merge));
            }
            ended.remove();
        }
        None
    }

    fn due(&mut self, number: JobNumber) -> Option<MaintenanceStep> {
        let running = self.jobs.get_mut(&number)?;
        if running.commits_since_checkpoint >= self.checkpoint_commits {
            return Some(MaintenanceStep::Checkpoint(number));
        }
        if running.is_left_unmerged {
            return None;
        }
        let in_flight = running.ledger.in_flight().len();
        let merge = running.heads.due(in_flight)?;
        Some(MaintenanceStep::Merge(number, merge))
    }

    /// Whether journals wait for a quiet moment.
    pub(crate) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    fn heads_mut(&mut self, number: JobNumber) -> Option<&mut Heads> {
        match self.jobs.get_mut(&number) {
            Some(running) => Some(&mut running.heads),
            None => self.ended.get_mut(&number),
        }
    }

    /// Lets go of a job that ended; its journal may still be merged.
    fn retire(&mut self, number: JobNumber) {
        self.touched.remove(&number);
        if let Some(RunningJob { mut heads, .. }) = self.jobs.remove(&number) {
            heads.remove_calls();
            if heads.is_worth_finishing() {
                self.ended.insert(number, heads);
            }
        }
    }

    /// Merges no more segments of a job.
    fn leave_unmerged(&mut self, number: JobNumber) {
        self.ended.remove(&number);
        if let Some(running) = self.jobs.get_mut(&number) {
            running.is_left_unmerged = true;
        }
    }

    /// Forgets a job that is gone.
    pub(super) fn forget(&mut self, number: JobNumber) {
        self.jobs.remove(&number);
        self.touched.remove(&number);
        self.ended.remove(&number);
    }
}

/// The writer's account of a job that is running; `None` when it is not (any more).
pub(super) fn running<'w>(
    writer: &'w mut Writer<'_>,
    number: JobNumber,
) -> Result<Option<&'w mut RunningJob>, StoreError> {
    if !writer.running.jobs.contains_key(&number) {
        let loaded = load_job(writer.db, JobKey::Number(number), ConditionsUpTo::NONE)?;
        let Some(loaded) = loaded.filter(|loaded| loaded.job.is_running()) else {
            return Ok(None);
        };
        let account = load(writer.db, loaded.job, loaded.rest)?;
        writer.running.jobs.insert(number, account);
    }
    Ok(writer.running.jobs.get_mut(&number))
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
    let in_order = load_heads(db, number)?;
    let mut calls: BTreeMap<Ordinal, InFlight> = BTreeMap::new();
    for head in &in_order {
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
    let mut heads = Heads::default();
    in_order.into_iter().for_each(|head| heads.push(head));
    Ok(RunningJob {
        job,
        ledger,
        heads,
        commits_since_checkpoint: 0,
        is_left_unmerged: false,
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
        let (progress, ended) = standing(writer, number)?;
        return Ok(JobCommitted {
            job: number,
            refused: all(),
            progress,
            ended,
        });
    };
    let mut withdrawn = withdraw(&mut running.ledger, &records.withdrawn);
    let (dispatched, refused) = match running.job.may_begin() {
        true => dispatch(&mut running.ledger, &records.dispatched, at),
        false => {
            // Batches are repeated when their result was lost: what the first try put in flight has not
            // left, and must not any more.
            withdrawn.extend(withdraw(&mut running.ledger, &records.dispatched));
            (Vec::new(), all())
        }
    };
    let settled = settle(&mut running.ledger, &records.settled);
    let measures = writer.measures;
    if !dispatched.is_empty() {
        measures.dispatches.record(dispatched.len() as u64);
    }
    if !settled.is_empty() {
        measures.settlements.record(settled.len() as u64);
    }
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
            // The same batch again, after a commit whose result was lost: the call leaves only now.
            Err(illegal) if is_the_same(illegal.from, call) => {
                let anew = ledger.withdraw(ordinal, call);
                match anew.and_then(|()| ledger.dispatch(ordinal, flight)) {
                    Ok(()) => dispatched.push((ordinal, flight)),
                    Err(_) => refused.push(ordinal),
                }
            }
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

/// Brings the job's row up to date, and ends the job if every device has its outcome. Says whether the job
/// is over.
pub(super) fn conclude(
    writer: &mut Writer<'_>,
    number: JobNumber,
    at: Timestamp,
) -> Result<(Progress, bool), StoreError> {
    let (db, term) = (writer.db, writer.term);
    let Some(running) = running(writer, number)? else {
        return standing(writer, number);
    };
    running.commits_since_checkpoint += 1;
    let progress = running.ledger.progress();
    write_progress(db, number, &progress)?;
    if !running.ledger.is_done() {
        writer.running.touched.insert(number);
        return Ok((progress, false));
    }
    running
        .job
        .finish(at)
        .map_err(|_| corrupt("job", "is done but not running"))?;
    finish_job(db, &running.job, term)?;
    writer.running.retire(number);
    Ok((progress, true))
}

/// Ends a running job that cannot go on, as its row says; every device must have its outcome by now.
pub(super) fn fail(
    writer: &mut Writer<'_>,
    number: JobNumber,
    reason: String,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (db, term) = (writer.db, writer.term);
    let Some(running) = running(writer, number)? else {
        return Ok(());
    };
    write_progress(db, number, &running.ledger.progress())?;
    running
        .job
        .fail(reason, at)
        .map_err(|_| corrupt("job", "is running but cannot fail"))?;
    finish_job(db, &running.job, term)?;
    writer.running.retire(number);
    Ok(())
}

/// Ends a running job whose journal cannot be read. What was counted stays counted; whoever had no outcome
/// then ends as canceled, for who was under way is not known any more.
pub(super) fn abandon(
    writer: &mut Writer<'_>,
    mut job: Job,
    reason: String,
    at: Timestamp,
) -> Result<(), StoreError> {
    let number = job.number;
    let counted = job.progress.unwrap_or_default();
    let progress = Progress {
        running: 0,
        canceled: counted.canceled + counted.running + counted.pending(),
        ..counted
    };
    write_progress(writer.db, number, &progress)?;
    job.fail(reason, at)
        .map_err(|_| corrupt("job", "is running but cannot fail"))?;
    finish_job(writer.db, &job, writer.term)?;
    writer.running.forget(number);
    Ok(())
}

/// The numbers of a job that is not running, and whether it is over. A job that is gone is.
fn standing(writer: &Writer<'_>, number: JobNumber) -> Result<(Progress, bool), StoreError> {
    let loaded = load_job(writer.db, JobKey::Number(number), ConditionsUpTo::NONE)?;
    Ok(loaded.map_or((Progress::default(), true), |loaded| {
        let is_ended = loaded.job.is_ended();
        (loaded.job.progress.unwrap_or_default(), is_ended)
    }))
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
    settled
        .iter()
        .for_each(|entry| writer.ended.add(&entry.outcome));
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

/// A segment that is half full as it is needs no company.
fn birth_level(group: &[Packed]) -> u8 {
    let bytes: usize = group.iter().map(Packed::size).sum();
    u8::from(group.len() >= ENTRIES_MAX / 2 || bytes >= BYTES_MAX / 2)
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
        bytes: record.len() as u32,
    };
    if let Some(heads) = writer.running.heads_mut(number) {
        heads.push(head);
    }
    Ok(())
}

/// Does one step of maintenance. A job with a corrupt segment is left as it lies.
pub(crate) fn maintain(writer: &mut Writer<'_>, step: &MaintenanceStep) -> Result<(), StoreError> {
    let (MaintenanceStep::Merge(number, _) | MaintenanceStep::Checkpoint(number)) = step;
    let changes = writer.db.total_changes();
    match take_step(writer, step) {
        // Merges read everything before they write; half a merge must not be committed.
        Err(StoreError::Corrupt(reason)) if writer.db.total_changes() == changes => {
            tracing::error!(job.number = number.0, %reason, "a job's journal cannot be merged");
            writer.running.leave_unmerged(*number);
            Ok(())
        }
        other => other,
    }
}

fn take_step(writer: &mut Writer<'_>, step: &MaintenanceStep) -> Result<(), StoreError> {
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
    let Some(running) = writer.running.jobs.get(&number) else {
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
    if let Some(heads) = writer.running.heads_mut(number) {
        heads.remove(sequences);
    }
    Ok(())
}

fn checkpoint(writer: &mut Writer<'_>, number: JobNumber) -> Result<(), StoreError> {
    let db = writer.db;
    let Some(running) = writer.running.jobs.get_mut(&number) else {
        return Ok(());
    };
    let sets = running.ledger.settled_sets();
    write_checkpoint(db, number, running.heads.last_sequence(), &sets)?;
    running.commits_since_checkpoint = 0;
    Ok(())
}

fn load_heads(db: &Connection, number: JobNumber) -> Result<Vec<Head>, StoreError> {
    let mut select = db
        .prepare_cached(
            "SELECT sequence, kind, level, first, last, bytes
             FROM job_segment WHERE number = ?1 ORDER BY sequence",
        )
        .map_err(unavailable)?;
    let mut rows = select.query([number.0]).map_err(unavailable)?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        heads.push(Head {
            sequence: row.get(0).map_err(unavailable)?,
            kind: Kind::from_column(row.get(1).map_err(unavailable)?)
                .ok_or_else(|| corrupt("segment", "is of an unknown kind"))?,
            level: row.get(2).map_err(unavailable)?,
            first: row.get(3).map_err(unavailable)?,
            last: row.get(4).map_err(unavailable)?,
            bytes: row.get(5).map_err(unavailable)?,
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
