//! The executor against a store made of ledgers: tables and scenarios first, then random events.

mod random;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};

use super::{choice::TURN_DISPATCHES, *};
use crate::{
    ids::JobId,
    jobs::{
        job::{JobState, tests::method_job},
        ledger::{InFlight, Ledger, Rest, RestOutcome},
    },
    json::JsonText,
    ports::store::{JobCommitted, JobRecords},
};

const T0: Timestamp = Timestamp(1_000_000);
const TERM: Term = Term(3);
const BOUNDS: Bounds = Bounds {
    in_flight: 1_000,
    per_device: 4,
    dispatches: 1_000,
    small: 8,
};
const WINDOW_SECONDS: u32 = 1_000;
const RESPONSE_SECONDS: u32 = 10;

fn second(second: u64) -> Timestamp {
    T0 + Duration::from_secs(second)
}

fn key(ordinal: Ordinal) -> IdentityKey {
    IdentityKey {
        space: Space::Devices,
        ordinal,
    }
}

fn old_call(number: u64) -> CallId {
    CallId {
        term: Term(2),
        number,
    }
}

/// A running job that began at [`T0`].
fn job(number: u64) -> Job {
    let mut job = method_job();
    job.id = JobId::parse(&format!("j{number}")).unwrap();
    job.number = JobNumber(number);
    job.plan.window_seconds = WINDOW_SECONDS;
    let Operation::Method(operation) = &mut job.plan.operation else {
        unreachable!("it is a method job");
    };
    operation.response_seconds = RESPONSE_SECONDS;
    job.state = JobState::Running { sealed: T0 };
    job
}

/// A call as it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    job: u64,
    ordinal: Ordinal,
    call: CallId,
}

/// The store's part of the port's promise: records what is legal, ends jobs.
#[derive(Default)]
struct Memory {
    jobs: BTreeMap<JobNumber, (Job, Ledger)>,
    outcomes: BTreeMap<(u64, Ordinal), Outcome>,
}

impl Memory {
    fn journal(&mut self, batch: &[JobRecords], now: Timestamp) -> Vec<JobCommitted> {
        batch
            .iter()
            .map(|records| self.record(records, now))
            .collect()
    }

    fn record(&mut self, records: &JobRecords, now: Timestamp) -> JobCommitted {
        let (job, ledger) = self
            .jobs
            .get_mut(&records.job)
            .expect("jobs are never removed");
        let all = records.dispatched.iter().map(|(ordinal, _)| *ordinal);
        if job.is_ended() {
            return JobCommitted {
                job: records.job,
                refused: all.collect(),
                progress: ledger.progress(),
                ended: true,
            };
        }
        for (ordinal, call) in &records.withdrawn {
            ledger
                .withdraw(*ordinal, *call)
                .expect("it was in flight under this call");
        }
        let flight = |call| InFlight {
            call,
            dispatched: now,
        };
        let refused = records
            .dispatched
            .iter()
            .filter(|(ordinal, call)| {
                !job.may_begin() || ledger.dispatch(*ordinal, flight(*call)).is_err()
            })
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for settled in &records.settled {
            let verdict = settled.outcome.verdict();
            // Somebody of a cancelled job that never began has the job's outcome already.
            if ledger.settle(settled.ordinal, verdict).is_ok() {
                let place = (records.job.0, settled.ordinal);
                let before = self.outcomes.insert(place, settled.outcome.clone());
                assert_eq!(before, None, "two outcomes of {place:?}");
            }
        }
        let ended = ledger.is_done();
        if ended {
            job.finish(now).expect("it was running");
        }
        JobCommitted {
            job: records.job,
            refused,
            progress: ledger.progress(),
            ended,
        }
    }

    fn cancel(&mut self, number: u64, now: Timestamp) {
        let (job, ledger) = self.jobs.get_mut(&JobNumber(number)).expect("it was added");
        if job.cancel(now).is_ok() {
            ledger.close(Rest {
                outcome: RestOutcome::Canceled,
                at: now,
            });
            if ledger.is_done() {
                job.finish(now).expect("it was running");
            }
        }
    }

    fn close(&mut self, number: JobNumber, now: Timestamp) {
        let (job, ledger) = self.jobs.get_mut(&number).expect("it was added");
        if job.is_ended() {
            return;
        }
        let in_flight: Vec<_> = ledger.in_flight().keys().copied().collect();
        for ordinal in in_flight {
            ledger
                .settle(ordinal, Outcome::TimedOut.verdict())
                .expect("it is in flight");
            self.outcomes.insert((number.0, ordinal), Outcome::TimedOut);
        }
        ledger.close(Rest {
            outcome: RestOutcome::Unreachable,
            at: now,
        });
        job.finish(now).expect("it was running");
    }
}

/// An executor with its store, commits made by hand.
struct Rig {
    executor: Executor,
    memory: Memory,
    now: Timestamp,
    next_call: u64,
    /// Every call that left, in order.
    left: Vec<Left>,
    /// Links that take nothing.
    closed: BTreeSet<Ordinal>,
    over: Vec<JobNumber>,
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        Self {
            executor: Executor::new(TERM, bounds),
            memory: Memory::default(),
            now: T0,
            next_call: 1,
            left: Vec::new(),
            closed: BTreeSet::new(),
            over: Vec::new(),
        }
    }

    fn add(&mut self, number: u64, targets: impl IntoIterator<Item = Ordinal>) {
        self.add_ledger(number, Ledger::sealed(targets.into_iter().collect()));
    }

    fn add_ledger(&mut self, number: u64, ledger: Ledger) {
        self.add_job(job(number), ledger, &RoaringBitmap::new());
    }

    fn add_job(&mut self, job: Job, ledger: Ledger, deleted: &RoaringBitmap) {
        self.memory
            .jobs
            .insert(job.number, (job.clone(), ledger.clone()));
        self.executor
            .add(JobResumed { job, ledger }, deleted, self.now);
    }

    fn ready(&mut self, ordinals: impl IntoIterator<Item = Ordinal>) {
        for ordinal in ordinals {
            self.executor.presence_changed(key(ordinal), true);
        }
    }

    fn unready(&mut self, ordinal: Ordinal) {
        self.executor.presence_changed(key(ordinal), false);
    }

    /// What the shell does first: time, then choice. The batch is what it would commit now.
    fn begin(&mut self) -> Option<Vec<JobRecords>> {
        self.over.extend(self.executor.expire(self.now));
        let next = &mut self.next_call;
        self.executor.choose(usize::MAX, || {
            *next += 1;
            CallId {
                term: TERM,
                number: *next,
            }
        });
        let until = match self.over.is_empty() {
            true => self.now,
            false => Timestamp::FAR_FUTURE,
        };
        self.executor.take_batch(until)
    }

    /// What the shell does once the batch is durable; gives the calls that left.
    fn finish(&mut self, batch: Vec<JobRecords>, results: &[JobCommitted]) -> Vec<Left> {
        let groups = self.executor.committed(batch, results, self.now);
        let mut left = Vec::new();
        for group in groups {
            for send in group.sends {
                if !self.executor.may_send(group.job, self.now) {
                    self.executor.withdraw(group.job, send.key, send.call);
                } else if self.closed.contains(&send.key.ordinal) {
                    self.executor.presence_changed(send.key, false);
                    self.executor.withdraw(group.job, send.key, send.call);
                } else {
                    left.push(Left {
                        job: group.job.0,
                        ordinal: send.key.ordinal,
                        call: send.call,
                    });
                }
            }
        }
        self.left.extend(&left);
        left
    }

    fn close_over(&mut self) {
        for number in std::mem::take(&mut self.over) {
            self.memory.close(number, self.now);
            self.executor.remove(number);
        }
    }

    /// One turn of the shell with a store that answers at once.
    fn step(&mut self) -> Vec<Left> {
        let batch = self.begin().unwrap_or_default();
        let results = self.memory.journal(&batch, self.now);
        let left = self.finish(batch, &results);
        self.close_over();
        left
    }

    /// Turns until nothing leaves any more and everything is recorded; takes a moment.
    fn settle_down(&mut self) -> Vec<Left> {
        let mut all = Vec::new();
        loop {
            let left = self.step();
            let is_quiet = left.is_empty() && self.executor.wake_at() > self.now;
            if is_quiet && !self.executor.has_records() {
                return all;
            }
            if is_quiet {
                self.now = self.now + limits::SETTLE_GROUP_WAIT;
            }
            all.extend(left);
        }
    }

    fn answer(&mut self, left: Left) -> bool {
        self.answer_from(left.ordinal, left.call)
    }

    fn answer_from(&mut self, ordinal: Ordinal, call: CallId) -> bool {
        let payload = AnswerPayload::Json(JsonText::null());
        self.executor
            .answered(key(ordinal), call, 200, payload, self.now)
    }

    /// Answers everything, and what that makes leave, until nothing leaves.
    fn answer_all(&mut self, mut left: Vec<Left>) -> usize {
        let mut answered = 0;
        while !left.is_empty() {
            for left in left {
                answered += usize::from(self.answer(left));
            }
            left = self.settle_down();
        }
        answered
    }

    fn outcome(&self, number: u64, ordinal: Ordinal) -> Option<&Outcome> {
        self.memory.outcomes.get(&(number, ordinal))
    }

    fn is_ended(&self, number: u64) -> bool {
        self.memory.jobs[&JobNumber(number)].0.is_ended()
    }

    /// Nothing is kept of jobs that ended.
    fn assert_empty(&self) {
        let executor = &self.executor;
        assert!(executor.jobs.is_empty(), "jobs {:?}", executor.jobs.keys());
        assert!(executor.active.is_empty(), "{:?}", executor.active);
        assert!(executor.calls.is_empty(), "{:?}", executor.calls);
        assert!(executor.loads.is_empty(), "{:?}", executor.loads);
        assert!(executor.parked.is_empty(), "{:?}", executor.parked);
        assert!(executor.by_device.is_empty(), "{:?}", executor.by_device);
        assert!(executor.probed.is_empty(), "{:?}", executor.probed);
        assert!(executor.alarms.is_empty(), "{:?}", executor.alarms);
        assert_eq!(executor.in_flight(), 0);
        assert!(!executor.has_records());
        assert_eq!(executor.wake_at(), Timestamp::FAR_FUTURE);
    }
}

fn answered() -> Outcome {
    Outcome::Answered {
        status: 200,
        payload: Some(JsonText::null()),
    }
}

fn ordinals(left: &[Left]) -> Vec<Ordinal> {
    left.iter().map(|left| left.ordinal).collect()
}

fn jobs(left: &[Left]) -> Vec<u64> {
    left.iter().map(|left| left.job).collect()
}
