//! Client library for Fanfare, and for every hub that speaks the same contract.
//!
//! Decides how a call becomes a request: path, headers, signature, body; and how a reply becomes a value or an
//! [`Error`]. The shapes of the documents are `fanfare-wire`'s. Start at [`JobClient`] for jobs, at [`HubClient`]
//! for what jobs need around them: devices, twins, queries.
//!
//! ```no_run
//! use fanfare_client::{ClientOptions, DeviceMethod, JobClient};
//!
//! # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
//! let jobs = JobClient::from_connection_string(connection_string, ClientOptions::default())?;
//! let lock = DeviceMethod::new("lockDoor").response_timeout(std::time::Duration::from_secs(15));
//! jobs.schedule_device_method("lock-43", "tags.building = '43'", lock, None).await?;
//! let job = jobs.get_job("lock-43").await?;
//! println!("{}", job.status);
//! # Ok(())
//! # }
//! ```
//!
//! # What a client does by itself
//!
//! - **Repeats** calls whose repetition is safe, see [`RetryPolicy`]: any call that the hub certainly did not carry out
//!   (no connection, 429, a refused HTTP/2 stream); after 408, 500, 502, 503, 504 or a lost reply only those that do the
//!   same twice as once. [`Error::may_have_been_done`] says what a failed call leaves open.
//! - **Bounds** everything: each try by [`ClientOptions::timeout`], its body included; connecting by 15 s; a reply's head
//!   by 64 KiB, its body by 128 MiB, a refusal's by 64 KiB; HTTP/1.1 connections by 256; event streams of monitors by 64,
//!   further ones poll. While calls wait, an HTTP/2 connection is pinged every 15 s and given up when 10 s bring no
//!   answer. Calls that wait for the same connection hear together that there is none.
//! - **Keeps connections**, and uses none again after 30 s without use: one of HTTP/1.1 for a call while no other is under
//!   way, which costs least, and one of HTTP/2 for all others; as many of HTTP/1.1 as there are calls at once where the hub
//!   has no other. Tasks live no longer than the last clone of a client; HTTP/1.1 needs none.
//! - **Keeps secrets**: no redirect is followed, so that the credential goes to the hub alone; `Debug` and errors show no
//!   key, signature, token or password.
//! - **Ignores the environment**: a proxy is used when it is given or asked for, see [`Proxy`], and never for loopback
//!   unless that is asked for too. Nothing is asked for or read compressed.
//!
//! It runs on tokio, with I/O and time enabled.
//!
//! # Features
//!
//! `http2` (default): HTTP/2 for calls at once, where the hub offers it. `platform-verifier` (default): [`Trust::System`] and
//! [`Trust::SystemAnd`]. Without either, the tree is small and only [`Trust::Only`] works.

#![warn(missing_docs)]

mod authorities;
mod credential;
mod error;
mod health;
mod hub;
mod identity;
mod jobs;
mod methods;
mod options;
mod pager;
mod policies;
mod profile;
mod proxy;
mod queries;
mod registry;
mod retry;
mod transport;
mod twins;
mod words;

pub use authorities::{Authority, AuthorityClient};
pub use credential::{AccessToken, BoxFuture, Credential, CredentialError, TokenCredential};
pub use error::{Error, Refusal, RequestLine, SetupError};
pub use fanfare_wire::jobs::{CreatedBy, OUTCOME_UNKNOWN};
pub use fanfare_wire::registry::ImportMode;
pub use fanfare_wire::{Secret, Timestamp};
pub use health::HealthProbe;
pub use hub::HubClient;
pub use identity::{Etag, IdentityId};
pub use jobs::{
    DeviceJob, DeviceJobError, DeviceJobOutcome, DeviceJobStatistics, DeviceJobStatus,
    DeviceMethod, Job, JobClient, JobMonitor, JobProgress, JobStatus, JobType, ScheduleOptions,
    TwinPatch,
};
pub use methods::{MethodClient, MethodResult};
pub use options::{ClientOptions, Trust};
pub use pager::{Pager, Pages};
pub use policies::{Policy, PolicyClient, PolicyRight, PolicyRights};
pub use profile::{HubProfile, Rate};
pub use proxy::Proxy;
pub use queries::{QueryClient, literal};
pub use registry::{
    Authentication, AuthenticationType, BULK_ITEMS_MAX, BulkInterrupted, BulkItem, BulkOutcome,
    BulkProperties, Capabilities, Configuration, ConfigurationContent, ConfigurationMetrics,
    ConfigurationsBlob, ConnectionState, Device, DeviceStatistics, ExportOptions, IdentityStatus,
    ImportOptions, KeyRenewal, Module, PurgedMessages, QueryFaults, RefusedItem, RegistryClient,
    ServiceStatistics, StorageAccess, StorageAuthentication, SymmetricKey, Thumbprints,
    TransferJob, TransferKind, TransferStatus,
};
pub use retry::RetryPolicy;
pub use transport::Page;
pub use twins::{ConfigurationState, Twin, TwinClient, TwinProperties};

/// The examples of the README are compiled with those of the library.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
