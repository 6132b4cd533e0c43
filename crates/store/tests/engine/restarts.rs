//! What goes on after a node died or stopped.

use std::time::Duration;

use fanfare_hub::{jobs::ledger::Outcome, presence::Link};
use fanfare_store::Embedded;

use crate::rig::{
    Disk, Kind, RESPONSE_SECONDS, T0, answered, floor, job_id, method, names, second,
};

crate::on_both! {
    a_method_job_goes_on_after_a_crash
    an_old_call_is_unknown_when_its_window_ends
    a_draining_job_drains_on_after_a_crash
    a_stop_waits_for_answers_and_begins_nothing
    a_stop_ends_though_devices_are_silent
    calls_that_were_recorded_and_not_sent_go_out_after_a_stop
}

async fn a_method_job_goes_on_after_a_crash(disk: &Disk) {
    let rig = disk.start(T0);
    let names = ["quick", "keeps", "dies", "offline"];
    rig.create(&names).await;
    rig.connect("quick", true);
    let (keeps, dies) = (rig.connect("keeps", false), rig.connect("dies", false));
    rig.schedule("j", "*", method("lock")).await;
    let kept = rig.called(&[&keeps, &dies]).await[0];
    rig.until("the quick answer", async || {
        (rig.progress("j").await.succeeded == 1).then_some(())
    })
    .await;
    let before = rig.progress("j").await;
    rig.crash().await;

    let rig = disk.start(second(10));
    rig.create(&names).await;
    assert_eq!(rig.progress("j").await, before);
    let again: Vec<_> = names[..3]
        .iter()
        .map(|name| rig.connect(name, true))
        .collect();
    // The answer that the device kept counts, on its new connection.
    rig.answer(&again[1], kept, "\"done\"").await;
    rig.until("the kept answer", async || {
        (again[1].acknowledged() == [kept]).then_some(())
    })
    .await;
    assert_eq!(rig.outcome("j", "keeps").await, answered());
    assert_eq!(rig.outcome("j", "dies").await, None, "its time is not over");
    rig.clock
        .advance_to(second(u64::from(RESPONSE_SECONDS) + 1));
    rig.until("the lost call", async || {
        (rig.progress("j").await.failed == 1).then_some(())
    })
    .await;
    assert_eq!(rig.outcome("j", "dies").await, Some(Outcome::Unknown));
    rig.connect("offline", true);
    assert_eq!(rig.ended("j").await.counts(), (3, 1, 0));
    assert!(
        again.iter().all(|link| link.calls().is_empty()),
        "nobody is called twice"
    );
}

async fn an_old_call_is_unknown_when_its_window_ends(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.connect("a", false);
    rig.clock.advance_to(second(590));
    rig.schedule("j", "*", method("lock")).await;
    rig.called(&[&a]).await;
    rig.crash().await;
    let rig = disk.start(second(2_000));
    assert_eq!(rig.ended("j").await.counts(), (0, 2, 0));
    assert_eq!(rig.outcome("j", "a").await, Some(Outcome::Unknown));
    assert_eq!(rig.outcome("j", "b").await, Some(Outcome::Unreachable));
}

async fn a_draining_job_drains_on_after_a_crash(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.connect("a", false);
    rig.schedule("j", "*", method("lock")).await;
    let call = rig.called(&[&a]).await[0];
    rig.hub
        .jobs
        .cancel(&job_id("j"))
        .await
        .expect("it is running");
    rig.crash().await;
    let rig = disk.start(second(1));
    rig.create(&["a", "b"]).await;
    let (a, b) = (rig.connect("a", false), rig.connect("b", true));
    rig.settle().await;
    assert!(rig.job("j").await.is_running());
    rig.answer(&a, call, "\"done\"").await;
    assert_eq!(rig.ended("j").await.counts(), (1, 0, 1));
    assert_eq!(b.calls(), []);
}

async fn a_stop_waits_for_answers_and_begins_nothing(disk: &Disk) {
    let mut rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let a = rig.connect("a", false);
    rig.schedule("j", "*", method("lock")).await;
    let call = rig.called(&[&a]).await[0];
    rig.begin_stop();
    rig.settle().await;
    let b = rig.connect("b", true);
    rig.clock.advance(Duration::from_secs(5));
    rig.settle().await;
    rig.answer(&a, call, "\"done\"").await;
    rig.stopped().await;
    assert_eq!(a.acknowledged(), [call]);
    assert_eq!(b.calls(), []);
    assert!(
        rig.now().since(T0) < Duration::from_secs(8),
        "everything was answered"
    );
    drop(b);
    rig.crash().await;

    let rig = disk.start(second(20));
    rig.create(&["a", "b"]).await;
    assert_eq!(rig.outcome("j", "a").await, answered());
    rig.connect("b", true);
    assert_eq!(rig.ended("j").await.counts(), (2, 0, 0));
}

async fn a_stop_ends_though_devices_are_silent(disk: &Disk) {
    let mut rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    rig.schedule("j", "*", method("lock")).await;
    rig.called(&[&a]).await;
    let before = rig.now();
    rig.begin_stop();
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(8));
    rig.stopped().await;
    assert!(rig.now().since(before) < Duration::from_secs(10));
    rig.crash().await;
    let rig = disk.start(second(60));
    assert_eq!(rig.ended("j").await.counts(), (0, 1, 0));
    assert_eq!(rig.outcome("j", "a").await, Some(Outcome::Unknown));
}

async fn calls_that_were_recorded_and_not_sent_go_out_after_a_stop(disk: &Disk) {
    // At whichever turn the stop comes, whoever was not called is called after it, and once.
    for turns in 0..32 {
        let mut rig = disk.start(T0);
        let id = format!("j{turns}");
        rig.create(&["a"]).await;
        let a = rig.connect("a", true);
        rig.schedule(&id, "*", method("lock")).await;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        rig.begin_stop();
        rig.stopped().await;
        let first = a.calls().len();
        drop(a);
        rig.crash().await;
        let rig = disk.start(T0);
        rig.create(&["a"]).await;
        let a = rig.connect("a", true);
        assert_eq!(
            rig.ended(&id).await.counts(),
            (1, 0, 0),
            "stop at turn {turns}"
        );
        assert_eq!(first + a.calls().len(), 1, "stop at turn {turns}");
        drop(a);
        rig.crash().await;
    }
}

#[tokio::test]
async fn a_twin_job_is_applied_once_wherever_it_was_cut() {
    const DEVICES: u32 = 2_500;
    let names = names(DEVICES);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let disk = Disk::new(Kind::Inline);
    let rig = disk.start(T0);
    rig.create(&names).await;
    rig.crash().await;
    // Clear, target set, seal, three pages; each cut once before and once after.
    for cut in 0..8 {
        let id = format!("t{cut}");
        let rig = disk.start(T0);
        rig.schedule(&id, "*", floor(cut)).await;
        rig.store.crash_after(u64::from(cut));
        rig.settle().await;
        let before = rig.progress(&id).await;
        rig.crash().await;
        let rig = disk.start(second(1));
        let now = rig.progress(&id).await;
        assert!(
            now.succeeded >= before.succeeded,
            "cut {cut}: counts went back"
        );
        assert_eq!(rig.ended(&id).await.counts(), (DEVICES, 0, 0), "cut {cut}");
        for name in [0, 999, 1_000, 2_000, 2_499] {
            let version = rig.desired_version(names[name]).await;
            assert_eq!(version, u64::from(cut) + 2, "cut {cut}, device {name}");
        }
        rig.crash().await;
    }
}

#[tokio::test]
async fn errors_of_the_store_are_sat_out() {
    let disk = Disk::new(Kind::Inline);
    let rig = disk.start(T0);
    rig.create(&["a", "b"]).await;
    let (a, b) = (rig.connect("a", false), rig.connect("b", false));
    rig.schedule("j", "*", method("lock")).await;
    let calls = rig.called(&[&a, &b]).await;
    rig.schedule_at("k", "*", method("open"), Some(second(100)))
        .await;
    rig.schedule_at("t", "*", floor(1), Some(second(100))).await;

    rig.store.crash_after(0);
    rig.answer(&a, calls[0], "\"done\"").await;
    for _ in 0..20 {
        rig.clock.advance(Duration::from_secs(1));
        rig.settle().await;
    }
    assert_eq!(a.acknowledged(), [], "it is not durable");
    assert_eq!(a.last_heard(), rig.now());
    rig.clock.advance_to(second(130));
    rig.settle().await;

    rig.store.crash_after(u64::MAX);
    for _ in 0..3 {
        rig.clock.advance(Duration::from_secs(1));
        rig.settle().await;
    }
    a.let_answer();
    b.let_answer();
    let j = rig.ended("j").await;
    assert_eq!(j.counts(), (1, 1, 0), "one answered in time, one did not");
    assert!(a.acknowledged().contains(&calls[0]));
    assert_eq!(rig.ended("k").await.counts(), (2, 0, 0));
    assert_eq!(rig.ended("t").await.counts(), (2, 0, 0));
    assert_eq!((a.calls().len(), b.calls().len()), (2, 2));
    assert_eq!(rig.desired_version("a").await, 2);
}

#[tokio::test]
async fn a_dispatch_that_was_tried_again_is_dated_by_the_try_that_counts() {
    dated_by_the_try_that_counts(|store| store.crash_after(0)).await;
}

#[tokio::test]
async fn a_dispatch_whose_record_was_not_heard_of_is_dated_by_the_try_that_counts() {
    dated_by_the_try_that_counts(|store| {
        store.lose_result_after(0);
        store.crash_after(1);
    })
    .await;
}

/// `spoil` makes the first try fail, whether it is recorded or not.
async fn dated_by_the_try_that_counts(spoil: impl FnOnce(&Embedded)) {
    let disk = Disk::new(Kind::Inline);
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.schedule("j", "*", method("lock")).await;
    rig.until("the seal", async || rig.job("j").await.sealed())
        .await;
    spoil(&rig.store);
    let a = rig.connect("a", false);
    rig.settle().await;
    assert_eq!(a.calls(), [], "the dispatch is not known to be durable");
    rig.store.crash_after(u64::MAX);
    rig.clock.advance(Duration::from_secs(20));
    rig.called(&[&a]).await;
    let left = rig.now();
    assert!(rig.rows("j").await["a"].updated >= T0 + Duration::from_secs(20));
    drop(a);
    rig.crash().await;

    // Whoever starts next gives the device its whole time from when the call left.
    let rig = disk.start(left + Duration::from_secs(u64::from(RESPONSE_SECONDS) - 2));
    rig.settle().await;
    assert_eq!(rig.outcome("j", "a").await, None);
    rig.clock.advance(Duration::from_secs(3));
    rig.until("the end of its time", async || rig.outcome("j", "a").await)
        .await;
    assert_eq!(rig.outcome("j", "a").await, Some(Outcome::Unknown));
}
