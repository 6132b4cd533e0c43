//! Rows of `devices.jobs`: each once, in order, whatever happens between two pages.

use fanfare_hub::{
    ids::{DeviceId, JobNumber},
    jobs::ledger::Outcome,
    ports::store::{DeviceJobRow, DeviceJobScan, DeviceJobState, JobRecords},
    registry::Precondition,
};
use serde_json::json;

use super::{
    Scratch, at, create, delete, device,
    jobs::{
        accept, answer, call, fleet, job_id, journal, method_plan, nothing, rows, settled, start,
        twin_plan,
    },
    patch, written,
};

fn place(row: &DeviceJobRow) -> (JobNumber, u32) {
    (row.job.number, row.ordinal)
}

fn device_id(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("tests use valid names")
}

pub(crate) async fn pages_of_any_size_show_every_row_once(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 20).await;
    accept(&store, "waiting", method_plan(), at(0)).await;
    let mut expected = Vec::new();
    for (name, targets) in [("a", &o[..]), ("b", &[]), ("c", &o[5..9]), ("d", &o[19..])] {
        let job = start(&store, name, method_plan(), targets).await;
        expected.extend(targets.iter().map(|ordinal| (job.number, *ordinal)));
        let half = targets.iter().step_by(2);
        let records = JobRecords {
            settled: half
                .map(|ordinal| settled(*ordinal, answer(200, None), 12))
                .collect(),
            ..nothing(&job)
        };
        journal(&store, records, 12).await;
    }
    for size in [1, 7, 1_000] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let scan = DeviceJobScan {
                after,
                ..DeviceJobScan::default()
            };
            let page = rows(&store, scan, size).await;
            let Some(last) = page.last() else { break };
            after = Some(place(last));
            seen.extend(page.iter().map(place));
        }
        assert_eq!(seen, expected, "pages of {size}");
    }
    for made_up in [(JobNumber(u64::MAX), 0), (JobNumber(9_999), u32::MAX)] {
        for jobs in [None, Some(vec![job_id("a")])] {
            let scan = DeviceJobScan {
                after: Some(made_up),
                jobs,
                ..DeviceJobScan::default()
            };
            assert!(rows(&store, scan, 9).await.is_empty());
        }
    }
}

pub(crate) async fn jobs_and_devices_narrow_a_scan(scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 5).await;
    for (name, targets) in [("a", &o[..3]), ("b", &o[1..]), ("c", &o[..1])] {
        start(&store, name, method_plan(), targets).await;
    }
    let seen = async |jobs: Option<&[&str]>, devices: Option<&[&str]>, after| {
        let scan = DeviceJobScan {
            after,
            jobs: jobs.map(|names| names.iter().map(|name| job_id(name)).collect()),
            devices: devices.map(|names| names.iter().map(|name| device_id(name)).collect()),
        };
        let rows = rows(&store, scan, usize::MAX).await;
        let names = rows.iter().map(|row| format!("{}/{}", row.job.id, row.id));
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        seen(Some(&["c", "nobody", "a"]), None, None).await,
        "a/d0 a/d1 a/d2 c/d0"
    );
    assert_eq!(
        seen(None, Some(&["d1", "nobody", "d0"]), None).await,
        "a/d0 a/d1 b/d1 c/d0"
    );
    assert_eq!(
        seen(Some(&["b"]), Some(&["d4", "d1"]), None).await,
        "b/d1 b/d4"
    );
    assert_eq!(seen(Some(&[]), None, None).await, "");
    assert_eq!(seen(None, Some(&[]), None).await, "");
    let a = store.job_get(&job_id("a")).await.unwrap().unwrap().number;
    assert_eq!(
        seen(None, Some(&["d0", "d1"]), Some((a, o[0]))).await,
        "a/d1 b/d1 c/d0"
    );
}

pub(crate) async fn deleted_devices_keep_their_names(mut scratch: Scratch) {
    let store = scratch.store();
    let o = fleet(&store, 3).await;
    let job = start(
        &store,
        "j",
        twin_plan(patch(json!({"t": 1}), json!(null))),
        &o,
    )
    .await;
    written(&store, delete(&device("d1"), Precondition::Exists), at(12)).await;
    // Another device of that name is not the one the job means.
    create(&store, &["d1"]).await;
    store.identity_forget().await.unwrap();
    let page = store.job_twin_page(job.number, store.term(), o.clone(), at(13));
    assert!(page.await.unwrap().ended);
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let all = rows(&store, DeviceJobScan::default(), 9).await;
    let shown: Vec<_> = all
        .iter()
        .map(|row| (row.ordinal, row.id.to_string()))
        .collect();
    assert_eq!(
        shown,
        [
            (o[0], "d0".to_owned()),
            (o[1], "d1".to_owned()),
            (o[2], "d2".to_owned())
        ]
    );
    assert_eq!(all[1].state, DeviceJobState::Ended(Outcome::Deleted));
    let named = DeviceJobScan {
        devices: Some(vec![device_id("d1")]),
        ..DeviceJobScan::default()
    };
    assert_eq!(rows(&store, named, 9).await, all[1..2]);
}

pub(crate) async fn answers_of_every_size_come_back_whole(mut scratch: Scratch) {
    let store = scratch.store();
    // 4,094 x and two quotes are the last answer that lies inside its segment.
    let sizes = [0, 1, 4_093, 4_094, 4_095, 4_096, 128 * 1024 - 2];
    let o = fleet(&store, sizes.len() + 1).await;
    let job = start(&store, "j", method_plan(), &o).await;
    let outcomes: Vec<Outcome> = sizes
        .iter()
        .map(|size| answer(200, Some(&format!("\"{}\"", "x".repeat(*size)))))
        .collect();
    for (ordinal, outcome) in o.iter().zip(&outcomes) {
        let records = JobRecords {
            dispatched: vec![(*ordinal, call(&store, 1))],
            settled: vec![settled(*ordinal, outcome.clone(), 12)],
            ..nothing(&job)
        };
        journal(&store, records, 12).await;
    }
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let expected: Vec<_> = outcomes.into_iter().map(DeviceJobState::Ended).collect();
    for is_ended in [false, true] {
        if is_ended {
            let close = store.job_close(job.number, store.term(), at(3_610));
            assert!(close.await.unwrap().is_ended());
        }
        let all = rows(&store, DeviceJobScan::default(), sizes.len()).await;
        let states: Vec<_> = all.into_iter().map(|row| row.state).collect();
        // No assert_eq: a failure would print all of it.
        assert!(states == expected, "ended: {is_ended}");
    }
}
