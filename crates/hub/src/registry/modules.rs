//! Modules of a device: the two that every edge device owns, and finding those there are.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Authentication, IdentitySettings, Registry, Status};
use crate::{
    ids::{DeviceId, ModuleId, Space},
    ports::{
        StoreError,
        store::{IdentityRow, IdentityScan, Keys, Twin},
    },
};

/// The modules of an edge device that are its own runtime. compat: REG-20
const EDGE_MODULES: [&str; 2] = ["$edgeAgent", "$edgeHub"];
/// Who `managedBy` says looks after them.
const EDGE_RUNTIME: &str = "iotEdge";

/// Whether a module of this name is part of an edge device, and goes only with it.
pub fn is_edge_module(module: &ModuleId) -> bool {
    EDGE_MODULES.contains(&module.as_str())
}

/// A module that comes with its device.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnModule {
    /// Its name.
    pub id: ModuleId,
    /// What it is made with.
    pub settings: IdentitySettings,
}

impl Registry {
    /// The modules an edge device gets, with keys of their own.
    pub(super) fn edge_modules(&self) -> Vec<OwnModule> {
        let module = |name: &str| OwnModule {
            id: ModuleId::parse(name).expect("the names are valid ids"),
            settings: IdentitySettings {
                status: Status::Enabled,
                status_reason: None,
                authentication: Authentication::Sas {
                    primary: self.new_key(),
                    secondary: self.new_key(),
                },
                edge: false,
                device_scope: None,
                parent_scopes: Vec::new(),
                managed_by: Some(EDGE_RUNTIME.to_owned()),
            },
        };
        EDGE_MODULES.map(module).into()
    }

    /// The modules of a device in order of creation, with their twins; none when there is no such device.
    pub async fn modules(&self, device: &DeviceId) -> Result<Vec<Twin>, StoreError> {
        let scan = IdentityScan {
            space: Space::Modules,
            after: None,
            devices: Some(vec![device.clone()]),
        };
        let found = Arc::new(Mutex::new(Vec::new()));
        let rows = found.clone();
        let visit = move |row: &dyn IdentityRow| {
            let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.push(row.twin(Keys::Shown));
            ControlFlow::Continue(())
        };
        self.store.identity_scan(scan, Box::new(visit)).await?;
        std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner))
            .into_iter()
            .collect()
    }
}
