//! What the world outside knows: who exists and is connected, what was accepted and cancelled, and every
//! connection there ever was with what reached it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fanfare_hub::{
    ids::{IdentityId, IdentityKey},
    jobs::{JobRequest, job::Progress},
};

use super::script::Manner;
use crate::rig::{FakeLink, Rig};

/// One identity that may exist.
pub(super) struct Person {
    pub(super) id: IdentityId,
    /// Known while it exists.
    pub(super) key: Option<IdentityKey>,
    pub(super) is_disabled: bool,
    /// Its connection, which may be dead without the hub knowing.
    pub(super) link: Option<Arc<FakeLink>>,
    /// How it connected last.
    pub(super) manner: Manner,
}

/// A job that was asked for.
pub(super) struct KnownJob {
    pub(super) request: JobRequest,
    pub(super) operated: Operated,
    /// Somebody asked for its cancel, and the store has it.
    pub(super) is_canceled: bool,
    /// Set when a cancel was answered.
    pub(super) canceled: Option<CancelMark>,
}

/// Method jobs have a method each, so that a call tells its job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operated {
    Method(String),
    Twin,
}

/// Where a job stood when its cancel was answered.
pub(super) struct CancelMark {
    pub(super) calls: usize,
    pub(super) progress: Progress,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) people: Vec<Person>,
    /// Those that were accepted.
    pub(super) jobs: Vec<KnownJob>,
    /// Jobs asked for, accepted or not.
    pub(super) asked: usize,
    /// Every connection there ever was.
    pub(super) links: Vec<Arc<FakeLink>>,
    pub(super) deleted: BTreeSet<IdentityKey>,
    /// Those of them that the engine must know of: their deletion has ended, or a process has begun since.
    pub(super) settled_deletions: BTreeSet<IdentityKey>,
    /// Changes of desired properties that were not a job's.
    pub(super) patched: BTreeMap<IdentityKey, u64>,
    pub(super) restarts: u32,
    /// Some write has failed, or a process has died.
    pub(super) is_disturbed: bool,
}

impl Known {
    pub(super) fn patches(&self, key: IdentityKey) -> u64 {
        self.patched.get(&key).copied().unwrap_or(0)
    }

    /// Of everybody who exists.
    pub(super) fn keys(&self) -> Vec<IdentityKey> {
        self.people.iter().filter_map(|person| person.key).collect()
    }

    /// Calls of a method that reached a device.
    pub(super) fn calls_of(&self, method: &str) -> usize {
        let calls = self.links.iter().flat_map(|link| link.named_calls());
        calls.filter(|(_, name)| name == method).count()
    }

    /// Whether a call to it would arrive.
    pub(super) fn is_callable(&self, rig: &Rig, key: IdentityKey) -> bool {
        let person = self.people.iter().find(|person| person.key == Some(key));
        let link = person.and_then(|person| person.link.as_ref());
        let is_open = link.is_some_and(|link| !link.is_closed());
        is_open && rig.hub.presence.ready_link(key).is_some()
    }
}
