//! Credentials that were wrong a moment ago: the very same again is refused without asking the store.
//!
//! Some SDKs present a refused token ten times within seconds. What is remembered is a keyed hash of identity, host and
//! credential together, so a stranger's guesses never touch a real device's sign-in, and a right credential
//! is never in here. A memory ends at once when something changes that could make the credential right:
//! the identity (a number the registry raises) or the hub's policies.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fanfare_hub::{
    access::{Policy, Rights},
    ids::IdentityId,
};
use sha2::{Digest as _, Sha256};

/// Memories at most; 48 bytes each, so all of them are under 200 KiB. A new one replaces an older one. Ours.
const MEMORIES: usize = 4_096;
/// How long a refusal is remembered. Ours.
const REMEMBERED: Duration = Duration::from_secs(10);

/// What could make a refused credential right: these numbers change with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    identity: u64,
    policies: u64,
}

/// Names an identity with a credential, telling neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialMark([u8; 16]);

#[derive(Debug, Clone, Copy)]
struct Memory {
    mark: CredentialMark,
    circumstances: Circumstances,
    ends: Duration,
}

/// The refusals of the last seconds.
#[derive(Debug)]
pub(super) struct WrongCredentials {
    key: [u8; 32],
    policies: RandomState,
    memories: Mutex<Box<[Option<Memory>]>>,
}

impl WrongCredentials {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            policies: RandomState::new(),
            memories: Mutex::new(vec![None; MEMORIES].into()),
        }
    }

    pub(super) fn circumstances(&self, identity: u64, policies: &[Policy]) -> Circumstances {
        let mut hash = self.policies.build_hasher();
        for policy in policies {
            let connects = policy.rights.include(Rights::DEVICE_CONNECT);
            (&policy.name, connects).hash(&mut hash);
            (policy.primary.expose(), policy.secondary.expose()).hash(&mut hash);
        }
        Circumstances {
            identity,
            policies: hash.finish(),
        }
    }

    pub(super) fn mark(&self, id: &IdentityId, host: &str, credential: &[u8]) -> CredentialMark {
        let mut hash = Sha256::new_with_prefix(self.key);
        let module = id.module.as_ref().map_or("", |module| module.as_str());
        let device = id.device.as_str();
        for part in [
            device.as_bytes(),
            module.as_bytes(),
            host.as_bytes(),
            credential,
        ] {
            // The length as well: parts must not run into one another.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let whole: [u8; 32] = hash.finalize().into();
        let (half, _) = whole.split_first_chunk().expect("32 bytes have a half");
        CredentialMark(*half)
    }

    /// Whether it was refused a moment ago under the same circumstances; `now` counts from the node's start.
    pub(super) fn is_known(
        &self,
        mark: CredentialMark,
        circumstances: Circumstances,
        now: Duration,
    ) -> bool {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories[place(mark)].is_some_and(|memory| {
            memory.mark == mark && memory.circumstances == circumstances && now < memory.ends
        })
    }

    /// It was refused; `circumstances` are those from before it was looked at.
    pub(super) fn remember(
        &self,
        mark: CredentialMark,
        circumstances: Circumstances,
        now: Duration,
    ) {
        let memory = Memory {
            mark,
            circumstances,
            ends: now + REMEMBERED,
        };
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories[place(mark)] = Some(memory);
    }
}

fn place(mark: CredentialMark) -> usize {
    let [a, b, ..] = mark.0;
    usize::from(u16::from_be_bytes([a, b])) % MEMORIES
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{
        ids::{DeviceId, Etag, ModuleId},
        registry::SymmetricKey,
    };

    use super::*;

    fn device(id: &str) -> IdentityId {
        IdentityId::device(DeviceId::parse(id).unwrap())
    }

    #[test]
    fn only_the_very_same_is_known_and_only_for_a_while() {
        let wrong = WrongCredentials::new([7; 32]);
        let (then, later) = (Duration::from_secs(1), Duration::from_secs(11));
        let here = wrong.circumstances(1, &[]);
        let mark = wrong.mark(&device("door-1"), "hub", b"token");
        assert!(!wrong.is_known(mark, here, then));
        wrong.remember(mark, here, then);
        assert!(wrong.is_known(mark, here, then));
        assert!(!wrong.is_known(mark, here, later), "it is forgotten");
        let module = IdentityId {
            module: Some(ModuleId::parse("token").unwrap()),
            ..device("door-1")
        };
        for other in [
            wrong.mark(&device("door-2"), "hub", b"token"),
            wrong.mark(&device("door-1"), "hub", b"Token"),
            wrong.mark(&device("door-1"), "other", b"token"),
            wrong.mark(&module, "hub", b""),
        ] {
            assert!(!wrong.is_known(other, here, then));
        }
    }

    #[test]
    fn any_change_of_circumstances_ends_a_memory() {
        let wrong = WrongCredentials::new([7; 32]);
        let now = Duration::ZERO;
        let mark = wrong.mark(&device("door-1"), "hub", b"token");
        let key = |last: char| SymmetricKey::new(&format!("MDEyMzQ1Njc4OWFiY2RlZ{last}=="));
        let policy = Policy {
            name: "device".into(),
            rights: Rights::DEVICE_CONNECT,
            primary: key('g'),
            secondary: key('w'),
            etag: Etag(1),
        };
        let before = [policy.clone()];
        wrong.remember(mark, wrong.circumstances(1, &before), now);
        assert!(wrong.is_known(mark, wrong.circumstances(1, &before), now));
        let rotated = Policy {
            primary: key('A'),
            ..policy.clone()
        };
        let narrowed = Policy {
            rights: Rights::SERVICE_CONNECT,
            ..policy.clone()
        };
        for (identity, policies) in [
            (2, vec![policy.clone()]),
            (1, vec![]),
            (1, vec![rotated]),
            (1, vec![narrowed]),
            (1, vec![policy.clone(), policy]),
        ] {
            let changed = wrong.circumstances(identity, &policies);
            assert!(!wrong.is_known(mark, changed, now), "{policies:?}");
        }
    }

    #[test]
    fn as_many_as_come_take_no_more_room() {
        let wrong = WrongCredentials::new([7; 32]);
        let (now, here) = (Duration::ZERO, wrong.circumstances(1, &[]));
        for number in 0..3 * MEMORIES {
            let mark = wrong.mark(&device("door-1"), "hub", &number.to_be_bytes());
            wrong.remember(mark, here, now);
            assert!(wrong.is_known(mark, here, now));
        }
        assert_eq!(wrong.memories.lock().unwrap().len(), MEMORIES);
    }
}
