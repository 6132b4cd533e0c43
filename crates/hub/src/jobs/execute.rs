//! Decides what happens to the device jobs of method jobs: who is called next, what an answer or its
//! absence means, what the next commit records. Pure: told the time, does no I/O.
//!
//! A device job goes pending -> candidate (its device is ready) -> dispatched in a batch -> sent after
//! that batch is durable -> settled by an answer, a time-out or a deletion, recorded by another batch. The
//! shell around it is [`super::dispatch`].
//!
//! Costs: no task and no timer per device job. A job's calls share one time-out, so the order of dispatch
//! is the order of deadlines and a queue holds them. A device that becomes ready is looked up in jobs
//! with few pending devices; only jobs with many are probed.
//!
//! Fairness: jobs take turns, and no job holds more calls than a share of what is still free, so that
//! devices which let their time run out cannot fill the window against the jobs beside them.

mod batch;
mod choice;
mod ends;
mod records;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use roaring::RoaringBitmap;

use self::records::Records;
use super::{
    job::{Job, Operation},
    ledger::Outcome,
};
use crate::{
    ids::{CallId, IdentityKey, JobNumber, Ordinal, Space, Term},
    limits,
    method::AnswerPayload,
    ports::store::JobResumed,
    presence::CallTemplate,
    time::Timestamp,
};

/// The method jobs of a node.
pub struct Executor {
    term: Term,
    bounds: Bounds,
    jobs: BTreeMap<JobNumber, MethodJob>,
    /// Jobs with candidates, and whose turn was last.
    active: BTreeSet<JobNumber>,
    turn: JobNumber,
    ready: [RoaringBitmap; 2],
    calls: HashMap<CallId, (JobNumber, Ordinal)>,
    /// Calls in flight to each device, those about to be dispatched included.
    loads: HashMap<IdentityKey, usize>,
    /// Jobs that wait for a device's load to fall.
    parked: BTreeMap<IdentityKey, BTreeSet<JobNumber>>,
    /// The pending devices of jobs with few of them.
    by_device: HashMap<IdentityKey, BTreeSet<JobNumber>>,
    /// Jobs with many pending devices.
    probed: BTreeSet<JobNumber>,
    alarms: BTreeSet<(Timestamp, JobNumber)>,
    in_flight: usize,
    records: Records,
}

/// Numbers that tests make small.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Calls of all jobs in flight.
    pub in_flight: usize,
    /// Calls in flight to one device.
    pub per_device: usize,
    /// Dispatches of one batch.
    pub dispatches: usize,
    /// Pending devices up to which a job is found by device.
    pub small: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight: limits::CALLS_IN_FLIGHT_MAX,
            per_device: limits::CALLS_IN_FLIGHT_PER_DEVICE,
            dispatches: limits::DISPATCH_BATCH_MAX,
            small: limits::SMALL_PENDING_SET,
        }
    }
}

struct MethodJob {
    job: Job,
    template: Arc<CallTemplate>,
    response: Duration,
    pending: RoaringBitmap,
    candidates: RoaringBitmap,
    in_flight: HashMap<Ordinal, CallId>,
    /// Deadlines in order; entries of settled calls are skipped when their time comes.
    deadlines: VecDeque<(Timestamp, Ordinal, CallId)>,
    alarm: Timestamp,
    may_begin: bool,
    is_over: bool,
    is_small: bool,
}

/// A call that may leave: its dispatch is durable.
#[derive(Debug, Clone)]
pub struct Send {
    /// To whom.
    pub key: IdentityKey,
    /// Which call.
    pub call: CallId,
    /// When the device's time to answer ends.
    pub deadline: Timestamp,
}

/// The calls of one job that may leave.
#[derive(Debug, Clone)]
pub struct SendGroup {
    /// Which job.
    pub job: JobNumber,
    /// What to send.
    pub template: Arc<CallTemplate>,
    /// To whom.
    pub sends: Vec<Send>,
}

impl Executor {
    /// No jobs yet.
    pub fn new(term: Term, bounds: Bounds) -> Self {
        Self {
            term,
            bounds,
            jobs: BTreeMap::new(),
            active: BTreeSet::new(),
            turn: JobNumber(0),
            ready: Default::default(),
            calls: HashMap::new(),
            loads: HashMap::new(),
            parked: BTreeMap::new(),
            by_device: HashMap::new(),
            probed: BTreeSet::new(),
            alarms: BTreeSet::new(),
            in_flight: 0,
            records: Records::default(),
        }
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether calls of a job may leave now: it was not cancelled and its window is not over.
    pub fn may_send(&self, number: JobNumber, now: Timestamp) -> bool {
        let entry = self.jobs.get(&number);
        entry.is_some_and(|entry| entry.may_begin && now < entry.job.deadline())
    }

    /// Whether a call's outcome is still open.
    pub fn awaits(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Takes a running job on, new or after a restart. Deleted targets end at once.
    pub fn add(&mut self, resumed: JobResumed, deleted: &RoaringBitmap, now: Timestamp) {
        let JobResumed { job, ledger } = resumed;
        let Operation::Method(operation) = &job.plan.operation else {
            return;
        };
        let response = Duration::from_secs(u64::from(operation.response_seconds));
        let template = CallTemplate::new(operation.name.clone(), operation.payload.clone());
        let (number, space) = (job.number, job.plan.space);
        if self.jobs.contains_key(&number) {
            // Handed over twice: what is known here is newer than what was read.
            return;
        }
        let pending = ledger.pending();
        let mut deadlines: Vec<_> = ledger
            .in_flight()
            .iter()
            .map(|(ordinal, flight)| (flight.dispatched + response, *ordinal, flight.call))
            .collect();
        deadlines.sort_unstable();
        for (_, ordinal, call) in &deadlines {
            self.calls.insert(*call, (number, *ordinal));
            *self
                .loads
                .entry(IdentityKey {
                    space,
                    ordinal: *ordinal,
                })
                .or_default() += 1;
            self.in_flight += 1;
        }
        let entry = MethodJob {
            in_flight: deadlines
                .iter()
                .map(|(_, ordinal, call)| (*ordinal, *call))
                .collect(),
            deadlines: deadlines.into(),
            candidates: RoaringBitmap::new(),
            alarm: Timestamp::FAR_FUTURE,
            may_begin: job.may_begin(),
            is_over: false,
            is_small: false,
            template: Arc::new(template),
            response,
            pending,
            job,
        };
        self.alarms.insert((entry.alarm, number));
        self.jobs.insert(number, entry);
        self.probed.insert(number);
        for ordinal in self.of_job(number, deleted) {
            self.settle_absent(number, ordinal, now);
        }
        self.index_if_small(number);
        let ready = &self.ready[index(space)];
        if let Some(entry) = self.jobs.get_mut(&number).filter(|entry| entry.may_begin) {
            entry.candidates = &entry.pending & ready;
            if !entry.candidates.is_empty() {
                self.active.insert(number);
            }
        }
        self.set_alarm(number);
    }

    /// A device became ready for methods, or is no longer.
    pub fn presence_changed(&mut self, key: IdentityKey, ready: bool) {
        self.parked.remove(&key);
        if !ready {
            self.ready[index(key.space)].remove(key.ordinal);
            return;
        }
        self.ready[index(key.space)].insert(key.ordinal);
        let waiting = self.waiting_for(key);
        let room = self.bounds.per_device.saturating_sub(self.load(key));
        for (place, number) in waiting.into_iter().enumerate() {
            if place < room {
                self.make_candidate(number, key.ordinal);
            } else {
                self.parked.entry(key).or_default().insert(number);
            }
        }
    }

    /// An identity is gone: its device jobs end.
    pub fn deleted(&mut self, key: IdentityKey, now: Timestamp) {
        self.ready[index(key.space)].remove(key.ordinal);
        self.parked.remove(&key);
        let mut involved = self.waiting_for(key);
        // Only for the few that have a call in flight: these are not found by device.
        if self.load(key) > 0 {
            let is_calling = |entry: &&MethodJob| {
                entry.job.plan.space == key.space && entry.in_flight.contains_key(&key.ordinal)
            };
            involved.extend(
                self.jobs
                    .values()
                    .filter(is_calling)
                    .map(|entry| entry.job.number),
            );
        }
        for number in involved {
            self.settle_absent(number, key.ordinal, now);
            self.set_alarm(number);
        }
    }

    /// Everybody in this set is gone, of those that jobs still wait for.
    pub fn all_deleted(&mut self, space: Space, deleted: &RoaringBitmap, now: Timestamp) {
        let in_space = |entry: &&MethodJob| entry.job.plan.space == space;
        let jobs = self.jobs.values().filter(in_space);
        let numbers: Vec<_> = jobs.map(|entry| entry.job.number).collect();
        for number in numbers {
            for ordinal in self.of_job(number, deleted) {
                self.deleted(IdentityKey { space, ordinal }, now);
            }
        }
    }

    /// A job may begin nothing new; one with nothing in flight has ended by that.
    pub fn canceled(&mut self, number: JobNumber) {
        self.stop_beginning(number);
        let is_quiet = |entry: &MethodJob| entry.in_flight.is_empty() && !entry.is_over;
        let is_recorded = !self.records.by_job.contains_key(&number);
        if is_recorded && self.jobs.get(&number).is_some_and(is_quiet) {
            self.remove(number);
        }
    }

    /// Takes an answer. False when no call waits for it from this device: late, repeated, or a stranger's.
    pub fn answered(
        &mut self,
        key: IdentityKey,
        call: CallId,
        status: i32,
        payload: AnswerPayload,
        now: Timestamp,
    ) -> bool {
        let Some((number, ordinal)) = self.calls.get(&call).copied() else {
            return false;
        };
        let space = self.jobs.get(&number).map(|entry| entry.job.plan.space);
        if space != Some(key.space) || ordinal != key.ordinal {
            return false;
        }
        let outcome = match payload {
            AnswerPayload::Empty => Outcome::Answered {
                status,
                payload: None,
            },
            AnswerPayload::Json(text) => Outcome::Answered {
                status,
                payload: Some(text),
            },
            AnswerPayload::Garbled => Outcome::Garbled,
        };
        self.settle_call(number, ordinal, call, outcome, now);
        true
    }

    /// Forgets a job that ended.
    pub fn remove(&mut self, number: JobNumber) {
        self.stop_beginning(number);
        let Some(entry) = self.jobs.remove(&number) else {
            return;
        };
        self.alarms.remove(&(entry.alarm, number));
        self.probed.remove(&number);
        self.records.forget(number);
        for (ordinal, call) in entry.in_flight {
            self.calls.remove(&call);
            self.in_flight -= 1;
            self.relieve(IdentityKey {
                space: entry.job.plan.space,
                ordinal,
            });
        }
    }

    /// When something is due without anybody's doing.
    pub fn wake_at(&self) -> Timestamp {
        let alarm = self
            .alarms
            .first()
            .map_or(Timestamp::FAR_FUTURE, |(at, _)| *at);
        self.commit_due().map_or(alarm, |due| due.min(alarm))
    }
}

impl MethodJob {
    /// Calls that ended leave holes, which go before they outnumber the calls: a long time-out must not
    /// keep a record of everyone who answered within it.
    pub(super) fn push_deadline(&mut self, deadline: Timestamp, ordinal: Ordinal, call: CallId) {
        if self.deadlines.len() >= 2 * self.in_flight.len() + DEADLINE_HOLES {
            let in_flight = &self.in_flight;
            self.deadlines
                .retain(|(_, ordinal, call)| in_flight.get(ordinal) == Some(call));
        }
        self.deadlines.push_back((deadline, ordinal, call));
    }
}

/// Holes among deadlines that are not worth a walk.
const DEADLINE_HOLES: usize = 1_000;

fn index(space: Space) -> usize {
    match space {
        Space::Devices => 0,
        Space::Modules => 1,
    }
}

#[cfg(test)]
mod tests;
