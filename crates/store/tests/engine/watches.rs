//! Following a job: what a watcher sees, when, and at what price.

use std::{
    collections::BTreeSet,
    future::{Future as _, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use fanfare_hub::{
    jobs::{
        job::{Job, JobEnd, JobState},
        watch::{JobWatch, WatchError},
    },
    limits,
    ports::{Clock as _, store::JobStore as _},
    profile::Profile,
    time::Timestamp,
};

use tokio::task::JoinSet;

use crate::rig::{Disk, Rig, T0, floor, job_id, method, names, second};

crate::on_both! {
    a_watcher_sees_a_job_to_its_end_and_not_too_often
    one_look_serves_all_watchers
    a_crowd_costs_the_looks_of_one
    a_job_whose_history_expires_before_the_first_look_is_not_shown
    a_job_that_has_ended_is_shown_once
    a_change_without_a_hint_is_seen_by_the_timer
    a_start_that_comes_is_seen_though_nothing_is_committed
    a_job_that_is_not_there_cannot_be_watched
    places_are_bounded_and_come_back
}

async fn watch(rig: &Rig, id: &str) -> JobWatch {
    let watch = rig.hub.jobs.watch(&job_id(id)).await;
    watch.unwrap_or_else(|error| panic!("{id} cannot be watched: {error}"))
}

async fn next(watch: &mut JobWatch) -> Option<Arc<Job>> {
    watch.next().await.expect("the store works")
}

/// Moves the clock until the watcher has something.
async fn soon(rig: &Rig, watch: &mut JobWatch) -> Option<Arc<Job>> {
    let mut next = std::pin::pin!(next(watch));
    let look = async || {
        let now = poll_fn(|context| Poll::Ready(next.as_mut().poll(context)));
        match now.await {
            Poll::Ready(seen) => Some(seen),
            Poll::Pending => None,
        }
    };
    rig.until("something to see", look).await
}

async fn a_watcher_sees_a_job_to_its_end_and_not_too_often(disk: &Disk) {
    let rig = disk.start(T0);
    let names = names(50);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    rig.schedule("j", "*", method("lock")).await;
    let mut watch = watch(&rig, "j").await;
    let first = next(&mut watch).await.expect("at once");
    let following = tokio::spawn({
        let clock = rig.clock.clone();
        async move {
            let mut seen: Vec<(Timestamp, Arc<Job>)> = vec![(T0, first)];
            while let Some(job) = next(&mut watch).await {
                seen.push((clock.now(), job));
            }
            seen
        }
    });
    for name in names {
        rig.connect(name, true);
        rig.settle_some(1).await;
        rig.clock.advance(Duration::from_millis(15));
    }
    let followed = async || following.is_finished().then_some(());
    rig.until("the end of the watch", followed).await;
    let seen = following.await.expect("it does not panic");
    for pair in seen.windows(2) {
        let [(before, _), (after, _)] = pair else {
            unreachable!("windows of two");
        };
        assert!(after.since(*before) >= limits::JOB_WATCH_PAUSE, "{seen:?}");
    }
    let settled = |job: &Job| job.progress.map_or(0, |progress| progress.succeeded);
    assert!(
        seen.windows(2)
            .all(|pair| settled(&pair[0].1) <= settled(&pair[1].1)),
        "{seen:?}"
    );
    assert!(seen.len() > 2, "{seen:?}");
    let ends = seen.iter().filter(|(_, job)| job.is_ended()).count();
    let last = &seen[seen.len() - 1].1;
    assert_eq!((ends, settled(last)), (1, 50));
}

async fn one_look_serves_all_watchers(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.schedule_at("j", "*", floor(1), Some(second(600))).await;
    let (mut one, mut two) = (watch(&rig, "j").await, watch(&rig, "j").await);
    let first = (next(&mut one).await, next(&mut two).await);
    assert!(Arc::ptr_eq(
        &first.0.expect("it is there"),
        &first.1.expect("it is there")
    ));
    rig.hub.jobs.cancel(&job_id("j")).await.expect("it waits");
    let seen = (soon(&rig, &mut one).await, soon(&rig, &mut two).await);
    let (one, two) = (seen.0.expect("it is there"), seen.1.expect("it is there"));
    assert!(one.is_ended(), "{one:?}");
    assert!(Arc::ptr_eq(&one, &two));
}

async fn a_crowd_costs_the_looks_of_one(disk: &Disk) {
    let rig = disk.start(T0);
    let names = names(30);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    rig.create(&names).await;
    rig.schedule_at("j", "*", method("lock"), Some(second(1)))
        .await;
    let mut crowd = JoinSet::new();
    for _ in 0..limits::JOB_WATCHERS_OF_ONE_MAX {
        let mut watch = watch(&rig, "j").await;
        let mut seen = vec![next(&mut watch).await.expect("it is there")];
        crowd.spawn(async move {
            while let Some(job) = next(&mut watch).await {
                seen.push(job);
            }
            seen
        });
    }
    rig.clock.advance_to(second(1));
    for name in names {
        rig.connect(name, true);
        rig.settle_some(1).await;
        rig.clock.advance(Duration::from_millis(45));
    }
    let mut all = Vec::new();
    let gone = async || {
        while let Some(seen) = crowd.try_join_next() {
            all.push(seen.expect("it does not panic"));
        }
        crowd.is_empty().then_some(())
    };
    rig.until("the end for everybody", gone).await;
    assert!(all.iter().all(|seen| seen.last().expect("one").is_ended()));
    // All are held, so each look has a place of its own.
    let looks: BTreeSet<_> = all.iter().flatten().map(Arc::as_ptr).collect();
    let took = rig.now().since(T0).as_millis() / limits::JOB_WATCH_PAUSE.as_millis();
    assert!(looks.len() > 3, "it was not followed: {}", looks.len());
    assert!(
        looks.len() as u128 <= took + 1,
        "{} looks, {took}",
        looks.len()
    );
}

async fn a_job_whose_history_expires_before_the_first_look_is_not_shown(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.schedule("j", "*", floor(1)).await;
    rig.ended("j").await;
    let mut watch = watch(&rig, "j").await;
    let expired = rig.store.job_expire(second(86_400), 10).await;
    assert_eq!(expired.expect("the store works"), 1);
    assert_eq!(next(&mut watch).await, None);
}

async fn a_job_that_has_ended_is_shown_once(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    rig.schedule("j", "*", floor(1)).await;
    rig.ended("j").await;
    let mut watch = watch(&rig, "j").await;
    assert!(next(&mut watch).await.is_some_and(|job| job.is_ended()));
    assert_eq!(next(&mut watch).await, None);
    assert_eq!(next(&mut watch).await, None);
}

async fn a_change_without_a_hint_is_seen_by_the_timer(disk: &Disk) {
    let rig = disk.start(T0);
    rig.schedule_at("j", "*", floor(1), Some(second(600))).await;
    let mut watch = watch(&rig, "j").await;
    let before = next(&mut watch).await.expect("it is there");
    // Behind the hub's back.
    let cancelled = rig.store.job_cancel(&job_id("j"), rig.now()).await;
    cancelled.expect("the store works");
    let clock = rig.clock.clone();
    let (after, ()) = tokio::join!(next(&mut watch), async {
        rig.settle().await;
        clock.advance(limits::JOB_WATCH_PAUSE);
        rig.settle().await;
        clock.advance(limits::JOB_WATCH_LOOK_EVERY);
    });
    let after = after.expect("it is there");
    assert_eq!(before.state, JobState::Waiting);
    assert!(
        matches!(
            &after.state,
            JobState::Ended {
                end: JobEnd::Cancelled,
                ..
            }
        ),
        "{after:?}"
    );
}

async fn a_start_that_comes_is_seen_though_nothing_is_committed(disk: &Disk) {
    let mut profile = Profile::open();
    profile.jobs.active_max = Some(1);
    let rig = disk.start_with(T0, profile);
    rig.create(&["offline"]).await;
    rig.schedule("first", "*", method("lock")).await;
    rig.schedule_at("second", "*", method("lock"), Some(second(3)))
        .await;
    let mut watch = watch(&rig, "second").await;
    let ahead = next(&mut watch).await.expect("it is there");
    assert!(rig.hub.jobs.is_scheduled(&ahead));
    // The clock stands at the start and goes no further, however slowly the store answers.
    let (come, ()) = tokio::join!(next(&mut watch), async {
        rig.settle().await;
        rig.clock.advance_to(second(3));
    });
    let come = come.expect("it is there");
    assert_eq!(come.state, JobState::Waiting, "there is no room for it");
    assert!(!rig.hub.jobs.is_scheduled(&come));
}

async fn a_job_that_is_not_there_cannot_be_watched(disk: &Disk) {
    let rig = disk.start(T0);
    let refused = rig.hub.jobs.watch(&job_id("none")).await.err();
    assert!(
        matches!(refused, Some(WatchError::Absent(_))),
        "{refused:?}"
    );
    assert_eq!(rig.hub.jobs.watchers(), 0);
}

async fn places_are_bounded_and_come_back(disk: &Disk) {
    let rig = disk.start(T0);
    let jobs = limits::JOB_WATCHERS_MAX / limits::JOB_WATCHERS_OF_ONE_MAX;
    let ids: Vec<_> = (0..=jobs).map(|number| format!("j-{number}")).collect();
    for id in &ids {
        rig.schedule_at(id, "*", floor(1), Some(second(600))).await;
    }
    let mut watches = Vec::new();
    for id in &ids[..jobs] {
        for _ in 0..limits::JOB_WATCHERS_OF_ONE_MAX {
            watches.push(watch(&rig, id).await);
        }
        if watches.len() < limits::JOB_WATCHERS_MAX {
            let refused = rig.hub.jobs.watch(&job_id(id)).await.err();
            let text = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.starts_with("500 watch this job already"), "{text}");
        }
    }
    assert_eq!(rig.hub.jobs.watchers(), limits::JOB_WATCHERS_MAX);
    let last = &ids[jobs];
    let refused = rig.hub.jobs.watch(&job_id(last)).await.err();
    let text = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.starts_with("2000 watch jobs already"), "{text}");
    watches.pop();
    drop(watch(&rig, last).await);
    watches.clear();
    assert_eq!(rig.hub.jobs.watchers(), 0);
    watch(&rig, &ids[0]).await;
}
