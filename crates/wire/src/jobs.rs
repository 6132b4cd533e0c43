//! Jobs on the wire: the request, the job document, the row per device, and every odd spelling of a state.
//!
//! The traps live here and nowhere else: a *job* is `cancelled`, a *device job* is `canceled`; filters say
//! `finished` or `pending`; one SDK cannot read the list the others demand. compat: JOB-6, JOB-7, JOB-8

use std::fmt;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

mod document;
mod request;

pub use document::{
    CreatedBy, DeviceJobError, DeviceJobOutcome, DeviceJobRow, DeviceJobStatistics, JobDocument,
    JobList, list_needs_envelope,
};
pub use request::{ScheduleRequest, UpdateTwin};

/// `error.code` of a device job whose call was in flight when its node died and was never answered. Our own:
/// the contract has no word for not knowing. compat: JOB-12
pub const OUTCOME_UNKNOWN: &str = "OutcomeUnknown";

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobType {
    /// Calls a direct method.
    ScheduleDeviceMethod,
    /// Patches twins.
    ScheduleUpdateTwin,
    /// What GET says of an id that exists only among import and export jobs. compat: JOB-13
    Unknown,
}

impl JobType {
    /// The wire's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobType::ScheduleDeviceMethod => "scheduleDeviceMethod",
            JobType::ScheduleUpdateTwin => "scheduleUpdateTwin",
            JobType::Unknown => "unknown",
        }
    }

    /// Reads the type of a request or a filter, in any letter case; only the two that can be scheduled. The
    /// names in old documents (`scheduleDirectMethod` and others) never existed on the wire. compat: JOB-2
    pub fn parse(text: &str) -> Option<Self> {
        [JobType::ScheduleDeviceMethod, JobType::ScheduleUpdateTwin]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Nothing is known under this id but an import or export job. compat: JOB-13
    Unknown,
    /// Legacy; read, never written.
    Enqueued,
    /// Accepted; about to start.
    Queued,
    /// Accepted; its start lies ahead.
    Scheduled,
    /// Its target set is fixed and it is at work.
    Running,
    /// All device jobs have ended, well or badly. compat: JOB-14
    Completed,
    /// The job itself could not be done.
    Failed,
    /// Cancelled before its end.
    Cancelled,
}

impl JobStatus {
    const ALL: [JobStatus; 8] = [
        JobStatus::Unknown,
        JobStatus::Enqueued,
        JobStatus::Queued,
        JobStatus::Scheduled,
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];

    /// The wire's spelling: `cancelled` with two l. compat: JOB-6
    pub const fn as_str(self) -> &'static str {
        match self {
            JobStatus::Unknown => "unknown",
            JobStatus::Enqueued => "enqueued",
            JobStatus::Queued => "queued",
            JobStatus::Scheduled => "scheduled",
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }

    /// Reads a status in any letter case, with the words that mean the same: `canceled`, `finished`
    /// (completed), `pending` (queued). `None` for any other. compat: JOB-7
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "canceled" => Some(JobStatus::Cancelled),
            "finished" => Some(JobStatus::Completed),
            "pending" => Some(JobStatus::Queued),
            text => Self::ALL.into_iter().find(|known| known.as_str() == text),
        }
    }

    /// Whether the job has ended and its counts never change again.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled
        )
    }
}

/// Where one device's share of a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceJobStatus {
    /// Waits for its turn or its device.
    Pending,
    /// Legacy; read, never written.
    Scheduled,
    /// A call is in flight.
    Running,
    /// The device answered, whatever it answered, or its twin was patched.
    Completed,
    /// It ended otherwise; the row's error says how.
    Failed,
    /// The job was cancelled first.
    Canceled,
}

impl DeviceJobStatus {
    const ALL: [DeviceJobStatus; 6] = [
        DeviceJobStatus::Pending,
        DeviceJobStatus::Scheduled,
        DeviceJobStatus::Running,
        DeviceJobStatus::Completed,
        DeviceJobStatus::Failed,
        DeviceJobStatus::Canceled,
    ];

    /// The wire's spelling: `canceled` with one l. compat: JOB-6
    pub const fn as_str(self) -> &'static str {
        match self {
            DeviceJobStatus::Pending => "pending",
            DeviceJobStatus::Scheduled => "scheduled",
            DeviceJobStatus::Running => "running",
            DeviceJobStatus::Completed => "completed",
            DeviceJobStatus::Failed => "failed",
            DeviceJobStatus::Canceled => "canceled",
        }
    }

    /// Reads a status in any letter case and with either spelling of the last one. compat: JOB-6
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "cancelled" => Some(DeviceJobStatus::Canceled),
            text => Self::ALL.into_iter().find(|known| known.as_str() == text),
        }
    }
}

macro_rules! spelled {
    ($name:ident, $read:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = String::deserialize(input)?;
                let read: fn(&str) -> Option<$name> = $read;
                read(&text).ok_or_else(|| {
                    de::Error::custom(format!("'{text}' is not a known {}", stringify!($name)))
                })
            }
        }
    };
}

// Documents may name types that cannot be scheduled (`import`, `export`); a client takes them as unknown.
spelled!(JobType, |text| Some(
    JobType::parse(text).unwrap_or(JobType::Unknown)
));
spelled!(JobStatus, JobStatus::parse);
spelled!(DeviceJobStatus, DeviceJobStatus::parse);

#[cfg(test)]
mod tests;
