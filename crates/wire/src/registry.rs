//! Device and module identities: the documents, the bulk call, statistics, key renewal.
//!
//! Requests and documents are different shapes: a request may leave out nearly everything.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Secret, Timestamp, field};

mod bulk;

pub use bulk::{BulkError, BulkItem, BulkProperties, BulkResult, ImportMode};

/// A device identity, as GET and PUT answer it. Secrets are part of it. compat: REG-7
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentity {
    /// The device.
    pub device_id: String,
    /// Made by the hub; another one after deletion and re-creation.
    #[serde(default)]
    pub generation_id: String,
    /// The identity's etag, without quotes.
    #[serde(default)]
    pub etag: String,
    /// Whether it is connected now.
    pub connection_state: ConnectionState,
    /// Enabled or disabled.
    pub status: IdentityStatus,
    /// Why it has that status.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// When it last connected or disconnected.
    pub connection_state_updated_time: Timestamp,
    /// When the status changed. Not `statusUpdateTime`, which is the twin's. compat: TWIN-4
    pub status_updated_time: Timestamp,
    /// When the device last said something.
    pub last_activity_time: Timestamp,
    /// Messages waiting for the device.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// What it can do.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub capabilities: Capabilities,
    /// The edge scope it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

/// The body of PUT `/devices/{id}`. Null means absent; read-only members are ignored; an `etag` in the body
/// is no precondition and therefore not even read. compat: REG-3
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceIdentityRequest {
    /// The device; the path decides, this may only agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Enabled when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IdentityStatus>,
    /// Why it has that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// How it is to prove who it is; generated keys when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationRequest>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The edge scope it is to belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

/// A module identity, as GET and PUT answer it. Secrets are part of it. compat: REG-21
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleIdentity {
    /// The module.
    pub module_id: String,
    /// Who looks after it, as its makers call it.
    #[serde(default)]
    pub managed_by: Option<String>,
    /// The device it is on.
    pub device_id: String,
    /// Made by the hub; another one after deletion and re-creation.
    #[serde(default)]
    pub generation_id: String,
    /// The identity's etag, without quotes.
    #[serde(default)]
    pub etag: String,
    /// Whether it is connected now.
    pub connection_state: ConnectionState,
    /// When it last connected or disconnected.
    pub connection_state_updated_time: Timestamp,
    /// When the module last said something.
    pub last_activity_time: Timestamp,
    /// Messages waiting for the module: none ever, only devices have a queue.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// How it proves who it is.
    pub authentication: Authentication,
}

/// The body of PUT `/devices/{id}/modules/{m}`, read like a [`DeviceIdentityRequest`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleIdentityRequest {
    /// The module; the path decides, this may only agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The device; the path decides, this may only agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// How it is to prove who it is; generated keys when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationRequest>,
}

/// Whether an identity may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityStatus {
    /// It may connect.
    #[default]
    #[serde(alias = "Enabled")]
    Enabled,
    /// It may not.
    #[serde(alias = "Disabled")]
    Disabled,
}

/// Whether a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum ConnectionState {
    /// Not now.
    #[default]
    Disconnected,
    /// Now.
    Connected,
}

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationType {
    /// With a symmetric key.
    #[serde(alias = "Sas")]
    Sas,
    /// With a certificate known by its thumbprint.
    #[serde(alias = "SelfSigned")]
    SelfSigned,
    /// With a certificate of a known authority.
    #[serde(alias = "CertificateAuthority")]
    CertificateAuthority,
    /// Not at all.
    #[serde(alias = "None")]
    None,
}

/// The credentials of an identity, in replies: both groups are always there, with nulls for what is not
/// used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// Which of the groups counts.
    #[serde(rename = "type")]
    pub authentication_type: AuthenticationType,
    /// The two keys.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub symmetric_key: SymmetricKey,
    /// The two thumbprints.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub x509_thumbprint: Thumbprints,
}

/// The credentials a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationRequest {
    /// Which kind; see [`AuthenticationRequest::kind`] when absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub authentication_type: Option<AuthenticationType>,
    /// The keys; empty, null and absent keys are to be generated. compat: REG-1
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetric_key: Option<SymmetricKey>,
    /// The thumbprints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x509_thumbprint: Option<Thumbprints>,
}

impl AuthenticationRequest {
    /// The kind asked for: the stated one, else by thumbprint if there is one, else by key.
    /// compat: REG-2
    pub fn kind(&self) -> AuthenticationType {
        let thumbprints = self
            .x509_thumbprint
            .as_ref()
            .is_some_and(|both| !both.is_empty());
        match self.authentication_type {
            Some(stated) => stated,
            None if thumbprints => AuthenticationType::SelfSigned,
            None => AuthenticationType::Sas,
        }
    }

    /// The primary and secondary key the request brings; `None` means "generate it". compat: REG-1
    pub fn keys(&self) -> (Option<&Secret>, Option<&Secret>) {
        let Some(both) = &self.symmetric_key else {
            return (None, None);
        };
        let given = |key: &'_ Option<Secret>| key.as_ref().is_some_and(|key| !key.is_empty());
        (
            both.primary_key
                .as_ref()
                .filter(|_| given(&both.primary_key)),
            both.secondary_key
                .as_ref()
                .filter(|_| given(&both.secondary_key)),
        )
    }
}

/// Two base64 keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymmetricKey {
    /// The first.
    #[serde(default)]
    pub primary_key: Option<Secret>,
    /// The second, so that one can be changed while the other works.
    #[serde(default)]
    pub secondary_key: Option<Secret>,
}

/// Two thumbprints in hex.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thumbprints {
    /// The first.
    #[serde(default)]
    pub primary_thumbprint: Option<String>,
    /// The second.
    #[serde(default)]
    pub secondary_thumbprint: Option<String>,
}

impl Thumbprints {
    /// Whether there is none; empty text counts as none.
    pub fn is_empty(&self) -> bool {
        [&self.primary_thumbprint, &self.secondary_thumbprint]
            .into_iter()
            .all(|text| text.as_deref().unwrap_or_default().is_empty())
    }
}

/// What a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether it is an edge gateway.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub iot_edge: bool,
}

/// `GET /statistics/devices`. compat: REG-8
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatistics {
    /// All devices.
    pub total_device_count: u64,
    /// Those enabled.
    pub enabled_device_count: u64,
    /// Those disabled.
    pub disabled_device_count: u64,
}

/// `GET /statistics/service`. compat: REG-8
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatistics {
    /// Devices connected now.
    pub connected_device_count: u64,
}

/// The answer to `DELETE /devices/{id}/commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeResult {
    /// How many messages were dropped.
    pub total_messages_purged: u64,
    /// The device.
    pub device_id: String,
    /// Always null: only devices have a queue.
    pub module_id: Option<String>,
}

/// The body of `POST /devices/keys/regenerate`. compat: REG-12
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateKeysRequest {
    /// Which key.
    pub policy_key: PolicyKey,
    /// Of which devices.
    pub devices: Vec<RegenerateKeysDevice>,
}

/// One device of a [`RegenerateKeysRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateKeysDevice {
    /// The device.
    pub id: String,
    /// One of its modules instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
}

/// Which key is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyKey {
    /// A new primary key.
    PrimaryKey,
    /// A new secondary key.
    SecondaryKey,
    /// The two change places.
    Swap,
}

/// The answer to a [`RegenerateKeysRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateKeysResult {
    /// Which key was asked for.
    pub policy_key: PolicyKey,
    /// Devices whose key did not change.
    pub errors: Vec<BulkError>,
}

/// A free-form JSON object, as in `tags`.
type Object = Map<String, Value>;

#[cfg(test)]
mod tests;
