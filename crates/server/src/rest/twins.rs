//! Twins: show, patch, replace. The documents are made in [`super::twin_document`].

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{
    ids::Etag,
    twin::document::{Object, SectionPatch, TwinError, TwinPatch, TwinReplacement},
};
use fanfare_wire::{
    Field,
    etag::{IfMatch, parse_twin_etag},
    twin::TwinPatchRequest,
};

use super::{Rest, call::Call, error::Refusal, reply, twin_document};

/// `GET /twins/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let twin = rest.hub.twins.get(&id).await?;
    let twin = twin.ok_or_else(|| Refusal::no_identity(&id));
    let twin = call.found(&rest.hub, twin).await?;
    Ok(reply::json(&twin_document::twin(twin)))
}

/// `PATCH /twins/{id}`: merges, and answers the whole twin. compat: TWIN-3, TWIN-5
pub(super) async fn patch(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let request: TwinPatchRequest = call.decode()?;
    let patch = checked(&request).map_err(|error| Refusal::invalid(error.to_string()))?;
    let twin = rest
        .hub
        .twins
        .patch(&id, patch, matches(&call.if_match()))
        .await;
    let twin = call.found(&rest.hub, twin).await?;
    Ok(reply::json(&twin_document::twin(twin)))
}

/// `PUT /twins/{id}`: overwrites the sections that the body has, and answers the whole twin.
/// compat: TWIN-3, TWIN-11
pub(super) async fn replace(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let request: TwinPatchRequest = call.decode()?;
    let replacement = TwinReplacement::new(whole(request.tags), whole(request.desired))
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let twin = rest
        .hub
        .twins
        .replace(&id, replacement, matches(&call.if_match()))
        .await;
    let twin = call.found(&rest.hub, twin).await?;
    Ok(reply::json(&twin_document::twin(twin)))
}

/// Checks a patch against everything but what it is merged into.
pub(super) fn checked(request: &TwinPatchRequest) -> Result<TwinPatch, TwinError> {
    let patch = TwinPatch::new(
        section(request.tags.as_ref()),
        section(request.desired.as_ref()),
    )?;
    patch.check_fits()?;
    Ok(patch)
}

/// The version that `If-Match` asks for; an etag that no twin ever had matches none.
pub(super) fn matches(if_match: &IfMatch) -> Option<Etag> {
    match if_match {
        IfMatch::Absent | IfMatch::Any => None,
        IfMatch::Tag(tag) => Some(Etag(parse_twin_etag(tag).unwrap_or(u64::MAX))),
    }
}

/// A section of a patch: left alone, emptied, or merged. compat: TWIN-5
pub(super) fn section(field: Field<&Object>) -> SectionPatch {
    match field {
        Field::Absent => SectionPatch::Absent,
        Field::Null => SectionPatch::Clear,
        Field::Value(members) => SectionPatch::Merge(members.clone()),
    }
}

/// A section of a replacement: left alone, emptied, or overwritten. compat: TWIN-11
fn whole(field: Field<Object>) -> Option<Object> {
    match field {
        Field::Absent => None,
        Field::Null => Some(Object::new()),
        Field::Value(members) => Some(members),
    }
}
