//! Device identities: reading one, creating many.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::transport::{IfMatch, accepted, segment};
use crate::{Error, HubClient};

/// Most devices in one bulk call; the SDKs refuse to send more.
pub(crate) const BULK_DEVICES_MAX: usize = 100;

/// A device to create.
#[derive(Clone)]
pub struct NewDevice {
    /// Device id.
    pub id: String,
    /// Primary key, base64; `None` lets the hub make both keys.
    pub primary_key: Option<String>,
    /// Tags of its twin.
    pub tags: Value,
}

impl NewDevice {
    /// A device with keys of the hub's making and no tags.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            primary_key: None,
            tags: Value::Null,
        }
    }

    /// The item of a bulk call; an empty key means that the hub makes both. compat: REG-1
    fn item(&self, import_mode: &str) -> Value {
        let key = self.primary_key.as_deref().unwrap_or_default();
        let keys = json!({"primaryKey": key, "secondaryKey": key});
        let mut item = json!({
            "id": self.id,
            "importMode": import_mode,
            "status": "enabled",
            "authentication": {"type": "sas", "symmetricKey": keys},
        });
        if !self.tags.is_null() {
            item["tags"] = self.tags.clone();
        }
        item
    }
}

impl fmt::Debug for NewDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewDevice")
            .field("id", &self.id)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

/// A device identity. Members this library does not name are in `other`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Device id.
    pub device_id: String,
    /// Changes with every change of the identity.
    #[serde(default)]
    pub etag: String,
    /// `Connected` or `Disconnected`.
    #[serde(default)]
    pub connection_state: String,
    /// Credentials, as the hub writes them.
    #[serde(default)]
    pub authentication: Value,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Device {
    /// The device's primary key, base64; `None` for a device without keys.
    #[must_use]
    pub fn primary_key(&self) -> Option<&str> {
        self.authentication["symmetricKey"]["primaryKey"]
            .as_str()
            .filter(|key| !key.is_empty())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("device_id", &self.device_id)
            .field("connection_state", &self.connection_state)
            .finish_non_exhaustive()
    }
}

/// What came of a bulk call.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct BulkOutcome {
    /// Devices that were refused; all others of the call were taken.
    #[serde(default)]
    pub errors: Vec<RefusedDevice>,
}

/// One device that a bulk call refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedDevice {
    /// Device id.
    pub device_id: String,
    /// The contract's name or number, for example `DeviceAlreadyExists`.
    #[serde(default)]
    pub error_code: Value,
    /// The hub's words.
    #[serde(default)]
    pub error_status: String,
}

impl RefusedDevice {
    /// Whether the device was refused because it is there already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.error_code == "DeviceAlreadyExists" || self.error_code == 409_001
    }
}

impl HubClient {
    /// A device identity.
    ///
    /// # Errors
    /// `DeviceNotFound`, or no reply.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.device("door-1").await?.connection_state);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn device(&self, device_id: &str) -> Result<Device, Error> {
        self.get(&format!("/devices/{}", segment(device_id))).await
    }

    /// Creates devices, 100 in a call, one call after the other. A device that exists is refused and stays as it
    /// is; the refusals of all calls are in the outcome.
    ///
    /// # Errors
    /// When a call as a whole is refused or gets no reply; devices of earlier calls are created then.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::NewDevice;
    /// let outcome = hub.create_devices(&[NewDevice::new("door-1"), NewDevice::new("door-2")]).await?;
    /// assert!(outcome.errors.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_devices(&self, devices: &[NewDevice]) -> Result<BulkOutcome, Error> {
        self.import_devices(devices, "create").await
    }

    /// As [`Self::create_devices`], but a device that exists takes the keys and tags given here.
    ///
    /// # Errors
    /// As [`Self::create_devices`].
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::NewDevice;
    /// let tags = serde_json::json!({"building": "43"});
    /// hub.put_devices(&[NewDevice { tags, ..NewDevice::new("door-1") }]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_devices(&self, devices: &[NewDevice]) -> Result<BulkOutcome, Error> {
        self.import_devices(devices, "createOrUpdate").await
    }

    async fn import_devices(
        &self,
        devices: &[NewDevice],
        import_mode: &str,
    ) -> Result<BulkOutcome, Error> {
        let mut outcome = BulkOutcome::default();
        for chunk in devices.chunks(BULK_DEVICES_MAX) {
            let items: Vec<Value> = chunk
                .iter()
                .map(|device| device.item(import_mode))
                .collect();
            let reply = self
                .exchange(Method::POST, "/devices", IfMatch::Absent, &items)
                .await?;
            // A call with refused items is answered 400 with the same shape.
            let status = reply.status().as_u16();
            let bytes = if status == 400 {
                reply.bytes().await?
            } else {
                accepted(reply).await?.bytes().await?
            };
            let part: Value = serde_json::from_slice(&bytes).map_err(Error::Reply)?;
            if part.get("isSuccessful").is_none() {
                return Err(Error::refused(status, None, &bytes));
            }
            let part: BulkOutcome = serde_json::from_value(part).map_err(Error::Reply)?;
            outcome.errors.extend(part.errors);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_key_asks_the_hub_to_make_both() {
        let item = NewDevice::new("d1").item("create");
        assert_eq!(item["authentication"]["symmetricKey"]["primaryKey"], "");
        assert_eq!(item["importMode"], "create");
        assert!(item.get("tags").is_none());
    }

    #[test]
    fn printing_a_device_never_shows_its_key() {
        let device = NewDevice {
            primary_key: Some("c2VjcmV0".into()),
            ..NewDevice::new("d1")
        };
        assert!(!format!("{device:?}").contains("c2VjcmV0"));
    }
}
