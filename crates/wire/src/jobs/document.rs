//! What the hub says about a job: the document, lists of it, and a row for each device.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{DeviceJobStatus, JobStatus, JobType, UpdateTwin};
use crate::method::{MethodRequest, MethodResponse};
use crate::{Timestamp, field};

/// A job, as GET, cancel and lists answer it. Absent members are left out, never null. compat: JOB-5
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDocument {
    /// The id.
    pub job_id: String,
    /// What it does. Called `type` here and `jobType` in rows.
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// Where it stands.
    pub status: JobStatus,
    /// Which devices, exactly as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_condition: Option<String>,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<Timestamp>,
    /// When it is or was to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended; only in a terminal state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// How long its window is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_execution_time_in_seconds: Option<u64>,
    /// The call of a method job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_method: Option<MethodRequest>,
    /// The patch of a twin job, with nothing added. compat: JOB-10
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_twin: Option<UpdateTwin>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// A word for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// The counts, once the target set is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_job_statistics: Option<DeviceJobStatistics>,
    /// What only this hub says; left out when empty. compat: JOB-11
    #[serde(
        default,
        deserialize_with = "field::null_as_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub fanfare: Map<String, Value>,
}

impl JobDocument {
    /// The three members every document has; also the whole answer to a PUT. compat: JOB-4
    pub fn minimal(job_id: impl Into<String>, job_type: JobType, status: JobStatus) -> Self {
        Self {
            job_id: job_id.into(),
            job_type,
            status,
            query_condition: None,
            created_time: None,
            start_time: None,
            end_time: None,
            max_execution_time_in_seconds: None,
            cloud_to_device_method: None,
            update_twin: None,
            failure_reason: None,
            status_message: None,
            device_job_statistics: None,
            fanfare: Map::new(),
        }
    }
}

/// Who made a job: `createdBy` in the `fanfare` member of its document. compat: JOB-62
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CreatedBy {
    /// Whoever held a key of a shared access policy.
    Policy {
        /// The policy's name.
        policy: String,
    },
    /// Somebody an issuer of bearer tokens vouched for.
    Token {
        /// The issuer, as in the token's `iss`.
        issuer: String,
        /// Whom it named, as in the token's `sub`.
        subject: String,
        /// The application, when the token named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        app: Option<String>,
    },
}

impl CreatedBy {
    /// Its place in a document's `fanfare` member.
    pub const MEMBER: &'static str = "createdBy";

    /// Reads it from a document's `fanfare` member; `None` where that does not say, or says it in a way this
    /// version does not know.
    pub fn of(fanfare: &Value) -> Option<Self> {
        Self::deserialize(fanfare.get(Self::MEMBER)?).ok()
    }
}

impl fmt::Display for CreatedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { policy } => write!(f, "policy {policy}"),
            Self::Token {
                subject,
                app: Some(app),
                ..
            } => write!(f, "token {subject} (app {app})"),
            Self::Token { subject, .. } => write!(f, "token {subject}"),
        }
    }
}

/// The counts of a job. `device_count` is the sum of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceJobStatistics {
    /// Devices in the target set.
    pub device_count: u64,
    /// Ended badly.
    pub failed_count: u64,
    /// Answered or patched.
    pub succeeded_count: u64,
    /// Calls in flight.
    pub running_count: u64,
    /// Not begun.
    pub pending_count: u64,
    /// Cancelled with the job. Ours, so left out when it is 0. compat: JOB-11
    #[serde(skip_serializing_if = "is_zero")]
    pub canceled_count: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A page of jobs: a bare array for everyone but Python. compat: JOB-8
#[derive(Debug, Clone)]
pub enum JobList {
    /// What every SDK but one demands.
    Array(Vec<JobDocument>),
    /// What Python's model declares: an object, with all items in one page.
    Envelope(Vec<JobDocument>),
}

impl Serialize for JobList {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            JobList::Array(items) => items.serialize(output),
            JobList::Envelope(items) => {
                let mut envelope = output.serialize_struct("JobList", 3)?;
                envelope.serialize_field("type", "jobResponse")?;
                envelope.serialize_field("items", items)?;
                envelope.serialize_field("continuationToken", &None::<&str>)?;
                envelope.end()
            }
        }
    }
}

/// Whether the caller is Python's service SDK, which cannot read the array. The CLI is built on the same
/// library but reads arrays. compat: JOB-8
pub fn list_needs_envelope(user_agent: &str) -> bool {
    let is_there = |word| user_agent.contains(word);
    is_there("msrest/")
        && is_there("iothubgatewayserviceapis/")
        && !is_there("Azure-SDK-For-Python")
        && !is_there("IoTPlatformCliExtension")
}

/// One device's share of a job, as `SELECT * FROM devices.jobs` shows it. The four times are always there.
/// compat: JOB-9
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceJobRow {
    /// The device.
    pub device_id: String,
    /// Its module, when modules were the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// The job.
    pub job_id: String,
    /// What the job does. Called `jobType` here and `type` in the job document.
    pub job_type: JobType,
    /// Where this share stands.
    pub status: DeviceJobStatus,
    /// When the job started.
    pub start_time_utc: Timestamp,
    /// When its window ends: the deadline, not the time of completion.
    pub end_time_utc: Timestamp,
    /// When the row was made.
    pub created_date_time_utc: Timestamp,
    /// When the row last changed; in the end, the time of completion.
    pub last_updated_date_time_utc: Timestamp,
    /// What came of it; an empty object unless a device answered.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub outcome: DeviceJobOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeviceJobError>,
}

/// What came of a device job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceJobOutcome {
    /// The device's answer, of whatever status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_method_response: Option<MethodResponse>,
}

/// Why a device job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceJobError {
    /// The name of an [`crate::error::ErrorCode`], or [`super::OUTCOME_UNKNOWN`].
    pub code: String,
    /// The same for a person.
    #[serde(default)]
    pub description: String,
}
