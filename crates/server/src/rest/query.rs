//! The query endpoint: one page of twins, projected rows, or device jobs.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{
    access::Action,
    queries::{PageRequest, Rows},
    query::{Query, Source},
};
use fanfare_wire::query::{ItemType, QueryRequest};
use serde::Serialize;

use super::{Rest, call::Call, error::Refusal, job_document, reply, throttle, twin_document};

/// `POST /devices/query`. Rows of jobs are for whoever may read jobs, the rest for the service side.
/// compat: AUTH-12
pub(super) async fn page(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let QueryRequest { query } = call.decode()?;
    throttle::check_query(&rest, &query)?;
    let parsed = Query::parse(&query).map_err(|error| Refusal::invalid(error.to_string()))?;
    call.require(match parsed.source() {
        Source::Jobs => Action::JobsRead,
        Source::Devices | Source::Modules => Action::TwinsRead,
    })?;
    let (items, continuation) = call.page()?;
    let request = PageRequest {
        limit: Some(items),
        continuation,
    };
    let page = rest.hub.queries.page(&query, request).await?;
    let (item_type, body) = match page.rows {
        Rows::Twins(twins) => {
            let documents: Vec<_> = twins.into_iter().map(twin_document::twin).collect();
            (ItemType::Twin, array(&documents))
        }
        Rows::Raw(rows) => (ItemType::Raw, format!("[{}]", rows.join(",")).into_bytes()),
        Rows::DeviceJobs(rows) => {
            let rows: Result<Vec<_>, _> = rows.iter().map(job_document::device_job).collect();
            (ItemType::DeviceJob, array(&rows?))
        }
    };
    Ok(reply::page(body, item_type, page.continuation.as_deref()))
}

fn array<T: Serialize>(items: &[T]) -> Vec<u8> {
    serde_json::to_vec(items).expect("documents of the wire can be written")
}
