//! The query endpoint: pages, item types, tokens.

use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

async fn page(hub: &Hub, query: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({"query": query}).to_string();
    hub.send("service", "POST", "/devices/query", headers, &body)
        .await
}

async fn with_devices(count: usize) -> Hub {
    let hub = Hub::start().await;
    let items: Vec<_> = (0..count)
        .map(|n| json!({"id": format!("d{n}"), "importMode": "create", "tags": {"n": n}}))
        .collect();
    hub.done("POST", "/devices", json!(items)).await;
    hub
}

#[tokio::test]
async fn pages_show_every_device_once_and_the_last_has_no_token() {
    let hub = with_devices(5).await;
    let query = "SELECT * FROM devices";
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut headers = vec![("x-ms-max-item-count", "2")];
        if let Some(token) = &token {
            headers.push(("x-ms-continuation", token));
        }
        let reply = page(&hub, query, &headers).await;
        assert_eq!(reply.header("x-ms-item-type"), Some("Twin"));
        let twins = reply.json();
        seen.extend(
            twins
                .as_array()
                .unwrap()
                .iter()
                .map(|twin| twin["deviceId"].clone()),
        );
        token = reply.header("x-ms-continuation").map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(json!(seen), json!(["d0", "d1", "d2", "d3", "d4"]));
    let exact = page(&hub, query, &[("x-ms-max-item-count", "5")]).await;
    assert_eq!(
        exact.header("x-ms-continuation"),
        None,
        "a full last page is still the last"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_token_belongs_to_its_query() {
    let hub = with_devices(3).await;
    let first = page(
        &hub,
        "SELECT * FROM devices",
        &[("x-ms-max-item-count", "1")],
    )
    .await;
    let token = first.header("x-ms-continuation").unwrap();
    let other = page(
        &hub,
        "SELECT * FROM devices.jobs",
        &[("x-ms-continuation", token)],
    )
    .await;
    assert_eq!(other.code(), "ArgumentInvalid");
    let stranger = page(
        &hub,
        "SELECT * FROM devices",
        &[("x-ms-continuation", "tok1")],
    )
    .await;
    assert_eq!(stranger.code(), "ArgumentInvalid");
    let odd = page(
        &hub,
        "SELECT * FROM devices",
        &[("x-ms-max-item-count", "many")],
    )
    .await;
    assert_eq!(odd.code(), "ArgumentInvalid");
    hub.stop().await;
}

#[tokio::test]
async fn projections_and_counts_are_raw() {
    let hub = with_devices(4).await;
    let reply = page(
        &hub,
        "SELECT DeviceId, tags.n AS place FROM devices WHERE tags.n > 1",
        &[],
    )
    .await;
    assert_eq!(reply.header("x-ms-item-type"), Some("Raw"));
    let rows = json!([{"deviceId": "d2", "place": 2}, {"deviceId": "d3", "place": 3}]);
    assert_eq!(reply.json(), rows);
    let count = page(
        &hub,
        "SELECT COUNT() AS many FROM devices WHERE tags.n != 0",
        &[],
    )
    .await;
    assert_eq!(count.json(), json!([{"many": 3}]));
    let modules = page(&hub, "SELECT * FROM devices.modules", &[]).await;
    assert_eq!(modules.json(), json!([]));
    hub.stop().await;
}

#[tokio::test]
async fn a_text_that_is_no_query_is_refused_with_its_place() {
    let hub = Hub::start().await;
    let reply = page(&hub, "SELECT * FROM devices WHERE tags.a = ~1", &[]).await;
    assert_eq!(reply.code(), "ArgumentInvalid");
    let message = reply.json()["Message"].as_str().unwrap().to_owned();
    assert!(message.contains("Line 1:38"), "{message}");
    let body = hub
        .ask("POST", "/devices/query", json!({"text": "x"}))
        .await;
    assert_eq!(body.code(), "ArgumentInvalid");
    hub.stop().await;
}

#[tokio::test]
async fn rows_of_a_job_have_the_contracts_members() {
    let hub = with_devices(2).await;
    let job = json!({
        "type": "scheduleUpdateTwin", "updateTwin": {"tags": {"ring": 1}},
        "queryCondition": "*", "maxExecutionTimeInSeconds": 60,
    });
    hub.done("PUT", "/jobs/v2/rows", job).await;
    let document = hub.ended("rows").await;
    let reply = page(
        &hub,
        "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'rows'",
        &[],
    )
    .await;
    assert_eq!(reply.header("x-ms-item-type"), Some("DeviceJob"));
    let rows = reply.json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, device) in rows.iter().zip(["d0", "d1"]) {
        assert_eq!(row["deviceId"], device);
        assert_eq!(
            (&row["jobId"], &row["jobType"]),
            (&json!("rows"), &json!("scheduleUpdateTwin"))
        );
        assert_eq!(
            (&row["status"], &row["outcome"]),
            (&json!("completed"), &json!({}))
        );
        assert_eq!(row.get("error"), None);
        for time in [
            "startTimeUtc",
            "endTimeUtc",
            "createdDateTimeUtc",
            "lastUpdatedDateTimeUtc",
        ] {
            assert!(
                row[time].as_str().is_some_and(|time| time.ends_with('Z')),
                "{time}: {row}"
            );
        }
        assert_eq!(row["startTimeUtc"], document["startTime"]);
    }
    let none = page(
        &hub,
        "SELECT * FROM devices.jobs WHERE jobId = 'never'",
        &[],
    )
    .await;
    assert_eq!(none.json(), Value::Array(Vec::new()));
    hub.stop().await;
}

/// All pages of a query, each of at most `size` items.
async fn all(hub: &Hub, query: &str, size: &str) -> Vec<Value> {
    let (mut rows, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut headers = vec![("x-ms-max-item-count", size)];
        headers.extend(token.as_deref().map(|token| ("x-ms-continuation", token)));
        let reply = page(hub, query, &headers).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.json());
        let items = reply.json();
        assert!(items.as_array().unwrap().len() <= size.parse().unwrap());
        rows.extend(items.as_array().unwrap().iter().cloned());
        token = reply.header("x-ms-continuation").map(str::to_owned);
        if token.is_none() {
            let is_whole = query.starts_with("SELECT *");
            assert_eq!(
                reply.header("x-ms-item-type") == Some("Raw"),
                !is_whole,
                "{query}"
            );
            return rows;
        }
    }
}

/// Queries over devices and what they yield.
fn over_devices() -> Vec<(&'static str, Value)> {
    vec![
        (
            "SELECT tags.ring AS ring, COUNT() AS n, SUM(tags.n), AVG(tags.n) AS mean,
             MIN(tags.n), MAX(deviceId) AS last FROM devices GROUP BY tags.ring",
            json!([
                {"n": 1, "sum": 4, "mean": 4.0, "min": 4, "last": "d4"},
                {"ring": 7, "n": 1, "sum": 3, "mean": 3.0, "min": 3, "last": "d3"},
                {"ring": "a", "n": 1, "sum": 1, "mean": 1.0, "min": 1, "last": "d1"},
                {"ring": "b", "n": 2, "sum": 2, "mean": 1.0, "min": 0, "last": "d2"},
            ]),
        ),
        (
            "SELECT tags.ring, COUNT() FROM devices WHERE is_string(tags.ring)
             GROUP BY tags.ring ORDER BY COUNT() DESC",
            json!([{"ring": "b", "count": 2}, {"ring": "a", "count": 1}]),
        ),
        (
            "SELECT deviceId FROM devices ORDER BY tags.ring DESC, tags.n DESC",
            json!([
                {"deviceId": "d2"}, {"deviceId": "d0"}, {"deviceId": "d1"}, {"deviceId": "d3"},
                {"deviceId": "d4"},
            ]),
        ),
        (
            "SELECT TOP 3 tags.n FROM devices ORDER BY n DESC",
            json!([{"n": 4}, {"n": 3}, {"n": 2}]),
        ),
        (
            "SELECT DISTINCT tags.ring FROM devices",
            json!([{}, {"ring": 7}, {"ring": "a"}, {"ring": "b"}]),
        ),
    ]
}

/// The same over modules and rows of jobs.
fn over_modules_and_jobs() -> Vec<(&'static str, Value)> {
    vec![
        (
            "SELECT moduleId, deviceId FROM devices.modules ORDER BY moduleId",
            json!([{"moduleId": "x", "deviceId": "d0"}, {"moduleId": "y", "deviceId": "d0"}]),
        ),
        (
            "SELECT deviceId, COUNT() AS modules FROM devices.modules GROUP BY deviceId",
            json!([{"deviceId": "d0", "modules": 2}]),
        ),
        (
            "SELECT status, COUNT() AS n, MAX(deviceId) AS last FROM devices.jobs
             WHERE jobId = 'rings' GROUP BY status",
            json!([{"status": "completed", "n": 3, "last": "d2"}]),
        ),
        (
            "SELECT TOP 2 deviceId AS id FROM devices.jobs ORDER BY deviceId DESC",
            json!([{"id": "d2"}, {"id": "d1"}]),
        ),
        (
            "SELECT DISTINCT jobId, jobType FROM devices.jobs",
            json!([{"jobId": "rings", "jobType": "scheduleUpdateTwin"}]),
        ),
        ("SELECT COUNT() FROM devices.jobs", json!([{"count": 3}])),
        (
            "SELECT AVG(tags.n) FROM devices WHERE deviceId = 'nobody'",
            json!([{}]),
        ),
    ]
}

#[tokio::test]
async fn groups_orders_and_distinct_rows_work_over_every_source() {
    let hub = with_devices(5).await;
    for (n, ring) in [
        (0, json!("b")),
        (1, json!("a")),
        (2, json!("b")),
        (3, json!(7)),
    ] {
        let patch = json!({"tags": {"ring": ring}});
        hub.done("PATCH", &format!("/twins/d{n}"), patch).await;
    }
    for module in ["y", "x"] {
        let path = format!("/devices/d0/modules/{module}");
        let body = json!({"deviceId": "d0", "moduleId": module});
        hub.done("PUT", &path, body).await;
    }
    let job = json!({
        "type": "scheduleUpdateTwin", "updateTwin": {"tags": {"job": 1}},
        "queryCondition": "tags.n < 3", "maxExecutionTimeInSeconds": 60,
    });
    hub.done("PUT", "/jobs/v2/rings", job).await;
    hub.ended("rings").await;
    for (query, wanted) in over_devices().into_iter().chain(over_modules_and_jobs()) {
        for size in ["1", "2", "100"] {
            assert_eq!(json!(all(&hub, query, size).await), wanted, "{query}");
        }
    }
    for (query, of) in [
        (
            "SELECT * FROM devices ORDER BY deviceId DESC",
            "d4 d3 d2 d1 d0",
        ),
        (
            "SELECT * FROM devices.jobs ORDER BY deviceId DESC",
            "d2 d1 d0",
        ),
    ] {
        let rows = all(&hub, query, "2").await;
        let names: Vec<_> = rows
            .iter()
            .filter_map(|row| row["deviceId"].as_str())
            .collect();
        assert_eq!(names.join(" "), of, "{query}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn orders_and_groups_that_cannot_be_are_refused_with_their_place() {
    let hub = with_devices(2).await;
    for (query, place) in [
        ("SELECT * FROM devices GROUP BY tags.n", "Line 1:32"),
        ("SELECT tags.n, COUNT() FROM devices", "Line 1:8"),
        ("SELECT COUNT(), COUNT(tags.n) FROM devices", "Line 1:17"),
        (
            "SELECT DISTINCT tags.n FROM devices ORDER BY status",
            "Line 1:46",
        ),
    ] {
        let reply = page(&hub, query, &[]).await;
        assert_eq!(reply.code(), "ArgumentInvalid", "{query}");
        let message = reply.json()["Message"].as_str().unwrap().to_owned();
        assert!(message.contains(place), "{query}: {message}");
    }
    let ordered = "SELECT * FROM devices ORDER BY tags.n";
    let first = page(&hub, ordered, &[("x-ms-max-item-count", "1")]).await;
    let token = first.header("x-ms-continuation").unwrap();
    for other in [
        "SELECT * FROM devices",
        "SELECT * FROM devices ORDER BY tags.n DESC",
    ] {
        let reply = page(&hub, other, &[("x-ms-continuation", token)]).await;
        assert_eq!(reply.code(), "ArgumentInvalid", "{other}");
    }
    hub.stop().await;
}
