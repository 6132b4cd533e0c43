//! Module identities: the document, and the calls for one of them or for all on a device.

use fanfare_wire::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Authentication, ConnectionState, RegistryClient};
use crate::identity::IdentityId;
use crate::transport::{Method, segment};
use crate::words::null_as_default;
use crate::{Error, Etag};

/// A module identity on a device, as the hub shows it and as a change asks for it. Members that only the hub sets are
/// not sent; members this library does not name are in `other`, and are.
///
/// ```
/// let lock = fanfare_client::Module::new("door-1", "lock").managed_by("facility");
/// assert_eq!((&*lock.device_id, &*lock.module_id), ("door-1", "lock"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Module {
    /// The module.
    pub module_id: String,
    /// The device it is on.
    pub device_id: String,
    /// Who looks after it, as its makers call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Made by the hub; another one after deletion and creation of the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    /// The identity's version; a twin has one of its own.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Etag::is_empty"
    )]
    pub etag: Etag,
    /// Whether it is connected now. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<ConnectionState>,
    /// When it last connected or disconnected. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state_updated_time: Option<Timestamp>,
    /// When it last said something. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Timestamp>,
    /// Messages waiting for it. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_message_count: Option<u64>,
    /// How it proves who it is; `None` in a change leaves its credentials as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Module {
    /// A module with two keys of the hub's making.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Module::new("door-1", "lock").module_id, "lock");
    /// ```
    pub fn new(device_id: impl Into<String>, module_id: impl Into<String>) -> Self {
        Self {
            module_id: module_id.into(),
            device_id: device_id.into(),
            managed_by: None,
            generation_id: None,
            etag: Etag::default(),
            connection_state: None,
            connection_state_updated_time: None,
            last_activity_time: None,
            cloud_to_device_message_count: None,
            authentication: Some(Authentication::generated_keys()),
            other: Map::new(),
        }
    }

    /// The same module with these credentials.
    ///
    /// ```
    /// use fanfare_client::{Authentication, Module};
    ///
    /// let lock = Module::new("door-1", "lock").authentication(Authentication::none());
    /// assert_eq!(lock.primary_key(), None);
    /// ```
    #[must_use]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// The same module looked after by `managed_by`.
    ///
    /// ```
    /// let lock = fanfare_client::Module::new("door-1", "lock").managed_by("facility");
    /// assert_eq!(lock.managed_by.as_deref(), Some("facility"));
    /// ```
    #[must_use]
    pub fn managed_by(mut self, managed_by: impl Into<String>) -> Self {
        self.managed_by = Some(managed_by.into());
        self
    }

    /// Its primary key; `None` for a module without one, or whose keys are still to be made.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Module::new("door-1", "lock").primary_key(), None);
    /// ```
    #[must_use]
    pub fn primary_key(&self) -> Option<&Secret> {
        self.authentication.as_ref()?.symmetric_key.made_primary()
    }

    fn path(&self) -> String {
        path(&self.device_id, &self.module_id)
    }
}

fn path(device_id: &str, module_id: &str) -> String {
    IdentityId::module(device_id, module_id).path("devices")
}

impl RegistryClient {
    /// Creates a module on a device and returns it as the hub has it, keys included.
    ///
    /// # Errors
    /// `ModuleAlreadyExistsOnDevice` (409), `DeviceNotFound` (404), `TooManyModulesOnDevice` (413), `ArgumentInvalid`,
    /// or no reply. It is not repeated once it may have been done; see [`Error::may_have_been_done`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::Module;
    /// let lock = registry.create_module(&Module::new("door-1", "lock")).await?;
    /// assert!(lock.primary_key().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_module(&self, module: &Module) -> Result<Module, Error> {
        self.put(module.path(), module, None).await
    }

    /// Changes a module to what is given here and returns it. With an etag, only if that is its version still; with
    /// `None`, whatever version it has.
    ///
    /// # Errors
    /// `ModuleNotFound` or `DeviceNotFound` (404), `PreconditionFailed` (412) for another version, `ArgumentInvalid`,
    /// or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let lock = registry.get_module("door-1", "lock").await?.managed_by("facility");
    /// registry.update_module(&lock, lock.etag.clone()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_module(
        &self,
        module: &Module,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Module, Error> {
        let etag = etag.into().unwrap_or_else(Etag::any);
        self.put(module.path(), module, Some(etag)).await
    }

    /// A module.
    ///
    /// # Errors
    /// `ModuleNotFound` or `DeviceNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// println!("{:?}", registry.get_module("door-1", "lock").await?.connection_state);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_module(&self, device_id: &str, module_id: &str) -> Result<Module, Error> {
        let call = self.hub.call(Method::GET, path(device_id, module_id));
        call.read().await
    }

    /// All modules on a device, in order of their creation.
    ///
    /// # Errors
    /// `DeviceNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// for module in registry.list_modules("door-1").await? {
    ///     println!("{}", module.module_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_modules(&self, device_id: &str) -> Result<Vec<Module>, Error> {
        let path = format!("/devices/{}/modules", segment(device_id));
        self.hub.call(Method::GET, path).read().await
    }

    /// Deletes a module with its twin. With an etag, only if that is its version still; with `None`, whatever version
    /// it has.
    ///
    /// # Errors
    /// `ModuleNotFound` or `DeviceNotFound` (404), `PreconditionFailed` (412) for another version, `InvalidOperation`
    /// for the modules every edge device owns, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// registry.delete_module("door-1", "lock", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_module(
        &self,
        device_id: &str,
        module_id: &str,
        etag: impl Into<Option<Etag>>,
    ) -> Result<(), Error> {
        self.hub
            .delete(path(device_id, module_id), etag.into())
            .await
    }
}
