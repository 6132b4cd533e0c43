use serde_json::{Value, json};

use super::*;
use crate::{Field, Timestamp, decode, method};

fn request(body: &str) -> ScheduleRequest {
    decode(body.as_bytes()).unwrap()
}

#[test]
fn nodes_promise_form_with_three_arguments_is_read() {
    let read = request(
        r#"{"jobId":"j-17","type":"scheduleDeviceMethod",
            "cloudToDeviceMethod":{"methodName":"blink","payload":{"n":3},"responseTimeoutInSeconds":30},
            "startTime":null,"queryCondition":"deviceId IN ['a','b']"}"#,
    );
    assert_eq!(read.job_id.as_deref(), Some("j-17"));
    assert_eq!(
        JobType::parse(&read.job_type.unwrap()),
        Some(JobType::ScheduleDeviceMethod)
    );
    assert_eq!(
        (read.start_time, read.max_execution_time_in_seconds),
        (None, None)
    );
    assert_eq!(
        read.query_condition.as_deref(),
        Some("deviceId IN ['a','b']")
    );
    let call = read.cloud_to_device_method.unwrap();
    assert_eq!(call.payload.unwrap().get(), r#"{"n":3}"#);
    assert_eq!(
        (
            call.response_timeout_in_seconds,
            call.connect_timeout_in_seconds
        ),
        (Some(30), None)
    );
}

#[test]
fn pythons_twin_job_is_read() {
    let read = request(
        r#"{"jobId": "twinjob-8", "type": "scheduleUpdateTwin",
            "updateTwin": {"properties": {"desired": {"t": 5}}, "etag": "*"},
            "queryCondition": "*", "startTime": "2031-02-03T04:05:06.123456Z"}"#,
    );
    let update = read.update_twin.unwrap();
    assert_eq!(update.etag(), Some("*"));
    assert_eq!(update.patch().tags, Field::Absent);
    assert_eq!(update.patch().desired.clone().value().unwrap()["t"], 5);
    assert_eq!(
        read.start_time.unwrap().to_string(),
        "2031-02-03T04:05:06.1234560Z"
    );
}

#[test]
fn the_id_may_be_a_number_and_everything_may_be_null() {
    let read = request(
        r#"{"jobId":7,"type":null,"cloudToDeviceMethod":null,"updateTwin":null,"queryCondition":null,
            "startTime":null,"maxExecutionTimeInSeconds":null,"deviceIds":["a"],"newer":1}"#,
    );
    assert_eq!(read.job_id.as_deref(), Some("7"));
    assert!(read.job_type.is_none() && read.update_twin.is_none());
    assert!(read.cloud_to_device_method.is_none() && read.query_condition.is_none());
}

#[test]
fn numbers_may_be_text() {
    let read = request(
        r#"{"maxExecutionTimeInSeconds":"300","cloudToDeviceMethod":{"methodName":"m","responseTimeoutInSeconds":"15","connectTimeoutInSeconds":"0"}}"#,
    );
    assert_eq!(read.max_execution_time_in_seconds, Some(300));
    let call = read.cloud_to_device_method.unwrap();
    assert_eq!(
        (
            call.response_timeout_in_seconds,
            call.connect_timeout_in_seconds
        ),
        (Some(15), Some(0))
    );
}

#[test]
fn wrong_members_are_named() {
    for (body, member) in [
        (r#"{"jobId":[]}"#, "jobId: "),
        (r#"{"startTime":"tomorrow"}"#, "startTime: "),
        (
            r#"{"maxExecutionTimeInSeconds":-1}"#,
            "maxExecutionTimeInSeconds: ",
        ),
        (
            r#"{"maxExecutionTimeInSeconds":1.5}"#,
            "maxExecutionTimeInSeconds: ",
        ),
        (
            r#"{"cloudToDeviceMethod":{"methodName":3}}"#,
            "cloudToDeviceMethod.methodName: ",
        ),
        (r#"{"updateTwin":{"tags":3}}"#, "updateTwin: tags must be"),
        (
            r#"{"updateTwin":{"properties":{"desired":[]}}}"#,
            "updateTwin: properties.desired must",
        ),
        (r#"{"updateTwin":{"etag":3}}"#, "updateTwin: etag must"),
    ] {
        let fault = decode::<ScheduleRequest>(body.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(fault.starts_with(member), "{body}: {fault}");
    }
}

#[test]
fn a_patch_is_echoed_as_it_was_sent() {
    let sent = json!({
        "etag": "*", "tags": {"a": null}, "other": [1],
        "properties": {"desired": {"building": "43", "floor": 3}, "reported": {}},
    });
    let update: UpdateTwin = serde_json::from_value(sent.clone()).unwrap();
    assert_eq!(serde_json::to_value(&update).unwrap(), sent);
    assert_eq!(update.patch().desired.clone().value().unwrap().len(), 2);

    for (body, want) in [
        (json!({}), None),
        (json!({"etag": null}), None),
        (json!({"etag": "x"}), Some("x")),
    ] {
        let update: UpdateTwin = serde_json::from_value(body).unwrap();
        assert_eq!(update.etag(), want);
    }
}

#[test]
fn an_echo_has_the_very_numbers_that_were_sent() {
    for text in [
        "122.416294033786585",
        "0.1",
        "1.7976931348623157e308",
        "31.245270191439438",
    ] {
        let body = format!(r#"{{"tags":{{"n":{text}}}}}"#);
        let update: UpdateTwin = decode(body.as_bytes()).unwrap();
        let echo = update.members()["tags"]["n"].as_f64().unwrap();
        assert_eq!(echo, text.parse::<f64>().unwrap(), "{text}");
    }
}

#[test]
fn our_own_patch_carries_the_etag() {
    let patch = decode(br#"{"tags":{"ring":2}}"#).unwrap();
    let update = UpdateTwin::new(&patch);
    assert_eq!(
        serde_json::to_value(&update).unwrap(),
        json!({"etag": "*", "tags": {"ring": 2}})
    );
    assert_eq!(update.patch(), &patch);
}

#[test]
fn old_names_of_types_never_existed() {
    assert_eq!(
        JobType::parse("ScheduleUpdateTwin"),
        Some(JobType::ScheduleUpdateTwin)
    );
    for name in [
        "scheduleDirectMethod",
        "scheduleDirectRequest",
        "scheduleTwinUpdate",
        "unknown",
        "",
    ] {
        assert_eq!(JobType::parse(name), None, "{name}");
    }
}

#[test]
fn filters_know_every_word_for_a_status() {
    for (word, want) in [
        ("queued", JobStatus::Queued),
        ("pending", JobStatus::Queued),
        ("Running", JobStatus::Running),
        ("scheduled", JobStatus::Scheduled),
        ("enqueued", JobStatus::Enqueued),
        ("completed", JobStatus::Completed),
        ("finished", JobStatus::Completed),
        ("FAILED", JobStatus::Failed),
        ("cancelled", JobStatus::Cancelled),
        ("Canceled", JobStatus::Cancelled),
        ("unknown", JobStatus::Unknown),
    ] {
        assert_eq!(JobStatus::parse(word), Some(want), "{word}");
    }
    assert_eq!(JobStatus::parse("done"), None);
}

#[test]
fn jobs_are_cancelled_and_device_jobs_canceled() {
    assert_eq!(
        serde_json::to_string(&JobStatus::Cancelled).unwrap(),
        r#""cancelled""#
    );
    assert_eq!(
        serde_json::to_string(&DeviceJobStatus::Canceled).unwrap(),
        r#""canceled""#
    );
    for word in ["canceled", "cancelled", "Cancelled"] {
        assert_eq!(
            DeviceJobStatus::parse(word),
            Some(DeviceJobStatus::Canceled)
        );
    }
    for status in DeviceJobStatus::ALL {
        assert_eq!(DeviceJobStatus::parse(status.as_str()), Some(status));
    }
    for status in JobStatus::ALL {
        assert_eq!(JobStatus::parse(&status.to_string()), Some(status));
    }
    assert!(JobStatus::Failed.is_terminal() && !JobStatus::Running.is_terminal());
}

#[test]
fn the_answer_to_put_has_three_members() {
    let document = JobDocument::minimal("j-17", JobType::ScheduleDeviceMethod, JobStatus::Queued);
    assert_eq!(
        serde_json::to_string(&document).unwrap(),
        r#"{"jobId":"j-17","type":"scheduleDeviceMethod","status":"queued"}"#
    );
}

#[test]
fn a_whole_document_prints_and_reads_back() {
    let text = r#"{"jobId":"fw-9","type":"scheduleUpdateTwin","status":"completed","queryCondition":"tags.site='b4'",
        "createdTime":"2031-02-03T04:05:06.1234560Z","startTime":"2031-02-03T04:05:06.0000000Z","endTime":"2031-02-03T04:05:19.0200000Z",
        "maxExecutionTimeInSeconds":3600,"updateTwin":{"etag":"*","tags":{"ring":2}},
        "deviceJobStatistics":{"deviceCount":120,"failedCount":1,"succeededCount":119,"runningCount":0,"pendingCount":0}}"#;
    let document: JobDocument = decode(text.as_bytes()).unwrap();
    assert_eq!(document.status, JobStatus::Completed);
    assert_eq!(document.device_job_statistics.unwrap().succeeded_count, 119);
    let want: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), want);
}

#[test]
fn our_own_members_show_only_when_they_say_something() {
    let mut document = JobDocument::minimal("j", JobType::ScheduleUpdateTwin, JobStatus::Cancelled);
    document.device_job_statistics = Some(DeviceJobStatistics {
        device_count: 2,
        canceled_count: 2,
        ..Default::default()
    });
    document
        .fanfare
        .insert("condition".to_owned(), json!({"bytes": 70_000}));
    let printed = serde_json::to_value(&document).unwrap();
    assert_eq!(printed["deviceJobStatistics"]["canceledCount"], 2);
    assert_eq!(printed["fanfare"]["condition"]["bytes"], 70_000);
    let read: JobDocument = serde_json::from_value(printed).unwrap();
    assert_eq!(read.fanfare, document.fanfare);
}

#[test]
fn an_import_job_is_unknown_here() {
    let body = br#"{"jobId":"x","type":"unknown","status":"unknown"}"#;
    let document: JobDocument = decode(body).unwrap();
    assert_eq!(
        (document.job_type, document.status),
        (JobType::Unknown, JobStatus::Unknown)
    );
    assert_eq!(serde_json::to_vec(&document).unwrap(), body);
    let export: JobDocument =
        decode(br#"{"jobId":"x","type":"export","status":"running"}"#).unwrap();
    assert_eq!(export.job_type, JobType::Unknown);
}

#[test]
fn lists_are_arrays_except_for_pythons_sdk() {
    let jobs = vec![JobDocument::minimal(
        "j",
        JobType::ScheduleUpdateTwin,
        JobStatus::Running,
    )];
    let item = r#"{"jobId":"j","type":"scheduleUpdateTwin","status":"running"}"#;
    let array = serde_json::to_string(&JobList::Array(jobs.clone())).unwrap();
    assert_eq!(array, format!("[{item}]"));
    let envelope = serde_json::to_string(&JobList::Envelope(jobs)).unwrap();
    assert_eq!(
        envelope,
        format!(r#"{{"type":"jobResponse","items":[{item}],"continuationToken":null}}"#)
    );

    for (agent, want) in [
        (
            "python/3.11.7 (Linux-6.1) msrest/0.7.1 iothubgatewayserviceapis/2021-04-12",
            true,
        ),
        ("azure-iothub/1.16.6 (node v20.20.2)", false),
        (
            "python/3.11 (x) msrest/0.7.1 iothubgatewayserviceapis/2024-03-31 Azure-SDK-For-Python IoTPlatformCliExtension/0.25.0",
            false,
        ),
        ("", false),
    ] {
        assert_eq!(list_needs_envelope(agent), want, "{agent}");
    }
}

fn row(outcome: DeviceJobOutcome, error: Option<DeviceJobError>) -> DeviceJobRow {
    let at = |text| Timestamp::parse(text).unwrap();
    DeviceJobRow {
        device_id: "pump-3".into(),
        module_id: None,
        job_id: "fw-9".into(),
        job_type: JobType::ScheduleDeviceMethod,
        status: if error.is_some() {
            DeviceJobStatus::Failed
        } else {
            DeviceJobStatus::Completed
        },
        start_time_utc: at("2031-02-03T04:05:06.12Z"),
        end_time_utc: at("2031-02-03T05:05:06.12Z"),
        created_date_time_utc: at("2031-02-03T04:05:07Z"),
        last_updated_date_time_utc: at("2031-02-03T05:05:06.14Z"),
        outcome,
        error,
    }
}

#[test]
fn a_failed_row_has_an_empty_outcome_and_an_error() {
    let error = DeviceJobError {
        code: "JobRunPreconditionFailed".into(),
        description: "device was not online inside the execution window".into(),
    };
    let row = row(DeviceJobOutcome::default(), Some(error.clone()));
    let json = serde_json::to_value(&row).unwrap();
    assert_eq!(
        json,
        json!({
            "deviceId": "pump-3", "jobId": "fw-9", "jobType": "scheduleDeviceMethod", "status": "failed",
            "startTimeUtc": "2031-02-03T04:05:06.1200000Z", "endTimeUtc": "2031-02-03T05:05:06.1200000Z",
            "createdDateTimeUtc": "2031-02-03T04:05:07.0000000Z",
            "lastUpdatedDateTimeUtc": "2031-02-03T05:05:06.1400000Z",
            "outcome": {},
            "error": {
                "code": "JobRunPreconditionFailed",
                "description": "device was not online inside the execution window",
            },
        })
    );
    let read: DeviceJobRow = serde_json::from_value(json).unwrap();
    assert_eq!(
        (read.status, read.error),
        (DeviceJobStatus::Failed, Some(error))
    );
}

#[test]
fn an_answered_row_shows_the_devices_own_status() {
    let answer = method::MethodResponse {
        status: 404,
        payload: method::payload_from_bytes(br#"{"why":"no such lamp"}"#).unwrap(),
    };
    let row = row(
        DeviceJobOutcome {
            device_method_response: Some(answer),
        },
        None,
    );
    let text = serde_json::to_string(&row).unwrap();
    assert!(
        text.contains(
            r#""outcome":{"deviceMethodResponse":{"status":404,"payload":{"why":"no such lamp"}}}"#
        ),
        "{text}"
    );
    let read: DeviceJobRow = decode(text.as_bytes()).unwrap();
    assert_eq!(read.outcome.device_method_response.unwrap().status, 404);
}

#[test]
fn the_outcome_that_is_not_known_has_a_name() {
    let error = DeviceJobError {
        code: OUTCOME_UNKNOWN.into(),
        description: String::new(),
    };
    let printed = serde_json::to_value(row(DeviceJobOutcome::default(), Some(error))).unwrap();
    assert_eq!(printed["error"]["code"], "OutcomeUnknown");
    assert_eq!(printed["outcome"], json!({}));
}

#[test]
fn rows_of_other_hubs_are_readable() {
    let text = r#"{"deviceId":"d","jobId":"j","jobType":"scheduleDeviceMethod","status":"cancelled",
        "startTimeUtc":"2031-02-03T04:05:06Z","endTimeUtc":"2031-02-03T04:05:06Z",
        "createdDateTimeUtc":"2031-02-03T04:05:06Z","lastUpdatedDateTimeUtc":"0001-01-01T00:00:00",
        "outcome":{"deviceMethodResponse":null}}"#;
    let read: DeviceJobRow = decode(text.as_bytes()).unwrap();
    assert_eq!(read.status, DeviceJobStatus::Canceled);
    assert!(read.outcome.device_method_response.is_none());
    assert_eq!(read.last_updated_date_time_utc, Timestamp::NEVER);
}

#[test]
fn who_made_a_job_is_read_in_every_form() {
    let token = |app: Option<&str>| CreatedBy::Token {
        issuer: "https://issuer.test".to_owned(),
        subject: "somebody".to_owned(),
        app: app.map(str::to_owned),
    };
    let policy = CreatedBy::Policy {
        policy: "service".to_owned(),
    };
    for (shown, who, text) in [
        (json!({"policy": "service"}), policy, "policy service"),
        (
            json!({"issuer": "https://issuer.test", "subject": "somebody"}),
            token(None),
            "token somebody",
        ),
        (
            json!({"issuer": "https://issuer.test", "subject": "somebody", "app": "tool"}),
            token(Some("tool")),
            "token somebody (app tool)",
        ),
    ] {
        assert_eq!(serde_json::to_value(&who).unwrap(), shown);
        assert_eq!(
            CreatedBy::of(&json!({"createdBy": shown})),
            Some(who.clone())
        );
        assert_eq!(who.to_string(), text);
    }
    for unknown in [json!({}), json!({"createdBy": {"robot": 7}}), json!(null)] {
        assert_eq!(CreatedBy::of(&unknown), None, "{unknown}");
    }
}
