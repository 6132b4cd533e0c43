//! Watching a job through cut streams, a hub that is killed, and a hub that has no event stream.

use std::time::Duration;

use fanfare_cli::fleet::{Answer, Behaviour, Payload};
use fanfare_client::{
    ClientOptions, Credential, DeviceMethod, HubClient, JobMonitor, JobStatus, RetryPolicy,
    ScheduleOptions,
};
use serde_json::json;
use tokio::time::timeout;

use crate::proxy::{Fault, Http, Proxy};
use crate::rig::{HANGS_AFTER, Rig};

const ADDRESS: &str = "127.0.0.86";
const DEVICES: usize = 20;

struct Watched {
    rig: Rig,
    proxy: Proxy,
    hub: HubClient,
    fleet: fanfare_cli::fleet::Fleet,
}

impl Watched {
    /// A hub with devices that answer after `delay`, a job over all of them that has begun, seen through a proxy.
    async fn job(delay: Duration) -> Self {
        let rig = Rig::start(ADDRESS).await;
        let behaviour = Behaviour {
            answer: Answer::Reply {
                status: 200,
                payload: Payload::Echo,
                delay: delay..delay * 2,
            },
            ..Behaviour::default()
        };
        let fleet = rig.devices("w", DEVICES, json!({}), behaviour).await;
        let proxy = Proxy::before(rig.options(), Http::Both).await;
        let string = rig
            .options()
            .connection_string("iothubowner")
            .await
            .unwrap();
        let credential = Credential::from_connection_string(&string).unwrap();
        let retry = RetryPolicy {
            delay_first: Duration::from_millis(50),
            delay_max: Duration::from_millis(500),
            tries_max: 100,
            ..RetryPolicy::default()
        };
        let options = ClientOptions {
            retry,
            ..proxy.client_options()
        };
        let hub = HubClient::new(&proxy.endpoint(), credential, options).unwrap();
        let method = DeviceMethod::new("slow").response_timeout(Duration::from_secs(30));
        let window = Some(Duration::from_secs(60));
        let schedule = ScheduleOptions {
            start_time: None,
            window,
        };
        let owner = rig.owner().await;
        owner
            .jobs()
            .schedule_device_method("j", "*", method, schedule)
            .await
            .unwrap();
        Self {
            rig,
            proxy,
            hub,
            fleet,
        }
    }

    async fn clear(mut self) {
        drop(self.hub);
        self.proxy.wait_all_closed().await;
        self.proxy.stop().await;
        self.fleet.stop_all().await;
        self.rig.stop().await;
    }

    fn event_streams(&self) -> usize {
        let seen = self.proxy.take_seen();
        seen.iter()
            .filter(|request| request.path.ends_with("/events"))
            .count()
    }
}

/// Follows a job to its end: what is told never goes back, and the last of it is the end.
async fn follow(mut monitor: JobMonitor) -> JobStatus {
    let mut ended = 0;
    let mut last = None;
    let all = async {
        while let Some(progress) = monitor.try_next().await.unwrap() {
            let now = progress.job.ended_count();
            assert!(now >= ended, "{now} ended after {ended}");
            assert!(
                last.as_ref()
                    .is_none_or(|status: &JobStatus| !status.is_terminal())
            );
            ended = now;
            last = Some(progress.job.status);
        }
    };
    // A stream that falls silent is believed for the better part of a minute.
    timeout(HANGS_AFTER * 2, all)
        .await
        .expect("the monitor ends with its job");
    last.expect("a job is told at least once")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_outlives_cut_streams() {
    let watched = Watched::job(Duration::from_secs(4)).await;
    // Whichever request each of these meets, document or stream.
    watched.proxy.script([
        Fault::Pass,
        Fault::CutStream(1),
        Fault::CutAfter,
        Fault::CutStream(1),
        Fault::unavailable(),
        Fault::CutBody,
        Fault::CutStream(1),
    ]);
    let status = follow(watched.hub.jobs().monitor("j")).await;
    assert_eq!(status, JobStatus::Completed);
    let left = watched.proxy.faults_left();
    assert_eq!(left, 0, "the job ended before every fault was met");
    watched.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_of_a_hub_without_events_polls() {
    let watched = Watched::job(Duration::from_millis(300)).await;
    watched.proxy.without_events();
    let status = follow(watched.hub.jobs().monitor("j")).await;
    assert_eq!(status, JobStatus::Completed);
    assert!(
        watched.event_streams() <= 1,
        "a hub without the stream is asked for it once"
    );
    watched.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_outlives_the_hub() {
    let mut watched = Watched::job(Duration::from_millis(1_500)).await;
    let mut monitor = watched.hub.jobs().monitor("j");
    let first = timeout(HANGS_AFTER, monitor.try_next())
        .await
        .unwrap()
        .unwrap();
    assert!(first.is_some_and(|progress| !progress.job.status.is_terminal()));
    watched.rig.kill().await;
    let following = tokio::spawn(follow(monitor));
    watched.rig.restart().await;
    // Calls in flight at the kill end as unknown, the rest goes on: either way the job ends.
    assert_eq!(following.await.unwrap(), JobStatus::Completed);
    watched.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_falls_silent_is_not_waited_for() {
    let watched = Watched::job(Duration::from_secs(2)).await;
    // The document, then a stream that says one thing and never anything again, not even a heartbeat.
    watched.proxy.script([Fault::Pass, Fault::StallStream(1)]);
    let status = follow(watched.hub.jobs().monitor("j")).await;
    assert_eq!(status, JobStatus::Completed);
    assert_eq!(watched.proxy.faults_left(), 0);
    watched.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_is_dropped_leaves_nothing_open() {
    let watched = Watched::job(Duration::from_secs(5)).await;
    let mut monitor = watched.hub.jobs().monitor("j");
    timeout(HANGS_AFTER, monitor.try_next())
        .await
        .unwrap()
        .unwrap();
    drop(monitor);
    watched.clear().await;
}
