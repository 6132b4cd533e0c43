//! What configurations ask of a store. See [`super::store`] for the promises of every write.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::{
    configurations::{
        Applied, Assignment, Configuration, ConfigurationId, ConfigurationNumber,
        ConfigurationResults, ConfigurationSettings, content::Settings,
    },
    ids::{Etag, IdentityId, IdentityKey, Ordinal, Space, Term},
    registry::Precondition,
    time::Timestamp,
    twin::document::{DesiredChange, TwinError, TwinPatch},
};

/// A configuration to create or change.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationPut {
    /// Its name.
    pub id: ConfigurationId,
    /// What its owner sets; without a content, the one there is stays.
    pub settings: ConfigurationSettings,
    /// What must hold.
    pub precondition: Precondition,
}

/// Why a configuration was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationRefused {
    /// It is there already.
    Exists,
    /// It is not there.
    Absent,
    /// It is there in another version.
    EtagMismatch,
    /// There are [`crate::limits::CONFIGURATIONS_MAX`].
    TooMany,
}

/// A twin that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinWritten {
    /// Whose.
    pub key: IdentityKey,
    /// What was merged into it.
    pub patch: TwinPatch,
    /// What the device must hear.
    pub change: DesiredChange,
}

/// What one identity should have from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentItem {
    /// Who.
    pub ordinal: Ordinal,
    /// What.
    pub wanted: Arc<Assignment>,
}

/// What became of a batch of assignments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AssignmentsApplied {
    /// Twins that had to be written.
    pub written: Vec<TwinWritten>,
    /// Identities whose twin cannot take what is wanted: it is as before.
    pub refused: Vec<(Ordinal, TwinError)>,
}

/// Why a content was not applied by hand.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentRefused {
    /// The identity does not exist.
    Absent(IdentityId),
    /// Its twin cannot take it.
    Twin {
        /// Whose twin.
        id: IdentityId,
        /// What it breaks.
        source: TwinError,
    },
}

/// A mark that an identity or its twin changed: who, and a stamp that moves with every further change.
pub type DirtyMark = (IdentityKey, u64);

/// Configurations, what they wrote, and who has changed since they were looked at.
///
/// While there is a configuration, every write of an identity or twin leaves a [`DirtyMark`], whoever
/// made it, in the same transaction; but not the writes of [`ConfigurationStore::configuration_assign`].
#[async_trait]
pub trait ConfigurationStore: Send + Sync + 'static {
    /// Creates or changes one.
    async fn configuration_put(
        &self,
        put: ConfigurationPut,
        at: Timestamp,
    ) -> Result<Result<Configuration, ConfigurationRefused>, StoreError>;

    /// Removes one. What it wrote stays written until it is assigned otherwise.
    async fn configuration_delete(
        &self,
        id: &ConfigurationId,
        matches: Option<Etag>,
    ) -> Result<Result<(), ConfigurationRefused>, StoreError>;

    /// One of them.
    async fn configuration_get(
        &self,
        id: &ConfigurationId,
    ) -> Result<Option<Configuration>, StoreError>;

    /// The first `limit` in order of their ids.
    async fn configuration_list(&self, limit: u32) -> Result<Vec<Configuration>, StoreError>;

    /// Keeps what was counted; numbers that are gone are ignored. Moves no etag.
    async fn configuration_results_put(
        &self,
        results: Vec<(ConfigurationNumber, ConfigurationResults)>,
    ) -> Result<(), StoreError>;

    /// Brings twins and what is remembered beside them to what is wanted, all in one transaction; a twin
    /// that needs no change keeps its versions. Identities that are gone are passed over. At most
    /// [`crate::limits::TWIN_PAGE_DEVICES`].
    async fn configuration_assign(
        &self,
        term: Term,
        space: Space,
        items: Vec<AssignmentItem>,
        at: Timestamp,
    ) -> Result<AssignmentsApplied, StoreError>;

    /// What identities were given, in order of ordinal, after this one; those with nothing are left out.
    async fn configuration_applied(
        &self,
        space: Space,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<Vec<(Ordinal, Applied)>, StoreError>;

    /// What these identities were given; those with nothing are left out.
    async fn configuration_applied_to(
        &self,
        keys: Vec<IdentityKey>,
    ) -> Result<Vec<(IdentityKey, Applied)>, StoreError>;

    /// Up to `limit` marks, devices first.
    async fn configuration_dirty(&self, limit: usize) -> Result<Vec<DirtyMark>, StoreError>;

    /// Removes marks whose stamp has not moved since.
    async fn configuration_clean(&self, marks: Vec<DirtyMark>) -> Result<(), StoreError>;

    /// Writes settings to twins once, all or none; returns those that changed. The first that cannot be
    /// is told.
    async fn configuration_content_apply(
        &self,
        parts: Vec<(IdentityId, Settings)>,
        at: Timestamp,
    ) -> Result<Result<Vec<TwinWritten>, ContentRefused>, StoreError>;
}
