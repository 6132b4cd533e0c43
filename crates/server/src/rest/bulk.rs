//! `POST /devices`: up to a hundred changes of the registry in one call, each failing alone.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use fanfare_hub::{
    ids::{DeviceId, IdentityId},
    limits,
    registry::{IdentityRequest, Precondition, RegistryChange},
    twin::document::{TwinError, TwinPatch},
};
use fanfare_wire::{
    Field,
    error::ErrorCode,
    etag::IfMatch,
    registry::{BulkError, BulkItem, BulkResult, ImportMode},
};

use super::{Rest, call::Call, error::Refusal, registry, reply, twins};

/// Answers 200 when all went well, 400 with the failures otherwise. compat: REG-10
pub(super) async fn change(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let items: Vec<BulkItem> = call.decode()?;
    check_count(items.len())?;
    let mut errors = Vec::new();
    let (mut changes, mut changed, mut patches) = (Vec::new(), Vec::new(), Vec::new());
    let times = occurrences(&items);
    for item in &items {
        let planned = if times[item.id.as_str()] > 1 {
            let text = format!("device {} is there more than once", item.id);
            Err(Refusal::new(ErrorCode::DeviceDefinedMultipleTimes, text))
        } else {
            plan(&rest, item).await
        };
        match planned {
            Ok(Plan::Registry(change)) => {
                changes.push(*change);
                changed.push(item);
            }
            Ok(Plan::Twin(id, patch)) => patches.push((item, id, *patch)),
            Err(refusal) => errors.push(failure(item, &refusal)),
        }
    }
    let results = rest.hub.registry.change(changes).await?;
    for (item, result) in changed.into_iter().zip(results) {
        if let Err(error) = result {
            errors.push(failure(item, &error.into()));
        }
    }
    for (item, id, patch) in patches {
        let matches = twins::matches(&twin_etag(item));
        if let Err(error) = rest.hub.twins.patch(&id, patch, matches).await {
            errors.push(failure(item, &error.into()));
        }
    }
    let status = if errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Ok(reply::json_with(status, &BulkResult::new(errors)))
}

/// Refuses a call for no device or for too many.
pub(super) fn check_count(devices: usize) -> Result<(), Refusal> {
    if devices == 0 {
        return Err(Refusal::invalid("the list holds no device"));
    }
    if devices > limits::BULK_ITEMS_MAX {
        let max = limits::BULK_ITEMS_MAX;
        let text = format!("{devices} devices in one call, at most {max} are allowed");
        return Err(Refusal::new(ErrorCode::TooManyDevices, text));
    }
    Ok(())
}

/// What one item asks for.
enum Plan {
    Registry(Box<RegistryChange>),
    Twin(IdentityId, Box<TwinPatch>),
}

async fn plan(rest: &Rest, item: &BulkItem) -> Result<Plan, Refusal> {
    if item.module_id.is_some() {
        let text = "modules come with a later release";
        return Err(Refusal::new(ErrorCode::InvalidOperation, text));
    }
    let id = DeviceId::parse(&item.id).map(IdentityId::device);
    let id = id.map_err(|error| Refusal::invalid(error.to_string()))?;
    let tagged = || match item.identity_etag() {
        None => Err(Refusal::missing("eTag is missing")),
        Some("*") => Ok(Precondition::Exists),
        Some(text) => Ok(Precondition::Matches(registry::etag(text))),
    };
    let precondition = match item.import_mode {
        ImportMode::Create => Precondition::Absent,
        ImportMode::Update | ImportMode::Delete => Precondition::Exists,
        ImportMode::CreateOrUpdate => Precondition::Any,
        ImportMode::UpdateIfMatchETag | ImportMode::DeleteIfMatchETag => tagged()?,
        ImportMode::CreateOrUpdateIfMatchETag => match rest.hub.registry.get(&id).await? {
            None => Precondition::Absent,
            Some(_) => tagged()?,
        },
        ImportMode::UpdateTwin | ImportMode::UpdateTwinIfMatchETag => {
            let patch = patch(item).map_err(|error| Refusal::invalid(error.to_string()))?;
            if item.import_mode == ImportMode::UpdateTwinIfMatchETag && item.twin_etag.is_none() {
                return Err(Refusal::missing("twinETag is missing"));
            }
            return Ok(Plan::Twin(id, Box::new(patch.unwrap_or_default())));
        }
    };
    if matches!(
        item.import_mode,
        ImportMode::Delete | ImportMode::DeleteIfMatchETag
    ) {
        return Ok(Plan::Registry(Box::new(RegistryChange::Delete {
            id,
            precondition,
        })));
    }
    let request = IdentityRequest {
        id,
        precondition,
        status: item.status.map(registry::status),
        status_reason: item.status_reason.clone(),
        authentication: registry::credentials(item.authentication.as_ref()),
        edge: item.capabilities.unwrap_or_default().iot_edge,
        device_scope: item.device_scope.clone(),
        parent_scopes: item.parent_scopes.clone().unwrap_or_default(),
        twin: patch(item).map_err(|error| Refusal::invalid(error.to_string()))?,
    };
    Ok(Plan::Registry(Box::new(RegistryChange::Put(Box::new(
        request,
    )))))
}

/// The twin's part of an item; reported properties are the device's, so they are left out.
fn patch(item: &BulkItem) -> Result<Option<TwinPatch>, TwinError> {
    let desired = match &item.properties {
        Some(properties) => twins::section(properties.desired.as_ref()),
        None => twins::section(Field::Absent),
    };
    let tags = twins::section(item.tags.as_ref());
    if tags.is_absent() && desired.is_absent() {
        return Ok(None);
    }
    TwinPatch::new(tags, desired).map(Some)
}

fn twin_etag(item: &BulkItem) -> IfMatch {
    match item.import_mode {
        ImportMode::UpdateTwinIfMatchETag => IfMatch::parse(item.twin_etag.as_deref()),
        _ => IfMatch::Any,
    }
}

/// How often each device is named. An id that is named twice fails each time: nobody can say which
/// change was meant to be the last.
fn occurrences(items: &[BulkItem]) -> HashMap<&str, usize> {
    let mut times = HashMap::new();
    for item in items {
        *times.entry(item.id.as_str()).or_insert(0) += 1;
    }
    times
}

fn failure(item: &BulkItem, refusal: &Refusal) -> BulkError {
    BulkError {
        device_id: item.id.clone(),
        module_id: item.module_id.clone(),
        error_code: refusal.code().name().to_owned(),
        error_status: refusal.text().to_owned(),
        operation: Some(item.import_mode.as_str().to_owned()),
    }
}
