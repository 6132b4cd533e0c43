//! One change of a bulk call, which is one line of a file of devices (`devices.txt`) too.

use fanfare_wire::registry::ImportMode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::registry::{Authentication, Capabilities, Device, IdentityStatus, Module};
use crate::words::{null_as_default, null_as_value};
use crate::{Etag, IdentityId};

/// One change of a bulk call: of a device or module, and of its twin with it. Made from a [`Device`] or [`Module`] it
/// creates or updates that; [`BulkItem::delete`] and [`BulkItem::twin`] are the other beginnings. A line of an export
/// reads as one.
///
/// ```
/// use fanfare_client::{BulkItem, Device, ImportMode};
/// use serde_json::json;
///
/// let create = BulkItem::from(Device::new("door-1"))
///     .mode(ImportMode::Create)
///     .tags(json!({"building": "43"}))
///     .desired(json!({"locked": true}));
/// let line = r#"{"id":"door-2","eTag":"MQ==","status":"enabled","tags":{"building":"44"}}"#;
/// let import: BulkItem = serde_json::from_str(line)?;
/// assert_eq!((create.import_mode, import.import_mode), (ImportMode::Create, ImportMode::CreateOrUpdate));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkItem {
    /// The device.
    pub id: String,
    /// One of its modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// What to do; [`ImportMode::CreateOrUpdate`] where a line says nothing.
    #[serde(default, deserialize_with = "null_as_default")]
    pub import_mode: ImportMode,
    /// The identity's version, for the modes that compare it; without one, those refuse what is there.
    #[serde(
        default,
        rename = "eTag",
        alias = "etag",
        skip_serializing_if = "Option::is_none"
    )]
    pub etag: Option<Etag>,
    /// Whether it may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IdentityStatus>,
    /// Why it has that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// How it proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// The twin's version, for [`ImportMode::UpdateTwinIfMatchETag`].
    #[serde(default, rename = "twinETag", skip_serializing_if = "Option::is_none")]
    pub twin_etag: Option<Etag>,
    /// Tags of the twin: the first ones of a new twin, merged into those of another. Null empties them.
    #[serde(
        default,
        deserialize_with = "null_as_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<Value>,
    /// Properties of the twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BulkProperties>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Who looks after a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The edge scope it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The twin's properties in a [`BulkItem`].
///
/// ```
/// use fanfare_client::BulkProperties;
///
/// let properties = BulkProperties { desired: Some(serde_json::json!({"locked": true})), ..BulkProperties::default() };
/// assert_eq!(serde_json::to_string(&properties)?, r#"{"desired":{"locked":true}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BulkProperties {
    /// Set by the service: the first ones of a new twin, merged into those of another. Null empties them.
    #[serde(
        default,
        deserialize_with = "null_as_value",
        skip_serializing_if = "Option::is_none"
    )]
    pub desired: Option<Value>,
    /// Set by the device: exports have it, hubs pass over it. compat: REG-45
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl BulkItem {
    /// An item that does `mode` to `id` and says nothing else.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, ImportMode};
    ///
    /// let item = BulkItem::new(("door-1", "lock"), ImportMode::Delete);
    /// assert_eq!(item.module_id.as_deref(), Some("lock"));
    /// ```
    pub fn new(id: impl Into<IdentityId>, mode: ImportMode) -> Self {
        let IdentityId {
            device_id,
            module_id,
        } = id.into();
        Self {
            id: device_id,
            module_id,
            import_mode: mode,
            etag: None,
            status: None,
            status_reason: None,
            authentication: None,
            twin_etag: None,
            tags: None,
            properties: None,
            capabilities: None,
            managed_by: None,
            device_scope: None,
            parent_scopes: None,
            other: Map::new(),
        }
    }

    /// Deletes a device or module; with an etag, only if that is its version still.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, Etag, ImportMode};
    ///
    /// let item = BulkItem::delete("door-1", Etag::new("MQ=="));
    /// assert_eq!(item.import_mode, ImportMode::DeleteIfMatchETag);
    /// ```
    pub fn delete(id: impl Into<IdentityId>, etag: impl Into<Option<Etag>>) -> Self {
        let etag = etag.into();
        let mode = match etag {
            None => ImportMode::Delete,
            Some(_) => ImportMode::DeleteIfMatchETag,
        };
        Self {
            etag,
            ..Self::new(id, mode)
        }
    }

    /// Merges into the twin alone; with an etag, only if that is the twin's version still. What to merge is added
    /// with [`Self::tags`] and [`Self::desired`].
    ///
    /// ```
    /// use fanfare_client::{BulkItem, ImportMode};
    ///
    /// let item = BulkItem::twin("door-1", None).tags(serde_json::json!({"ring": 2}));
    /// assert_eq!(item.import_mode, ImportMode::UpdateTwin);
    /// ```
    pub fn twin(id: impl Into<IdentityId>, etag: impl Into<Option<Etag>>) -> Self {
        let twin_etag = etag.into();
        let mode = match twin_etag {
            None => ImportMode::UpdateTwin,
            Some(_) => ImportMode::UpdateTwinIfMatchETag,
        };
        Self {
            twin_etag,
            ..Self::new(id, mode)
        }
    }

    /// The same item with another mode.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, Device, ImportMode};
    ///
    /// let item = BulkItem::from(Device::new("door-1")).mode(ImportMode::Update);
    /// assert_eq!(item.import_mode, ImportMode::Update);
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: ImportMode) -> Self {
        self.import_mode = mode;
        self
    }

    /// The same item with these tags, an object or null.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, Device};
    ///
    /// let item = BulkItem::from(Device::new("door-1")).tags(serde_json::json!({"building": "43"}));
    /// assert_eq!(item.tags.unwrap()["building"], "43");
    /// ```
    #[must_use]
    pub fn tags(mut self, tags: Value) -> Self {
        self.tags = Some(tags);
        self
    }

    /// The same item with these desired properties, an object or null.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, Device};
    ///
    /// let item = BulkItem::from(Device::new("door-1")).desired(serde_json::json!({"locked": true}));
    /// assert_eq!(item.properties.unwrap().desired.unwrap()["locked"], true);
    /// ```
    #[must_use]
    pub fn desired(mut self, desired: Value) -> Self {
        self.properties.get_or_insert_default().desired = Some(desired);
        self
    }

    /// What it is about.
    ///
    /// ```
    /// use fanfare_client::{BulkItem, IdentityId};
    ///
    /// assert_eq!(BulkItem::delete("door-1", None).identity(), IdentityId::device("door-1"));
    /// ```
    #[must_use]
    pub fn identity(&self) -> IdentityId {
        IdentityId {
            device_id: self.id.clone(),
            module_id: self.module_id.clone(),
        }
    }

    /// Whether doing it twice is the same as doing it once: it neither creates, deletes nor compares.
    pub(super) fn may_be_repeated(&self) -> bool {
        matches!(
            self.import_mode,
            ImportMode::CreateOrUpdate | ImportMode::Update | ImportMode::UpdateTwin
        )
    }
}

impl From<Device> for BulkItem {
    fn from(device: Device) -> Self {
        let capabilities = (!device.capabilities.is_none()).then_some(device.capabilities);
        Self {
            etag: (!device.etag.is_empty()).then_some(device.etag),
            status: Some(device.status),
            status_reason: device.status_reason,
            authentication: device.authentication,
            capabilities,
            device_scope: device.device_scope,
            parent_scopes: device.parent_scopes,
            other: device.other,
            ..Self::new(device.device_id, ImportMode::CreateOrUpdate)
        }
    }
}

impl From<Module> for BulkItem {
    fn from(module: Module) -> Self {
        Self {
            etag: (!module.etag.is_empty()).then_some(module.etag),
            authentication: module.authentication,
            managed_by: module.managed_by,
            other: module.other,
            ..Self::new(
                (module.device_id, module.module_id),
                ImportMode::CreateOrUpdate,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_has_the_contracts_members() {
        let item = BulkItem::from(Device::new("d"))
            .mode(ImportMode::UpdateIfMatchETag)
            .tags(json!({"a": null}))
            .desired(Value::Null);
        let item = BulkItem {
            etag: Some("MQ==".into()),
            ..item
        };
        let want = json!({
            "id": "d", "importMode": "updateIfMatchETag", "eTag": "MQ==", "status": "enabled",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
            "tags": {"a": null}, "properties": {"desired": null},
        });
        assert_eq!(serde_json::to_value(item).unwrap(), want);
        let gone = serde_json::to_value(BulkItem::delete(("d", "m"), None)).unwrap();
        assert_eq!(
            gone,
            json!({"id": "d", "moduleId": "m", "importMode": "delete"})
        );
    }

    #[test]
    fn a_line_of_an_export_survives() {
        let line = json!({
            "id": "d", "eTag": "MQ==", "importMode": "Update", "status": "disabled", "twinETag": "AAAAAAAAAAE=",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "a", "secondaryKey": "b"}},
            "tags": {"floor": 3}, "capabilities": {"iotEdge": false}, "note": [1],
            "properties": {"desired": {"$version": 1}, "reported": {"$version": 4}, "more": true},
        });
        let item: BulkItem = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(item.import_mode, ImportMode::Update);
        let mut kept = line;
        kept["importMode"] = json!("update");
        assert_eq!(serde_json::to_value(item).unwrap(), kept);
        let empties: BulkItem = serde_json::from_value(
            json!({"id": "d", "tags": null, "importMode": null, "etag": "MQ=="}),
        )
        .unwrap();
        assert_eq!(empties.tags, Some(Value::Null));
        assert_eq!(empties.etag, Some("MQ==".into()));
    }
}
