//! The certificate authorities that may vouch for devices: uploaded ones, and those of the operator's files.
//!
//! An uploaded authority vouches for nobody until somebody proved to have its key; one from a file does at once, since
//! whoever writes the node's files owns it. A change is durable first, then it counts, and then the connections
//! that it took the ground from are cut. Knows certificates as bytes with a hash; what is in them is read by
//! whoever calls. What may be changed is decided in [`AuthorityChange`], by the store's writer.

mod change;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use sha2::{Digest as _, Sha256};

pub use self::change::{AuthorityChange, AuthorityEdit, AuthorityRefused};
use crate::{
    ids::Etag,
    limits::{AUTHORITIES_MAX, AUTHORITY_NAME_CHARS_MAX, VERIFICATION_CODE_BYTES},
    ports::{Clock, Entropy, Store, StoreError, authorities::AuthorityList},
    presence::{Admission, Presence},
    registry::Precondition,
    time::Timestamp,
};

/// An uploaded authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its name.
    pub name: AuthorityName,
    /// Its certificate, DER.
    pub certificate: Arc<[u8]>,
    /// Whether somebody proved to have its key. It vouches for nobody before.
    pub is_verified: bool,
    /// What the next proof must name.
    pub code: Option<Arc<str>>,
    /// When it was first uploaded.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Moves with every change, and is never used again.
    pub etag: Etag,
}

/// The name of an authority: 1 to 64 letters, digits, `-`, `.` and `_`. compat: AUTH-51
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorityName(Arc<str>);

/// Text that is no name of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of an authority has 1 to {AUTHORITY_NAME_CHARS_MAX} letters, digits, '-', '.' or '_'"
)]
pub struct ParseAuthorityNameError;

impl AuthorityName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`ParseAuthorityNameError`].
    pub fn parse(text: &str) -> Result<Self, ParseAuthorityNameError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_fine = (1..=AUTHORITY_NAME_CHARS_MAX).contains(&text.len());
        match is_fine && text.bytes().all(is_plain) {
            true => Ok(Self(text.into())),
            false => Err(ParseAuthorityNameError),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate whose key may vouch for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedCertificate {
    /// DER.
    pub der: Arc<[u8]>,
    /// SHA-256 of it.
    pub thumbprint: [u8; 32],
}

impl TrustedCertificate {
    /// Of a certificate's DER.
    pub fn new(der: Arc<[u8]>) -> Self {
        let thumbprint = Sha256::digest(&der).into();
        Self { der, thumbprint }
    }
}

/// Why an authority was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthorityError {
    /// It is there already.
    #[error("authority {0} already exists")]
    Exists(AuthorityName),
    /// It is not there.
    #[error("authority {0} does not exist")]
    Absent(AuthorityName),
    /// It is there in another version.
    #[error("authority {0} has another etag: somebody changed it meanwhile")]
    EtagMismatch(AuthorityName),
    /// There are as many as there may be.
    #[error("there are {AUTHORITIES_MAX} authorities, which is the most a hub keeps")]
    TooMany,
    /// Another one has this certificate.
    #[error("authority {0} has this certificate already")]
    Twice(AuthorityName),
    /// The store failed.
    #[error("the authority could not be stored")]
    Store(#[from] StoreError),
}

/// The authorities of a hub.
pub struct Authorities {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    current: RwLock<Current>,
    changes: AtomicU64,
}

struct Current {
    uploaded: AuthorityList,
    configured: Vec<TrustedCertificate>,
    trusted: Arc<[TrustedCertificate]>,
}

impl Current {
    /// What vouches for devices now.
    fn trust(&mut self) -> Arc<[TrustedCertificate]> {
        let uploaded = self.uploaded.authorities.iter();
        let verified = uploaded.filter(|authority| authority.is_verified);
        let verified =
            verified.map(|authority| TrustedCertificate::new(authority.certificate.clone()));
        self.trusted = self.configured.iter().cloned().chain(verified).collect();
        self.trusted.clone()
    }
}

impl Authorities {
    /// None yet: [`Authorities::load`] is called before anybody is let in.
    pub fn new(
        store: Arc<dyn Store>,
        presence: Arc<Presence>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            store,
            presence,
            clock,
            entropy,
            current: RwLock::new(Current {
                uploaded: AuthorityList::default(),
                configured: Vec::new(),
                trusted: Arc::from([]),
            }),
            changes: AtomicU64::new(0),
        }
    }

    /// Reads the uploaded ones from the store, and trusts those of the operator's files, which stay trusted
    /// until the next call.
    ///
    /// # Errors
    /// [`StoreError`]: nobody can be let in.
    pub async fn load(&self, configured: Vec<Arc<[u8]>>) -> Result<(), StoreError> {
        let uploaded = self.store.authority_list().await?;
        let configured = configured.into_iter().map(TrustedCertificate::new);
        let configured: Vec<_> = configured.collect();
        self.set(|current| {
            current.configured = configured;
            if current.uploaded.revision <= uploaded.revision {
                current.uploaded = uploaded;
            }
        });
        Ok(())
    }

    /// What may vouch for devices, the operator's files first: no copy, no wait. The same slice as long as nothing
    /// changes.
    pub fn trusted(&self) -> Arc<[TrustedCertificate]> {
        let current = self.current.read();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        current.trusted.clone()
    }

    /// A number that grows whenever others are trusted than before; it is read before whatever is to be compared
    /// later.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether a device connection that was let in so would be let in now, as far as authorities go. Asked once
    /// more when the connection can be seen: a change before that could not cut it.
    pub fn admit(&self, admission: &Admission) -> bool {
        vouch(&self.trusted(), admission)
    }

    /// The uploaded ones as they are in the store, in order of their names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Arc<[Authority]>, StoreError> {
        let list = self.store.authority_list().await?;
        let authorities = list.authorities.clone();
        self.take(list);
        Ok(authorities)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`AuthorityError::Absent`] or the store's.
    pub async fn get(&self, name: &AuthorityName) -> Result<Authority, AuthorityError> {
        let authorities = self.list().await?;
        let found = authorities.iter().find(|authority| authority.name == *name);
        found
            .cloned()
            .ok_or_else(|| AuthorityError::Absent(name.clone()))
    }

    /// Uploads a certificate (DER of an authority, which the caller checked). Another one than before is not
    /// trusted until it is proven.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn put(
        &self,
        name: AuthorityName,
        certificate: Arc<[u8]>,
        precondition: Precondition,
    ) -> Result<Authority, AuthorityError> {
        let edit = AuthorityEdit::Put(certificate);
        let put = self.change(name, precondition, edit).await?;
        Ok(put.expect("what was put is there"))
    }

    /// Makes a new code for a proof; an older one is void. What was proven before stays so.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn make_code(
        &self,
        name: AuthorityName,
        precondition: Precondition,
    ) -> Result<Authority, AuthorityError> {
        let mut bytes = [0; VERIFICATION_CODE_BYTES];
        self.entropy.fill(&mut bytes);
        let code: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let edit = AuthorityEdit::Code(code.into());
        let made = self.change(name, precondition, edit).await?;
        Ok(made.expect("what was changed is there"))
    }

    /// From now on it vouches for devices: the caller has seen a proof that names the code of exactly this
    /// version.
    ///
    /// # Errors
    /// [`AuthorityError`]; an etag that moved means that the proof may be about another certificate or code.
    pub async fn verify(&self, proven: &Authority) -> Result<Authority, AuthorityError> {
        let precondition = Precondition::Matches(proven.etag);
        let name = proven.name.clone();
        let verified = self
            .change(name, precondition, AuthorityEdit::Verify)
            .await?;
        Ok(verified.expect("what was changed is there"))
    }

    /// Removes one; the connections that it vouched for end at once.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn delete(
        &self,
        name: AuthorityName,
        precondition: Precondition,
    ) -> Result<(), AuthorityError> {
        self.change(name, precondition, AuthorityEdit::Delete)
            .await
            .map(drop)
    }

    async fn change(
        &self,
        name: AuthorityName,
        precondition: Precondition,
        edit: AuthorityEdit,
    ) -> Result<Option<Authority>, AuthorityError> {
        let change = AuthorityChange {
            name: name.clone(),
            precondition,
            edit,
        };
        let changed = match self.store.authority_change(change, self.clock.now()).await {
            Ok(changed) => changed,
            Err(error) => {
                // It may have happened. Then an authority that somebody took back must not vouch for anybody.
                if let Err(error) = self.list().await {
                    tracing::error!(%error, "whether an authority was changed is not known; list the authorities to learn it");
                }
                return Err(error.into());
            }
        };
        let list = changed.map_err(|refused| refusal(refused, name.clone()))?;
        let mut authorities = list.authorities.iter();
        let authority = authorities
            .find(|authority| authority.name == name)
            .cloned();
        self.take(list);
        Ok(authority)
    }

    /// The newest list counts, whoever comes here last.
    fn take(&self, list: AuthorityList) {
        self.set(|current| {
            if current.uploaded.revision < list.revision {
                current.uploaded = list;
            }
        });
    }

    /// Changes what is trusted; then cuts the connections that stand on nothing any more.
    fn set(&self, change: impl FnOnce(&mut Current)) {
        let trusted = {
            let current = self.current.write();
            let mut current = current.unwrap_or_else(PoisonError::into_inner);
            let before = current.trusted.clone();
            change(&mut current);
            let now = current.trust();
            if now == before {
                current.trusted = before;
                return;
            }
            self.changes.fetch_add(1, Ordering::AcqRel);
            now
        };
        self.presence
            .cut_admitted(|admission| !vouch(&trusted, admission));
    }
}

fn vouch(trusted: &[TrustedCertificate], admission: &Admission) -> bool {
    match admission {
        Admission::Authority { thumbprint } => {
            trusted.iter().any(|known| known.thumbprint == *thumbprint)
        }
        _ => true,
    }
}

fn refusal(refused: AuthorityRefused, name: AuthorityName) -> AuthorityError {
    match refused {
        AuthorityRefused::Exists => AuthorityError::Exists(name),
        AuthorityRefused::Absent => AuthorityError::Absent(name),
        AuthorityRefused::EtagMismatch => AuthorityError::EtagMismatch(name),
        AuthorityRefused::TooMany => AuthorityError::TooMany,
        AuthorityRefused::Twice(other) => AuthorityError::Twice(other),
    }
}
