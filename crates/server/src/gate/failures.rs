//! Which addresses fail to sign in again and again: one bucket of failures for each.
//!
//! An address whose bucket is empty is a suspect. Nobody is locked out for that: suspects take turns and
//! their wrong guesses cost them a new connection each, which is all a bucket decides. So it may err, a little
//! and on one side only, and that buys a fixed size: buckets are found by two keyed hashes of the address in
//! a table that holds no addresses. Whoever fills the table from a whole network makes more suspects, never
//! a larger table. (`governor`'s keyed buckets grow with the number of addresses, which a peer chooses.)

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Source;

/// Buckets; 8 bytes each, so all of them are 512 KiB. Ours.
const BUCKETS: usize = 64 * 1024;

/// The buckets of a node.
#[derive(Debug)]
pub(super) struct Failures {
    /// For each bucket when it is full again, in microseconds since the node's start.
    full_at: Box<[AtomicU64]>,
    /// Secret, so that nobody can choose whom to share a bucket with.
    hashes: [RandomState; 2],
    /// What one failure costs.
    cost: u64,
    /// What a full bucket holds.
    holds: u64,
}

impl Failures {
    /// Buckets that hold `per_minute` failures and fill in a minute.
    pub(super) fn new(per_minute: u32) -> Self {
        let cost = 60_000_000 / u64::from(per_minute.max(1));
        Self {
            full_at: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            hashes: [RandomState::new(), RandomState::new()],
            cost,
            holds: cost * u64::from(per_minute.max(1)),
        }
    }

    /// One more failure; `now` counts from the node's start.
    pub(super) fn note(&self, source: Source, now: Duration) {
        let now = micros(now);
        for bucket in self.buckets(source) {
            // No deeper than empty: whoever stops is trusted again after one failure's time.
            let drained = |full_at: u64| Some((full_at.max(now) + self.cost).min(now + self.holds));
            let _ = bucket.fetch_update(Relaxed, Relaxed, drained);
        }
    }

    /// Whether its bucket does not hold another failure.
    pub(super) fn is_suspect(&self, source: Source, now: Duration) -> bool {
        let now = micros(now);
        // Both: an innocent address would have to share two buckets with the guilty.
        self.buckets(source).into_iter().all(|bucket| {
            let missing = bucket.load(Relaxed).saturating_sub(now);
            missing + self.cost > self.holds
        })
    }

    fn buckets(&self, source: Source) -> [&AtomicU64; 2] {
        self.hashes
            .each_ref()
            .map(|hash| &self.full_at[hash.hash_one(source) as usize % BUCKETS])
    }
}

fn micros(since: Duration) -> u64 {
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Source {
        Source::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn a_bucket_empties_with_failures_and_fills_with_time() {
        let failures = Failures::new(60);
        let at = Duration::from_secs;
        for failed in 0..60 {
            assert!(!failures.is_suspect(source(1), at(5)), "{failed}");
            failures.note(source(1), at(5));
        }
        assert!(failures.is_suspect(source(1), at(5)));
        assert!(!failures.is_suspect(source(2), at(5)), "another address");
        assert!(!failures.is_suspect(source(1), at(6)), "one is back");
        failures.note(source(1), at(6));
        assert!(failures.is_suspect(source(1), at(6)));
    }

    #[test]
    fn whoever_stops_is_trusted_again_however_long_it_went_on() {
        let failures = Failures::new(60);
        for _ in 0..10_000 {
            failures.note(source(1), Duration::from_secs(1));
        }
        assert!(failures.is_suspect(source(1), Duration::from_secs(1)));
        assert!(!failures.is_suspect(source(1), Duration::from_secs(2)));
    }
}
