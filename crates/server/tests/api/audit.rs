//! The audit log: one line for every change, whoever makes it and whatever comes of it.

use std::{collections::BTreeMap, path::PathBuf};

use fanfare_server::rest::routes;
use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

const FAR_START: &str = "2999-01-01T00:00:00.000Z";

fn log_of(hub: &Hub) -> PathBuf {
    hub.folder.path().join("data/audit/audit.jsonl")
}

/// Every line of a log; one that is no JSON fails.
fn read(log: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A request that changes something: method, route, path, body, the change's word, its target.
struct Row {
    method: &'static str,
    route: &'static str,
    path: String,
    body: Value,
    word: &'static str,
    target: Value,
}

fn row(
    method: &'static str,
    route: &'static str,
    word: &'static str,
    target: Value,
    body: Value,
) -> Row {
    let mut path = route.to_owned();
    for (name, id) in target.as_object().unwrap() {
        path = path.replace(&format!("{{{name}}}"), id.as_str().unwrap_or_default());
    }
    Row {
        method,
        route,
        path,
        body,
        word,
        target,
    }
}

/// In an order in which most succeed.
fn rows() -> Vec<Row> {
    let mut rows = registry_rows();
    rows.extend(twin_rows());
    rows.extend(job_rows());
    rows.extend(configuration_rows());
    rows.extend(access_rows());
    rows.extend(last_rows());
    let there = routes();
    let is_there = |row: &Row| {
        there
            .iter()
            .any(|route| (route.method.as_str(), route.path) == (row.method, row.route))
    };
    rows.retain(is_there);
    rows
}

const MODULE: &str = "/devices/{device}/modules/{module}";
const MODULE_TWIN: &str = "/twins/{device}/modules/{module}";

fn d1() -> Value {
    json!({"device": "d1"})
}

fn m1() -> Value {
    json!({"device": "d1", "module": "m1"})
}

fn registry_rows() -> Vec<Row> {
    vec![
        row(
            "PUT",
            "/devices/{device}",
            "device.put",
            d1(),
            json!({"deviceId": "d1"}),
        ),
        row(
            "PUT",
            "/devices/{device}",
            "device.put",
            d1(),
            json!({"deviceId": "d1"}),
        ),
        row(
            "PUT",
            MODULE,
            "module.put",
            m1(),
            json!({"deviceId": "d1", "moduleId": "m1"}),
        ),
        row(
            "PUT",
            "/devices/query",
            "device.put",
            json!({"device": "query"}),
            json!({"deviceId": "query"}),
        ),
        row(
            "POST",
            "/devices",
            "devices.change",
            json!({"count": 2, "devices": ["b1", "b2/m"]}),
            json!([{"id": "b1"}, {"id": "b2", "moduleId": "m"}]),
        ),
        row(
            "POST",
            "/devices/keys/regenerate",
            "keys.regenerate",
            json!({"count": 1, "devices": ["b1"]}),
            json!({"policyKey": "primaryKey", "devices": [{"id": "b1"}]}),
        ),
        row(
            "DELETE",
            "/devices/{device}/commands",
            "messages.purge",
            d1(),
            Value::Null,
        ),
    ]
}

fn twin_rows() -> Vec<Row> {
    let tags = || json!({"tags": {"secretive": "payload"}});
    let call = || json!({"methodName": "open", "payload": "secretive payload"});
    vec![
        row("PATCH", "/twins/{device}", "twin.patch", d1(), tags()),
        row("PUT", "/twins/{device}", "twin.replace", d1(), tags()),
        row("PATCH", MODULE_TWIN, "twin.patch", m1(), tags()),
        row("PUT", MODULE_TWIN, "twin.replace", m1(), tags()),
        row(
            "POST",
            "/twins/{device}/methods",
            "method.call",
            d1(),
            call(),
        ),
        row(
            "POST",
            "/twins/{device}/modules/{module}/methods",
            "method.call",
            m1(),
            call(),
        ),
    ]
}

fn job_rows() -> Vec<Row> {
    let job = || json!({"job": "j1"});
    let none = || json!({"job": "none"});
    let request = json!({
        "type": "scheduleDeviceMethod", "queryCondition": "tags.floor = 43", "startTime": FAR_START,
        "cloudToDeviceMethod": {"methodName": "open", "payload": "secretive payload"},
    });
    let export = json!({"type": "export", "outputBlobContainerUri": "ftp://h/c?sig=secretive"});
    vec![
        row("PUT", "/jobs/v2/{job}", "job.schedule", job(), request),
        row(
            "POST",
            "/jobs/v2/{job}/cancel",
            "job.cancel",
            job(),
            Value::Null,
        ),
        row(
            "POST",
            "/jobs/v2/{job}/cancel",
            "job.cancel",
            none(),
            Value::Null,
        ),
        row("POST", "/jobs/create", "transfer.create", json!({}), export),
        row(
            "DELETE",
            "/jobs/{job}",
            "transfer.cancel",
            none(),
            Value::Null,
        ),
    ]
}

fn configuration_rows() -> Vec<Row> {
    const ONE: &str = "/configurations/{configuration}";
    let name = || json!({"configuration": "c1"});
    let content = json!({"deviceContent": {"properties.desired.x": 1}});
    let request = json!({
        "id": "c1", "content": content.clone(), "targetCondition": "tags.a = 1", "priority": 1,
    });
    vec![
        row("PUT", ONE, "configuration.put", name(), request),
        row("DELETE", ONE, "configuration.delete", name(), Value::Null),
        row(
            "POST",
            "/devices/{device}/applyConfigurationContent",
            "configuration.apply",
            d1(),
            content,
        ),
    ]
}

fn access_rows() -> Vec<Row> {
    const POLICY: &str = "/fanfare/v1/policies/{policy}";
    const ROTATE: &str = "/fanfare/v1/policies/{policy}/rotate";
    let policy = || json!({"policy": "p1"});
    let mut rows = vec![
        row(
            "PUT",
            POLICY,
            "policy.put",
            policy(),
            json!({"rights": ["RegistryRead"], "primaryKey": "c2VjcmV0aXZlLXNlY3JldGl2ZS1zZWNyZXRpdmUtMzI="}),
        ),
        row(
            "POST",
            ROTATE,
            "policy.rotate",
            policy(),
            json!({"key": "primary"}),
        ),
        row("DELETE", POLICY, "policy.delete", policy(), Value::Null),
    ];
    // What comes of these is another test's business; that they are noted is this one's.
    const AUTHORITY: &str = "/fanfare/v1/authorities/{authority}";
    let authority = || json!({"authority": "a1"});
    let pem = || json!({"certificate": "secretive"});
    rows.extend([
        row("PUT", AUTHORITY, "authority.put", authority(), pem()),
        row(
            "POST",
            "/fanfare/v1/authorities/{authority}/code",
            "authority.code",
            authority(),
            Value::Null,
        ),
        row(
            "POST",
            "/fanfare/v1/authorities/{authority}/verify",
            "authority.verify",
            authority(),
            pem(),
        ),
        row(
            "DELETE",
            AUTHORITY,
            "authority.delete",
            authority(),
            Value::Null,
        ),
    ]);
    rows
}

fn last_rows() -> Vec<Row> {
    let query = json!({"device": "query"});
    vec![
        row("DELETE", MODULE, "module.delete", m1(), Value::Null),
        row("DELETE", MODULE, "module.delete", m1(), Value::Null),
        row(
            "DELETE",
            "/devices/query",
            "device.delete",
            query,
            Value::Null,
        ),
        row(
            "DELETE",
            "/devices/{device}",
            "device.delete",
            d1(),
            Value::Null,
        ),
        row(
            "DELETE",
            "/devices/{device}",
            "device.delete",
            d1(),
            Value::Null,
        ),
    ]
}

async fn ask(hub: &Hub, policy: &str, row: &Row) -> Reply {
    let body = match &row.body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = [("request-id", "r-1")];
    hub.send(policy, row.method, &row.path, &headers, &body)
        .await
}

/// A route that changes something and has no row fails.
#[tokio::test]
async fn every_change_is_one_line() {
    let reads = [
        ("POST", "/devices/query"),
        ("POST", "/configurations/testQueries"),
    ];
    let rows = rows();
    for route in routes() {
        let key = (route.method.as_str(), route.path);
        let is_change = key.0 != "GET" && !reads.contains(&key);
        let has_row = rows.iter().any(|row| (row.method, row.route) == key);
        assert_eq!(has_row, is_change, "{key:?}");
    }
    let hub = Hub::start().await;
    let log = log_of(&hub);
    let before = read(&log);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(before[0]["operation"], "hub.start");
    assert_eq!(before[0]["detail"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(before[0]["detail"]["settings"]["https-port"], 0);

    let mut results: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let what = format!("{} {}", row.method, row.route);
        let reply = ask(&hub, "iothubowner", row).await;
        let lines = read(&log);
        assert_eq!(lines.len(), at + 2, "{what}: {lines:?}");
        let line = lines.last().unwrap();
        assert_eq!(line["operation"], row.word, "{what}");
        assert_eq!(line["actor"], json!({"policy": "iothubowner"}), "{what}");
        let empty = json!({});
        assert_eq!(
            line.get("target").unwrap_or(&empty),
            &row.target,
            "{what}: {line}"
        );
        assert_eq!(line["status"], reply.status.as_u16(), "{what}: {reply:?}");
        assert_eq!(line["request"], "r-1", "{what}");
        assert!(
            line["peer"].as_str().unwrap().starts_with("127."),
            "{what}: {line}"
        );
        let refused = !reply.status.is_success() && row.word != "devices.change";
        let error = refused.then(|| reply.code());
        assert_eq!(line["error"].as_str(), error.as_deref(), "{what}");
        let tracking = String::from_utf8_lossy(&reply.body);
        let tracking = line["tracking"].as_str().map(|id| tracking.contains(id));
        assert_eq!(
            tracking,
            refused.then_some(true),
            "{what}: {line} {reply:?}"
        );
        let status = u64::from(reply.status.as_u16());
        results.entry(row.word).or_default().push(status);
    }
    let never = results
        .iter()
        .filter(|(_, results)| results.iter().all(|status| *status >= 300));
    let never: Vec<_> = never
        .map(|(word, _)| *word)
        .filter(|word| !word.starts_with("authority"))
        .collect();
    assert_eq!(
        never,
        [
            "devices.change",
            "method.call",
            "transfer.cancel",
            "transfer.create"
        ]
    );
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        !text.contains("secretive") && !text.contains("c2VjcmV0aXZl"),
        "{text}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn strangers_are_summed_up() {
    let hub = Hub::start().await;
    let log = log_of(&hub);
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows() {
        let reply = ask(&hub, "device", &row).await;
        assert_eq!(reply.status, 401, "{}", row.path);
        let bare = hyper::Request::builder()
            .method(row.method)
            .uri(format!("{}?api-version=2021-04-12", row.path));
        assert_eq!(
            hub.raw(bare.body(Default::default()).unwrap()).await.status,
            401
        );
        *words.entry(row.word.to_owned()).or_default() += 1;
    }
    assert_eq!(read(&log).len(), 1, "they wait to be summed up");
    let folder = hub.stop().await;
    let lines = read(&folder.path().join("data/audit/audit.jsonl"));
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line["operation"] == "request.refused")
        .collect();
    assert_eq!(refused.len(), 2, "{lines:?}");
    assert_eq!(refused[0]["detail"]["reason"], "no credentials");
    assert_eq!(refused[0].get("actor"), None);
    assert_eq!(refused[1]["detail"]["reason"], "not allowed");
    assert_eq!(refused[1]["actor"], json!({"policy": "device"}));
    for line in refused {
        assert_eq!(line["detail"]["operations"], json!(words), "{line}");
        assert_eq!(line["detail"]["count"], rows().len(), "{line}");
        assert_eq!(line["status"], 401);
        assert!(line["peer"].as_str().unwrap().starts_with("127."), "{line}");
    }
    assert_eq!(lines.last().unwrap()["operation"], "hub.stop");
}

#[tokio::test]
async fn details_say_how_and_never_what() {
    let hub = Hub::start().await;
    let log = log_of(&hub);
    let last = || read(&log).pop().unwrap()["detail"].clone();
    let condition = format!("deviceId IN ['{}']", "d".repeat(100_000));
    let job = json!({
        "type": "scheduleDeviceMethod", "queryCondition": condition, "startTime": FAR_START,
        "cloudToDeviceMethod": {"methodName": "open"},
    });
    hub.done("PUT", "/jobs/v2/j1", job.clone()).await;
    let detail = last();
    assert_eq!(
        (&detail["type"], &detail["method"]),
        (&job["type"], &json!("open"))
    );
    assert_eq!(detail["condition"].as_str().unwrap().chars().count(), 513);
    assert_eq!(detail.get("repeated"), None);
    hub.send("service", "PUT", "/jobs/v2/j1", &[], &job.to_string())
        .await;
    assert_eq!(last()["repeated"], true);
    hub.done(
        "PUT",
        "/devices/d1",
        json!({"deviceId": "d1", "status": "disabled"}),
    )
    .await;
    assert_eq!(last(), json!({"status": "disabled"}));
    let twice = json!([{"id": "d1", "importMode": "create"}, {"id": "d2"}]);
    assert_eq!(hub.ask("POST", "/devices", twice).await.status, 400);
    let modes = json!({"create": 1, "createOrUpdate": 1});
    assert_eq!(last(), json!({"failed": 1, "modes": modes}));
    let export = json!({"type": "export", "outputBlobContainerUri": "file:out", "excludeKeysInExport": true});
    let created = hub.done("POST", "/jobs/create", export).await;
    let line = read(&log).pop().unwrap();
    assert_eq!(line["target"]["job"], created["jobId"]);
    assert_eq!(
        line["detail"],
        json!({"type": "export", "output": "file:out", "keys": false})
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_job_shows_who_made_it() {
    let hub = Hub::start().await;
    let job = json!({
        "type": "scheduleUpdateTwin", "queryCondition": "*", "startTime": FAR_START,
        "updateTwin": {"etag": "*", "tags": {"a": 1}},
    });
    let put = async |policy| {
        let body = job.to_string();
        hub.send(policy, "PUT", "/jobs/v2/j1", &[], &body)
            .await
            .status
    };
    assert_eq!(put("service").await, 200);
    assert_eq!(put("registryReadWrite").await, 200, "the same again");
    let expected = json!({"createdBy": {"policy": "service"}});
    let shown = hub.done("GET", "/jobs/v2/j1", Value::Null).await;
    assert_eq!(shown["fanfare"], expected);
    let listed = hub.done("GET", "/jobs/v2/query", Value::Null).await;
    assert_eq!(listed[0]["fanfare"], expected);
    let cancelled = hub.done("POST", "/jobs/v2/j1/cancel", Value::Null).await;
    assert_eq!(cancelled["fanfare"], expected, "it is not whoever cancels");
    let export = json!({"type": "export", "outputBlobContainerUri": "file:out"});
    let created = hub.done("POST", "/jobs/create", export).await;
    assert_eq!(
        created["fanfare"],
        json!({"createdBy": {"policy": "iothubowner"}})
    );
    let folder = hub.stop().await;

    let hub = Hub::on(folder).await;
    let shown = hub.done("GET", "/jobs/v2/j1", Value::Null).await;
    assert_eq!(shown["fanfare"], expected);
    let listed = hub.done("GET", "/jobs", Value::Null).await;
    assert_eq!(listed[0]["fanfare"], created["fanfare"]);
    hub.stop().await;
}

/// `/dev/full` takes nothing, as a full disk.
async fn without_room(mode: &str) -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::with(folder, |flags| flags.audit = Some(mode.to_owned())).await;
    let folder = hub.stop().await;
    let log = folder.path().join("data/audit/audit.jsonl");
    std::fs::rename(&log, log.with_extension("before")).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    Hub::with(folder, |flags| flags.audit = Some(mode.to_owned())).await
}

fn make_room(hub: &Hub) {
    std::fs::remove_file(log_of(hub)).unwrap();
}

fn words(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line["operation"].as_str())
        .collect()
}

#[tokio::test]
async fn a_hub_goes_on_without_its_log_and_catches_up() {
    let hub = without_room("best-effort").await;
    hub.done("PUT", "/devices/d1", json!({"deviceId": "d1"}))
        .await;
    make_room(&hub);
    hub.done("PUT", "/devices/d2", json!({"deviceId": "d2"}))
        .await;
    let lines = read(&log_of(&hub));
    assert_eq!(words(&lines), ["hub.start", "device.put", "device.put"]);
    assert_eq!(lines[1]["target"], d1());
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_requires_its_log_changes_nothing_without_it() {
    let hub = without_room("required").await;
    let put = json!({"deviceId": "d1"});
    let reply = hub.ask("PUT", "/devices/d1", put.clone()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (503, "ServiceUnavailable".to_owned())
    );
    assert_eq!(hub.ask("GET", "/devices/d1", Value::Null).await.status, 404);
    let stranger = hub.send("device", "PUT", "/devices/d1", &[], "{}").await;
    assert_eq!(stranger.status, 401, "strangers hear nothing of it");
    make_room(&hub);
    hub.done("PUT", "/devices/d1", put).await;
    assert_eq!(words(&read(&log_of(&hub))), ["hub.start", "device.put"]);
    hub.stop().await;
}

#[tokio::test]
async fn without_a_log_nothing_is_written() {
    let hub = Hub::start_with(|flags| flags.audit = Some("off".to_owned())).await;
    hub.done("PUT", "/devices/d1", json!({"deviceId": "d1"}))
        .await;
    let folder = hub.stop().await;
    assert!(!folder.path().join("data/audit").exists());
}

#[tokio::test]
async fn lines_are_counted() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d1", json!({"deviceId": "d1"}))
        .await;
    let page = hub.ask("GET", "/fanfare/v1/metrics", Value::Null).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let written = page
        .lines()
        .find_map(|line| line.strip_prefix("fanfare_audit_lines_total{result=\"written\"} "));
    // Other tests of this process count too.
    assert!(written.unwrap().parse::<u64>().unwrap() >= 2, "{page}");
    hub.stop().await;
}
