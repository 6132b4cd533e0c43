//! Device and module identities: what they are and who may change them how.
//!
//! The service below decides keys and defaults; the store decides existence and etags inside its
//! writer. Whoever takes what let a connection in also cuts the connection, also when the result of the
//! change is lost.

use std::{collections::HashSet, sync::Arc};

use self::changes::Changes;
use crate::{
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey},
    limits,
    ports::{Clock, Entropy, Store, StoreError, store::IdentityCount},
    presence::{CutReason, Presence},
    signals::JobSignals,
    time::Timestamp,
    twin::document::{DesiredChange, TwinPatch},
};

mod admits;
mod changes;
mod credentials;
mod keys;
mod modules;
pub mod scope;

pub use credentials::{Authentication, AuthenticationRequest, Made, SymmetricKey};
pub(crate) use credentials::{checked_key, random_key};
pub use keys::KeyRenewal;
pub use modules::{OwnModule, is_edge_module};

/// A registry entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Its name.
    pub id: IdentityId,
    /// Its place in the store.
    pub key: IdentityKey,
    /// New at every creation of the same name.
    pub generation: Generation,
    /// Moves with every change of the entry, and is never used again: not even by another generation.
    pub etag: Etag,
    /// What callers may set.
    pub settings: IdentitySettings,
    /// When `settings.status` last changed; never, for a new entry.
    pub status_updated: Timestamp,
}

/// The part of a registry entry that callers set.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentitySettings {
    /// Whether it may connect.
    pub status: Status,
    /// Why, for people; at most 128 characters.
    pub status_reason: Option<String>,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// `capabilities.iotEdge`.
    pub edge: bool,
    /// The edge hierarchy it belongs to.
    pub device_scope: Option<String>,
    /// The scopes above it.
    pub parent_scopes: Vec<String>,
    /// Who looks after a module, as its makers call it; devices have none.
    pub managed_by: Option<String>,
}

/// Whether an identity may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Enabled,
    /// It may not, and a live connection is cut.
    Disabled,
}

/// What a caller knows about the state it wants to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// It must not exist.
    Absent,
    /// It must exist, in any version.
    Exists,
    /// It must exist in this version.
    Matches(Etag),
    /// It must not exist, or exist in this version.
    AbsentOrMatches(Etag),
    /// Either way: create it, or change whatever is there.
    Any,
}

/// One change of the registry.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all writes are puts, and they come in lists"
)]
pub enum IdentityWrite {
    /// Creates or changes an entry.
    Put {
        /// Its name.
        id: IdentityId,
        /// Its new settings.
        settings: IdentitySettings,
        /// What in them gives way to what an entry has.
        made: Made,
        /// The modules a device gets with this write, where they are not there yet.
        modules: Vec<OwnModule>,
        /// What must hold.
        precondition: Precondition,
        /// The first content of its twin, or a change of it.
        twin: Option<TwinPatch>,
    },
    /// Removes an entry, its twin and its session.
    Delete {
        /// Its name.
        id: IdentityId,
        /// What must hold.
        precondition: Precondition,
    },
}

impl IdentityWrite {
    /// Whose entry it is about.
    pub fn id(&self) -> &IdentityId {
        match self {
            Self::Put { id, .. } | Self::Delete { id, .. } => id,
        }
    }
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub enum IdentityWritten {
    /// The entry as it is now, with the entry before, if there was one.
    Put {
        /// After the write.
        identity: Box<Identity>,
        /// Before the write.
        before: Option<Box<Identity>>,
        /// The modules of a device that this write disables, or leaves disabled.
        shut_out: Vec<IdentityKey>,
        /// What it did to the desired properties of a twin that was there before.
        desired: Option<Box<DesiredPatch>>,
    },
    /// The entry went.
    Deleted {
        /// As it was.
        identity: Box<Identity>,
        /// The modules that went with it.
        modules: Vec<IdentityKey>,
    },
}

/// A change of desired properties that came with a change of the entry, for whoever tells the device.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPatch {
    /// As it was asked for.
    pub patch: TwinPatch,
    /// What came of it.
    pub change: DesiredChange,
}

/// Why one identity was not changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// It is there already.
    #[error("{0} already exists")]
    Exists(IdentityId),
    /// It is not there.
    #[error("{0} is not registered")]
    Absent(IdentityId),
    /// It is there in another version.
    #[error("{0} has another etag")]
    EtagMismatch(IdentityId),
    /// Its scope cannot change to what was asked for. compat: REG-9
    #[error("the device scope of {0} cannot be changed to this")]
    ScopeFixed(IdentityId),
    /// The device has as many modules as it may have. compat: REG-19
    #[error("device {0} would have more than {max} modules", max = limits::DEVICE_MODULES_MAX)]
    TooManyModules(DeviceId),
    /// The module is part of an edge device. compat: REG-20
    #[error("{0} is part of an edge device and goes only with it")]
    EdgeModule(IdentityId),
    /// The first content of the twin breaks a limit.
    #[error("the twin of {id} cannot be so")]
    Twin {
        /// Whose twin.
        id: IdentityId,
        /// What it breaks.
        #[source]
        source: crate::twin::document::TwinError,
    },
}

/// What a caller wants an identity to be.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityRequest {
    /// Its name.
    pub id: IdentityId,
    /// What must hold.
    pub precondition: Precondition,
    /// When absent a device is enabled, and a module keeps what it has.
    pub status: Option<Status>,
    /// At most 128 characters.
    pub status_reason: Option<String>,
    /// How it proves who it is.
    pub authentication: AuthenticationRequest,
    /// `capabilities.iotEdge`.
    pub edge: bool,
    /// The edge hierarchy it belongs to.
    pub device_scope: Option<String>,
    /// The scopes above it.
    pub parent_scopes: Vec<String>,
    /// Who looks after a module; at most 128 characters. A device has none.
    pub managed_by: Option<String>,
    /// The first content of its twin.
    pub twin: Option<TwinPatch>,
}

/// One change of the registry as a caller asks for it.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryChange {
    /// Create or change.
    Put(Box<IdentityRequest>),
    /// Remove.
    Delete {
        /// Its name.
        id: IdentityId,
        /// What must hold.
        precondition: Precondition,
    },
}

/// Why the registry refused one change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// A field is not what it may be.
    #[error("{field} {problem}")]
    Invalid {
        /// Its name in the contract.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The identity is not in the state that the change needs.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It proves who it is in another way than with keys.
    #[error("{0} does not sign in with keys, so none can be renewed")]
    NoKeys(IdentityId),
    /// The store failed.
    #[error("the registry could not be changed")]
    Store(#[source] StoreError),
}

/// The registry of a hub.
pub struct Registry {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    jobs: JobSignals,
    changes: Changes,
}

impl Registry {
    /// Over a store, the connections, a clock and a source of keys; tells `jobs` who was deleted.
    pub fn new(
        store: Arc<dyn Store>,
        presence: Arc<Presence>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        jobs: JobSignals,
    ) -> Self {
        Self {
            store,
            presence,
            clock,
            entropy,
            jobs,
            changes: Changes::new(),
        }
    }

    /// A number that has moved when the device, or a module of it, may have changed since it was read; it is read
    /// before whatever is to be compared later.
    pub fn changes(&self, device: &DeviceId) -> u64 {
        self.changes.of(device)
    }

    /// One identity.
    pub async fn get(&self, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        self.store.identity_get(id).await
    }

    /// The first `limit` devices in order of creation, at most 1,000, each with its last activity as written.
    pub async fn list(&self, limit: u32) -> Result<Vec<(Identity, Timestamp)>, StoreError> {
        self.store
            .identity_list(limit.min(limits::REGISTRY_LIST_MAX))
            .await
    }

    /// Devices in numbers.
    pub async fn count(&self) -> Result<IdentityCount, StoreError> {
        self.store.identity_count().await
    }

    /// Creates or changes one identity.
    pub async fn put(&self, request: IdentityRequest) -> Result<Identity, RegistryError> {
        match self
            .change_one(RegistryChange::Put(Box::new(request)))
            .await?
        {
            IdentityWritten::Put { identity, .. } | IdentityWritten::Deleted { identity, .. } => {
                Ok(*identity)
            }
        }
    }

    /// Removes one identity with all that is kept of it.
    pub async fn delete(
        &self,
        id: IdentityId,
        precondition: Precondition,
    ) -> Result<(), RegistryError> {
        self.change_one(RegistryChange::Delete { id, precondition })
            .await
            .map(drop)
    }

    async fn change_one(&self, change: RegistryChange) -> Result<IdentityWritten, RegistryError> {
        let mut results = self
            .change(vec![change])
            .await
            .map_err(RegistryError::Store)?;
        results.pop().expect("one result for each change")
    }

    /// Makes each change on its own, in order; the results are in the same order.
    ///
    /// # Errors
    /// The store failed; changes before the failure may stand.
    pub async fn change(
        &self,
        changes: Vec<RegistryChange>,
    ) -> Result<Vec<Result<IdentityWritten, RegistryError>>, StoreError> {
        let mut results = Vec::with_capacity(changes.len());
        let mut writes = Vec::with_capacity(changes.len());
        for change in changes {
            match self.prepare(change) {
                Ok(write) => {
                    writes.push(write);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut written = self.write(writes).await?.into_iter();
        let mut next = || written.next().expect("one result for each write");
        let results = results
            .into_iter()
            .map(|refused| refused.unwrap_or_else(|| next().map_err(RegistryError::Identity)));
        Ok(results.collect())
    }

    /// Makes the writes and ends the connections that they took the right from. When their result is lost,
    /// that is everybody they name: whoever still may connect comes again.
    async fn write(
        &self,
        writes: Vec<IdentityWrite>,
    ) -> Result<Vec<Result<IdentityWritten, IdentityError>>, StoreError> {
        let named: HashSet<IdentityId> = writes.iter().map(|write| write.id().clone()).collect();
        let written = self.store.identity_write(writes, self.clock.now()).await;
        // Also when it failed: what is on the disk nobody knows then.
        named.iter().for_each(|id| self.changes.note(&id.device));
        match &written {
            Ok(written) => written
                .iter()
                .flatten()
                .for_each(|written| self.cut_if_needed(written)),
            Err(_) => {
                let is_named = |id: &IdentityId| {
                    named.contains(id) || named.contains(&IdentityId::device(id.device.clone()))
                };
                self.presence.cut_those(is_named, CutReason::AccessChanged);
                self.jobs.deletions_unknown();
            }
        }
        written
    }

    fn prepare(&self, change: RegistryChange) -> Result<IdentityWrite, RegistryError> {
        match change {
            RegistryChange::Put(request) => self.put_write(*request),
            RegistryChange::Delete { id, precondition } => {
                Ok(IdentityWrite::Delete { id, precondition })
            }
        }
    }

    fn put_write(&self, request: IdentityRequest) -> Result<IdentityWrite, RegistryError> {
        let max = limits::STATUS_REASON_CHARS_MAX;
        let is_module = request.id.module.is_some();
        let (authentication, mut made) = self.credentials(request.authentication)?;
        // The contract's document of a module has no status: a PUT of one says nothing of it. compat: REG-50
        made.status = is_module && request.status.is_none();
        // What the hierarchy of edge devices says, it says of devices; who looks after it, of modules.
        let edge = request.edge && !is_module;
        let settings = IdentitySettings {
            status: request.status.unwrap_or(Status::Enabled),
            status_reason: short_text(request.status_reason, "statusReason", max)?,
            authentication,
            edge,
            device_scope: short_text(request.device_scope, "deviceScope", limits::SCOPE_CHARS_MAX)?
                .filter(|_| !is_module),
            parent_scopes: match is_module {
                true => Vec::new(),
                false => few_scopes(request.parent_scopes)?,
            },
            managed_by: short_text(
                request.managed_by,
                "managedBy",
                limits::MANAGED_BY_CHARS_MAX,
            )?
            .filter(|_| is_module),
        };
        let modules = match edge {
            true => self.edge_modules(),
            false => Vec::new(),
        };
        Ok(IdentityWrite::Put {
            id: request.id,
            settings,
            made,
            modules,
            precondition: request.precondition,
            twin: request.twin,
        })
    }

    /// Ends the connections that a write took the right from.
    fn cut_if_needed(&self, written: &IdentityWritten) {
        match written {
            IdentityWritten::Put { before: None, .. } => {}
            IdentityWritten::Put {
                identity,
                before: Some(_),
                shut_out,
                ..
            } => {
                // Also when it was so before: whoever did it may have lost the answer and with it the cut.
                if identity.settings.status == Status::Disabled {
                    self.presence.cut(identity.key, CutReason::AccessChanged);
                } else {
                    self.cut_unless_admitted(identity);
                }
                for module in shut_out {
                    self.presence.cut(*module, CutReason::AccessChanged);
                }
            }
            IdentityWritten::Deleted { identity, modules } => {
                self.forget(identity.key);
                modules.iter().for_each(|module| self.forget(*module));
            }
        }
    }

    /// Ends a connection whose credential is no longer the identity's.
    fn cut_unless_admitted(&self, identity: &Identity) {
        let link = self.presence.link(identity.key);
        if let Some(link) =
            link.filter(|link| !identity.settings.authentication.admits(link.admission()))
        {
            link.cut(CutReason::AccessChanged);
        }
    }

    fn forget(&self, key: IdentityKey) {
        self.presence.forget(key);
        self.jobs.identity_deleted(key);
    }
}

fn short_text(
    text: Option<String>,
    field: &'static str,
    max: usize,
) -> Result<Option<String>, RegistryError> {
    let chars = text.as_deref().map_or(0, |text| text.chars().count());
    if chars > max {
        let problem = format!("has {chars} characters, at most {max} are allowed");
        return Err(RegistryError::Invalid { field, problem });
    }
    Ok(text)
}

/// They are read with their device wherever it is, so they are bounded like the rest. compat: REG-48
fn few_scopes(scopes: Vec<String>) -> Result<Vec<String>, RegistryError> {
    let field = "parentScopes";
    let (count, max) = (scopes.len(), limits::PARENT_SCOPES_MAX);
    if count > max {
        let problem = format!("has {count} scopes, at most {max} are allowed");
        return Err(RegistryError::Invalid { field, problem });
    }
    let checked = scopes
        .into_iter()
        .map(|scope| short_text(Some(scope), field, limits::SCOPE_CHARS_MAX));
    checked.filter_map(Result::transpose).collect()
}
