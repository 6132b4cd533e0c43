//! The node about itself: health for anyone, metrics for holders of a token.

use std::sync::{Arc, atomic::Ordering};

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{Rest, call::Call, reply};
use crate::telemetry::{page, scrape};

/// 200 while the process runs.
pub(super) async fn live() -> Response {
    reply::json(&json!({"status": "live"}))
}

/// 200 when the node serves, 503 before and while it stops.
pub(super) async fn ready(State(rest): State<Arc<Rest>>) -> Response {
    if rest.is_ready.load(Ordering::Acquire) {
        reply::json(&json!({"status": "ready"}))
    } else {
        reply::json_with(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({"status": "not ready"}),
        )
    }
}

/// All metrics in Prometheus' text form.
pub(super) async fn metrics(State(rest): State<Arc<Rest>>, _: Call) -> Response {
    let sources = scrape::Sources {
        hub: &rest.hub,
        store: &*rest.store,
        requests: &rest.requests,
        bearer: rest.access.bearer(),
        certificate: &rest.certificate,
    };
    reply::text_with(
        StatusCode::OK,
        scrape::scrape(sources).await,
        page::CONTENT_TYPE,
    )
}
