//! The doors of import and export jobs: the memory of them, and the text of the lines they read and write.

use async_trait::async_trait;

use super::{StoreError, store::Twin};
use crate::{
    bulk::{BulkChange, BulkFailure},
    configurations::{Configuration, ConfigurationError, ConfigurationId, ConfigurationSettings},
    ids::{Etag, JobId, Term},
    registry::Precondition,
    time::Timestamp,
    transfers::{BlobName, Transfer, TransferEnd, TransferNumber, TransferRequest},
};

/// Import and export jobs. Writes of the runner are refused under an older term.
#[async_trait]
pub trait TransferStore: Send + Sync + 'static {
    /// Accepts a job, unless `active_max` others have not ended yet: then `None`.
    async fn transfer_insert(
        &self,
        id: JobId,
        request: TransferRequest,
        at: Timestamp,
        active_max: u32,
    ) -> Result<Option<Transfer>, StoreError>;

    /// One job as of the last commit.
    async fn transfer_get(&self, id: &JobId) -> Result<Option<Transfer>, StoreError>;

    /// The newest jobs, from new to old.
    async fn transfer_list(&self, limit: u32) -> Result<Vec<Transfer>, StoreError>;

    /// The oldest job that has not ended.
    async fn transfer_next(&self) -> Result<Option<Transfer>, StoreError>;

    /// Makes a job running, from its start, also one that was running under an older term. One that has
    /// ended comes back as it is.
    async fn transfer_begin(
        &self,
        job: TransferNumber,
        term: Term,
        at: Timestamp,
    ) -> Result<Transfer, StoreError>;

    /// Keeps how far a running job has come, in percent; no effect on others.
    async fn transfer_progress(
        &self,
        job: TransferNumber,
        term: Term,
        percent: u8,
    ) -> Result<(), StoreError>;

    /// Ends a running job; one that has ended comes back as it is.
    async fn transfer_end(
        &self,
        job: TransferNumber,
        term: Term,
        end: TransferEnd,
        at: Timestamp,
    ) -> Result<Transfer, StoreError>;

    /// Cancels.
    async fn transfer_cancel(
        &self,
        id: &JobId,
        at: Timestamp,
    ) -> Result<TransferCanceled, StoreError>;

    /// Removes up to `limit` jobs that ended before `before`; returns how many.
    async fn transfer_expire(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq)]
pub enum TransferCanceled {
    /// Accepted; the job as it stands now.
    Done(Transfer),
    /// The job had ended before.
    TooLate(Transfer),
    /// No such job.
    Absent,
}

/// The text of lines, as the contract spells them; every line ends with a line feed.
pub trait TransferLines: Send + Sync + 'static {
    /// Appends the line of an identity; without its keys unless `with_keys`.
    fn write(&self, twin: &Twin, with_keys: bool, into: &mut Vec<u8>);

    /// Reads the line of an identity, without its end.
    fn read(&self, line: &[u8]) -> Result<LineChange, LineFault>;

    /// Appends the line of a configuration.
    fn write_configuration(&self, configuration: Configuration, into: &mut Vec<u8>);

    /// Reads the line of a configuration, without its end.
    fn read_configuration(&self, line: &[u8]) -> Result<ConfigurationChange, LineFault>;

    /// What the errors' log says of a change that failed.
    fn explain(&self, named: LineName, failure: LineFailure) -> LineFault;

    /// Appends an entry of the errors' log.
    fn log(&self, place: &LinePlace<'_>, fault: LineFault, into: &mut Vec<u8>);
}

/// What the line of an identity asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChange {
    /// Whom it names.
    pub named: LineName,
    /// What is to be done.
    pub change: BulkChange,
}

/// What the line of a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigurationChange {
    /// It is to be so.
    Put {
        /// Its name.
        id: ConfigurationId,
        /// What it is to be.
        settings: Box<ConfigurationSettings>,
        /// What must hold.
        precondition: Precondition,
    },
    /// It is to go.
    Delete {
        /// Its name.
        id: ConfigurationId,
        /// The version it must have, if that matters.
        matches: Option<Etag>,
    },
}

/// Whom a line names, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineName {
    /// A device or a module.
    Identity {
        /// The device.
        device: String,
        /// Its module.
        module: Option<String>,
    },
    /// A configuration.
    Configuration(String),
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace<'a> {
    /// In which blob.
    pub blob: &'a BlobName,
    /// In which line, from 1.
    pub line: u64,
}

/// Why the change of a line was not made.
#[derive(Debug, Clone)]
pub enum LineFailure {
    /// Of an identity or twin.
    Bulk(BulkFailure),
    /// Of a configuration.
    Configuration(ConfigurationError),
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// Whom it names, if that much could be read.
    pub named: Option<LineName>,
    /// The number of the contract's error code; `None` for a line that is no line at all.
    pub code: Option<u32>,
    /// What is wrong; never a key.
    pub problem: String,
}
