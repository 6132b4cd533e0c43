//! Lists in pages against a real hub: nothing twice, nothing missed, also when a page has to be asked for again.

use std::time::Duration;

use fanfare_client::{
    ClientOptions, Credential, HubClient, Job, JobStatus, JobType, RetryPolicy, ScheduleOptions,
    Timestamp, TwinPatch,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::proxy::{Fault, Http, Proxy};
use crate::rig::Rig;

const ADDRESS: &str = "127.0.0.80";

/// A hub with jobs `j-0` to `j-4` that start far ahead, and a client that gives up at the first failure.
async fn with_jobs() -> (Rig, Proxy, HubClient) {
    let rig = Rig::start(ADDRESS).await;
    let jobs = rig.owner().await.jobs();
    let far_ahead = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
    for number in 0..5 {
        let options = ScheduleOptions {
            start_time: Some(far_ahead),
            window: None,
        };
        let patch = TwinPatch::default().tags(json!({"ring": number}));
        jobs.schedule_twin_update(&format!("j-{number}"), "*", patch, options)
            .await
            .unwrap();
    }
    let proxy = Proxy::before(rig.options(), Http::Both).await;
    let hub = through(&proxy, &rig, |_| {}).await;
    (rig, proxy, hub)
}

async fn through(proxy: &Proxy, rig: &Rig, change: fn(&mut ClientOptions)) -> HubClient {
    let string = rig
        .options()
        .connection_string("iothubowner")
        .await
        .unwrap();
    let credential = Credential::from_connection_string(&string).unwrap();
    let mut options = ClientOptions {
        retry: RetryPolicy::none(),
        ..proxy.client_options()
    };
    change(&mut options);
    HubClient::new(&proxy.endpoint(), credential, options).unwrap()
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.job_id.as_str()).collect()
}

async fn clear((rig, proxy, hub): (Rig, Proxy, HubClient)) {
    drop(hub);
    proxy.wait_all_closed().await;
    proxy.stop().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_on_where_they_stopped() {
    let scene = with_jobs().await;
    let (_, proxy, hub) = &scene;
    let jobs = hub.jobs();
    let list = || {
        jobs.query_jobs(
            Some(JobType::ScheduleUpdateTwin),
            Some(JobStatus::Scheduled),
        )
    };

    let mut pages = list().page_items(2).pages();
    assert_eq!(pages.continuation(), None);
    let first = pages.try_next().await.unwrap().unwrap();
    assert_eq!(ids(&first.items), ["j-4", "j-3"]);
    assert_eq!(pages.continuation(), first.continuation.as_deref());
    let request = proxy.take_seen().pop().unwrap();
    assert_eq!(request.line(), "GET /jobs/v2/query");
    assert_eq!(request.header("x-ms-max-item-count"), Some("2"));
    assert!(request.query.contains("jobStatus=scheduled"));
    assert!(request.query.contains("jobType=scheduleUpdateTwin"));

    // A token is worth the same in another pager.
    let token = first.continuation.unwrap();
    let rest = list().page_items(2).resume(&token).collect().await.unwrap();
    assert_eq!(ids(&rest), ["j-2", "j-1", "j-0"]);

    // A failed page is asked for again, with its own token.
    proxy.script([Fault::unavailable()]);
    let error = pages.try_next().await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert_eq!(pages.continuation(), Some(token.as_str()));
    let second = pages.try_next().await.unwrap().unwrap();
    assert_eq!(ids(&second.items), ["j-2", "j-1"]);
    let third = pages.try_next().await.unwrap().unwrap();
    assert_eq!(ids(&third.items), ["j-0"]);
    assert_eq!((third.continuation, pages.continuation()), (None, None));
    assert_eq!(pages.try_next().await.unwrap(), None);
    drop((pages, jobs));
    clear(scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_and_pages_may_be_mixed_and_nothing_is_lost() {
    let scene = with_jobs().await;
    let (_, proxy, hub) = &scene;

    let mut pager = hub.jobs().query_jobs(None, None).page_items(2);
    assert_eq!(pager.try_next().await.unwrap().unwrap().job_id, "j-4");
    // The next item is still of the first page.
    assert_eq!(pager.continuation(), None);
    assert_eq!(pager.try_next().await.unwrap().unwrap().job_id, "j-3");
    let second = pager.continuation().unwrap().to_owned();
    assert_eq!(pager.try_next().await.unwrap().unwrap().job_id, "j-2");
    assert_eq!(pager.continuation(), Some(second.as_str()));
    let again = hub.jobs().query_jobs(None, None).page_items(2);
    let again = again.resume(second).collect().await.unwrap();
    assert_eq!(ids(&again), ["j-2", "j-1", "j-0"]);
    let left: Vec<_> = pager.collect().await.unwrap();
    assert_eq!(ids(&left), ["j-1", "j-0"]);

    // Whoever stops waiting finds the page when they come back, and it was asked for once.
    proxy.take_seen();
    let mut pager = hub.jobs().query_jobs(None, None);
    // Whether or not it comes in time.
    let in_time = timeout(Duration::from_micros(1), pager.try_next()).await;
    let mut all: Vec<Job> = in_time.ok().and_then(Result::unwrap).into_iter().collect();
    all.extend(pager.collect().await.unwrap());
    assert_eq!(ids(&all), ["j-4", "j-3", "j-2", "j-1", "j-0"]);
    assert_eq!(proxy.take_seen().len(), 1);
    clear(scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_form_that_pythons_sdk_is_given_is_read_too() {
    let scene = with_jobs().await;
    let (rig, proxy, _) = &scene;
    let hub = through(proxy, rig, |options| {
        options.user_agent = "msrest/0.7 iothubgatewayserviceapis/2021-04-12".to_owned();
    })
    .await;
    let jobs = hub.jobs().query_jobs(None, None).collect().await.unwrap();
    assert_eq!(ids(&jobs), ["j-4", "j-3", "j-2", "j-1", "j-0"]);
    drop(hub);
    clear(scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_read_as_whatever_the_caller_wants() {
    let scene = with_jobs().await;
    let (rig, _, hub) = &scene;
    let fleet = rig
        .devices(
            "d",
            3,
            json!({"ring": 1}),
            fanfare_cli::fleet::Behaviour::offline(),
        )
        .await;
    let twins = hub.queries().twins("SELECT * FROM devices").page_items(2);
    let twins = twins.collect().await.unwrap();
    assert!(
        twins.iter().all(|twin| twin.tags["ring"] == 1) && twins.len() == 3,
        "{twins:?}"
    );
    let text = "SELECT tags.ring AS ring, COUNT() AS doors FROM devices GROUP BY tags.ring";
    let rows: Vec<Value> = hub.queries().query(text).collect().await.unwrap();
    assert_eq!(rows, [json!({"ring": 1, "doors": 3})]);
    let error = hub
        .queries()
        .query::<Value>("SELECT")
        .collect()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("ArgumentInvalid"), "{error}");
    drop(fleet);
    clear(scene).await;
}
