//! Answers that say yes.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use fanfare_wire::{
    http::CONTENT_TYPE_JSON,
    query::{HEADER_CONTINUATION, HEADER_ITEM_TYPE, ItemType},
};
use serde::Serialize;

/// 200 with a document. compat: HTTP-2
pub(crate) fn json(document: &impl Serialize) -> Response {
    json_with(StatusCode::OK, document)
}

/// A status with a document.
pub(crate) fn json_with(status: StatusCode, document: &impl Serialize) -> Response {
    let text = serde_json::to_vec(document).expect("documents of the wire can be written");
    text_with(status, text, CONTENT_TYPE_JSON)
}

/// A status with a body that is written already.
pub(crate) fn text_with(
    status: StatusCode,
    body: impl Into<Body>,
    content_type: &'static str,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// One page; the token is left out of the last one. compat: HTTP-12, HTTP-14
pub(crate) fn page(
    body: impl Into<Body>,
    item_type: ItemType,
    continuation: Option<&str>,
) -> Response {
    let mut response = text_with(StatusCode::OK, body, CONTENT_TYPE_JSON);
    let headers = response.headers_mut();
    headers.insert(
        HEADER_ITEM_TYPE,
        HeaderValue::from_static(item_type.as_str()),
    );
    if let Some(token) = continuation.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(HEADER_CONTINUATION, token);
    }
    response
}

/// 204.
pub(crate) fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
