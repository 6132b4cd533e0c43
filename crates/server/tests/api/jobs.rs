//! Jobs over the service API: documents, refusals, lists.

use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

const FAR_START: &str = "2999-01-01T00:00:00.000Z";

fn twin_job(condition: &str) -> Value {
    json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "tags": {"b": 1, "a": null}, "properties": {"desired": {"x": [1]}, "reported": {}}},
        "queryCondition": condition,
    })
}

fn method_job(method: Value) -> Value {
    json!({
        "type": "scheduleDeviceMethod", "cloudToDeviceMethod": method,
        "queryCondition": "*", "startTime": FAR_START, "maxExecutionTimeInSeconds": 60,
    })
}

#[tokio::test]
async fn a_twin_job_runs_to_its_end_and_echoes_what_was_sent() {
    let hub = Hub::start().await;
    hub.done(
        "POST",
        "/devices",
        json!([{"id": "d1", "tags": {"a": 1}}, {"id": "d2"}]),
    )
    .await;
    let sent = twin_job("deviceId IN ['d1', 'd2']");
    let accepted = hub.done("PUT", "/jobs/v2/j-1", sent.clone()).await;
    assert_eq!(
        accepted,
        json!({"jobId": "j-1", "type": "scheduleUpdateTwin", "status": "queued"})
    );
    let ended = hub.ended("j-1").await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["updateTwin"], sent["updateTwin"]);
    assert_eq!(ended["queryCondition"], sent["queryCondition"]);
    assert_eq!(ended["maxExecutionTimeInSeconds"], 3_600);
    assert_eq!(ended["startTime"], ended["createdTime"]);
    assert!(ended["endTime"].as_str() >= ended["createdTime"].as_str());
    assert_eq!(
        ended["deviceJobStatistics"],
        json!({"deviceCount": 2, "failedCount": 0, "succeededCount": 2, "runningCount": 0, "pendingCount": 0})
    );
    for absent in ["failureReason", "statusMessage", "cloudToDeviceMethod"] {
        assert_eq!(ended.get(absent), None, "{absent}");
    }
    let made = json!({"createdBy": {"policy": "iothubowner"}});
    assert_eq!(ended["fanfare"], made, "and nothing else of ours");
    assert_eq!(
        hub.done("GET", "/twins/d1", Value::Null).await["tags"],
        json!({"b": 1})
    );

    let again = hub.done("PUT", "/jobs/v2/j-1", sent).await;
    assert_eq!(again, ended, "a retry hears how the job stands");
    let other = hub.ask("PUT", "/jobs/v2/j-1", twin_job("*")).await;
    assert_eq!(
        (other.status.as_u16(), other.code().as_str()),
        (409, "JobAlreadyExists")
    );
    let late = hub.ask("POST", "/jobs/v2/j-1/cancel", Value::Null).await;
    assert_eq!(
        (late.status.as_u16(), late.code().as_str()),
        (405, "OperationNotAllowedInCurrentState")
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_job_ahead_is_scheduled_without_statistics_and_can_be_cancelled() {
    let hub = Hub::start().await;
    let method = json!({"methodName": "lockDoor", "payload": null, "connectTimeoutInSeconds": "7"});
    let accepted = hub.done("PUT", "/jobs/v2/ahead", method_job(method)).await;
    assert_eq!(accepted["status"], "queued");
    let shown = hub.done("GET", "/jobs/v2/ahead", Value::Null).await;
    assert_eq!(shown["status"], "scheduled");
    assert_eq!(shown["startTime"], "2999-01-01T00:00:00.0000000Z");
    assert_eq!(
        shown["cloudToDeviceMethod"],
        json!({"methodName": "lockDoor", "payload": null, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 7})
    );
    assert_eq!(
        (shown.get("deviceJobStatistics"), shown.get("endTime")),
        (None, None)
    );
    let cancelled = hub.done("POST", "/jobs/v2/ahead/cancel", Value::Null).await;
    assert_eq!(cancelled["status"], "cancelled");
    assert!(cancelled["endTime"].is_string());
    assert_eq!(
        hub.done("GET", "/jobs/v2/ahead", Value::Null).await,
        cancelled
    );
    assert_eq!(
        hub.ask("POST", "/jobs/v2/never/cancel", Value::Null)
            .await
            .code(),
        "JobNotFound"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_running_job_counts_what_a_cancel_ended() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/offline", json!({})).await;
    let mut job = method_job(json!({"methodName": "m"}));
    job.as_object_mut().unwrap().remove("startTime");
    hub.done("PUT", "/jobs/v2/waits", job).await;
    while hub.done("GET", "/jobs/v2/waits", Value::Null).await["status"] != "running" {}
    let waits = hub.done("GET", "/jobs/v2/waits", Value::Null).await;
    assert_eq!(waits["deviceJobStatistics"]["pendingCount"], 1);
    assert_eq!(waits["deviceJobStatistics"].get("canceledCount"), None);
    hub.done("POST", "/jobs/v2/waits/cancel", Value::Null).await;
    let ended = hub.ended("waits").await;
    assert_eq!(ended["status"], "cancelled");
    assert_eq!(ended["deviceJobStatistics"]["canceledCount"], 1);
    let rows = json!({"query": "SELECT * FROM devices.jobs WHERE status = 'cancelled'"});
    let rows = hub.done("POST", "/devices/query", rows).await;
    assert_eq!(
        (&rows[0]["deviceId"], &rows[0]["status"]),
        (&json!("offline"), &json!("canceled"))
    );
    hub.stop().await;
}

/// Each is refused with this status and code, and leaves no job.
async fn all_refused(cases: impl IntoIterator<Item = (&str, Value, u16, &str)>) {
    let hub = Hub::start().await;
    for (id, body, status, code) in cases {
        let reply = hub
            .ask("PUT", &format!("/jobs/v2/{id}"), body.clone())
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{body}"
        );
    }
    assert_eq!(
        hub.done("GET", "/jobs/v2/query", Value::Null).await,
        json!([])
    );
    hub.stop().await;
}

fn twin_job_with(key: &str, value: Value) -> Value {
    let mut job = twin_job("*");
    job[key] = value;
    job
}

#[tokio::test]
async fn a_job_that_cannot_be_is_refused_and_leaves_nothing() {
    let with = twin_job_with;
    let seconds = |value| with("maxExecutionTimeInSeconds", value);
    let condition = |value| with("queryCondition", value);
    all_refused([
        ("j", with("jobId", json!("other")), 400, "ArgumentInvalid"),
        ("a%20b", twin_job("*"), 400, "ArgumentInvalid"),
        (
            "j",
            with("type", json!("scheduleDirectRequest")),
            400,
            "GenericBadRequest",
        ),
        ("j", with("type", Value::Null), 400, "ArgumentNull"),
        ("j", condition(Value::Null), 400, "ArgumentNull"),
        ("j", condition(json!(" ")), 400, "ArgumentNull"),
        (
            "j",
            condition(json!("SELECT * FROM devices")),
            400,
            "ArgumentInvalid",
        ),
        ("j", condition(json!("tags.a =")), 400, "ArgumentInvalid"),
        (
            "j",
            with("startTime", json!("tomorrow")),
            400,
            "ArgumentInvalid",
        ),
        ("j", seconds(json!(-1)), 400, "ArgumentInvalid"),
        ("j", seconds(json!(1.5)), 400, "ArgumentInvalid"),
        (
            "j",
            seconds(json!(2_147_483_648_u64)),
            400,
            "ArgumentInvalid",
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_operation_that_cannot_be_is_refused_and_leaves_nothing() {
    let twin = |value| twin_job_with("updateTwin", value);
    let short = json!({"methodName": "m", "responseTimeoutInSeconds": 1});
    all_refused([
        ("j", twin(Value::Null), 400, "ArgumentNull"),
        (
            "j",
            twin(json!({"etag": "AAAAAAAAAAE="})),
            412,
            "PreconditionFailed",
        ),
        (
            "j",
            twin(json!({"tags": {"$x": 1}})),
            400,
            "ArgumentInvalid",
        ),
        ("j", method_job(Value::Null), 400, "ArgumentNull"),
        ("j", method_job(json!({})), 400, "ArgumentNull"),
        ("j", method_job(short), 400, "ArgumentInvalid"),
    ])
    .await;
}

/// A condition of two megabytes takes the way of long bodies.
#[tokio::test]
async fn a_very_long_condition_is_taken() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/device-7", json!({})).await;
    let ids: Vec<_> = (0..120_000).map(|n| format!("'device-{n}'")).collect();
    let condition = format!("deviceId IN [{}]", ids.join(","));
    hub.done("PUT", "/jobs/v2/very-long", twin_job(&condition))
        .await;
    assert_eq!(
        hub.ended("very-long").await["deviceJobStatistics"]["succeededCount"],
        1
    );
    hub.stop().await;
}

#[tokio::test]
async fn what_sdks_leave_out_or_spell_their_own_way_is_taken() {
    let hub = Hub::start().await;
    let forms = [
        ("7", json!({"jobId": 7, "startTime": null})),
        (
            "no-etag",
            json!({"updateTwin": {"properties": {"desired": {"a": 1}, "reported": {}}}}),
        ),
        ("zero", json!({"maxExecutionTimeInSeconds": 0})),
        (
            "text",
            json!({"maxExecutionTimeInSeconds": "90", "deviceIds": ["x"]}),
        ),
        ("past", json!({"startTime": "2001-02-03T04:05:06.123456Z"})),
    ];
    for (id, changes) in forms {
        let mut job = twin_job("deviceId = 'nobody'");
        job.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let accepted = hub.done("PUT", &format!("/jobs/v2/{id}"), job).await;
        assert_eq!(accepted["jobId"], id);
        let ended = hub.ended(id).await;
        assert_eq!(ended["deviceJobStatistics"]["deviceCount"], 0, "{ended}");
        let seconds = if id == "text" { 90 } else { 3_600 };
        assert_eq!(ended["maxExecutionTimeInSeconds"], seconds);
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_long_condition_is_echoed_in_part() {
    let hub = Hub::start().await;
    let ids: Vec<_> = (0..200).map(|n| format!("'device-{n}'")).collect();
    let middle = format!("deviceId IN [{}]", ids.join(","));
    let ids: Vec<_> = (0..9_000).map(|n| format!("'device-{n}'")).collect();
    let long = format!("deviceId IN [{}]", ids.join(","));
    assert!(middle.len() > 1_024 && long.len() > 64 * 1_024);
    for (id, condition) in [("middle", &middle), ("long", &long)] {
        let mut job = twin_job(condition);
        job["startTime"] = json!(FAR_START);
        hub.done("PUT", &format!("/jobs/v2/{id}"), job).await;
    }
    let shown = hub.done("GET", "/jobs/v2/middle", Value::Null).await;
    assert_eq!(
        (
            shown["queryCondition"].as_str(),
            shown["fanfare"].get("condition")
        ),
        (Some(&*middle), None)
    );
    let shown = hub.done("GET", "/jobs/v2/long", Value::Null).await;
    assert_eq!(shown.get("queryCondition"), None);
    assert_eq!(shown["fanfare"]["condition"]["length"], long.len());
    assert_eq!(
        shown["fanfare"]["condition"]["sha256"]
            .as_str()
            .map(str::len),
        Some(64)
    );
    let listed = hub.done("GET", "/jobs/v2/query", Value::Null).await;
    for (job, condition) in listed.as_array().unwrap().iter().zip([&long, &middle]) {
        assert_eq!(
            job["fanfare"]["condition"]["length"],
            condition.len(),
            "{job}"
        );
    }
    hub.stop().await;
}

async fn list(hub: &Hub, query: &str, headers: &[(&str, &str)]) -> Reply {
    hub.send(
        "registryRead",
        "GET",
        &format!("/jobs/v2/query{query}"),
        headers,
        "",
    )
    .await
}

fn ids(reply: &Reply) -> Vec<String> {
    let jobs = reply.json();
    let jobs = jobs.as_array().unwrap();
    jobs.iter()
        .map(|job| job["jobId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn lists_go_from_new_to_old_in_pages_and_can_be_narrowed() {
    let hub = Hub::start().await;
    for n in 1..=4 {
        hub.done(
            "PUT",
            &format!("/jobs/v2/t{n}"),
            twin_job("deviceId = 'nobody'"),
        )
        .await;
        hub.ended(&format!("t{n}")).await;
    }
    hub.done("PUT", "/jobs/v2/m1", method_job(json!({"methodName": "m"})))
        .await;

    let first = list(&hub, "", &[("x-ms-max-item-count", "3")]).await;
    assert_eq!(first.header("x-ms-item-type"), Some("JobResponse"));
    assert_eq!(ids(&first), ["m1", "t4", "t3"]);
    let token = first.header("x-ms-continuation").unwrap();
    let second = list(
        &hub,
        "",
        &[("x-ms-max-item-count", "2"), ("x-ms-continuation", token)],
    )
    .await;
    assert_eq!(ids(&second), ["t2", "t1"]);
    assert_eq!(
        second.header("x-ms-continuation"),
        None,
        "a full last page is still the last"
    );

    for (query, expected) in [
        (
            "?jobStatus=completed&jobType=ScheduleUpdateTwin",
            &["t4", "t3", "t2", "t1"][..],
        ),
        ("?jobStatus=Finished", &["t4", "t3", "t2", "t1"]),
        ("?jobStatus=scheduled", &["m1"]),
        ("?jobType=scheduleDeviceMethod", &["m1"]),
        ("?jobStatus=canceled", &[]),
    ] {
        assert_eq!(ids(&list(&hub, query, &[]).await), expected, "{query}");
    }
    for query in ["?jobType=import", "?jobStatus=lost"] {
        assert_eq!(
            list(&hub, query, &[]).await.code(),
            "ArgumentInvalid",
            "{query}"
        );
    }
    let stranger = list(&hub, "", &[("x-ms-continuation", "tok1")]).await;
    assert_eq!(stranger.code(), "ArgumentInvalid");
    assert_eq!(
        hub.done("GET", "/jobs", Value::Null).await,
        json!([]),
        "there are no v1 jobs"
    );
    hub.stop().await;
}

#[tokio::test]
async fn pythons_sdk_gets_the_list_in_the_form_it_reads() {
    let hub = Hub::start().await;
    for n in 1..=3 {
        hub.done(
            "PUT",
            &format!("/jobs/v2/j{n}"),
            method_job(json!({"methodName": "m"})),
        )
        .await;
    }
    let python = "python/3.11 (Linux) msrest/0.7.1 iothubgatewayserviceapis/2021-04-12";
    let headers = [("user-agent", python), ("x-ms-max-item-count", "1")];
    let reply = list(&hub, "", &headers).await;
    let body = reply.json();
    assert_eq!(
        (&body["type"], &body["continuationToken"]),
        (&json!("jobResponse"), &Value::Null)
    );
    assert_eq!(body["items"].as_array().unwrap().len(), 3);
    assert_eq!(reply.header("x-ms-continuation"), None);
    let cli = format!("{python} Azure-SDK-For-Python IoTPlatformCliExtension/0.25");
    assert!(
        list(&hub, "", &[("user-agent", &cli)])
            .await
            .json()
            .is_array()
    );
    hub.stop().await;
}
