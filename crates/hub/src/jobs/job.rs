//! A job and its states. Every legal move is a method here; an illegal one is an error it returns.
//!
//! ```text
//! waiting --seal--> running --(all settled, or window over)--> completed
//!    |                 \--cancel--> draining --(calls in flight settled)--> cancelled
//!    |--cancel--> cancelled
//!    \--fail----> failed            (running jobs may fail too)
//! ```
//!
//! Who moves: `seal` and `fail` the scheduler, `cancel` the service, `finish` the store's writer in the
//! commit that settles the last device job. What each device does is kept in [`super::ledger`].

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use crate::{
    access::Actor,
    ids::{JobId, JobNumber, MethodName, Space},
    json::JsonText,
    time::Timestamp,
    twin::document::TwinPatch,
};

/// A condition x an operation x a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Its place in the order of acceptance.
    pub number: JobNumber,
    /// What was asked for.
    pub plan: JobPlan,
    /// Who scheduled it; unknown of jobs from before this was kept.
    pub creator: Option<Actor>,
    /// When it was accepted.
    pub created: Timestamp,
    /// Where it stands.
    pub state: JobState,
    /// Its device jobs in numbers, once the target set is sealed.
    pub progress: Option<Progress>,
}

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// Which devices.
    pub condition: ConditionText,
    /// Devices or modules, as the condition says.
    pub space: Space,
    /// What happens to each.
    pub operation: Operation,
    /// When it starts; the past means now.
    pub start: Option<Timestamp>,
    /// How long it may take, in seconds from its start.
    pub window_seconds: u32,
}

/// A condition as its sender wrote it, or what is known of a long one that was not read. Two are equal
/// when their texts are.
#[derive(Debug, Clone)]
pub struct ConditionText {
    text: Option<Arc<str>>,
    bytes: u64,
    sha256: [u8; 32],
}

impl ConditionText {
    /// What a store kept beside a text, with the text itself when it was read.
    pub fn stored(text: Option<&str>, bytes: u64, sha256: [u8; 32]) -> Self {
        Self {
            text: text.map(Arc::from),
            bytes,
            sha256,
        }
    }

    /// The text; absent when it was not read.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its digest.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

impl From<&str> for ConditionText {
    fn from(text: &str) -> Self {
        Self::stored(Some(text), text.len() as u64, Sha256::digest(text).into())
    }
}

impl PartialEq for ConditionText {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes, self.sha256) == (other.bytes, other.sha256)
    }
}

/// What a job does to each device.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Calls a direct method.
    Method(MethodOperation),
    /// Merges a patch into the twin.
    Twin(TwinOperation),
}

/// A method call, the same for every device.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodOperation {
    /// The method.
    pub name: MethodName,
    /// Its argument; at most 128 KiB.
    pub payload: JsonText,
    /// How long a device may take to answer.
    pub response_seconds: u32,
    /// Echoed only: the window waits for devices to connect. compat: JOB-20
    pub connect_seconds: Option<u32>,
}

/// A twin patch, the same for every device.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinOperation {
    /// The checked change.
    pub patch: TwinPatch,
    /// The request's `updateTwin` object as it came, for the echo.
    pub echo: JsonText,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    /// Accepted; its start lies ahead, or it is about to start.
    Waiting,
    /// Its target set is sealed; device jobs are under way.
    Running {
        /// When the set was sealed.
        sealed: Timestamp,
    },
    /// Cancelled while running: nothing new starts, calls in flight are awaited.
    Draining {
        /// When the set was sealed.
        sealed: Timestamp,
        /// When the cancel was accepted.
        canceled: Timestamp,
    },
    /// Over. Its counts never change again.
    Ended {
        /// How.
        end: JobEnd,
        /// When.
        at: Timestamp,
        /// When the set was sealed, if it ever was.
        sealed: Option<Timestamp>,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// Every device job has its outcome.
    Completed,
    /// Somebody cancelled it.
    Cancelled,
    /// The job itself could not go on.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// A job's device jobs in numbers. `total` is the sum of the rest and [`Progress::pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Devices in the target set.
    pub total: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended badly.
    pub failed: u32,
    /// Under way: a call is in flight.
    pub running: u32,
    /// Ended by a cancel.
    pub canceled: u32,
}

impl Progress {
    /// Not begun.
    pub fn pending(&self) -> u32 {
        self.total - self.succeeded - self.failed - self.running - self.canceled
    }
}

/// A move that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("job {job} cannot {verb} in '{state}' status")]
pub struct IllegalMove {
    /// Which job.
    pub job: JobId,
    /// What was tried.
    pub verb: &'static str,
    /// Where it stands.
    pub state: &'static str,
}

impl Job {
    /// A job just accepted.
    pub fn accepted(
        id: JobId,
        number: JobNumber,
        plan: JobPlan,
        creator: Option<Actor>,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            number,
            plan,
            creator,
            created: at,
            state: JobState::Waiting,
            progress: None,
        }
    }

    /// When it starts: as asked, but not before it was accepted.
    pub fn start(&self) -> Timestamp {
        self.plan
            .start
            .map_or(self.created, |start| start.max(self.created))
    }

    /// When its window ends.
    pub fn deadline(&self) -> Timestamp {
        self.start() + Duration::from_secs(u64::from(self.plan.window_seconds))
    }

    /// When its target set was fixed.
    pub fn sealed(&self) -> Option<Timestamp> {
        match self.state {
            JobState::Waiting => None,
            JobState::Running { sealed } | JobState::Draining { sealed, .. } => Some(sealed),
            JobState::Ended { sealed, .. } => sealed,
        }
    }

    /// Whether device jobs may be under way.
    pub fn is_running(&self) -> bool {
        matches!(
            self.state,
            JobState::Running { .. } | JobState::Draining { .. }
        )
    }

    /// Whether new device jobs may begin.
    pub fn may_begin(&self) -> bool {
        matches!(self.state, JobState::Running { .. })
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, JobState::Ended { .. })
    }

    /// Fixes the number of devices and lets them begin.
    pub fn seal(&mut self, total: u32, at: Timestamp) -> Result<(), IllegalMove> {
        match self.state {
            JobState::Waiting => {
                self.state = JobState::Running { sealed: at };
                self.progress = Some(Progress {
                    total,
                    ..Progress::default()
                });
                Ok(())
            }
            _ => Err(self.illegal("start")),
        }
    }

    /// Ends a waiting job at once, lets a running one drain. Draining again is no error.
    pub fn cancel(&mut self, at: Timestamp) -> Result<(), IllegalMove> {
        match self.state {
            JobState::Waiting => {
                self.state = JobState::Ended {
                    end: JobEnd::Cancelled,
                    at,
                    sealed: None,
                };
                Ok(())
            }
            JobState::Running { sealed } => {
                self.state = JobState::Draining {
                    sealed,
                    canceled: at,
                };
                Ok(())
            }
            JobState::Draining { .. } => Ok(()),
            JobState::Ended { .. } => Err(self.illegal("be cancelled")),
        }
    }

    /// Ends a waiting job; any other stays as it is, for hubs that do not cancel what runs. compat: JOB-53
    pub fn cancel_waiting(&mut self, at: Timestamp) -> Result<(), IllegalMove> {
        match self.state {
            JobState::Waiting => self.cancel(at),
            _ => Err(self.illegal("be cancelled")),
        }
    }

    /// Ends a job whose last device job has its outcome.
    pub fn finish(&mut self, at: Timestamp) -> Result<(), IllegalMove> {
        let (end, sealed) = match self.state {
            JobState::Running { sealed } => (JobEnd::Completed, sealed),
            JobState::Draining { sealed, .. } => (JobEnd::Cancelled, sealed),
            JobState::Waiting | JobState::Ended { .. } => return Err(self.illegal("finish")),
        };
        self.state = JobState::Ended {
            end,
            at,
            sealed: Some(sealed),
        };
        Ok(())
    }

    /// Ends a job that cannot go on.
    pub fn fail(&mut self, reason: String, at: Timestamp) -> Result<(), IllegalMove> {
        if self.is_ended() {
            return Err(self.illegal("fail"));
        }
        let sealed = self.sealed();
        self.state = JobState::Ended {
            end: JobEnd::Failed { reason },
            at,
            sealed,
        };
        Ok(())
    }

    fn illegal(&self, verb: &'static str) -> IllegalMove {
        let state = match &self.state {
            JobState::Waiting => "Queued",
            JobState::Running { .. } | JobState::Draining { .. } => "Running",
            JobState::Ended {
                end: JobEnd::Completed,
                ..
            } => "Completed",
            JobState::Ended {
                end: JobEnd::Cancelled,
                ..
            } => "Cancelled",
            JobState::Ended {
                end: JobEnd::Failed { .. },
                ..
            } => "Failed",
        };
        IllegalMove {
            job: self.id.clone(),
            verb,
            state,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);
    const T1: Timestamp = Timestamp(2_000_000);

    pub(crate) fn method_job() -> Job {
        let operation = Operation::Method(MethodOperation {
            name: MethodName::parse("lockDoor").unwrap(),
            payload: JsonText::null(),
            response_seconds: 15,
            connect_seconds: None,
        });
        let plan = JobPlan {
            condition: "*".into(),
            space: Space::Devices,
            operation,
            start: None,
            window_seconds: 60,
        };
        Job::accepted(JobId::parse("j").unwrap(), JobNumber(1), plan, None, T0)
    }

    fn running() -> Job {
        let mut job = method_job();
        job.seal(3, T0).unwrap();
        job
    }

    fn draining() -> Job {
        let mut job = running();
        job.cancel(T1).unwrap();
        job
    }

    fn ended(end: JobEnd) -> Job {
        let mut job = running();
        job.state = JobState::Ended {
            end,
            at: T1,
            sealed: Some(T0),
        };
        job
    }

    #[test]
    fn every_move_from_every_state() {
        type Move = fn(&mut Job) -> Result<(), IllegalMove>;
        let moves: [(&str, Move); 5] = [
            ("seal", |job| job.seal(3, T1)),
            ("cancel", |job| job.cancel(T1)),
            ("finish", |job| job.finish(T1)),
            ("fail", |job| job.fail("no".into(), T1)),
            ("cancel waiting", |job| job.cancel_waiting(T1)),
        ];
        let end = |end, sealed| {
            Some(JobState::Ended {
                end,
                at: T1,
                sealed,
            })
        };
        let failed = || JobEnd::Failed {
            reason: "no".into(),
        };
        let table: [(Job, [Option<JobState>; 5]); 6] = [
            (
                method_job(),
                [
                    Some(JobState::Running { sealed: T1 }),
                    end(JobEnd::Cancelled, None),
                    None,
                    end(failed(), None),
                    end(JobEnd::Cancelled, None),
                ],
            ),
            (
                running(),
                [
                    None,
                    Some(JobState::Draining {
                        sealed: T0,
                        canceled: T1,
                    }),
                    end(JobEnd::Completed, Some(T0)),
                    end(failed(), Some(T0)),
                    None,
                ],
            ),
            (
                draining(),
                [
                    None,
                    Some(JobState::Draining {
                        sealed: T0,
                        canceled: T1,
                    }),
                    end(JobEnd::Cancelled, Some(T0)),
                    end(failed(), Some(T0)),
                    None,
                ],
            ),
            (ended(JobEnd::Completed), [None, None, None, None, None]),
            (ended(JobEnd::Cancelled), [None, None, None, None, None]),
            (ended(failed()), [None, None, None, None, None]),
        ];
        for (from, expected) in table {
            for ((name, make_move), expected) in moves.iter().zip(expected) {
                let mut job = from.clone();
                let result = make_move(&mut job);
                match expected {
                    Some(state) => {
                        assert_eq!((result, &job.state), (Ok(()), &state), "{name} {from:?}");
                    }
                    None => {
                        assert!(result.is_err(), "{name} {from:?}");
                        assert_eq!(job, from, "an illegal move changes nothing");
                    }
                }
            }
        }
    }

    #[test]
    fn an_illegal_cancel_says_where_the_job_stands() {
        let error = ended(JobEnd::Completed).cancel(T1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "job j cannot be cancelled in 'Completed' status"
        );
    }

    #[test]
    fn a_start_in_the_past_counts_from_acceptance() {
        let mut job = method_job();
        job.plan.start = Some(Timestamp(0));
        assert_eq!(job.start(), T0);
        assert_eq!(job.deadline(), T0 + Duration::from_secs(60));
        job.plan.start = Some(T1);
        assert_eq!(job.deadline(), T1 + Duration::from_secs(60));
    }
}
