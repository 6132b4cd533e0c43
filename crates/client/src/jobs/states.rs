//! The words of job documents: types and states. A word that this library does not know is kept as text, so
//! that a newer hub's list of jobs stays readable.
//!
//! Which words mean the same (`canceled` and `cancelled`, `finished` and `completed`) is decided in
//! [`fanfare_wire::jobs`], nowhere else.

use fanfare_wire::jobs as wire;

use crate::words::open_words;

open_words! {
    /// What a job does. The contract's own `unknown` is kept as text too: it says that the id belongs to an import or
    /// export job. compat: JOB-13
    ///
    /// ```
    /// use fanfare_client::JobType;
    /// assert_eq!(JobType::from("scheduleUpdateTwin"), JobType::ScheduleUpdateTwin);
    /// assert_eq!(JobType::from("scheduleParade").as_str(), "scheduleParade");
    /// ```
    pub enum JobType {
        /// Calls a direct method.
        ScheduleDeviceMethod = wire::JobType::ScheduleDeviceMethod.as_str(),
        /// Patches twins.
        ScheduleUpdateTwin = wire::JobType::ScheduleUpdateTwin.as_str(),
    }
}

open_words! {
    /// Where a job stands. A word that this library does not know is not taken for an end; neither is the contract's
    /// own `unknown`, which says that the id belongs to an import or export job. compat: JOB-13
    ///
    /// ```
    /// use fanfare_client::JobStatus;
    /// assert_eq!(JobStatus::from("canceled"), JobStatus::Cancelled);
    /// assert_eq!(JobStatus::Cancelled.as_str(), "cancelled");
    /// assert!(JobStatus::Cancelled.is_terminal() && !JobStatus::Running.is_terminal());
    /// assert!(!JobStatus::from("rehearsing").is_terminal());
    /// ```
    pub enum JobStatus spelled by job_status {
        /// Legacy; the same as queued.
        Enqueued = wire::JobStatus::Enqueued.as_str(),
        /// Accepted; about to start.
        Queued = wire::JobStatus::Queued.as_str(),
        /// Accepted; its start lies ahead.
        Scheduled = wire::JobStatus::Scheduled.as_str(),
        /// Its target set is fixed and it is at work.
        Running = wire::JobStatus::Running.as_str(),
        /// All device jobs have ended, well or badly. compat: JOB-14
        Completed = wire::JobStatus::Completed.as_str(),
        /// The job itself could not be done.
        Failed = wire::JobStatus::Failed.as_str(),
        /// Cancelled before its end; `cancelled`, with two l. compat: JOB-6
        Cancelled = wire::JobStatus::Cancelled.as_str(),
    }
}

fn job_status(text: &str) -> Option<&'static str> {
    wire::JobStatus::parse(text).map(wire::JobStatus::as_str)
}

impl JobStatus {
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

open_words! {
    /// Where one device's share of a job stands. A word that this library does not know is not taken for an end.
    ///
    /// ```
    /// use fanfare_client::DeviceJobStatus;
    /// assert_eq!(DeviceJobStatus::from("cancelled"), DeviceJobStatus::Canceled);
    /// assert_eq!(DeviceJobStatus::Canceled.as_str(), "canceled");
    /// assert!(DeviceJobStatus::Failed.is_terminal() && !DeviceJobStatus::Pending.is_terminal());
    /// ```
    pub enum DeviceJobStatus spelled by device_job_status {
        /// Waits for its turn or its device.
        Pending = wire::DeviceJobStatus::Pending.as_str(),
        /// Legacy; the same as pending.
        Scheduled = wire::DeviceJobStatus::Scheduled.as_str(),
        /// A call is in flight.
        Running = wire::DeviceJobStatus::Running.as_str(),
        /// The device answered, whatever it answered, or its twin was patched.
        Completed = wire::DeviceJobStatus::Completed.as_str(),
        /// It ended otherwise; the row's error says how.
        Failed = wire::DeviceJobStatus::Failed.as_str(),
        /// The job was cancelled first; `canceled`, with one l. compat: JOB-6
        Canceled = wire::DeviceJobStatus::Canceled.as_str(),
    }
}

fn device_job_status(text: &str) -> Option<&'static str> {
    wire::DeviceJobStatus::parse(text).map(wire::DeviceJobStatus::as_str)
}

impl DeviceJobStatus {
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
