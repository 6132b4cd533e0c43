//! Remembers tokens that were verified, so that a busy back end does not pay for a signature with every call.
//!
//! Kept is a digest of each token, never the token. An entry counts for as long as the token does and the issuer still
//! publishes the key that signed it; only tokens that hold get in, so strangers cannot push anybody out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use fanfare_hub::access::Principal;
use ring::digest;

use super::keys::KeyDigest;

/// Tokens that are remembered; the oldest is forgotten first.
pub(super) const REMEMBERED_MAX: usize = 10_000;

type TokenDigest = [u8; 32];

/// A token that held.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) principal: Principal,
    /// Its issuer's place in the settings.
    pub(super) issuer: usize,
    pub(super) key: KeyDigest,
}

/// Up to [`REMEMBERED_MAX`] of them.
pub(super) struct Remembered {
    max: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_token: HashMap<TokenDigest, Entry>,
    in_order: VecDeque<TokenDigest>,
}

impl Remembered {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            entries: Mutex::default(),
        }
    }

    /// What a token proved, whether it still does or not.
    pub(super) fn get(&self, token: &TokenDigest) -> Option<Entry> {
        self.lock().by_token.get(token).cloned()
    }

    pub(super) fn put(&self, token: TokenDigest, entry: Entry) {
        let mut entries = self.lock();
        if entries.by_token.insert(token, entry).is_some() {
            return;
        }
        entries.in_order.push_back(token);
        if entries.in_order.len() > self.max
            && let Some(oldest) = entries.in_order.pop_front()
        {
            entries.by_token.remove(&oldest);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a token is remembered by.
pub(super) fn digest_of(token: &str) -> TokenDigest {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    let mut bytes = TokenDigest::default();
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{
        access::{ActionSet, Actor, Grants},
        time::Timestamp,
    };

    use super::*;

    fn entry(subject: &str) -> Entry {
        Entry {
            principal: Principal {
                actor: Actor::Token {
                    issuer: "https://issuer.test".into(),
                    subject: subject.into(),
                    app: None,
                },
                grants: Grants::Actions(ActionSet::NONE),
                until: Timestamp::FAR_FUTURE,
            },
            issuer: 0,
            key: KeyDigest::default(),
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let remembered = Remembered::new(2);
        let put = |name: &str| remembered.put(digest_of(name), entry(name));
        let knows = |name: &str| {
            let found = remembered.get(&digest_of(name));
            found.is_some_and(|found| found.principal == entry(name).principal)
        };
        put("a");
        put("b");
        put("a");
        assert!(knows("a") && knows("b"));
        put("c");
        assert!(!knows("a") && knows("b") && knows("c"));
        put("a");
        assert!(knows("a") && !knows("b") && knows("c"));
    }
}
