//! The limits of a profile: how many jobs at once, how fast, and what is refused. Times are exact, since the
//! clock is moved by hand.

use std::{sync::Arc, time::Duration};

use fanfare_hub::{
    ids::CallId,
    jobs::{
        CancelError, JobRequest, ScheduleError,
        job::{JobEnd, JobState, Operation},
        ledger::Outcome,
    },
    profile::{JobRules, Profile},
};

use crate::rig::{
    Disk, FakeLink, Rig, T0, answered, floor, job_id, method, names, request, second,
};

crate::on_both! {
    a_twin_job_goes_at_the_pace_of_the_profile
    a_method_job_goes_at_the_pace_of_the_profile
    jobs_share_the_pace
    a_cancelled_job_leaves_the_pace_to_others
    the_window_ends_a_job_that_is_held_back
    a_restart_goes_on_with_a_job_that_is_held_back
    jobs_over_the_bound_are_refused_and_due_ones_wait_their_turn
    the_bound_holds_over_a_restart
    a_running_job_that_may_not_be_cancelled_goes_on
    long_conditions_and_repeated_requests_are_refused
}

const PACE: u32 = 10;

fn with(change: impl FnOnce(&mut JobRules)) -> Profile {
    let mut profile = Profile::open();
    change(&mut profile.jobs);
    profile
}

fn paced() -> Profile {
    with(|rules| rules.device_operations_per_second = Some(PACE))
}

fn one_at_once() -> Profile {
    with(|rules| rules.active_max = Some(1))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Looks before a test has waited in vain.
const LOOKS_MAX: usize = 20_000;

/// Waits, without moving the clock, until `found`; then makes sure that nothing more happens by itself.
async fn exactly(rig: &Rig, what: &str, mut count: impl AsyncFnMut() -> usize, expected: usize) {
    for _ in 0..LOOKS_MAX {
        rig.settle_some(1).await;
        if count().await >= expected {
            rig.settle_some(8).await;
            assert_eq!(count().await, expected, "{what} at {}", rig.now());
            return;
        }
    }
    panic!(
        "{what}: {} instead of {expected} at {}",
        count().await,
        rig.now()
    );
}

async fn succeeded(rig: &Rig, id: &str) -> usize {
    rig.progress(id).await.succeeded as usize
}

fn calls(links: &[Arc<FakeLink>], method: &str) -> usize {
    let of = |link: &Arc<FakeLink>| {
        let calls = link.named_calls();
        calls.iter().filter(|(_, name)| name == method).count()
    };
    links.iter().map(of).sum()
}

async fn create(rig: &Rig, count: u32) {
    let names = names(count);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
}

fn connect(rig: &Rig, count: u32) -> Vec<Arc<FakeLink>> {
    let names = names(count);
    names.iter().map(|name| rig.connect(name, true)).collect()
}

async fn a_twin_job_goes_at_the_pace_of_the_profile(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 35).await;
    rig.schedule("t", "*", floor(3)).await;
    for step in 0..=25 {
        exactly(
            &rig,
            "twins",
            async || succeeded(&rig, "t").await,
            10 + step,
        )
        .await;
        let progress = rig.progress("t").await;
        assert_eq!((progress.total, progress.running), (35, 0));
        if step < 25 {
            rig.clock.advance(millis(99));
            exactly(
                &rig,
                "twins",
                async || succeeded(&rig, "t").await,
                10 + step,
            )
            .await;
            rig.clock.advance(millis(1));
        }
    }
    let ended = rig.ended("t").await;
    assert_eq!(
        (ended.end, ended.at),
        (JobEnd::Completed, T0 + millis(2_500))
    );
    assert_eq!(ended.progress.succeeded, 35);
    for name in names(35) {
        assert_eq!(rig.desired_version(&name).await, 2, "{name}");
    }
}

async fn a_method_job_goes_at_the_pace_of_the_profile(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 25).await;
    let links = connect(&rig, 25);
    rig.schedule("m", "*", method("lock")).await;
    for step in 0..=15 {
        exactly(&rig, "calls", async || calls(&links, "lock"), 10 + step).await;
        if step < 15 {
            rig.clock.advance(millis(99));
            exactly(&rig, "calls", async || calls(&links, "lock"), 10 + step).await;
            rig.clock.advance(millis(1));
        }
    }
    assert_eq!(rig.now(), T0 + millis(1_500));
    let ended = rig.ended("m").await;
    assert_eq!(
        (ended.end, ended.progress.succeeded),
        (JobEnd::Completed, 25)
    );
    assert!(links.iter().all(|link| link.calls().len() == 1));
}

/// Twin and method jobs wait in one line, each for a few places at a time.
async fn jobs_share_the_pace(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 100).await;
    let links = connect(&rig, 100);
    for (id, operation) in [
        ("t1", floor(1)),
        ("m1", method("m1")),
        ("t2", floor(2)),
        ("m2", method("m2")),
    ] {
        rig.schedule(id, "*", operation).await;
        rig.until("the seal", async || rig.job(id).await.sealed())
            .await;
    }
    let count = async || {
        [
            succeeded(&rig, "t1").await,
            calls(&links, "m1"),
            succeeded(&rig, "t2").await,
            calls(&links, "m2"),
        ]
    };
    let sum = async || count().await.iter().sum::<usize>();
    let began = rig.now();
    let allowed = || 10 + rig.now().since(T0).as_millis() as usize / 100;
    let keeps_up = async || {
        // The calls of two jobs leave together, so one place may be kept for the other.
        for _ in 0..LOOKS_MAX {
            rig.settle_some(1).await;
            if sum().await + 1 >= allowed() {
                return sum().await <= allowed();
            }
        }
        false
    };
    assert!(keeps_up().await, "{:?}", count().await);
    let first = count().await;
    while rig.now() < began + Duration::from_secs(12) {
        rig.clock.advance(millis(100));
        assert!(keeps_up().await, "{:?} at {}", count().await, rig.now());
    }
    let last = count().await;
    for (first, last) in first.into_iter().zip(last) {
        assert!((27..=33).contains(&(last - first)), "{last} after {first}");
    }
}

async fn a_cancelled_job_leaves_the_pace_to_others(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 30).await;
    rig.schedule("t1", "*", floor(1)).await;
    exactly(&rig, "twins", async || succeeded(&rig, "t1").await, 10).await;
    let job = rig.hub.jobs.cancel(&job_id("t1")).await;
    assert!(job.expect("it runs").is_ended());
    let ended = rig.ended("t1").await;
    assert_eq!(ended.counts(), (10, 0, 20));
    rig.schedule("t2", "*", floor(2)).await;
    // The cancelled job holds one place at most, and gives up when that has come.
    rig.clock.advance_to(second(1));
    rig.until("twins", async || {
        (succeeded(&rig, "t2").await >= 9).then_some(())
    })
    .await;
    rig.clock.advance_to(second(4));
    let ended = rig.ended("t2").await;
    assert_eq!(ended.counts(), (30, 0, 0));
    assert_eq!(rig.ended("t1").await.counts(), (10, 0, 20), "it is over");
}

async fn the_window_ends_a_job_that_is_held_back(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 40).await;
    let links = connect(&rig, 40);
    for (start, id, operation) in [(0, "t", floor(1)), (100, "m", method("lock"))] {
        rig.clock.advance_to(second(start));
        let request = JobRequest {
            window_seconds: 1,
            ..request(id, "*", operation, None)
        };
        rig.hub.jobs.schedule(request).await.expect("it is fine");
        let begun = async || match id {
            "t" => succeeded(&rig, id).await,
            _ => calls(&links, "lock"),
        };
        for step in 0..10 {
            exactly(&rig, id, begun, 10 + step).await;
            rig.clock.advance(millis(100));
        }
        let ended = rig.ended(id).await;
        // The place that comes with the deadline is too late.
        assert_eq!(ended.counts(), (19, 21, 0), "{id}");
        assert_eq!(
            (ended.end, ended.at),
            (JobEnd::Completed, second(start + 1))
        );
    }
    assert_eq!(calls(&links, "lock"), 19);
    let left = rig.outcome("m", "d-00039").await;
    assert_eq!(left, Some(Outcome::Unreachable));
}

async fn a_restart_goes_on_with_a_job_that_is_held_back(disk: &Disk) {
    let rig = disk.start_with(T0, paced());
    create(&rig, 60).await;
    rig.schedule("t", "*", floor(1)).await;
    exactly(&rig, "twins", async || succeeded(&rig, "t").await, 10).await;
    rig.schedule("m", "*", method("lock")).await;
    rig.clock.advance(millis(500));
    exactly(&rig, "twins", async || succeeded(&rig, "t").await, 15).await;
    rig.crash().await;
    let rig = disk.start_with(T0 + millis(500), paced());
    create(&rig, 60).await;
    // The bucket is full again.
    exactly(&rig, "twins", async || succeeded(&rig, "t").await, 25).await;
    let links = connect(&rig, 60);
    let begun = async || succeeded(&rig, "t").await + calls(&links, "lock");
    for step in 0..95 {
        exactly(&rig, "operations", begun, 25 + step).await;
        rig.clock.advance(millis(100));
    }
    for id in ["t", "m"] {
        let ended = rig.ended(id).await;
        assert_eq!(ended.counts(), (60, 0, 0), "{id}");
    }
    for name in names(60) {
        assert_eq!(rig.desired_version(&name).await, 2, "{name}");
    }
    assert!(links.iter().all(|link| link.calls().len() == 1));
}

/// Each look waits for the store, so that its threads get their time.
async fn nth_call(rig: &Rig, link: &FakeLink, place: usize) -> (CallId, String) {
    rig.until("a call", async || {
        rig.settle_some(1).await;
        link.named_calls().get(place).cloned()
    })
    .await
}

async fn is_waiting(rig: &Rig, id: &str) -> bool {
    rig.job(id).await.state == JobState::Waiting
}

async fn jobs_over_the_bound_are_refused_and_due_ones_wait_their_turn(disk: &Disk) {
    let rig = disk.start_with(T0, one_at_once());
    rig.create(&["a"]).await;
    rig.schedule("running", "*", method("lock")).await;
    rig.until("the seal", async || rig.job("running").await.sealed())
        .await;
    let refused = rig.hub.jobs.schedule(request("no", "*", floor(1), None));
    let refused = refused.await;
    assert!(
        matches!(refused, Err(ScheduleError::TooManyActive(1))),
        "{refused:?}"
    );
    for (id, start) in [("third", 9), ("first", 7), ("second", 8)] {
        rig.schedule_at(id, "*", method(id), Some(second(start)))
            .await;
    }
    rig.clock.advance_to(second(60));
    rig.settle().await;
    for id in ["first", "second", "third"] {
        assert!(is_waiting(&rig, id).await, "{id}");
        assert!(!rig.hub.jobs.is_scheduled(&rig.job(id).await), "it is due");
    }
    let a = rig.connect("a", false);
    for (place, name) in ["lock", "first", "second", "third"].iter().enumerate() {
        let call = nth_call(&rig, &a, place).await;
        assert_eq!(call.1, *name);
        if place == 1 {
            // Whoever is cancelled while it waits takes no place.
            let state = rig.hub.jobs.cancel(&job_id("second")).await;
            assert!(state.expect("it waits").is_ended());
            rig.answer(&a, call.0, "\"done\"").await;
            break;
        }
        rig.answer(&a, call.0, "\"done\"").await;
    }
    let call = nth_call(&rig, &a, 2).await;
    assert_eq!(call.1, "third");
    let cancelled = rig.hub.jobs.cancel(&job_id("third")).await;
    assert!(matches!(
        cancelled.expect("it runs").state,
        JobState::Draining { .. }
    ));
    let refused = rig.hub.jobs.schedule(request("no", "*", floor(1), None));
    assert!(refused.await.is_err(), "it drains, which is active");
    rig.answer(&a, call.0, "\"done\"").await;
    rig.ended("third").await;
    rig.schedule("last", "*", floor(1)).await;
    assert_eq!(rig.ended("last").await.counts(), (1, 0, 0));
}

async fn the_bound_holds_over_a_restart(disk: &Disk) {
    let rig = disk.start_with(T0, one_at_once());
    rig.create(&["a"]).await;
    rig.schedule("running", "*", method("lock")).await;
    rig.until("the seal", async || rig.job("running").await.sealed())
        .await;
    for id in ["t1", "t2"] {
        rig.schedule_at(id, "*", floor(1), Some(second(5))).await;
    }
    rig.crash().await;
    let rig = disk.start_with(second(10), one_at_once());
    rig.create(&["a"]).await;
    rig.settle().await;
    assert!(is_waiting(&rig, "t1").await && is_waiting(&rig, "t2").await);
    rig.connect("a", true);
    for id in ["running", "t1", "t2"] {
        assert_eq!(rig.ended(id).await.counts(), (1, 0, 0), "{id}");
    }
    let order = [rig.ended("t1").await.at, rig.ended("t2").await.at];
    assert!(order.is_sorted());
}

async fn a_running_job_that_may_not_be_cancelled_goes_on(disk: &Disk) {
    let rig = disk.start_with(T0, with(|rules| rules.cancel_while_running = false));
    rig.create(&["a", "b"]).await;
    let a = rig.connect("a", true);
    rig.schedule("j", "*", method("lock")).await;
    rig.called(&[&a]).await;
    let refused = rig.hub.jobs.cancel(&job_id("j")).await;
    let Err(CancelError::TooLate(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.state, "Running");
    let b = rig.connect("b", true);
    rig.called(&[&b]).await;
    assert_eq!(rig.ended("j").await.counts(), (2, 0, 0));
    assert_eq!(rig.outcome("j", "b").await, answered());
    let refused = rig.hub.jobs.cancel(&job_id("j")).await;
    assert!(matches!(refused, Err(CancelError::TooLate(_))));

    rig.schedule_at("ahead", "*", method("lock"), Some(second(60)))
        .await;
    let cancelled = rig.hub.jobs.cancel(&job_id("ahead")).await;
    assert!(cancelled.expect("it waits").is_ended());
}

async fn long_conditions_and_repeated_requests_are_refused(disk: &Disk) {
    let profile = with(|rules| {
        rules.condition_chars_max = Some(24);
        rules.retry_window = Duration::ZERO;
    });
    let rig = disk.start_with(T0, profile);
    // Characters, not bytes.
    let condition = "deviceId = 'ääääääääää'";
    let schedule = async |id: &str, condition: &str, operation: Operation| {
        let request = request(id, condition, operation, None);
        rig.hub.jobs.schedule(request).await
    };
    assert!(schedule("j", condition, floor(1)).await.is_ok());
    let long = format!("{condition}  ");
    let refused = schedule("k", &long, floor(1)).await;
    assert!(
        matches!(
            refused,
            Err(ScheduleError::ConditionTooLong { chars: 25, max: 24 })
        ),
        "{refused:?}"
    );
    let refused = schedule("j", condition, floor(1)).await;
    assert!(
        matches!(refused, Err(ScheduleError::IdTaken(_))),
        "{refused:?}"
    );
}
