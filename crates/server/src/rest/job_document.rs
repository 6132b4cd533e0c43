//! A job, and one device's share of it, as documents of the contract.

use fanfare_hub::{
    access::Actor,
    jobs::{
        job::{Job, JobEnd, JobState, MethodOperation, Operation, Progress, TwinOperation},
        ledger::{Outcome, Verdict},
        row,
    },
    json::JsonText,
    limits,
    ports::store::{DeviceJobRow, DeviceJobState},
    time::Timestamp,
};
use fanfare_wire::{
    RawValue,
    error::ErrorCode,
    jobs::{
        CreatedBy, DeviceJobError, DeviceJobOutcome, DeviceJobRow as Row, DeviceJobStatistics,
        DeviceJobStatus, JobDocument, JobStatus, JobType, UpdateTwin,
    },
    method::{MethodRequest, MethodResponse},
};
use serde_json::{Map, Value, json};

use super::error::Refusal;
use crate::audit::created_by;

/// How much of a condition a document repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// A document on its own: up to 64 KiB.
    One,
    /// One of many: up to 1 KiB.
    List,
}

impl Echo {
    fn bytes_max(self) -> usize {
        match self {
            Self::One => limits::JOB_CONDITION_ECHO_BYTES,
            Self::List => limits::JOB_CONDITION_LIST_BYTES,
        }
    }
}

/// The document of a job; `is_scheduled` tells that its start lies ahead. compat: JOB-5, JOB-16
pub(crate) fn document(job: &Job, is_scheduled: bool, echo: Echo) -> Result<JobDocument, Refusal> {
    let mut document = progress(job, is_scheduled);
    let condition = &job.plan.condition;
    if let Some(text) = condition
        .text()
        .filter(|text| text.len() <= echo.bytes_max())
    {
        document.query_condition = Some(text.to_owned());
    } else {
        let digest = condition.sha256();
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let condition = json!({"length": condition.bytes(), "sha256": sha256});
        document.fanfare.insert("condition".to_owned(), condition);
    }
    match &job.plan.operation {
        Operation::Method(method) => {
            document.cloud_to_device_method = Some(method_echo(method)?);
        }
        Operation::Twin(twin) => document.update_twin = Some(twin_echo(twin)?),
    }
    Ok(document)
}

/// The same without what its caller sent and knows: condition, method and twin update. compat: JOB-60
pub(crate) fn progress(job: &Job, is_scheduled: bool) -> JobDocument {
    let mut document =
        JobDocument::minimal(job.id.as_str(), job_type(job), status(job, is_scheduled));
    document.created_time = Some(time(job.created));
    document.start_time = Some(time(job.plan.start.unwrap_or(job.created)));
    document.max_execution_time_in_seconds = Some(u64::from(job.plan.window_seconds));
    match &job.state {
        JobState::Draining { .. } => document.status_message = Some("cancelling".to_owned()),
        JobState::Ended { end, at, .. } => {
            document.end_time = Some(time(*at));
            if let JobEnd::Failed { reason } = end {
                document.failure_reason = Some(reason.clone());
            }
        }
        JobState::Waiting | JobState::Running { .. } => {}
    }
    document.device_job_statistics = job.progress.as_ref().map(statistics);
    document.fanfare = extension(job.creator.as_ref());
    document
}

/// What only this hub says of a job of either kind: who made it. compat: JOB-62
pub(crate) fn extension(creator: Option<&Actor>) -> Map<String, Value> {
    let created_by = creator.map(created_by);
    let member = |created_by| (CreatedBy::MEMBER.to_owned(), json!(created_by));
    created_by.into_iter().map(member).collect()
}

/// What a job does, in the contract's word.
pub(crate) fn job_type(job: &Job) -> JobType {
    match job.plan.operation {
        Operation::Method(_) => JobType::ScheduleDeviceMethod,
        Operation::Twin(_) => JobType::ScheduleUpdateTwin,
    }
}

/// One device's share of a job. compat: JOB-9
pub(crate) fn device_job(row: &DeviceJobRow) -> Result<Row, Refusal> {
    let job = &row.job;
    let mut outcome = DeviceJobOutcome::default();
    let mut error = None;
    if let DeviceJobState::Ended(ended) = &row.state {
        if let Outcome::Answered { status, payload } = ended {
            let payload = payload.as_ref().map(raw).transpose()?;
            let answer = MethodResponse {
                status: i64::from(*status),
                payload,
            };
            outcome.device_method_response = Some(answer);
        }
        error = row::failure(ended).map(|(code, description)| DeviceJobError {
            code: code.to_owned(),
            description: description.into_owned(),
        });
    }
    Ok(Row {
        device_id: row.id.device.to_string(),
        module_id: row.id.module.as_ref().map(ToString::to_string),
        job_id: job.id.to_string(),
        job_type: job_type(job),
        status: device_job_status(&row.state),
        start_time_utc: time(job.start()),
        end_time_utc: time(job.deadline()),
        created_date_time_utc: time(job.sealed().unwrap_or(job.created)),
        last_updated_date_time_utc: time(row.updated),
        outcome,
        error,
    })
}

/// A moment of the hub on the wire.
pub(crate) fn time(at: Timestamp) -> fanfare_wire::Timestamp {
    fanfare_wire::Timestamp::from_micros(at.0)
}

/// compat: JOB-31
fn device_job_status(state: &DeviceJobState) -> DeviceJobStatus {
    match state {
        DeviceJobState::Pending => DeviceJobStatus::Pending,
        DeviceJobState::Running => DeviceJobStatus::Running,
        DeviceJobState::Ended(outcome) => match outcome.verdict() {
            Verdict::Succeeded => DeviceJobStatus::Completed,
            Verdict::Failed => DeviceJobStatus::Failed,
            Verdict::Canceled => DeviceJobStatus::Canceled,
        },
    }
}

fn status(job: &Job, is_scheduled: bool) -> JobStatus {
    match &job.state {
        JobState::Waiting if is_scheduled => JobStatus::Scheduled,
        JobState::Waiting => JobStatus::Queued,
        JobState::Running { .. } | JobState::Draining { .. } => JobStatus::Running,
        JobState::Ended { end, .. } => match end {
            JobEnd::Completed => JobStatus::Completed,
            JobEnd::Cancelled => JobStatus::Cancelled,
            JobEnd::Failed { .. } => JobStatus::Failed,
        },
    }
}

fn statistics(progress: &Progress) -> DeviceJobStatistics {
    DeviceJobStatistics {
        device_count: u64::from(progress.total),
        failed_count: u64::from(progress.failed),
        succeeded_count: u64::from(progress.succeeded),
        running_count: u64::from(progress.running),
        pending_count: u64::from(progress.pending()),
        canceled_count: u64::from(progress.canceled),
    }
}

/// compat: JOB-20
fn method_echo(method: &MethodOperation) -> Result<MethodRequest, Refusal> {
    let payload = Some(&method.payload).filter(|payload| payload.as_str() != "null");
    Ok(MethodRequest {
        method_name: Some(method.name.to_string()),
        payload: payload.map(raw).transpose()?,
        response_timeout_in_seconds: Some(u64::from(method.response_seconds)),
        connect_timeout_in_seconds: method.connect_seconds.map(u64::from),
    })
}

/// compat: JOB-10
fn twin_echo(twin: &TwinOperation) -> Result<UpdateTwin, Refusal> {
    serde_json::from_str(twin.echo.as_str()).map_err(|_| unreadable())
}

fn raw(text: &JsonText) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(text.as_str().to_owned()).map_err(|_| unreadable())
}

/// What the store kept was JSON when it was accepted.
fn unreadable() -> Refusal {
    Refusal::new(ErrorCode::ServerError, "a stored document cannot be read")
}
