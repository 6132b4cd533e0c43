//! What a store counts and what it tells when it is asked: for whoever watches a hub, never for a decision.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    jobs::ledger::{Outcome, RestOutcome},
    measures::{BATCH, Batches, Count, Histogram, MICROS, Micros},
};

/// What a store measures; only what is durable counts.
#[derive(Debug)]
pub struct StoreMeasures {
    /// Commits.
    pub commits: Count,
    /// How long a transaction took, its items and the flush together.
    pub commit: Micros,
    /// Calls recorded before they left, by one driver's commit.
    pub dispatches: Batches,
    /// Outcomes recorded by one driver's commit.
    pub settlements: Batches,
    /// Device jobs that ended, by outcome.
    pub ended: Tally,
    /// Rows of identities and twins that scans looked at.
    pub rows_scanned: Count,
}

impl Default for StoreMeasures {
    fn default() -> Self {
        Self {
            commits: Count::new(),
            commit: Histogram::new(&MICROS),
            dispatches: Histogram::new(&BATCH),
            settlements: Histogram::new(&BATCH),
            ended: Tally::default(),
            rows_scanned: Count::new(),
        }
    }
}

/// Every outcome's name, in the order of [`Tally`].
pub const OUTCOMES: [&str; 9] = [
    "answered",
    "applied",
    "unreachable",
    "timed_out",
    "rejected",
    "garbled",
    "deleted",
    "unknown",
    "canceled",
];

/// Device jobs that ended, by outcome.
#[derive(Debug, Default)]
pub struct Tally([Count; OUTCOMES.len()]);

impl Tally {
    /// Adds what a transaction ended.
    pub fn add(&self, ended: &Ended) {
        for (count, more) in self.0.iter().zip(ended.0) {
            // Most transactions end none.
            if more > 0 {
                count.add(more);
            }
        }
    }

    /// Each outcome's name and number.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.0.iter().map(Count::get))
    }
}

/// The device jobs that one transaction ends, until it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended([u64; OUTCOMES.len()]);

impl Ended {
    /// One more.
    pub fn add(&mut self, outcome: &Outcome) {
        let place = match outcome {
            Outcome::Answered { .. } => 0,
            Outcome::Applied => 1,
            Outcome::Unreachable => 2,
            Outcome::TimedOut => 3,
            Outcome::Rejected { .. } => 4,
            Outcome::Garbled => 5,
            Outcome::Deleted => 6,
            Outcome::Unknown => 7,
            Outcome::Canceled => 8,
        };
        self.0[place] += 1;
    }

    /// All that had not begun.
    pub fn add_rest(&mut self, outcome: RestOutcome, devices: u32) {
        let place = match outcome {
            RestOutcome::Unreachable => 2,
            RestOutcome::Canceled => 8,
        };
        self.0[place] += u64::from(devices);
    }
}

/// What a store can tell when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReading {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the log beside it.
    pub log_bytes: u64,
    /// Writes that wait: somebody's, and those in the background.
    pub writes_waiting: [u64; 2],
    /// Reads that wait.
    pub reads_waiting: u64,
    /// Jobs there are, by the name of their state.
    pub jobs: Vec<(&'static str, u64)>,
    /// Import and export jobs there are, by the name of their state.
    pub transfers: Vec<(&'static str, u64)>,
    /// Configurations there are.
    pub configurations: u64,
    /// Identities that changed and were not yet compared with what configurations want.
    pub configuration_marks: u64,
}

/// A store whose numbers may be read.
#[async_trait]
pub trait MeasuredStore: Send + Sync {
    /// What it counts.
    fn measures(&self) -> &StoreMeasures;

    /// What it must look up.
    async fn reading(&self) -> Result<StoreReading, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_name() {
        let tally = Tally::default();
        let mut ended = Ended::default();
        let rejected = Outcome::Rejected {
            reason: String::new(),
        };
        let answered = Outcome::Answered {
            status: 200,
            payload: None,
        };
        for outcome in [
            answered,
            Outcome::Applied,
            Outcome::Unreachable,
            Outcome::TimedOut,
            rejected,
            Outcome::Garbled,
            Outcome::Deleted,
            Outcome::Unknown,
            Outcome::Canceled,
        ] {
            ended.add(&outcome);
        }
        ended.add_rest(RestOutcome::Unreachable, 4);
        ended.add_rest(RestOutcome::Canceled, 0);
        tally.add(&ended);
        let read: Vec<_> = tally.read().map(|(_, number)| number).collect();
        assert_eq!(read, [1, 1, 5, 1, 1, 1, 1, 1, 1]);
    }
}
