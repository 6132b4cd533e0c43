//! Twins: show and patch. The documents are made in [`super::twin_document`].

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{
    ids::Etag,
    twin::document::{Object, SectionPatch, TwinError, TwinPatch},
};
use fanfare_wire::{
    Field,
    error::ErrorCode,
    etag::{IfMatch, parse_twin_etag},
    twin::TwinPatchRequest,
};

use super::{Rest, call::Call, error::Refusal, reply, twin_document};

/// `GET /twins/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    let twin = rest.hub.twins.get(&id).await?;
    let twin = twin.ok_or_else(|| Refusal::no_device(id.device.as_str()))?;
    Ok(reply::json(&twin_document::twin(twin)))
}

/// `PATCH /twins/{id}`: merges, and answers the whole twin. compat: TWIN-3, TWIN-5
pub(super) async fn patch(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    let request: TwinPatchRequest = call.decode()?;
    let patch = checked(&request).map_err(|error| Refusal::invalid(error.to_string()))?;
    let twin = rest
        .hub
        .twins
        .patch(&id, patch, matches(&call.if_match()))
        .await?;
    Ok(reply::json(&twin_document::twin(twin)))
}

/// `PUT /twins/{id}`.
pub(super) async fn replace(_: Call) -> Refusal {
    let text = "replacing a whole twin comes with a later release; PATCH merges, null removes";
    Refusal::new(ErrorCode::GenericMethodNotAllowed, text)
}

/// Checks a patch against everything but the size of the merged twin.
pub(super) fn checked(request: &TwinPatchRequest) -> Result<TwinPatch, TwinError> {
    TwinPatch::new(
        section(request.tags.as_ref()),
        section(request.desired.as_ref()),
    )
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
