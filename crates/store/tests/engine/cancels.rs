//! Cancels in every state, and that nothing leaves after one was answered.

use std::{sync::Arc, time::Duration};

use fanfare_hub::{
    jobs::{
        CancelError,
        job::{JobEnd, JobState},
        ledger::Outcome,
    },
    ports::store::DeviceJobState,
};

use tokio::sync::Notify;

use crate::rig::{
    Disk, FakeLink, RESPONSE_SECONDS, Rig, T0, answered, floor, job_id, method, names, second,
};

crate::on_both! {
    a_waiting_job_ends_at_once
    a_running_job_drains_and_then_ends
    a_draining_job_may_be_cancelled_again_and_an_ended_one_not
    nobody_is_called_after_a_cancel_was_answered
    a_cancel_between_two_sends_stops_the_rest
    a_twin_job_stops_between_two_pages
    a_cancelled_job_frees_the_way_for_others
}

async fn cancel(rig: &Rig, id: &str) -> JobState {
    let job = rig.hub.jobs.cancel(&job_id(id)).await;
    job.expect("it has not ended").state
}

async fn a_waiting_job_ends_at_once(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", true);
    rig.schedule_at("j", "*", method("lock"), Some(second(60)))
        .await;
    let state = cancel(&rig, "j").await;
    let cancelled = JobState::Ended {
        end: JobEnd::Cancelled,
        at: rig.now(),
        sealed: None,
    };
    assert_eq!(state, cancelled);
    rig.clock.advance_to(second(120));
    rig.settle().await;
    assert_eq!(rig.job("j").await.state, cancelled);
    assert_eq!(a.calls(), []);
    assert!(rig.rows("j").await.is_empty());
}

async fn a_running_job_drains_and_then_ends(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a", "b", "c"]).await;
    let (a, b) = (rig.connect("a", false), rig.connect("b", false));
    rig.schedule("j", "*", method("lock")).await;
    let calls = rig.called(&[&a, &b]).await;
    let state = cancel(&rig, "j").await;
    assert!(matches!(state, JobState::Draining { .. }), "{state:?}");
    let c = rig.connect("c", true);
    rig.settle().await;
    let job = rig.job("j").await;
    assert_eq!(job.state, state, "calls in flight are awaited");
    let progress = job.progress.expect("it is sealed");
    assert_eq!(
        (progress.running, progress.canceled, progress.pending()),
        (2, 1, 0)
    );
    let rows = rig.rows("j").await;
    assert_eq!(rows["c"].state, DeviceJobState::Ended(Outcome::Canceled));
    assert_eq!(rows["a"].state, DeviceJobState::Running);

    rig.answer(&a, calls[0], "\"done\"").await;
    rig.clock
        .advance(Duration::from_secs(u64::from(RESPONSE_SECONDS)));
    let ended = rig.ended("j").await;
    assert_eq!(ended.end, JobEnd::Cancelled);
    assert_eq!(ended.counts(), (1, 1, 1));
    assert_eq!(rig.outcome("j", "a").await, answered());
    assert_eq!(rig.outcome("j", "b").await, Some(Outcome::TimedOut));
    assert_eq!(c.calls(), []);
}

async fn a_draining_job_may_be_cancelled_again_and_an_ended_one_not(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    let a = rig.connect("a", false);
    rig.schedule("j", "*", method("lock")).await;
    rig.called(&[&a]).await;
    let first = cancel(&rig, "j").await;
    assert_eq!(cancel(&rig, "j").await, first);
    a.let_answer();
    assert_eq!(rig.ended("j").await.end, JobEnd::Cancelled);
    let again = rig.hub.jobs.cancel(&job_id("j")).await;
    assert!(matches!(again, Err(CancelError::TooLate(_))), "{again:?}");
    let absent = rig.hub.jobs.cancel(&job_id("nothing")).await;
    assert!(matches!(absent, Err(CancelError::Absent(_))), "{absent:?}");
}

/// Waits for the end of a cancelled job, its devices answering; whoever was called has an outcome.
async fn drained(rig: &Rig, links: &[Arc<FakeLink>], id: &str, called: usize) {
    links.iter().for_each(|link| link.let_answer());
    let ended = rig.ended(id).await;
    assert_eq!(ended.end, JobEnd::Cancelled);
    let (succeeded, failed, _) = ended.counts();
    assert_eq!((succeeded as usize, failed), (called, 0), "{id}");
    links.iter().for_each(|link| link.be_silent());
}

async fn fleet(rig: &Rig) -> Vec<Arc<FakeLink>> {
    let names = names(200);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    names.iter().map(|name| rig.connect(name, false)).collect()
}

fn calls(links: &[Arc<FakeLink>]) -> usize {
    links.iter().map(|link| link.calls().len()).sum()
}

async fn nobody_is_called_after_a_cancel_was_answered(disk: &Disk) {
    let rig = disk.start(T0);
    let links = fleet(&rig).await;
    for round in 0..60 {
        let id = format!("j{round}");
        rig.schedule(&id, "*", method("lock")).await;
        let before = calls(&links);
        // Sooner or later in the life of the job; with threads the moment is anybody's guess.
        for _ in 0..round {
            tokio::task::yield_now().await;
            if round % 3 == 0 {
                rig.job(&id).await;
            }
        }
        cancel(&rig, &id).await;
        let after = calls(&links);
        rig.settle().await;
        assert_eq!(
            calls(&links),
            after,
            "round {round}: a call left after the cancel"
        );
        drained(&rig, &links, &id, after - before).await;
    }
}

async fn a_cancel_between_two_sends_stops_the_rest(disk: &Disk) {
    let rig = disk.start(T0);
    let links = fleet(&rig).await;
    let mut in_the_middle = 0;
    for round in 0..20 {
        let id = format!("j{round}");
        let before = calls(&links);
        let waker = Arc::new(Notify::new());
        links[round * 10].wake_with_call(waker.clone());
        let (hub, job) = (rig.hub.clone(), job_id(&id));
        let fleet = links.clone();
        let canceling = tokio::spawn(async move {
            waker.notified().await;
            hub.jobs.cancel(&job).await.expect("it is running");
            calls(&fleet)
        });
        rig.schedule(&id, "*", method("lock")).await;
        rig.until("the cancel", async || canceling.is_finished().then_some(()))
            .await;
        let after = canceling.await.expect("it does not panic");
        rig.settle().await;
        in_the_middle += usize::from(after - before < links.len());
        drained(&rig, &links, &id, after - before).await;
    }
    assert!(in_the_middle > 0, "every cancel came too late to be of use");
}

async fn a_twin_job_stops_between_two_pages(disk: &Disk) {
    let rig = disk.start(T0);
    let names = names(3_500);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    rig.schedule("t", "*", floor(3)).await;
    rig.until("the first page", async || {
        (rig.progress("t").await.succeeded > 0).then_some(())
    })
    .await;
    // With a store in line everything may have happened by now.
    match rig.hub.jobs.cancel(&job_id("t")).await {
        Ok(job) => assert!(job.is_ended(), "nothing is in flight"),
        Err(CancelError::TooLate(_)) => {}
        Err(error) => panic!("{error}"),
    }
    let (succeeded, failed, canceled) = rig.ended("t").await.counts();
    assert_eq!((succeeded + canceled, failed), (3_500, 0));
    rig.settle().await;
    let mut applied = 0;
    for name in &names {
        applied += rig.desired_version(name).await - 1;
    }
    assert_eq!(applied, u64::from(succeeded));
}

async fn a_cancelled_job_frees_the_way_for_others(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    for number in 1..=8 {
        let id = format!("j{number}");
        rig.schedule(&id, "*", method(&id)).await;
        rig.until("the seal", async || rig.job(&id).await.sealed())
            .await;
    }
    let a = rig.connect("a", false);
    rig.until("four calls", async || (a.calls().len() == 4).then_some(()))
        .await;
    for id in ["j5", "j6"] {
        let state = cancel(&rig, id).await;
        assert!(
            matches!(state, JobState::Ended { .. }),
            "nothing is in flight"
        );
    }
    let first = a.calls()[0];
    rig.answer(&a, first, "1").await;
    rig.until("the next call", async || {
        (a.calls().len() == 5).then_some(())
    })
    .await;
    assert_eq!(a.named_calls()[4].1, "j7");
}
