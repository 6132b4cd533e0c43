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
//! let lock = DeviceMethod::new("lockDoor").response_timeout_s(15);
//! jobs.schedule_device_method("lock-43", "tags.building = '43'", lock, None).await?;
//! let job = jobs.get_job("lock-43").await?;
//! println!("{}", job.status);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod credential;
mod error;
mod health;
mod jobs;
mod options;
mod query;
mod registry;
mod transport;
mod twins;

pub use credential::Credential;
pub use error::Error;
pub use fanfare_wire::jobs::{
    DeviceJobError, DeviceJobStatistics, DeviceJobStatus, JobStatus, JobType, OUTCOME_UNKNOWN,
};
pub use health::HealthProbe;
pub use jobs::{DeviceJob, DeviceJobs, DeviceMethod, Job, JobClient, ScheduleOptions, TwinPatch};
pub use options::{ClientOptions, Trust};
pub use query::Rows;
pub use registry::{BulkOutcome, Device, NewDevice, RefusedDevice};
pub use transport::HubClient;
pub use twins::{Twin, TwinProperties};
