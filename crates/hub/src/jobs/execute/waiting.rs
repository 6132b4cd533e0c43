//! Who waits for which device: candidates, jobs parked until a device has fewer calls, and the look-up of
//! jobs by device.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::Executor;
use crate::ids::{IdentityKey, JobNumber, Ordinal};

impl Executor {
    /// One call less to a device: the oldest job that waits for it may go on.
    pub(super) fn relieve(&mut self, key: IdentityKey) {
        if let Some(load) = self.loads.get_mut(&key) {
            *load -= 1;
            if *load == 0 {
                self.loads.remove(&key);
            }
        }
        self.unpark(key);
    }

    /// Lets the oldest job that waits for a device's load to fall go on. Jobs that no longer want the
    /// device do not use up the turn.
    fn unpark(&mut self, key: IdentityKey) {
        while let Some(parked) = self.parked.get_mut(&key) {
            let next = parked.pop_first();
            if parked.is_empty() {
                self.parked.remove(&key);
            }
            if next.is_some_and(|number| self.make_candidate(number, key.ordinal)) {
                return;
            }
        }
    }

    /// False when the job does not want the device (any more).
    pub(super) fn make_candidate(&mut self, number: JobNumber, ordinal: Ordinal) -> bool {
        let wanted = self
            .jobs
            .get_mut(&number)
            .filter(|entry| entry.may_begin && entry.pending.contains(ordinal));
        let Some(entry) = wanted else {
            return false;
        };
        entry.candidates.insert(ordinal);
        self.active.insert(number);
        true
    }

    /// Jobs that have this device pending, oldest first.
    pub(super) fn waiting_for(&self, key: IdentityKey) -> BTreeSet<JobNumber> {
        let mut waiting = self.by_device.get(&key).cloned().unwrap_or_default();
        waiting.extend(self.probed.iter().filter(|number| {
            self.jobs.get(number).is_some_and(|entry| {
                entry.job.plan.space == key.space && entry.pending.contains(key.ordinal)
            })
        }));
        waiting
    }

    pub(super) fn stop_beginning(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        entry.may_begin = false;
        let candidates = std::mem::take(&mut entry.candidates);
        let pending = std::mem::take(&mut entry.pending);
        let (space, is_small) = (entry.job.plan.space, entry.is_small);
        if is_small {
            for ordinal in &pending {
                self.unindex(number, IdentityKey { space, ordinal });
            }
        }
        self.active.remove(&number);
        let is_wanted = |key: &&IdentityKey| key.space == space && pending.contains(key.ordinal);
        let shared: Vec<_> = self.parked.keys().filter(is_wanted).copied().collect();
        for key in shared {
            match candidates.contains(key.ordinal) {
                // Its place goes to whoever waits for the same device.
                true => self.unpark(key),
                false => self.leave(number, key),
            }
        }
    }

    fn leave(&mut self, number: JobNumber, key: IdentityKey) {
        if let Some(parked) = self.parked.get_mut(&key) {
            parked.remove(&number);
            if parked.is_empty() {
                self.parked.remove(&key);
            }
        }
    }

    pub(super) fn of_job(&self, number: JobNumber, set: &RoaringBitmap) -> Vec<Ordinal> {
        let Some(entry) = self.jobs.get(&number) else {
            return Vec::new();
        };
        let mut both: RoaringBitmap = &entry.pending & set;
        both.extend(
            entry
                .in_flight
                .keys()
                .filter(|ordinal| set.contains(**ordinal)),
        );
        both.into_iter().collect()
    }

    /// Moves a job whose pending set has become small from probing to look-up by device.
    pub(super) fn index_if_small(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        if entry.is_small || entry.pending.len() > self.bounds.small {
            return;
        }
        entry.is_small = true;
        self.probed.remove(&number);
        for ordinal in &entry.pending {
            let key = IdentityKey {
                space: entry.job.plan.space,
                ordinal,
            };
            self.by_device.entry(key).or_default().insert(number);
        }
    }

    pub(super) fn unindex(&mut self, number: JobNumber, key: IdentityKey) {
        if let Some(numbers) = self.by_device.get_mut(&key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_device.remove(&key);
            }
        }
    }

    pub(super) fn load(&self, key: IdentityKey) -> usize {
        self.loads.get(&key).copied().unwrap_or(0)
    }
}
