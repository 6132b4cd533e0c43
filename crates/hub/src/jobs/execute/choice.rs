//! Who is called next: jobs take turns, and no job holds more calls than its share of what is free.

use std::ops::Bound;

use super::{Executor, index};
use crate::ids::{CallId, IdentityKey, JobNumber};

/// Dispatches that one job makes before another gets its turn.
pub(super) const TURN_DISPATCHES: usize = 64;
/// A job may hold this many calls for each that is still free: four fifths of the window when it is alone,
/// and some room is left for whoever comes next.
const SHARE: usize = 4;

impl Executor {
    /// How many devices would be called if nothing bounded that, and of how many jobs.
    pub fn wishes(&self) -> (usize, usize) {
        let jobs = self.active.iter().filter_map(|job| self.jobs.get(job));
        let devices: u64 = jobs.map(|entry| entry.candidates.len()).sum();
        let devices = usize::try_from(devices).unwrap_or(usize::MAX);
        (devices, self.active.len())
    }

    /// Picks the next calls, as many as are allowed and the bounds have room for; jobs take turns. Returns how
    /// many it picked.
    pub fn choose(&mut self, allowed: usize, mut next_call: impl FnMut() -> CallId) -> usize {
        let bound = self
            .bounds
            .dispatches
            .saturating_sub(self.records.dispatched);
        let mut budget = bound.min(allowed);
        let turn = (allowed / self.active.len().max(1)).clamp(1, TURN_DISPATCHES);
        let mut picked = 0;
        // Jobs passed over since one last began something.
        let mut passed = 0;
        while budget > 0 && passed < self.active.len() {
            if self.room() <= self.bounds.in_flight / 256 {
                break;
            }
            let Some(number) = self.next_in_turn() else {
                break;
            };
            self.turn = number;
            let allowed = self.allowance(number).min(budget).min(turn);
            match self.choose_from(number, allowed, &mut next_call) {
                0 if self.active.contains(&number) => passed += 1,
                0 => {}
                chosen => {
                    budget -= chosen;
                    picked += chosen;
                    passed = 0;
                }
            }
        }
        picked
    }

    /// The job after the one whose turn was last.
    fn next_in_turn(&self) -> Option<JobNumber> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let mut jobs = self.active.range(after).chain(&self.active);
        jobs.next().copied()
    }

    /// Calls that may still begin.
    fn room(&self) -> usize {
        self.bounds.in_flight.saturating_sub(self.in_flight)
    }

    /// How many calls a job may begin now. A job that is near its share waits until a group is worth a
    /// commit; one with little in flight does not.
    fn allowance(&self, number: JobNumber) -> usize {
        let Some(entry) = self.jobs.get(&number) else {
            // Gone: one round finds that out and takes it off the list.
            return 1;
        };
        let held = entry.in_flight.len();
        let free = (SHARE * self.room()).saturating_sub(held).min(self.room());
        let candidates = usize::try_from(entry.candidates.len()).unwrap_or(usize::MAX);
        let group = held
            .min((self.bounds.in_flight / 16).max(1))
            .min(candidates);
        if free < group { 0 } else { free }
    }

    fn choose_from(
        &mut self,
        number: JobNumber,
        budget: usize,
        next_call: &mut impl FnMut() -> CallId,
    ) -> usize {
        let Some(space) = self.jobs.get(&number).map(|entry| entry.job.plan.space) else {
            self.active.remove(&number);
            return 0;
        };
        let mut chosen = 0;
        while chosen < budget {
            let candidate = self.jobs.get_mut(&number).and_then(|entry| {
                let ordinal = entry.candidates.min()?;
                entry.candidates.remove(ordinal);
                Some(ordinal)
            });
            let Some(ordinal) = candidate else {
                self.active.remove(&number);
                break;
            };
            let key = IdentityKey { space, ordinal };
            if !self.ready[index(space)].contains(ordinal) {
                continue;
            }
            if self.load(key) >= self.bounds.per_device {
                self.parked.entry(key).or_default().insert(number);
                continue;
            }
            self.dispatch(number, key, next_call());
            chosen += 1;
        }
        self.index_if_small(number);
        chosen
    }

    fn dispatch(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        self.unindex(number, key);
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        entry.pending.remove(key.ordinal);
        entry.in_flight.insert(key.ordinal, call);
        self.calls.insert(call, (number, key.ordinal));
        *self.loads.entry(key).or_default() += 1;
        self.in_flight += 1;
        self.records.of(number).dispatched.push((key.ordinal, call));
        self.records.dispatched += 1;
    }
}
