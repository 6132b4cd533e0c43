//! Device identities: the document, and the calls for one of them.

use fanfare_wire::{Secret, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Authentication, RegistryClient};
use crate::identity::{IdentityId, precondition};
use crate::transport::{Method, Repeat};
use crate::words::{null_as_default, open_words};
use crate::{Error, Etag};

open_words! {
    /// Whether an identity may be used.
    pub enum IdentityStatus {
        /// It may connect.
        Enabled = "enabled",
        /// It may not; its connection is cut.
        Disabled = "disabled",
    }
}

open_words! {
    /// Whether a device is connected.
    pub enum ConnectionState {
        /// Now.
        Connected = "Connected",
        /// Not now.
        Disconnected = "Disconnected",
    }
}

/// What a device can do.
///
/// ```
/// use fanfare_client::{Capabilities, Device};
///
/// let gateway = Device::new("gateway-1").capabilities(Capabilities::edge());
/// assert!(gateway.capabilities.iot_edge);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether it is an edge gateway.
    #[serde(default, deserialize_with = "null_as_default")]
    pub iot_edge: bool,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Capabilities {
    /// Those of an edge gateway.
    ///
    /// ```
    /// assert!(fanfare_client::Capabilities::edge().iot_edge);
    /// ```
    #[must_use]
    pub fn edge() -> Self {
        Self {
            iot_edge: true,
            other: Map::new(),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A device identity, as the hub shows it and as a change asks for it. Members that only the hub sets are not sent;
/// members this library does not name are in `other`, and are.
///
/// ```
/// use fanfare_client::{Authentication, Device, IdentityStatus};
///
/// let door = Device::new("door-1")
///     .authentication(Authentication::keys("cHJpbWFyeS1rZXktMDAwMQ==", "c2Vjb25kYXJ5LWtleS0wMg=="))
///     .status(IdentityStatus::Disabled, "not delivered yet");
/// assert_eq!(door.primary_key().unwrap().expose(), "cHJpbWFyeS1rZXktMDAwMQ==");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Device {
    /// 1 to 128 ASCII letters, digits and some marks; upper and lower case differ.
    pub device_id: String,
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
    /// Whether it may connect.
    #[serde(default = "enabled", deserialize_with = "null_as_enabled")]
    pub status: IdentityStatus,
    /// Why it has that status, at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When it last connected or disconnected. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state_updated_time: Option<Timestamp>,
    /// When the status changed. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_updated_time: Option<Timestamp>,
    /// When it last said something. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Timestamp>,
    /// Messages waiting for it. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_message_count: Option<u64>,
    /// How it proves who it is; `None` in a change leaves its credentials as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// What it can do.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Capabilities::is_none"
    )]
    pub capabilities: Capabilities,
    /// The edge scope it belongs to; empty text takes it out of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it, at most 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn enabled() -> IdentityStatus {
    IdentityStatus::Enabled
}

fn null_as_enabled<'de, D: Deserializer<'de>>(input: D) -> Result<IdentityStatus, D::Error> {
    let read = Option::<IdentityStatus>::deserialize(input)?;
    Ok(read.unwrap_or_else(enabled))
}

/// Members of device and module documents that only the hub sets. The etag is among them: in a body it is no
/// precondition. compat: REG-3
const SET_BY_THE_HUB: [&str; 7] = [
    "generationId",
    "etag",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

/// What of a document is sent.
pub(super) fn body(document: &impl Serialize) -> Result<Value, Error> {
    let mut body = serde_json::to_value(document)
        .map_err(|error| Error::Argument(format!("the identity is not JSON: {error}")))?;
    if let Value::Object(members) = &mut body {
        members.retain(|name, _| !SET_BY_THE_HUB.contains(&name.as_str()));
    }
    Ok(body)
}

impl Device {
    /// An enabled device with two keys of the hub's making.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Device::new("door-1").device_id, "door-1");
    /// ```
    pub fn new(device_id: impl Into<String>) -> Self {
        Self {
            device_id: device_id.into(),
            generation_id: None,
            etag: Etag::default(),
            connection_state: None,
            status: enabled(),
            status_reason: None,
            connection_state_updated_time: None,
            status_updated_time: None,
            last_activity_time: None,
            cloud_to_device_message_count: None,
            authentication: Some(Authentication::generated_keys()),
            capabilities: Capabilities::default(),
            device_scope: None,
            parent_scopes: None,
            other: Map::new(),
        }
    }

    /// The same device with these credentials.
    ///
    /// ```
    /// use fanfare_client::{Authentication, Device};
    ///
    /// let door = Device::new("door-1").authentication(Authentication::certificate_authority());
    /// assert_eq!(door.primary_key(), None);
    /// ```
    #[must_use]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// The same device with this status and the reason for it.
    ///
    /// ```
    /// use fanfare_client::{Device, IdentityStatus};
    ///
    /// let door = Device::new("door-1").status(IdentityStatus::Disabled, "stolen");
    /// assert_eq!(door.status_reason.as_deref(), Some("stolen"));
    /// ```
    #[must_use]
    pub fn status(mut self, status: IdentityStatus, reason: impl Into<String>) -> Self {
        self.status = status;
        self.status_reason = Some(reason.into());
        self
    }

    /// The same device with these capabilities.
    ///
    /// ```
    /// use fanfare_client::{Capabilities, Device};
    ///
    /// assert!(Device::new("gateway-1").capabilities(Capabilities::edge()).capabilities.iot_edge);
    /// ```
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The same device below the edge device that has this scope.
    ///
    /// ```
    /// use fanfare_client::Device;
    ///
    /// let door = Device::new("door-1").device_scope("ms-azure-iot-edge://gateway-1-7");
    /// assert!(door.device_scope.is_some());
    /// ```
    #[must_use]
    pub fn device_scope(mut self, scope: impl Into<String>) -> Self {
        self.device_scope = Some(scope.into());
        self
    }

    /// Its primary key; `None` for a device without one, or whose keys are still to be made.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Device::new("door-1").primary_key(), None);
    /// ```
    #[must_use]
    pub fn primary_key(&self) -> Option<&Secret> {
        self.authentication.as_ref()?.symmetric_key.made_primary()
    }

    /// Its secondary key; `None` for a device without one, or whose keys are still to be made.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Device::new("door-1").secondary_key(), None);
    /// ```
    #[must_use]
    pub fn secondary_key(&self) -> Option<&Secret> {
        self.authentication.as_ref()?.symmetric_key.made_secondary()
    }
}

impl RegistryClient {
    /// Creates a device and returns it as the hub has it, keys included.
    ///
    /// # Errors
    /// `DeviceAlreadyExists` (409), `ArgumentInvalid` for an id, key or thumbprint that cannot be one, or no reply.
    /// It is not repeated once it may have been done; see [`Error::may_have_been_done`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::Device;
    /// let door = registry.create_device(&Device::new("door-1")).await?;
    /// assert!(door.primary_key().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_device(&self, device: &Device) -> Result<Device, Error> {
        let path = IdentityId::from(&device.device_id).path("devices");
        self.put(path, device, None).await
    }

    /// Changes a device to what is given here and returns it. With an etag, only if that is its version still; with
    /// `None`, whatever version it has.
    ///
    /// # Errors
    /// `DeviceNotFound` (404), `PreconditionFailed` (412) for another version, `ArgumentInvalid`, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::IdentityStatus;
    /// let door = registry.get_device("door-1").await?.status(IdentityStatus::Disabled, "stolen");
    /// registry.update_device(&door, door.etag.clone()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_device(
        &self,
        device: &Device,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Device, Error> {
        let path = IdentityId::from(&device.device_id).path("devices");
        let etag = etag.into().unwrap_or_else(Etag::any);
        self.put(path, device, Some(etag)).await
    }

    /// A device.
    ///
    /// # Errors
    /// `DeviceNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// println!("{:?}", registry.get_device("door-1").await?.connection_state);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_device(&self, device_id: &str) -> Result<Device, Error> {
        let path = IdentityId::from(device_id).path("devices");
        self.hub.call(Method::GET, path).read().await
    }

    /// Devices, as many as asked for and 1,000 at most: the contract has no further pages. Whoever wants all of them
    /// asks [`crate::QueryClient::twins`], or exports them.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// for device in registry.list_devices(10).await? {
    ///     println!("{} {}", device.device_id, device.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_devices(&self, max: impl Into<Option<u32>>) -> Result<Vec<Device>, Error> {
        let mut call = self.hub.call(Method::GET, "/devices");
        if let Some(max) = max.into() {
            call = call.query("top", max.to_string());
        }
        call.read().await
    }

    /// Deletes a device with its twin and its modules. With an etag, only if that is its version still; with `None`,
    /// whatever version it has.
    ///
    /// # Errors
    /// `DeviceNotFound` (404), `PreconditionFailed` (412) for another version, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// registry.delete_device("door-1", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_device(
        &self,
        device_id: &str,
        etag: impl Into<Option<Etag>>,
    ) -> Result<(), Error> {
        let path = IdentityId::from(device_id).path("devices");
        self.hub.delete(path, etag.into()).await
    }

    /// Puts an identity: creates it without a precondition, changes it with one. compat: REG-42
    pub(super) async fn put<T>(
        &self,
        path: String,
        identity: &T,
        etag: Option<Etag>,
    ) -> Result<T, Error>
    where
        T: Serialize + serde::de::DeserializeOwned,
    {
        let call = self.hub.call(Method::PUT, path).json(&body(identity)?);
        let call = match etag {
            None => call.repeat(Repeat::Refused),
            Some(etag) => {
                let (if_match, repeat) = precondition(Some(etag));
                call.if_match(if_match).repeat(repeat)
            }
        };
        call.read().await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_device_without_a_status_is_enabled() {
        for text in [r#"{"deviceId":"d"}"#, r#"{"deviceId":"d","status":null}"#] {
            let device: Device = serde_json::from_str(text).unwrap();
            assert_eq!(device.status, IdentityStatus::Enabled);
        }
    }

    #[test]
    fn a_new_device_says_no_more_than_it_must() {
        let want = json!({
            "deviceId": "door-1",
            "status": "enabled",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
        });
        assert_eq!(body(&Device::new("door-1")).unwrap(), want);
    }

    #[test]
    fn a_document_survives_and_what_the_hub_sets_is_not_sent_back() {
        let text = json!({
            "deviceId": "door-1", "generationId": "7", "etag": "MQ==", "connectionState": "Connected",
            "status": "frozen", "statusReason": null, "statusUpdatedTime": "0001-01-01T00:00:00Z",
            "connectionStateUpdatedTime": "2031-02-03T04:05:06.1230000Z",
            "lastActivityTime": "2031-02-03T04:05:06.1230000Z", "cloudToDeviceMessageCount": 3,
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "a", "secondaryKey": "b"}},
            "capabilities": {"iotEdge": false, "canFly": true}, "fanfare": {"ordinal": 4},
        });
        let device: Device = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(device.status, IdentityStatus::Unknown("frozen".into()));
        let mut kept = text;
        kept.as_object_mut().unwrap().remove("statusReason");
        assert_eq!(serde_json::to_value(&device).unwrap(), kept);
        let want = json!({
            "deviceId": "door-1", "status": "frozen", "fanfare": {"ordinal": 4},
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "a", "secondaryKey": "b"}},
            "capabilities": {"iotEdge": false, "canFly": true},
        });
        assert_eq!(body(&device).unwrap(), want);
    }

    #[test]
    fn printing_a_device_never_shows_its_keys() {
        let keys = Authentication::keys("c2VjcmV0", "aGlkZGVu");
        let printed = format!("{:?}", Device::new("d").authentication(keys));
        assert!(
            !printed.contains("c2VjcmV0") && !printed.contains("aGlkZGVu"),
            "{printed}"
        );
    }
}
