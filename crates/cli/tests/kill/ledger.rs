//! What the hub has said so far, and what it may say next.
//!
//! Everything that was acknowledged or shown goes in; whatever contradicts it comes out as a fault in words. The
//! test fails at the end of the round in which the first fault appears.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_client::{
    DeviceJob, DeviceJobStatistics, DeviceJobStatus, Job, JobStatus, OUTCOME_UNKNOWN,
};
use tokio::time::Instant;

/// One device's share of one job: (job id, device id).
pub(crate) type Share = (String, String);

/// What the test knows about the hub.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Jobs the hub acknowledged.
    pub(crate) jobs: BTreeMap<String, JobEntry>,
    /// Per device: the number in `tags.patch` that was acknowledged, and the one sent last.
    pub(crate) patches: BTreeMap<String, Patched>,
    /// Device jobs in flight when a hub was killed.
    pub(crate) in_flight_at_kills: BTreeSet<Share>,
    /// Contradictions found.
    pub(crate) faults: Vec<String>,
}

/// The patches of one device's tags.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Patched {
    pub(crate) acknowledged: u64,
    pub(crate) sent: u64,
}

/// What an operation of a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Method,
    Twin,
}

/// A job the test has scheduled.
#[derive(Debug)]
pub(crate) struct JobEntry {
    pub(crate) kind: Kind,
    /// Number of the round that scheduled it.
    pub(crate) round: usize,
    /// Ids it must target, sorted.
    pub(crate) targets: Vec<String>,
    /// Before the first request for it was sent, so its window ends no sooner than `window` later.
    pub(crate) asked_at: Instant,
    pub(crate) window: Duration,
    /// A cancel was sent; without acknowledgement it may or may not have come through.
    pub(crate) cancel_asked: bool,
    pub(crate) cancel_acknowledged: bool,
    /// As it was seen last.
    pub(crate) last: Option<Job>,
    /// Rows that had their outcome when they were seen.
    pub(crate) ended: BTreeMap<String, DeviceJob>,
    /// The job had ended before its rows were last read: they are final.
    pub(crate) is_final: bool,
}

impl Ledger {
    pub(crate) fn fault(&mut self, text: String) {
        eprintln!("FAULT: {text}");
        self.faults.push(text);
    }

    /// Ids of jobs whose rows are not known to be final.
    pub(crate) fn open_jobs(&self) -> Vec<String> {
        self.jobs
            .iter()
            .filter(|(_, entry)| !entry.is_final)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Takes a job as the hub shows it now.
    pub(crate) fn saw_job(&mut self, job: Job) {
        let Some(entry) = self.jobs.get_mut(&job.job_id) else {
            self.fault(format!("job {} was never scheduled", job.job_id));
            return;
        };
        let mut faults = Vec::new();
        if let Some(counts) = &job.statistics {
            let sum = job.ended_count() + counts.running_count + counts.pending_count;
            if sum != counts.device_count {
                faults.push(format!("the counts do not add up: {counts:?}"));
            }
        }
        if let Some(last) = &entry.last {
            check_progress(last, &job, &mut faults);
        }
        let id = job.job_id.clone();
        entry.last = Some(job);
        for fault in faults {
            self.fault(format!("job {id}: {fault}"));
        }
    }

    /// Takes all rows of a job, read between the two looks `before` and `after` (already taken by
    /// [`Self::saw_job`]). With `after_kill`, rows in flight are remembered as such.
    pub(crate) fn saw_rows(
        &mut self,
        before: &Job,
        rows: Vec<DeviceJob>,
        after: &Job,
        after_kill: bool,
    ) {
        let id = before.job_id.clone();
        let mut faults = Vec::new();
        check_counts(before, &rows, after, &mut faults);
        let entry = self.jobs.get_mut(&id).expect("its job was taken before");
        if !rows.is_empty() {
            let mut shown: Vec<String> = rows.iter().map(|row| row.device_id.clone()).collect();
            shown.sort();
            if shown != entry.targets {
                faults.push(format!(
                    "{} rows, which are not the {} targets once each",
                    shown.len(),
                    entry.targets.len()
                ));
            }
        }
        let known = entry.ended.len();
        let mut still_there = 0;
        for row in rows {
            let share = (id.clone(), row.device_id.clone());
            let is_unknown = is_unknown(&row);
            match entry.ended.get(&row.device_id) {
                Some(seen) if *seen == row => still_there += 1,
                Some(seen) => faults.push(format!("an outcome changed from {seen:?} to {row:?}")),
                None if row.has_ended() => {
                    // It ran out while no hub was there to say so.
                    if is_unknown && after_kill {
                        self.in_flight_at_kills.insert(share);
                    }
                    entry.ended.insert(row.device_id.clone(), row);
                }
                None if row.status == DeviceJobStatus::Running && after_kill => {
                    self.in_flight_at_kills.insert(share);
                }
                None => {}
            }
        }
        if still_there < known {
            faults.push(format!("{} outcomes are gone", known - still_there));
        }
        entry.is_final = before.status.is_terminal();
        for fault in faults {
            self.fault(format!("job {id}: {fault}"));
        }
    }

    /// Device jobs that ended as unknown, and all that have ended.
    pub(crate) fn unknown(&self) -> (BTreeSet<Share>, usize) {
        let mut unknown = BTreeSet::new();
        let mut all = 0;
        for (id, entry) in &self.jobs {
            all += entry.ended.len();
            for row in entry.ended.values().filter(|row| is_unknown(row)) {
                unknown.insert((id.clone(), row.device_id.clone()));
            }
        }
        (unknown, all)
    }
}

fn is_unknown(row: &DeviceJob) -> bool {
    row.error
        .as_ref()
        .is_some_and(|error| error.code == OUTCOME_UNKNOWN)
}

/// A job never goes back: not its status, not its counts, and nothing at all once it has ended.
fn check_progress(last: &Job, now: &Job, faults: &mut Vec<String>) {
    let rank = |job: &Job| match job.status {
        JobStatus::Enqueued | JobStatus::Queued => 0,
        JobStatus::Scheduled => 1,
        JobStatus::Running => 2,
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => 3,
        ref unknown => panic!("a job is {unknown}"),
    };
    if rank(now) < rank(last) {
        faults.push(format!(
            "the status went back from {} to {}",
            last.status, now.status
        ));
    }
    if last.status.is_terminal()
        && (&last.status, &last.statistics) != (&now.status, &now.statistics)
    {
        faults.push(format!("it had ended as {last:?} and is now {now:?}"));
    }
    let Some(before) = &last.statistics else {
        return;
    };
    let Some(after) = &now.statistics else {
        faults.push("its counts are gone".to_owned());
        return;
    };
    let went_back = |count: fn(&DeviceJobStatistics) -> u64| count(after) < count(before);
    if after.device_count != before.device_count
        || went_back(|counts| counts.succeeded_count)
        || went_back(|counts| counts.failed_count)
        || went_back(|counts| counts.canceled_count)
    {
        faults.push(format!("the counts went back from {before:?} to {after:?}"));
    }
}

/// Counts equal rows: exactly when nothing moved between the two looks, else within what moved.
fn check_counts(before: &Job, rows: &[DeviceJob], after: &Job, faults: &mut Vec<String>) {
    let (Some(low), Some(high)) = (&before.statistics, &after.statistics) else {
        // The target set was sealed in between, or not yet.
        if after.statistics.is_none() && !rows.is_empty() {
            faults.push(format!(
                "{} rows before the target set is sealed",
                rows.len()
            ));
        }
        return;
    };
    let with = |at| rows.iter().filter(|row| row.status == at).count() as u64;
    let cases = [
        (
            "completed",
            with(DeviceJobStatus::Completed),
            low.succeeded_count,
            high.succeeded_count,
        ),
        (
            "failed",
            with(DeviceJobStatus::Failed),
            low.failed_count,
            high.failed_count,
        ),
        (
            "canceled",
            with(DeviceJobStatus::Canceled),
            low.canceled_count,
            high.canceled_count,
        ),
        (
            "all",
            rows.len() as u64,
            low.device_count,
            high.device_count,
        ),
    ];
    for (word, rows, low, high) in cases {
        if !(low..=high).contains(&rows) {
            faults.push(format!(
                "{rows} rows ({word}), the counts say {low} to {high}"
            ));
        }
    }
}
