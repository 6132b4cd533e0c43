//! Jobs: schedule, look, cancel, watch, and the outcome of each device.
//!
//! Decides what is asked of a hub about jobs, and when an answer to a repeated request means that the first one was
//! done. What is sent and read lives below: [`schedule`], [`documents`], [`states`]; watching in [`monitor`].

use crate::pager::ListRequest;
use crate::queries::literal;
use crate::transport::{Method, Repeat, segment};
use crate::{Error, HubClient, Pager};

mod documents;
mod events;
mod monitor;
mod schedule;
mod seconds;
mod states;

pub use documents::{DeviceJob, DeviceJobError, DeviceJobOutcome, DeviceJobStatistics, Job};
pub use monitor::{JobMonitor, JobProgress};
pub use schedule::{DeviceMethod, ScheduleOptions, TwinPatch};
pub use states::{DeviceJobStatus, JobStatus, JobType};

use schedule::{Operation, Schedule};

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

crate::hub::constructors_of!(JobClient);

impl JobClient {
    /// Schedules a method call on every device that `condition` selects (`*`: all) when the job starts. The reply
    /// has the job's id, type and status; [`Self::get_job`] tells the rest.
    ///
    /// Repeated when the reply is lost: a hub that then says the id is taken is asked whether by this very job.
    ///
    /// # Errors
    /// `ArgumentInvalid` for a condition or value the hub cannot use, `JobAlreadyExists`, or no reply.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use fanfare_client::{DeviceMethod, JobClient, ScheduleOptions};
    ///
    /// # async fn example(jobs: JobClient) -> Result<(), fanfare_client::Error> {
    /// let lock = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(15));
    /// let window = Some(Duration::from_secs(300));
    /// let options = ScheduleOptions { window, ..ScheduleOptions::default() };
    /// jobs.schedule_device_method("lock-43", "tags.building = '43'", lock, options).await?;
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
        let operation = Operation::Method(method);
        self.schedule(job_id, condition, operation, options.into())
            .await
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
        let operation = Operation::Twin(patch);
        self.schedule(job_id, condition, operation, options.into())
            .await
    }

    async fn schedule(
        &self,
        job_id: &str,
        condition: &str,
        operation: Operation,
        options: Option<ScheduleOptions>,
    ) -> Result<Job, Error> {
        let wish = Schedule {
            job_id: job_id.to_owned(),
            condition: condition.to_owned(),
            operation,
            options: options.unwrap_or_default(),
        };
        let call = self.hub.call(Method::PUT, path(job_id)?).json(&wish.body());
        match call.repeat(Repeat::Always).read().await {
            Err(error) if error.may_have_been_done() && is(&error, "JobAlreadyExists") => {
                match self.get_job(job_id).await {
                    Ok(job) if wish.is_fulfilled_by(&job) => Ok(job),
                    _ => Err(error),
                }
            }
            scheduled => scheduled,
        }
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
        self.hub.call(Method::GET, path(job_id)?).read().await
    }

    /// Cancels a job and returns it. On Fanfare a running job takes no new devices from the moment this returns,
    /// and is `running` with the message `cancelling` until the calls in flight have ended; other hubs may refuse
    /// to cancel what is running.
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
        let path = format!("{}/cancel", path(job_id)?);
        let call = self.hub.call(Method::POST, path).repeat(Repeat::Always);
        match call.read().await {
            Err(error)
                if error.may_have_been_done()
                    && is(&error, "OperationNotAllowedInCurrentState") =>
            {
                // The first of the two requests may be why it has ended.
                match self.get_job(job_id).await {
                    Ok(job) if is_cancelled(&job) => Ok(job),
                    _ => Err(error),
                }
            }
            cancelled => cancelled,
        }
    }

    /// The hub's jobs, newest first; of one type, in one state, or both.
    ///
    /// ```no_run
    /// use fanfare_client::{JobStatus, JobType};
    ///
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut running = jobs.query_jobs(Some(JobType::ScheduleUpdateTwin), Some(JobStatus::Running));
    /// while let Some(job) = running.try_next().await? {
    ///     println!("{}: {} devices done", job.job_id, job.ended_count());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn query_jobs(&self, job_type: Option<JobType>, status: Option<JobStatus>) -> Pager<Job> {
        let mut narrow = Vec::new();
        // In the order of the Node SDK, so that whoever compares texts sees the same.
        if let Some(status) = status {
            narrow.push(("jobStatus", status.as_str().to_owned()));
        }
        if let Some(job_type) = job_type {
            narrow.push(("jobType", job_type.as_str().to_owned()));
        }
        let request = ListRequest::Get("/jobs/v2/query", narrow);
        Pager::new(self.hub.clone(), request)
    }

    /// The device jobs of a job, in an order that stays the same while the job runs. A job that has not started
    /// has none; neither has a job that is not there.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut rows = jobs.device_jobs("lock-43");
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{} {}", row.device_id, row.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn device_jobs(&self, job_id: &str) -> Pager<DeviceJob> {
        // No id of the contract has a quote, but the text must not end early whatever is asked for.
        let id = literal(job_id);
        let text = format!("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = {id}");
        Pager::new(self.hub.clone(), ListRequest::Query(text))
    }

    /// Watches a job until it ends: how it stands now, then each change. Nothing is asked before the first is
    /// waited for; dropping the monitor ends it and leaves the job alone.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut monitor = jobs.monitor("lock-43");
    /// while let Some(progress) = monitor.try_next().await? {
    ///     println!("{}: {} done", progress.job.status, progress.job.ended_count());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn monitor(&self, job_id: &str) -> JobMonitor {
        JobMonitor::new(self.clone(), job_id)
    }
}

/// Path of a job. An id may be whatever the hub takes, but its path must be that of a job, not of the list.
/// compat: JOB-38
fn path(job_id: &str) -> Result<String, Error> {
    match job_id {
        "query" => Err(Error::Argument("a job cannot be called query".to_owned())),
        _ => Ok(format!("/jobs/v2/{}", segment(job_id))),
    }
}

fn is(error: &Error, code: &str) -> bool {
    error.code() == Some(code)
}

/// compat: JOB-16
fn is_cancelled(job: &Job) -> bool {
    job.status == JobStatus::Cancelled || job.status_message.as_deref() == Some("cancelling")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_the_path_or_refused() {
        assert_eq!(path("lock-43").unwrap(), "/jobs/v2/lock-43");
        assert_eq!(path("j 2/x").unwrap(), "/jobs/v2/j%202%2Fx");
        assert!(matches!(path("query"), Err(Error::Argument(_))));
    }

    #[test]
    fn a_job_that_is_being_cancelled_counts_as_cancelled() {
        let job = |status: &str, message: &str| -> Job {
            let text = format!(
                r#"{{"jobId":"j","type":"scheduleUpdateTwin","status":"{status}","statusMessage":"{message}"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert!(is_cancelled(&job("cancelled", "")));
        assert!(is_cancelled(&job("running", "cancelling")));
        assert!(!is_cancelled(&job("completed", "")));
    }
}
