//! Hints to the scheduler, the job engine and whoever watches a job: they carry ids, never facts, and losing one costs latency
//! only, because the store decides and timers look again.
//!
//! The exception is a [`Hold`]: while it lives, no call of its job leaves this node, so that a cancel which
//! was answered is never followed by a new call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use crate::ids::{IdentityKey, JobNumber};

/// The sending and the taking end; clones share one state.
#[derive(Clone, Default)]
pub struct JobSignals {
    inner: Arc<Signals>,
}

#[derive(Default)]
struct Signals {
    accepted: Notify,
    engine: Notify,
    /// Of each job that somebody watches, how many changes were told.
    watched: Mutex<HashMap<JobNumber, watch::Sender<u64>>>,
    state: Mutex<SignalState>,
}

#[derive(Default)]
struct SignalState {
    deleted: Vec<IdentityKey>,
    deletions_unknown: bool,
    canceled: Vec<JobNumber>,
    held: Vec<JobNumber>,
}

impl JobSignals {
    /// A job was accepted.
    pub fn job_accepted(&self) {
        self.inner.accepted.notify_one();
    }

    /// A job ended: a place is free for one that waits, where there are places.
    pub(crate) fn job_ended(&self) {
        self.inner.accepted.notify_one();
    }

    /// A commit has changed these jobs: whoever watches them looks again. Costs a lock where nobody does.
    pub(crate) fn jobs_changed(&self, jobs: impl IntoIterator<Item = JobNumber>) {
        let watched = self.watched();
        if watched.is_empty() {
            return;
        }
        for changes in jobs.into_iter().filter_map(|job| watched.get(&job)) {
            changes.send_modify(|changes| *changes += 1);
        }
    }

    /// From now on the changes of a job are counted; gives the count.
    pub(crate) fn watch(&self, job: JobNumber) -> watch::Sender<u64> {
        self.watched().entry(job).or_default().clone()
    }

    /// Nobody watches a job any more.
    pub(crate) fn unwatch(&self, job: JobNumber) {
        self.watched().remove(&job);
    }

    /// An identity was deleted.
    pub fn identity_deleted(&self, key: IdentityKey) {
        self.lock().deleted.push(key);
        self.inner.engine.notify_one();
    }

    /// Identities may have been deleted, and nobody here knows which: the store has to be asked.
    pub fn deletions_unknown(&self) {
        self.lock().deletions_unknown = true;
        self.inner.engine.notify_one();
    }

    /// Stops calls of a job from leaving until the hold is dropped.
    pub(crate) fn hold(&self, job: JobNumber) -> Hold<'_> {
        self.lock().held.push(job);
        Hold { signals: self, job }
    }

    /// Runs `send` unless the job is held; a hold waits for a send that has begun.
    pub(crate) fn unless_held<T>(&self, job: JobNumber, send: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        let held = state.held.contains(&job) || state.canceled.contains(&job);
        (!held).then(send)
    }

    /// Ends when a job was accepted, or one ended that others waited for.
    pub(crate) async fn accepted(&self) {
        self.inner.accepted.notified().await;
    }

    /// Ends when there is something for the engine to take.
    pub(crate) async fn engine(&self) {
        self.inner.engine.notified().await;
    }

    pub(crate) fn take_deleted(&self) -> Vec<IdentityKey> {
        std::mem::take(&mut self.lock().deleted)
    }

    pub(crate) fn take_deletions_unknown(&self) -> bool {
        std::mem::take(&mut self.lock().deletions_unknown)
    }

    pub(crate) fn take_canceled(&self) -> Vec<JobNumber> {
        std::mem::take(&mut self.lock().canceled)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<JobNumber, watch::Sender<u64>>> {
        let watched = self.inner.watched.lock();
        watched.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`JobSignals::hold`].
pub(crate) struct Hold<'a> {
    signals: &'a JobSignals,
    job: JobNumber,
}

impl Hold<'_> {
    /// The cancel is durable: nothing of the job leaves any more.
    pub(crate) fn cancel(self) {
        self.signals.lock().canceled.push(self.job);
        self.signals.inner.engine.notify_one();
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut state = self.signals.lock();
        if let Some(at) = state.held.iter().position(|held| *held == self.job) {
            state.held.swap_remove(at);
        }
        drop(state);
        self.signals.inner.engine.notify_one();
    }
}

/// Ends when `stop` says true, or when nobody is left to say it.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A closed channel means that the node's owner is gone: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
