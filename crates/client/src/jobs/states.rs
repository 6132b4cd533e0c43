//! The words of job documents: types and states. A word that this library does not know is kept as text, so
//! that a newer hub's list of jobs stays readable.
//!
//! Which words mean the same (`canceled` and `cancelled`, `finished` and `completed`) is decided in
//! [`fanfare_wire::jobs`], nowhere else.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use fanfare_wire::jobs as wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a job does.
///
/// ```
/// use fanfare_client::JobType;
/// assert_eq!(JobType::from("scheduleUpdateTwin"), JobType::ScheduleUpdateTwin);
/// assert_eq!(JobType::from("scheduleParade").as_str(), "scheduleParade");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobType {
    /// Calls a direct method.
    ScheduleDeviceMethod,
    /// Patches twins.
    ScheduleUpdateTwin,
    /// A word that this library does not know, as the hub wrote it; or the contract's own `unknown`, which says
    /// that the id belongs to an import or export job. compat: JOB-13
    Unknown(String),
}

impl JobType {
    /// The wire's spelling.
    ///
    /// ```
    /// assert_eq!(fanfare_client::JobType::ScheduleDeviceMethod.as_str(), "scheduleDeviceMethod");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ScheduleDeviceMethod => wire::JobType::ScheduleDeviceMethod.as_str(),
            Self::ScheduleUpdateTwin => wire::JobType::ScheduleUpdateTwin.as_str(),
            Self::Unknown(word) => word,
        }
    }
}

impl From<&str> for JobType {
    fn from(text: &str) -> Self {
        match wire::JobType::parse(text) {
            Some(wire::JobType::ScheduleDeviceMethod) => Self::ScheduleDeviceMethod,
            Some(wire::JobType::ScheduleUpdateTwin) => Self::ScheduleUpdateTwin,
            Some(wire::JobType::Unknown) | None => Self::Unknown(text.to_owned()),
        }
    }
}

/// Where a job stands.
///
/// ```
/// use fanfare_client::JobStatus;
/// assert_eq!(JobStatus::from("canceled"), JobStatus::Cancelled);
/// assert!(JobStatus::Cancelled.is_terminal() && !JobStatus::Running.is_terminal());
/// assert!(!JobStatus::from("rehearsing").is_terminal());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobStatus {
    /// Legacy; the same as queued.
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
    /// A word that this library does not know, as the hub wrote it; or the contract's own `unknown`, which says
    /// that the id belongs to an import or export job. Not taken for an end. compat: JOB-13
    Unknown(String),
}

impl JobStatus {
    /// The wire's spelling: `cancelled` with two l. compat: JOB-6
    ///
    /// ```
    /// assert_eq!(fanfare_client::JobStatus::Cancelled.as_str(), "cancelled");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Enqueued => wire::JobStatus::Enqueued.as_str(),
            Self::Queued => wire::JobStatus::Queued.as_str(),
            Self::Scheduled => wire::JobStatus::Scheduled.as_str(),
            Self::Running => wire::JobStatus::Running.as_str(),
            Self::Completed => wire::JobStatus::Completed.as_str(),
            Self::Failed => wire::JobStatus::Failed.as_str(),
            Self::Cancelled => wire::JobStatus::Cancelled.as_str(),
            Self::Unknown(word) => word,
        }
    }

    /// Whether the job has ended and nothing about it changes any more.
    ///
    /// ```
    /// assert!(fanfare_client::JobStatus::Completed.is_terminal());
    /// ```
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl From<&str> for JobStatus {
    fn from(text: &str) -> Self {
        match wire::JobStatus::parse(text) {
            Some(wire::JobStatus::Enqueued) => Self::Enqueued,
            Some(wire::JobStatus::Queued) => Self::Queued,
            Some(wire::JobStatus::Scheduled) => Self::Scheduled,
            Some(wire::JobStatus::Running) => Self::Running,
            Some(wire::JobStatus::Completed) => Self::Completed,
            Some(wire::JobStatus::Failed) => Self::Failed,
            Some(wire::JobStatus::Cancelled) => Self::Cancelled,
            Some(wire::JobStatus::Unknown) | None => Self::Unknown(text.to_owned()),
        }
    }
}

/// Where one device's share of a job stands.
///
/// ```
/// use fanfare_client::DeviceJobStatus;
/// assert_eq!(DeviceJobStatus::from("cancelled"), DeviceJobStatus::Canceled);
/// assert!(DeviceJobStatus::Failed.is_terminal() && !DeviceJobStatus::Pending.is_terminal());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceJobStatus {
    /// Waits for its turn or its device.
    Pending,
    /// Legacy; the same as pending.
    Scheduled,
    /// A call is in flight.
    Running,
    /// The device answered, whatever it answered, or its twin was patched.
    Completed,
    /// It ended otherwise; the row's error says how.
    Failed,
    /// The job was cancelled first.
    Canceled,
    /// A word that this library does not know, as the hub wrote it; not taken for an end.
    Unknown(String),
}

impl DeviceJobStatus {
    /// The wire's spelling: `canceled` with one l. compat: JOB-6
    ///
    /// ```
    /// assert_eq!(fanfare_client::DeviceJobStatus::Canceled.as_str(), "canceled");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => wire::DeviceJobStatus::Pending.as_str(),
            Self::Scheduled => wire::DeviceJobStatus::Scheduled.as_str(),
            Self::Running => wire::DeviceJobStatus::Running.as_str(),
            Self::Completed => wire::DeviceJobStatus::Completed.as_str(),
            Self::Failed => wire::DeviceJobStatus::Failed.as_str(),
            Self::Canceled => wire::DeviceJobStatus::Canceled.as_str(),
            Self::Unknown(word) => word,
        }
    }

    /// Whether this device job has its one outcome.
    ///
    /// ```
    /// assert!(!fanfare_client::DeviceJobStatus::Running.is_terminal());
    /// ```
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

impl From<&str> for DeviceJobStatus {
    fn from(text: &str) -> Self {
        match wire::DeviceJobStatus::parse(text) {
            Some(wire::DeviceJobStatus::Pending) => Self::Pending,
            Some(wire::DeviceJobStatus::Scheduled) => Self::Scheduled,
            Some(wire::DeviceJobStatus::Running) => Self::Running,
            Some(wire::DeviceJobStatus::Completed) => Self::Completed,
            Some(wire::DeviceJobStatus::Failed) => Self::Failed,
            Some(wire::DeviceJobStatus::Canceled) => Self::Canceled,
            None => Self::Unknown(text.to_owned()),
        }
    }
}

macro_rules! word {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // `pad` keeps widths of format strings, for whoever prints a table.
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(Self::from(text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(input)?.as_str()))
            }
        }
    };
}

word!(JobType);
word!(JobStatus);
word!(DeviceJobStatus);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_prints_and_reads_back() {
        for word in [
            "unknown",
            "enqueued",
            "queued",
            "scheduled",
            "running",
            "completed",
            "failed",
            "cancelled",
            "rehearsing",
        ] {
            assert_eq!(JobStatus::from(word).as_str(), word);
        }
        for word in [
            "pending",
            "scheduled",
            "running",
            "completed",
            "failed",
            "canceled",
            "skipped",
        ] {
            assert_eq!(DeviceJobStatus::from(word).as_str(), word);
        }
        for word in [
            "scheduleDeviceMethod",
            "scheduleUpdateTwin",
            "unknown",
            "export",
        ] {
            assert_eq!(JobType::from(word).as_str(), word);
        }
    }

    #[test]
    fn known_words_are_read_in_any_case_and_are_not_unknown() {
        assert_eq!(JobStatus::from("Running"), JobStatus::Running);
        assert_eq!(JobStatus::from("finished"), JobStatus::Completed);
        assert_eq!(JobStatus::from("pending"), JobStatus::Queued);
        assert_eq!(
            JobType::from("ScheduleDeviceMethod"),
            JobType::ScheduleDeviceMethod
        );
        assert_eq!(
            JobStatus::from("Rehearsing"),
            JobStatus::Unknown("Rehearsing".to_owned())
        );
    }
}
