//! Segments stay few and small, and every outcome lies in exactly one.

use fanfare_hub::{
    ids::Ordinal,
    jobs::ledger::Outcome,
    limits,
    ports::store::{DeviceJobState, JobRecords},
};

use super::{Bench, Lying, Numbers, history_rows};
use crate::contract::{
    at,
    jobs::{answer, call, fleet, journal, look, method_plan, nothing, settled, start},
};

/// Unmerged segments that a job may have between two commits. design: "no job has more than 64".
const UNMERGED_MAX: u32 = 64;

/// Settles devices in this order, a few by a commit, with their calls; looks at the file every time.
async fn trickle(bench: &Bench, order: &[Ordinal], by_commit: usize, payload: Option<&str>) {
    let store = bench.store();
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let job = start(&store, "j", method_plan(), &sorted).await;
    let db = bench.raw();
    let mut done = 0;
    for (number, group) in (0_u64..).zip(order.chunks(by_commit)) {
        let calls = group.iter().map(|ordinal| (*ordinal, call(&store, number)));
        let dispatch = JobRecords {
            dispatched: calls.collect(),
            ..nothing(&job)
        };
        journal(&store, dispatch, 12).await;
        let outcomes = group
            .iter()
            .map(|ordinal| settled(*ordinal, answer(*ordinal as i32, payload), 13));
        let settle = JobRecords {
            settled: outcomes.collect(),
            ..nothing(&job)
        };
        done += group.len();
        let committed = journal(&store, settle, 13).await;
        assert_eq!(committed.ended, done == order.len());
        let lying = Lying::of(&db, job.number);
        assert!(lying.unmerged() <= UNMERGED_MAX, "{lying:?}");
        assert_eq!(lying.entries as usize, done, "{lying:?}");
    }
    for is_finished in [false, true] {
        if is_finished {
            bench.embedded().maintain().expect("the store works");
        }
        assert_eq!(Lying::of(&db, job.number).entries as usize, order.len());
        let (job, rows) = look(&store, &job.id).await;
        assert_eq!(
            job.progress.map(|progress| progress.succeeded),
            Some(done as u32)
        );
        for row in rows {
            let expected = answer(row.ordinal as i32, payload);
            assert_eq!(row.state, DeviceJobState::Ended(expected));
        }
    }
    let lying = Lying::of(&db, job.number);
    assert_eq!(lying.calls, 0, "an ended job has no calls");
    if lying.bytes >= 256 * 1024 {
        assert!(lying.levels[0] <= 1, "all of it is merged: {lying:?}");
    }
}

#[tokio::test]
async fn tiny_commits_in_order_of_ordinals_become_few_segments() {
    let bench = Bench::new();
    let order = fleet(&bench.store(), 2_000).await;
    trickle(&bench, &order, 2, None).await;
}

#[tokio::test]
async fn tiny_commits_in_any_order_become_few_segments() {
    let bench = Bench::new();
    let mut order = fleet(&bench.store(), 2_500).await;
    Numbers(0x5eed).shuffle(&mut order);
    trickle(&bench, &order, 2, Some(&format!("\"{}\"", "x".repeat(150)))).await;
}

#[tokio::test]
async fn segments_of_a_whole_commit_are_merged_only_where_many_overlap() {
    let bench = Bench::new();
    let mut order = fleet(&bench.store(), 20_000).await;
    Numbers(0x5eed).shuffle(&mut order);
    let store = bench.store();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let job = start(&store, "j", method_plan(), &sorted).await;
    let db = bench.raw();
    for group in order.chunks(limits::SETTLE_BATCH_MAX) {
        let outcomes = group.iter().map(|o| settled(*o, Outcome::TimedOut, 13));
        let settle = JobRecords {
            settled: outcomes.collect(),
            ..nothing(&job)
        };
        journal(&store, settle, 13).await;
    }
    let lying = Lying::of(&db, job.number);
    assert_eq!((lying.entries, lying.levels[0]), (20_000, 0));
    // Twice nine of the twenty lay over each other.
    assert!(lying.levels[1] < 9 && lying.levels[2] > 9, "{lying:?}");
    let (job, rows) = look(&store, &job.id).await;
    assert!(job.is_ended() && rows.len() == 20_000);
}

#[tokio::test]
async fn a_small_journal_is_left_as_it_is_at_its_end() {
    let bench = Bench::new();
    let order = fleet(&bench.store(), 30).await;
    let store = bench.store();
    let job = start(&store, "j", method_plan(), &order).await;
    for ordinal in &order {
        let settle = JobRecords {
            settled: vec![settled(*ordinal, answer(200, None), 13)],
            ..nothing(&job)
        };
        journal(&store, settle, 13).await;
    }
    let before = bench.embedded().commits();
    bench.embedded().maintain().expect("the store works");
    assert_eq!(bench.embedded().commits(), before);
    assert_eq!(Lying::of(&bench.raw(), job.number).levels, [30]);
}

#[tokio::test]
async fn many_calls_in_flight_are_no_endless_work() {
    let bench = Bench::new();
    let order = fleet(&bench.store(), 20_000).await;
    let store = bench.store();
    let job = start(&store, "j", method_plan(), &order).await;
    for (number, group) in (0_u64..).zip(order.chunks(limits::DISPATCH_BATCH_MAX)) {
        let calls = group.iter().map(|ordinal| (*ordinal, call(&store, number)));
        let dispatch = JobRecords {
            dispatched: calls.collect(),
            ..nothing(&job)
        };
        assert!(journal(&store, dispatch, 12).await.refused.is_empty());
    }
    let lying = Lying::of(&bench.raw(), job.number);
    assert!((20..=UNMERGED_MAX).contains(&lying.calls), "{lying:?}");
    drop(store);
    let mut bench = bench;
    bench.reopen();
    let (job, _) = look(&bench.store(), &job.id).await;
    assert_eq!(job.progress.map(|progress| progress.running), Some(20_000));
}

#[tokio::test]
async fn a_checkpoint_and_merges_after_it_lose_nothing() {
    let mut bench = Bench::new();
    let mut order = fleet(&bench.store(), 200).await;
    let targets = order.clone();
    Numbers(7).shuffle(&mut order);
    let job = start(&bench.store(), "j", method_plan(), &targets).await;
    for (done, ordinal) in (1..).zip(&order) {
        let settle = JobRecords {
            settled: vec![settled(*ordinal, answer(200, None), 13)],
            ..nothing(&job)
        };
        journal(&bench.store(), settle, 13).await;
        if done % 11 > 0 {
            continue;
        }
        // Merges delete the newest segments of the file: their numbers must not come back, or what
        // comes under them would count as part of an older checkpoint.
        bench.reopen();
        let resumed = bench
            .store()
            .job_resume(job.number)
            .await
            .expect("the store works");
        assert_eq!(resumed.ledger.progress().succeeded, done);
        let has_checkpoint = history_rows(&bench.raw()).contains(&("job_checkpoint", 1));
        assert_eq!(has_checkpoint, resumed.job.is_running());
    }
    look(&bench.store(), &job.id).await;
}

#[tokio::test]
async fn an_expired_job_leaves_nothing_and_is_never_seen_by_halves() {
    let bench = Bench::new();
    let order = fleet(&bench.store(), 120).await;
    let store = bench.store();
    let large = format!("\"{}\"", "x".repeat(100_000));
    for name in ["a", "b"] {
        let job = start(&store, name, method_plan(), &order).await;
        for group in order.chunks(10) {
            let outcomes = group
                .iter()
                .map(|o| settled(*o, answer(200, Some(&large)), 13));
            let settle = JobRecords {
                settled: outcomes.collect(),
                ..nothing(&job)
            };
            journal(&store, settle, 13).await;
        }
    }
    let db = bench.raw();
    assert!(history_rows(&db).contains(&("job_payload", 240)));
    let mut steps = 0;
    while store.job_expire(at(14), 10).await.expect("the store works") > 0 {
        steps += 1;
        for name in ["a", "b"] {
            let id = crate::contract::jobs::job_id(name);
            if store.job_get(&id).await.expect("the store works").is_some() {
                assert_eq!(
                    look(&store, &id).await.1.len(),
                    120,
                    "{name} is whole or gone"
                );
            }
        }
    }
    // 24 MB of answers, at most 4 MiB by a step.
    assert!((6..=10).contains(&steps), "{steps}");
    assert!(history_rows(&db).iter().all(|(_, rows)| *rows == 0));
}
