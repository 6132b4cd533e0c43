//! Starts jobs when they are due, hands each to who drives it, and takes up again what a restart left.
//!
//! The store decides what is due, a signal or the next start wakes, a timer looks again: losing every
//! signal costs latency only. Ends of jobs are the store's (the commit that settles the last device job)
//! and the drivers' (the window is over).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    dispatch::{Dispatch, MethodJobs},
    job::{Job, Operation},
    pace::Pace,
    target::{self, TargetError},
    twin_run::TwinRuns,
};
use crate::{
    ids::JobNumber,
    limits,
    measures::EngineMeasures,
    method::{CallAnswer, Methods},
    ports::{Clock, Store, StoreError, store::JobResumed},
    presence::Presence,
    profile::JobRules,
    signals::{JobSignals, stopped},
    time::Timestamp,
    twin::Twins,
};

/// What the scheduler works with.
pub struct SchedulerParts {
    /// Memory.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// To tell devices of changed twins.
    pub twins: Arc<Twins>,
    /// To number calls.
    pub methods: Arc<Methods>,
    /// Hints.
    pub signals: JobSignals,
    /// What is measured.
    pub measures: Arc<EngineMeasures>,
    /// Answers to calls of jobs.
    pub answers: mpsc::Receiver<CallAnswer>,
    /// What jobs may do.
    pub rules: JobRules,
}

/// The scheduler's loop with its drivers.
pub struct Scheduler {
    starts: Starts,
    dispatch: Dispatch,
    signals: JobSignals,
}

/// What it takes to start or resume one job.
#[derive(Clone)]
struct Starts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    presence: Arc<Presence>,
    twin_runs: TwinRuns,
    method_jobs: mpsc::Sender<MethodJobs>,
    places: Arc<Semaphore>,
    /// Jobs under way at once, if that is bounded.
    active_max: Option<u32>,
    signals: JobSignals,
    measures: Arc<EngineMeasures>,
}

/// A job that nobody could start waits this long before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Without any signal the store is asked this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After a look that found as many due jobs as it may, the next follows this soon.
const LOOK_FOR_MORE: Duration = Duration::from_millis(50);
/// How long calls in flight are awaited at a stop.
const DRAIN: Duration = Duration::from_secs(8);
/// Method jobs on their way to the dispatch loop.
const METHOD_JOBS_QUEUE: usize = 64;

impl Scheduler {
    /// Over a node's parts.
    pub fn new(parts: SchedulerParts) -> Self {
        let SchedulerParts {
            store,
            clock,
            presence,
            twins,
            methods,
            signals,
            measures,
            answers,
            rules,
        } = parts;
        let pace = rules
            .device_operations_per_second
            .map(|per_second| Arc::new(Pace::new(per_second)));
        let (method_jobs, jobs) = mpsc::channel(METHOD_JOBS_QUEUE);
        let twin_runs = TwinRuns {
            store: store.clone(),
            clock: clock.clone(),
            twins,
            pages: Arc::new(Semaphore::new(limits::TWIN_PAGES_AT_ONCE)),
            pace: pace.clone(),
            signals: signals.clone(),
        };
        let dispatch = Dispatch {
            store: store.clone(),
            clock: clock.clone(),
            presence: presence.clone(),
            methods,
            signals: signals.clone(),
            measures: measures.clone(),
            answers,
            jobs,
            pace,
            tells_ends: rules.active_max.is_some(),
            drain: DRAIN,
        };
        let starts = Starts {
            store,
            clock,
            presence,
            twin_runs,
            method_jobs,
            places: Arc::new(Semaphore::new(limits::JOB_STARTS_AT_ONCE)),
            active_max: rules.active_max,
            signals: signals.clone(),
            measures,
        };
        Self {
            starts,
            dispatch,
            signals,
        }
    }

    /// Runs until `stop` says true; then nothing new begins, and answers are awaited for a while.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self {
            starts,
            dispatch,
            signals,
        } = self;
        let mut tasks = JoinSet::new();
        let dispatching = tasks.spawn({
            let dispatch = dispatch.run(stop.clone());
            async move {
                dispatch.await;
                None
            }
        });
        let mut driven = BTreeSet::new();
        let mut wake_at = starts.clock.now();
        let mut is_resumed = false;
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(ended) = tasks.join_next() => {
                    forget(&mut driven, ended);
                    if dispatching.is_finished() {
                        // Without it no method job moves: the node's owner must see that, and start again.
                        tracing::error!("the dispatch of calls ended too early");
                        return;
                    }
                    if starts.active_max.is_none() {
                        // Nothing became due by that; with a bound it may have made room.
                        continue;
                    }
                }
                () = signals.accepted() => {}
                () = starts.clock.sleep_until(wake_at) => {}
            }
            if !is_resumed {
                let mut told = stop.clone();
                is_resumed = tokio::select! {
                    biased;
                    () = stopped(&mut told) => break,
                    done = starts.resume_all(&mut driven, &mut tasks, &stop) => done,
                };
            }
            wake_at = starts.start_due(&mut driven, &mut tasks, &stop).await;
            if !is_resumed {
                wake_at = wake_at.min(starts.clock.now() + RETRY_AFTER);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            forget(&mut driven, ended);
        }
    }
}

type Tasks = JoinSet<Option<JobNumber>>;
type Stop = watch::Receiver<bool>;

fn forget(
    driven: &mut BTreeSet<JobNumber>,
    ended: Result<Option<JobNumber>, tokio::task::JoinError>,
) {
    match ended {
        Ok(Some(number)) => {
            driven.remove(&number);
        }
        Err(error) if error.is_panic() => {
            tracing::error!(%error, "a job's driver panicked; the job goes on after a restart");
        }
        _ => {}
    }
}

impl Starts {
    /// Takes up the jobs that were running when the node stopped. False when the store could not say which.
    /// Answers to calls of an earlier start wait until this is done: their jobs must be known first.
    async fn resume_all(
        &self,
        driven: &mut BTreeSet<JobNumber>,
        tasks: &mut Tasks,
        stop: &Stop,
    ) -> bool {
        match self.store.job_running().await {
            Ok(running) => {
                for number in running {
                    if !driven.contains(&number) && self.resume(number, tasks, stop).await {
                        driven.insert(number);
                    }
                }
                // The loop ends only at a stop.
                let _ = self.method_jobs.send(MethodJobs::AllResumed).await;
                true
            }
            Err(error) => {
                tracing::error!(%error, "running jobs cannot be read, trying again");
                false
            }
        }
    }

    /// Hands one job over; true when a task of its own drives it from here. While the store is away this
    /// waits: to go on without the job would lose the answers to its calls.
    async fn resume(&self, number: JobNumber, tasks: &mut Tasks, stop: &Stop) -> bool {
        let begun = loop {
            match self.begin(number, None).await {
                Err(StoreError::Unavailable(reason)) => {
                    tracing::error!(job.number = number.0, error = %reason, "job cannot be resumed yet");
                    self.clock.sleep_until(self.clock.now() + RETRY_AFTER).await;
                }
                other => break other,
            }
        };
        let (starts, stop) = (self.clone(), stop.clone());
        match begun {
            Ok(Some(resumed)) if matches!(resumed.job.plan.operation, Operation::Method(_)) => {
                starts.hand_over(resumed, stop).await;
                false
            }
            Ok(Some(resumed)) => {
                tasks.spawn(async move {
                    starts.hand_over(resumed, stop).await;
                    Some(number)
                });
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(job.number = number.0, %error, "job cannot be resumed");
                tasks.spawn(async move {
                    starts.until_done(number, stop, None).await;
                    Some(number)
                });
                true
            }
        }
    }

    /// Starts what is due, oldest first, as far as there is room; returns when to look again.
    async fn start_due(
        &self,
        driven: &mut BTreeSet<JobNumber>,
        tasks: &mut Tasks,
        stop: &Stop,
    ) -> Timestamp {
        let now = self.clock.now();
        let found = async {
            match self.room(driven).await? {
                0 => Ok(None),
                room => {
                    let due = self.store.job_due(now, limits::JOB_DUE_BATCH).await?;
                    Ok::<_, StoreError>(Some((room, due)))
                }
            }
        };
        let (room, due) = match found.await {
            Ok(Some(found)) => found,
            // Whichever job ends next says so.
            Ok(None) => return now + LOOK_AGAIN,
            Err(error) => {
                tracing::error!(%error, "due jobs cannot be read, trying again");
                return now + RETRY_AFTER;
            }
        };
        let may_be_more = due.due.len() >= limits::JOB_DUE_BATCH as usize;
        let new = |job: &Job| !driven.contains(&job.number);
        let begin: Vec<_> = due.due.into_iter().filter(new).take(room).collect();
        for job in begin {
            driven.insert(job.number);
            let (starts, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move {
                let number = job.number;
                starts.until_done(number, stop, Some(job)).await;
                Some(number)
            });
        }
        let look_again = match may_be_more {
            true => now + LOOK_FOR_MORE,
            false => now + LOOK_AGAIN,
        };
        due.next.map_or(look_again, |next| next.min(look_again))
    }

    /// How many more jobs may be under way.
    async fn room(&self, driven: &BTreeSet<JobNumber>) -> Result<usize, StoreError> {
        let Some(max) = self.active_max else {
            return Ok(usize::MAX);
        };
        let running = self.store.job_running().await?;
        let elsewhere = running.iter().filter(|job| !driven.contains(job)).count();
        Ok((max as usize).saturating_sub(driven.len() + elsewhere))
    }

    /// Starts (when `waiting` is given) or resumes one job and, for a twin job, drives it to its end. Method
    /// jobs are handed to the dispatch loop. Tries again until the store answers or `stop` says true.
    async fn until_done(self, number: JobNumber, mut stop: Stop, mut waiting: Option<Job>) {
        loop {
            let result = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                result = self.begin(number, waiting.as_ref()) => result,
            };
            match result {
                Ok(Some(resumed)) => return self.hand_over(resumed, stop).await,
                Ok(None) => return,
                Err(StoreError::Absent(_)) => return,
                Err(StoreError::Corrupt(reason)) => match self.give_up(number, &reason).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(job.number = number.0, %error, "job cannot be ended yet");
                    }
                },
                Err(error) => {
                    tracing::error!(job.number = number.0, %error, "job will be tried again");
                }
            }
            let again = self.clock.now() + RETRY_AFTER;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.clock.sleep_until(again) => {}
            }
            // Whether the seal happened is not known: the store says.
            if let Some(job) = waiting.take() {
                waiting = match self.store.job_get(&job.id).await {
                    Ok(Some(now)) if now.number == job.number => {
                        now.sealed().is_none().then_some(now)
                    }
                    _ => Some(job),
                };
            }
        }
    }

    async fn begin(
        &self,
        number: JobNumber,
        waiting: Option<&Job>,
    ) -> Result<Option<JobResumed>, StoreError> {
        if let Some(job) = waiting {
            let _place = self.places.acquire().await;
            let began = self.clock.now();
            let taken = target::take(&self.store, &self.clock, &self.presence, job).await;
            self.signals.jobs_changed([number]);
            match taken {
                Ok(job) if job.is_running() => self.note_start(&job, began),
                Ok(_) => return Ok(None),
                Err(TargetError::Store(error)) => return Err(error),
                Err(TargetError::Condition(error)) => {
                    let (term, now) = (self.store.term(), self.clock.now());
                    self.store
                        .job_fail(number, term, error.to_string(), now)
                        .await?;
                    self.signals.jobs_changed([number]);
                    return Ok(None);
                }
            }
        }
        let resumed = self.store.job_resume(number).await?;
        Ok(resumed.job.is_running().then_some(resumed))
    }

    fn note_start(&self, job: &Job, began: Timestamp) {
        let took = self.clock.now().since(began);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.measures.target_set.record(micros);
        tracing::info!(
            job.id = %job.id,
            devices = job.progress.map_or(0, |progress| progress.total),
            duration_ms = micros / 1_000,
            "job is running, its target set is sealed"
        );
    }

    /// Ends a job of which something is corrupt: trying again would not help it.
    async fn give_up(&self, number: JobNumber, reason: &str) -> Result<(), StoreError> {
        tracing::error!(job.number = number.0, reason, "a job is corrupt and fails");
        let (term, now) = (self.store.term(), self.clock.now());
        let text = format!("what is stored of the job is corrupt: {reason}");
        let failed = self.store.job_fail(number, term, text, now).await;
        self.signals.jobs_changed([number]);
        match failed {
            // Not even its row can be read: it is left as it lies.
            Ok(_) | Err(StoreError::Absent(_) | StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn hand_over(self, resumed: JobResumed, stop: Stop) {
        match resumed.job.plan.operation {
            Operation::Twin(_) => self.twin_runs.run(resumed, stop).await,
            // The loop ends only at a stop, and then nobody needs the job any more.
            Operation::Method(_) => {
                let handed = MethodJobs::Running(Box::new(resumed));
                drop(self.method_jobs.send(handed).await);
            }
        }
    }
}
