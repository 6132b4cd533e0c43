//! What must hold at every moment, judged by what the hub shows and what its devices were sent.
//!
//! A look reads every job, every row of `devices.jobs` and every twin as of one moment, compares them with
//! each other, with the look before (also across a crash), and with what the world outside knows.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_hub::{
    ids::{CallId, IdentityKey, JobNumber, Ordinal},
    jobs::{
        job::{Job, JobEnd, JobState, Operation, Progress},
        ledger::{Outcome, Verdict},
    },
    method::AnswerPayload,
    ports::{
        Store,
        store::{DeviceJobRow, DeviceJobState, JobFilter},
    },
    queries::{PageRequest, Rows},
};

use super::known::{Known, KnownJob, Operated};
use crate::rig::{Answered, Rig};

/// Says what does not hold.
pub(super) type Held = Result<(), String>;

macro_rules! hold {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}
pub(super) use hold;

/// What the last look saw.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) seen: Seen,
    /// Whom each waiting job would have taken at the looks since everything was last settled.
    might_take: BTreeMap<JobNumber, Vec<BTreeSet<Ordinal>>>,
    looks: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) jobs: BTreeMap<JobNumber, Job>,
    rows: BTreeMap<JobNumber, BTreeMap<Ordinal, DeviceJobRow>>,
    versions: BTreeMap<IdentityKey, u64>,
}

/// A call that reached its device.
struct Delivered {
    key: IdentityKey,
    call: CallId,
    method: String,
}

impl Watch {
    /// `is_settled`: nothing is under way that needs no time.
    pub(super) async fn look(&mut self, rig: &Rig, known: &Known, is_settled: bool) -> Held {
        let seen = Seen::take(rig, known).await?;
        self.sets(rig, known, &seen, is_settled).await?;
        for (number, job) in &seen.jobs {
            seen.counts(job)?;
            if let Some(before) = self.seen.jobs.get(number) {
                moved_on(before, job)?;
            }
        }
        for (number, before) in &self.seen.rows {
            let rows = seen.rows.get(number);
            let rows = rows.ok_or_else(|| format!("the rows of job {} are gone", number.0))?;
            rows_moved_on(before, rows)?;
        }
        for (key, version) in &seen.versions {
            let before = self.seen.versions.get(key).copied().unwrap_or(0);
            hold!(
                *version >= before,
                "$version of {key:?} went from {before} back to {version}"
            );
            let expected = 1 + known.patches(*key) + seen.applied(*key);
            hold!(
                *version == expected,
                "$version of {key:?} is {version}, by its patches and applied jobs it is {expected}"
            );
        }
        for job in &known.jobs {
            seen.as_accepted(job)?;
        }
        seen.calls(known)?;
        seen.outcomes(known)?;
        self.seen = seen;
        self.looks += 1;
        Ok(())
    }

    /// A set that was sealed since the last look is one that the condition had when it was taken.
    async fn sets(&mut self, rig: &Rig, known: &Known, seen: &Seen, is_settled: bool) -> Held {
        // What only steps change, not jobs or connections meanwhile.
        let is_steady = |job: &&KnownJob| {
            let condition = &job.request.condition;
            !condition.contains("floor") && !condition.contains("connectionState")
        };
        for known_job in known.jobs.iter().filter(is_steady) {
            let name = &known_job.request.id;
            let Some(job) = seen.jobs.values().find(|job| job.id == *name) else {
                continue;
            };
            let is_known = self.seen.jobs.get(&job.number);
            if is_known.is_some_and(|before| before.sealed().is_some())
                || job.is_ended() && job.sealed().is_none()
            {
                continue;
            }
            let now = matching(rig, &known_job.request.condition).await?;
            let might_take = self.might_take.entry(job.number).or_default();
            might_take.push(now);
            if job.sealed().is_some() {
                let taken: BTreeSet<_> = seen.rows_of(job).map(|row| row.ordinal).collect();
                hold!(
                    might_take.contains(&taken),
                    "{name} took {taken:?}, of all it might have: {might_take:?}"
                );
                self.might_take.remove(&job.number);
            } else if is_settled {
                might_take.drain(..might_take.len() - 1);
            }
        }
        Ok(())
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// How many device jobs ended how.
    pub(super) fn tally(&self) -> BTreeMap<&'static str, u64> {
        let mut tally = BTreeMap::new();
        for row in self.seen.rows.values().flat_map(|rows| rows.values()) {
            if let DeviceJobState::Ended(outcome) = &row.state {
                *tally.entry(word(outcome)).or_default() += 1;
            }
        }
        tally
    }

    /// What must have happened by now, given that nothing keeps it from happening.
    pub(super) fn nothing_is_late(&self, rig: &Rig, known: &Known) -> Held {
        let now = rig.now();
        for job in self.seen.jobs.values() {
            let name = &job.id;
            hold!(
                job.is_ended() || now < job.deadline(),
                "{name} goes on after its window: {:?} {:?}",
                job.state,
                job.progress
            );
            hold!(
                job.state != JobState::Waiting || now < job.start(),
                "{name} is due and has not started"
            );
            let Operation::Method(method) = &job.plan.operation else {
                hold!(
                    job.is_ended() || job.state == JobState::Waiting,
                    "{name} has started and does not end: {:?}",
                    job.progress
                );
                continue;
            };
            for row in self.seen.rows_of(job) {
                let is_overdue = row.state == DeviceJobState::Running
                    && now > row.updated + seconds(method.response_seconds + 1);
                hold!(!is_overdue, "{name}: {} is late and still running", row.id);
                let key = IdentityKey {
                    space: job.plan.space,
                    ordinal: row.ordinal,
                };
                let is_over = matches!(row.state, DeviceJobState::Ended(_));
                hold!(
                    is_over || job.is_ended() || !known.settled_deletions.contains(&key),
                    "{name}: {} is deleted and its device job goes on",
                    row.id
                );
                let is_forgotten = job.may_begin()
                    && row.state == DeviceJobState::Pending
                    && known.is_callable(rig, key)
                    && self.seen.running(key) < 4;
                hold!(
                    !is_forgotten,
                    "{name}: {} is ready, has room, and is not called",
                    row.id
                );
            }
        }
        Ok(())
    }

    /// Everything is over, and every device has its one outcome.
    pub(super) fn everything_ended(&self) -> Held {
        for job in self.seen.jobs.values() {
            hold!(
                job.is_ended(),
                "{} has not ended: {:?} {:?}",
                job.id,
                job.state,
                job.progress
            );
            for row in self.seen.rows_of(job) {
                hold!(
                    matches!(row.state, DeviceJobState::Ended(_)),
                    "{}: {} has no outcome but {:?}",
                    job.id,
                    row.id,
                    row.state
                );
            }
        }
        Ok(())
    }
}

pub(super) fn seconds(seconds: u32) -> std::time::Duration {
    std::time::Duration::from_secs(u64::from(seconds))
}

impl Seen {
    /// All of it as of one moment: what is read twice must be the same.
    async fn take(rig: &Rig, known: &Known) -> Result<Self, String> {
        for _ in 0..100 {
            let jobs = jobs(rig).await?;
            let seen = Self {
                rows: rows(rig, &jobs).await?,
                versions: versions(rig, known).await?,
                jobs,
            };
            if seen.jobs == self::jobs(rig).await? {
                return Ok(seen);
            }
        }
        Err("the jobs never stand still for a look".to_owned())
    }

    fn rows_of(&self, job: &Job) -> impl Iterator<Item = &DeviceJobRow> {
        self.rows
            .get(&job.number)
            .into_iter()
            .flat_map(|rows| rows.values())
    }

    fn counts(&self, job: &Job) -> Held {
        let mut counted = Progress::default();
        for row in self.rows_of(job) {
            counted.total += 1;
            match &row.state {
                DeviceJobState::Pending => {}
                DeviceJobState::Running => counted.running += 1,
                DeviceJobState::Ended(outcome) => match outcome.verdict() {
                    Verdict::Succeeded => counted.succeeded += 1,
                    Verdict::Failed => counted.failed += 1,
                    Verdict::Canceled => counted.canceled += 1,
                },
            }
        }
        let shown = job.progress.unwrap_or_default();
        let sum = shown.succeeded + shown.failed + shown.running + shown.canceled;
        hold!(sum <= shown.total, "{}: {shown:?} does not add up", job.id);
        hold!(
            shown == counted,
            "{} shows {shown:?}, its rows are {counted:?}",
            job.id
        );
        Ok(())
    }

    /// Device jobs of this device that applied a patch.
    fn applied(&self, key: IdentityKey) -> u64 {
        let of_space = self.jobs.values().filter(|job| job.plan.space == key.space);
        let rows = of_space.filter_map(|job| self.rows.get(&job.number)?.get(&key.ordinal));
        let is_applied = |row: &&DeviceJobRow| row.state == DeviceJobState::Ended(Outcome::Applied);
        rows.filter(is_applied).count() as u64
    }

    /// Calls in flight to this device.
    fn running(&self, key: IdentityKey) -> usize {
        let of_space = self.jobs.values().filter(|job| job.plan.space == key.space);
        let rows = of_space.filter_map(|job| self.rows.get(&job.number)?.get(&key.ordinal));
        rows.filter(|row| row.state == DeviceJobState::Running)
            .count()
    }

    fn as_accepted(&self, known: &KnownJob) -> Held {
        let name = &known.request.id;
        let job = self.jobs.values().find(|job| job.id == *name);
        let Some(job) = job else {
            return Err(format!("{name} was accepted and is not there"));
        };
        if let JobState::Ended { end, .. } = &job.state {
            let expected = match known.is_canceled {
                true => JobEnd::Cancelled,
                false => JobEnd::Completed,
            };
            hold!(
                *end == expected,
                "{name} ended as {end:?}, not {expected:?}"
            );
        }
        let Some(mark) = &known.canceled else {
            return Ok(());
        };
        hold!(
            !job.may_begin(),
            "{name} was cancelled and is {:?}",
            job.state
        );
        let progress = job.progress.unwrap_or_default();
        let begun = |progress: &Progress| progress.succeeded + progress.failed + progress.running;
        hold!(
            begun(&progress) <= begun(&mark.progress)
                && progress.canceled >= mark.progress.canceled,
            "{name} was cancelled at {:?} and went on to {progress:?}",
            mark.progress
        );
        Ok(())
    }

    /// What reached devices, beside what the rows say of it.
    fn calls(&self, known: &Known) -> Held {
        let mut ids = BTreeSet::new();
        let mut methods = BTreeSet::new();
        let mut of_job: BTreeMap<&str, usize> = BTreeMap::new();
        let delivered = delivered(known);
        for Delivered { key, call, method } in &delivered {
            hold!(ids.insert(*call), "call {call} was sent twice");
            hold!(
                methods.insert((*key, method)),
                "{key:?} was called for {method} twice"
            );
            *of_job.entry(method).or_default() += 1;
            let row = self.row_of(known, *key, method);
            let row =
                row.ok_or_else(|| format!("{key:?} was called for {method}, outside its set"))?;
            let is_begun = match &row.state {
                DeviceJobState::Pending => false,
                DeviceJobState::Running => true,
                DeviceJobState::Ended(outcome) => matches!(
                    outcome,
                    Outcome::Answered { .. }
                        | Outcome::TimedOut
                        | Outcome::Garbled
                        | Outcome::Deleted
                        | Outcome::Unknown
                ),
            };
            hold!(
                is_begun,
                "{} was called for {method} and its row says {:?}",
                row.id,
                row.state
            );
        }
        for job in &known.jobs {
            let (Operated::Method(name), Some(mark)) = (&job.operated, &job.canceled) else {
                continue;
            };
            let calls = of_job.get(name.as_str()).copied().unwrap_or(0);
            hold!(
                calls == mark.calls,
                "{} had made {} calls when its cancel was answered, and now {calls}",
                job.request.id,
                mark.calls
            );
        }
        let answers = answers(known);
        for Delivered { key, call, method } in &delivered {
            let given: Vec<_> = answers
                .iter()
                .filter(|(from, answer)| from == key && answer.call == *call)
                .map(|(_, answer)| answer)
                .collect();
            let Some(row) = self.row_of(known, *key, method) else {
                continue;
            };
            heard(row, method, &given)?;
        }
        Ok(())
    }

    fn row_of(&self, known: &Known, key: IdentityKey, method: &str) -> Option<&DeviceJobRow> {
        let is_it =
            |job: &&KnownJob| matches!(&job.operated, Operated::Method(name) if name == method);
        let name = &known.jobs.iter().find(is_it)?.request.id;
        let job = self.jobs.values().find(|job| job.id == *name)?;
        let rows = self.rows.get(&job.number)?;
        rows.get(&key.ordinal)
            .filter(|_| job.plan.space == key.space)
    }

    /// Outcomes that need a reason have one.
    fn outcomes(&self, known: &Known) -> Held {
        let called: BTreeSet<(IdentityKey, String)> = delivered(known)
            .into_iter()
            .map(|delivered| (delivered.key, delivered.method))
            .collect();
        for known_job in &known.jobs {
            let name = &known_job.request.id;
            let Some(job) = self.jobs.values().find(|job| job.id == *name) else {
                continue;
            };
            for row in self.rows_of(job) {
                let DeviceJobState::Ended(outcome) = &row.state else {
                    continue;
                };
                let key = IdentityKey {
                    space: job.plan.space,
                    ordinal: row.ordinal,
                };
                let was_called = match &known_job.operated {
                    Operated::Method(method) => called.contains(&(key, method.clone())),
                    Operated::Twin => false,
                };
                let is_twin = matches!(known_job.operated, Operated::Twin);
                let has_reason = match outcome {
                    Outcome::Answered { .. } | Outcome::Garbled => was_called,
                    Outcome::Applied | Outcome::Rejected { .. } => is_twin,
                    Outcome::Unreachable => row.updated >= job.deadline(),
                    Outcome::TimedOut => was_called || known.is_disturbed,
                    Outcome::Deleted => known.deleted.contains(&key),
                    Outcome::Unknown => known.restarts > 0,
                    Outcome::Canceled => known_job.is_canceled,
                };
                hold!(
                    has_reason,
                    "{name}: {} ended as {outcome:?} at {} without a reason",
                    row.id,
                    row.updated
                );
            }
        }
        Ok(())
    }
}

/// Outcomes that no everyday run of many histories is without.
pub(super) const USUAL: [&str; 7] = [
    "answered",
    "applied",
    "canceled",
    "deleted",
    "timed out",
    "unknown",
    "unreachable",
];

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered {
            payload: Some(payload),
            ..
        } if payload.as_str().len() > 4_096 => "answered at length",
        Outcome::Answered { .. } => "answered",
        Outcome::Applied => "applied",
        Outcome::Canceled => "canceled",
        Outcome::Deleted => "deleted",
        Outcome::Garbled => "garbled",
        Outcome::Rejected { .. } => "rejected",
        Outcome::TimedOut => "timed out",
        Outcome::Unknown => "unknown",
        Outcome::Unreachable => "unreachable",
    }
}

/// What a device was told of its answers is so, and what a row says was answered.
fn heard(row: &DeviceJobRow, method: &str, given: &[&Answered]) -> Held {
    let is_given = match &row.state {
        DeviceJobState::Ended(Outcome::Answered { payload, .. }) => {
            let body = payload
                .clone()
                .map_or(AnswerPayload::Empty, AnswerPayload::Json);
            given.iter().any(|answer| answer.payload == body)
        }
        DeviceJobState::Ended(Outcome::Garbled) => given
            .iter()
            .any(|answer| answer.payload == AnswerPayload::Garbled),
        _ => {
            for answer in given.iter().filter(|answer| answer.is_acknowledged) {
                let is_ended = matches!(row.state, DeviceJobState::Ended(_));
                hold!(
                    is_ended && (row.updated <= answer.at || row.job.deadline() <= answer.at),
                    "{} was told that its answer to {method} at {} is kept; its row says {:?} at {}",
                    row.id,
                    answer.at,
                    row.state,
                    row.updated
                );
            }
            true
        }
    };
    hold!(
        is_given,
        "{} never gave the answer to {method} in its row",
        row.id
    );
    Ok(())
}

/// A job's document goes on, never back.
fn moved_on(before: &Job, after: &Job) -> Held {
    let name = &after.id;
    if before.is_ended() {
        hold!(
            before == after,
            "{name} had ended as {before:?} and is now {after:?}"
        );
        return Ok(());
    }
    hold!(
        before.sealed().is_none() || before.sealed() == after.sealed(),
        "{name} was sealed twice"
    );
    let is_back = before.is_running() && after.state == JobState::Waiting
        || matches!(before.state, JobState::Draining { .. }) && after.may_begin();
    hold!(
        !is_back,
        "{name} went from {:?} to {:?}",
        before.state,
        after.state
    );
    if let Some(old) = &before.progress {
        let new = after.progress.unwrap_or_default();
        let is_on = new.total == old.total
            && new.succeeded >= old.succeeded
            && new.failed >= old.failed
            && new.canceled >= old.canceled;
        hold!(is_on, "the counts of {name} went from {old:?} to {new:?}");
    }
    Ok(())
}

fn rows_moved_on(
    before: &BTreeMap<Ordinal, DeviceJobRow>,
    after: &BTreeMap<Ordinal, DeviceJobRow>,
) -> Held {
    hold!(
        before.keys().eq(after.keys()),
        "a sealed set went from {:?} to {:?}",
        before.keys(),
        after.keys()
    );
    for (old, new) in before.values().zip(after.values()) {
        hold!(old.id == new.id, "{} is now called {}", old.id, new.id);
        let is_ended = matches!(old.state, DeviceJobState::Ended(_));
        hold!(
            !is_ended || (&old.state, old.updated) == (&new.state, new.updated),
            "{}: {} had ended as {:?} and is now {:?}",
            new.job.id,
            new.id,
            old.state,
            new.state
        );
    }
    Ok(())
}

fn delivered(known: &Known) -> Vec<Delivered> {
    let calls = known.links.iter().flat_map(|link| {
        let key = link.key;
        let delivered = move |(call, method)| Delivered { key, call, method };
        link.named_calls().into_iter().map(delivered)
    });
    calls.collect()
}

fn answers(known: &Known) -> Vec<(IdentityKey, Answered)> {
    let answers = known.links.iter().flat_map(|link| {
        let key = link.key;
        link.answered().into_iter().map(move |answer| (key, answer))
    });
    answers.collect()
}

async fn jobs(rig: &Rig) -> Result<BTreeMap<JobNumber, Job>, String> {
    let jobs = rig.hub.jobs.list(JobFilter::default(), 1_000).await;
    let jobs = jobs.map_err(|error| format!("jobs cannot be listed: {error}"))?;
    Ok(jobs.into_iter().map(|job| (job.number, job)).collect())
}

async fn rows(
    rig: &Rig,
    jobs: &BTreeMap<JobNumber, Job>,
) -> Result<BTreeMap<JobNumber, BTreeMap<Ordinal, DeviceJobRow>>, String> {
    let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (number, _) in jobs.iter().filter(|(_, job)| job.sealed().is_some()) {
        all.insert(*number, BTreeMap::new());
    }
    let mut continuation = None;
    loop {
        let request = PageRequest {
            limit: Some(1_000),
            continuation,
        };
        let page = rig
            .hub
            .queries
            .page("SELECT * FROM devices.jobs", request)
            .await;
        let page = page.map_err(|error| format!("rows cannot be read: {error}"))?;
        let Rows::DeviceJobs(found) = page.rows else {
            return Err("rows of another kind".to_owned());
        };
        for row in found {
            let rows = all.entry(row.job.number).or_default();
            let twice = rows.insert(row.ordinal, row);
            if let Some(row) = twice {
                return Err(format!("{} has two rows in {}", row.id, row.job.id));
            }
        }
        continuation = page.continuation;
        if continuation.is_none() {
            return Ok(all);
        }
    }
}

/// Whom a condition selects now.
async fn matching(rig: &Rig, condition: &str) -> Result<BTreeSet<Ordinal>, String> {
    let text = match condition {
        "*" => "SELECT * FROM devices".to_owned(),
        modules if modules.starts_with("FROM") => format!("SELECT * {modules}"),
        filter => format!("SELECT * FROM devices WHERE {filter}"),
    };
    let request = PageRequest {
        limit: Some(1_000),
        continuation: None,
    };
    let page = rig.hub.queries.page(&text, request).await;
    match page.map_err(|error| format!("{text}: {error}"))?.rows {
        Rows::Twins(twins) => {
            let ordinal = |view: &fanfare_hub::twin::TwinView| view.twin.identity.key.ordinal;
            Ok(twins.iter().map(ordinal).collect())
        }
        _ => Err("rows of another kind".to_owned()),
    }
}

async fn versions(rig: &Rig, known: &Known) -> Result<BTreeMap<IdentityKey, u64>, String> {
    use fanfare_hub::ports::store::TwinStore;
    let keys = known.keys();
    let store: &dyn Store = &*rig.store;
    let versions = TwinStore::twin_desired_versions(store, keys).await;
    let versions = versions.map_err(|error| format!("twins cannot be read: {error}"))?;
    Ok(versions.into_iter().collect())
}
