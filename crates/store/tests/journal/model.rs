//! Random lives of a few jobs beside a model of them: devices, cancels, failures, crashes, maintenance.
//!
//! A write that fails may have happened or not; after the reopening the store must show one of the two.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_hub::{
    ids::{CallId, Ordinal, Term},
    jobs::{
        job::{JobEnd, JobState},
        ledger::Outcome,
    },
    ports::store::{AcceptRules, DeviceJobState, JobRecords, StoreError},
    registry::Precondition,
    time::Timestamp,
};
use proptest::{collection::vec, prelude::*};
use roaring::RoaringBitmap;
use serde_json::json;

use super::Bench;
use crate::contract::{
    at, delete, device,
    jobs::{answer, fleet, job_id, look, method_plan, settled, twin_plan},
    patch,
};

const DEVICES: usize = 12;
/// Two method jobs and a twin job.
const JOBS: usize = 3;

/// Devices are chosen by the bits of a mask.
#[derive(Debug, Clone)]
enum Op {
    Insert(usize),
    Start(usize, u16),
    Dispatch(usize, u16),
    Withdraw(usize, u16),
    Settle(usize, u16, usize),
    Page(usize, u16),
    Cancel(usize),
    Close(usize),
    Fail(usize),
    Delete(usize),
    Expire,
    Maintain,
    Reopen,
    /// The commit after so many more does not happen, and nothing after it.
    Crash(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let job = 0..JOBS;
    let mask = || any::<u16>();
    let op = prop_oneof![
        4 => job.clone().prop_map(Op::Insert),
        4 => (job.clone(), mask()).prop_map(|(job, mask)| Op::Start(job, mask)),
        12 => (job.clone(), mask()).prop_map(|(job, mask)| Op::Dispatch(job, mask)),
        3 => (job.clone(), mask()).prop_map(|(job, mask)| Op::Withdraw(job, mask)),
        12 => (job.clone(), mask(), 0..4_usize)
            .prop_map(|(job, mask, kind)| Op::Settle(job, mask & (mask >> 3), kind)),
        6 => (job.clone(), mask()).prop_map(|(job, mask)| Op::Page(job, mask & (mask >> 3))),
        1 => job.clone().prop_map(Op::Cancel),
        1 => job.clone().prop_map(Op::Close),
        1 => job.prop_map(Op::Fail),
        1 => (0..DEVICES).prop_map(Op::Delete),
        1 => Just(Op::Expire),
        1 => Just(Op::Maintain),
        2 => Just(Op::Reopen),
        3 => (0..6_u64).prop_map(Op::Crash),
    ];
    vec(op, 20..100)
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Pending,
    Running(CallId),
    Ended(Outcome),
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Waiting,
    Running,
    Draining,
    Ended(&'static str, Timestamp),
}

#[derive(Debug, Clone, PartialEq)]
struct ModelJob {
    phase: Phase,
    devices: BTreeMap<Ordinal, Place>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    jobs: BTreeMap<usize, ModelJob>,
    deleted: BTreeSet<Ordinal>,
    versions: BTreeMap<Ordinal, u64>,
}

/// Where and when an operation happens.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    term: Term,
    /// Base of the numbers of new calls.
    calls: u64,
}

impl Moment {
    fn call(self, ordinal: Ordinal) -> CallId {
        CallId {
            term: self.term,
            number: self.calls + u64::from(ordinal),
        }
    }
}

fn outcome_of(kind: usize, ordinal: Ordinal) -> Outcome {
    match kind {
        0 => answer(ordinal as i32, Some("[1]")),
        1 => answer(200, Some(&format!("\"{}\"", "x".repeat(9_000)))),
        2 => Outcome::TimedOut,
        _ => Outcome::Garbled,
    }
}

impl ModelJob {
    fn may_move(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining)
    }

    /// Whoever was withdrawn or waits when the job drains.
    fn drain(&mut self, outcome: &Outcome) {
        for place in self.devices.values_mut() {
            if *place == Place::Pending {
                *place = Place::Ended(outcome.clone());
            }
        }
    }

    fn end_if_done(&mut self, now: Timestamp) {
        let is_done = |place: &Place| matches!(place, Place::Ended(_));
        if self.may_move() && self.devices.values().all(is_done) {
            let word = match self.phase {
                Phase::Draining => "cancelled",
                _ => "completed",
            };
            self.phase = Phase::Ended(word, now);
        }
    }

    fn end_calls(&mut self, outcome: impl Fn(CallId) -> Outcome) {
        for place in self.devices.values_mut() {
            if let Place::Running(call) = place {
                *place = Place::Ended(outcome(*call));
            }
        }
    }
}

impl Model {
    fn after(&self, op: &Op, chosen: &[Ordinal], moment: Moment) -> Self {
        let mut next = self.clone();
        match *op {
            Op::Insert(job) => {
                next.jobs.entry(job).or_insert_with(|| ModelJob {
                    phase: Phase::Waiting,
                    devices: BTreeMap::new(),
                });
            }
            Op::Delete(_) => next.deleted.extend(chosen),
            Op::Expire => next.expire_oldest(),
            Op::Maintain | Op::Reopen | Op::Crash(_) => {}
            Op::Start(job, _)
            | Op::Dispatch(job, _)
            | Op::Withdraw(job, _)
            | Op::Settle(job, ..)
            | Op::Page(job, _)
            | Op::Cancel(job)
            | Op::Close(job)
            | Op::Fail(job) => {
                let (deleted, versions) = (next.deleted.clone(), &mut next.versions);
                if let Some(job) = next.jobs.get_mut(&job) {
                    let patched = job.apply(op, chosen, &deleted, moment);
                    for ordinal in patched {
                        *versions.entry(ordinal).or_insert(1) += 1;
                    }
                    job.end_if_done(moment.now);
                }
            }
        }
        next
    }

    fn expire_oldest(&mut self) {
        let ended = self.jobs.iter().filter_map(|(name, job)| match job.phase {
            Phase::Ended(_, at) => Some((at, *name)),
            _ => None,
        });
        if let Some((_, oldest)) = ended.min() {
            self.jobs.remove(&oldest);
        }
    }
}

impl ModelJob {
    /// Returns whose twins are patched.
    fn apply(
        &mut self,
        op: &Op,
        chosen: &[Ordinal],
        deleted: &BTreeSet<Ordinal>,
        moment: Moment,
    ) -> Vec<Ordinal> {
        let mut patched = Vec::new();
        let is_draining = self.phase == Phase::Draining;
        match (op, &self.phase) {
            (Op::Start(..), Phase::Waiting) => {
                self.phase = Phase::Running;
                self.devices = chosen.iter().map(|o| (*o, Place::Pending)).collect();
            }
            (Op::Cancel(_), Phase::Waiting) => {
                self.phase = Phase::Ended("cancelled", moment.now);
            }
            (Op::Fail(_), Phase::Waiting) => self.phase = Phase::Ended("failed", moment.now),
            (_, Phase::Waiting | Phase::Ended(..)) => {}
            (Op::Cancel(_), _) => {
                self.phase = Phase::Draining;
                self.drain(&Outcome::Canceled);
            }
            (Op::Close(_), _) => {
                self.end_calls(|call| match call.term < moment.term {
                    true => Outcome::Unknown,
                    false => Outcome::TimedOut,
                });
                self.drain(&Outcome::Unreachable);
            }
            (Op::Fail(_), _) => {
                self.end_calls(|_| Outcome::Unknown);
                self.drain(&Outcome::Canceled);
                self.phase = Phase::Ended("failed", moment.now);
            }
            _ => {
                for ordinal in chosen {
                    let Some(place) = self.devices.get_mut(ordinal) else {
                        continue;
                    };
                    match (op, &place) {
                        (Op::Dispatch(..), Place::Pending) => {
                            *place = Place::Running(moment.call(*ordinal));
                        }
                        (Op::Withdraw(..), Place::Running(_)) => *place = Place::Pending,
                        (Op::Settle(_, _, kind), Place::Running(_) | Place::Pending) => {
                            *place = Place::Ended(outcome_of(*kind, *ordinal));
                        }
                        (Op::Page(..), Place::Pending) if deleted.contains(ordinal) => {
                            *place = Place::Ended(Outcome::Deleted);
                        }
                        (Op::Page(..), Place::Pending) => {
                            *place = Place::Ended(Outcome::Applied);
                            patched.push(*ordinal);
                        }
                        _ => {}
                    }
                }
                if is_draining {
                    self.drain(&Outcome::Canceled);
                }
            }
        }
        patched
    }
}

async fn perform(
    bench: &Bench,
    model: &Model,
    op: &Op,
    chosen: &[Ordinal],
    moment: Moment,
) -> Result<(), StoreError> {
    let store = bench.store();
    let Moment { now, term, .. } = moment;
    let number = async |job: usize| {
        let found = store.job_get(&job_id(&format!("j{job}"))).await;
        found.map(|job| job.map(|job| job.number))
    };
    match *op {
        Op::Insert(job) => {
            let plan = match job {
                2 => twin_plan(patch(json!({"t": 1}), json!({"d": 2}))),
                _ => method_plan(),
            };
            let id = job_id(&format!("j{job}"));
            let insert = store.job_insert(id, plan, None, now, AcceptRules::default());
            insert.await.map(drop)
        }
        Op::Start(job, _) => {
            let Some(number) = number(job).await? else {
                return Ok(());
            };
            let targets: RoaringBitmap = chosen.iter().copied().collect();
            store.job_targets_clear(number, term).await?;
            store.job_targets_add(number, term, targets).await?;
            store.job_seal(number, term, now).await.map(drop)
        }
        Op::Dispatch(job, _) | Op::Withdraw(job, _) | Op::Settle(job, ..) => {
            let Some(number) = number(job).await? else {
                return Ok(());
            };
            let records = records_of(model, op, chosen, moment);
            let records = JobRecords {
                job: number,
                ..records
            };
            store.job_journal(term, vec![records], now).await.map(drop)
        }
        Op::Page(job, _) => {
            let Some(number) = number(job).await? else {
                return Ok(());
            };
            let page = store.job_twin_page(number, term, chosen.to_vec(), now);
            page.await.map(drop)
        }
        Op::Cancel(job) => {
            let id = job_id(&format!("j{job}"));
            store.job_cancel(&id, now).await.map(drop)
        }
        Op::Close(job) => match number(job).await? {
            Some(number) => store.job_close(number, term, now).await.map(drop),
            None => Ok(()),
        },
        Op::Fail(job) => match number(job).await? {
            Some(number) => {
                let fail = store.job_fail(number, term, "no".into(), now);
                fail.await.map(drop)
            }
            None => Ok(()),
        },
        Op::Delete(n) => {
            let gone = delete(&device(&format!("d{n}")), Precondition::Any);
            store.identity_write(vec![gone], now).await.map(drop)
        }
        Op::Expire => store.job_expire(at(1_000_000), 1).await.map(drop),
        Op::Maintain => bench.embedded().maintain(),
        Op::Reopen | Op::Crash(_) => Ok(()),
    }
}

fn records_of(model: &Model, op: &Op, chosen: &[Ordinal], moment: Moment) -> JobRecords {
    let mut records = JobRecords {
        job: fanfare_hub::ids::JobNumber(0),
        dispatched: Vec::new(),
        withdrawn: Vec::new(),
        settled: Vec::new(),
    };
    match *op {
        Op::Dispatch(..) => {
            let calls = chosen.iter().map(|o| (*o, moment.call(*o)));
            records.dispatched = calls.collect();
        }
        Op::Withdraw(job, _) => {
            for ordinal in chosen {
                let job = model.jobs.get(&job);
                if let Some(Place::Running(call)) = job.and_then(|job| job.devices.get(ordinal)) {
                    records.withdrawn.push((*ordinal, *call));
                }
            }
        }
        Op::Settle(_, _, kind) => {
            let outcomes = chosen.iter().map(|o| settled(*o, outcome_of(kind, *o), 1));
            records.settled = outcomes.collect();
        }
        _ => {}
    }
    records
}

/// What the store shows, as a model; the calls in flight included.
async fn shown(bench: &Bench, ordinals: &[Ordinal]) -> Model {
    let store = bench.store();
    let mut model = Model::default();
    for name in 0..JOBS {
        let id = job_id(&format!("j{name}"));
        if store.job_get(&id).await.expect("the store works").is_none() {
            continue;
        }
        let (job, rows) = look(&store, &id).await;
        let phase = match &job.state {
            JobState::Waiting => Phase::Waiting,
            JobState::Running { .. } => Phase::Running,
            JobState::Draining { .. } => Phase::Draining,
            JobState::Ended { end, at, .. } => Phase::Ended(
                match end {
                    JobEnd::Completed => "completed",
                    JobEnd::Cancelled => "cancelled",
                    JobEnd::Failed { .. } => "failed",
                },
                *at,
            ),
        };
        let mut devices = BTreeMap::new();
        for row in rows {
            let place = match row.state {
                DeviceJobState::Pending => Place::Pending,
                DeviceJobState::Ended(outcome) => Place::Ended(outcome),
                DeviceJobState::Running => {
                    let ledger = store
                        .job_resume(job.number)
                        .await
                        .expect("the store works")
                        .ledger;
                    Place::Running(ledger.in_flight()[&row.ordinal].call)
                }
            };
            devices.insert(row.ordinal, place);
        }
        model.jobs.insert(name, ModelJob { phase, devices });
    }
    for (n, ordinal) in ordinals.iter().enumerate() {
        let twin = store
            .twin_get(&device(&format!("d{n}")))
            .await
            .expect("the store works");
        match twin {
            None => {
                model.deleted.insert(*ordinal);
            }
            Some(twin) if twin.document.version > 1 => {
                model.versions.insert(*ordinal, twin.document.version);
            }
            Some(_) => {}
        }
    }
    model
}

/// The part of a model that can be seen: twins of deleted devices cannot.
fn visible(mut model: Model) -> Model {
    let deleted = model.deleted.clone();
    model
        .versions
        .retain(|ordinal, _| !deleted.contains(ordinal));
    model
}

async fn play(ops: Vec<Op>) {
    let mut bench = Bench::new();
    let ordinals = fleet(&bench.store(), DEVICES).await;
    let mut model = Model::default();
    for (step, op) in (0_i64..).zip(ops) {
        let chosen: Vec<Ordinal> = match op {
            Op::Start(_, mask)
            | Op::Dispatch(_, mask)
            | Op::Withdraw(_, mask)
            | Op::Settle(_, mask, _)
            | Op::Page(_, mask) => {
                let is_chosen = |n: &usize| mask >> n & 1 == 1;
                (0..DEVICES)
                    .filter(is_chosen)
                    .map(|n| ordinals[n])
                    .collect()
            }
            Op::Delete(n) => vec![ordinals[n]],
            _ => Vec::new(),
        };
        // A twin job has no calls, a method job no pages.
        let is_odd = matches!(
            op,
            Op::Dispatch(2, _) | Op::Withdraw(2, _) | Op::Settle(2, ..)
        ) || matches!(op, Op::Page(0 | 1, _));
        if is_odd {
            continue;
        }
        let moment = Moment {
            now: at(10 + step),
            term: bench.store().term(),
            calls: step as u64 * 1_000,
        };
        match op {
            Op::Crash(commits) => bench.embedded().crash_after(commits),
            Op::Reopen => bench.reopen(),
            _ => {}
        }
        let after = model.after(&op, &chosen, moment);
        let result = perform(&bench, &model, &op, &chosen, moment).await;
        match (result.is_err(), step % 2) {
            // The process died there.
            (true, 0) => bench.reopen(),
            // Only that commit failed, as on a full disk, and the store goes on.
            (true, _) => bench.embedded().crash_after(u64::MAX),
            (false, _) => {}
        }
        let shown = shown(&bench, &ordinals).await;
        if result.is_err() && shown == visible(model.clone()) {
            continue;
        }
        assert_eq!(shown, visible(after.clone()), "after step {step}, {op:?}");
        model = after;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime can be made").block_on(play(ops));
    }
}
