//! When a job is not accepted, or not cancelled, although its request is fine: rules decided in the writer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fanfare_hub::{
    jobs::job::{JobEnd, JobPlan, JobState},
    limits,
    ports::store::{AcceptRules, JobCanceled, JobInserted, Store},
    time::Timestamp,
};
use tokio::task::JoinSet;

use super::{
    Scratch, at,
    jobs::{accept, fleet, insert, job_id, method_plan, seal, start},
};

fn at_most(active: u32) -> AcceptRules {
    AcceptRules {
        active_max: Some(active),
        ..AcceptRules::default()
    }
}

async fn offer(
    store: &Arc<dyn Store>,
    name: &str,
    plan: JobPlan,
    now: Timestamp,
    rules: AcceptRules,
) -> JobInserted {
    let inserted = store.job_insert(job_id(name), plan, None, now, rules).await;
    inserted.expect("the store works")
}

fn is_accepted(inserted: &JobInserted) -> bool {
    matches!(inserted, JobInserted::Accepted(_))
}

pub(crate) async fn racing_jobs_cannot_both_take_the_last_place(scratch: Scratch) {
    let store = scratch.store();
    let mut offers = JoinSet::new();
    for number in 0..40 {
        let store = store.clone();
        offers.spawn(async move {
            let name = format!("j{number}");
            let inserted = offer(&store, &name, method_plan(), at(10), at_most(3)).await;
            (name, inserted)
        });
    }
    let mut accepted = BTreeSet::new();
    for (name, inserted) in offers.join_all().await {
        match inserted {
            JobInserted::Accepted(_) => assert!(accepted.insert(name)),
            other => assert_eq!(other, JobInserted::TooManyActive),
        }
    }
    assert_eq!(accepted.len(), 3);
    let due = store.job_due(at(10), 100).await.unwrap().due;
    let due: BTreeSet<_> = due.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(due, accepted, "whoever was refused left nothing");
}

pub(crate) async fn a_job_is_active_from_its_start_to_its_end(scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 1).await;
    let ahead = JobPlan {
        start: Some(at(30)),
        ..method_plan()
    };
    for name in ["ahead1", "ahead2"] {
        let inserted = offer(&store, name, ahead.clone(), at(10), at_most(1)).await;
        assert!(is_accepted(&inserted), "a job ahead is not active");
    }
    let JobInserted::Accepted(first) =
        offer(&store, "now", method_plan(), at(11), at_most(1)).await
    else {
        panic!("nothing is active");
    };
    let past = JobPlan {
        start: Some(at(1)),
        ..method_plan()
    };
    for plan in [method_plan(), past] {
        let second = offer(&store, "second", plan, at(12), at_most(1)).await;
        assert_eq!(second, JobInserted::TooManyActive, "one waits");
    }
    seal(&store, &first, &ordinals, at(13)).await;
    let second = offer(&store, "second", method_plan(), at(14), at_most(1)).await;
    assert_eq!(second, JobInserted::TooManyActive, "one runs");
    let term = store.term();
    store.job_close(first.number, term, at(15)).await.unwrap();
    let second = offer(&store, "second", method_plan(), at(16), at_most(1)).await;
    assert!(is_accepted(&second), "none is active any more");
    store.job_cancel(&job_id("second"), at(17)).await.unwrap();
    let third = offer(&store, "third", method_plan(), at(30), at_most(2)).await;
    assert_eq!(third, JobInserted::TooManyActive, "the two ahead are due");
    let third = offer(&store, "third", method_plan(), at(30), at_most(3)).await;
    assert!(is_accepted(&third));
}

pub(crate) async fn a_repetition_comes_before_every_other_rule(scratch: Scratch) {
    let store = scratch.store();
    let job = accept(&store, "j", method_plan(), at(10)).await;
    let soon = at(10) + limits::JOB_RETRY_WINDOW;
    let repeated = offer(&store, "j", method_plan(), soon, at_most(1)).await;
    assert_eq!(repeated, JobInserted::Repeated(job));
    let never = AcceptRules {
        retry_window: Duration::ZERO,
        active_max: Some(1),
    };
    for now in [at(10), at(11)] {
        let taken = offer(&store, "j", method_plan(), now, never).await;
        assert_eq!(taken, JobInserted::Taken);
    }
}

pub(crate) async fn only_a_waiting_job_is_cancelled_where_that_is_the_rule(scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 2).await;
    let running = start(&store, "running", method_plan(), &ordinals).await;
    let id = &running.id;
    let late = store.job_cancel_waiting(id, at(12)).await.unwrap();
    assert_eq!(late, JobCanceled::TooLate(running.clone()));
    assert_eq!(store.job_get(id).await.unwrap(), Some(running.clone()));
    store
        .job_close(running.number, store.term(), at(13))
        .await
        .unwrap();
    let late = store.job_cancel_waiting(id, at(14)).await.unwrap();
    assert!(matches!(late, JobCanceled::TooLate(job) if job.is_ended()));

    insert(&store, "waiting", method_plan(), at(15)).await;
    let done = store.job_cancel_waiting(&job_id("waiting"), at(16)).await;
    let JobCanceled::Done(job) = done.unwrap() else {
        panic!("a waiting job can be cancelled");
    };
    let cancelled = JobState::Ended {
        end: JobEnd::Cancelled,
        at: at(16),
        sealed: None,
    };
    assert_eq!(job.state, cancelled);
    let absent = store.job_cancel_waiting(&job_id("nobody"), at(1)).await;
    assert_eq!(absent.unwrap(), JobCanceled::Absent);
}
