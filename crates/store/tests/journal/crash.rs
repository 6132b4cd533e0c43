//! The life of a job, crashed at every one of its commits, and gone on with as a hub would.
//!
//! The driver here asks the store where things stand and does what is next, so that it can begin in the
//! middle of a life. What the store acknowledged, and what it showed, it may never take back.

use std::{collections::BTreeMap, sync::Arc};

use fanfare_hub::{
    ids::{CallId, Ordinal},
    jobs::{
        job::{Job, JobPlan, JobState, Progress},
        ledger::{Ledger, Outcome, Settled},
    },
    ports::store::{
        AcceptRules, DeviceJobRow, DeviceJobState, JobCanceled, JobRecords, Store, StoreError,
    },
    registry::Precondition,
    time::Timestamp,
};
use roaring::RoaringBitmap;
use serde_json::json;

use super::{Bench, Lying, history_rows};
use crate::contract::{
    at, create, delete, device,
    jobs::{answer, job_id, look, method_plan, nothing, twin_plan},
    patch,
};

/// What kind of life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Calls, answers, withdrawals, time-outs; some devices stay offline.
    Method,
    /// The same, cancelled when half of it is done.
    Canceled,
    /// Pages of twins; one device refuses, one is deleted.
    Twin,
}

/// What was acknowledged and seen so far.
struct World {
    life: Life,
    targets: Vec<Ordinal>,
    clock: i64,
    next_call: u64,
    is_accepted: bool,
    is_canceled: bool,
    is_expired: bool,
    /// Outcomes that a write acknowledged.
    acknowledged: BTreeMap<Ordinal, Outcome>,
    /// Calls in flight that a write acknowledged.
    in_flight: BTreeMap<Ordinal, CallId>,
    /// What rows said of ended devices.
    seen: BTreeMap<Ordinal, (Outcome, Timestamp)>,
    shown: Option<(JobState, Progress)>,
    commits_of_calls: u32,
    met: Met,
}

/// What a life must have met to be worth crashing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Met {
    merge: bool,
    checkpoint: bool,
    unknown: bool,
    old_call_answered: bool,
}

impl Met {
    fn and(self, other: Self) -> Self {
        Self {
            merge: self.merge || other.merge,
            checkpoint: self.checkpoint || other.checkpoint,
            unknown: self.unknown || other.unknown,
            old_call_answered: self.old_call_answered || other.old_call_answered,
        }
    }
}

const DEVICES: usize = 72;

impl World {
    fn new(life: Life, targets: Vec<Ordinal>) -> Self {
        Self {
            life,
            targets,
            clock: 10,
            next_call: 0,
            is_accepted: false,
            is_canceled: false,
            is_expired: false,
            acknowledged: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            seen: BTreeMap::new(),
            shown: None,
            commits_of_calls: 0,
            met: Met::default(),
        }
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1;
        at(self.clock)
    }

    fn plan(&self) -> JobPlan {
        match self.life {
            Life::Method | Life::Canceled => method_plan(),
            Life::Twin => twin_plan(patch(
                json!({"big": "y".repeat(1_000)}),
                json!({"building": "43"}),
            )),
        }
    }

    fn is_offline(&self, ordinal: Ordinal) -> bool {
        self.life == Life::Method && ordinal.is_multiple_of(9)
    }

    /// What a device answers. Every device says something else, some of it too much for a segment.
    fn answer_of(ordinal: Ordinal) -> Outcome {
        let size = match ordinal % 7 {
            0 => 6_000,
            _ => 4_000,
        };
        let payload = format!("\"{ordinal} {}\"", "x".repeat(size));
        match ordinal % 5 {
            0 => Outcome::TimedOut,
            _ => answer(ordinal as i32, Some(&payload)),
        }
    }
}

/// Lives on until the job has expired. Any error of the store is a crash.
async fn live(bench: &Bench, world: &mut World) -> Result<(), StoreError> {
    let store = bench.store();
    let id = job_id("life");
    while !world.is_expired {
        let Some(job) = store.job_get(&id).await? else {
            assert!(!world.is_accepted, "an accepted job is gone");
            let now = world.now();
            let plan = world.plan();
            store
                .job_insert(id.clone(), plan, None, now, AcceptRules::default())
                .await?;
            world.is_accepted = true;
            continue;
        };
        match job.state {
            JobState::Waiting => begin(&store, &job, world).await?,
            JobState::Ended { .. } => {
                verify(bench, world).await;
                bench.embedded().maintain()?;
                verify(bench, world).await;
                let now = world.now();
                while store.job_expire(now, 1).await? > 0 {}
                world.is_expired = true;
            }
            _ if world.life == Life::Twin => pages(bench, &job, world).await?,
            _ => calls(bench, &job, world).await?,
        }
    }
    Ok(())
}

async fn begin(store: &Arc<dyn Store>, job: &Job, world: &mut World) -> Result<(), StoreError> {
    let term = store.term();
    store.job_targets_clear(job.number, term).await?;
    let mut records: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
    for ordinal in &world.targets {
        records.entry(ordinal >> 16).or_default().insert(*ordinal);
    }
    assert_eq!(records.len(), 3);
    for record in records.into_values() {
        store.job_targets_add(job.number, term, record).await?;
    }
    let now = world.now();
    store.job_seal(job.number, term, now).await.map(drop)
}

async fn pages(bench: &Bench, job: &Job, world: &mut World) -> Result<(), StoreError> {
    let store = bench.store();
    let pending = store.job_resume(job.number).await?.ledger.pending();
    for page in pending.iter().collect::<Vec<_>>().chunks(4) {
        let now = world.now();
        let done = store
            .job_twin_page(job.number, store.term(), page.to_vec(), now)
            .await?;
        let changed = done.changes.iter().map(|(key, _)| key.ordinal);
        world
            .acknowledged
            .extend(changed.map(|ordinal| (ordinal, Outcome::Applied)));
        verify(bench, world).await;
    }
    Ok(())
}

/// Calls three devices, hears two, and so on; then the window ends.
async fn calls(bench: &Bench, job: &Job, world: &mut World) -> Result<(), StoreError> {
    let store = bench.store();
    let mut ledger = store.job_resume(job.number).await?.ledger;
    while !ledger.is_done() {
        world.commits_of_calls += 1;
        if world.commits_of_calls.is_multiple_of(10) {
            verify(bench, world).await;
        }
        let is_late = ledger.progress().succeeded + ledger.progress().failed > DEVICES as u32 / 2;
        if world.life == Life::Canceled && is_late && !world.is_canceled {
            let now = world.now();
            let canceled = store.job_cancel(&job.id, now).await?;
            assert!(matches!(canceled, JobCanceled::Done(_)));
            world.is_canceled = true;
            return Ok(());
        }
        let records = next_records(&store, job, world, &ledger);
        if records == nothing(job) {
            let end = job.deadline().max(world.now());
            return store
                .job_close(job.number, store.term(), end)
                .await
                .map(drop);
        }
        let now = world.now();
        // If this write fails, nobody knows where these stand.
        let moved = records.withdrawn.iter().map(|(ordinal, _)| *ordinal);
        for ordinal in moved.chain(records.settled.iter().map(|entry| entry.ordinal)) {
            world.in_flight.remove(&ordinal);
        }
        let committed = store
            .job_journal(store.term(), vec![records.clone()], now)
            .await?;
        let is_old = |entry: &Settled| {
            let flight = ledger.in_flight().get(&entry.ordinal);
            flight.is_some_and(|flight| flight.call.term < store.term())
        };
        world.met.old_call_answered |= records.settled.iter().any(is_old);
        acknowledge(world, records, &committed[0].refused);
        if committed[0].ended {
            return Ok(());
        }
        ledger = store.job_resume(job.number).await?.ledger;
    }
    Ok(())
}

fn next_records(
    store: &Arc<dyn Store>,
    job: &Job,
    world: &mut World,
    ledger: &Ledger,
) -> JobRecords {
    let mut records = nothing(job);
    let now = world.now();
    let ready = ledger.pending().into_iter();
    let ready: Vec<_> = ready.filter(|o| !world.is_offline(*o)).take(3).collect();
    let flying: Vec<_> = ledger.in_flight().iter().collect();
    if flying.len() < 9 {
        for ordinal in &ready {
            world.next_call += 1;
            let call = CallId {
                term: store.term(),
                number: world.next_call,
            };
            records.dispatched.push((*ordinal, call));
        }
    }
    let is_full = records.dispatched.is_empty() || flying.len() > 4;
    if is_full
        && world.commits_of_calls % 6 == 5
        && !ready.is_empty()
        && let Some((ordinal, flight)) = flying.last()
    {
        records.withdrawn.push((**ordinal, flight.call));
    }
    for (ordinal, flight) in flying.iter().take(2 * usize::from(is_full)) {
        let is_withdrawn = records.withdrawn.iter().any(|(gone, _)| gone == *ordinal);
        // Calls of before the crash: every third is never answered.
        let is_lost = flight.call.term < store.term() && **ordinal % 3 == 0;
        if !is_withdrawn && !is_lost {
            records.settled.push(Settled {
                ordinal: **ordinal,
                outcome: World::answer_of(**ordinal),
                at: now,
            });
        }
    }
    let only_lost = records == nothing(job) && !flying.is_empty();
    if only_lost {
        let later = flying
            .iter()
            .filter(|(o, flight)| flight.call.term == store.term() || **o % 3 != 0);
        records.settled = later
            .take(2)
            .map(|(ordinal, _)| Settled {
                ordinal: **ordinal,
                outcome: World::answer_of(**ordinal),
                at: now,
            })
            .collect();
    }
    records
}

fn acknowledge(world: &mut World, records: JobRecords, refused: &[Ordinal]) {
    for (ordinal, call) in records.dispatched {
        if !refused.contains(&ordinal) {
            world.in_flight.insert(ordinal, call);
        }
    }
    for settled in records.settled {
        world.acknowledged.insert(settled.ordinal, settled.outcome);
    }
}

/// Nothing acknowledged is missing, nothing shown is taken back, nobody has two outcomes.
async fn verify(bench: &Bench, world: &mut World) {
    let store = bench.store();
    let id = job_id("life");
    let found = store.job_get(&id).await.expect("the store works");
    assert!(
        found.is_some() || !world.is_accepted,
        "an accepted job is gone"
    );
    if found.is_none() {
        return;
    }
    let (job, rows) = look(&store, &id).await;
    let db = bench.raw();
    world.met.merge |= Lying::of(&db, job.number).levels.len() > 1;
    world.met.checkpoint |= history_rows(&db).contains(&("job_checkpoint", 1));
    if job.is_running() {
        let ledger = store
            .job_resume(job.number)
            .await
            .expect("the store works")
            .ledger;
        for (ordinal, call) in &world.in_flight {
            let known = ledger.in_flight().get(ordinal).map(|flight| flight.call);
            let has_ended = world.acknowledged.contains_key(ordinal);
            assert!(
                known == Some(*call) || has_ended,
                "the call of {ordinal} is lost"
            );
        }
    }
    never_back(world, &job);
    for row in &rows {
        let acknowledged = world.acknowledged.get(&row.ordinal);
        let DeviceJobState::Ended(outcome) = &row.state else {
            assert_eq!(acknowledged, None, "the outcome of {} is lost", row.ordinal);
            assert!(!world.seen.contains_key(&row.ordinal));
            continue;
        };
        assert!(
            acknowledged.is_none_or(|known| known == outcome),
            "{}",
            row.ordinal
        );
        let now = (outcome.clone(), row.updated);
        let before = world.seen.entry(row.ordinal).or_insert_with(|| now.clone());
        assert!(*before == now, "{} has two outcomes", row.ordinal);
        if *outcome == Outcome::Unknown {
            world.met.unknown = true;
            let call = world.in_flight.get(&row.ordinal);
            assert!(call.is_none_or(|call| call.term < store.term()));
        }
    }
    if world.life == Life::Twin {
        patched_once(&store, &rows).await;
    }
}

fn never_back(world: &mut World, job: &Job) {
    let Some(now) = job.progress else {
        assert!(world.shown.is_none(), "a sealed job is sealed no more");
        return;
    };
    if let Some((state, before)) = &world.shown {
        if matches!(state, JobState::Ended { .. }) {
            assert_eq!((state, before), (&job.state, &now), "an ended job changed");
        }
        let is_ahead = now.succeeded >= before.succeeded
            && now.failed >= before.failed
            && now.canceled >= before.canceled
            && now.total == before.total;
        assert!(is_ahead, "{before:?} went back to {now:?}");
    }
    assert!(!world.is_canceled || !matches!(job.state, JobState::Running { .. }));
    world.shown = Some((job.state.clone(), now));
}

async fn patched_once(store: &Arc<dyn Store>, rows: &[DeviceJobRow]) {
    for row in rows {
        let is_applied = row.state == DeviceJobState::Ended(Outcome::Applied);
        let Some(twin) = store.twin_get(&row.id).await.expect("the store works") else {
            continue;
        };
        // Whoever refuses had another patch before.
        let is_fat = twin.document.tags.contains_key("a");
        let expected = if is_applied || is_fat { 2 } else { 1 };
        assert_eq!(twin.document.version, expected, "{}", row.id);
    }
}

/// A closed store with devices whose ordinals need three records.
async fn template() -> (Bench, Vec<Ordinal>) {
    let mut bench = Bench::new();
    let mut ordinals = Vec::new();
    for (part, first) in [65_520, 131_000, 131_060].into_iter().enumerate() {
        bench.skip_to(first);
        let store = bench.store();
        for n in 0..DEVICES / 3 {
            let key = create(&store, &[&format!("d{part}-{n}")]).await[0];
            ordinals.push(key.ordinal);
        }
    }
    let store = bench.store();
    let chunk = "x".repeat(4_000);
    let fat = device("d1-3");
    let patched = store.twin_patch(
        &fat,
        patch(json!({"a": chunk, "b": chunk}), json!(null)),
        None,
        at(1),
    );
    patched.await.expect("the store works");
    drop(store);
    bench.close();
    (bench, ordinals)
}

async fn crash_at_every_commit_of(life: Life) {
    let (template, targets) = template().await;
    let mut met = Met::default();
    for commits in 0.. {
        let mut bench = Bench::of(&template);
        let mut world = World::new(life, targets.clone());
        bench.embedded().crash_after(commits);
        let first = live(&bench, &mut world).await;
        if first.is_ok() {
            let expected = Met {
                merge: life != Life::Twin,
                checkpoint: true,
                unknown: life != Life::Twin,
                old_call_answered: life != Life::Twin,
            };
            assert_eq!(met, expected, "in {commits} commits");
            return;
        }
        bench.reopen();
        if !world.is_expired && !is_expiring(&bench, &world).await {
            verify(&bench, &mut world).await;
        } else {
            world.is_accepted = false;
        }
        if commits % 3 == 0 && life == Life::Twin {
            let gone = delete(&device("d2-20"), Precondition::Any);
            bench
                .store()
                .identity_write(vec![gone], at(2))
                .await
                .expect("the store works");
        }
        if world.is_accepted {
            live(&bench, &mut world).await.expect("the store works");
        }
        met = met.and(world.met);
        while bench
            .store()
            .job_expire(at(100_000), 1)
            .await
            .expect("the store works")
            > 0
        {}
        let left = history_rows(&bench.raw());
        assert!(left.iter().all(|(_, rows)| *rows == 0), "{left:?}");
    }
}

/// Whether the crash came while the ended job was being removed.
async fn is_expiring(bench: &Bench, world: &World) -> bool {
    let has_ended = matches!(world.shown, Some((JobState::Ended { .. }, _)));
    let found = bench
        .store()
        .job_get(&job_id("life"))
        .await
        .expect("the store works");
    has_ended && found.is_none()
}

#[tokio::test]
async fn a_method_job_survives_a_crash_at_every_commit() {
    crash_at_every_commit_of(Life::Method).await;
}

#[tokio::test]
async fn a_canceled_job_survives_a_crash_at_every_commit() {
    crash_at_every_commit_of(Life::Canceled).await;
}

#[tokio::test]
async fn a_twin_job_survives_a_crash_at_every_commit() {
    crash_at_every_commit_of(Life::Twin).await;
}
