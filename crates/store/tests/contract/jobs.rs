//! Jobs: accepted once, started when due, ended in every way, listed, removed. Also the fixtures of every
//! test that has jobs.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fanfare_hub::{
    ids::{CallId, JobId, MethodName, Ordinal, Space, Term},
    jobs::{
        job::{
            Job, JobEnd, JobPlan, JobState, MethodOperation, Operation, Progress, TwinOperation,
        },
        ledger::{Outcome, RestOutcome, Settled, Standing},
        row,
    },
    json::JsonText,
    limits,
    ports::store::{
        AcceptRules, DeviceJobRow, DeviceJobScan, DeviceJobState, JobCanceled, JobCommitted,
        JobFilter, JobInserted, JobRecords, JobStatusFilter, OperationKind, Store, StoreError,
    },
    registry::{IdentityWritten, Precondition},
    time::Timestamp,
    twin::document::{SectionPatch, TwinPatch},
};
use roaring::RoaringBitmap;
use serde_json::json;

use super::{Scratch, at, device, patch, put};

pub(crate) fn job_id(name: &str) -> JobId {
    JobId::parse(name).expect("tests use valid names")
}

pub(crate) fn json_text(text: &str) -> JsonText {
    JsonText::parse(text.as_bytes()).expect("tests use valid JSON")
}

/// `lockDoor` on everyone, from now on, within an hour.
pub(crate) fn method_plan() -> JobPlan {
    JobPlan {
        condition: "*".into(),
        space: Space::Devices,
        operation: Operation::Method(MethodOperation {
            name: MethodName::parse("lockDoor").expect("a valid name"),
            payload: json_text(r#"{"n":3}"#),
            response_seconds: 15,
            connect_seconds: None,
        }),
        start: None,
        window_seconds: 3_600,
    }
}

pub(crate) fn twin_plan(patch: TwinPatch) -> JobPlan {
    JobPlan {
        operation: Operation::Twin(TwinOperation {
            patch,
            echo: json_text(r#"{"etag":"*"}"#),
        }),
        ..method_plan()
    }
}

pub(crate) async fn insert(
    store: &Arc<dyn Store>,
    name: &str,
    plan: JobPlan,
    at: Timestamp,
) -> JobInserted {
    store
        .job_insert(job_id(name), plan, None, at, AcceptRules::default())
        .await
        .expect("the store works")
}

pub(crate) async fn accept(
    store: &Arc<dyn Store>,
    name: &str,
    plan: JobPlan,
    at: Timestamp,
) -> Job {
    match insert(store, name, plan, at).await {
        JobInserted::Accepted(job) => job,
        other => panic!("{name} was not accepted: {other:?}"),
    }
}

/// Creates `count` devices `d0`, `d1`, ...; gives their ordinals.
pub(crate) async fn fleet(store: &Arc<dyn Store>, count: usize) -> Vec<Ordinal> {
    let names: Vec<_> = (0..count).map(|n| device(&format!("d{n}"))).collect();
    let mut ordinals = Vec::with_capacity(count);
    for names in names.chunks(limits::TWIN_PAGE_DEVICES) {
        let puts = names.iter().map(|id| put(id, Precondition::Absent));
        let results = store.identity_write(puts.collect(), at(0)).await.unwrap();
        for result in results {
            match result.expect("the names are new") {
                IdentityWritten::Put { identity, .. } => ordinals.push(identity.key.ordinal),
                IdentityWritten::Deleted { .. } => panic!("nothing was deleted"),
            }
        }
    }
    ordinals
}

/// Keeps the target set in records and seals it.
pub(crate) async fn seal(
    store: &Arc<dyn Store>,
    job: &Job,
    targets: &[Ordinal],
    at: Timestamp,
) -> Job {
    let term = store.term();
    store.job_targets_clear(job.number, term).await.unwrap();
    let mut records: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
    for ordinal in targets {
        records.entry(ordinal >> 16).or_default().insert(*ordinal);
    }
    for record in records.into_values() {
        store
            .job_targets_add(job.number, term, record)
            .await
            .unwrap();
    }
    store.job_seal(job.number, term, at).await.unwrap()
}

/// A job accepted at second 10 and sealed at second 11.
pub(crate) async fn start(
    store: &Arc<dyn Store>,
    name: &str,
    plan: JobPlan,
    targets: &[Ordinal],
) -> Job {
    let job = accept(store, name, plan, at(10)).await;
    seal(store, &job, targets, at(11)).await
}

pub(crate) fn nothing(job: &Job) -> JobRecords {
    JobRecords {
        job: job.number,
        dispatched: Vec::new(),
        withdrawn: Vec::new(),
        settled: Vec::new(),
    }
}

/// The call `number` of this store's term.
pub(crate) fn call(store: &Arc<dyn Store>, number: u64) -> CallId {
    CallId {
        term: store.term(),
        number,
    }
}

pub(crate) fn settled(ordinal: Ordinal, outcome: Outcome, second: i64) -> Settled {
    Settled {
        ordinal,
        outcome,
        at: at(second),
    }
}

pub(crate) fn answer(status: i32, payload: Option<&str>) -> Outcome {
    Outcome::Answered {
        status,
        payload: payload.map(json_text),
    }
}

/// One batch of one job.
pub(crate) async fn journal(
    store: &Arc<dyn Store>,
    records: JobRecords,
    second: i64,
) -> JobCommitted {
    let mut committed = store
        .job_journal(store.term(), vec![records], at(second))
        .await
        .unwrap();
    assert_eq!(committed.len(), 1);
    committed.remove(0)
}

/// Rows in the order of a scan, at most `limit`.
pub(crate) async fn rows(
    store: &Arc<dyn Store>,
    scan: DeviceJobScan,
    limit: usize,
) -> Vec<DeviceJobRow> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let visit = move |row: DeviceJobRow| {
        let mut seen = into.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(row);
        match seen.len() >= limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    store.device_job_scan(scan, Box::new(visit)).await.unwrap();
    std::mem::take(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) fn of_job(id: &JobId) -> DeviceJobScan {
    DeviceJobScan {
        jobs: Some(vec![id.clone()]),
        ..DeviceJobScan::default()
    }
}

fn tally(rows: &[DeviceJobRow]) -> Progress {
    let count = |word| {
        let of_word = rows.iter().filter(|row| row::status(&row.state) == word);
        of_word.count() as u32
    };
    Progress {
        total: rows.len() as u32,
        succeeded: count("completed"),
        failed: count("failed"),
        running: count("running"),
        canceled: count("canceled"),
    }
}

/// The job and its rows, after checking that its numbers are what the rows say, and that its ledger says
/// the same of every device.
pub(crate) async fn look(store: &Arc<dyn Store>, id: &JobId) -> (Job, Vec<DeviceJobRow>) {
    let job = store.job_get(id).await.unwrap().expect("the job is there");
    let rows = rows(store, of_job(id), usize::MAX).await;
    assert_eq!(tally(&rows), job.progress.unwrap_or_default(), "job {id}");
    let in_order = rows.windows(2).all(|two| two[0].ordinal < two[1].ordinal);
    assert!(in_order, "rows of {id} go by ordinal");
    if !job.is_running() {
        return (job, rows);
    }
    let ledger = store.job_resume(job.number).await.unwrap().ledger;
    assert_eq!(Some(ledger.progress()), job.progress, "ledger of {id}");
    for row in &rows {
        let is_same = match (ledger.standing(row.ordinal), &row.state) {
            (Standing::Pending, DeviceJobState::Pending) => Some(row.updated) == job.sealed(),
            (Standing::InFlight(flight), DeviceJobState::Running) => {
                row.updated == flight.dispatched
            }
            (Standing::Settled(verdict), DeviceJobState::Ended(outcome)) => {
                outcome.verdict() == verdict
            }
            (Standing::Rest(rest), DeviceJobState::Ended(outcome)) => {
                let expected = match rest.outcome {
                    RestOutcome::Unreachable => Outcome::Unreachable,
                    RestOutcome::Canceled => Outcome::Canceled,
                };
                *outcome == expected && row.updated == rest.at
            }
            _ => false,
        };
        assert!(
            is_same,
            "{row:?} against {:?}",
            ledger.standing(row.ordinal)
        );
    }
    (job, rows)
}

/// The state of each row of a job.
pub(crate) async fn states(store: &Arc<dyn Store>, id: &JobId) -> Vec<DeviceJobState> {
    let (_, rows) = look(store, id).await;
    rows.into_iter().map(|row| row.state).collect()
}

pub(crate) async fn a_job_is_accepted_once(mut scratch: Scratch) {
    let store = scratch.store();
    let job = accept(&store, "j", method_plan(), at(0)).await;
    assert_eq!((job.created, &job.state), (at(0), &JobState::Waiting));
    assert_eq!(job.progress, None);
    assert_eq!(
        store.job_get(&job.id).await.unwrap().as_ref(),
        Some(&job),
        "what was accepted is what is read"
    );
    assert_eq!(store.job_get(&job_id("J")).await.unwrap(), None);

    let again = insert(&store, "j", method_plan(), at(120)).await;
    assert_eq!(again, JobInserted::Repeated(job.clone()));
    let too_late = insert(
        &store,
        "j",
        method_plan(),
        at(120) + Duration::from_micros(1),
    )
    .await;
    assert_eq!(too_late, JobInserted::Taken);
    let other = JobPlan {
        window_seconds: 61,
        ..method_plan()
    };
    assert_eq!(insert(&store, "j", other, at(1)).await, JobInserted::Taken);

    let next = accept(&store, "k", method_plan(), at(0)).await;
    assert!(next.number > job.number);
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    assert_eq!(store.job_get(&job.id).await.unwrap(), Some(job.clone()));
    store.job_cancel(&job.id, at(5)).await.unwrap();
    let JobInserted::Repeated(now) = insert(&store, "j", method_plan(), at(9)).await else {
        panic!("a repetition within the window is one, whatever became of the job");
    };
    assert!(now.is_ended());
}

pub(crate) async fn plans_of_every_kind_survive_a_reopening(mut scratch: Scratch) {
    let store = scratch.store();
    let with_start = JobPlan {
        start: Some(at(500)),
        condition: "x".repeat(20_000).as_str().into(),
        space: Space::Modules,
        ..method_plan()
    };
    let mut with_times = method_plan();
    if let Operation::Method(method) = &mut with_times.operation {
        method.connect_seconds = Some(7);
        method.payload = json_text(&format!("\"{}\"", "p".repeat(100_000)));
    }
    let clear = TwinPatch::new(SectionPatch::Clear, SectionPatch::Absent).unwrap();
    let plans = [
        method_plan(),
        with_start,
        with_times,
        twin_plan(patch(json!({"a": null, "b": {"c": 1.5}}), json!({"n": -3}))),
        twin_plan(patch(json!(null), json!({}))),
        twin_plan(clear),
    ];
    let mut jobs = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        jobs.push(accept(&store, &format!("j{number}"), plan, at(1)).await);
    }
    drop(store);
    scratch.reopen();
    for job in jobs {
        let found = scratch.store().job_get(&job.id).await.unwrap();
        assert_eq!(found, Some(job));
    }
}

pub(crate) async fn due_jobs_come_by_their_start(scratch: Scratch) {
    let store = scratch.store();
    let with_start = |second: Option<i64>| JobPlan {
        start: second.map(at),
        ..method_plan()
    };
    for (name, start) in [
        ("later", Some(50)),
        ("soon", Some(20)),
        ("past", Some(-9)),
        ("now", None),
        ("then", Some(20)),
    ] {
        accept(&store, name, with_start(start), at(5)).await;
    }
    let due = async |second, limit| {
        let due = store.job_due(at(second), limit).await.unwrap();
        let names: Vec<_> = due.due.iter().map(|job| job.id.to_string()).collect();
        (names.join(" "), due.next)
    };
    assert_eq!(due(4, 9).await, (String::new(), Some(at(5))));
    assert_eq!(due(5, 9).await, ("past now".into(), Some(at(20))));
    assert_eq!(
        due(20, 9).await,
        ("past now soon then".into(), Some(at(50)))
    );
    assert_eq!(due(20, 3).await, ("past now soon".into(), Some(at(50))));
    store.job_cancel(&job_id("past"), at(21)).await.unwrap();
    let job = store.job_get(&job_id("now")).await.unwrap().unwrap();
    seal(&store, &job, &[], at(22)).await;
    assert_eq!(due(60, 9).await, ("soon then later".into(), None));
}

pub(crate) async fn lists_go_from_new_to_old_with_every_filter(scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 2).await;
    let later = JobPlan {
        start: Some(at(1_000)),
        ..method_plan()
    };
    let twin = || twin_plan(patch(json!({"t": 1}), json!(null)));
    accept(&store, "queued", method_plan(), at(10)).await;
    accept(&store, "scheduled", later, at(10)).await;
    start(&store, "running", twin(), &ordinals).await;
    let draining = start(&store, "draining", method_plan(), &ordinals).await;
    let dispatch = JobRecords {
        dispatched: vec![(ordinals[0], call(&store, 1))],
        ..nothing(&draining)
    };
    journal(&store, dispatch, 12).await;
    store.job_cancel(&draining.id, at(13)).await.unwrap();
    start(&store, "completed", twin(), &[]).await;
    let failed = accept(&store, "failed", method_plan(), at(10)).await;
    let no = store.job_fail(failed.number, store.term(), "no".into(), at(13));
    no.await.unwrap();
    accept(&store, "cancelled", twin(), at(10)).await;
    store
        .job_cancel(&job_id("cancelled"), at(13))
        .await
        .unwrap();

    let list = async |filter, limit| {
        let jobs = store.job_list(filter, at(20), limit).await.unwrap();
        let names: Vec<_> = jobs.iter().map(|job| job.id.to_string()).collect();
        names.join(" ")
    };
    let all = "cancelled failed completed draining running scheduled queued";
    assert_eq!(list(JobFilter::default(), 100).await, all);
    for (status, expected) in [
        (JobStatusFilter::Queued, "queued"),
        (JobStatusFilter::Scheduled, "scheduled"),
        (JobStatusFilter::Running, "draining running"),
        (JobStatusFilter::Completed, "completed"),
        (JobStatusFilter::Failed, "failed"),
        (JobStatusFilter::Cancelled, "cancelled"),
    ] {
        let filter = JobFilter {
            status: Some(status),
            ..JobFilter::default()
        };
        assert_eq!(list(filter, 100).await, expected, "{status:?}");
    }
    let of = |operation| JobFilter {
        operation: Some(operation),
        ..JobFilter::default()
    };
    assert_eq!(
        list(of(OperationKind::Twin), 100).await,
        "cancelled completed running"
    );
    assert_eq!(
        list(of(OperationKind::Method), 100).await,
        "failed draining scheduled queued"
    );

    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let filter = JobFilter {
            before,
            ..JobFilter::default()
        };
        let page = store.job_list(filter, at(20), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        paged.extend(page.iter().map(|job| job.id.to_string()));
    }
    assert_eq!(paged.join(" "), all);
    let made_up = JobFilter {
        before: Some(fanfare_hub::ids::JobNumber(u64::MAX)),
        ..JobFilter::default()
    };
    assert_eq!(list(made_up, 100).await, all);
}

pub(crate) async fn an_empty_target_set_ends_the_job_at_once(scratch: Scratch) {
    let store = scratch.store();
    let job = start(&store, "j", method_plan(), &[]).await;
    let expected = JobState::Ended {
        end: JobEnd::Completed,
        at: at(11),
        sealed: Some(at(11)),
    };
    assert_eq!(job.state, expected);
    assert_eq!(job.progress, Some(Progress::default()));
    assert_eq!(look(&store, &job.id).await.0, job);
}

pub(crate) async fn a_sealed_set_stays(mut scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 5).await;
    let job = accept(&store, "j", method_plan(), at(10)).await;
    let term = store.term();
    let set = |of: &[Ordinal]| of.iter().copied().collect::<RoaringBitmap>();
    // A set that was not sealed is thrown away.
    store
        .job_targets_add(job.number, term, set(&ordinals))
        .await
        .unwrap();
    assert!(rows(&store, of_job(&job.id), 9).await.is_empty());
    store.job_targets_clear(job.number, term).await.unwrap();
    for _ in ["once", "again, because the first result was lost"] {
        let add = store.job_targets_add(job.number, term, set(&ordinals[1..4]));
        add.await.unwrap();
    }
    let sealed = store.job_seal(job.number, term, at(11)).await.unwrap();
    assert_eq!(sealed.state, JobState::Running { sealed: at(11) });
    assert_eq!(sealed.progress.map(|progress| progress.total), Some(3));
    assert_eq!(sealed.start(), at(10));

    store
        .job_targets_add(job.number, term, set(&ordinals[4..]))
        .await
        .unwrap();
    store.job_targets_clear(job.number, term).await.unwrap();
    let again = store.job_seal(job.number, term, at(12)).await.unwrap();
    assert_eq!(again, sealed);
    assert_eq!(store.job_running().await.unwrap(), [job.number]);
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let (after, rows) = look(&store, &job.id).await;
    assert_eq!(after, sealed);
    let targets: Vec<_> = rows.iter().map(|row| row.ordinal).collect();
    assert_eq!(targets, ordinals[1..4]);
    assert_eq!(store.job_running().await.unwrap(), [job.number]);
}

pub(crate) async fn a_cancel_before_the_seal_wins(scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 2).await;
    let job = accept(&store, "j", method_plan(), at(10)).await;
    let term = store.term();
    let targets: RoaringBitmap = ordinals.iter().copied().collect();
    store
        .job_targets_add(job.number, term, targets.clone())
        .await
        .unwrap();
    let canceled = store.job_cancel(&job.id, at(11)).await.unwrap();
    let JobCanceled::Done(canceled) = canceled else {
        panic!("{canceled:?}");
    };
    store
        .job_targets_add(job.number, term, targets)
        .await
        .unwrap();
    let sealed = store.job_seal(job.number, term, at(12)).await.unwrap();
    assert_eq!(sealed, canceled);
    assert_eq!((sealed.progress, sealed.sealed()), (None, None));
    assert!(rows(&store, of_job(&job.id), 9).await.is_empty());
    assert!(store.job_running().await.unwrap().is_empty());
    let absent = store.job_cancel(&job_id("nobody"), at(1)).await.unwrap();
    assert_eq!(absent, JobCanceled::Absent);
}

pub(crate) async fn a_cancel_lets_calls_in_flight_end(mut scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 4).await;
    let job = start(&store, "j", method_plan(), &ordinals).await;
    let calls = JobRecords {
        dispatched: vec![
            (ordinals[0], call(&store, 1)),
            (ordinals[1], call(&store, 2)),
        ],
        settled: vec![settled(ordinals[3], Outcome::Deleted, 12)],
        ..nothing(&job)
    };
    journal(&store, calls, 12).await;
    let JobCanceled::Done(draining) = store.job_cancel(&job.id, at(13)).await.unwrap() else {
        panic!("a running job can be cancelled");
    };
    let expected = JobState::Draining {
        sealed: at(11),
        canceled: at(13),
    };
    assert_eq!(draining.state, expected);
    let again = store.job_cancel(&job.id, at(14)).await.unwrap();
    assert_eq!(again, JobCanceled::Done(draining.clone()));
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let (now, _) = look(&store, &job.id).await;
    assert_eq!(now, draining);
    let expected = Progress {
        total: 4,
        succeeded: 0,
        failed: 1,
        running: 2,
        canceled: 1,
    };
    assert_eq!(now.progress, Some(expected));

    let first = JobRecords {
        settled: vec![settled(ordinals[0], answer(200, None), 15)],
        ..nothing(&job)
    };
    assert!(!journal(&store, first, 15).await.ended);
    let last = JobRecords {
        settled: vec![settled(ordinals[1], Outcome::TimedOut, 16)],
        ..nothing(&job)
    };
    let committed = journal(&store, last, 16).await;
    assert!(committed.ended);
    let (ended, _) = look(&store, &job.id).await;
    let expected = JobState::Ended {
        end: JobEnd::Cancelled,
        at: at(16),
        sealed: Some(at(11)),
    };
    assert_eq!(ended.state, expected);
    assert_eq!(ended.progress, Some(committed.progress));
    let expected = [
        DeviceJobState::Ended(answer(200, None)),
        DeviceJobState::Ended(Outcome::TimedOut),
        DeviceJobState::Ended(Outcome::Canceled),
        DeviceJobState::Ended(Outcome::Deleted),
    ];
    assert_eq!(states(&store, &job.id).await, expected);
    let too_late = store.job_cancel(&job.id, at(17)).await.unwrap();
    assert_eq!(too_late, JobCanceled::TooLate(ended));
}

pub(crate) async fn a_cancel_with_nothing_in_flight_ends_at_once(scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 3).await;
    let plan = twin_plan(patch(json!({"t": 1}), json!(null)));
    let job = start(&store, "j", plan, &ordinals).await;
    let page = store.job_twin_page(job.number, store.term(), ordinals[..1].to_vec(), at(12));
    page.await.unwrap();
    let JobCanceled::Done(ended) = store.job_cancel(&job.id, at(13)).await.unwrap() else {
        panic!("a running job can be cancelled");
    };
    let expected = JobState::Ended {
        end: JobEnd::Cancelled,
        at: at(13),
        sealed: Some(at(11)),
    };
    assert_eq!(ended.state, expected);
    let late = store.job_twin_page(job.number, store.term(), ordinals.clone(), at(14));
    let late = late.await.unwrap();
    assert_eq!((late.changes.len(), late.ended), (0, true));
    assert_eq!(Some(late.progress), ended.progress);
    assert_eq!(look(&store, &job.id).await.0, ended);
    for (name, version) in [("d0", 2), ("d1", 1)] {
        let twin = store.twin_get(&device(name)).await.unwrap().unwrap();
        assert_eq!(twin.document.version, version, "{name}");
    }
}

pub(crate) async fn a_failed_job_has_final_numbers(mut scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 3).await;
    let fail = async |job: &Job| {
        let failed = store.job_fail(job.number, store.term(), "broken".into(), at(20));
        failed.await.unwrap()
    };
    let end = |sealed| JobState::Ended {
        end: JobEnd::Failed {
            reason: "broken".into(),
        },
        at: at(20),
        sealed,
    };
    let waiting = accept(&store, "waiting", method_plan(), at(10)).await;
    let failed = fail(&waiting).await;
    assert_eq!((failed.state, failed.progress), (end(None), None));

    let running = start(&store, "running", method_plan(), &ordinals).await;
    let records = JobRecords {
        dispatched: vec![(ordinals[0], call(&store, 1))],
        settled: vec![settled(ordinals[1], answer(200, None), 12)],
        ..nothing(&running)
    };
    journal(&store, records, 12).await;
    let failed = fail(&running).await;
    assert_eq!(failed.state, end(Some(at(11))));
    let expected = [
        DeviceJobState::Ended(Outcome::Unknown),
        DeviceJobState::Ended(answer(200, None)),
        DeviceJobState::Ended(Outcome::Canceled),
    ];
    assert_eq!(states(&store, &running.id).await, expected);
    assert_eq!(fail(&failed).await, failed, "the first end stays");
    let done = start(&store, "done", method_plan(), &[]).await;
    assert_eq!(fail(&done).await, done);
    let absent = store.job_fail(
        fanfare_hub::ids::JobNumber(99),
        store.term(),
        "no".into(),
        at(1),
    );
    assert!(matches!(absent.await, Err(StoreError::Absent(_))));
    drop(store);
    scratch.reopen();
    assert_eq!(look(&scratch.store(), &running.id).await.0, failed);
}

pub(crate) async fn an_older_term_is_refused(mut scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 2).await;
    let plan = twin_plan(patch(json!({"t": 1}), json!(null)));
    let waiting = accept(&store, "waiting", method_plan(), at(10)).await;
    let job = start(&store, "j", plan, &ordinals).await;
    let old = store.term();
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    assert!(store.term() > old);
    let before = look(&store, &job.id).await;
    let number = job.number;
    let set: RoaringBitmap = ordinals.iter().copied().collect();
    let records = JobRecords {
        settled: vec![settled(ordinals[0], Outcome::Applied, 12)],
        ..nothing(&job)
    };
    for term in [old, Term(store.term().0 + 1)] {
        let errors = [
            store.job_targets_clear(number, term).await.err(),
            store
                .job_targets_add(waiting.number, term, set.clone())
                .await
                .err(),
            store.job_seal(waiting.number, term, at(12)).await.err(),
            store
                .job_journal(term, vec![records.clone()], at(12))
                .await
                .err(),
            store
                .job_twin_page(number, term, ordinals.clone(), at(12))
                .await
                .err(),
            store.job_close(number, term, at(12)).await.err(),
            store
                .job_fail(number, term, "no".into(), at(12))
                .await
                .err(),
        ];
        for (place, error) in errors.into_iter().enumerate() {
            let is_refused = matches!(error, Some(StoreError::Conflict));
            assert!(is_refused, "call {place}: {error:?}");
        }
    }
    assert_eq!(look(&store, &job.id).await, before);
    let kept = store.job_get(&waiting.id).await.unwrap();
    assert_eq!(kept, Some(waiting));
}

pub(crate) async fn expired_jobs_go_and_their_names_are_free(mut scratch: Scratch) {
    let store = scratch.store();
    let ordinals = fleet(&store, 3).await;
    for (name, second) in [("a", 20), ("b", 21), ("c", 22)] {
        let job = start(&store, name, method_plan(), &ordinals).await;
        let outcomes = ordinals.iter().map(|ordinal| {
            let large = format!("\"{}\"", "x".repeat(10_000));
            settled(*ordinal, answer(200, Some(&large)), second)
        });
        let records = JobRecords {
            settled: outcomes.collect(),
            ..nothing(&job)
        };
        assert!(journal(&store, records, second).await.ended);
    }
    let stays = start(&store, "stays", method_plan(), &ordinals).await;
    accept(&store, "waits", method_plan(), at(0)).await;

    assert_eq!(store.job_expire(at(20), 10).await.unwrap(), 0);
    while store.job_expire(at(22), 1).await.unwrap() > 0 {}
    for (name, is_there) in [
        ("a", false),
        ("b", false),
        ("c", true),
        ("stays", true),
        ("waits", true),
    ] {
        let found = store.job_get(&job_id(name)).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{name}");
    }
    let everything = rows(&store, DeviceJobScan::default(), usize::MAX).await;
    let names: Vec<_> = everything.iter().map(|row| row.job.id.as_str()).collect();
    assert_eq!(names, ["c", "c", "c", "stays", "stays", "stays"]);

    // The name is free, and its new owner knows nothing of the old one.
    let again = start(&store, "a", method_plan(), &ordinals).await;
    assert!(again.number > stays.number);
    drop(store);
    scratch.reopen();
    let fresh = states(&scratch.store(), &again.id).await;
    assert_eq!(fresh, [const { DeviceJobState::Pending }; 3]);
}
