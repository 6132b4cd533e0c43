//! The door to memory: what the domain asks of a store, in its own nouns.
//!
//! One trait per aggregate; [`Store`] is all of them. Promises every adapter makes:
//!
//! - A write that returned is durable, and every later read sees it.
//! - Each item of a write decides (existence, etag, limits, merge) inside the writer and fails alone.
//! - A write that returned [`StoreError::Unavailable`] may or may not have happened; callers that cannot
//!   repeat it must treat it as unknown.
//! - Writes that carry a [`Term`] are refused under an older one.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use async_trait::async_trait;
use roaring::RoaringBitmap;

use super::{
    authorities::AuthorityStore, configurations::ConfigurationStore, transfers::TransferStore,
};
use crate::{
    access::{Actor, Policy, PolicyChange, PolicyRefused},
    configurations::{ConfigurationId, ConfigurationStatus},
    ids::{
        CallId, DeviceId, Etag, IdentityId, IdentityKey, JobId, JobNumber, Ordinal, Space, Term,
    },
    jobs::{
        job::{Job, JobPlan, Progress},
        ledger::{Ledger, Outcome, Settled},
    },
    limits,
    query::Document,
    registry::{Identity, IdentityError, IdentityWrite, IdentityWritten},
    time::Timestamp,
    twin::document::{
        DesiredChange, ReportedPatch, TwinDocument, TwinError, TwinPatch, TwinReplacement,
    },
};

/// Why the store could not do what was asked; tells the caller what it can do next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Somebody else holds what was to be written (an older term). Stop writing.
    #[error("the write belongs to an older term")]
    Conflict,
    /// What was named is not there.
    #[error("{0} is not in the store")]
    Absent(String),
    /// The store cannot be reached or cannot write (full disk, lost connection). Try again.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// What was read cannot be right. Stop.
    #[error("the store is corrupt: {0}")]
    Corrupt(Arc<str>),
}

/// Everything the domain remembers.
pub trait Store:
    RegistryStore
    + TwinStore
    + SessionStore
    + PolicyStore
    + AuthorityStore
    + QueryStore
    + JobStore
    + TransferStore
    + ConfigurationStore
{
    /// The number of this node's start; carried by every write of a job's driver.
    fn term(&self) -> Term;
}

/// Identities.
#[async_trait]
pub trait RegistryStore: Send + Sync + 'static {
    /// Applies each write on its own, in order: in one commit, or in several where so much goes with deleted
    /// devices that others would wait for long. Each write is in one of them as a whole.
    async fn identity_write(
        &self,
        writes: Vec<IdentityWrite>,
        at: Timestamp,
    ) -> Result<Vec<Result<IdentityWritten, IdentityError>>, StoreError>;

    /// One identity.
    async fn identity_get(&self, id: &IdentityId) -> Result<Option<Identity>, StoreError>;

    /// The first `limit` device identities in order of creation, each with its last activity as written;
    /// [`Timestamp::NEVER`] if none.
    async fn identity_list(&self, limit: u32) -> Result<Vec<(Identity, Timestamp)>, StoreError>;

    /// How many device identities there are.
    async fn identity_count(&self) -> Result<IdentityCount, StoreError>;

    /// The name of each key, also of deleted identities that a job still names; absent ones are left out.
    async fn identity_names(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, IdentityId)>, StoreError>;

    /// The deleted identities that a job may still name.
    async fn identity_deleted(&self, space: Space) -> Result<RoaringBitmap, StoreError>;

    /// Forgets deleted identities that no job names any more.
    async fn identity_forget(&self) -> Result<(), StoreError>;

    /// Keeps when each identity was last heard of; unknown keys are ignored. Moves no etag.
    async fn activity_write(&self, last: Vec<(IdentityKey, Timestamp)>) -> Result<(), StoreError>;
}

/// Device identities in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdentityCount {
    /// All.
    pub total: u64,
    /// Those that may connect.
    pub enabled: u64,
}

/// A twin as one read saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// Whose.
    pub identity: Identity,
    /// What it holds.
    pub document: TwinDocument,
    /// Last activity as written, before the presence overlay; [`Timestamp::NEVER`] if none.
    pub last_activity: Timestamp,
    /// The configurations that match it, in order of their names.
    pub configurations: Vec<(ConfigurationId, ConfigurationStatus)>,
}

/// A twin after a change by the service.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinPatched {
    /// The whole twin now, its identity's keys withheld.
    pub twin: Twin,
    /// What the device must hear.
    pub desired: Option<DesiredChange>,
}

/// Why a twin was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TwinWriteError {
    /// The identity does not exist.
    #[error("{0} is not registered")]
    Absent(IdentityId),
    /// The twin has another version than the caller knew.
    #[error("the twin of {0} has another etag")]
    EtagMismatch(IdentityId),
    /// The merged twin breaks a limit.
    #[error("the twin cannot be so")]
    Twin(#[source] TwinError),
    /// The store failed.
    #[error("the twin could not be stored")]
    Store(#[source] StoreError),
}

/// Twins.
#[async_trait]
pub trait TwinStore: Send + Sync + 'static {
    /// One twin.
    async fn twin_get(&self, id: &IdentityId) -> Result<Option<Twin>, StoreError>;

    /// Merges a change by the service.
    async fn twin_patch(
        &self,
        id: &IdentityId,
        patch: TwinPatch,
        matches: Option<Etag>,
        at: Timestamp,
    ) -> Result<TwinPatched, TwinWriteError>;

    /// Puts whole sections in place of those there are.
    async fn twin_replace(
        &self,
        id: &IdentityId,
        replacement: TwinReplacement,
        matches: Option<Etag>,
        at: Timestamp,
    ) -> Result<TwinPatched, TwinWriteError>;

    /// Merges a change by the device that signed in as `id` with this key; `base` is the `$version` it
    /// knew. Returns the new one. Absent when that identity is gone, whoever has its name by now.
    async fn twin_report(
        &self,
        id: &IdentityId,
        key: IdentityKey,
        patch: ReportedPatch,
        base: Option<u64>,
        at: Timestamp,
    ) -> Result<u64, TwinWriteError>;

    /// The `$version` of the desired properties of each key that exists.
    async fn twin_desired_versions(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, u64)>, StoreError>;
}

/// The lasting part of a device's MQTT session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// Topic filters as subscribed, with the granted quality of service.
    pub filters: Vec<(String, u8)>,
}

/// What a front end must know to let a device in.
#[derive(Debug, Clone, PartialEq)]
pub struct SignIn {
    /// Who.
    pub identity: Identity,
    /// Whether its device may connect; for a device, whether it may itself.
    pub device_enabled: bool,
    /// The session kept from earlier connections.
    pub session: Option<Session>,
    /// The `$version` of the desired properties.
    pub desired_version: u64,
}

/// Who is connected, by ordinal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connected {
    /// Devices.
    pub devices: RoaringBitmap,
    /// Modules.
    pub modules: RoaringBitmap,
}

/// Sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Everything needed at a connect, in one read.
    async fn session_open(&self, id: &IdentityId) -> Result<Option<SignIn>, StoreError>;

    /// Keeps the session, or drops it when `None`. [`StoreError::Absent`] when the identity is gone.
    async fn session_put(
        &self,
        key: IdentityKey,
        session: Option<Session>,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Drops sessions last used before `before`, except those of `connected`; returns how many.
    async fn session_expire(
        &self,
        before: Timestamp,
        connected: Connected,
    ) -> Result<u64, StoreError>;
}

/// Shared access policies.
#[async_trait]
pub trait PolicyStore: Send + Sync + 'static {
    /// All of them.
    async fn policy_list(&self) -> Result<PolicyList, StoreError>;

    /// Keeps these if there are none; all of them then.
    async fn policy_seed(&self, policies: Vec<Policy>) -> Result<PolicyList, StoreError>;

    /// Makes one change; all of them after it.
    async fn policy_change(
        &self,
        change: PolicyChange,
    ) -> Result<Result<PolicyList, PolicyRefused>, StoreError>;
}

/// All policies at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyList {
    /// Grows with every change, so that the newer of two lists is known.
    pub revision: u64,
    /// In order of their names.
    pub policies: Arc<[Policy]>,
}

impl Default for PolicyList {
    fn default() -> Self {
        Self {
            revision: 0,
            policies: Arc::from([]),
        }
    }
}

/// One identity and its twin, seen from inside a read.
pub trait IdentityRow: Document {
    /// Its key.
    fn key(&self) -> IdentityKey;
    /// The whole of it; its keys only where they are asked for.
    fn twin(&self, keys: Keys) -> Result<Twin, StoreError>;
}

/// Whether an identity that is read comes with its keys: what nobody shows is not decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Each key is [withheld](crate::registry::SymmetricKey::withheld).
    Withheld,
    /// As they are.
    Shown,
}

/// Looks at one identity; breaks to end the scan.
pub type IdentityVisitor = Box<dyn FnMut(&dyn IdentityRow) -> ControlFlow<()> + Send>;

/// Which identities a scan shows.
#[derive(Debug, Clone)]
pub struct IdentityScan {
    /// Devices or modules.
    pub space: Space,
    /// Only those after this ordinal.
    pub after: Option<Ordinal>,
    /// Only these devices, when the condition names them. A superset of what matches.
    pub devices: Option<Vec<DeviceId>>,
}

/// One row of `devices.jobs`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceJobRow {
    /// Its job, without the condition's text.
    pub job: Arc<Job>,
    /// Its device.
    pub ordinal: Ordinal,
    /// The device's name.
    pub id: IdentityId,
    /// Where it stands.
    pub state: DeviceJobState,
    /// When it came there.
    pub updated: Timestamp,
}

/// What a row says of one device.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceJobState {
    /// Not begun.
    Pending,
    /// A call is in flight.
    Running,
    /// It has its outcome.
    Ended(Outcome),
}

/// Looks at one row; breaks to end the scan.
pub type DeviceJobVisitor = Box<dyn FnMut(DeviceJobRow) -> ControlFlow<()> + Send>;

/// Which rows of `devices.jobs` a scan shows, in the order (job's acceptance, ordinal).
#[derive(Debug, Clone, Default)]
pub struct DeviceJobScan {
    /// Only rows after this place.
    pub after: Option<(JobNumber, Ordinal)>,
    /// Only these jobs.
    pub jobs: Option<Vec<JobId>>,
    /// Only these devices.
    pub devices: Option<Vec<DeviceId>>,
}

/// Scans for queries and target sets. Each is one read that sees one moment.
#[async_trait]
pub trait QueryStore: Send + Sync + 'static {
    /// Shows identities in order of ordinal until the visitor breaks.
    async fn identity_scan(
        &self,
        scan: IdentityScan,
        visit: IdentityVisitor,
    ) -> Result<(), StoreError>;

    /// Shows rows of `devices.jobs` until the visitor breaks.
    async fn device_job_scan(
        &self,
        scan: DeviceJobScan,
        visit: DeviceJobVisitor,
    ) -> Result<(), StoreError>;
}

/// When a new job is not accepted although its request is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptRules {
    /// Within this time of acceptance an equal request is a repetition; zero is never.
    pub retry_window: Duration,
    /// Jobs that may be active at once, the new one included; absent is any number. A job is active while it
    /// runs or drains, and while it waits although its start has come.
    pub active_max: Option<u32>,
}

impl Default for AcceptRules {
    fn default() -> Self {
        Self {
            retry_window: limits::JOB_RETRY_WINDOW,
            active_max: None,
        }
    }
}

/// What became of a new job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobInserted {
    /// It is accepted.
    Accepted(Job),
    /// The same request came before, within the retry window: here is its job as it stands now.
    Repeated(Job),
    /// The id belongs to another job.
    Taken,
    /// It would begin at once, and so many jobs are active already as may be.
    TooManyActive,
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq)]
pub enum JobCanceled {
    /// Accepted; the job as it stands now.
    Done(Job),
    /// The job had ended before, or runs and may not be cancelled then.
    TooLate(Job),
    /// No such job.
    Absent,
}

/// Jobs whose time has come.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDue {
    /// Waiting jobs with a start up to now, oldest start first.
    pub due: Vec<Job>,
    /// When the next waiting job starts.
    pub next: Option<Timestamp>,
}

/// A running job as its driver needs it after a start or restart.
#[derive(Debug, Clone, PartialEq)]
pub struct JobResumed {
    /// The job.
    pub job: Job,
    /// Who stands where.
    pub ledger: Ledger,
}

/// What one commit records of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecords {
    /// Which job.
    pub job: JobNumber,
    /// Calls about to leave.
    pub dispatched: Vec<(Ordinal, CallId)>,
    /// Calls that provably never left.
    pub withdrawn: Vec<(Ordinal, CallId)>,
    /// Outcomes.
    pub settled: Vec<Settled>,
}

/// What a commit did to one job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobCommitted {
    /// Which job.
    pub job: JobNumber,
    /// Dispatches that were not recorded (the job may not begin new ones, or the device has its
    /// outcome): these calls must not leave.
    pub refused: Vec<Ordinal>,
    /// Its numbers now.
    pub progress: Progress,
    /// Whether this commit ended it.
    pub ended: bool,
}

/// What one page of a twin job did.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinPage {
    /// What the devices must hear.
    pub changes: Vec<(IdentityKey, DesiredChange)>,
    /// The job's numbers now.
    pub progress: Progress,
    /// Whether this page ended it.
    pub ended: bool,
}

/// Which jobs a list shows.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs of this operation.
    pub operation: Option<OperationKind>,
    /// Only jobs that a moment's look finds here.
    pub status: Option<JobStatusFilter>,
    /// Only jobs accepted before this one (lists go from new to old).
    pub before: Option<JobNumber>,
}

/// The two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Method calls.
    Method,
    /// Twin updates.
    Twin,
}

/// The statuses that a list can be narrowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatusFilter {
    /// Waiting, its start has come.
    Queued,
    /// Waiting, its start lies ahead.
    Scheduled,
    /// Device jobs under way, draining included.
    Running,
    /// Ended well.
    Completed,
    /// The job itself failed.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// Jobs and their journals.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Accepts a job if the rules allow it. The same id with an equal plan within the retry window is a
    /// repetition, whoever sends it and whatever the other rules say; a job whose start lies ahead is not active yet.
    async fn job_insert(
        &self,
        id: JobId,
        plan: JobPlan,
        creator: Option<Actor>,
        at: Timestamp,
        rules: AcceptRules,
    ) -> Result<JobInserted, StoreError>;

    /// The whole text of a job's condition.
    async fn job_condition(&self, job: JobNumber) -> Result<Arc<str>, StoreError>;

    /// One job as of the last commit; a condition over [`crate::limits::JOB_CONDITION_ECHO_BYTES`] is not read.
    async fn job_get(&self, id: &JobId) -> Result<Option<Job>, StoreError>;

    /// Jobs from new to old; `at` tells queued from scheduled. A condition over
    /// [`crate::limits::JOB_CONDITION_LIST_BYTES`] is not read.
    async fn job_list(
        &self,
        filter: JobFilter,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;

    /// Waiting jobs whose start has come, without their conditions.
    async fn job_due(&self, at: Timestamp, limit: u32) -> Result<JobDue, StoreError>;

    /// Jobs with device jobs under way, oldest first.
    async fn job_running(&self) -> Result<Vec<JobNumber>, StoreError>;

    /// Throws away a target set that was not sealed.
    async fn job_targets_clear(&self, job: JobNumber, term: Term) -> Result<(), StoreError>;

    /// Keeps one record of the target set; ordinals of one record share their upper 16 bits.
    async fn job_targets_add(
        &self,
        job: JobNumber,
        term: Term,
        targets: RoaringBitmap,
    ) -> Result<(), StoreError>;

    /// The same as clearing, adding and sealing, in one commit, for a set of at most one record.
    async fn job_targets_seal(
        &self,
        job: JobNumber,
        term: Term,
        targets: RoaringBitmap,
        at: Timestamp,
    ) -> Result<Job, StoreError>;

    /// Fixes the target set and makes the job running (or ends it at once when the set is empty). A job
    /// that is no longer waiting comes back as it is.
    async fn job_seal(&self, job: JobNumber, term: Term, at: Timestamp) -> Result<Job, StoreError>;

    /// What a driver needs to go on.
    async fn job_resume(&self, job: JobNumber) -> Result<JobResumed, StoreError>;

    /// Records dispatches and outcomes of many jobs in one commit. Illegal moves are dropped. A job whose
    /// last device job ended ends in this commit.
    async fn job_journal(
        &self,
        term: Term,
        records: Vec<JobRecords>,
        at: Timestamp,
    ) -> Result<Vec<JobCommitted>, StoreError>;

    /// Patches the twins of pending devices (at most [`crate::limits::TWIN_PAGE_DEVICES`]) and settles
    /// them, in one transaction.
    async fn job_twin_page(
        &self,
        job: JobNumber,
        term: Term,
        devices: Vec<Ordinal>,
        at: Timestamp,
    ) -> Result<TwinPage, StoreError>;

    /// Cancels.
    async fn job_cancel(&self, id: &JobId, at: Timestamp) -> Result<JobCanceled, StoreError>;

    /// Cancels a job that waits; one that runs, drains or has ended is too late.
    async fn job_cancel_waiting(
        &self,
        id: &JobId,
        at: Timestamp,
    ) -> Result<JobCanceled, StoreError>;

    /// Ends a running job whose window is over: calls in flight end as timed out, whoever has not begun as
    /// unreachable.
    async fn job_close(&self, job: JobNumber, term: Term, at: Timestamp)
    -> Result<Job, StoreError>;

    /// Ends a job that cannot go on.
    async fn job_fail(
        &self,
        job: JobNumber,
        term: Term,
        reason: String,
        at: Timestamp,
    ) -> Result<Job, StoreError>;

    /// Removes up to `limit` jobs that ended before `before`, with their journals; returns how many.
    async fn job_expire(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}
