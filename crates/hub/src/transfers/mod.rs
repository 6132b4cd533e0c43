//! Import and export jobs: the whole registry to a file outside, or a file of changes into it.
//!
//! [`Transfers`] accepts, shows and cancels; [`runner`] carries out one job at a time in the background, with
//! [`export`] and [`import`] for the two directions. [`transfer`] holds the states. What places there are is
//! the business of [`Blobs`], how a line is spelled that of [`TransferLines`].

mod export;
mod import;
mod lines;
pub mod runner;
mod transfer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use self::runner::TransferRunner;
pub use self::transfer::{
    BlobName, BlobNameError, ContainerUri, Direction, HasEnded, StorageAuthentication, Transfer,
    TransferEnd, TransferNumber, TransferRequest, TransferState,
};
use crate::{
    Hub,
    ids::JobId,
    limits,
    ports::{
        Blobs, Entropy, Store, StoreError, TransferLines, blobs::ContainerError,
        transfers::TransferCanceled,
    },
};

/// What import and export jobs work with.
pub struct TransferParts {
    /// The registry and twins that imports change.
    pub hub: Arc<Hub>,
    /// The memory.
    pub store: Arc<dyn Store>,
    /// Where ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// The files outside.
    pub blobs: Arc<dyn Blobs>,
    /// The text of lines.
    pub lines: Arc<dyn TransferLines>,
    /// How long ended jobs are kept.
    pub history: Duration,
    /// Jobs that may be active at once; [`limits::TRANSFERS_AT_ONCE`] unless a profile says otherwise.
    pub active_max: u32,
}

/// The import and export jobs of a hub.
pub struct Transfers {
    parts: Arc<TransferParts>,
    signals: Arc<TransferSignals>,
}

/// Why an import or export job was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferError {
    /// A container cannot be used.
    #[error("{field}: {source}")]
    Container {
        /// The member of the request.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: ContainerError,
    },
    /// Others have not ended. compat: XFER-2
    #[error("{0} import or export jobs are active, which is as many as there may be")]
    TooMany(u32),
    /// The store failed.
    #[error("the import or export job could not be recorded")]
    Store(#[from] StoreError),
}

/// Why an import or export job was not cancelled.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransferCancelError {
    /// There is none of this id.
    #[error("job {0} does not exist")]
    Absent(JobId),
    /// It is over.
    #[error("job {0} has ended, it cannot be cancelled any more")]
    TooLate(JobId),
    /// The store failed.
    #[error("the cancel could not be recorded")]
    Store(#[from] StoreError),
}

impl Transfers {
    /// The service, and the runner that its owner runs.
    pub fn new(parts: TransferParts) -> (Arc<Self>, TransferRunner) {
        let parts = Arc::new(parts);
        let signals = Arc::new(TransferSignals::default());
        let runner = TransferRunner::new(parts.clone(), signals.clone());
        (Arc::new(Self { parts, signals }), runner)
    }

    /// Accepts a job; it is durable when this returns.
    pub async fn create(&self, request: TransferRequest) -> Result<Transfer, TransferError> {
        self.check(&request)?;
        let now = self.parts.hub.clock.now();
        let accepted = self
            .parts
            .store
            .transfer_insert(self.new_id(), request, now, self.parts.active_max)
            .await?;
        let job = accepted.ok_or(TransferError::TooMany(self.parts.active_max))?;
        self.signals.accepted.notify_one();
        Ok(job)
    }

    /// One job.
    pub async fn get(&self, id: &JobId) -> Result<Option<Transfer>, StoreError> {
        self.parts.store.transfer_get(id).await
    }

    /// The jobs there are, newest first, at most [`limits::TRANSFER_LIST_MAX`].
    pub async fn list(&self) -> Result<Vec<Transfer>, StoreError> {
        self.parts
            .store
            .transfer_list(limits::TRANSFER_LIST_MAX)
            .await
    }

    /// Cancels; no change of the registry follows once this has returned. A blob that was just being
    /// finished may still appear.
    pub async fn cancel(&self, id: &JobId) -> Result<Transfer, TransferCancelError> {
        let _gate = self.signals.gate().await;
        let now = self.parts.hub.clock.now();
        match self.parts.store.transfer_cancel(id, now).await? {
            TransferCanceled::Absent => Err(TransferCancelError::Absent(id.clone())),
            TransferCanceled::TooLate(job) => Err(TransferCancelError::TooLate(job.id)),
            TransferCanceled::Done(job) => {
                self.signals.cancel(job.number);
                Ok(job)
            }
        }
    }

    fn check(&self, request: &TransferRequest) -> Result<(), TransferError> {
        let check = |field, uri| {
            let checked = self.parts.blobs.check(uri);
            checked.map_err(|source| TransferError::Container { field, source })
        };
        match &request.direction {
            Direction::Export { output, .. } => check("outputBlobContainerUri", output),
            Direction::Import { input, output, .. } => {
                check("inputBlobContainerUri", input)?;
                check("outputBlobContainerUri", output)
            }
        }
    }

    /// 128 random bits in the shape of a UUID, version 4.
    fn new_id(&self) -> JobId {
        let mut bytes = [0; 16];
        self.parts.entropy.fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        JobId::parse(&parts.join("-")).expect("hex digits and dashes are a job id")
    }
}

/// What passes between the service and the runner of one node.
struct TransferSignals {
    accepted: Notify,
    /// Whoever changes the registry for a job, or cancels one, holds it.
    gate: Mutex<()>,
    canceled: watch::Sender<BTreeSet<TransferNumber>>,
}

impl Default for TransferSignals {
    fn default() -> Self {
        Self {
            accepted: Notify::new(),
            gate: Mutex::new(()),
            canceled: watch::Sender::new(BTreeSet::new()),
        }
    }
}

impl TransferSignals {
    async fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().await
    }

    fn cancel(&self, job: TransferNumber) {
        self.canceled.send_modify(|jobs| {
            jobs.insert(job);
        });
    }

    fn is_canceled(&self, job: TransferNumber) -> bool {
        self.canceled.borrow().contains(&job)
    }

    /// Ends when the job is cancelled.
    async fn canceled(&self, job: TransferNumber) {
        let mut canceled = self.canceled.subscribe();
        // The sender is ours, so it outlives the wait.
        let _ = canceled.wait_for(|jobs| jobs.contains(&job)).await;
    }

    fn forget(&self, job: TransferNumber) {
        self.canceled.send_modify(|jobs| {
            jobs.remove(&job);
        });
    }
}
