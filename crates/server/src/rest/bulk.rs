//! `POST /devices`: up to a hundred changes of the registry in one call, each failing alone. Lines of an
//! import say the same things, and are [`planned`] here too.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{extract::State, http::StatusCode, response::Response};
use fanfare_hub::{
    bulk::{BulkChange, BulkFailure},
    ids::{DeviceId, Etag, IdentityId, ModuleId},
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
use serde_json::json;

use super::{Rest, call::Call, error::Refusal, registry, reply, twins};
use crate::audit::Noted;

/// Answers 200 when all went well, 400 with the failures otherwise, in the order of the items.
/// compat: REG-10, REG-47
pub(super) async fn change(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let items: Vec<BulkItem> = call.decode()?;
    check_count(items.len())?;
    call.note(|noted| note(noted, &items));
    let times = occurrences(&items);
    let mut changes = Vec::with_capacity(items.len());
    let mut refused = Vec::with_capacity(items.len());
    for item in &items {
        let planned = match times[&name(item)] {
            1 => planned(item),
            _ => Err(named_twice(item)),
        };
        match planned {
            Ok(change) => {
                changes.push(change);
                refused.push(None);
            }
            Err(refusal) => refused.push(Some(refusal)),
        }
    }
    let mut outcomes = rest.hub.change_all(changes).await?.into_iter();
    let mut errors = Vec::new();
    for (item, refused) in items.iter().zip(refused) {
        let refusal = match refused {
            Some(refusal) => Some(refusal),
            None => {
                let outcome = outcomes.next().expect("one outcome for each change");
                outcome.err().map(Refusal::from)
            }
        };
        errors.extend(refusal.map(|refusal| failure(item, &refusal)));
    }
    if !errors.is_empty() {
        call.note(|noted| noted.detail("failed", errors.len()));
    }
    let status = if errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Ok(reply::json_with(status, &BulkResult::new(errors)))
}

/// What is changed, and in which ways, for the audit log.
fn note(noted: &mut Noted, items: &[BulkItem]) {
    let mut modes: BTreeMap<&str, usize> = BTreeMap::new();
    for item in items {
        *modes.entry(item.import_mode.as_str()).or_default() += 1;
    }
    noted.targets("devices", items.iter().map(target));
    noted.detail("modes", json!(modes));
}

fn target(item: &BulkItem) -> String {
    match &item.module_id {
        None => item.id.clone(),
        Some(module) => format!("{}/{module}", item.id),
    }
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

impl From<BulkFailure> for Refusal {
    fn from(failure: BulkFailure) -> Self {
        match failure {
            BulkFailure::Registry(error) => error.into(),
            BulkFailure::Twin(error) => error.into(),
        }
    }
}

/// What one item asks for. Nothing is looked up: existence and etags are decided where it is written.
pub(super) fn planned(item: &BulkItem) -> Result<BulkChange, Refusal> {
    let id = identity(item)?;
    let precondition = match item.import_mode {
        ImportMode::Create => Precondition::Absent,
        ImportMode::Update | ImportMode::Delete => Precondition::Exists,
        ImportMode::CreateOrUpdate => Precondition::Any,
        ImportMode::UpdateIfMatchETag | ImportMode::DeleteIfMatchETag => {
            match item.identity_etag() {
                None => return Err(Refusal::missing("eTag is missing")),
                Some("*") => Precondition::Exists,
                Some(text) => Precondition::Matches(registry::etag(text)),
            }
        }
        // No etag matches none that there is. compat: REG-46
        ImportMode::CreateOrUpdateIfMatchETag => match item.identity_etag() {
            None => Precondition::AbsentOrMatches(Etag(u64::MAX)),
            Some("*") => Precondition::Any,
            Some(text) => Precondition::AbsentOrMatches(registry::etag(text)),
        },
        ImportMode::UpdateTwin | ImportMode::UpdateTwinIfMatchETag => return twin(id, item),
    };
    let change = match item.import_mode {
        ImportMode::Delete | ImportMode::DeleteIfMatchETag => {
            RegistryChange::Delete { id, precondition }
        }
        _ => RegistryChange::Put(Box::new(request(id, precondition, item)?)),
    };
    Ok(BulkChange::Registry(Box::new(change)))
}

fn identity(item: &BulkItem) -> Result<IdentityId, Refusal> {
    let invalid = |error: fanfare_hub::ids::IdError| Refusal::invalid(error.to_string());
    let device = DeviceId::parse(&item.id).map_err(invalid)?;
    let module = item.module_id.as_deref().map(ModuleId::parse);
    let module = module.transpose().map_err(invalid)?;
    Ok(IdentityId { device, module })
}

fn twin(id: IdentityId, item: &BulkItem) -> Result<BulkChange, Refusal> {
    let matches = match (item.import_mode, item.twin_etag.as_deref()) {
        (ImportMode::UpdateTwinIfMatchETag, None) => {
            return Err(Refusal::missing("twinETag is missing"));
        }
        (ImportMode::UpdateTwinIfMatchETag, etag) => twins::matches(&IfMatch::parse(etag)),
        _ => None,
    };
    let patch = patch(item).map_err(|error| Refusal::invalid(error.to_string()))?;
    Ok(BulkChange::Twin {
        id,
        patch: Box::new(patch.unwrap_or_default()),
        matches,
    })
}

fn request(
    id: IdentityId,
    precondition: Precondition,
    item: &BulkItem,
) -> Result<IdentityRequest, Refusal> {
    Ok(IdentityRequest {
        id,
        precondition,
        status: item.status.map(registry::status),
        status_reason: item.status_reason.clone(),
        authentication: registry::credentials(item.authentication.as_ref()),
        edge: item.capabilities.unwrap_or_default().iot_edge,
        device_scope: item.device_scope.clone(),
        parent_scopes: item.parent_scopes.clone().unwrap_or_default(),
        managed_by: item.managed_by.clone(),
        twin: patch(item).map_err(|error| Refusal::invalid(error.to_string()))?,
    })
}

/// The twin's part of an item; reported properties are the device's, so they are left out.
/// compat: REG-45
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

type Name<'a> = (&'a str, Option<&'a str>);

fn name(item: &BulkItem) -> Name<'_> {
    (&item.id, item.module_id.as_deref())
}

/// How often each identity is named. One that is named twice fails each time: nobody can say which change
/// was meant to be the last.
fn occurrences(items: &[BulkItem]) -> HashMap<Name<'_>, usize> {
    let mut times = HashMap::new();
    for item in items {
        *times.entry(name(item)).or_insert(0) += 1;
    }
    times
}

fn named_twice(item: &BulkItem) -> Refusal {
    let text = match &item.module_id {
        None => format!("device {} is there more than once", item.id),
        Some(module) => format!(
            "module {module} of device {} is there more than once",
            item.id
        ),
    };
    Refusal::new(ErrorCode::DeviceDefinedMultipleTimes, text)
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
