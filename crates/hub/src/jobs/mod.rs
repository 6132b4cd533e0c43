//! Jobs: a condition x an operation x a window, with one outcome for every device.
//!
//! The service here accepts, shows, cancels and lists. A job then lives in [`job`] (its states),
//! `target` (its devices, taken once), [`scheduler`] (due, start, end), `twin_run` and [`execute`] (each
//! device job, no faster than `pace` allows), with [`ledger`] as the account of who stands where; [`watch`]
//! shows it while it changes. What is shown is what the store committed; nothing here answers from memory.

mod dispatch;
pub mod execute;
pub mod job;
pub mod ledger;
mod pace;
pub mod row;
pub mod scheduler;
mod target;
mod twin_run;
pub mod watch;

use std::sync::Arc;

use self::{
    job::{Job, JobPlan, JobState, Operation},
    watch::Watches,
};
use crate::{
    access::Actor,
    ids::{JobId, Space},
    limits,
    ports::{
        Clock, Store, StoreError,
        store::{AcceptRules, JobCanceled, JobFilter, JobInserted},
    },
    profile::JobRules,
    query::{Condition, QueryError, Source},
    signals::JobSignals,
    time::Timestamp,
};

/// What a caller wants to schedule.
#[derive(Debug, Clone)]
pub struct JobRequest {
    /// The new job's name.
    pub id: JobId,
    /// Which devices; `*` is everyone.
    pub condition: Arc<str>,
    /// What happens to each.
    pub operation: Operation,
    /// When; absent or past means now.
    pub start: Option<Timestamp>,
    /// Seconds from the start; 1 to 2^31-1.
    pub window_seconds: u32,
    /// Who asks; nobody for what the node does by itself.
    pub creator: Option<Actor>,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The condition cannot be read.
    #[error("the condition is not valid")]
    Condition(#[source] QueryError),
    /// The condition is longer than the hub's profile allows.
    #[error("queryCondition has {chars} characters, the profile of this hub allows {max}")]
    ConditionTooLong {
        /// Its length.
        chars: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The window is out of range.
    #[error("maxExecutionTimeInSeconds must be 1 to 2147483647")]
    Window,
    /// The id belongs to another job, or to this one for too long.
    #[error("job {0} already exists")]
    IdTaken(JobId),
    /// As many jobs are active as the hub's profile allows.
    #[error("{0} active jobs are allowed at once and none of them has ended")]
    TooManyActive(u32),
    /// The store failed; whether the job was accepted is not known.
    #[error("job {job} could not be recorded")]
    Store {
        /// Which job.
        job: JobId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Why a job was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// No such job.
    #[error("job {0} does not exist")]
    Absent(JobId),
    /// It has ended, or runs where that is too late.
    #[error(transparent)]
    TooLate(job::IllegalMove),
    /// The store failed; whether the job was cancelled is not known.
    #[error("job {job} could not be cancelled")]
    Store {
        /// Which job.
        job: JobId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// The jobs of a hub.
pub struct Jobs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    signals: JobSignals,
    watches: Watches,
    rules: JobRules,
}

impl Jobs {
    /// Over a store and a clock; `signals` wake the scheduler.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        signals: JobSignals,
        rules: JobRules,
    ) -> Self {
        Self {
            store,
            clock,
            watches: Watches::new(signals.clone()),
            signals,
            rules,
        }
    }

    /// Accepts a job: when this returns, it will run, whatever dies. The same request again within
    /// [`JobRules::retry_window`] returns the job as it stands, whoever repeats it: its creator stays the first.
    pub async fn schedule(&self, request: JobRequest) -> Result<Job, ScheduleError> {
        self.check_length(&request.condition)?;
        let condition = Condition::parse(&request.condition).map_err(ScheduleError::Condition)?;
        if !(1..=limits::JOB_WINDOW_SECONDS_MAX).contains(&request.window_seconds) {
            return Err(ScheduleError::Window);
        }
        let plan = JobPlan {
            space: match condition.source() {
                Source::Modules => Space::Modules,
                Source::Devices | Source::Jobs => Space::Devices,
            },
            condition: (&*request.condition).into(),
            operation: request.operation,
            start: request.start,
            window_seconds: request.window_seconds,
        };
        let id = request.id;
        let rules = AcceptRules {
            retry_window: self.rules.retry_window,
            active_max: self.rules.active_max,
        };
        let inserted = self
            .store
            .job_insert(id.clone(), plan, request.creator, self.clock.now(), rules)
            .await
            .map_err(|source| ScheduleError::Store {
                job: id.clone(),
                source,
            })?;
        match inserted {
            JobInserted::Accepted(job) => {
                self.signals.job_accepted();
                Ok(job)
            }
            JobInserted::Repeated(job) => Ok(job),
            JobInserted::Taken => Err(ScheduleError::IdTaken(id)),
            JobInserted::TooManyActive => Err(ScheduleError::TooManyActive(
                self.rules.active_max.unwrap_or_default(),
            )),
        }
    }

    fn check_length(&self, condition: &str) -> Result<(), ScheduleError> {
        let Some(max) = self.rules.condition_chars_max else {
            return Ok(());
        };
        match condition.chars().count() {
            chars if chars > max => Err(ScheduleError::ConditionTooLong { chars, max }),
            _ => Ok(()),
        }
    }

    /// One job as of the last commit.
    pub async fn get(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.store.job_get(id).await
    }

    /// Cancels: a waiting job ends at once; a running one begins nothing new from the moment this returns
    /// and ends when its calls in flight have, or goes on if [`JobRules::cancel_while_running`] is off.
    pub async fn cancel(&self, id: &JobId) -> Result<Job, CancelError> {
        let fail = |source| CancelError::Store {
            job: id.clone(),
            source,
        };
        let job = self.store.job_get(id).await.map_err(fail)?;
        let job = job.ok_or_else(|| CancelError::Absent(id.clone()))?;
        let hold = self.signals.hold(job.number);
        let now = self.clock.now();
        let canceled = match self.rules.cancel_while_running {
            true => self.store.job_cancel(id, now).await,
            false => self.store.job_cancel_waiting(id, now).await,
        };
        match canceled.map_err(fail)? {
            JobCanceled::Done(job) => {
                hold.cancel();
                self.signals.jobs_changed([job.number]);
                if self.rules.active_max.is_some() {
                    self.signals.job_ended();
                }
                Ok(job)
            }
            JobCanceled::TooLate(mut job) => {
                if !job.may_begin() {
                    // Also when an earlier cancel ended it and its caller went away before the engine was told.
                    hold.cancel();
                }
                let refused = job.cancel_waiting(now);
                Err(CancelError::TooLate(
                    refused.expect_err("what waits is not too late"),
                ))
            }
            JobCanceled::Absent => Err(CancelError::Absent(id.clone())),
        }
    }

    /// Jobs from new to old, at most `limit`.
    pub async fn list(&self, filter: JobFilter, limit: u32) -> Result<Vec<Job>, StoreError> {
        let limit = limit.clamp(1, limits::QUERY_PAGE_ITEMS_MAX);
        self.store.job_list(filter, self.clock.now(), limit).await
    }

    /// Whether a waiting job's start lies ahead.
    pub fn is_scheduled(&self, job: &Job) -> bool {
        job.state == JobState::Waiting && job.start() > self.clock.now()
    }
}
