//! Device and module identities: what they are and who may change them how.
//!
//! The service below decides keys and defaults; the store decides existence and etags inside its
//! writer. Whoever changes an identity's rights to connect also cuts its connection.

use std::{
    fmt,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    ids::{Etag, Generation, IdentityId, IdentityKey, Space},
    limits,
    ports::{
        Clock, Entropy, Store, StoreError,
        store::{IdentityCount, IdentityRow, IdentityScan},
    },
    presence::{CutReason, Presence},
    signals::JobSignals,
    time::Timestamp,
    twin::document::TwinPatch,
};

mod keys;

pub use keys::KeyRenewal;

/// A registry entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Its name.
    pub id: IdentityId,
    /// Its place in the store.
    pub key: IdentityKey,
    /// New at every creation of the same name.
    pub generation: Generation,
    /// Moves with every change of the entry.
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
}

/// Whether an identity may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Enabled,
    /// It may not, and a live connection is cut.
    Disabled,
}

/// How an identity proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Tokens signed with one of two keys.
    Sas {
        /// The first key.
        primary: SymmetricKey,
        /// The second key, for rotation.
        secondary: SymmetricKey,
    },
    /// A certificate known by thumbprint (hex text as given).
    SelfSigned {
        /// The first thumbprint.
        primary: Option<String>,
        /// The second, for rotation.
        secondary: Option<String>,
    },
    /// A certificate from a known authority.
    CertificateAuthority,
    /// It cannot prove anything, so it cannot connect.
    None,
}

/// A shared key as base64 text, kept as its owner wrote it. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SymmetricKey(Arc<str>);

impl SymmetricKey {
    /// Wraps base64 text; the caller has checked it.
    pub fn new(base64: &str) -> Self {
        Self(base64.into())
    }

    /// The base64 text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(..)")
    }
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
    /// Either way: create it, or change whatever is there.
    Any,
}

/// One change of the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum IdentityWrite {
    /// Creates or changes an entry.
    Put {
        /// Its name.
        id: IdentityId,
        /// Its new settings.
        settings: IdentitySettings,
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

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub enum IdentityWritten {
    /// The entry as it is now, with the entry before, if there was one.
    Put {
        /// After the write.
        identity: Box<Identity>,
        /// Before the write.
        before: Option<Box<Identity>>,
    },
    /// The entry that went.
    Deleted(Box<Identity>),
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
    /// Its scope cannot change any more. compat: REG-9
    #[error("the device scope of {0} cannot be changed")]
    ScopeFixed(IdentityId),
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
    /// Enabled when absent.
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
    /// The first content of its twin.
    pub twin: Option<TwinPatch>,
}

/// The credentials that a caller names; an absent key means "make one" (or keep the one there is).
#[derive(Clone, PartialEq, Eq)]
pub enum AuthenticationRequest {
    /// Base64 keys of 16 to 64 bytes.
    Sas {
        /// The first key.
        primary: Option<String>,
        /// The second key.
        secondary: Option<String>,
    },
    /// Hex thumbprints of 40 or 64 digits.
    SelfSigned {
        /// The first thumbprint.
        primary: Option<String>,
        /// The second.
        secondary: Option<String>,
    },
    /// A certificate from a known authority.
    CertificateAuthority,
    /// Nothing.
    None,
}

impl fmt::Debug for AuthenticationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sas { .. } => "Sas(..)",
            Self::SelfSigned { .. } => "SelfSigned(..)",
            Self::CertificateAuthority => "CertificateAuthority",
            Self::None => "None",
        })
    }
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
        }
    }

    /// One identity.
    pub async fn get(&self, id: &IdentityId) -> Result<Option<Identity>, StoreError> {
        self.store.identity_get(id).await
    }

    /// The first `limit` devices in order of creation; at most 1,000.
    pub async fn list(&self, limit: u32) -> Result<Vec<Identity>, StoreError> {
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
            IdentityWritten::Put { identity, .. } | IdentityWritten::Deleted(identity) => {
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

    /// Makes each change on its own, in order, in one commit: the results are in the same order.
    pub async fn change(
        &self,
        changes: Vec<RegistryChange>,
    ) -> Result<Vec<Result<IdentityWritten, RegistryError>>, StoreError> {
        let mut results = Vec::with_capacity(changes.len());
        let mut writes = Vec::with_capacity(changes.len());
        let mut modules = Vec::new();
        for change in changes {
            match self.prepare(change).await? {
                Ok(write) => {
                    modules.push(self.modules_going_with(&write).await?);
                    writes.push(write);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let written = self.store.identity_write(writes, self.clock.now()).await?;
        for (written, modules) in written.iter().zip(modules) {
            if matches!(written, Ok(IdentityWritten::Deleted(_))) {
                modules.into_iter().for_each(|module| self.forget(module));
            }
        }
        let mut written = written.into_iter();
        let mut next = || written.next().expect("one result for each write");
        let results: Vec<_> = results
            .into_iter()
            .map(|refused| refused.unwrap_or_else(|| next().map_err(RegistryError::Identity)))
            .collect();
        results
            .iter()
            .flatten()
            .for_each(|written| self.cut_if_needed(written));
        Ok(results)
    }

    async fn prepare(
        &self,
        change: RegistryChange,
    ) -> Result<Result<IdentityWrite, RegistryError>, StoreError> {
        let request = match change {
            RegistryChange::Put(request) => request,
            RegistryChange::Delete { id, precondition } => {
                return Ok(Ok(IdentityWrite::Delete { id, precondition }));
            }
        };
        let before = match request.precondition {
            Precondition::Absent => None,
            _ => self.store.identity_get(&request.id).await?,
        };
        Ok(self.put_write(*request, before.as_ref()))
    }

    fn put_write(
        &self,
        request: IdentityRequest,
        before: Option<&Identity>,
    ) -> Result<IdentityWrite, RegistryError> {
        let reason_chars = request
            .status_reason
            .as_deref()
            .map_or(0, |text| text.chars().count());
        if reason_chars > limits::STATUS_REASON_CHARS_MAX {
            return Err(RegistryError::Invalid {
                field: "statusReason",
                problem: format!("has {reason_chars} characters, at most 128 are allowed"),
            });
        }
        let settings = IdentitySettings {
            status: request.status.unwrap_or(Status::Enabled),
            status_reason: request.status_reason,
            authentication: self.credentials(request.authentication, before)?,
            edge: request.edge,
            device_scope: request.device_scope,
            parent_scopes: request.parent_scopes,
        };
        Ok(IdentityWrite::Put {
            id: request.id,
            settings,
            precondition: request.precondition,
            twin: request.twin,
        })
    }

    fn credentials(
        &self,
        request: AuthenticationRequest,
        before: Option<&Identity>,
    ) -> Result<Authentication, RegistryError> {
        let kept = match before.map(|identity| &identity.settings.authentication) {
            Some(Authentication::Sas { primary, secondary }) => {
                [Some(primary.clone()), Some(secondary.clone())]
            }
            _ => [None, None],
        };
        let [kept_primary, kept_secondary] = kept;
        let key = |given: Option<String>, kept: Option<SymmetricKey>, field| match given {
            Some(base64) => checked_key(&base64, field),
            None => Ok(kept.unwrap_or_else(|| self.new_key())),
        };
        Ok(match request {
            AuthenticationRequest::Sas { primary, secondary } => Authentication::Sas {
                primary: key(primary, kept_primary, "primaryKey")?,
                secondary: key(secondary, kept_secondary, "secondaryKey")?,
            },
            AuthenticationRequest::SelfSigned { primary, secondary } => {
                Authentication::SelfSigned {
                    primary: checked_thumbprint(primary, "primaryThumbprint")?,
                    secondary: checked_thumbprint(secondary, "secondaryThumbprint")?,
                }
            }
            AuthenticationRequest::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationRequest::None => Authentication::None,
        })
    }

    /// 32 random bytes as base64.
    pub fn new_key(&self) -> SymmetricKey {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        SymmetricKey::new(&STANDARD.encode(bytes))
    }

    fn cut_if_needed(&self, written: &IdentityWritten) {
        match written {
            IdentityWritten::Put { before: None, .. } => {}
            IdentityWritten::Put {
                identity,
                before: Some(before),
            } => {
                let (now, then) = (&identity.settings, &before.settings);
                if now.status != then.status || now.authentication != then.authentication {
                    self.presence.cut(identity.key, CutReason::AccessChanged);
                }
            }
            IdentityWritten::Deleted(identity) => {
                self.forget(identity.key);
            }
        }
    }

    fn forget(&self, key: IdentityKey) {
        self.presence.forget(key);
        self.jobs.identity_deleted(key);
    }

    /// The modules of a device that is about to be deleted: the store takes them along.
    async fn modules_going_with(
        &self,
        write: &IdentityWrite,
    ) -> Result<Vec<IdentityKey>, StoreError> {
        let IdentityWrite::Delete { id, .. } = write else {
            return Ok(Vec::new());
        };
        if id.module.is_some() {
            return Ok(Vec::new());
        }
        let scan = IdentityScan {
            space: Space::Modules,
            after: None,
            devices: Some(vec![id.device.clone()]),
        };
        let found = Arc::new(Mutex::new(Vec::new()));
        let keys = found.clone();
        let visit = move |row: &dyn IdentityRow| {
            let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.push(row.key());
            ControlFlow::Continue(())
        };
        self.store.identity_scan(scan, Box::new(visit)).await?;
        Ok(std::mem::take(
            &mut *found.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

fn checked_key(base64: &str, field: &'static str) -> Result<SymmetricKey, RegistryError> {
    let invalid = |problem: &str| RegistryError::Invalid {
        field,
        problem: problem.to_owned(),
    };
    let bytes = STANDARD
        .decode(base64)
        .map_err(|_| invalid("is not base64"))?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(invalid("must have 16 to 64 bytes"));
    }
    Ok(SymmetricKey::new(base64))
}

fn checked_thumbprint(
    hex: Option<String>,
    field: &'static str,
) -> Result<Option<String>, RegistryError> {
    let is_fine = |hex: &str| {
        matches!(hex.len(), 40 | 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match hex {
        Some(hex) if !is_fine(&hex) => Err(RegistryError::Invalid {
            field,
            problem: "must have 40 or 64 hexadecimal digits".to_owned(),
        }),
        other => Ok(other),
    }
}
