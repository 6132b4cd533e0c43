//! What becomes of the devices of a job: calls, outcomes, twin pages, the end of the window.

use fanfare_hub::{
    ids::JobNumber,
    jobs::{
        job::{JobEnd, JobState, Progress},
        ledger::{Outcome, Standing},
    },
    ports::store::{DeviceJobState, JobRecords, TwinPage},
    registry::Precondition,
};
use serde_json::json;

use super::{
    Scratch, at, delete, device,
    jobs::{
        answer, call, fleet, journal, look, method_plan, nothing, settled, start, states, twin_plan,
    },
    object, patch, written,
};

pub(crate) async fn a_device_goes_from_pending_to_its_outcome(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 4).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let calls = o.iter().zip(1..).map(|(o, n)| (*o, call(&store, n)));
    let dispatch = JobRecords {
        dispatched: calls.collect(),
        ..nothing(&job)
    };
    let committed = journal(&store, dispatch, 12).await;
    assert!(committed.refused.is_empty() && !committed.ended);
    assert_eq!(committed.progress.running, 4);
    look(&store, &job.id).await;

    // One call never left; its device is called again in the same commit.
    let next = JobRecords {
        withdrawn: vec![(o[0], call(&store, 1)), (o[1], call(&store, 2))],
        dispatched: vec![(o[1], call(&store, 9))],
        settled: vec![
            settled(o[3], answer(404, Some("{}")), 13),
            settled(o[2], Outcome::TimedOut, 14),
        ],
        ..nothing(&job)
    };
    let committed = journal(&store, next, 15).await;
    let expected = Progress {
        total: 4,
        succeeded: 1,
        failed: 1,
        running: 1,
        canceled: 0,
    };
    assert_eq!(committed.progress, expected);
    let (_, rows) = look(&store, &job.id).await;
    assert_eq!(
        rows.iter().map(|row| row.updated).collect::<Vec<_>>(),
        [at(11), at(15), at(14), at(13)]
    );
    let resumed = store.job_resume(job.number).await.unwrap();
    let Standing::InFlight(flight) = resumed.ledger.standing(o[1]) else {
        panic!("its second call is in flight");
    };
    assert_eq!(flight.call, call(&store, 9));

    let last = JobRecords {
        settled: vec![
            settled(o[0], Outcome::Deleted, 16),
            settled(o[1], Outcome::Garbled, 16),
        ],
        ..nothing(&job)
    };
    assert!(journal(&store, last, 16).await.ended);
    let (ended, _) = look(&store, &job.id).await;
    let expected = JobState::Ended {
        end: JobEnd::Completed,
        at: at(16),
        sealed: Some(at(11)),
    };
    assert_eq!(ended.state, expected);
    assert!(store.job_running().await.unwrap().is_empty());
}

pub(crate) async fn illegal_moves_are_dropped(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 4).await;
    let job = start(&store, "j", method_plan(), &o[..3]).await;
    let first = JobRecords {
        dispatched: vec![(o[0], call(&store, 1))],
        settled: vec![settled(o[1], answer(200, None), 12)],
        ..nothing(&job)
    };
    journal(&store, first, 12).await;
    let before = look(&store, &job.id).await;
    let stranger = o[3];
    let illegal = JobRecords {
        dispatched: vec![
            (o[0], call(&store, 5)),
            (o[1], call(&store, 6)),
            (stranger, call(&store, 7)),
        ],
        withdrawn: vec![
            (o[0], call(&store, 2)),
            (o[1], call(&store, 1)),
            (o[2], call(&store, 1)),
            (stranger, call(&store, 1)),
        ],
        settled: vec![
            settled(o[1], Outcome::TimedOut, 13),
            settled(stranger, Outcome::TimedOut, 13),
        ],
        ..nothing(&job)
    };
    let committed = journal(&store, illegal, 13).await;
    assert_eq!(committed.refused, [o[0], o[1], stranger]);
    assert_eq!(look(&store, &job.id).await, before);

    let unknown = JobRecords {
        job: JobNumber(77),
        dispatched: vec![(o[0], call(&store, 8))],
        ..nothing(&job)
    };
    let committed = journal(&store, unknown, 13).await;
    assert_eq!((committed.refused, committed.ended), (vec![o[0]], true));
}

pub(crate) async fn the_same_batch_twice_is_one(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 5).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let first = JobRecords {
        dispatched: vec![(o[0], call(&store, 1)), (o[4], call(&store, 4))],
        ..nothing(&job)
    };
    journal(&store, first, 12).await;
    let batch = JobRecords {
        withdrawn: vec![(o[0], call(&store, 1))],
        dispatched: vec![(o[0], call(&store, 2)), (o[1], call(&store, 3))],
        settled: vec![
            settled(o[2], answer(200, Some("[1]")), 13),
            settled(o[2], Outcome::TimedOut, 13),
            settled(o[4], Outcome::TimedOut, 13),
        ],
        ..nothing(&job)
    };
    let once = journal(&store, batch.clone(), 13).await;
    let before = look(&store, &job.id).await;
    let twice = journal(&store, batch.clone(), 13).await;
    assert_eq!(twice, once, "calls recorded before may leave");
    assert_eq!(look(&store, &job.id).await, before);
    drop(store);
    scratch.reopen();
    assert_eq!(look(&scratch.store(), &job.id).await, before);
}

pub(crate) async fn a_canceled_job_begins_nothing(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 4).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let sent = JobRecords {
        dispatched: vec![(o[0], call(&store, 1))],
        ..nothing(&job)
    };
    journal(&store, sent, 12).await;
    let batch = JobRecords {
        dispatched: vec![(o[1], call(&store, 2))],
        ..nothing(&job)
    };
    journal(&store, batch.clone(), 12).await;
    store.job_cancel(&job.id, at(13)).await.unwrap();

    let late = JobRecords {
        dispatched: vec![(o[2], call(&store, 3))],
        settled: vec![settled(o[3], Outcome::Deleted, 14)],
        ..nothing(&job)
    };
    let committed = journal(&store, late, 14).await;
    assert_eq!((committed.refused, committed.ended), (vec![o[2]], false));
    // The result of this batch was lost, so its call has not left; now it must not.
    let committed = journal(&store, batch, 14).await;
    assert_eq!(committed.refused, [o[1]]);
    assert_eq!(
        (committed.progress.running, committed.progress.canceled),
        (1, 3)
    );
    look(&store, &job.id).await;
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    look(&store, &job.id).await;
    let last = JobRecords {
        settled: vec![settled(o[0], answer(200, None), 15)],
        ..nothing(&job)
    };
    assert!(journal(&store, last, 15).await.ended);
    look(&store, &job.id).await;
}

pub(crate) async fn an_answer_after_the_end_is_ignored(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 2).await;
    let job = start(&store, "j", method_plan(), &o).await;
    store
        .job_close(job.number, store.term(), at(3_610))
        .await
        .unwrap();
    let before = look(&store, &job.id).await;
    let late = JobRecords {
        dispatched: vec![(o[0], call(&store, 1))],
        settled: vec![settled(o[0], answer(200, None), 3_611)],
        ..nothing(&job)
    };
    let committed = journal(&store, late, 3_611).await;
    assert_eq!((committed.refused, committed.ended), (vec![o[0]], true));
    assert_eq!(Some(committed.progress), before.0.progress);
    let again = store
        .job_close(job.number, store.term(), at(3_612))
        .await
        .unwrap();
    assert_eq!(again, before.0);
    assert_eq!(look(&store, &job.id).await, before);
}

pub(crate) async fn many_jobs_share_one_batch(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 3).await;
    let mut jobs = Vec::new();
    for n in 0..20 {
        jobs.push(start(&store, &format!("j{n}"), method_plan(), &o).await);
    }
    let batch = jobs.iter().map(|job| JobRecords {
        settled: vec![settled(o[0], answer(200, None), 12)],
        ..nothing(job)
    });
    let committed = store
        .job_journal(store.term(), batch.collect(), at(12))
        .await
        .unwrap();
    for (job, committed) in jobs.iter().zip(committed) {
        assert_eq!((committed.job, committed.ended), (job.number, false));
        assert_eq!(
            look(&store, &job.id).await.0.progress,
            Some(committed.progress)
        );
    }
}

pub(crate) async fn the_end_of_the_window_gives_everyone_an_outcome(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 4).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let before = JobRecords {
        dispatched: vec![(o[0], call(&store, 1))],
        settled: vec![settled(o[3], answer(200, None), 12)],
        ..nothing(&job)
    };
    journal(&store, before, 12).await;
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let after = JobRecords {
        dispatched: vec![(o[1], call(&store, 1))],
        ..nothing(&job)
    };
    journal(&store, after, 13).await;
    look(&store, &job.id).await;
    let closed = store
        .job_close(job.number, store.term(), at(3_610))
        .await
        .unwrap();
    let expected = JobState::Ended {
        end: JobEnd::Completed,
        at: at(3_610),
        sealed: Some(at(11)),
    };
    assert_eq!(closed.state, expected);
    let expected = [
        DeviceJobState::Ended(Outcome::Unknown),
        DeviceJobState::Ended(Outcome::TimedOut),
        DeviceJobState::Ended(Outcome::Unreachable),
        DeviceJobState::Ended(answer(200, None)),
    ];
    assert_eq!(states(&store, &job.id).await, expected);
    drop(store);
    scratch.reopen();
    assert_eq!(states(&scratch.store(), &job.id).await, expected);
}

pub(crate) async fn whoever_was_canceled_stays_so_when_the_window_ends(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 3).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let calls = JobRecords {
        dispatched: vec![(o[0], call(&store, 1)), (o[1], call(&store, 2))],
        ..nothing(&job)
    };
    journal(&store, calls, 12).await;
    store.job_cancel(&job.id, at(13)).await.unwrap();
    // A call that never left while the job drains has been canceled, too.
    let unsent = JobRecords {
        withdrawn: vec![(o[1], call(&store, 2))],
        ..nothing(&job)
    };
    journal(&store, unsent, 14).await;
    look(&store, &job.id).await;
    let closed = store
        .job_close(job.number, store.term(), at(3_610))
        .await
        .unwrap();
    assert!(matches!(
        closed.state,
        JobState::Ended {
            end: JobEnd::Cancelled,
            ..
        }
    ));
    let expected = [
        DeviceJobState::Ended(Outcome::TimedOut),
        DeviceJobState::Ended(Outcome::Canceled),
        DeviceJobState::Ended(Outcome::Canceled),
    ];
    assert_eq!(states(&store, &job.id).await, expected);
    drop(store);
    scratch.reopen();
    assert_eq!(states(&scratch.store(), &job.id).await, expected);
}

pub(crate) async fn calls_of_an_older_term_can_still_be_answered(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 2).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let old_call = call(&store, 7);
    let calls = JobRecords {
        dispatched: vec![(o[0], old_call)],
        ..nothing(&job)
    };
    journal(&store, calls, 12).await;
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let resumed = store.job_resume(job.number).await.unwrap();
    let Standing::InFlight(flight) = resumed.ledger.standing(o[0]) else {
        panic!("it was in flight before");
    };
    assert_eq!((flight.call, flight.dispatched), (old_call, at(12)));
    assert_eq!(resumed.ledger.pending().iter().collect::<Vec<_>>(), [o[1]]);
    let answered = JobRecords {
        settled: vec![settled(o[0], answer(200, None), 13)],
        ..nothing(&job)
    };
    journal(&store, answered, 13).await;
    let expected = [
        DeviceJobState::Ended(answer(200, None)),
        DeviceJobState::Pending,
    ];
    assert_eq!(states(&store, &job.id).await, expected);
}

pub(crate) async fn a_page_patches_and_settles_in_one(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 4).await;
    let chunk = "x".repeat(4_000);
    let nearly_full = patch(json!({"a": chunk, "b": chunk}), json!(null));
    let full = device("d1");
    let patched = store.twin_patch(&full, nearly_full, None, at(5));
    patched.await.unwrap();
    let plan = twin_plan(patch(json!({"c": "y".repeat(1_000)}), json!({"n": 1})));
    let job = start(&store, "j", plan, &o).await;
    written(&store, delete(&device("d2"), Precondition::Exists), at(12)).await;

    // Named twice, a stranger among them: nobody is patched twice or unasked.
    let stranger = fleet_of_one(&store).await;
    let devices = vec![o[2], o[0], o[1], o[0], stranger];
    let page = store.job_twin_page(job.number, store.term(), devices.clone(), at(13));
    let page = page.await.unwrap();
    let keys: Vec<_> = page.changes.iter().map(|(key, _)| key.ordinal).collect();
    assert_eq!((keys, page.ended), (vec![o[0]], false));
    assert_eq!(page.changes[0].1.version, 2);
    let expected = Progress {
        total: 4,
        succeeded: 1,
        failed: 2,
        running: 0,
        canceled: 0,
    };
    assert_eq!(page.progress, expected);
    let before = look(&store, &job.id).await;
    let again = store.job_twin_page(job.number, store.term(), devices, at(14));
    let again = again.await.unwrap();
    let unchanged = TwinPage {
        changes: Vec::new(),
        ..page
    };
    assert_eq!(again, unchanged);
    assert_eq!(look(&store, &job.id).await, before);

    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let last = store.job_twin_page(job.number, store.term(), o.clone(), at(15));
    let last = last.await.unwrap();
    assert_eq!((last.changes.len(), last.ended), (1, true));
    let states = states(&store, &job.id).await;
    assert_eq!(states[0], DeviceJobState::Ended(Outcome::Applied));
    let DeviceJobState::Ended(Outcome::Rejected { reason }) = &states[1] else {
        panic!("{:?}", states[1]);
    };
    assert!(reason.contains("tags"), "{reason}");
    assert_eq!(states[2], DeviceJobState::Ended(Outcome::Deleted));
    assert_eq!(states[3], DeviceJobState::Ended(Outcome::Applied));
    for (name, version) in [("d0", 2), ("d1", 2), ("d3", 2), ("stranger", 1)] {
        let twin = store.twin_get(&device(name)).await.unwrap().unwrap();
        assert_eq!(twin.document.version, version, "{name}");
    }
    let twin = store.twin_get(&device("d3")).await.unwrap().unwrap();
    assert_eq!(twin.document.desired.values, object(json!({"n": 1})));
}

async fn fleet_of_one(store: &std::sync::Arc<dyn fanfare_hub::ports::store::Store>) -> u32 {
    super::create(store, &["stranger"]).await[0].ordinal
}

pub(crate) async fn only_desired_changes_are_told(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 2).await;
    let tags = twin_plan(patch(json!({"t": 1}), json!(null)));
    let job = start(&store, "tags", tags, &o).await;
    let page = store.job_twin_page(job.number, store.term(), o.clone(), at(12));
    let page = page.await.unwrap();
    assert_eq!((page.changes.len(), page.ended), (0, true));
    let desired = twin_plan(patch(json!(null), json!({"d": 1})));
    let job = start(&store, "desired", desired, &o).await;
    let page = store.job_twin_page(job.number, store.term(), o.clone(), at(12));
    let keys: Vec<_> = page
        .await
        .unwrap()
        .changes
        .iter()
        .map(|c| c.0.ordinal)
        .collect();
    assert_eq!(keys, o);
}
