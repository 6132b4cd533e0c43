//! `POST /devices/keys/regenerate`: new keys for up to a hundred devices, each failing alone.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, response::Response};
use fanfare_hub::{
    ids::{DeviceId, IdentityId, ModuleId},
    registry::KeyRenewal,
};
use fanfare_wire::{
    error::ErrorCode,
    registry::{
        BulkError, PolicyKey, RegenerateKeysDevice, RegenerateKeysRequest, RegenerateKeysResult,
    },
};
use serde_json::json;

use super::{Rest, bulk, call::Call, error::Refusal, reply};

/// Answers 200 with the devices whose key did not change. compat: REG-12, REG-14
pub(super) async fn regenerate(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let request: RegenerateKeysRequest = call.decode()?;
    bulk::check_count(request.devices.len())?;
    call.note(|noted| {
        noted.targets("devices", request.devices.iter().map(target));
        noted.detail("key", json!(request.policy_key));
    });
    let times = occurrences(&request.devices);
    let mut errors = Vec::new();
    let (mut ids, mut named) = (Vec::new(), Vec::new());
    for item in &request.devices {
        match device(item, times[&name(item)]) {
            Ok(id) => {
                ids.push(id);
                named.push(item);
            }
            Err(refusal) => errors.push(failure(item, &refusal)),
        }
    }
    let renewal = match request.policy_key {
        PolicyKey::PrimaryKey => KeyRenewal::Primary,
        PolicyKey::SecondaryKey => KeyRenewal::Secondary,
        PolicyKey::Swap => KeyRenewal::Swap,
    };
    let results = rest.hub.registry.renew_keys(&ids, renewal).await?;
    for (item, result) in named.into_iter().zip(results) {
        if let Err(error) = result {
            errors.push(failure(item, &error.into()));
        }
    }
    if !errors.is_empty() {
        call.note(|noted| noted.detail("failed", errors.len()));
    }
    Ok(reply::json(&RegenerateKeysResult {
        policy_key: request.policy_key,
        errors,
    }))
}

/// Whose keys, for the audit log.
fn target(item: &RegenerateKeysDevice) -> String {
    match &item.module_id {
        None => item.id.clone(),
        Some(module) => format!("{}/{module}", item.id),
    }
}

/// The device or module that an item names `times` times over. Text that none can have names none.
fn device(item: &RegenerateKeysDevice, times: usize) -> Result<IdentityId, Refusal> {
    if times > 1 {
        // Two swaps are none: nobody can say whether that was meant.
        let text = format!("device {} is there more than once", item.id);
        return Err(Refusal::new(ErrorCode::DeviceDefinedMultipleTimes, text));
    }
    let device = DeviceId::parse(&item.id).map_err(|_| Refusal::no_device(&item.id))?;
    let module = item
        .module_id
        .as_deref()
        .map(|text| ModuleId::parse(text).map_err(|_| Refusal::no_module(&item.id, text)));
    Ok(IdentityId {
        device,
        module: module.transpose()?,
    })
}

fn occurrences(items: &[RegenerateKeysDevice]) -> HashMap<(&str, Option<&str>), usize> {
    let mut times = HashMap::new();
    for item in items {
        *times.entry(name(item)).or_insert(0) += 1;
    }
    times
}

fn name(item: &RegenerateKeysDevice) -> (&str, Option<&str>) {
    (&item.id, item.module_id.as_deref())
}

fn failure(item: &RegenerateKeysDevice, refusal: &Refusal) -> BulkError {
    BulkError {
        device_id: item.id.clone(),
        module_id: item.module_id.clone(),
        error_code: refusal.code().name().to_owned(),
        error_status: refusal.text().to_owned(),
        operation: None,
    }
}
