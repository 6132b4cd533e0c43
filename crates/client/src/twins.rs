//! Twins: the documents beside devices and modules, and the calls that read, patch and replace one.

use std::collections::BTreeMap;

use fanfare_wire::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::identity::precondition;
use crate::registry::{
    AuthenticationType, Capabilities, ConnectionState, IdentityStatus, Thumbprints,
};
use crate::transport::Method;
use crate::words::null_as_default;
use crate::{Error, Etag, HubClient, IdentityId};

/// The twins of one hub. Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, TwinClient, TwinPatch};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let twins = TwinClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let patch = TwinPatch::desired(serde_json::json!({"locked": true}));
/// let twin = twins.patch("door-1", &patch, None).await?;
/// println!("version {} of {}", twin.version, twin.properties.desired);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TwinClient {
    hub: HubClient,
}

crate::hub::constructors_of!(TwinClient);

impl TwinClient {
    /// The twin of a device (`"door-1"`) or of a module on it (`("door-1", "lock")`).
    ///
    /// # Errors
    /// `DeviceNotFound` or `ModuleNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(twins: fanfare_client::TwinClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", twins.get("door-1").await?.tags["building"]);
    /// println!("{}", twins.get(("door-1", "lock")).await?.properties.reported);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, id: impl Into<IdentityId>) -> Result<Twin, Error> {
        let path = id.into().path("twins");
        self.hub.call(Method::GET, path).read().await
    }

    /// Merges `patch` into a twin and returns the result: objects are merged, other values replaced, null takes a
    /// member away; so a struct of one's own must leave out what it does not want to change. With an etag, only if
    /// that is the twin's version still; with `None`, whatever version it has.
    ///
    /// # Errors
    /// `DeviceNotFound` or `ModuleNotFound` (404), `PreconditionFailed` (412) for another version, `ArgumentInvalid`
    /// (400) for a twin over a limit, or no reply.
    ///
    /// ```no_run
    /// # async fn example(twins: fanfare_client::TwinClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::TwinPatch;
    /// use serde_json::json;
    /// twins.patch("door-1", &TwinPatch::default().tags(json!({"building": "43"})), None).await?;
    ///
    /// let twin = twins.get("door-1").await?;
    /// let next = json!({"properties": {"desired": {"round": twin.version}}});
    /// if let Err(error) = twins.patch("door-1", &next, twin.etag).await {
    ///     assert_eq!(error.code(), Some("PreconditionFailed"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch<P: Serialize + ?Sized>(
        &self,
        id: impl Into<IdentityId>,
        patch: &P,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Twin, Error> {
        self.change(Method::PATCH, id.into(), &patch, etag.into())
            .await
    }

    /// Overwrites the sections that `twin` has (`tags`, `properties.desired`) as a whole and returns the result; a
    /// section it does not have stays. Connected devices are told the whole new section. Etags are as in
    /// [`Self::patch`].
    ///
    /// # Errors
    /// As [`Self::patch`].
    ///
    /// ```no_run
    /// # async fn example(twins: fanfare_client::TwinClient) -> Result<(), fanfare_client::Error> {
    /// let twin = twins.replace("door-1", &serde_json::json!({"tags": {"building": "43"}}), None).await?;
    /// assert_eq!(twin.tags, serde_json::json!({"building": "43"}));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace<P: Serialize + ?Sized>(
        &self,
        id: impl Into<IdentityId>,
        twin: &P,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Twin, Error> {
        self.change(Method::PUT, id.into(), &twin, etag.into())
            .await
    }

    async fn change(
        &self,
        method: Method,
        id: IdentityId,
        body: &impl Serialize,
        etag: Option<Etag>,
    ) -> Result<Twin, Error> {
        let (if_match, repeat) = precondition(etag);
        let call = self.hub.call(method, id.path("twins")).json(body);
        call.if_match(if_match).repeat(repeat).read().await
    }
}

/// A twin as the service sees it: what the service and the device keep in it, and some of the identity beside it.
/// Members this library does not name are in `other`.
///
/// ```
/// use fanfare_client::Twin;
///
/// let row = r#"{"deviceId":"door-1","etag":"AAAAAAAAAAE=","tags":{"floor":3},"properties":{"desired":{},"reported":{}}}"#;
/// let twin: Twin = serde_json::from_str(row)?;
/// assert_eq!(twin.tags["floor"], 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Twin {
    /// The device.
    pub device_id: String,
    /// The module, in twins of modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Who looks after the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The twin's version as text; changes with every change of the twin.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Etag::is_empty"
    )]
    pub etag: Etag,
    /// The etag of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_etag: Option<Etag>,
    /// Whether it may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IdentityStatus>,
    /// Why it has that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When the status changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_update_time: Option<Timestamp>,
    /// Whether it is connected now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<ConnectionState>,
    /// When it last said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Timestamp>,
    /// Messages waiting for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_message_count: Option<u64>,
    /// How it proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_type: Option<AuthenticationType>,
    /// The thumbprints of its certificates.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Thumbprints::is_absent"
    )]
    pub x509_thumbprint: Thumbprints,
    /// The model it announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    /// Number of changes of the whole twin.
    #[serde(default, deserialize_with = "null_as_default")]
    pub version: u64,
    /// Set by the service, hidden from the device.
    #[serde(default = "empty")]
    pub tags: Value,
    /// Desired and reported properties.
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: TwinProperties,
    /// What the device can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The edge scope it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
    /// The configurations that match it, by id.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub configurations: BTreeMap<String, ConfigurationState>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Twin {
    /// What it is the twin of.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// let mut twins = hub.queries().twins("SELECT * FROM devices.modules WHERE tags.ring = 2");
    /// while let Some(twin) = twins.try_next().await? {
    ///     hub.twins().replace(twin.identity(), &serde_json::json!({"tags": null}), None).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn identity(&self) -> IdentityId {
        IdentityId {
            device_id: self.device_id.clone(),
            module_id: self.module_id.clone(),
        }
    }
}

/// Both property sections of a twin, `$version` and `$metadata` included.
///
/// ```
/// assert!(fanfare_client::TwinProperties::default().desired.as_object().unwrap().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TwinProperties {
    /// Set by the service, read by the device.
    #[serde(default = "empty")]
    pub desired: Value,
    /// Set by the device.
    #[serde(default = "empty")]
    pub reported: Value,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for TwinProperties {
    fn default() -> Self {
        Self {
            desired: empty(),
            reported: empty(),
            other: Map::new(),
        }
    }
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// A configuration in a twin that it matches.
///
/// ```no_run
/// # fn example(twin: fanfare_client::Twin) {
/// for (id, state) in &twin.configurations {
///     println!("{id}: {}", state.status);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigurationState {
    /// For example `Applied`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: String,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_survives() {
        let text = json!({
            "deviceId": "d", "moduleId": "m", "managedBy": "iotEdge", "etag": "AAAAAAAAAAE=", "deviceEtag": "MQ==",
            "status": "enabled", "statusUpdateTime": "0001-01-01T00:00:00Z", "connectionState": "Dreaming",
            "lastActivityTime": "2031-02-03T04:05:06.1230000Z", "cloudToDeviceMessageCount": 0,
            "authenticationType": "sas", "x509Thumbprint": {"primaryThumbprint": "00"}, "modelId": "", "version": 9,
            "tags": {"ring": 2}, "capabilities": {"iotEdge": true}, "deviceScope": "s", "parentScopes": ["s"],
            "properties": {
                "desired": {"a": 1, "$version": 2, "$metadata": {}}, "reported": {"$version": 1}, "more": 1
            },
            "configurations": {"c": {"status": "Applied", "since": 1}}, "fanfare": {"x": 1},
        });
        let twin: Twin = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(twin.identity(), IdentityId::module("d", "m"));
        assert_eq!(serde_json::to_value(&twin).unwrap(), text);
    }

    #[test]
    fn a_row_that_says_little_is_read() {
        let row = r#"{"deviceId":"d","etag":null,"x509Thumbprint":{"primaryThumbprint":null},"properties":null}"#;
        let twin: Twin = serde_json::from_str(row).unwrap();
        assert_eq!(
            (twin.version, &twin.properties, twin.tags.get("any")),
            (0, &TwinProperties::default(), None)
        );
    }
}
