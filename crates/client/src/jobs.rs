//! Jobs: schedule, look, cancel, and the outcome of each device.

use fanfare_wire::jobs::{
    DeviceJobError, DeviceJobStatistics, DeviceJobStatus, JobStatus, JobType,
};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::transport::{IfMatch, segment};
use crate::{ClientOptions, Credential, Error, HubClient, Rows};

/// The jobs of one hub. Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, Credential, JobClient};
///
/// # async fn example() -> Result<(), fanfare_client::Error> {
/// let credential = Credential::shared_access_key("registryReadWrite", "c2VjcmV0");
/// let jobs = JobClient::new("https://localhost", credential, ClientOptions::default())?;
/// println!("{}", jobs.get_job("lock-43").await?.status);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct JobClient {
    hub: HubClient,
}

impl JobClient {
    /// A client of the hub at `endpoint`, `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// When the endpoint, the credential or the trusted certificates cannot be used. Nothing is sent.
    pub fn new(
        endpoint: &str,
        credential: Credential,
        options: ClientOptions,
    ) -> Result<Self, Error> {
        Ok(Self::of(HubClient::new(endpoint, credential, options)?))
    }

    /// A client of the hub that a connection string names.
    ///
    /// # Errors
    /// As [`Self::new`], and when the text is no connection string of a shared access policy.
    pub fn from_connection_string(text: &str, options: ClientOptions) -> Result<Self, Error> {
        Ok(Self::of(HubClient::from_connection_string(text, options)?))
    }

    pub(crate) fn of(hub: HubClient) -> Self {
        Self { hub }
    }

    /// Schedules a method call on every device that `condition` selects (`*`: all) when the job starts.
    ///
    /// # Errors
    /// `ArgumentInvalid` for a condition or value the hub cannot use, `JobAlreadyExists`, or no reply; after no
    /// reply the same call may be made again, the hub answers it with the job it has.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::{DeviceMethod, ScheduleOptions};
    /// let lock = DeviceMethod::new("lockDoor").response_timeout_s(15);
    /// let window = ScheduleOptions { window_s: Some(300), ..ScheduleOptions::default() };
    /// jobs.schedule_device_method("lock-43", "tags.building = '43'", lock, Some(window)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn schedule_device_method(
        &self,
        job_id: &str,
        condition: &str,
        method: DeviceMethod,
        options: impl Into<Option<ScheduleOptions>>,
    ) -> Result<Job, Error> {
        let body = json!({
            "jobId": job_id,
            "type": JobType::ScheduleDeviceMethod,
            "cloudToDeviceMethod": method,
            "queryCondition": condition,
        });
        self.schedule(job_id, body, options.into()).await
    }

    /// Schedules a patch of the twin of every device that `condition` selects (`*`: all) when the job starts.
    ///
    /// # Errors
    /// As [`Self::schedule_device_method`].
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::TwinPatch;
    /// let patch = TwinPatch::desired(serde_json::json!({"building": "43", "floor": 3}));
    /// jobs.schedule_twin_update("move-43", "tags.floor = 3", patch, None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn schedule_twin_update(
        &self,
        job_id: &str,
        condition: &str,
        patch: TwinPatch,
        options: impl Into<Option<ScheduleOptions>>,
    ) -> Result<Job, Error> {
        let body = json!({
            "jobId": job_id,
            "type": JobType::ScheduleUpdateTwin,
            "updateTwin": patch.document(),
            "queryCondition": condition,
        });
        self.schedule(job_id, body, options.into()).await
    }

    async fn schedule(
        &self,
        job_id: &str,
        mut body: Value,
        options: Option<ScheduleOptions>,
    ) -> Result<Job, Error> {
        let ScheduleOptions {
            start_time,
            window_s,
        } = options.unwrap_or_default();
        if let Some(start_time) = start_time {
            body["startTime"] = start_time.into();
        }
        if let Some(window_s) = window_s {
            body["maxExecutionTimeInSeconds"] = window_s.into();
        }
        let path = format!("/jobs/v2/{}", segment(job_id));
        self.hub
            .send(Method::PUT, &path, IfMatch::Absent, &body)
            .await
    }

    /// A job as it is now.
    ///
    /// # Errors
    /// `JobNotFound`, or no reply.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let job = jobs.get_job("lock-43").await?;
    /// println!("{} {:?}", job.status, job.statistics);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_job(&self, job_id: &str) -> Result<Job, Error> {
        self.hub.get(&format!("/jobs/v2/{}", segment(job_id))).await
    }

    /// Cancels a job and returns it. A running job ends once the calls in flight have ended.
    ///
    /// # Errors
    /// `JobNotFound`, `OperationNotAllowedInCurrentState` for a job that has ended, or no reply.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", jobs.cancel_job("lock-43").await?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel_job(&self, job_id: &str) -> Result<Job, Error> {
        self.hub
            .post_empty(&format!("/jobs/v2/{}/cancel", segment(job_id)))
            .await
    }

    /// The device jobs of a job, page by page, in an order that stays the same while the job runs.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut rows = jobs.device_jobs("lock-43");
    /// while let Some(row) = rows.next().await? {
    ///     println!("{} {}", row.device_id, row.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn device_jobs(&self, job_id: &str) -> DeviceJobs {
        // A quote in an id would end the text early; the contract's ids have none, but ours to be safe.
        let id = job_id.replace('\\', "\\\\").replace('\'', "\\'");
        self.hub.query(format!(
            "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{id}'"
        ))
    }
}

/// Device jobs of one job, page by page.
pub type DeviceJobs = Rows<DeviceJob>;

/// A method to call on devices.
///
/// ```
/// use fanfare_client::DeviceMethod;
/// let blink = DeviceMethod::new("blink").payload(serde_json::json!({"times": 3})).response_timeout_s(15);
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceMethod {
    method_name: String,
    payload: Value,
    response_timeout_in_seconds: u32,
}

impl DeviceMethod {
    /// The method `name` with payload `null` and 30 seconds to answer.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            method_name: name.into(),
            payload: Value::Null,
            response_timeout_in_seconds: 30,
        }
    }

    /// The payload devices get.
    #[must_use]
    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = payload;
        self
    }

    /// Seconds a device has to answer, 5 to 300.
    #[must_use]
    pub fn response_timeout_s(mut self, seconds: u32) -> Self {
        self.response_timeout_in_seconds = seconds;
        self
    }
}

/// A patch of twins: `tags` and desired properties. `null` removes a member.
///
/// ```
/// use fanfare_client::TwinPatch;
/// use serde_json::json;
/// let patch = TwinPatch::desired(json!({"floor": 3})).tags(json!({"ring": 2}));
/// ```
#[derive(Debug, Clone, Default)]
pub struct TwinPatch {
    desired: Option<Value>,
    tags: Option<Value>,
}

impl TwinPatch {
    /// A patch of the desired properties.
    #[must_use]
    pub fn desired(patch: Value) -> Self {
        Self {
            desired: Some(patch),
            tags: None,
        }
    }

    /// Patches the tags as well.
    #[must_use]
    pub fn tags(mut self, patch: Value) -> Self {
        self.tags = Some(patch);
        self
    }

    /// As `updateTwin` wants it: the etag of a job's patch is always `*`.
    fn document(&self) -> Value {
        let mut document = json!({"etag": "*"});
        if let Some(tags) = &self.tags {
            document["tags"] = tags.clone();
        }
        if let Some(desired) = &self.desired {
            document["properties"] = json!({ "desired": desired });
        }
        document
    }
}

/// When a job runs.
///
/// ```
/// use fanfare_client::ScheduleOptions;
/// let tonight = ScheduleOptions {
///     start_time: Some("2031-02-03T22:00:00Z".to_owned()),
///     window_s: Some(3600),
/// };
/// ```
#[derive(Debug, Clone, Default)]
pub struct ScheduleOptions {
    /// ISO 8601 time at which the job starts; `None` or a time in the past: at once.
    pub start_time: Option<String>,
    /// Seconds from the start in which devices may be reached (`maxExecutionTimeInSeconds`); `None`: an hour.
    pub window_s: Option<u32>,
}

/// A job as the hub shows it. Members this library does not name are in `other`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Job id.
    pub job_id: String,
    /// What it does.
    #[serde(rename = "type")]
    pub job_type: JobType,
    /// Where it stands; once that is terminal, nothing about the job changes any more.
    pub status: JobStatus,
    /// Counts of its device jobs, once its target set is known.
    #[serde(
        rename = "deviceJobStatistics",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub statistics: Option<DeviceJobStatistics>,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Job {
    /// Device jobs that have their outcome; 0 before the target set is known.
    #[must_use]
    pub fn ended_count(&self) -> u64 {
        let counts = self.statistics.unwrap_or_default();
        counts.succeeded_count + counts.failed_count + counts.canceled_count
    }
}

/// One device's share of a job. Members this library does not name are in `other`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceJob {
    /// Device id.
    pub device_id: String,
    /// Job id.
    pub job_id: String,
    /// Where it stands.
    pub status: DeviceJobStatus,
    /// What the device answered, `{}` when nothing.
    #[serde(default)]
    pub outcome: Value,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeviceJobError>,
    /// Everything else in the row.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DeviceJob {
    /// Whether this device job has its outcome.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        use DeviceJobStatus as At;
        matches!(self.status, At::Completed | At::Failed | At::Canceled)
    }

    /// The device's own status and payload, for a method that was answered.
    #[must_use]
    pub fn answer(&self) -> Option<(i64, &Value)> {
        let answer = self.outcome.get("deviceMethodResponse")?;
        Some((answer.get("status")?.as_i64()?, answer.get("payload")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_of_a_job_survive() {
        let text = r#"{"jobId":"j","type":"scheduleUpdateTwin","status":"running",
            "deviceJobStatistics":{"deviceCount":3,"succeededCount":1,"pendingCount":2},"fanfare":{"x":1}}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(job.ended_count(), 1);
        assert_eq!(job.other["fanfare"]["x"], 1);
        assert!(!job.status.is_terminal());
    }

    #[test]
    fn a_patch_always_carries_the_wildcard_etag() {
        let patch = TwinPatch::desired(json!({"floor": 3}));
        assert_eq!(
            patch.document(),
            json!({"etag": "*", "properties": {"desired": {"floor": 3}}})
        );
    }

    #[test]
    fn the_answer_of_a_device_is_read_from_its_row() {
        let text = r#"{"deviceId":"d","jobId":"j","status":"completed",
            "outcome":{"deviceMethodResponse":{"status":404,"payload":{"a":1}}}}"#;
        let row: DeviceJob = serde_json::from_str(text).unwrap();
        assert_eq!(row.answer(), Some((404, &json!({"a": 1}))));
        assert!(row.has_ended());
    }
}
