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
