//! What every refusal has in common.

use serde_json::json;

use crate::harness::{ADDRESS, Hub};

#[tokio::test]
async fn whatever_is_wrong_the_answer_has_the_contracts_shape() {
    let hub = Hub::start().await;
    for (method, path, status, code) in [
        ("GET", "/nothing/here", 404, "GenericBadRequest"),
        ("GET", "/", 404, "GenericBadRequest"),
        ("DELETE", "/jobs/v2/j", 405, "GenericMethodNotAllowed"),
        ("PATCH", "/devices/d", 405, "GenericMethodNotAllowed"),
        ("GET", "/jobs/v2/never", 404, "JobNotFound"),
        ("GET", "/jobs/v2/job%201%2Fx", 404, "JobNotFound"),
        ("GET", "/jobs/v1-job", 404, "JobNotFound"),
        ("GET", "/devices/never", 404, "DeviceNotFound"),
        ("GET", "/twins/x%23+foo", 404, "DeviceNotFound"),
        ("GET", "/twins/%ff", 400, "ArgumentInvalid"),
        ("GET", "/devices/d/modules/m", 404, "DeviceNotFound"),
        ("PUT", "/devices/d/modules/m", 404, "DeviceNotFound"),
    ] {
        let reply = hub.ask(method, path, json!({})).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert_eq!(reply.code(), code, "{method} {path}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        let body = reply.json();
        let message = body["Message"].as_str().unwrap();
        assert_eq!(message.matches(';').count(), 1, "{message}");
        let tracking = body["ExceptionMessage"].as_str().unwrap();
        assert!(tracking.starts_with("Tracking ID:") && tracking.contains("-TimeStamp:"));
    }
    hub.stop().await;
}

#[tokio::test]
async fn versions_are_dates() {
    let hub = Hub::start().await;
    for (query, is_fine) in [
        ("", false),
        ("?api-version=", false),
        ("?api-version=latest", false),
        ("?api-version=2016-11-14", true),
        ("?api-version=2024-03-31", true),
        ("?x=1&api-version=2020-05-31-preview", true),
    ] {
        let request = hyper::Request::builder()
            .uri(format!("/devices{query}"))
            .header("host", ADDRESS)
            .header("authorization", hub.token("iothubowner"))
            .body(Default::default())
            .unwrap();
        let reply = hub.raw(request).await;
        if is_fine {
            assert_eq!(reply.status, 200, "{query}: {reply:?}");
        } else {
            assert_eq!(reply.code(), "InvalidProtocolVersion", "{query}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let hub = Hub::start().await;
    let large = "x".repeat(1024 * 1024 + 1);
    let reply = hub
        .send("iothubowner", "PATCH", "/twins/d", &[], &large)
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (413, "MessageTooLarge")
    );
    // A job may bring a very long condition.
    let reply = hub
        .send("iothubowner", "PUT", "/jobs/v2/j", &[], &large)
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (400, "IotHubFormatError")
    );
    for body in ["", "{", "{}{}"] {
        let reply = hub
            .send("iothubowner", "PATCH", "/twins/d", &[], body)
            .await;
        assert_eq!(reply.code(), "IotHubFormatError", "{body}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_ends_the_request() {
    let hub = Hub::start().await;
    let long = "x".repeat(200 * 1024);
    let request = hyper::Request::builder()
        .uri("/health/live")
        .header("host", ADDRESS)
        .header("x-long", long)
        .body(Default::default())
        .unwrap();
    assert_eq!(hub.raw(request).await.status, 431);
    hub.stop().await;
}
