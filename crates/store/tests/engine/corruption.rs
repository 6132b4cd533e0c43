//! A journal that cannot be read any more costs its own job, and nobody else.

use std::time::Duration;

use fanfare_hub::{
    jobs::job::{Job, JobEnd, JobState},
    ports::StoreError,
    profile::Profile,
    time::Timestamp,
};
use rusqlite::Connection;

use crate::rig::{Disk, Kind, Rig, T0, answered, floor, job_id, method, second};

/// Outcomes of a job.
const SETTLED: u8 = 2;
/// Calls of a job.
const DISPATCHED: u8 = 0;

/// Spoils what was recorded of a job, behind the store's back.
fn spoil(disk: &Disk, job: &Job, kind: u8) {
    let db = Connection::open(disk.path()).expect("the file is there");
    let spoiled = db.execute(
        "UPDATE job_segment SET record = zeroblob(length(record)) WHERE number = ?1 AND kind = ?2",
        (job.number.0, kind),
    );
    assert!(
        spoiled.is_ok_and(|rows| rows > 0),
        "there is something to spoil"
    );
}

/// The writer reads its jobs again after a write that failed.
async fn lose_the_cache(rig: &Rig) {
    rig.store.crash_after(0);
    let refused = rig
        .hub
        .jobs
        .schedule(crate::rig::request("no", "*", method("no"), None));
    assert!(refused.await.is_err());
    rig.store.crash_after(u64::MAX);
}

/// A job that ended as failed, with why, and its numbers in balance.
fn failed(job: &Job) -> Option<&str> {
    let JobState::Ended {
        end: JobEnd::Failed { reason },
        ..
    } = &job.state
    else {
        return None;
    };
    let progress = job.progress.expect("it was sealed");
    assert_eq!((progress.running, progress.pending()), (0, 0));
    Some(reason)
}

async fn wait_for_failure(rig: &Rig, id: &str) {
    let job = rig
        .until("the failure", async || {
            Some(rig.job(id).await).filter(|job| failed(job).is_some())
        })
        .await;
    let reason = failed(&job).expect("it was waited for");
    assert!(reason.contains("corrupt"), "{reason}");
}

/// Three jobs with one answer and two calls in flight each; the middle one's journal is spoiled.
async fn three_jobs(disk: &Disk, kind: u8) -> (Rig, Vec<std::sync::Arc<crate::rig::FakeLink>>) {
    let rig = disk.start(T0);
    rig.create(&["a", "b", "c"]).await;
    let links: Vec<_> = ["a", "b", "c"].map(|name| rig.connect(name, false)).into();
    for id in ["one", "two", "three"] {
        rig.schedule(id, "*", method(id)).await;
    }
    rig.until("all calls", async || {
        links
            .iter()
            .all(|link| link.calls().len() == 3)
            .then_some(())
    })
    .await;
    for call in links[0].calls() {
        rig.answer(&links[0], call, "\"done\"").await;
    }
    rig.until("the first answers", async || {
        (links[0].acknowledged().len() == 3).then_some(())
    })
    .await;
    spoil(disk, &rig.job("two").await, kind);
    (rig, links)
}

#[tokio::test]
async fn a_corrupt_journal_fails_its_own_job_alone() {
    for kind in [SETTLED, DISPATCHED] {
        let disk = Disk::new(Kind::Inline);
        let (rig, links) = three_jobs(&disk, kind).await;
        lose_the_cache(&rig).await;
        // One batch holds outcomes of all three.
        for link in &links[1..] {
            for call in link.calls() {
                rig.answer(link, call, "\"done\"").await;
            }
        }
        for id in ["one", "three"] {
            assert_eq!(rig.ended(id).await.counts(), (3, 0, 0));
            assert_eq!(rig.outcome(id, "c").await, answered());
        }
        wait_for_failure(&rig, "two").await;
        let before = rig.job("two").await;
        assert_eq!(before.progress.expect("it was sealed").succeeded, 1);
        assert!(links.iter().all(|link| link.acknowledged().len() == 3));

        // The way is free for others, and a new start changes nothing.
        links.iter().for_each(|link| link.let_answer());
        rig.schedule("four", "*", method("four")).await;
        assert_eq!(rig.ended("four").await.counts(), (3, 0, 0));
        drop(links);
        let now = rig.now();
        rig.crash().await;
        let rig = disk.start(now);
        rig.settle().await;
        assert_eq!(rig.job("two").await, before);
    }
}

#[tokio::test]
async fn a_twin_job_with_a_corrupt_journal_fails_and_leaves_its_place() {
    let disk = Disk::new(Kind::Inline);
    let mut profile = Profile::open();
    profile.jobs.active_max = Some(1);
    profile.jobs.device_operations_per_second = Some(1);
    let rig = disk.start_with(T0, profile);
    rig.create(&["a", "b", "c"]).await;
    rig.schedule("two", "*", floor(2)).await;
    rig.schedule_at("next", "deviceId = 'a'", floor(3), Some(second(1)))
        .await;
    rig.until("the first page", async || {
        (rig.progress("two").await.succeeded > 0).then_some(())
    })
    .await;
    spoil(&disk, &rig.job("two").await, SETTLED);
    lose_the_cache(&rig).await;
    rig.clock.advance_to(second(5));
    wait_for_failure(&rig, "two").await;
    rig.clock.advance_to(second(10));
    assert_eq!(rig.ended("next").await.counts(), (1, 0, 0));
}

#[tokio::test]
async fn the_windows_of_others_end_beside_a_corrupt_journal() {
    let disk = Disk::new(Kind::Inline);
    let (rig, links) = three_jobs(&disk, SETTLED).await;
    lose_the_cache(&rig).await;
    // Nothing but the end of the three windows at once; nobody's time to answer ends before.
    let deadline = rig.job("one").await.deadline();
    rig.clock.advance_to(deadline);
    for id in ["one", "three"] {
        assert_eq!(rig.ended(id).await.counts(), (1, 2, 0));
    }
    wait_for_failure(&rig, "two").await;
    drop(links);
}

#[tokio::test]
async fn a_cancel_of_a_job_with_a_corrupt_journal_says_so() {
    let disk = Disk::new(Kind::Inline);
    let (rig, links) = three_jobs(&disk, SETTLED).await;
    lose_the_cache(&rig).await;
    let refused = rig.hub.jobs.cancel(&job_id("two")).await;
    let is_corrupt = matches!(
        refused,
        Err(fanfare_hub::jobs::CancelError::Store {
            source: StoreError::Corrupt(_),
            ..
        })
    );
    assert!(is_corrupt, "{refused:?}");
    rig.hub.jobs.cancel(&job_id("one")).await.expect("it runs");
    assert!(rig.now() < second(1) + Duration::ZERO);
    drop(links);
}

#[tokio::test]
async fn a_corrupt_journal_met_at_a_start_fails_its_own_job_alone() {
    let disk = Disk::new(Kind::Inline);
    let (rig, links) = three_jobs(&disk, SETTLED).await;
    drop(links);
    let now: Timestamp = rig.now();
    rig.crash().await;
    let rig = disk.start(now);
    rig.create(&["a", "b", "c"]).await;
    wait_for_failure(&rig, "two").await;
    rig.clock.advance_to(second(31));
    for id in ["one", "three"] {
        assert_eq!(rig.ended(id).await.counts(), (1, 2, 0));
    }
}
