//! Device and module identities one at a time, and statistics.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{
    ids::{Etag, IdentityId, Space},
    registry::{
        AuthenticationRequest, Identity, IdentityRequest, Precondition, Status, SymmetricKey,
    },
    time::Timestamp,
    twin::document::TwinPatch,
};
use fanfare_wire::{
    etag::{IfMatch, parse_identity_etag},
    registry::{
        AuthenticationRequest as Credentials, AuthenticationType, DeviceIdentity,
        DeviceIdentityRequest, DeviceStatistics, IdentityStatus, ModuleIdentityRequest,
        PurgeResult, ServiceStatistics,
    },
};
use serde_json::json;

use super::{Rest, call::Call, error::Refusal, reply, twin_document};

/// `PUT /devices/{id}`: creates without `If-Match`, changes with it. compat: REG-3
pub(super) async fn put(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.new_device()?;
    let request: DeviceIdentityRequest = call.decode()?;
    agree("deviceId", request.device_id.as_deref(), id.device.as_str())?;
    call.note(|noted| {
        if let Some(status) = request.status {
            noted.detail("status", json!(status));
        }
    });
    let identity = rest
        .hub
        .registry
        .put(wanted(id, put_precondition(&call), request))
        .await?;
    Ok(reply::json(&shown(&rest, identity, Timestamp::NEVER)))
}

/// `GET /devices/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    // The twin's read also knows when the device was last heard before this start.
    let view = rest.hub.twins.get(&id).await?;
    let view = view.ok_or_else(|| Refusal::no_device(id.device.as_str()))?;
    let last_activity = view.twin.last_activity;
    Ok(reply::json(&twin_document::identity(
        view.twin.identity,
        &view.presence,
        last_activity,
    )))
}

/// `DELETE /devices/{id}`.
pub(super) async fn delete(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    rest.hub
        .registry
        .delete(id, existing(&call.if_match()))
        .await?;
    Ok(reply::nothing())
}

/// `GET /devices/{id}/modules`: all of them, in order of creation. compat: REG-21
pub(super) async fn modules(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let id = call.device()?;
    let modules = rest.hub.registry.modules(&id.device).await?;
    if modules.is_empty() {
        let device = rest.hub.registry.get(&id).await?;
        device.ok_or_else(|| Refusal::no_identity(&id))?;
    }
    let shown: Vec<_> = modules
        .into_iter()
        .map(|twin| {
            let presence = rest.hub.presence.view(twin.identity.key);
            twin_document::module(twin.identity, &presence, twin.last_activity)
        })
        .collect();
    Ok(reply::json(&shown))
}

/// `GET /devices/{id}/modules/{m}`.
pub(super) async fn show_module(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let view = rest.hub.twins.get(&id).await?;
    let view = view.ok_or_else(|| Refusal::no_identity(&id));
    let view = call.found(&rest.hub, view).await?;
    let last_activity = view.twin.last_activity;
    let shown = twin_document::module(view.twin.identity, &view.presence, last_activity);
    Ok(reply::json(&shown))
}

/// `PUT /devices/{id}/modules/{m}`: creates without `If-Match`, changes with it, and answers 200 to both.
/// compat: REG-21
pub(super) async fn put_module(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let id = call.new_module()?;
    let request: ModuleIdentityRequest = call.decode()?;
    agree("deviceId", request.device_id.as_deref(), id.device.as_str())?;
    let module = id.module.as_ref().map_or("", |module| module.as_str());
    agree("moduleId", request.module_id.as_deref(), module)?;
    let identity = rest
        .hub
        .registry
        .put(IdentityRequest {
            id,
            precondition: put_precondition(&call),
            status: None,
            status_reason: None,
            authentication: credentials(request.authentication.as_ref()),
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: request.managed_by,
            twin: None,
        })
        .await;
    let identity = call.found(&rest.hub, identity).await?;
    let presence = rest.hub.presence.view(identity.key);
    let shown = twin_document::module(identity, &presence, Timestamp::NEVER);
    Ok(reply::json(&shown))
}

/// `DELETE /devices/{id}/modules/{m}`.
pub(super) async fn delete_module(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let deleted = rest
        .hub
        .registry
        .delete(id, existing(&call.if_match()))
        .await;
    call.found(&rest.hub, deleted).await?;
    Ok(reply::nothing())
}

/// `GET /devices`: the first `top` devices, at most 1,000. compat: REG-13
pub(super) async fn list(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let top = call.parameter("top").and_then(|text| text.parse().ok());
    let top = top
        .filter(|top| (1..=LIST_MAX).contains(top))
        .unwrap_or(LIST_MAX);
    let identities = rest.hub.registry.list(top).await?;
    let shown: Vec<_> = identities
        .into_iter()
        .map(|(identity, last_activity)| shown(&rest, identity, last_activity))
        .collect();
    Ok(reply::json(&shown))
}

/// `GET /statistics/devices`. compat: REG-8
pub(super) async fn statistics(
    State(rest): State<Arc<Rest>>,
    _: Call,
) -> Result<Response, Refusal> {
    let count = rest.hub.registry.count().await?;
    Ok(reply::json(&DeviceStatistics {
        total_device_count: count.total,
        enabled_device_count: count.enabled,
        disabled_device_count: count.total.saturating_sub(count.enabled),
    }))
}

/// `GET /statistics/service`. compat: REG-8
pub(super) async fn connections(State(rest): State<Arc<Rest>>, _: Call) -> Response {
    let connected = rest.hub.presence.connected(Space::Devices).len();
    reply::json(&ServiceStatistics {
        connected_device_count: connected,
    })
}

/// `DELETE /devices/{id}/commands`: drops the messages that wait for a device. Always none: the
/// cloud-to-device queue comes with a later release, so nothing can wait yet. compat: REG-15
pub(super) async fn purge(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    let device = rest.hub.registry.get(&id).await?;
    let device = device.ok_or_else(|| Refusal::no_device(id.device.as_str()))?;
    Ok(reply::json(&PurgeResult {
        total_messages_purged: 0,
        device_id: device.id.device.as_str().to_owned(),
        module_id: None,
    }))
}

/// Refuses a name in the body that is not the one in the path.
fn agree(field: &str, named: Option<&str>, path: &str) -> Result<(), Refusal> {
    match named.filter(|named| *named != path) {
        Some(other) => Err(Refusal::invalid(format!(
            "{field} is {other} but the path names {path}"
        ))),
        None => Ok(()),
    }
}

/// A put creates unless it says what it wants to change. compat: REG-3
fn put_precondition(call: &Call) -> Precondition {
    match call.if_match() {
        IfMatch::Absent => Precondition::Absent,
        other => existing(&other),
    }
}

const LIST_MAX: u32 = fanfare_hub::limits::REGISTRY_LIST_MAX;

/// What must hold of an identity that is changed or removed; an etag that none ever had matches none.
pub(super) fn existing(if_match: &IfMatch) -> Precondition {
    match if_match {
        IfMatch::Absent | IfMatch::Any => Precondition::Exists,
        IfMatch::Tag(tag) => Precondition::Matches(etag(tag)),
    }
}

/// An identity's etag as the hub counts it.
pub(super) fn etag(text: &str) -> Etag {
    Etag(parse_identity_etag(text).unwrap_or(u64::MAX))
}

fn wanted(
    id: IdentityId,
    precondition: Precondition,
    request: DeviceIdentityRequest,
) -> IdentityRequest {
    IdentityRequest {
        id,
        precondition,
        status: request.status.map(status),
        status_reason: request.status_reason,
        authentication: credentials(request.authentication.as_ref()),
        edge: request.capabilities.unwrap_or_default().iot_edge,
        device_scope: request.device_scope,
        parent_scopes: request.parent_scopes.unwrap_or_default(),
        managed_by: None,
        twin: None::<TwinPatch>,
    }
}

/// The status asked for.
pub(super) fn status(status: IdentityStatus) -> Status {
    match status {
        IdentityStatus::Enabled => Status::Enabled,
        IdentityStatus::Disabled => Status::Disabled,
    }
}

/// The credentials asked for; none are a pair of new keys. compat: REG-1, REG-2
pub(super) fn credentials(request: Option<&Credentials>) -> AuthenticationRequest {
    let Some(request) = request else {
        return AuthenticationRequest::Sas {
            primary: None,
            secondary: None,
        };
    };
    match request.kind() {
        AuthenticationType::Sas => {
            let (primary, secondary) = request.keys();
            let given =
                |key: Option<&fanfare_wire::Secret>| key.map(|key| SymmetricKey::new(key.expose()));
            AuthenticationRequest::Sas {
                primary: given(primary),
                secondary: given(secondary),
            }
        }
        AuthenticationType::SelfSigned => {
            let both = request.x509_thumbprint.clone().unwrap_or_default();
            let given = |text: Option<String>| text.filter(|text| !text.is_empty());
            AuthenticationRequest::SelfSigned {
                primary: given(both.primary_thumbprint),
                secondary: given(both.secondary_thumbprint),
            }
        }
        AuthenticationType::CertificateAuthority => AuthenticationRequest::CertificateAuthority,
        AuthenticationType::None => AuthenticationRequest::None,
    }
}

fn shown(rest: &Rest, identity: Identity, last_activity: Timestamp) -> DeviceIdentity {
    let presence = rest.hub.presence.view(identity.key);
    twin_document::identity(identity, &presence, last_activity)
}
