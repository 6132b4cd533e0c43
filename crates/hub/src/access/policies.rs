//! The hub's shared access policies: read by everyone who checks a token, changed by few.
//!
//! A change is durable first, then it counts: whoever asks [`Policies::snapshot`] afterwards sees it, without a
//! restart. Device connections that a vanished key let in are cut, those of a key that stays are not. What may be
//! changed is decided in [`super::PolicyChange`], by the store's writer.

use std::sync::{Arc, PoisonError, RwLock};

use super::{DEFAULT_POLICIES, Policy, PolicyChange, PolicyEdit, PolicyRefused, Rights, Rotation};
use crate::{
    ids::Etag,
    limits::{POLICIES_MAX, POLICIES_SERVICE_CONNECT_MAX, POLICY_NAME_CHARS_MAX},
    ports::{Entropy, Store, StoreError, store::PolicyList},
    presence::{Admission, KeyMark, Presence},
    registry::{Precondition, RegistryError, SymmetricKey, checked_key, random_key},
};

/// The policies of a hub.
pub struct Policies {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    entropy: Arc<dyn Entropy>,
    current: RwLock<PolicyList>,
}

/// What a caller wants a policy to be; a key that is not named stays, or is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRequest {
    /// Its rights.
    pub rights: Rights,
    /// Its first key, base64 of 16 to 64 bytes.
    pub primary: Option<SymmetricKey>,
    /// Its second key, likewise.
    pub secondary: Option<SymmetricKey>,
}

/// Which key a rotation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// The first gives way to a new one.
    Primary,
    /// The second gives way to a new one.
    Secondary,
    /// They change places.
    Swap,
}

/// Why a policy was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PolicyError {
    /// The name or a key cannot be.
    #[error("{field} {problem}")]
    Invalid {
        /// Its name on the wire.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// It is there already.
    #[error("policy {0} already exists")]
    Exists(String),
    /// It is not there.
    #[error("policy {0} does not exist")]
    Absent(String),
    /// It is there in another version.
    #[error("policy {0} has another etag: somebody changed it meanwhile")]
    EtagMismatch(String),
    /// There are as many as there may be.
    #[error("there are {POLICIES_MAX} policies, which is the most a hub keeps")]
    TooMany,
    /// As many as may have `ServiceConnect` have it.
    #[error("{POLICIES_SERVICE_CONNECT_MAX} policies have ServiceConnect, which is the most")]
    TooManyServiceConnect,
    /// It is the last one with all rights.
    #[error(
        "policy {0} is the last one with all four rights, and without one nobody could change policies; \
         create another one first"
    )]
    LastOwner(String),
    /// The store failed.
    #[error("the policy could not be stored")]
    Store(#[from] StoreError),
}

impl Policies {
    /// None yet: [`Policies::load`] is called before anybody is let in.
    pub fn new(store: Arc<dyn Store>, presence: Arc<Presence>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            store,
            presence,
            entropy,
            current: RwLock::default(),
        }
    }

    /// Reads them from the store; the first start makes the default ones, with new keys. compat: AUTH-11
    ///
    /// # Errors
    /// [`StoreError`]: nobody can be let in.
    pub async fn load(&self) -> Result<(), StoreError> {
        let policy = |(name, rights): (&str, _)| Policy {
            name: name.into(),
            rights,
            primary: self.new_key(),
            secondary: self.new_key(),
            etag: Etag(0),
        };
        let defaults = DEFAULT_POLICIES.into_iter().map(policy).collect();
        let list = self.store.policy_seed(defaults).await?;
        self.take(list);
        Ok(())
    }

    /// Those in force, in order of their names, for whoever checks a token: no copy, no wait.
    pub fn snapshot(&self) -> Arc<[Policy]> {
        let current = self.current.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        current.policies.clone()
    }

    /// Those in the store, in order of their names. Asked, not remembered: after a write of which nobody knows
    /// whether it happened, this is how the hub and whoever asks learn it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Arc<[Policy]>, StoreError> {
        let list = self.store.policy_list().await?;
        let policies = list.policies.clone();
        self.take(list);
        Ok(policies)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`PolicyError::Absent`] or the store's.
    pub async fn get(&self, name: &str) -> Result<Policy, PolicyError> {
        let policies = self.list().await?;
        let found = policies.iter().find(|policy| &*policy.name == name);
        found
            .cloned()
            .ok_or_else(|| PolicyError::Absent(name.to_owned()))
    }

    /// Creates or changes one. When this returns it is durable and in force. compat: AUTH-16
    ///
    /// # Errors
    /// [`PolicyError`].
    pub async fn put(
        &self,
        name: &str,
        request: PolicyRequest,
        precondition: Precondition,
    ) -> Result<Policy, PolicyError> {
        check_name(name)?;
        let edit = PolicyEdit::Put {
            rights: request.rights,
            primary: checked(request.primary, "primaryKey")?,
            secondary: checked(request.secondary, "secondaryKey")?,
            made: [self.new_key(), self.new_key()],
        };
        let put = self.change(name, precondition, edit).await?;
        Ok(put.expect("what was put is there"))
    }

    /// Gives one a new key, or makes its keys change places; tokens of a key that stays go on working.
    /// compat: AUTH-17
    ///
    /// # Errors
    /// [`PolicyError`].
    pub async fn rotate(
        &self,
        name: &str,
        place: KeyPlace,
        precondition: Precondition,
    ) -> Result<Policy, PolicyError> {
        let rotation = match place {
            KeyPlace::Primary => Rotation::Primary(self.new_key()),
            KeyPlace::Secondary => Rotation::Secondary(self.new_key()),
            KeyPlace::Swap => Rotation::Swap,
        };
        let edit = PolicyEdit::Rotate(rotation);
        let rotated = self.change(name, precondition, edit).await?;
        Ok(rotated.expect("what was rotated is there"))
    }

    /// Removes one; its tokens and the device connections it let in end at once.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub async fn delete(&self, name: &str, precondition: Precondition) -> Result<(), PolicyError> {
        self.change(name, precondition, PolicyEdit::Delete).await?;
        Ok(())
    }

    /// Whether a device connection that was let in so would be let in now, as far as policies go. Asked once
    /// more when the connection can be seen: a change before that could not cut it.
    pub fn admit(&self, admission: &Admission) -> bool {
        match admission {
            Admission::Policy { .. } => Admitting::of(&self.snapshot()).admit(admission),
            _ => true,
        }
    }

    async fn change(
        &self,
        name: &str,
        precondition: Precondition,
        edit: PolicyEdit,
    ) -> Result<Option<Policy>, PolicyError> {
        let change = PolicyChange {
            name: name.into(),
            precondition,
            edit,
        };
        let changed = match self.store.policy_change(change).await {
            Ok(changed) => changed,
            Err(error) => {
                // It may have happened. Then a key that somebody took back must not open anything.
                if let Err(error) = self.list().await {
                    tracing::error!(%error, "whether a policy was changed is not known; list the policies to learn it");
                }
                return Err(error.into());
            }
        };
        let list = changed.map_err(|refused| refusal(refused, name))?;
        let policy = list.policies.iter().find(|policy| &*policy.name == name);
        let policy = policy.cloned();
        self.take(list);
        Ok(policy)
    }

    /// What was read or written last counts, whoever comes here last; then the connections that it ends are cut.
    fn take(&self, list: PolicyList) {
        let admitting = Admitting::of(&list.policies);
        {
            let current = self.current.write();
            let mut current = current.unwrap_or_else(PoisonError::into_inner);
            if list.revision < current.revision || list == *current {
                return;
            }
            *current = list;
        }
        self.presence
            .cut_admitted(|admission| !admitting.admit(admission));
    }

    fn new_key(&self) -> SymmetricKey {
        random_key(&*self.entropy)
    }
}

/// The keys that let devices in, as connections remember them.
struct Admitting(Vec<(Arc<str>, [KeyMark; 2])>);

impl Admitting {
    fn of(policies: &[Policy]) -> Self {
        let policies = policies.iter();
        let admitting = policies.filter(|policy| policy.rights.include(Rights::DEVICE_CONNECT));
        let marked = admitting.map(|policy| {
            let marks = [&policy.primary, &policy.secondary].map(|key| KeyMark::of(key.expose()));
            (policy.name.clone(), marks)
        });
        Self(marked.collect())
    }

    fn admit(&self, admission: &Admission) -> bool {
        let Admission::Policy { name, key } = admission else {
            return true;
        };
        let mut policies = self.0.iter();
        policies.any(|(known, marks)| known == name && marks.contains(key))
    }
}

fn checked(
    key: Option<SymmetricKey>,
    field: &'static str,
) -> Result<Option<SymmetricKey>, PolicyError> {
    let key = key.map(|key| checked_key(key.expose(), field));
    key.transpose().map_err(|error| PolicyError::Invalid {
        field,
        problem: match error {
            RegistryError::Invalid { problem, .. } => problem,
            other => other.to_string(),
        },
    })
}

/// Names go into paths, tokens, logs and command lines as they are. Ours: the contract names no rule, and every
/// name it has fits. compat: AUTH-16
fn check_name(name: &str) -> Result<(), PolicyError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_fine = name.len() <= POLICY_NAME_CHARS_MAX
        && name.bytes().all(is_plain)
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric());
    if is_fine {
        return Ok(());
    }
    Err(PolicyError::Invalid {
        field: "the policy's name",
        problem: format!(
            "must have 1 to {POLICY_NAME_CHARS_MAX} letters, digits, '_', '.' or '-' and begin with a letter or digit"
        ),
    })
}

fn refusal(refused: PolicyRefused, name: &str) -> PolicyError {
    let name = name.to_owned();
    match refused {
        PolicyRefused::Exists => PolicyError::Exists(name),
        PolicyRefused::Absent => PolicyError::Absent(name),
        PolicyRefused::EtagMismatch => PolicyError::EtagMismatch(name),
        PolicyRefused::TooMany => PolicyError::TooMany,
        PolicyRefused::TooManyServiceConnect => PolicyError::TooManyServiceConnect,
        PolicyRefused::LastOwner => PolicyError::LastOwner(name),
    }
}
