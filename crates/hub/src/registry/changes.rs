//! Tells that an identity may have changed, in numbers that cost nothing to keep.
//!
//! Whoever remembers something about an identity remembers its number too; a memory with another number is
//! worth nothing. Identities share numbers, so one may move for a stranger's sake; it never stays for one's own.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::ids::DeviceId;

/// Numbers of all devices together; 8 KiB. Ours.
const NUMBERS: usize = 1_024;

/// One number for each device, and for its modules.
pub(super) struct Changes {
    numbers: Box<[AtomicU64]>,
    hash: RandomState,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            numbers: (0..NUMBERS).map(|_| AtomicU64::new(0)).collect(),
            hash: RandomState::new(),
        }
    }

    pub(super) fn note(&self, device: &DeviceId) {
        self.number(device).fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn of(&self, device: &DeviceId) -> u64 {
        self.number(device).load(Ordering::Acquire)
    }

    fn number(&self, device: &DeviceId) -> &AtomicU64 {
        &self.numbers[self.hash.hash_one(device.as_str()) as usize % NUMBERS]
    }
}
