//! One device's share of a job as everybody sees it: its status, its error code, and its fields for
//! queries over `devices.jobs`.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::json;

use super::{
    job::{Job, Operation},
    ledger::{Outcome, Verdict},
};
use crate::{
    ports::store::{DeviceJobRow, DeviceJobState},
    query::{Document, JobField, Keys, Path, Value},
    time::Timestamp,
};

/// Why a device job failed, as code and sentence. compat: JOB-30
pub fn failure(outcome: &Outcome) -> Option<(&'static str, Cow<'_, str>)> {
    let (code, text) = match outcome {
        Outcome::Answered { .. } | Outcome::Applied | Outcome::Canceled => return None,
        Outcome::Unreachable => (
            "JobRunPreconditionFailed",
            "the device was not online inside the window of the job",
        ),
        Outcome::TimedOut => ("GatewayTimeout", "the device did not answer in time"),
        Outcome::Rejected { reason } => return Some(("ArgumentInvalid", Cow::Borrowed(reason))),
        Outcome::Garbled => ("GenericBadGateway", "the answer was not JSON or too large"),
        Outcome::Deleted => ("DeviceNotFound", "the device was deleted"),
        Outcome::Unknown => (
            "OutcomeUnknown",
            "the hub stopped while the call was in flight and no answer came in time",
        ),
    };
    Some((code, Cow::Borrowed(text)))
}

/// The status of a row. compat: JOB-31
pub fn status(state: &DeviceJobState) -> &'static str {
    match state {
        DeviceJobState::Pending => "pending",
        DeviceJobState::Running => "running",
        DeviceJobState::Ended(outcome) => match outcome.verdict() {
            Verdict::Succeeded => "completed",
            Verdict::Failed => "failed",
            Verdict::Canceled => "canceled",
        },
    }
}

/// The contract's word for a job's operation.
pub fn job_type(job: &Job) -> &'static str {
    match job.plan.operation {
        Operation::Method(_) => "scheduleDeviceMethod",
        Operation::Twin(_) => "scheduleUpdateTwin",
    }
}

/// A row that can be asked for values.
pub struct RowDocument<'a> {
    row: &'a DeviceJobRow,
    outcome: OnceCell<serde_json::Value>,
    error: OnceCell<serde_json::Value>,
}

impl<'a> RowDocument<'a> {
    /// Over a row.
    pub fn new(row: &'a DeviceJobRow) -> Self {
        Self {
            row,
            outcome: OnceCell::new(),
            error: OnceCell::new(),
        }
    }

    fn outcome(&self) -> &serde_json::Value {
        self.outcome.get_or_init(|| match &self.row.state {
            DeviceJobState::Ended(Outcome::Answered { status, payload }) => {
                let payload: serde_json::Value = payload
                    .as_ref()
                    .and_then(|payload| serde_json::from_str(payload.as_str()).ok())
                    .unwrap_or_default();
                json!({"deviceMethodResponse": {"status": status, "payload": payload}})
            }
            _ => json!({}),
        })
    }

    fn error(&self) -> &serde_json::Value {
        self.error.get_or_init(|| match &self.row.state {
            DeviceJobState::Ended(outcome) => failure(outcome)
                .map(|(code, description)| json!({"code": code, "description": description}))
                .unwrap_or_default(),
            _ => serde_json::Value::Null,
        })
    }

    fn field(&self, field: JobField) -> Value<'_> {
        let text = |text: &'a str| Value::String(Cow::Borrowed(text));
        let time = |at: Timestamp| Value::String(Cow::Owned(at.to_string()));
        let job = &self.row.job;
        match field {
            JobField::DeviceId => text(self.row.id.device.as_str()),
            JobField::ModuleId => match &self.row.id.module {
                Some(module) => text(module.as_str()),
                None => Value::Undefined,
            },
            JobField::JobId => text(job.id.as_str()),
            JobField::JobType => text(job_type(job)),
            JobField::Status => text(status(&self.row.state)),
            JobField::StartTimeUtc => time(job.start()),
            JobField::EndTimeUtc => time(job.deadline()),
            JobField::CreatedDateTimeUtc => time(job.sealed().unwrap_or(job.created)),
            JobField::LastUpdatedDateTimeUtc => time(self.row.updated),
        }
    }
}

impl Document for RowDocument<'_> {
    fn value(&self, path: &Path) -> Value<'_> {
        match path {
            Path::Job(field) => self.field(*field),
            Path::JobOutcome(keys) => below(self.outcome(), keys),
            Path::JobError(keys) => match self.error() {
                serde_json::Value::Null => Value::Undefined,
                error => below(error, keys),
            },
            Path::Field(_)
            | Path::Section(..)
            | Path::Version(_)
            | Path::Metadata(..)
            | Path::Configurations(_) => Value::Undefined,
        }
    }
}

fn below<'v>(value: &'v serde_json::Value, keys: &Keys) -> Value<'v> {
    let mut at = value;
    for key in keys {
        match at.get(key.as_ref()) {
            Some(inner) => at = inner,
            None => return Value::Undefined,
        }
    }
    Value::from_json(at)
}
