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
//! Fairness: jobs take turns, and no job holds more calls than [`SHARE`] times what is still free, so that
//! devices which let their time run out cannot fill the window against the jobs beside them.

mod records;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
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
    ports::store::{JobCommitted, JobRecords, JobResumed},
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

/// Dispatches that one job makes before another gets its turn.
const TURN_DISPATCHES: usize = 64;
/// A job may hold this many calls for each that is still free: four fifths of the window when it is alone,
/// and some room is left for whoever comes next.
const SHARE: usize = 4;

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

    /// Whether any job is being driven.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
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

    /// Ends calls whose time is over. Returns, once each, jobs whose window is over: the shell closes
    /// them in the store once what is recorded here is durable, and then calls [`Self::remove`].
    pub fn expire(&mut self, now: Timestamp) -> Vec<JobNumber> {
        let mut over = Vec::new();
        let due: Vec<_> = self
            .alarms
            .range(..=(now, JobNumber(u64::MAX)))
            .copied()
            .collect();
        for (_, number) in due {
            self.expire_calls(number, now);
            self.set_alarm(number);
            let Some(entry) = self.jobs.get_mut(&number) else {
                continue;
            };
            if entry.job.deadline() <= now {
                entry.is_over = true;
                over.push(number);
                self.stop_beginning(number);
                self.set_alarm(number);
            }
        }
        over
    }

    fn expire_calls(&mut self, number: JobNumber, now: Timestamp) {
        while let Some(entry) = self.jobs.get_mut(&number) {
            let Some((deadline, ordinal, call)) = entry.deadlines.front().copied() else {
                return;
            };
            if deadline > now {
                return;
            }
            entry.deadlines.pop_front();
            let outcome = if call.term < self.term {
                Outcome::Unknown
            } else {
                Outcome::TimedOut
            };
            if entry.in_flight.get(&ordinal) == Some(&call) {
                self.settle_call(number, ordinal, call, outcome, now);
            }
        }
    }

    /// Picks the next calls, as many as the bounds allow; jobs take turns.
    pub fn choose(&mut self, mut next_call: impl FnMut() -> CallId) {
        let mut budget = self
            .bounds
            .dispatches
            .saturating_sub(self.records.dispatched);
        // Jobs passed over since one last began something.
        let mut passed = 0;
        while budget > 0 && passed < self.active.len() {
            if self.room() <= self.bounds.in_flight / 256 {
                return;
            }
            let Some(number) = self.next_in_turn() else {
                return;
            };
            self.turn = number;
            let allowed = self.allowance(number).min(budget).min(TURN_DISPATCHES);
            match self.choose_from(number, allowed, &mut next_call) {
                0 if self.active.contains(&number) => passed += 1,
                0 => {}
                chosen => {
                    budget -= chosen;
                    passed = 0;
                }
            }
        }
    }

    /// The job after the one whose turn was last.
    fn next_in_turn(&self) -> Option<JobNumber> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let mut jobs = self.active.range(after).chain(&self.active);
        jobs.next().copied()
    }

    /// Calls that may still begin.
    fn room(&self) -> usize {
        self.bounds.in_flight.saturating_sub(self.in_flight)
    }

    /// How many calls a job may begin now. A job that is near its share waits until a group is worth a
    /// commit; one with little in flight does not.
    fn allowance(&self, number: JobNumber) -> usize {
        let Some(entry) = self.jobs.get(&number) else {
            // Gone: one round finds that out and takes it off the list.
            return 1;
        };
        let held = entry.in_flight.len();
        let free = (SHARE * self.room()).saturating_sub(held).min(self.room());
        let candidates = usize::try_from(entry.candidates.len()).unwrap_or(usize::MAX);
        let group = held
            .min((self.bounds.in_flight / 16).max(1))
            .min(candidates);
        if free < group { 0 } else { free }
    }

    fn choose_from(
        &mut self,
        number: JobNumber,
        budget: usize,
        next_call: &mut impl FnMut() -> CallId,
    ) -> usize {
        let Some(space) = self.jobs.get(&number).map(|entry| entry.job.plan.space) else {
            self.active.remove(&number);
            return 0;
        };
        let mut chosen = 0;
        while chosen < budget {
            let candidate = self.jobs.get_mut(&number).and_then(|entry| {
                let ordinal = entry.candidates.min()?;
                entry.candidates.remove(ordinal);
                Some(ordinal)
            });
            let Some(ordinal) = candidate else {
                self.active.remove(&number);
                break;
            };
            let key = IdentityKey { space, ordinal };
            if !self.ready[index(space)].contains(ordinal) {
                continue;
            }
            if self.load(key) >= self.bounds.per_device {
                self.parked.entry(key).or_default().insert(number);
                continue;
            }
            self.dispatch(number, key, next_call());
            chosen += 1;
        }
        self.index_if_small(number);
        chosen
    }

    fn dispatch(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        self.unindex(number, key);
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        entry.pending.remove(key.ordinal);
        entry.in_flight.insert(key.ordinal, call);
        self.calls.insert(call, (number, key.ordinal));
        *self.loads.entry(key).or_default() += 1;
        self.in_flight += 1;
        self.records.of(number).dispatched.push((key.ordinal, call));
        self.records.dispatched += 1;
    }

    /// The records to commit now, if any: at once with dispatches or many outcomes, else after a moment in
    /// which outcomes may gather.
    pub fn take_batch(&mut self, now: Timestamp) -> Option<Vec<JobRecords>> {
        let is_due = self.commit_due().is_some_and(|due| due <= now);
        is_due.then(|| {
            std::mem::take(&mut self.records)
                .by_job
                .into_values()
                .collect()
        })
    }

    fn commit_due(&self) -> Option<Timestamp> {
        let records = &self.records;
        let is_full = records.settled >= limits::SETTLE_BATCH_MAX
            || records.bytes >= limits::SETTLE_BATCH_BYTES_MAX;
        if is_full || records.dispatched > 0 || records.withdrawn > 0 {
            return Some(Timestamp(i64::MIN));
        }
        records
            .oldest_settled
            .map(|oldest| oldest + limits::SETTLE_GROUP_WAIT)
    }

    /// Whether anything waits for a commit.
    pub fn has_records(&self) -> bool {
        !self.records.by_job.is_empty()
    }

    /// Whether so much waits for a commit that no more answers should be taken.
    pub fn is_full(&self) -> bool {
        self.records.settled >= 4 * limits::SETTLE_BATCH_MAX
            || self.records.bytes >= 4 * limits::SETTLE_BATCH_BYTES_MAX
    }

    /// A batch is durable: gives the calls that may leave, and forgets jobs that ended.
    pub fn committed(
        &mut self,
        batch: Vec<JobRecords>,
        results: &[JobCommitted],
        now: Timestamp,
    ) -> Vec<SendGroup> {
        let mut groups = Vec::new();
        for (records, result) in batch.into_iter().zip(results) {
            let refused: BTreeSet<Ordinal> = result.refused.iter().copied().collect();
            let sends = self.release(records, &refused, now);
            if result.ended {
                self.remove(result.job);
            } else if let Some(entry) = self.jobs.get(&result.job).filter(|_| !sends.is_empty()) {
                let template = entry.template.clone();
                groups.push(SendGroup {
                    job: result.job,
                    template,
                    sends,
                });
            }
            self.set_alarm(result.job);
        }
        groups
    }

    fn release(
        &mut self,
        records: JobRecords,
        refused: &BTreeSet<Ordinal>,
        now: Timestamp,
    ) -> Vec<Send> {
        let mut sends = Vec::new();
        for (ordinal, call) in records.dispatched {
            let Some(entry) = self.jobs.get_mut(&records.job) else {
                break;
            };
            if entry.in_flight.get(&ordinal) != Some(&call) {
                continue;
            }
            let key = IdentityKey {
                space: entry.job.plan.space,
                ordinal,
            };
            if refused.contains(&ordinal) {
                self.drop_call(records.job, key, call);
                continue;
            }
            let deadline = now + entry.response;
            entry.push_deadline(deadline, ordinal, call);
            sends.push(Send {
                key,
                call,
                deadline,
            });
        }
        sends
    }

    /// A call did not and will not leave: its device is pending again.
    pub fn withdraw(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        let is_ours = self
            .jobs
            .get(&number)
            .is_some_and(|entry| entry.in_flight.get(&key.ordinal) == Some(&call));
        if !is_ours {
            return;
        }
        self.drop_call(number, key, call);
        self.records.of(number).withdrawn.push((key.ordinal, call));
        self.records.withdrawn += 1;
        let Some(entry) = self.jobs.get_mut(&number).filter(|entry| entry.may_begin) else {
            return;
        };
        entry.pending.insert(key.ordinal);
        if entry.is_small {
            self.by_device.entry(key).or_default().insert(number);
        }
        if self.ready[index(key.space)].contains(key.ordinal) {
            self.make_candidate(number, key.ordinal);
        }
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

    fn settle_absent(&mut self, number: JobNumber, ordinal: Ordinal, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        match entry.in_flight.get(&ordinal).copied() {
            Some(call) => self.settle_call(number, ordinal, call, Outcome::Deleted, now),
            None => {
                let key = IdentityKey {
                    space: entry.job.plan.space,
                    ordinal,
                };
                entry.pending.remove(ordinal);
                entry.candidates.remove(ordinal);
                self.unindex(number, key);
                self.records.settle(number, ordinal, Outcome::Deleted, now);
            }
        }
    }

    fn settle_call(
        &mut self,
        number: JobNumber,
        ordinal: Ordinal,
        call: CallId,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let Some(entry) = self.jobs.get(&number) else {
            return;
        };
        let key = IdentityKey {
            space: entry.job.plan.space,
            ordinal,
        };
        self.drop_call(number, key, call);
        self.records.settle(number, ordinal, outcome, now);
    }

    fn drop_call(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        if let Some(entry) = self.jobs.get_mut(&number) {
            entry.in_flight.remove(&key.ordinal);
        }
        if self.calls.remove(&call).is_some() {
            self.in_flight -= 1;
            self.relieve(key);
        }
    }

    /// One call less to a device: the oldest job that waits for it may go on.
    fn relieve(&mut self, key: IdentityKey) {
        if let Some(load) = self.loads.get_mut(&key) {
            *load -= 1;
            if *load == 0 {
                self.loads.remove(&key);
            }
        }
        self.unpark(key);
    }

    /// Lets the oldest job that waits for a device's load to fall go on. Jobs that no longer want the
    /// device do not use up the turn.
    fn unpark(&mut self, key: IdentityKey) {
        while let Some(parked) = self.parked.get_mut(&key) {
            let next = parked.pop_first();
            if parked.is_empty() {
                self.parked.remove(&key);
            }
            if next.is_some_and(|number| self.make_candidate(number, key.ordinal)) {
                return;
            }
        }
    }

    /// False when the job does not want the device (any more).
    fn make_candidate(&mut self, number: JobNumber, ordinal: Ordinal) -> bool {
        let wanted = self
            .jobs
            .get_mut(&number)
            .filter(|entry| entry.may_begin && entry.pending.contains(ordinal));
        let Some(entry) = wanted else {
            return false;
        };
        entry.candidates.insert(ordinal);
        self.active.insert(number);
        true
    }

    /// Jobs that have this device pending, oldest first.
    fn waiting_for(&self, key: IdentityKey) -> BTreeSet<JobNumber> {
        let mut waiting = self.by_device.get(&key).cloned().unwrap_or_default();
        waiting.extend(self.probed.iter().filter(|number| {
            self.jobs.get(number).is_some_and(|entry| {
                entry.job.plan.space == key.space && entry.pending.contains(key.ordinal)
            })
        }));
        waiting
    }

    fn stop_beginning(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        entry.may_begin = false;
        let candidates = std::mem::take(&mut entry.candidates);
        let pending = std::mem::take(&mut entry.pending);
        let (space, is_small) = (entry.job.plan.space, entry.is_small);
        if is_small {
            for ordinal in &pending {
                self.unindex(number, IdentityKey { space, ordinal });
            }
        }
        self.active.remove(&number);
        let is_wanted = |key: &&IdentityKey| key.space == space && pending.contains(key.ordinal);
        let shared: Vec<_> = self.parked.keys().filter(is_wanted).copied().collect();
        for key in shared {
            match candidates.contains(key.ordinal) {
                // Its place goes to whoever waits for the same device.
                true => self.unpark(key),
                false => self.leave(number, key),
            }
        }
    }

    fn leave(&mut self, number: JobNumber, key: IdentityKey) {
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.remove(&number);
            if parked.is_empty() {
                self.parked.remove(&key);
            }
        }
    }

    fn of_job(&self, number: JobNumber, set: &RoaringBitmap) -> Vec<Ordinal> {
        let Some(entry) = self.jobs.get(&number) else {
            return Vec::new();
        };
        let mut both: RoaringBitmap = &entry.pending & set;
        both.extend(
            entry
                .in_flight
                .keys()
                .filter(|ordinal| set.contains(**ordinal)),
        );
        both.into_iter().collect()
    }

    /// Moves a job whose pending set has become small from probing to look-up by device.
    fn index_if_small(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        if entry.is_small || entry.pending.len() > self.bounds.small {
            return;
        }
        entry.is_small = true;
        self.probed.remove(&number);
        for ordinal in &entry.pending {
            let key = IdentityKey {
                space: entry.job.plan.space,
                ordinal,
            };
            self.by_device.entry(key).or_default().insert(number);
        }
    }

    fn unindex(&mut self, number: JobNumber, key: IdentityKey) {
        if let Some(numbers) = self.by_device.get_mut(&key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_device.remove(&key);
            }
        }
    }

    fn load(&self, key: IdentityKey) -> usize {
        self.loads.get(&key).copied().unwrap_or(0)
    }

    fn set_alarm(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        let first = entry
            .deadlines
            .front()
            .map_or(Timestamp::FAR_FUTURE, |(at, ..)| *at);
        let alarm = match entry.is_over {
            true => Timestamp::FAR_FUTURE,
            false => first.min(entry.job.deadline()),
        };
        if alarm != entry.alarm {
            self.alarms.remove(&(entry.alarm, number));
            self.alarms.insert((alarm, number));
            entry.alarm = alarm;
        }
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
