//! Who of a job's target set stands where: a few compressed sets of ordinals. Pure.
//!
//! A device job is pending, in flight, or has its one outcome; every move between these is a method
//! here that refuses what is not legal. The store's writer keeps the ledger of every running job and
//! asks it before it records anything, so "exactly one outcome" does not depend on a well-behaved
//! caller; the executor works on a copy.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::job::Progress;
use crate::{
    ids::{CallId, Ordinal},
    json::JsonText,
    time::Timestamp,
};

/// The sets of one job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    targets: RoaringBitmap,
    succeeded: RoaringBitmap,
    failed: RoaringBitmap,
    canceled: RoaringBitmap,
    in_flight: BTreeMap<Ordinal, InFlight>,
    rest: Option<Rest>,
}

/// A call whose answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Which call.
    pub call: CallId,
    /// When its dispatch was recorded.
    pub dispatched: Timestamp,
}

/// What became of the devices that never began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Their outcome.
    pub outcome: RestOutcome,
    /// When.
    pub at: Timestamp,
}

/// The two ways of never beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestOutcome {
    /// The window closed first.
    Unreachable,
    /// The job was cancelled first.
    Canceled,
}

/// How a device job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The device answered, whatever it said.
    Answered {
        /// The device's own status.
        status: i32,
        /// The device's payload; absent when it sent none.
        payload: Option<JsonText>,
    },
    /// The patch is in the twin.
    Applied,
    /// The device was never ready inside the window.
    Unreachable,
    /// The device did not answer in time.
    TimedOut,
    /// The twin or the hub refused the operation for this device.
    Rejected {
        /// Why, for people.
        reason: String,
    },
    /// The answer was not JSON, or too large.
    Garbled,
    /// The identity was deleted.
    Deleted,
    /// The hub stopped with the call in flight; whether the device ran it is not known.
    Unknown,
    /// The job was cancelled.
    Canceled,
}

impl Outcome {
    /// Which of the three sets an ended device job joins.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Answered { .. } | Self::Applied => Verdict::Succeeded,
            Self::Canceled => Verdict::Canceled,
            Self::Unreachable
            | Self::TimedOut
            | Self::Rejected { .. }
            | Self::Garbled
            | Self::Deleted
            | Self::Unknown => Verdict::Failed,
        }
    }
}

/// An outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Counted as succeeded.
    Succeeded,
    /// Counted as failed.
    Failed,
    /// Counted as canceled.
    Canceled,
}

/// The one outcome of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Which device.
    pub ordinal: Ordinal,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// Where one device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not in the target set.
    Stranger,
    /// Not begun.
    Pending,
    /// A call is in flight.
    InFlight(InFlight),
    /// It has its outcome, recorded with it.
    Settled(Verdict),
    /// It never began, and will not.
    Rest(Rest),
}

/// A move that the device's standing does not allow. Callers drop the record; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("device {ordinal} cannot be moved from {from:?}")]
pub struct IllegalMove {
    /// Which device.
    pub ordinal: Ordinal,
    /// Where it stands.
    pub from: Standing,
}

impl Ledger {
    /// Everyone pending.
    pub fn sealed(targets: RoaringBitmap) -> Self {
        Self {
            targets,
            ..Self::default()
        }
    }

    /// Puts a ledger together from what a store kept.
    pub fn restored(targets: RoaringBitmap, settled: SettledSets, rest: Option<Rest>) -> Self {
        let SettledSets {
            succeeded,
            failed,
            canceled,
        } = settled;
        Self {
            targets,
            succeeded,
            failed,
            canceled,
            in_flight: BTreeMap::new(),
            rest,
        }
    }

    /// The target set.
    pub fn targets(&self) -> &RoaringBitmap {
        &self.targets
    }

    /// The three sets of ended device jobs.
    pub fn settled_sets(&self) -> SettledSets {
        SettledSets {
            succeeded: self.succeeded.clone(),
            failed: self.failed.clone(),
            canceled: self.canceled.clone(),
        }
    }

    /// The calls in flight, by device.
    pub fn in_flight(&self) -> &BTreeMap<Ordinal, InFlight> {
        &self.in_flight
    }

    /// What became of those who never began.
    pub fn rest(&self) -> Option<Rest> {
        self.rest
    }

    /// The devices that have not begun and still may.
    pub fn pending(&self) -> RoaringBitmap {
        if self.rest.is_some() {
            return RoaringBitmap::new();
        }
        let mut pending = &self.targets - &self.succeeded;
        pending -= &self.failed;
        pending -= &self.canceled;
        for ordinal in self.in_flight.keys() {
            pending.remove(*ordinal);
        }
        pending
    }

    /// The same in numbers.
    pub fn progress(&self) -> Progress {
        let count = |set: &RoaringBitmap| set.len() as u32;
        let mut progress = Progress {
            total: count(&self.targets),
            succeeded: count(&self.succeeded),
            failed: count(&self.failed),
            running: self.in_flight.len() as u32,
            canceled: count(&self.canceled),
        };
        match self.rest.map(|rest| rest.outcome) {
            Some(RestOutcome::Unreachable) => progress.failed += progress.pending(),
            Some(RestOutcome::Canceled) => progress.canceled += progress.pending(),
            None => {}
        }
        progress
    }

    /// Whether every device has its outcome.
    pub fn is_done(&self) -> bool {
        let progress = self.progress();
        progress.running == 0 && progress.pending() == 0
    }

    /// Where one device stands.
    pub fn standing(&self, ordinal: Ordinal) -> Standing {
        if let Some(in_flight) = self.in_flight.get(&ordinal) {
            return Standing::InFlight(*in_flight);
        }
        if self.succeeded.contains(ordinal) {
            return Standing::Settled(Verdict::Succeeded);
        }
        if self.failed.contains(ordinal) {
            return Standing::Settled(Verdict::Failed);
        }
        if self.canceled.contains(ordinal) {
            return Standing::Settled(Verdict::Canceled);
        }
        if !self.targets.contains(ordinal) {
            return Standing::Stranger;
        }
        self.rest.map_or(Standing::Pending, Standing::Rest)
    }

    /// Pending to in flight.
    pub fn dispatch(&mut self, ordinal: Ordinal, call: InFlight) -> Result<(), IllegalMove> {
        match self.standing(ordinal) {
            Standing::Pending => {
                self.in_flight.insert(ordinal, call);
                Ok(())
            }
            from => Err(IllegalMove { ordinal, from }),
        }
    }

    /// In flight back to pending, for a call that provably never left.
    pub fn withdraw(&mut self, ordinal: Ordinal, call: CallId) -> Result<(), IllegalMove> {
        match self.standing(ordinal) {
            Standing::InFlight(in_flight) if in_flight.call == call => {
                self.in_flight.remove(&ordinal);
                Ok(())
            }
            from => Err(IllegalMove { ordinal, from }),
        }
    }

    /// Pending or in flight to ended.
    pub fn settle(&mut self, ordinal: Ordinal, verdict: Verdict) -> Result<(), IllegalMove> {
        match self.standing(ordinal) {
            Standing::Pending => {}
            Standing::InFlight(_) => {
                self.in_flight.remove(&ordinal);
            }
            from => return Err(IllegalMove { ordinal, from }),
        }
        match verdict {
            Verdict::Succeeded => self.succeeded.insert(ordinal),
            Verdict::Failed => self.failed.insert(ordinal),
            Verdict::Canceled => self.canceled.insert(ordinal),
        };
        Ok(())
    }

    /// Gives everyone who has not begun one outcome, for good. The first one stays.
    pub fn close(&mut self, rest: Rest) {
        self.rest.get_or_insert(rest);
    }
}

/// The ended device jobs of a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SettledSets {
    /// Ended well.
    pub succeeded: RoaringBitmap,
    /// Ended badly.
    pub failed: RoaringBitmap,
    /// Ended by a cancel.
    pub canceled: RoaringBitmap,
}

impl SettledSets {
    /// Adds one; adding it again changes nothing.
    pub fn insert(&mut self, ordinal: Ordinal, verdict: Verdict) {
        match verdict {
            Verdict::Succeeded => self.succeeded.insert(ordinal),
            Verdict::Failed => self.failed.insert(ordinal),
            Verdict::Canceled => self.canceled.insert(ordinal),
        };
    }

    /// Whether the device has ended.
    pub fn contains(&self, ordinal: Ordinal) -> bool {
        self.succeeded.contains(ordinal)
            || self.failed.contains(ordinal)
            || self.canceled.contains(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;

    fn call(number: u64) -> InFlight {
        InFlight {
            call: CallId {
                term: Term(1),
                number,
            },
            dispatched: Timestamp(5),
        }
    }

    const REST: Rest = Rest {
        outcome: RestOutcome::Canceled,
        at: Timestamp(9),
    };

    /// Devices 1 pending, 2 in flight, 3 succeeded, 4 failed, 5 canceled; 9 is a stranger.
    fn mixed() -> Ledger {
        let mut ledger = Ledger::sealed((1..=5).collect());
        ledger.dispatch(2, call(7)).unwrap();
        ledger.settle(3, Verdict::Succeeded).unwrap();
        ledger.settle(4, Verdict::Failed).unwrap();
        ledger.settle(5, Verdict::Canceled).unwrap();
        ledger
    }

    #[test]
    fn every_move_from_every_standing() {
        type Move = fn(&mut Ledger, Ordinal) -> Result<(), IllegalMove>;
        let moves: [(&str, Move, [Ordinal; 2]); 4] = [
            ("dispatch", |l, o| l.dispatch(o, call(8)), [1, 1]),
            ("withdraw", |l, o| l.withdraw(o, call(7).call), [2, 2]),
            (
                "withdraw a stranger's call",
                |l, o| l.withdraw(o, call(6).call),
                [0, 0],
            ),
            ("settle", |l, o| l.settle(o, Verdict::Failed), [1, 2]),
        ];
        for (name, make_move, legal) in moves {
            for ordinal in [1, 2, 3, 4, 5, 9] {
                let mut ledger = mixed();
                let result = make_move(&mut ledger, ordinal);
                assert_eq!(result.is_ok(), legal.contains(&ordinal), "{name} {ordinal}");
                if result.is_err() {
                    assert_eq!(ledger, mixed(), "an illegal move changes nothing");
                }
            }
        }
    }

    #[test]
    fn the_numbers_add_up_after_every_move() {
        let mut ledger = mixed();
        let expected = Progress {
            total: 5,
            succeeded: 1,
            failed: 1,
            running: 1,
            canceled: 1,
        };
        assert_eq!((ledger.progress(), expected.pending()), (expected, 1));
        assert_eq!(ledger.pending().iter().collect::<Vec<_>>(), [1]);
        ledger.close(REST);
        assert_eq!(ledger.progress().canceled, 2);
        assert!(!ledger.is_done());
        ledger.settle(2, Verdict::Succeeded).unwrap();
        assert!(ledger.is_done());
    }

    #[test]
    fn nobody_begins_after_the_close() {
        let mut ledger = mixed();
        ledger.close(REST);
        ledger.close(Rest {
            outcome: RestOutcome::Unreachable,
            at: Timestamp(10),
        });
        assert_eq!(ledger.rest(), Some(REST));
        assert!(ledger.pending().is_empty());
        assert_eq!(
            ledger.dispatch(1, call(9)),
            Err(IllegalMove {
                ordinal: 1,
                from: Standing::Rest(REST)
            })
        );
        assert!(ledger.settle(1, Verdict::Failed).is_err());
    }

    #[test]
    fn a_withdrawn_device_is_pending_again() {
        let mut ledger = mixed();
        ledger.withdraw(2, call(7).call).unwrap();
        assert_eq!(ledger.standing(2), Standing::Pending);
        ledger.dispatch(2, call(8)).unwrap();
        assert_eq!(ledger.standing(2), Standing::InFlight(call(8)));
    }
}
