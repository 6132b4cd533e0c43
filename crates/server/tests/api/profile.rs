//! The profiles: what the tiers of the original refuse is refused here with the same words, and only there.

use fanfare_server::Flags;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

const FAR_START: &str = "2999-01-01T00:00:00.000Z";
const PYTHON: &str = "python/3.11 (Linux) msrest/0.7.1 iothubgatewayserviceapis/2021-04-12";

fn profile(name: &str) -> impl FnOnce(&mut Flags) {
    let name = name.to_owned();
    |flags| flags.profile = Some(name)
}

fn twin_job(condition: &str) -> Value {
    json!({"type": "scheduleUpdateTwin", "updateTwin": {"etag": "*", "tags": {"a": 1}}, "queryCondition": condition})
}

fn method_job(start: Option<&str>) -> Value {
    json!({
        "type": "scheduleDeviceMethod", "cloudToDeviceMethod": {"methodName": "lockDoor"},
        "queryCondition": "*", "startTime": start, "maxExecutionTimeInSeconds": 600,
    })
}

/// Waits until a job is where the test wants it, without asking over the API: that is counted.
async fn until(hub: &Hub, job: &str, is_there: impl Fn(&fanfare_hub::jobs::job::Job) -> bool) {
    let id = fanfare_hub::ids::JobId::parse(job).unwrap();
    let look = async {
        loop {
            let found = hub.node.hub().jobs.get(&id).await.unwrap();
            if found.is_some_and(|job| is_there(&job)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), look)
        .await
        .unwrap();
}

fn refusal(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn azure_s1_refuses_what_the_original_refuses() {
    let hub = Hub::start_with(profile("azure-s1")).await;
    hub.done("PUT", "/devices/offline", json!({})).await;
    hub.done("PUT", "/jobs/v2/runs", method_job(None)).await;
    until(&hub, "runs", |job| job.is_running()).await;

    let second = hub.ask("PUT", "/jobs/v2/second", twin_job("*")).await;
    let too_many = is(429, "ThrottlingMaxActiveJobCountExceeded");
    assert_eq!(refusal(&second), too_many);
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.json()["errorCode"], 429_004);
    let absent = hub.ask("GET", "/jobs/v2/second", Value::Null).await;
    assert_eq!(refusal(&absent), is(404, "JobNotFound"));

    let again = hub.ask("PUT", "/jobs/v2/runs", method_job(None)).await;
    assert_eq!(refusal(&again), is(409, "JobAlreadyExists"));

    let cancel = hub.ask("POST", "/jobs/v2/runs/cancel", Value::Null).await;
    assert_eq!(
        refusal(&cancel),
        is(405, "OperationNotAllowedInCurrentState")
    );
    let text = cancel.json()["Message"].as_str().unwrap().to_owned();
    assert!(text.contains("'Running' status"), "{text}");
    let shown = hub.done("GET", "/jobs/v2/runs", Value::Null).await;
    assert_eq!(
        (&shown["status"], shown.get("statusMessage")),
        (&json!("running"), None)
    );

    let ahead = hub.ask("PUT", "/jobs/v2/ahead", method_job(Some(FAR_START)));
    assert_eq!(ahead.await.status, 200, "a job ahead is not active");
    let ahead = hub.done("POST", "/jobs/v2/ahead/cancel", Value::Null).await;
    assert_eq!(ahead["status"], "cancelled");
    hub.stop().await;
}

#[tokio::test]
async fn azure_tiers_take_texts_of_8192_characters() {
    let hub = Hub::start_with(profile("azure-s2")).await;
    // Characters, not bytes.
    let condition = |chars: usize| format!("deviceId = '{}'", "ä".repeat(chars - 13));
    let fits = hub.ask("PUT", "/jobs/v2/fits", twin_job(&condition(8_192)));
    assert_eq!(fits.await.status, 200);
    let long = hub.ask("PUT", "/jobs/v2/long", twin_job(&condition(8_193)));
    assert_eq!(refusal(&long.await), is(412, "PreconditionFailed"));
    let absent = hub.ask("GET", "/jobs/v2/long", Value::Null).await;
    assert_eq!(refusal(&absent), is(404, "JobNotFound"));

    let query = |chars: usize| {
        let text = "SELECT * FROM devices WHERE tags.a = ''";
        let value = "x".repeat(chars - text.len());
        json!({"query": text.replace("''", &format!("'{value}'"))})
    };
    let fits = hub.ask("POST", "/devices/query", query(8_192)).await;
    assert_eq!(fits.status, 200, "{fits:?}");
    let long = hub.ask("POST", "/devices/query", query(8_193)).await;
    assert_eq!(refusal(&long), is(400, "ArgumentInvalid"));
    hub.stop().await;
}

/// Everything here is allowed everywhere.
async fn program(hub: &Hub) -> Vec<(u16, String)> {
    let mut seen = Vec::new();
    let mut note = |reply: Reply| {
        let status = match reply.status {
            StatusCode::OK if !reply.body.is_empty() => reply.json()["status"].to_string(),
            _ => String::new(),
        };
        seen.push((reply.status.as_u16(), status));
    };
    for device in ["d1", "d2"] {
        note(
            hub.ask("PUT", &format!("/devices/{device}"), json!({}))
                .await,
        );
    }
    note(
        hub.ask("PUT", "/jobs/v2/twins", twin_job("deviceId = 'd1'"))
            .await,
    );
    until(hub, "twins", |job| job.is_ended()).await;
    note(hub.ask("GET", "/jobs/v2/twins", Value::Null).await);
    note(hub.ask("POST", "/jobs/v2/twins/cancel", Value::Null).await);
    note(
        hub.ask("PUT", "/jobs/v2/ahead", method_job(Some(FAR_START)))
            .await,
    );
    note(hub.ask("GET", "/jobs/v2/ahead", Value::Null).await);
    note(hub.ask("POST", "/jobs/v2/ahead/cancel", Value::Null).await);
    note(hub.ask("PUT", "/jobs/v2/next", method_job(None)).await);
    note(hub.ask("PUT", "/jobs/v2/next", twin_job("*")).await);
    note(hub.ask("GET", "/jobs/v2/query", Value::Null).await);
    note(hub.ask("GET", "/twins/d1", Value::Null).await);
    let query = json!({"query": "SELECT * FROM devices.jobs"});
    note(hub.ask("POST", "/devices/query", query).await);
    seen
}

#[tokio::test]
async fn what_passes_under_a_tier_passes_without() {
    let mut all = Vec::new();
    for name in ["open", "azure-s1", "azure-s2", "azure-s3"] {
        let hub = Hub::start_with(profile(name)).await;
        all.push(program(&hub).await);
        hub.stop().await;
    }
    let refused: Vec<_> = all[0].iter().map(|(status, _)| *status).collect();
    assert_eq!(
        refused,
        [
            200, 200, 200, 200, 405, 200, 200, 200, 200, 409, 200, 200, 200
        ]
    );
    assert!(all.iter().all(|seen| *seen == all[0]), "{all:#?}");
}

#[tokio::test]
async fn whoever_asks_too_often_hears_when_to_come_again() {
    let hub = Hub::start_with(profile("azure-s1")).await;
    hub.done("PUT", "/devices/d", json!({})).await;
    let query = json!({"query": "SELECT * FROM devices"});
    let mut served = 0;
    let refused = loop {
        let reply = hub.ask("POST", "/devices/query", query.clone()).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < 1_000, "nothing holds queries back");
    };
    // 20 a minute; more only if the test itself took time.
    assert!(served >= 20, "{served}");
    assert_eq!(refusal(&refused), is(429, "ThrottlingException"));
    assert_eq!(refused.json()["errorCode"], 429_001);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    // Other classes are counted apart, and who may not ask is told that first.
    hub.done("GET", "/twins/d", Value::Null).await;
    hub.done("GET", "/devices/d", Value::Null).await;
    let body = query.to_string();
    let stranger = hub
        .send("device", "POST", "/devices/query", &[], &body)
        .await;
    assert_eq!(stranger.status, 401);
    hub.stop().await;
}

#[tokio::test]
async fn an_open_hub_holds_nobody_back() {
    let hub = Hub::start().await;
    for _ in 0..25 {
        let query = json!({"query": "SELECT * FROM devices"});
        hub.done("POST", "/devices/query", query).await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn pythons_list_is_the_originals_under_a_tier() {
    for (name, list, is_array) in [
        ("azure-s3", None, true),
        ("azure-s3", Some("true"), false),
        ("open", None, false),
        ("open", Some("false"), true),
    ] {
        let hub = Hub::start_with(|flags| {
            flags.profile = Some(name.to_owned());
            flags.python_job_list = list.map(str::to_owned);
        })
        .await;
        let headers = [("user-agent", PYTHON)];
        let reply = hub
            .send("service", "GET", "/jobs/v2/query", &headers, "")
            .await;
        assert_eq!(reply.json().is_array(), is_array, "{name} {list:?}");
        hub.stop().await;
    }
}

#[tokio::test]
async fn the_profile_in_force_is_shown_with_its_numbers() {
    let hub = Hub::start().await;
    let shown = hub.done("GET", "/fanfare/v1/profile", Value::Null).await;
    let none = Value::Null;
    let expected = json!({
        "profile": "open", "units": 1, "jobsAtOnce": none, "jobDeviceOperationsPerSecond": none,
        "cancelWhileRunning": true, "conditionCharsMax": none, "jobRetryWindowSeconds": 120,
        "pythonJobList": true,
        "rates": {
            "registry": none, "jobs": none, "methods": none, "twinReads": none, "twinUpdates": none,
            "queries": none, "configurations": none, "connects": none,
        },
    });
    assert_eq!(shown, expected);
    hub.stop().await;

    let hub = Hub::start_with(|flags| {
        flags.profile = Some("azure-s3".to_owned());
        flags.units = Some(2);
        flags.jobs_at_once = Some("unlimited".to_owned());
        flags.job_retry_window = Some(7);
    })
    .await;
    let shown = hub.done("GET", "/fanfare/v1/profile", Value::Null).await;
    let minute = |operations: u32| json!({"operations": operations, "seconds": 60});
    let second = |operations: u32| json!({"operations": operations, "seconds": 1});
    let expected = json!({
        "profile": "azure-s3", "units": 2, "jobsAtOnce": none, "jobDeviceOperationsPerSecond": 100,
        "cancelWhileRunning": false, "conditionCharsMax": 8_192, "jobRetryWindowSeconds": 7,
        "pythonJobList": false,
        "rates": {
            "registry": minute(10_000), "jobs": minute(10_000), "methods": second(12_288),
            "twinReads": second(1_000), "twinUpdates": second(500), "queries": minute(2_000),
            "configurations": minute(40), "connects": second(12_000),
        },
    });
    assert_eq!(shown, expected);
    hub.stop().await;
}

#[tokio::test]
async fn single_switches_override_the_profile() {
    let hub = Hub::start_with(|flags| {
        flags.profile = Some("azure-s1".to_owned());
        flags.jobs_at_once = Some("2".to_owned());
        flags.cancel_while_running = Some("true".to_owned());
        flags.job_retry_window = Some(60);
    })
    .await;
    hub.done("PUT", "/devices/offline", json!({})).await;
    for job in ["one", "two"] {
        hub.done("PUT", &format!("/jobs/v2/{job}"), method_job(None))
            .await;
    }
    let third = hub.ask("PUT", "/jobs/v2/three", method_job(None)).await;
    assert_eq!(
        refusal(&third),
        is(429, "ThrottlingMaxActiveJobCountExceeded")
    );
    hub.done("PUT", "/jobs/v2/two", method_job(None)).await;
    until(&hub, "one", |job| job.is_running()).await;
    hub.done("POST", "/jobs/v2/one/cancel", Value::Null).await;
    until(&hub, "one", |job| job.is_ended()).await;
    hub.done("PUT", "/jobs/v2/three", method_job(None)).await;
    hub.stop().await;
}
