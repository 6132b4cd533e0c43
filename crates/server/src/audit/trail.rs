//! What is known of one request that changes something, from its head to its line in the audit log.
//!
//! [`audited`] goes around everything a route does, sign-in included. Whoever knows more (the guard, a handler)
//! notes it. The line is written by the first to see the answer; a change whose caller went away is still carried out
//! in a task of its own, which then writes the line. A request that was given up is noted when its trail is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    RequestPartsExt as _,
    extract::{RawPathParams, Request, State},
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use fanfare_hub::access::Actor;
use fanfare_wire::{error::ErrorCode, http::HEADER_ERROR_CODE};
use serde_json::{Map, Value};

use super::{
    AuditLog,
    line::{Line, bounded},
    refusals::{Reason, Refused},
};
use crate::rest::{PeerAddress, Refusal, TrackingId, written};

/// What is known of one request; in its extensions, and shared by whoever serves it.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Entry>);

struct Entry {
    log: Arc<AuditLog>,
    operation: &'static str,
    peer: Option<PeerAddress>,
    request: Option<String>,
    has_credentials: bool,
    noted: Mutex<Noted>,
}

/// What handlers add.
#[derive(Default)]
pub(crate) struct Noted {
    actor: Option<Actor>,
    target: Map<String, Value>,
    detail: Map<String, Value>,
    is_settled: bool,
}

impl Noted {
    /// Who asks.
    pub(crate) fn actor(&mut self, actor: &Actor) {
        self.actor = Some(actor.clone());
    }

    /// What is changed.
    pub(crate) fn target(&mut self, kind: &str, id: &str) {
        self.target.insert(kind.to_owned(), bounded(id).into());
    }

    /// What is changed where it is many things: how many, and the first hundred.
    pub(crate) fn targets(&mut self, kind: &str, ids: impl ExactSizeIterator<Item = String>) {
        self.target.insert("count".to_owned(), ids.len().into());
        let shown: Vec<_> = ids.take(TARGETS_MAX).map(|id| bounded(&id)).collect();
        self.target.insert(kind.to_owned(), shown.into());
    }

    /// A word about how. Never a secret, a key or a payload.
    pub(crate) fn detail(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::String(text) => bounded(&text).into(),
            other => other,
        };
        self.detail.insert(name.to_owned(), value);
    }
}

/// Targets that one line names. Ours; as many as a call of the contract may have.
const TARGETS_MAX: usize = 100;
/// Characters of a request's own id that are kept. Ours.
const REQUEST_ID_CHARS_MAX: usize = 128;

impl Trail {
    async fn of(log: Arc<AuditLog>, operation: &'static str, parts: &mut Parts) -> Self {
        let mut noted = Noted::default();
        if let Ok(path) = parts.extract::<RawPathParams>().await {
            path.iter().for_each(|(name, id)| noted.target(name, id));
        }
        if parts.uri.path() == "/devices/query" {
            // A route of its own, but also where a device of this name is changed.
            noted.target("device", "query");
        }
        let request = parts.headers.get("request-id");
        let request = request.and_then(|id| id.to_str().ok());
        Self(Arc::new(Entry {
            log,
            operation,
            peer: parts.extensions.get().copied(),
            request: request.map(|id| id.chars().take(REQUEST_ID_CHARS_MAX).collect()),
            has_credentials: parts.headers.contains_key(AUTHORIZATION),
            noted: Mutex::new(noted),
        }))
    }

    /// Adds what is known now.
    pub(crate) fn note(&self, add: impl FnOnce(&mut Noted)) {
        add(&mut self.0.noted());
    }

    /// Notes what came of it, once; ends when it is written. The answer has its final form after this.
    pub(crate) async fn settle(&self, response: Response) -> Response {
        let entry = &self.0;
        let response = written(response, entry.log.now());
        let Some(noted) = entry.settled() else {
            return response;
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            let reason = match (&noted.actor, entry.has_credentials) {
                (Some(_), _) => Reason::Rights,
                (None, true) => Reason::Credentials,
                (None, false) => Reason::Nothing,
            };
            let refused = Refused {
                address: entry.peer.map(|PeerAddress(peer)| peer.ip()),
                actor: noted.actor,
                reason,
            };
            entry.log.refused(refused, entry.operation);
            return response;
        }
        let error = response.headers().get(HEADER_ERROR_CODE);
        let tracking = response.extensions().get::<TrackingId>();
        let line = Line {
            status: Some(response.status().as_u16()),
            error: error.and_then(|name| name.to_str().ok()),
            tracking: tracking.map(|TrackingId(id)| id.as_str()),
            ..entry.line(&noted)
        };
        entry.log.write(&line).await;
        response
    }
}

impl Entry {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted, for the first who asks.
    fn settled(&self) -> Option<Noted> {
        let mut noted = self.noted();
        if noted.is_settled {
            return None;
        }
        let settled = Noted {
            is_settled: true,
            ..Noted::default()
        };
        Some(std::mem::replace(&mut *noted, settled))
    }

    fn line<'a>(&'a self, noted: &'a Noted) -> Line<'a> {
        Line {
            actor: noted.actor.as_ref(),
            peer: self.peer.map(|PeerAddress(peer)| peer.to_string()),
            target: Some(&noted.target),
            detail: Some(&noted.detail),
            request: self.request.as_deref(),
            ..Line::of(self.log.now(), self.operation)
        }
    }
}

impl Drop for Entry {
    /// Its caller went away before there was an answer. Whether something had been done, nobody can say.
    fn drop(&mut self) {
        let Some(noted) = self.settled() else { return };
        if noted.actor.is_none() {
            return;
        }
        let line = Line {
            abandoned: true,
            ..self.line(&noted)
        };
        self.log.leave(&line);
    }
}

/// What a layer around a route knows.
#[derive(Clone)]
pub(crate) struct Audited {
    pub(crate) log: Arc<AuditLog>,
    pub(crate) operation: &'static str,
}

/// Follows a request that changes something, and writes its line before its answer leaves.
pub(crate) async fn audited(
    State(Audited { log, operation }): State<Audited>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let trail = Trail::of(log, operation, &mut parts).await;
    parts.extensions.insert(trail.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    trail.settle(response).await
}

/// Refuses a change while its line could not be written.
pub(crate) async fn while_recorded(
    State(Audited { log, .. }): State<Audited>,
    request: Request,
    next: Next,
) -> Response {
    if log.is_writable().await {
        return next.run(request).await;
    }
    if let Some(Trail(entry)) = request.extensions().get() {
        // Nothing was changed, and there is nowhere to say that somebody wanted to.
        entry.settled();
    }
    let text = "the audit log cannot be written, and this hub changes nothing without it";
    Refusal::new(ErrorCode::ServiceUnavailable, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use fanfare_hub::{ports::clock::ManualClock, time::Timestamp};

    use super::*;
    use crate::config::AuditConfig;

    async fn trail(log: &Arc<AuditLog>) -> Trail {
        let request = axum::http::Request::builder()
            .uri("/devices/query")
            .header("request-id", "é".repeat(3) + "r")
            .body(Body::empty())
            .unwrap();
        Trail::of(log.clone(), "device.put", &mut request.into_parts().0).await
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_leaves_a_line_once_somebody_was_known() {
        let scratch = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let log = AuditLog::open(scratch.path(), &AuditConfig::default(), clock).unwrap();
        let actor = Actor::Policy("service".into());
        drop(trail(&log).await);
        let known = trail(&log).await;
        known.note(|noted| noted.actor(&actor));
        drop(known);
        let answered = trail(&log).await;
        answered.note(|noted| noted.actor(&actor));
        answered
            .settle(StatusCode::NO_CONTENT.into_response())
            .await;
        answered.settle(StatusCode::OK.into_response()).await;
        drop(answered);
        log.stopped().await;
        let text = std::fs::read_to_string(scratch.path().join("audit/audit.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0]["abandoned"], true);
        assert_eq!(lines[0].get("status"), None);
        assert_eq!(lines[0]["target"]["device"], "query");
        assert_eq!(lines[1]["status"], 204);
        assert_eq!(lines[2]["operation"], "hub.stop");
    }
}
