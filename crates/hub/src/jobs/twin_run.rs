//! Drives one twin job: page after page of its pending devices, each page one transaction, connected
//! devices told after the commit.
//!
//! Exactly once, whatever dies: a page is in the twins and in the journal, or in neither. After an error
//! whose effect is not known, the ledger is read again. A job of which something is corrupt fails.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

use super::{
    job::{Job, Operation},
    pace::Pace,
};
use crate::{
    limits,
    ports::{Clock, Store, StoreError, store::JobResumed},
    signals::{JobSignals, stopped},
    twin::{PatchText, Twins},
};

/// What every twin job of a node shares.
#[derive(Clone)]
pub(super) struct TwinRuns {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) twins: Arc<Twins>,
    /// Pages under way; first come first served, so that jobs take turns.
    pub(super) pages: Arc<Semaphore>,
    /// How fast devices may be taken, if that is bounded.
    pub(super) pace: Option<Arc<Pace>>,
    /// To tell whoever watches a job.
    pub(super) signals: JobSignals,
}

const RETRY_AFTER: Duration = Duration::from_secs(1);

impl TwinRuns {
    /// Runs until the job has ended or `stop` says true.
    pub(super) async fn run(self, mut resumed: JobResumed, mut stop: watch::Receiver<bool>) {
        let job = resumed.job.clone();
        let Operation::Twin(operation) = &job.plan.operation else {
            return;
        };
        let text = PatchText::new(&operation.patch);
        loop {
            let result = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                result = self.pages_of(&resumed, &text) => result,
            };
            match result {
                Ok(()) => return,
                Err(StoreError::Conflict) => {
                    tracing::warn!(job.id = %job.id, "another node drives this job now");
                    return;
                }
                // Ended, and its history has expired since.
                Err(StoreError::Absent(_)) => return,
                Err(StoreError::Corrupt(reason)) => match self.give_up(&job, &reason).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(job.id = %job.id, %error, "job cannot be ended yet");
                    }
                },
                Err(error) => {
                    tracing::error!(job.id = %job.id, %error, "twin job will be tried again");
                }
            }
            let again = self.clock.now() + RETRY_AFTER;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.clock.sleep_until(again) => {}
            }
            match self.store.job_resume(job.number).await {
                Ok(fresh) => resumed = fresh,
                Err(StoreError::Absent(_)) => return,
                Err(error) => tracing::error!(job.id = %job.id, %error, "job cannot be read"),
            }
        }
    }

    async fn pages_of(&self, resumed: &JobResumed, text: &PatchText) -> Result<(), StoreError> {
        let job: &Job = &resumed.job;
        let term = self.store.term();
        let mut pending = resumed.ledger.pending();
        while job.is_running() && !pending.is_empty() {
            let wanted = pending.len().min(limits::TWIN_PAGE_DEVICES as u64) as usize;
            let page: Vec<_> = pending
                .iter()
                .take(self.places(job, wanted).await)
                .collect();
            let turn = self.pages.acquire().await;
            let now = self.clock.now();
            if now >= job.deadline() {
                self.store.job_close(job.number, term, now).await?;
                self.signals.jobs_changed([job.number]);
                return Ok(());
            }
            let done = self
                .store
                .job_twin_page(job.number, term, page.clone(), now)
                .await?;
            drop(turn);
            self.signals.jobs_changed([job.number]);
            for (key, change) in &done.changes {
                self.twins.tell(*key, &text.notice(change)).await;
            }
            if done.ended {
                return Ok(());
            }
            page.iter().for_each(|ordinal| {
                pending.remove(*ordinal);
            });
        }
        Ok(())
    }

    /// Ends a job of which something is corrupt: trying again would not help it, and would hold its place.
    async fn give_up(&self, job: &Job, reason: &str) -> Result<(), StoreError> {
        tracing::error!(job.id = %job.id, reason, "a twin job is corrupt and fails");
        let (term, now) = (self.store.term(), self.clock.now());
        let text = format!("what is stored of the job is corrupt: {reason}");
        let failed = self.store.job_fail(job.number, term, text, now).await;
        self.signals.jobs_changed([job.number]);
        match failed {
            // Not even its row can be read: it is left as it lies.
            Ok(_) | Err(StoreError::Absent(_) | StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until devices of the job may be taken, at most until its window is over; returns how many.
    async fn places(&self, job: &Job, wanted: usize) -> usize {
        let Some(pace) = &self.pace else {
            return wanted;
        };
        let places = pace.reserve(wanted, 1, self.clock.now());
        if places.at >= job.deadline() {
            pace.give_back(places.count);
        }
        let until = places.at.min(job.deadline());
        self.clock.sleep_until(until).await;
        places.count
    }
}
