//! Where in a condition or a query the fault is, wherever one is taken: lines and characters from 1.

use serde_json::{Value, json};

use crate::harness::Hub;

/// A fault behind a line break, letters of several bytes and one outside the basic plane.
const CONDITION: &str = "tags.städte = 'ÅÅÅ'\r\n  AND tags.b = '🚀' ! 2";
/// Its place: line 2, in Unicode scalar values.
const PLACE: &str = "Line 2:20 ";

fn twin_job(condition: &str) -> Value {
    json!({
        "type": "scheduleUpdateTwin", "updateTwin": {"tags": {"a": 1}}, "queryCondition": condition,
    })
}

#[tokio::test]
async fn every_text_that_is_refused_says_where() {
    let hub = Hub::start().await;
    let query = format!("SELECT * FROM devices WHERE\n{CONDITION}");
    let in_query = "Line 3:20 ";
    let configuration = json!({"id": "c", "content": {}, "targetCondition": CONDITION});
    let metric = json!({
        "id": "c", "content": {}, "targetCondition": "*", "metrics": {"queries": {"m": query}},
    });
    let tested = json!({"targetCondition": CONDITION, "customMetricQueries": {"m": query}});
    for (method, path, body, place) in [
        ("PUT", "/jobs/v2/j", twin_job(CONDITION), PLACE),
        ("POST", "/devices/query", json!({"query": query}), in_query),
        ("PUT", "/configurations/c", configuration, PLACE),
        ("PUT", "/configurations/c", metric, in_query),
    ] {
        let refused = hub.ask(method, path, body).await;
        assert_eq!(refused.status, 400, "{method} {path}: {refused:?}");
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(text.contains(place), "{method} {path}: {text}");
    }
    let answer = hub
        .done("POST", "/configurations/testQueries", tested)
        .await;
    let of_condition = answer["targetConditionError"].as_str().unwrap();
    assert!(of_condition.contains(PLACE), "{answer}");
    let of_metric = answer["customMetricQueryErrors"]["m"].as_str().unwrap();
    assert!(of_metric.contains(in_query), "{answer}");
    hub.stop().await;
}
