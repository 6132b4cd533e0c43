//! The loop that carries out import and export jobs, oldest first, one at a time.
//!
//! Woken by an acceptance, by the clock for what has expired, and by a start. A job that was running when
//! the node died is begun again from its start. A cancel ends the work at its next wait; the gate makes sure
//! that no change of the registry follows a cancel that was answered.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::{MutexGuard, watch};

use super::{
    Direction, Transfer, TransferEnd, TransferNumber, TransferParts, TransferSignals,
    TransferState, export, import,
};
use crate::{
    limits,
    ports::{StoreError, blobs::BlobError},
    signals::stopped,
    time::Timestamp,
};

/// The runner of import and export jobs.
pub struct TransferRunner {
    pub(super) parts: Arc<TransferParts>,
    pub(super) signals: Arc<TransferSignals>,
}

/// Why the work on a job ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    /// A place outside failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pause after the store failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

impl TransferRunner {
    pub(super) fn new(parts: Arc<TransferParts>, signals: Arc<TransferSignals>) -> Self {
        Self { parts, signals }
    }

    /// Runs until `stop` says true. A job under way then begins again at the next start.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let clock = self.parts.hub.clock.clone();
        let mut next_expiry = clock.now();
        loop {
            let mut wake_at = next_expiry;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                done = self.run_all() => if let Err(error) = done {
                    tracing::warn!(%error, "import and export jobs will be tried again");
                    wake_at = wake_at.min(clock.now() + RETRY_PAUSE);
                }
            }
            let now = clock.now();
            if now >= next_expiry {
                next_expiry = now + limits::SWEEP_EVERY;
                if let Err(error) = self.expire(now).await {
                    tracing::warn!(%error, "expired import and export jobs will be removed later");
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.signals.accepted.notified() => {}
                () = clock.sleep_until(wake_at) => {}
            }
        }
    }

    /// Carries out every job there is.
    async fn run_all(&self) -> Result<(), StoreError> {
        while let Some(job) = self.parts.store.transfer_next().await? {
            self.run_one(job.number).await?;
        }
        Ok(())
    }

    async fn run_one(&self, number: TransferNumber) -> Result<(), StoreError> {
        let (store, clock) = (&self.parts.store, &self.parts.hub.clock);
        let term = store.term();
        let job = store.transfer_begin(number, term, clock.now()).await?;
        if job.state != TransferState::Running {
            return Ok(());
        }
        tracing::info!(job.id = %job.id, "an import or export job begins");
        let worked = tokio::select! {
            biased;
            () = self.signals.canceled(number) => None,
            worked = Box::pin(self.work(&job)) => Some(worked),
        };
        let end = match worked {
            None => {
                self.signals.forget(number);
                tracing::info!(job.id = %job.id, "an import or export job was cancelled");
                return Ok(());
            }
            Some(Ok(())) => TransferEnd::Completed,
            Some(Err(Interrupted::Blob(error))) => TransferEnd::Failed(error.to_string()),
            Some(Err(Interrupted::Store(error @ StoreError::Corrupt(_)))) => {
                TransferEnd::Failed(error.to_string())
            }
            Some(Err(Interrupted::Store(error))) => return Err(error),
        };
        let ended = store.transfer_end(number, term, end, clock.now()).await?;
        tracing::info!(job.id = %ended.id, job.state = ?ended.state, "an import or export job ended");
        // A cancel may have come just before the end.
        self.signals.forget(number);
        Ok(())
    }

    async fn work(&self, job: &Transfer) -> Result<(), Interrupted> {
        match &job.request.direction {
            Direction::Export {
                output,
                blob,
                with_keys,
            } => export::run(self, job, output, blob, *with_keys).await,
            Direction::Import {
                input,
                blob,
                output,
            } => import::run(self, job, input, blob, output).await,
        }
    }

    /// Holds off a cancel while the registry is changed. Never comes back for a job that is cancelled:
    /// whoever waits for the cancel drops the work.
    pub(super) async fn changing(&self, job: &Transfer) -> MutexGuard<'_, ()> {
        let gate = self.signals.gate().await;
        if !self.signals.is_canceled(job.number) {
            return gate;
        }
        drop(gate);
        match std::future::pending::<Infallible>().await {}
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = Timestamp(now.0 - self.parts.history.as_micros() as i64);
        let store = &self.parts.store;
        while store
            .transfer_expire(before, limits::TRANSFER_EXPIRE_BATCH)
            .await?
            > 0
        {}
        Ok(())
    }
}

/// How far a job has come: told to the store each time a whole percent is reached.
pub(super) struct Progress<'a> {
    runner: &'a TransferRunner,
    job: TransferNumber,
    percent: u8,
}

impl<'a> Progress<'a> {
    pub(super) fn new(runner: &'a TransferRunner, job: &Transfer) -> Self {
        Self {
            runner,
            job: job.number,
            percent: 0,
        }
    }

    /// `done` of `total` are done. A hundred is said by the end alone.
    pub(super) async fn reach(&mut self, done: u64, total: u64) -> Result<(), StoreError> {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        let percent = percent.min(99) as u8;
        if percent <= self.percent {
            return Ok(());
        }
        self.percent = percent;
        let store = &self.runner.parts.store;
        store
            .transfer_progress(self.job, store.term(), percent)
            .await
    }
}
