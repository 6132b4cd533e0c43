//! Watching a job as long as all is well: what is told, in what order, by how many requests; and how it ends when
//! there is nothing to watch. What goes wrong on the way is in [`super::cuts`].

use std::time::Duration;

use fanfare_cli::fleet::Behaviour;
use fanfare_client::{
    DeviceMethod, HubClient, JobMonitor, JobProgress, JobStatus, ScheduleOptions, TwinPatch,
};
use serde_json::json;
use tokio::time::timeout;

use crate::proxy::{Fault, Http, Proxy, Recorded};
use crate::rig::{HANGS_AFTER, Rig};

const ADDRESS: &str = "127.0.0.80";
const CONDITION: &str = "tags.ring = 1";
/// Pause between two looks at what arrived at the proxy.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A client that goes through the proxy.
async fn through(proxy: &Proxy, rig: &Rig) -> HubClient {
    let string = rig
        .options()
        .connection_string("iothubowner")
        .await
        .unwrap();
    let credential = fanfare_client::Credential::from_connection_string(&string).unwrap();
    HubClient::new(&proxy.endpoint(), credential, proxy.client_options()).unwrap()
}

/// Schedules a job over two devices that answer and one that never connects, so that it lasts as long as its window.
async fn schedule(rig: &Rig, job_id: &str, window: Duration) {
    let options = ScheduleOptions {
        start_time: None,
        window: Some(window),
    };
    let lock = DeviceMethod::new("lock").payload(json!({"bolt": 2}));
    let owner = rig.owner().await;
    owner
        .jobs()
        .schedule_device_method(job_id, CONDITION, lock, options)
        .await
        .unwrap();
}

async fn told(monitor: &mut JobMonitor) -> Vec<JobProgress> {
    let all = async {
        let mut told = Vec::new();
        while let Some(progress) = monitor.try_next().await.unwrap() {
            told.push(progress);
        }
        told
    };
    timeout(HANGS_AFTER, all)
        .await
        .expect("the monitor ends with its job")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_told_from_now_to_its_end_over_one_stream() {
    let rig = Rig::start(ADDRESS).await;
    let tags = json!({"ring": 1});
    let mut online = rig
        .devices("on", 2, tags.clone(), Behaviour::default())
        .await;
    let offline = rig.devices("off", 1, tags, Behaviour::offline()).await;
    let proxy = Proxy::before(rig.options(), Http::Both).await;
    let hub = through(&proxy, &rig).await;
    schedule(&rig, "j", Duration::from_secs(2)).await;

    let mut monitor = hub.jobs().monitor("j");
    let told = told(&mut monitor).await;
    assert_eq!(monitor.try_next().await.unwrap(), None);
    assert_eq!(monitor.try_next().await.unwrap(), None);

    let (last, before) = told.split_last().unwrap();
    assert!(last.is_last() && before.iter().all(|progress| !progress.is_last()));
    assert_eq!(last.job.status, JobStatus::Completed);
    let counts = last.job.statistics.clone().unwrap();
    assert_eq!((counts.succeeded_count, counts.failed_count), (2, 1));
    assert!(told.is_sorted_by_key(|progress| progress.elapsed));
    assert!(told.windows(2).all(|pair| pair[0].job != pair[1].job));
    // Events leave out what was asked for; the monitor does not.
    assert_eq!(last.job, hub.jobs().get_job("j").await.unwrap());
    for progress in &told {
        assert_eq!(progress.job.query_condition.as_deref(), Some(CONDITION));
        let method = progress.job.cloud_to_device_method.as_ref().unwrap();
        assert_eq!(method.payload, json!({"bolt": 2}));
    }

    let seen = proxy.take_seen();
    let lines: Vec<String> = seen.iter().map(|request| request.line()).collect();
    let want = [
        "GET /jobs/v2/j",
        "GET /fanfare/v1/jobs/j/events",
        "GET /jobs/v2/j",
    ];
    assert_eq!(lines, want, "one look, one stream, and the test's own look");
    assert_eq!(seen[1].header("accept"), Some("text/event-stream"));

    drop(hub);
    proxy.wait_all_closed().await;
    proxy.stop().await;
    online.stop_all().await;
    drop(offline);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_late_is_told_the_end_alone() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let jobs = hub.jobs();
    let patch = TwinPatch::desired(json!({"floor": 3}));
    jobs.schedule_twin_update("j", "*", patch, None)
        .await
        .unwrap();
    let job = timeout(HANGS_AFTER, jobs.monitor("j").wait())
        .await
        .expect("a job without devices ends")
        .unwrap();
    assert_eq!(job.status, JobStatus::Completed);

    let mut monitor = jobs.monitor("j");
    let told = told(&mut monitor).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].job, job);
    assert!(told[0].is_last());
    // The end is told once, also to whoever asks for it alone.
    assert!(monitor.wait().await.is_err());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_watched_ends_with_the_refusal() {
    let rig = Rig::start(ADDRESS).await;
    let owner = rig.owner().await;
    for (hub, id, code) in [
        (owner.clone(), "never", Some("JobNotFound")),
        (owner, "query", None),
        (
            rig.client("device").await,
            "never",
            Some("IotHubUnauthorizedAccess"),
        ),
    ] {
        let mut monitor = hub.jobs().monitor(id);
        let error = monitor.try_next().await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(monitor.try_next().await.unwrap(), None);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_begins_is_not_waited_for() {
    let rig = Rig::start(ADDRESS).await;
    let offline = rig
        .devices("off", 1, json!({"ring": 1}), Behaviour::offline())
        .await;
    let proxy = Proxy::before(rig.options(), Http::Both).await;
    let hub = through(&proxy, &rig).await;
    schedule(&rig, "j", Duration::from_secs(1)).await;

    proxy.script([Fault::Pass, Fault::NeverAnswer]);
    let mut monitor = hub.jobs().monitor("j");
    let told = told(&mut monitor).await;
    assert_eq!(told.last().unwrap().job.status, JobStatus::Completed);
    assert_eq!(proxy.faults_left(), 0);

    drop(hub);
    proxy.wait_all_closed().await;
    proxy.stop().await;
    drop(offline);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_monitor_leaves_no_stream_and_the_job_alone() {
    let rig = Rig::start(ADDRESS).await;
    let offline = rig
        .devices("off", 1, json!({"ring": 1}), Behaviour::offline())
        .await;
    let proxy = Proxy::before(rig.options(), Http::One).await;
    let hub = through(&proxy, &rig).await;
    schedule(&rig, "j", Duration::from_secs(600)).await;

    let mut monitor = hub.jobs().monitor("j");
    let is_stream = |request: &Recorded| request.path.ends_with("/events");
    while !proxy.take_seen().iter().any(is_stream) {
        // There may be nothing more to tell.
        if let Ok(told) = timeout(LOOK_PAUSE, monitor.try_next()).await {
            told.unwrap();
        }
    }
    drop(monitor);
    drop(hub);
    proxy.wait_all_closed().await;
    let job = rig.owner().await.jobs().get_job("j").await.unwrap();
    assert!(!job.has_ended(), "{job:?}");

    proxy.stop().await;
    drop(offline);
    rig.stop().await;
}
