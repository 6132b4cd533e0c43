//! The `Authorization` header of requests: made when it is needed, kept while it is good, never by two at once.
//!
//! Holds the finished header, marked sensitive, so that a call costs a reference count and no signing. A shared
//! access signature is made anew by whoever finds it old; a bearer token is fetched by one caller while the others
//! use the old one, or wait when there is none and share what that one fetch brings, failure included.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_wire::sas::{SasGrant, sign};
use fanfare_wire::{Secret, Timestamp};
use http::HeaderValue;
use tokio::time::timeout;

use super::{Credential, CredentialError, Kind, TokenCredential};
use crate::Error;
use crate::error::SetupError;

/// Life of a signature, seconds; what the SDKs use.
const SIGNATURE_LIFE_S: i64 = 3600;
/// A signature with less than this left is made anew, seconds; more than the clocks may disagree.
const SIGNATURE_LEFT_MIN_S: i64 = 600;
/// A token with less than this left is fetched anew, seconds.
const TOKEN_LEFT_MIN_S: i64 = 300;
/// While the old token still serves, no second fetch is begun this soon after one that failed, seconds.
const TOKEN_FETCH_PAUSE_S: i64 = 30;
/// What tokens are asked for.
const SCOPES: &[&str] = &["https://iothubs.azure.net/.default"];

/// Puts a credential on the requests to one hub.
#[derive(Debug)]
pub(crate) struct Authorizer {
    kind: Kind,
    /// The host that signatures are made for.
    host: String,
    /// Longest wait for a token.
    fetch_within: Duration,
    current: Mutex<Option<Held>>,
    /// Held by the one who fetches a token.
    fetch: tokio::sync::Mutex<()>,
    failed: Mutex<Failed>,
}

/// The fetches that brought no token: how many, and why the last one did not.
#[derive(Debug, Default)]
struct Failed {
    count: u64,
    last: Option<CredentialError>,
}

/// A header in use, and until when.
#[derive(Debug, Clone)]
struct Held {
    /// Marked sensitive: `Debug` hides it.
    header: HeaderValue,
    /// Seconds since the epoch.
    expiry: i64,
    /// When it should be made anew.
    renew_at: i64,
}

impl Authorizer {
    /// Fails at once when the key cannot sign or the signature cannot be sent.
    pub(crate) fn new(
        credential: Credential,
        host: String,
        fetch_within: Duration,
    ) -> Result<Self, Error> {
        let authorizer = Self {
            kind: credential.0,
            host,
            fetch_within,
            current: Mutex::new(None),
            fetch: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        };
        match &authorizer.kind {
            Kind::Key { policy, key } => {
                authorizer.signed(policy, key, unix_now_s())?;
            }
            Kind::Signature { text, expiry } => {
                let header = sensitive(text.expose())
                    .map_err(|()| SetupError::Signature("it cannot be sent".to_owned()))?;
                let expiry = expiry.as_micros().div_euclid(1_000_000);
                authorizer.hold(Held {
                    header,
                    expiry,
                    renew_at: expiry,
                });
            }
            Kind::Token(_) => {}
        }
        Ok(authorizer)
    }

    /// The value of the `Authorization` header.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Error> {
        let now = unix_now_s();
        match &self.kind {
            Kind::Key { policy, key } => self.signed(policy, key, now),
            Kind::Signature { expiry, .. } => self.unexpired(*expiry, now),
            Kind::Token(source) => self.token(source.as_ref(), None).await,
        }
    }

    /// After a 401: another header than `refused`, when there is hope for one.
    pub(crate) async fn header_after(
        &self,
        refused: &HeaderValue,
    ) -> Result<Option<HeaderValue>, Error> {
        match &self.kind {
            Kind::Token(source) => self.token(source.as_ref(), Some(refused)).await.map(Some),
            // The same key signs the same right; the hub has said no to it.
            Kind::Key { .. } | Kind::Signature { .. } => Ok(None),
        }
    }

    fn signed(&self, policy: &str, key: &Secret, now: i64) -> Result<HeaderValue, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was made later than now was made by a clock that has been put right since.
        let is_good = |held: &&Held| (held.expiry - SIGNATURE_LIFE_S..held.renew_at).contains(&now);
        if let Some(held) = current.as_ref().filter(is_good) {
            return Ok(held.header.clone());
        }
        let expiry = now + SIGNATURE_LIFE_S;
        let text = sign(&SasGrant {
            resource: &self.host,
            key: key.expose(),
            policy: Some(policy),
            expiry,
        })
        .map_err(|error| SetupError::Key(error.to_string()))?;
        let header = sensitive(&text).expect("a signature is percent-encoded");
        *current = Some(Held {
            header: header.clone(),
            expiry,
            renew_at: expiry - SIGNATURE_LEFT_MIN_S,
        });
        Ok(header)
    }

    fn unexpired(&self, expiry: Timestamp, now: i64) -> Result<HeaderValue, Error> {
        self.held()
            .filter(|held| now < held.expiry)
            .map(|held| held.header)
            .ok_or(Error::SignatureExpired { at: expiry })
    }

    /// A token's header, but not `refused`.
    async fn token(
        &self,
        source: &dyn TokenCredential,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let usable = |held: &Held| Some(&held.header) != refused && unix_now_s() < held.expiry;
        let old = match self.held().filter(usable) {
            Some(held) if unix_now_s() < held.renew_at => return Ok(held.header),
            old => old,
        };
        let failed_before = self.failed().count;
        let _turn = match (&old, self.fetch.try_lock()) {
            (_, Ok(turn)) => turn,
            // Another call fetches; what there is serves until that one is done.
            (Some(held), Err(_)) => return Ok(held.header.clone()),
            (None, Err(_)) => self.fetch.lock().await,
        };
        // Whoever had the turn before has brought one, or a reason that is ours as well: a hundred calls must not
        // ask a source in vain one after the other.
        if let Some(held) = self.held().filter(usable)
            && unix_now_s() < held.renew_at
        {
            return Ok(held.header);
        }
        if self.failed().count > failed_before
            && let (None, Some(failure)) = (&old, self.failed().last.clone())
        {
            return Err(Error::Credential(failure));
        }
        match (self.fetched(source).await, old) {
            (Ok(held), _) => {
                self.hold(held.clone());
                Ok(held.header)
            }
            (Err(_), Some(old)) => {
                let renew_at = unix_now_s() + TOKEN_FETCH_PAUSE_S;
                self.hold(Held {
                    renew_at,
                    ..old.clone()
                });
                Ok(old.header)
            }
            (Err(error), None) => {
                let mut failed = self.failed();
                failed.count += 1;
                failed.last = Some(error.clone());
                Err(Error::Credential(error))
            }
        }
    }

    async fn fetched(&self, source: &dyn TokenCredential) -> Result<Held, CredentialError> {
        let token = timeout(self.fetch_within, source.token(SCOPES))
            .await
            .map_err(|_| {
                CredentialError::new(format!("no token within {:?}", self.fetch_within))
            })??;
        let expiry = unix_s(token.expires_on);
        let now = unix_now_s();
        if expiry <= now {
            return Err(CredentialError::new("the token has expired already"));
        }
        let header = sensitive(&format!("Bearer {}", token.token.expose()))
            .map_err(|()| CredentialError::new("the token cannot be sent in a header"))?;
        Ok(Held {
            header,
            expiry,
            renew_at: token_renew_at(now, expiry),
        })
    }

    fn held(&self) -> Option<Held> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn failed(&self) -> MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, held: Held) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

/// When a token is fetched anew: five minutes before its end, or a short-lived one after half its life.
fn token_renew_at(now: i64, expiry: i64) -> i64 {
    let left = expiry - now;
    expiry - TOKEN_LEFT_MIN_S.min(left / 2)
}

fn sensitive(text: &str) -> Result<HeaderValue, ()> {
    let mut header = HeaderValue::from_str(text).map_err(|_| ())?;
    header.set_sensitive(true);
    Ok(header)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a client has no clock but the system's"
)]
fn unix_now_s() -> i64 {
    unix_s(SystemTime::now())
}

fn unix_s(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
