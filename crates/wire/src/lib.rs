//! Every shape the Azure IoT Hub contract fixed: JSON documents, error bodies, tokens, timestamps, topics.
//!
//! This crate decides how bytes on the wire are spelled and nothing else. It opens no socket, reads no clock
//! and knows no store; numbers that need one of these (the time now, a tracking id) are arguments. Rules such
//! as limits, permissions and states live in the hub; conversion to its types lives in the server, beside the
//! route or the session.
//!
//! Start at [`jobs`] for the documents of a job, at [`error`] for what a refusal looks like, at [`topic`] for
//! what devices say over MQTT. Facts are cited as `compat: JOB-1`; the numbers lead to `docs/compat/`.
//!
//! ```
//! use fanfare_wire::{decode, jobs::ScheduleRequest};
//!
//! let body = br#"{"jobId":7,"type":"scheduleUpdateTwin","updateTwin":{"tags":{"ring":2}},"queryCondition":"*"}"#;
//! let request: ScheduleRequest = decode(body).expect("the body is well formed");
//! assert_eq!(request.job_id.as_deref(), Some("7"));
//! ```

#![warn(missing_docs)]

pub mod authorities;
pub mod configurations;
pub mod connection_string;
pub mod error;
pub mod etag;
pub mod http;
pub mod jobs;
pub mod method;
pub mod policies;
pub mod property_bag;
pub mod query;
pub mod registry;
pub mod sas;
pub mod timestamp;
pub mod topic;
pub mod transfers;
pub mod twin;

mod field;
mod json;
mod percent;
mod secret;
mod strict;

pub use field::Field;
pub use json::{DEPTH_MAX, DecodeError, decode};
pub use secret::Secret;
pub use timestamp::Timestamp;

/// JSON text kept as it was written, for payloads that the hub passes on without looking inside.
pub use serde_json::value::RawValue;
