//! The process dies after each commit of a busy hub's life, in turn; another takes over its file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fanfare_hub::{
    ids::CallId,
    jobs::{job::JobEnd, ledger::Outcome},
    registry::Precondition,
    time::Timestamp,
};

use crate::rig::{
    Disk, FakeLink, Kind, Rig, T0, device, floor, job_id, method, names, request, second,
};

const LATER: u64 = 200;

/// What the outside world knows when the process dies.
#[derive(Default)]
struct Known {
    accepted: BTreeSet<&'static str>,
    canceled: BTreeSet<&'static str>,
    deleted: bool,
    links: BTreeMap<&'static str, Arc<FakeLink>>,
    /// Calls of the cancelled job when its cancel was answered.
    calls_of_x: Option<usize>,
    now: Option<Timestamp>,
}

impl Known {
    fn calls_of(&self, method: &str) -> usize {
        let calls = self.links.values().flat_map(|link| link.named_calls());
        calls.filter(|(_, name)| name == method).count()
    }
}

async fn schedule(rig: &Rig, known: &mut Known, id: &'static str, start: Option<Timestamp>) {
    let operation = match id {
        "t" => floor(3),
        _ => method(id),
    };
    let job = rig
        .hub
        .jobs
        .schedule(request(id, "*", operation, start))
        .await;
    if job.is_ok() {
        known.accepted.insert(id);
    }
}

async fn cancel(rig: &Rig, known: &mut Known, id: &'static str) {
    if rig.hub.jobs.cancel(&job_id(id)).await.is_ok() {
        known.canceled.insert(id);
        known.calls_of_x.get_or_insert(known.calls_of("x"));
    }
}

async fn work(rig: &Rig) {
    for _ in 0..2 {
        rig.settle_some(4).await;
        rig.clock.advance(Duration::from_millis(5));
    }
    rig.settle_some(4).await;
}

/// A life of a hub that may end at any commit. `a` answers, `b` and `d` are silent, `c` comes late, `e`
/// never, and is deleted.
async fn live(rig: &Rig) -> Known {
    let mut known = Known::default();
    for (name, answers) in [("a", true), ("b", false), ("d", false)] {
        known.links.insert(name, rig.connect(name, answers));
    }
    schedule(rig, &mut known, "m", None).await;
    work(rig).await;
    schedule(rig, &mut known, "later", Some(second(LATER))).await;
    schedule(rig, &mut known, "never", Some(second(LATER))).await;
    schedule(rig, &mut known, "t", None).await;
    work(rig).await;
    known.links.insert("c", rig.connect("c", true));
    let deleted = rig
        .hub
        .registry
        .delete(device("e"), Precondition::Exists)
        .await;
    known.deleted = deleted.is_ok();
    cancel(rig, &mut known, "never").await;
    known.calls_of_x = None;
    work(rig).await;
    schedule(rig, &mut known, "x", None).await;
    work(rig).await;
    cancel(rig, &mut known, "x").await;
    work(rig).await;
    for (_, link) in known.links.iter().filter(|(name, _)| **name == "d") {
        for call in link.unanswered() {
            rig.answer(link, call, "\"done\"").await;
        }
    }
    work(rig).await;
    if let Some(calls) = known.calls_of_x {
        assert_eq!(known.calls_of("x"), calls, "a call left after the cancel");
    }
    known.now = Some(rig.now());
    known
}

/// The next process: everybody comes back at once, and repeats what was not acknowledged.
async fn take_over(rig: &Rig, before: &Known) -> BTreeMap<&'static str, Arc<FakeLink>> {
    rig.create(&["a", "b", "c", "d"]).await;
    let mut links = BTreeMap::new();
    for name in ["a", "b", "c", "d"] {
        let link = rig.connect(name, false);
        let old = before.links.get(name);
        let acknowledged = old.map(|link| link.acknowledged()).unwrap_or_default();
        let calls = old.map(|link| link.calls()).unwrap_or_default();
        for call in calls.iter().filter(|call| !acknowledged.contains(call)) {
            rig.answer(&link, *call, "\"done\"").await;
        }
        link.let_answer();
        links.insert(name, link);
    }
    for _ in 0..24 {
        work(rig).await;
        rig.clock.advance(Duration::from_secs(40));
    }
    links
}

async fn judge(rig: &Rig, before: &Known, after: &BTreeMap<&'static str, Arc<FakeLink>>, at: &str) {
    for id in &before.accepted {
        let ended = rig.ended(id).await;
        let is_canceled = before.canceled.contains(id);
        assert_eq!(
            ended.end == JobEnd::Cancelled,
            is_canceled,
            "{at}: {id} {ended:?}"
        );
    }
    let calls_after = |name: &str| {
        let calls = after.values().flat_map(|link| link.named_calls());
        calls.filter(|(_, called)| called == name).count()
    };
    if before.canceled.contains("x") {
        assert_eq!(calls_after("x"), 0, "{at}: a call left after the cancel");
    }
    assert_eq!(before.calls_of("never"), 0);
    for name in ["a", "b", "c", "d"] {
        let old = before.links.get(name);
        let mut methods = BTreeSet::new();
        let mut calls: BTreeMap<CallId, String> = BTreeMap::new();
        for link in old.into_iter().chain([&after[name]]) {
            for (call, method) in link.named_calls() {
                assert!(
                    methods.insert(method.clone()),
                    "{at}: {name} got {method} twice"
                );
                assert_eq!(calls.insert(call, method), None, "{at}: {call} twice");
            }
        }
        let acknowledged = old.map(|link| link.acknowledged()).unwrap_or_default();
        for call in acknowledged.iter().chain(&after[name].acknowledged()) {
            let outcome = rig.outcome(&calls[call], name).await;
            let is_answered = matches!(outcome, Some(Outcome::Answered { .. }));
            assert!(is_answered, "{at}: {name} {} {outcome:?}", calls[call]);
        }
        if before.accepted.contains("t") {
            assert_eq!(rig.desired_version(name).await, 2, "{at}: {name}");
        }
    }
    let e = rig
        .hub
        .twins
        .get(&device("e"))
        .await
        .expect("the store works");
    assert!(!before.deleted || e.is_none(), "{at}: a deletion was lost");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_at_any_commit() {
    let mut limit = 0;
    loop {
        let disk = Disk::new(Kind::Inline);
        let rig = disk.start(T0);
        rig.create(&["a", "b", "c", "d", "e"]).await;
        let begun = rig.store.commits();
        rig.store.crash_after(limit);
        let known = live(&rig).await;
        let is_whole = rig.store.commits() - begun < limit;
        rig.crash().await;
        let now = known.now.expect("it lived") + Duration::from_secs(1);
        let rig = disk.start(now);
        let after = take_over(&rig, &known).await;
        judge(&rig, &known, &after, &format!("after commit {limit}")).await;
        rig.crash().await;
        if is_whole {
            break;
        }
        limit += 1;
    }
    assert!(limit > 20, "the life has only {limit} commits");
}

#[tokio::test]
async fn a_crowd_of_devices_survives_crashes_again_and_again() {
    const DEVICES: u32 = 60;
    let disk = Disk::new(Kind::Inline);
    let names = names(DEVICES);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rig = disk.start(T0);
    rig.create(&names).await;
    rig.schedule("m", "*", method("m")).await;
    rig.schedule("t", "*", floor(1)).await;
    rig.crash().await;

    let mut called: BTreeMap<&str, BTreeSet<CallId>> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    let mut shown = 0;
    for life in 0..12_u32 {
        let rig = disk.start(second(u64::from(life)));
        rig.create(&names).await;
        let progress = rig.progress("m").await;
        assert!(
            progress.succeeded + progress.failed >= shown,
            "counts went back"
        );
        rig.store.crash_after(u64::from(3 + life % 5));
        // In every life another part of the crowd is there, half of which answers.
        let part = names
            .iter()
            .enumerate()
            .filter(|(at, _)| *at as u32 % 12 <= life);
        let mut links = Vec::new();
        for (at, name) in part {
            links.push((
                *name,
                rig.connect(name, (at as u32 + life).is_multiple_of(2)),
            ));
        }
        work(&rig).await;
        work(&rig).await;
        let progress = rig.progress("m").await;
        shown = progress.succeeded + progress.failed;
        for (name, link) in &links {
            called.entry(name).or_default().extend(link.calls());
            acknowledged.extend(link.acknowledged().into_iter().map(|_| *name));
        }
        rig.crash().await;
    }
    let rig = disk.start(second(2_000));
    assert_eq!(rig.ended("t").await.counts(), (DEVICES, 0, 0));
    rig.ended("m").await;
    for name in &names {
        let calls = called.get(name).map_or(0, BTreeSet::len);
        assert!(calls <= 1, "{name} was called {calls} times");
        if acknowledged.contains(name) {
            let outcome = rig.outcome("m", name).await;
            assert!(
                matches!(outcome, Some(Outcome::Answered { .. })),
                "{name}: {outcome:?}"
            );
        }
        assert_eq!(rig.desired_version(name).await, 2);
    }
}
