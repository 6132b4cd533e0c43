//! What a node counts is what happened.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_server::telemetry::metrics::{Kind, METRICS};
use serde_json::{Value, json};

use crate::{access::tokens::Issuer, harness::Hub};

/// Series with their values.
type Page = BTreeMap<String, f64>;

async fn page(hub: &Hub) -> (String, Page) {
    let reply = hub.ask("GET", "/fanfare/v1/metrics", Value::Null).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    let page: Page = series.collect();
    (text, page)
}

/// The value of a series; absent is none yet.
fn value(page: &Page, series: &str) -> f64 {
    page.get(series).copied().unwrap_or_default()
}

#[tokio::test]
async fn every_declared_metric_is_shown_and_nothing_else() {
    // So that there are numbers about an issuer's tokens.
    let issuer = Issuer::start().await;
    let hub = issuer.hub(|_| {}).await;
    // So that there is a request to show.
    page(&hub).await;
    let (text, page) = page(&hub).await;
    let types: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let declared: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| {
            let kind = match metric.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            format!("{} {kind}", metric.name())
        })
        .collect();
    assert_eq!(types, declared.iter().map(String::as_str).collect());
    for series in page.keys() {
        let name = series.split('{').next().unwrap();
        let is_declared = METRICS.iter().any(|metric| {
            let rest = name.strip_prefix(metric.name());
            rest.is_some_and(|rest| match metric.kind() {
                Kind::Histogram => ["_bucket", "_sum", "_count"].contains(&rest),
                _ => rest.is_empty(),
            })
        });
        assert!(is_declared, "{series}");
    }
    assert_eq!(value(&page, "fanfare_term"), 1.0);
    assert!(value(&page, "process_resident_memory_bytes") > 1e6);
    hub.stop().await;
}

#[tokio::test]
async fn requests_commits_and_device_jobs_are_counted() {
    let hub = Hub::start().await;
    let (_, before) = page(&hub).await;
    for device in ["m-1", "m-2"] {
        hub.done(
            "PUT",
            &format!("/devices/{device}"),
            json!({"deviceId": device}),
        )
        .await;
    }
    hub.ask("GET", "/devices/none", Value::Null).await;
    let job = json!({
        "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"a": 1}},
    });
    hub.done("PUT", "/jobs/v2/m-job", job).await;
    hub.ended("m-job").await;
    let (_, after) = page(&hub).await;

    let grown = |series: &str| value(&after, series) - value(&before, series);
    let route = "method=\"PUT\",route=\"/devices/{device}\"";
    assert_eq!(
        grown(&format!(
            "fanfare_http_requests_total{{{route},status=\"200\"}}"
        )),
        2.0
    );
    assert_eq!(
        grown(&format!("fanfare_http_request_seconds_count{{{route}}}")),
        2.0
    );
    let absent =
        "fanfare_http_requests_total{method=\"GET\",route=\"/devices/{device}\",status=\"404\"}";
    assert_eq!(grown(absent), 1.0);
    assert_eq!(
        grown("fanfare_device_jobs_ended_total{outcome=\"applied\"}"),
        2.0
    );
    assert_eq!(
        grown("fanfare_device_jobs_ended_total{outcome=\"unreachable\"}"),
        0.0
    );
    assert_eq!(value(&after, "fanfare_jobs{state=\"completed\"}"), 1.0);
    assert_eq!(grown("fanfare_target_set_seconds_count"), 1.0);
    assert!(grown("fanfare_store_commits_total") >= 4.0);
    assert_eq!(
        grown("fanfare_store_commits_total"),
        grown("fanfare_store_commit_seconds_count")
    );
    assert!(grown("fanfare_store_rows_scanned_total") >= 2.0);
    assert!(value(&after, "fanfare_store_bytes{file=\"data\"}") > 0.0);
    hub.stop().await;
}

#[tokio::test]
async fn devices_that_nobody_reached_are_counted_when_the_job_closes() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/off", json!({"deviceId": "off"}))
        .await;
    let (_, before) = page(&hub).await;
    let method = json!({"methodName": "m", "payload": null, "responseTimeoutInSeconds": 5});
    let job = |seconds: u32| {
        json!({
            "type": "scheduleDeviceMethod", "queryCondition": "*", "cloudToDeviceMethod": method,
            "maxExecutionTimeInSeconds": seconds,
        })
    };
    hub.done("PUT", "/jobs/v2/short", job(1)).await;
    hub.done("PUT", "/jobs/v2/long", job(600)).await;
    while hub.done("GET", "/jobs/v2/long", Value::Null).await["status"] != "running" {}
    hub.done("POST", "/jobs/v2/long/cancel", Value::Null).await;
    hub.ended("long").await;
    hub.ended("short").await;
    let (_, after) = page(&hub).await;
    for outcome in ["unreachable", "canceled"] {
        let series = format!("fanfare_device_jobs_ended_total{{outcome=\"{outcome}\"}}");
        assert_eq!(
            value(&after, &series) - value(&before, &series),
            1.0,
            "{outcome}"
        );
    }
    hub.stop().await;
}
