//! `POST /devices`: up to a hundred changes in one call, each with its own mode and its own failure.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{AuthenticationRequest, Capabilities, IdentityStatus, Object};
use crate::{Field, field, twin};

/// One change of a bulk call. Null means absent, except in `tags` and `properties`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkItem {
    /// The device; not `deviceId` here. compat: REG-4
    pub id: String,
    /// One of its modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The identity's etag, for the modes that compare it. See [`BulkItem::identity_etag`].
    #[serde(default, rename = "eTag", skip_serializing_if = "Option::is_none")]
    pub e_tag: Option<String>,
    /// The same in the spelling Node passes on from its caller. compat: REG-4
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// What to do; create or update when absent.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub import_mode: ImportMode,
    /// Enabled when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IdentityStatus>,
    /// Why it has that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// How it is to prove who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationRequest>,
    /// The twin's etag, for the mode that compares it.
    #[serde(default, rename = "twinETag", skip_serializing_if = "Option::is_none")]
    pub twin_etag: Option<String>,
    /// Tags of the twin.
    #[serde(
        default,
        deserialize_with = "twin::section",
        skip_serializing_if = "Field::is_absent"
    )]
    pub tags: Field<Object>,
    /// Properties of the twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BulkProperties>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Who looks after a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The edge scope it is to belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

impl BulkItem {
    /// The identity's etag in either spelling, without quotes.
    pub fn identity_etag(&self) -> Option<&str> {
        let etag = self.e_tag.as_deref().or(self.etag.as_deref())?;
        Some(
            etag.strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap_or(etag),
        )
    }
}

/// The twin's properties in a bulk call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkProperties {
    /// Set by the service; `$metadata` and `$version`, which exports have, are left out. compat: REG-45
    #[serde(
        default,
        deserialize_with = "desired",
        skip_serializing_if = "Field::is_absent"
    )]
    pub desired: Field<Object>,
    /// Set by the device; nobody else writes it. compat: REG-45
    #[serde(default, skip_serializing_if = "Field::is_absent")]
    pub reported: Field<Value>,
}

/// The section as written, without what the hub keeps beside it.
fn desired<'de, D: Deserializer<'de>>(input: D) -> Result<Field<Object>, D::Error> {
    let mut section = twin::section(input)?;
    if let Field::Value(members) = &mut section {
        members.remove("$metadata");
        members.remove("$version");
    }
    Ok(section)
}

/// What a bulk item does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ImportMode {
    /// Create; an existing device is a failure.
    Create,
    /// Update; a missing device is a failure.
    Update,
    /// Update if the etag matches.
    UpdateIfMatchETag,
    /// Create, or update what exists.
    #[default]
    CreateOrUpdate,
    /// Create, or update if the etag matches.
    CreateOrUpdateIfMatchETag,
    /// Delete.
    Delete,
    /// Delete if the etag matches.
    DeleteIfMatchETag,
    /// Change the twin only.
    UpdateTwin,
    /// Change the twin if its etag matches.
    UpdateTwinIfMatchETag,
}

impl ImportMode {
    const ALL: [ImportMode; 9] = [
        ImportMode::Create,
        ImportMode::Update,
        ImportMode::UpdateIfMatchETag,
        ImportMode::CreateOrUpdate,
        ImportMode::CreateOrUpdateIfMatchETag,
        ImportMode::Delete,
        ImportMode::DeleteIfMatchETag,
        ImportMode::UpdateTwin,
        ImportMode::UpdateTwinIfMatchETag,
    ];

    /// The documented spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            ImportMode::Create => "create",
            ImportMode::Update => "update",
            ImportMode::UpdateIfMatchETag => "updateIfMatchETag",
            ImportMode::CreateOrUpdate => "createOrUpdate",
            ImportMode::CreateOrUpdateIfMatchETag => "createOrUpdateIfMatchETag",
            ImportMode::Delete => "delete",
            ImportMode::DeleteIfMatchETag => "deleteIfMatchETag",
            ImportMode::UpdateTwin => "updateTwin",
            ImportMode::UpdateTwinIfMatchETag => "updateTwinIfMatchETag",
        }
    }

    /// Reads a mode in any letter case: Node sends `create` but `Delete`. compat: REG-5
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
    }
}

impl Serialize for ImportMode {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ImportMode {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a mode such as createOrUpdate")
        })
    }
}

/// The answer to a bulk call: HTTP 200 when all went well, 400 with the same shape otherwise.
/// compat: REG-10
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Whether every item succeeded.
    pub is_successful: bool,
    /// One entry per failed item.
    pub errors: Vec<BulkError>,
    /// Never filled by this hub.
    #[serde(default)]
    pub warnings: Vec<serde_json::Value>,
}

impl BulkResult {
    /// The result with these failures.
    pub fn new(errors: Vec<BulkError>) -> Self {
        Self {
            is_successful: errors.is_empty(),
            errors,
            warnings: Vec::new(),
        }
    }
}

/// One failed item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkError {
    /// The device.
    pub device_id: String,
    /// Its module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The name of an [`crate::error::ErrorCode`].
    pub error_code: String,
    /// What went wrong, for a person.
    pub error_status: String,
    /// The mode it was tried with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}
