//! Import and export jobs on the wire: the request, the job document, the lines of the blobs.
//!
//! The contract calls them jobs of version 1; they share nothing with the jobs of [`crate::jobs`] but the
//! words for a status.

use std::fmt;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    Secret, Timestamp, field,
    jobs::JobStatus,
    registry::{Authentication, Capabilities, IdentityStatus, ImportMode},
    twin::TwinProperties,
};

/// What an import or export job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferType {
    /// Identities go out.
    Export,
    /// Identities come in.
    Import,
}

impl TransferType {
    /// The wire's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            TransferType::Export => "export",
            TransferType::Import => "import",
        }
    }

    /// Reads a type in any letter case.
    pub fn parse(text: &str) -> Option<Self> {
        [TransferType::Export, TransferType::Import]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
    }
}

/// How the caller says a storage account is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageAuthenticationType {
    /// With a key, or a signature in the URI.
    KeyBased,
    /// With the hub's own identity.
    IdentityBased,
}

impl StorageAuthenticationType {
    /// The wire's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            StorageAuthenticationType::KeyBased => "keyBased",
            StorageAuthenticationType::IdentityBased => "identityBased",
        }
    }

    /// Reads it in any letter case: Node sends `IdentityBased`. compat: XFER-8
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            StorageAuthenticationType::KeyBased,
            StorageAuthenticationType::IdentityBased,
        ];
        all.into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
    }
}

macro_rules! as_text {
    ($name:ident, $expected:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = String::deserialize(input)?;
                Self::parse(&text)
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &$expected))
            }
        }
    };
}

as_text!(TransferType, "export or import");
as_text!(StorageAuthenticationType, "keyBased or identityBased");

/// The body of `POST /jobs/create`. Null means absent; what only the hub sets is ignored. compat: XFER-1
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferJobRequest {
    /// Export or import.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<TransferType>,
    /// Where an import reads; may hold a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_container_uri: Option<Secret>,
    /// Where an export writes, and an import its log; may hold a signature too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_container_uri: Option<Secret>,
    /// The blob an import reads; `devices.txt` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_name: Option<String>,
    /// The blob an export writes; `devices.txt` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_name: Option<String>,
    /// Whether an export leaves the keys out.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub exclude_keys_in_export: bool,
    /// How the storage account is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_authentication_type: Option<StorageAuthenticationType>,
    /// Whose identity opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<StorageIdentity>,
    /// Whether configurations take part.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub include_configurations: bool,
    /// Their blob; `configurations.txt` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configurations_blob_name: Option<String>,
}

/// The identity in a [`TransferJobRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageIdentity {
    /// An identity of the original's cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_assigned_identity: Option<String>,
}

/// An import or export job, as every call answers it. compat: XFER-1
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferJobDocument {
    /// Its name, made by the hub.
    pub job_id: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time_utc: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time_utc: Option<Timestamp>,
    /// Export or import.
    #[serde(rename = "type")]
    pub job_type: TransferType,
    /// Enqueued, running, completed, failed or cancelled.
    pub status: JobStatus,
    /// How far it has come, 0 to 100.
    #[serde(default)]
    pub progress: u8,
    /// As in the request, without the signature's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_container_uri: Option<String>,
    /// As in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_name: Option<String>,
    /// As in the request, without the signature's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_container_uri: Option<String>,
    /// As in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_name: Option<String>,
    /// As in the request of an export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_keys_in_export: Option<bool>,
    /// As in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_authentication_type: Option<StorageAuthenticationType>,
    /// As in the request, when true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_configurations: Option<bool>,
    /// As in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configurations_blob_name: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// What only this hub says; left out when empty. compat: JOB-62
    #[serde(
        default,
        deserialize_with = "field::null_as_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub fanfare: Map<String, Value>,
}

/// One line of an export. What an import reads is a [`crate::registry::BulkItem`], which this is too.
/// compat: XFER-5
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportLine {
    /// The device.
    pub id: String,
    /// One of its modules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The identity's etag.
    #[serde(rename = "eTag")]
    pub e_tag: String,
    /// Enabled or disabled.
    pub status: IdentityStatus,
    /// Why it has that status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// How it proves who it is; null keys when they are left out.
    pub authentication: Authentication,
    /// The twin's etag.
    #[serde(rename = "twinETag")]
    pub twin_etag: String,
    /// The twin's tags.
    pub tags: Map<String, Value>,
    /// Its properties, with `$metadata` and `$version`.
    pub properties: TwinProperties,
    /// What a device can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Who looks after a module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The edge scope it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

/// What the line of a configuration says besides the configuration itself, which is written as in
/// [`crate::configurations`]. compat: XFER-10
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationMode {
    /// What to do; create or update when absent. The modes for twins make no sense here.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub import_mode: ImportMode,
    /// The configuration's etag, for the modes that compare it.
    #[serde(default)]
    pub etag: Option<String>,
}

/// The number in the errors' log for a line that is no change at all; the contract's table has no name for
/// it. compat: XFER-4
pub const INVALID_LINE: u32 = 400_012;

/// One entry of an import's errors' log. compat: XFER-4
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportError {
    /// The device, if the line names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Its module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The number of an [`crate::error::ErrorCode`], or [`INVALID_LINE`].
    pub error_code: u32,
    /// What went wrong, for a person.
    pub error_status: String,
    /// Ours.
    pub fanfare: ImportErrorPlace,
}

/// Where an [`ImportError`] happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportErrorPlace {
    /// The blob.
    pub blob: String,
    /// The line of the blob, from 1.
    pub line: u64,
    /// The configuration, if the line names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode;

    #[test]
    fn requests_of_both_sdks_are_read() {
        // Node, by key and by identity; Python writes what its model holds.
        let node = br#"{"type":"export","outputBlobContainerUri":"u","excludeKeysInExport":true,
            "storageAuthenticationType":"IdentityBased","identity":{"userAssignedIdentity":"me"}}"#;
        let request: TransferJobRequest = decode(node).unwrap();
        assert_eq!(request.job_type, Some(TransferType::Export));
        assert!(request.exclude_keys_in_export);
        let way = Some(StorageAuthenticationType::IdentityBased);
        assert_eq!(request.storage_authentication_type, way);
        assert_eq!(
            request.identity.unwrap().user_assigned_identity.unwrap(),
            "me"
        );

        let python =
            br#"{"jobId": "x", "status": "unknown", "type": "import", "excludeKeysInExport": null,
            "inputBlobContainerUri": "i", "inputBlobName": "n", "outputBlobContainerUri": "o",
            "storageAuthenticationType": "keyBased", "includeConfigurations": null}"#;
        let request: TransferJobRequest = decode(python).unwrap();
        assert_eq!(request.job_type, Some(TransferType::Import));
        assert_eq!(request.input_blob_name.as_deref(), Some("n"));
        assert!(!request.exclude_keys_in_export && !request.include_configurations);

        assert!(decode::<TransferJobRequest>(br#"{"type":"backup"}"#).is_err());
    }

    #[test]
    fn a_document_leaves_out_what_is_absent() {
        let document = TransferJobDocument {
            job_id: "j".into(),
            start_time_utc: None,
            end_time_utc: None,
            job_type: TransferType::Import,
            status: JobStatus::Enqueued,
            progress: 0,
            input_blob_container_uri: Some("file:a".into()),
            input_blob_name: None,
            output_blob_container_uri: Some("file:b".into()),
            output_blob_name: None,
            exclude_keys_in_export: None,
            storage_authentication_type: Some(StorageAuthenticationType::KeyBased),
            include_configurations: None,
            configurations_blob_name: None,
            failure_reason: None,
            fanfare: Map::new(),
        };
        let expected = json!({
            "jobId": "j", "type": "import", "status": "enqueued", "progress": 0,
            "inputBlobContainerUri": "file:a", "outputBlobContainerUri": "file:b",
            "storageAuthenticationType": "keyBased",
        });
        assert_eq!(serde_json::to_value(&document).unwrap(), expected);
        let read: TransferJobDocument = serde_json::from_value(expected).unwrap();
        assert_eq!(read, document);
    }

    #[test]
    fn an_entry_of_the_log_has_numbers() {
        let entry = ImportError {
            device_id: Some("d".into()),
            module_id: None,
            error_code: 409_001,
            error_status: "there".into(),
            fanfare: ImportErrorPlace {
                blob: "devices.txt".into(),
                line: 7,
                configuration: None,
            },
        };
        let expected = json!({"deviceId": "d", "errorCode": 409001, "errorStatus": "there", "fanfare": {"blob": "devices.txt", "line": 7}});
        assert_eq!(serde_json::to_value(&entry).unwrap(), expected);
    }
}
