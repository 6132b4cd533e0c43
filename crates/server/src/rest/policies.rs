//! Shared access policies: list, show, create, change, rotate, delete. For whoever owns the hub alone.
//!
//! Two operators at once are told apart by etags: what was changed under `If-Match` is what was seen.

use std::sync::Arc;

use axum::{extract::State, http::header::IF_NONE_MATCH, response::Response};
use fanfare_hub::{
    access::{KeyPlace, Policy, PolicyError, PolicyRequest, Rights},
    ids::Etag,
    registry::{Precondition, SymmetricKey},
};
use fanfare_wire::{
    Secret,
    error::ErrorCode,
    etag::{IfMatch, identity_etag, parse_identity_etag},
    policies::{PolicyDocument, PolicyRequest as Request, RotateRequest, RotatedKey},
};
use serde_json::json;

use super::{Rest, call::Call, error::Refusal, reply};

/// `GET /fanfare/v1/policies`: all of them in order of their names, without keys. compat: AUTH-16
pub(super) async fn list(State(rest): State<Arc<Rest>>, _: Call) -> Result<Response, Refusal> {
    let policies = rest.hub.policies.list().await?;
    let documents: Vec<_> = policies.iter().map(without_keys).collect();
    Ok(reply::json(&documents))
}

/// `GET /fanfare/v1/policies/{policy}`, with its keys.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let policy = rest.hub.policies.get(call.part("policy")).await?;
    Ok(reply::json(&document(&policy)))
}

/// `PUT /fanfare/v1/policies/{policy}`: creates or changes it. compat: AUTH-16
pub(super) async fn put(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let name = call.part("policy");
    let request: Request = call.decode()?;
    if let Some(other) = request.name.as_deref().filter(|other| *other != name) {
        let text = format!("name is {other} but the path names {name}");
        return Err(Refusal::invalid(text));
    }
    let rights = Rights::parse(request.rights.iter().map(String::as_str))
        .map_err(|error| Refusal::invalid(format!("rights: {error}")))?;
    if rights == Rights::NONE {
        return Err(Refusal::missing("rights must name at least one right"));
    }
    call.note(|noted| noted.detail("rights", rights.words().collect::<Vec<_>>()));
    let wanted = PolicyRequest {
        rights,
        primary: key(request.primary_key),
        secondary: key(request.secondary_key),
    };
    let precondition = precondition(&call, Precondition::Any)?;
    let policy = rest.hub.policies.put(name, wanted, precondition).await?;
    Ok(reply::json(&document(&policy)))
}

/// `DELETE /fanfare/v1/policies/{policy}`.
pub(super) async fn delete(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let precondition = precondition(&call, Precondition::Exists)?;
    let name = call.part("policy");
    rest.hub.policies.delete(name, precondition).await?;
    Ok(reply::nothing())
}

/// `POST /fanfare/v1/policies/{policy}/rotate`. compat: AUTH-17
pub(super) async fn rotate(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let RotateRequest { key } = call.decode()?;
    let place = match key {
        RotatedKey::Primary => KeyPlace::Primary,
        RotatedKey::Secondary => KeyPlace::Secondary,
        RotatedKey::Swap => KeyPlace::Swap,
    };
    call.note(|noted| noted.detail("key", json!(key)));
    let precondition = precondition(&call, Precondition::Exists)?;
    let name = call.part("policy");
    let policy = rest.hub.policies.rotate(name, place, precondition).await?;
    Ok(reply::json(&document(&policy)))
}

/// What must hold; `absent` where the caller says nothing. An etag that this hub never printed matches nothing.
pub(super) fn precondition(call: &Call, absent: Precondition) -> Result<Precondition, Refusal> {
    let if_match = call.if_match();
    match call.header(IF_NONE_MATCH.as_str()).map(str::trim) {
        None => {}
        Some("*") if if_match == IfMatch::Absent => return Ok(Precondition::Absent),
        Some(_) => {
            let text = "If-None-Match must be *, without If-Match beside it";
            return Err(Refusal::invalid(text));
        }
    }
    Ok(match if_match {
        IfMatch::Absent => absent,
        IfMatch::Any => Precondition::Exists,
        IfMatch::Tag(tag) => {
            Precondition::Matches(parse_identity_etag(&tag).map_or(Etag(u64::MAX), Etag))
        }
    })
}

/// An empty key is none: the hub makes one, or keeps the one there is.
fn key(given: Option<Secret>) -> Option<SymmetricKey> {
    let given = given.filter(|key| !key.is_empty());
    given.map(|key| SymmetricKey::new(key.expose()))
}

fn without_keys(policy: &Policy) -> PolicyDocument {
    PolicyDocument {
        name: policy.name.to_string(),
        rights: policy.rights.words().map(str::to_owned).collect(),
        etag: identity_etag(policy.etag.0),
        primary_key: None,
        secondary_key: None,
    }
}

fn document(policy: &Policy) -> PolicyDocument {
    PolicyDocument {
        primary_key: Some(Secret::new(policy.primary.expose())),
        secondary_key: Some(Secret::new(policy.secondary.expose())),
        ..without_keys(policy)
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        use PolicyError as E;
        let code = match &error {
            E::Invalid { .. } => ErrorCode::ArgumentInvalid,
            E::Exists(_) => ErrorCode::PolicyAlreadyExists,
            E::Absent(_) => ErrorCode::PolicyNotFound,
            E::EtagMismatch(_) => ErrorCode::PreconditionFailed,
            E::TooMany | E::TooManyServiceConnect => ErrorCode::IotHubQuotaExceeded,
            E::LastOwner(_) => ErrorCode::InvalidOperation,
            E::Store(source) => return source.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}
