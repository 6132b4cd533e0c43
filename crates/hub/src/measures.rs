//! Numbers about a node that are counted where things happen and read when somebody looks.
//!
//! A count is one relaxed addition, without a lock, a name or an allocation, so it may stand on the hottest
//! path. Who owns a number exposes it; how it is called outside and when it is read is not decided here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Moves by `by`.
    pub fn change(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Stands at `to` from now on.
    pub fn set(&self, to: u64) {
        self.0.store(i64::try_from(to).unwrap_or(i64::MAX), Relaxed);
    }

    /// Where it stands; never below zero.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// How often values fell into each of `N` ranges, and how often above them all.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    within: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Over upper bounds, each included, in growing order.
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            within: [const { AtomicU64::new(0) }; N],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Takes one value.
    pub fn record(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let count = self.within.get(place).unwrap_or(&self.above);
        count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// What was taken so far.
    pub fn read(&self) -> HistogramReading {
        let mut count = 0;
        let below = self.bounds.iter().zip(&self.within).map(|(bound, within)| {
            count += within.load(Relaxed);
            (*bound, count)
        });
        let below = below.collect();
        HistogramReading {
            below,
            count: count + self.above.load(Relaxed),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramReading {
    /// Each bound with the number of values up to it, growing.
    pub below: Vec<(u64, u64)>,
    /// Values in all.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// Upper bounds of durations, in microseconds: 100 us to 60 s.
pub const MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000,
    10_000_000, 60_000_000,
];
/// Upper bounds of batches: 1 to 1,000 and a little more, because a commit may hold several.
pub const BATCH: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000];

/// Durations.
pub type Micros = Histogram<14>;
/// Sizes of batches.
pub type Batches = Histogram<10>;

/// What the job engine of a node measures.
#[derive(Debug)]
pub struct EngineMeasures {
    /// Calls of jobs that wait for an answer.
    pub calls_in_flight: Level,
    /// How long taking and sealing a target set took.
    pub target_set: Micros,
}

impl Default for EngineMeasures {
    fn default() -> Self {
        Self {
            calls_in_flight: Level::new(),
            target_set: Histogram::new(&MICROS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_value_once_and_bounds_are_included() {
        static BOUNDS: [u64; 3] = [10, 20, 30];
        let histogram = Histogram::new(&BOUNDS);
        for value in [0, 10, 11, 30, 31, 1_000] {
            histogram.record(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.below, [(10, 2), (20, 3), (30, 4)]);
        assert_eq!((reading.count, reading.sum), (6, 1_082));
    }

    #[test]
    fn a_level_is_never_shown_below_zero() {
        let level = Level::new();
        level.change(-3);
        assert_eq!(level.get(), 0);
        level.set(7);
        level.change(2);
        assert_eq!(level.get(), 9);
    }
}
