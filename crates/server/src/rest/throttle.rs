//! Which class of operations each route belongs to, and the answer to whoever asks too often.
//!
//! The rates and their buckets are [`crate::throttle`]'s; a route of no class is never refused here.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{
        HeaderValue, Method,
        header::{CONTENT_LENGTH, RETRY_AFTER},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use fanfare_hub::profile::{METHOD_PIECE_BYTES, OperationClass};
use fanfare_wire::error::ErrorCode;

use super::{Rest, error::Refusal};
use crate::throttle::{Throttle, Throttled};

/// The class of a route, by its place in the contract.
pub(super) fn class_of(method: &Method, path: &str) -> Option<OperationClass> {
    use OperationClass as Class;
    let path = path.strip_prefix('/')?;
    let (first, last) = match path.split_once('/') {
        Some((first, rest)) => (first, rest.rsplit('/').next()),
        None => (path, None),
    };
    Some(match (first, last) {
        ("twins", Some("methods")) => Class::Methods,
        ("twins", _) if method == Method::GET => Class::TwinReads,
        ("twins", _) => Class::TwinUpdates,
        ("jobs", _) => Class::Jobs,
        ("devices", Some("query")) if method == Method::POST => Class::Queries,
        ("devices", Some("applyConfigurationContent")) => Class::Configurations,
        ("devices", _) => Class::Registry,
        ("configurations", _) => Class::Configurations,
        _ => return None,
    })
}

/// A throttle and the class that it holds a route to.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) throttle: Arc<Throttle>,
    pub(super) class: OperationClass,
}

/// Lets a request of somebody who may make it pass, or tells when to come again. compat: HTTP-30
pub(super) async fn limit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let operations = match gate.class {
        OperationClass::Methods => pieces(&request),
        _ => 1,
    };
    match gate.throttle.take(gate.class, operations) {
        Ok(()) => next.run(request).await,
        Err(throttled) => refused(&throttled),
    }
}

/// A method's request in pieces; one that does not tell its length counts as one.
fn pieces(request: &Request) -> u32 {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let pieces = length.unwrap_or(0).div_ceil(METHOD_PIECE_BYTES).max(1);
    u32::try_from(pieces).unwrap_or(u32::MAX)
}

fn refused(throttled: &Throttled) -> Response {
    let refusal = Refusal::new(ErrorCode::ThrottlingException, throttled.to_string());
    let mut response = refusal.into_response();
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(throttled.seconds()));
    response
}

/// Refuses a query's text over the length that the profile allows. compat: JOB-52
pub(super) fn check_query(rest: &Rest, text: &str) -> Result<(), Refusal> {
    let Some(max) = rest.hub.profile.jobs.condition_chars_max else {
        return Ok(());
    };
    match text.chars().count() {
        chars if chars > max => Err(Refusal::invalid(format!(
            "the query has {chars} characters, the profile of this hub allows {max}"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route has its line: a new one is looked at by whoever adds it.
    #[test]
    fn every_route_is_counted_as_published() {
        for route in super::super::routes() {
            let method = route.method.as_str();
            let expected = match route.path {
                path if path.starts_with("/jobs") => Some(OperationClass::Jobs),
                path if path.starts_with("/configurations") => Some(OperationClass::Configurations),
                path if path.starts_with("/health/") => None,
                path if path.starts_with("/fanfare/") => None,
                path if path.starts_with("/statistics/") => None,
                path if path.ends_with("/methods") => Some(OperationClass::Methods),
                path if path.ends_with("/applyConfigurationContent") => {
                    Some(OperationClass::Configurations)
                }
                path if path.starts_with("/twins/") => match method {
                    "GET" => Some(OperationClass::TwinReads),
                    "PATCH" | "PUT" => Some(OperationClass::TwinUpdates),
                    _ => panic!("{method} {path} has no class"),
                },
                "/devices/query" if method == "POST" => Some(OperationClass::Queries),
                path if path.starts_with("/devices") => Some(OperationClass::Registry),
                path => panic!("{method} {path} has no line here"),
            };
            assert_eq!(route.class, expected, "{method} {}", route.path);
        }
    }

    #[test]
    fn a_methods_request_counts_in_pieces() {
        let cases = [
            (None, 1),
            (Some("0"), 1),
            (Some("4096"), 1),
            (Some("4097"), 2),
            (Some("131072"), 32),
            (Some("many"), 1),
            (Some("18446744073709551615"), u32::MAX),
        ];
        for (length, expected) in cases {
            let mut request = Request::new(axum::body::Body::empty());
            if let Some(length) = length {
                let value = HeaderValue::from_static(length);
                request.headers_mut().insert(CONTENT_LENGTH, value);
            }
            assert_eq!(pieces(&request), expected, "{length:?}");
        }
    }
}
