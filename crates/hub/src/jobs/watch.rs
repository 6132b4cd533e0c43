//! Lets callers follow a job: a look at once, then one after every change, no faster than people read.
//!
//! Whoever has committed a change of a job says so ([`JobSignals::jobs_changed`]); like all signals that is a
//! hint, and a timer looks again. What is shown is what the store says. One look serves everybody who follows the
//! same job at that moment, so a busy job costs five reads a second however many watch it. Nobody is queued for: who
//! comes late for a look sees the next one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, watch};

use super::{Jobs, job::Job};
use crate::{
    ids::{JobId, JobNumber},
    limits,
    ports::{Clock, Store, StoreError},
    signals::JobSignals,
    time::Timestamp,
};

/// Why a job is not shown as it changes.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No such job.
    #[error("job {0} does not exist")]
    Absent(JobId),
    /// As many watch it, or jobs at all, as may.
    #[error("{watchers} watch {what} already, look at the job from time to time instead")]
    TooMany {
        /// What is watched so often.
        what: &'static str,
        /// How often.
        watchers: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who follows which job; clones share one state.
#[derive(Clone)]
pub(super) struct Watches {
    state: Arc<Mutex<State>>,
    signals: JobSignals,
}

#[derive(Default)]
struct State {
    jobs: HashMap<JobNumber, Watched>,
    watchers: usize,
}

struct Watched {
    shared: Arc<Shared>,
    watchers: usize,
}

/// What the watchers of one job have in common.
struct Shared {
    /// How many changes were heard of.
    changes: watch::Sender<u64>,
    latest: AsyncMutex<Option<Look>>,
}

/// The job at one moment.
#[derive(Clone)]
struct Look {
    job: Arc<Job>,
    /// The changes heard of before the store was asked.
    change: u64,
    at: Timestamp,
}

impl Watches {
    pub(super) fn new(signals: JobSignals) -> Self {
        let state = Arc::default();
        Self { state, signals }
    }

    fn enter(&self, number: JobNumber) -> Result<(Arc<Shared>, Place), WatchError> {
        let mut state = self.lock();
        let refused = |what, watchers| Err(WatchError::TooMany { what, watchers });
        if state.watchers >= limits::JOB_WATCHERS_MAX {
            return refused("jobs", limits::JOB_WATCHERS_MAX);
        }
        let watched = state.jobs.entry(number).or_insert_with(|| Watched {
            shared: Arc::new(Shared {
                changes: self.signals.watch(number),
                latest: AsyncMutex::default(),
            }),
            watchers: 0,
        });
        if watched.watchers >= limits::JOB_WATCHERS_OF_ONE_MAX {
            return refused("this job", limits::JOB_WATCHERS_OF_ONE_MAX);
        }
        watched.watchers += 1;
        let shared = watched.shared.clone();
        state.watchers += 1;
        let watches = self.clone();
        Ok((shared, Place { watches, number }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places there are; free again when it is dropped.
struct Place {
    watches: Watches,
    number: JobNumber,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.watches.lock();
        state.watchers -= 1;
        if let Some(watched) = state.jobs.get_mut(&self.number) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                state.jobs.remove(&self.number);
                self.watches.signals.unwatch(self.number);
            }
        }
    }
}

/// One job as it changes. Holds a place among the watchers until it is dropped.
pub struct JobWatch {
    id: JobId,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    place: Place,
    seen: Option<Look>,
    /// When it was told what it has seen.
    told: Timestamp,
}

impl Jobs {
    /// Follows a job from now on, also one that has ended: that is shown once.
    ///
    /// # Errors
    /// No such job, too many watchers ([`limits::JOB_WATCHERS_MAX`], [`limits::JOB_WATCHERS_OF_ONE_MAX`]), or
    /// the store.
    pub async fn watch(&self, id: &JobId) -> Result<JobWatch, WatchError> {
        let job = self.store.job_get(id).await?;
        let job = job.ok_or_else(|| WatchError::Absent(id.clone()))?;
        let (shared, place) = self.watches.enter(job.number)?;
        Ok(JobWatch {
            id: id.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            shared,
            place,
            seen: None,
            told: Timestamp::NEVER,
        })
    }

    /// How many follow jobs now.
    pub fn watchers(&self) -> usize {
        self.watches.lock().watchers
    }
}

impl JobWatch {
    /// The job as the store has it: at once the first time; then when it has changed, at least
    /// [`limits::JOB_WATCH_PAUSE`] after the last; and after [`limits::JOB_WATCH_LOOK_EVERY`] though it has
    /// not. Nothing more after the job has ended, or when its history has expired.
    ///
    /// Giving up on the future loses nothing.
    ///
    /// # Errors
    /// The store's; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Arc<Job>>, StoreError> {
        if let Some(seen) = &self.seen {
            if seen.job.is_ended() {
                return Ok(None);
            }
            self.clock
                .sleep_until(self.told + limits::JOB_WATCH_PAUSE)
                .await;
            let mut changes = self.shared.changes.subscribe();
            tokio::select! {
                biased;
                _ = changes.wait_for(|change| *change > seen.change) => {}
                () = self.clock.sleep_until(self.look_again(&seen.job)) => {}
            }
        }
        let Some(look) = self.look().await? else {
            return Ok(None);
        };
        self.told = self.clock.now();
        let job = look.job.clone();
        self.seen = Some(look);
        Ok(Some(job))
    }

    /// Without a hint; a job that waits for its start changes its status then, and nobody commits that.
    fn look_again(&self, job: &Job) -> Timestamp {
        let again = self.told + limits::JOB_WATCH_LOOK_EVERY;
        match job.sealed() {
            None if job.start() > self.told => again.min(job.start()),
            _ => again,
        }
    }

    /// What somebody else has just seen, or else the store.
    async fn look(&self) -> Result<Option<Look>, StoreError> {
        let mut latest = self.shared.latest.lock().await;
        // Before the store is asked: what is committed meanwhile counts as another change.
        let change = *self.shared.changes.borrow();
        let now = self.clock.now();
        if let Some(look) = &*latest {
            let is_recent = look.at <= now && now < look.at + limits::JOB_WATCH_PAUSE;
            let is_news = match &self.seen {
                Some(seen) => look.at > seen.at,
                None => look.change == change,
            };
            if is_recent && is_news {
                return Ok(Some(look.clone()));
            }
        }
        let job = self.store.job_get(&self.id).await?;
        // A job of the same name, accepted after the history of the first had expired, is another one.
        let Some(job) = job.filter(|job| job.number == self.place.number) else {
            return Ok(None);
        };
        let job = Arc::new(job);
        let look = Look {
            job,
            change,
            at: now,
        };
        *latest = Some(look.clone());
        Ok(Some(look))
    }
}
