//! What a hub says about jobs: the document of a job, and a row for each of its devices.
//!
//! Every member of the contract has a type here; members that it does not name are kept in `other` and written
//! out again. Null means absent.

use std::time::Duration;

use fanfare_wire::{Timestamp, jobs::CreatedBy};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::seconds;
use super::{DeviceJobStatus, DeviceMethod, JobStatus, JobType, TwinPatch};
use crate::MethodResult;
use crate::words::null_as_default;

/// A job as the hub shows it. Right after scheduling only the first three members are there.
///
/// ```
/// use fanfare_client::Job;
///
/// let text = r#"{"jobId": "move-43", "type": "scheduleUpdateTwin", "status": "running",
///     "deviceJobStatistics": {"deviceCount": 10, "succeededCount": 4, "failedCount": 1},
///     "mood": "festive"}"#;
/// let job: Job = serde_json::from_str(text)?;
/// assert_eq!((job.ended_count(), job.other["mood"].as_str()), (5, Some("festive")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Job {
    /// Job id.
    pub job_id: String,
    /// What it does (`type`).
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// Where it stands; once that is terminal, nothing about the job changes any more.
    pub status: JobStatus,
    /// Which devices, as it was scheduled. Fanfare leaves out conditions over 64 KiB, in lists over 1 KiB, and
    /// says their length and hash in `other["fanfare"]` instead. compat: JOB-16
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_condition: Option<String>,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<Timestamp>,
    /// When it starts or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// How long from its start devices may be reached (`maxExecutionTimeInSeconds`).
    #[serde(
        rename = "maxExecutionTimeInSeconds",
        default,
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub window: Option<Duration>,
    /// The call, of a method job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_method: Option<DeviceMethod>,
    /// The patch, of a twin job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_twin: Option<TwinPatch>,
    /// Why the job itself failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// A word for a person; `cancelling` while a cancelled job waits for the calls in flight. compat: JOB-16
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// Counts of its device jobs (`deviceJobStatistics`), once its target set is known.
    #[serde(
        rename = "deviceJobStatistics",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub statistics: Option<DeviceJobStatistics>,
    /// Legacy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Legacy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_job_id: Option<String>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Job {
    /// Whether the job has ended and nothing about it changes any more.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// if jobs.get_job("lock-43").await?.has_ended() {
    ///     println!("the doors have had their chance");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// Who made it, where the hub says (`fanfare.createdBy`); the answer to scheduling does not. Of a job that was
    /// scheduled twice by a repeated request, the first one's caller. compat: JOB-62
    ///
    /// ```
    /// use fanfare_client::{CreatedBy, Job};
    ///
    /// let text = r#"{"jobId": "move-43", "type": "scheduleUpdateTwin", "status": "running",
    ///     "fanfare": {"createdBy": {"policy": "service"}}}"#;
    /// let job: Job = serde_json::from_str(text)?;
    /// assert_eq!(job.created_by(), Some(CreatedBy::Policy { policy: "service".to_owned() }));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn created_by(&self) -> Option<CreatedBy> {
        CreatedBy::of(self.other.get("fanfare")?)
    }

    /// Device jobs that have their outcome; 0 before the target set is known.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// println!("{} devices are done", jobs.get_job("lock-43").await?.ended_count());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ended_count(&self) -> u64 {
        self.statistics
            .as_ref()
            .map_or(0, DeviceJobStatistics::ended_count)
    }
}

/// The counts of a job: `device_count` is the sum of all others.
///
/// ```
/// use fanfare_client::DeviceJobStatistics;
/// let counts = DeviceJobStatistics { device_count: 3, failed_count: 1, pending_count: 2, ..Default::default() };
/// assert_eq!(counts.ended_count(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceJobStatistics {
    /// Devices in the target set.
    #[serde(deserialize_with = "null_as_default")]
    pub device_count: u64,
    /// Ended badly.
    #[serde(deserialize_with = "null_as_default")]
    pub failed_count: u64,
    /// Answered or patched.
    #[serde(deserialize_with = "null_as_default")]
    pub succeeded_count: u64,
    /// Calls in flight.
    #[serde(deserialize_with = "null_as_default")]
    pub running_count: u64,
    /// Not begun.
    #[serde(deserialize_with = "null_as_default")]
    pub pending_count: u64,
    /// Cancelled with the job; Fanfare's own. compat: JOB-11
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_zero")]
    pub canceled_count: u64,
    /// Everything else beside the counts.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DeviceJobStatistics {
    /// Device jobs that have their outcome.
    ///
    /// ```
    /// assert_eq!(fanfare_client::DeviceJobStatistics::default().ended_count(), 0);
    /// ```
    #[must_use]
    pub const fn ended_count(&self) -> u64 {
        self.succeeded_count
            .saturating_add(self.failed_count)
            .saturating_add(self.canceled_count)
    }
}

/// One device's share of a job: a row of `devices.jobs`.
///
/// ```
/// use fanfare_client::DeviceJob;
///
/// let text = r#"{"deviceId": "door-1", "jobId": "lock-43", "jobType": "scheduleDeviceMethod",
///     "status": "completed", "outcome": {"deviceMethodResponse": {"status": 200, "payload": {"locked": true}}}}"#;
/// let row: DeviceJob = serde_json::from_str(text)?;
/// assert!(row.has_ended());
/// assert_eq!(row.answer().map(|(status, _)| status), Some(200));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeviceJob {
    /// Device id.
    pub device_id: String,
    /// Module id, where modules were the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Job id.
    pub job_id: String,
    /// What the job does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<JobType>,
    /// Where it stands.
    pub status: DeviceJobStatus,
    /// When the job started (`startTimeUtc`).
    #[serde(
        rename = "startTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub start_time: Option<Timestamp>,
    /// When the job's window ends (`endTimeUtc`): the deadline, whatever the name on the wire says. compat: JOB-9
    #[serde(
        rename = "endTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline: Option<Timestamp>,
    /// When the row was made (`createdDateTimeUtc`).
    #[serde(
        rename = "createdDateTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub created_time: Option<Timestamp>,
    /// When the row last changed (`lastUpdatedDateTimeUtc`): once it has ended, when that was.
    #[serde(
        rename = "lastUpdatedDateTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub last_updated_time: Option<Timestamp>,
    /// What came of it; empty unless the device answered a method.
    #[serde(default, deserialize_with = "null_as_default")]
    pub outcome: DeviceJobOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeviceJobError>,
    /// Everything else in the row.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DeviceJob {
    /// Whether this device job has its one outcome.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let rows = jobs.device_jobs("lock-43").collect().await?;
    /// println!("{} to go", rows.iter().filter(|row| !row.has_ended()).count());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.status.is_terminal()
    }

    /// The device's own status and payload, for a method that was answered.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// for row in jobs.device_jobs("lock-43").collect().await? {
    ///     if let Some((status, payload)) = row.answer() {
    ///         println!("{} said {status}: {payload}", row.device_id);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn answer(&self) -> Option<(i64, &Value)> {
        let answer = self.outcome.device_method_response.as_ref()?;
        Some((answer.status, &answer.payload))
    }
}

/// What came of a device job.
///
/// ```
/// use fanfare_client::DeviceJobOutcome;
/// let twin_job: DeviceJobOutcome = serde_json::from_str("{}")?;
/// assert!(twin_job.device_method_response.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeviceJobOutcome {
    /// The device's answer, of whatever status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_method_response: Option<MethodResult>,
    /// Everything else in the outcome.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Why a device job failed.
///
/// ```
/// use fanfare_client::DeviceJobError;
/// let text = r#"{"code": "JobRunPreconditionFailed", "description": "the device was not online"}"#;
/// let error: DeviceJobError = serde_json::from_str(text)?;
/// assert_eq!(error.code, "JobRunPreconditionFailed");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceJobError {
    /// The contract's name, for example `GatewayTimeout`, or [`OUTCOME_UNKNOWN`](crate::OUTCOME_UNKNOWN).
    /// compat: JOB-30
    #[serde(default, deserialize_with = "null_as_default")]
    pub code: String,
    /// The same for a person.
    #[serde(default, deserialize_with = "null_as_default")]
    pub description: String,
    /// Everything else beside code and description.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads a document, writes it, and gets what was read, so nothing was lost.
    fn there_and_back<T: Serialize + serde::de::DeserializeOwned>(document: &Value) -> T {
        let read: T = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(&serde_json::to_value(&read).unwrap(), document);
        read
    }

    #[test]
    fn a_twin_jobs_document_survives_with_every_member() {
        let job: Job = there_and_back(&json!({
            "jobId": "fw-9", "type": "scheduleUpdateTwin", "status": "completed",
            "queryCondition": "tags.site='b4'",
            "createdTime": "2031-02-03T04:05:06.1234560Z",
            "startTime": "2031-02-03T04:05:06.0000000Z",
            "endTime": "2031-02-03T04:05:19.0200000Z",
            "maxExecutionTimeInSeconds": 3600,
            "updateTwin": {"etag": "*", "tags": {"ring": 2}, "properties": {"desired": {"a": null}}},
            "failureReason": "r", "statusMessage": "m", "deviceId": "d", "parentJobId": "p",
            "deviceJobStatistics": {"deviceCount": 120, "failedCount": 1, "succeededCount": 117,
                "runningCount": 0, "pendingCount": 0, "canceledCount": 2, "skippedCount": 7},
            "fanfare": {"condition": {"length": 9}}, "mood": null,
        }));
        assert_eq!(job.window, Some(Duration::from_secs(3600)));
        assert_eq!(job.ended_count(), 120);
        let patch = job.update_twin.unwrap();
        assert_eq!(patch.desired, Some(json!({"a": null})));
        assert_eq!(patch.tags, Some(json!({"ring": 2})));
    }

    #[test]
    fn a_method_jobs_document_survives() {
        let job: Job = there_and_back(&json!({
            "jobId": "j", "type": "scheduleDeviceMethod", "status": "running",
            "cloudToDeviceMethod": {"methodName": "lock", "payload": [1], "responseTimeoutInSeconds": 30,
                "connectTimeoutInSeconds": 5, "loud": true},
        }));
        let method = job.cloud_to_device_method.unwrap();
        assert_eq!(method.connect_timeout, Some(Duration::from_secs(5)));
        assert!(job.statistics.is_none());
    }

    #[test]
    fn a_newer_hubs_words_and_members_are_kept() {
        let job: Job = there_and_back(&json!({
            "jobId": "j", "type": "scheduleParade", "status": "rehearsing", "band": {"size": 43},
        }));
        assert_eq!(job.status, JobStatus::Unknown("rehearsing".to_owned()));
        assert!(!job.has_ended());
    }

    #[test]
    fn null_and_short_forms_are_read_as_absent() {
        let text = r#"{"jobId":"j","type":"scheduleUpdateTwin","status":"Canceled","queryCondition":null,
            "createdTime":null,"startTime":"2031-02-03T04:05:06Z","maxExecutionTimeInSeconds":null,
            "cloudToDeviceMethod":null,"updateTwin":null,"failureReason":null,
            "deviceJobStatistics":{"deviceCount":3,"failedCount":null}}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(job.status, JobStatus::Cancelled);
        assert_eq!(job.start_time.unwrap().as_micros() % 1_000_000, 0);
        assert_eq!(job.statistics.unwrap().device_count, 3);
        assert!(job.other.is_empty(), "{:?}", job.other);
    }

    #[test]
    fn rows_survive_with_every_member() {
        let row: DeviceJob = there_and_back(&json!({
            "deviceId": "pump-3", "moduleId": "m", "jobId": "fw-9", "jobType": "scheduleDeviceMethod",
            "status": "completed",
            "startTimeUtc": "2031-02-03T04:05:06.1200000Z", "endTimeUtc": "2031-02-03T05:05:06.1200000Z",
            "createdDateTimeUtc": "2031-02-03T04:05:07.0000000Z",
            "lastUpdatedDateTimeUtc": "2031-02-03T05:05:06.1400000Z",
            "outcome": {"deviceMethodResponse": {"status": 404, "payload": {"a": 1}, "took": 3}, "mood": 1},
            "attempt": 2,
        }));
        assert_eq!(row.answer(), Some((404, &json!({"a": 1}))));
        let failed: DeviceJob = there_and_back(&json!({
            "deviceId": "d", "jobId": "j", "status": "failed", "outcome": {},
            "error": {"code": "GatewayTimeout", "description": "no answer", "hint": "wait"},
        }));
        assert_eq!(failed.answer(), None);
        assert!(failed.has_ended());
    }

    #[test]
    fn rows_of_other_hubs_are_read() {
        let text = r#"{"deviceId":"d","jobId":"j","jobType":"scheduleDeviceMethod","status":"canceled",
            "outcome":{"deviceMethodResponse":null},"error":null,"startTimeUtc":"0001-01-01T00:00:00"}"#;
        let row: DeviceJob = serde_json::from_str(text).unwrap();
        assert_eq!(
            (row.answer(), row.start_time),
            (None, Some(Timestamp::NEVER))
        );
        let text = r#"{"deviceId":"d","jobId":"j","status":"pending","outcome":null}"#;
        assert!(!serde_json::from_str::<DeviceJob>(text).unwrap().has_ended());
    }
}
