//! Import and export of the whole registry by the hub, from and to blobs: the contract's jobs of version 1.
//!
//! They share nothing with the jobs of [`crate::JobClient`] but the words for a status.

use fanfare_wire::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RegistryClient;
use crate::Error;
use crate::transport::{Method, Repeat, segment};
use crate::words::{null_as_default, open_words};

open_words! {
    /// What a transfer job does.
    pub enum TransferKind {
        /// Identities go out.
        Export = "export",
        /// Changes of identities come in.
        Import = "import",
    }
}

open_words! {
    /// Where a transfer job stands.
    pub enum TransferStatus {
        /// It waits.
        Enqueued = "enqueued",
        /// It goes on.
        Running = "running",
        /// It is done.
        Completed = "completed",
        /// It could not go on; the reason is in the document.
        Failed = "failed",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

impl TransferStatus {
    /// Whether the job has ended.
    ///
    /// ```
    /// assert!(fanfare_client::TransferStatus::Failed.is_terminal());
    /// ```
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

open_words! {
    /// How the hub opens the storage account of a container.
    pub enum StorageAuthentication {
        /// With a key, or a signature in the URI.
        KeyBased = "keyBased",
        /// With an identity of the hub.
        IdentityBased = "identityBased",
    }
}

/// Settings of an export.
///
/// ```
/// use fanfare_client::ExportOptions;
///
/// let options = ExportOptions { exclude_keys: true, ..ExportOptions::default() };
/// assert!(options.blob_name.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExportOptions {
    /// Whether keys are left out; they are written by default.
    pub exclude_keys: bool,
    /// The blob to write; `devices.txt` by default.
    pub blob_name: Option<String>,
    /// Configurations go out too.
    pub configurations: ConfigurationsBlob,
    /// How the container is opened.
    pub storage: StorageAccess,
}

/// Settings of an import.
///
/// ```
/// use fanfare_client::{ConfigurationsBlob, ImportOptions};
///
/// let configurations = ConfigurationsBlob::Named("layers.txt".to_owned());
/// let options = ImportOptions { configurations, ..ImportOptions::default() };
/// assert!(options.blob_name.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImportOptions {
    /// The blob to read; `devices.txt` by default.
    pub blob_name: Option<String>,
    /// Configurations come in too.
    pub configurations: ConfigurationsBlob,
    /// How the containers are opened.
    pub storage: StorageAccess,
}

/// Whether configurations take part in a transfer.
///
/// ```
/// use fanfare_client::ConfigurationsBlob;
///
/// assert_eq!(ConfigurationsBlob::default(), ConfigurationsBlob::LeftOut);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConfigurationsBlob {
    /// No.
    #[default]
    LeftOut,
    /// In the blob with the contract's name for it, `configurations.txt`.
    Usual,
    /// In the blob of this name.
    Named(String),
}

/// How the hub opens containers.
///
/// ```
/// use fanfare_client::{ExportOptions, StorageAccess, StorageAuthentication};
///
/// let authentication = Some(StorageAuthentication::IdentityBased);
/// let storage = StorageAccess { authentication, ..StorageAccess::default() };
/// let options = ExportOptions { storage, ..ExportOptions::default() };
/// assert!(options.storage.user_assigned_identity.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StorageAccess {
    /// By key or by identity; the hub decides when `None`.
    pub authentication: Option<StorageAuthentication>,
    /// The identity's resource id, for hubs that have more than one. Fanfare has none and refuses it.
    pub user_assigned_identity: Option<String>,
}

/// A transfer job. Members this library does not name are in `other`.
///
/// ```no_run
/// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
/// use fanfare_client::TransferStatus;
/// let job = registry.transfer_job("3f0c1d0e").await?;
/// if job.status == TransferStatus::Failed {
///     println!("{}", job.failure_reason.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransferJob {
    /// Its name, made by the hub.
    pub job_id: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: TransferKind,
    /// Where it stands.
    pub status: TransferStatus,
    /// How far it has come, 0 to 100.
    #[serde(default, deserialize_with = "null_as_default")]
    pub progress: u8,
    /// When it began (`startTimeUtc`).
    #[serde(
        rename = "startTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub start_time: Option<Timestamp>,
    /// When it ended (`endTimeUtc`).
    #[serde(
        rename = "endTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub end_time: Option<Timestamp>,
    /// Where an import reads; `Debug` hides it, since it may hold a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_container_uri: Option<Secret>,
    /// The blob an import reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_blob_name: Option<String>,
    /// Where an export writes, and an import its log; hidden as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_container_uri: Option<Secret>,
    /// The blob an export writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_blob_name: Option<String>,
    /// Whether an export leaves keys out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_keys_in_export: Option<bool>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The body of `POST /jobs/create`. compat: XFER-1
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: TransferKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_blob_container_uri: Option<&'a str>,
    output_blob_container_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_blob_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_blob_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude_keys_in_export: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_authentication_type: Option<StorageAuthentication>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_configurations: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    configurations_blob_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    user_assigned_identity: String,
}

impl<'a> Request<'a> {
    fn new(
        kind: TransferKind,
        output_uri: &'a str,
        configurations: ConfigurationsBlob,
        storage: StorageAccess,
    ) -> Self {
        let identity = storage.user_assigned_identity;
        Self {
            kind,
            input_blob_container_uri: None,
            output_blob_container_uri: output_uri,
            input_blob_name: None,
            output_blob_name: None,
            exclude_keys_in_export: None,
            storage_authentication_type: storage.authentication,
            identity: identity.map(|user_assigned_identity| Identity {
                user_assigned_identity,
            }),
            include_configurations: configurations != ConfigurationsBlob::LeftOut,
            configurations_blob_name: match configurations {
                ConfigurationsBlob::Named(name) => Some(name),
                ConfigurationsBlob::LeftOut | ConfigurationsBlob::Usual => None,
            },
        }
    }

    fn export(output_uri: &'a str, options: ExportOptions) -> Self {
        let ExportOptions {
            exclude_keys,
            blob_name,
            configurations,
            storage,
        } = options;
        Self {
            output_blob_name: blob_name,
            exclude_keys_in_export: Some(exclude_keys),
            ..Self::new(TransferKind::Export, output_uri, configurations, storage)
        }
    }

    fn import(input_uri: &'a str, output_uri: &'a str, options: ImportOptions) -> Self {
        let ImportOptions {
            blob_name,
            configurations,
            storage,
        } = options;
        Self {
            input_blob_container_uri: Some(input_uri),
            input_blob_name: blob_name,
            ..Self::new(TransferKind::Import, output_uri, configurations, storage)
        }
    }
}

impl RegistryClient {
    /// Has the hub write all identities and twins to a blob in a container: the URI of a storage account's container
    /// with its signature, or `file:NAME`, a folder below the data folder of a Fanfare hub. It is not repeated once
    /// it may have been done.
    ///
    /// # Errors
    /// `JobQuotaExceeded` (403) while another transfer is active, `ArgumentInvalid` (400) for a URI the hub cannot
    /// use, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let job = registry.export_devices_to_blob("file:export", None).await?;
    /// println!("{} is {}", job.job_id, job.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn export_devices_to_blob(
        &self,
        output_container_uri: &str,
        options: impl Into<Option<ExportOptions>>,
    ) -> Result<TransferJob, Error> {
        let options = options.into().unwrap_or_default();
        self.transfer(&Request::export(output_container_uri, options))
            .await
    }

    /// Has the hub do what the lines of a blob say, each a [`crate::BulkItem`]; what it refuses is logged in the
    /// output container. URIs are as in [`Self::export_devices_to_blob`], and it is not repeated either.
    ///
    /// # Errors
    /// As [`Self::export_devices_to_blob`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let job = registry.import_devices_from_blob("file:export", "file:log", None).await?;
    /// println!("{} is {}", job.job_id, job.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import_devices_from_blob(
        &self,
        input_container_uri: &str,
        output_container_uri: &str,
        options: impl Into<Option<ImportOptions>>,
    ) -> Result<TransferJob, Error> {
        let options = options.into().unwrap_or_default();
        let request = Request::import(input_container_uri, output_container_uri, options);
        self.transfer(&request).await
    }

    /// A transfer job.
    ///
    /// # Errors
    /// `JobNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let job = registry.transfer_job("3f0c1d0e").await?;
    /// println!("{} %", job.progress);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer_job(&self, job_id: &str) -> Result<TransferJob, Error> {
        self.hub.call(Method::GET, path(job_id)).read().await
    }

    /// All transfer jobs the hub remembers, newest first.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// for job in registry.transfer_jobs().await? {
    ///     println!("{} {}", job.job_id, job.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer_jobs(&self) -> Result<Vec<TransferJob>, Error> {
        self.hub.call(Method::GET, "/jobs").read().await
    }

    /// Cancels a transfer job. What it has changed stays changed.
    ///
    /// # Errors
    /// `JobNotFound` (404), `OperationNotAllowedInCurrentState` (405) for one that has ended, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// registry.cancel_transfer_job("3f0c1d0e").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel_transfer_job(&self, job_id: &str) -> Result<(), Error> {
        let call = self.hub.call(Method::DELETE, path(job_id));
        match call.repeat(Repeat::Always).done().await {
            // A try whose reply was lost may have done it, so that the next one comes too late.
            Err(late) if late.status() == Some(405) && late.may_have_been_done() => {
                match self.transfer_job(job_id).await {
                    Ok(job) if job.status == TransferStatus::Cancelled => Ok(()),
                    _ => Err(late),
                }
            }
            other => other,
        }
    }

    async fn transfer(&self, request: &Request<'_>) -> Result<TransferJob, Error> {
        let call = self.hub.call(Method::POST, "/jobs/create").json(request);
        call.repeat(Repeat::Refused).read().await
    }
}

fn path(job_id: &str) -> String {
    format!("/jobs/{}", segment(job_id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_have_the_contracts_members() {
        let plain = Request::export("u", ExportOptions::default());
        let want =
            json!({"type": "export", "outputBlobContainerUri": "u", "excludeKeysInExport": false});
        assert_eq!(serde_json::to_value(plain).unwrap(), want);

        let plain = Request::import("i", "o", ImportOptions::default());
        let want =
            json!({"type": "import", "inputBlobContainerUri": "i", "outputBlobContainerUri": "o"});
        assert_eq!(serde_json::to_value(plain).unwrap(), want);

        let options = ExportOptions {
            exclude_keys: true,
            blob_name: Some("b.txt".into()),
            configurations: ConfigurationsBlob::Named("c.txt".into()),
            storage: StorageAccess {
                authentication: Some(StorageAuthentication::IdentityBased),
                user_assigned_identity: Some("me".into()),
            },
        };
        let want = json!({
            "type": "export", "outputBlobContainerUri": "u", "outputBlobName": "b.txt", "excludeKeysInExport": true,
            "storageAuthenticationType": "identityBased", "identity": {"userAssignedIdentity": "me"},
            "includeConfigurations": true, "configurationsBlobName": "c.txt",
        });
        let full = Request::export("u", options);
        assert_eq!(serde_json::to_value(full).unwrap(), want);
    }

    #[test]
    fn a_document_survives_and_hides_where_it_goes() {
        let text = json!({
            "jobId": "j", "type": "export", "status": "paused", "progress": 40,
            "outputBlobContainerUri": "https://a/b?sig=c2VjcmV0", "includeConfigurations": true,
        });
        let job: TransferJob = serde_json::from_value(text.clone()).unwrap();
        assert!(!job.status.is_terminal());
        assert!(!format!("{job:?}").contains("c2VjcmV0"));
        assert_eq!(serde_json::to_value(job).unwrap(), text);
    }
}
