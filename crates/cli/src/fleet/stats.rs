//! Counters of a whole fleet.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::watch;

/// Counters shared by all devices of a fleet. Each is a total since the start, but for `online`.
#[derive(Debug)]
pub(super) struct Counters {
    /// Devices connected, with their subscriptions in force.
    pub(super) online: watch::Sender<usize>,
    pub(super) connects: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) answers: AtomicU64,
    pub(super) answers_again: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) desired: AtomicU64,
    pub(super) faults: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            online: watch::Sender::new(0),
            connects: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            answers_again: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            desired: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> FleetStats {
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FleetStats {
            online: *self.online.borrow(),
            connects: total(&self.connects),
            refused: total(&self.refused),
            calls: total(&self.calls),
            answers: total(&self.answers),
            answers_again: total(&self.answers_again),
            acknowledged: total(&self.acknowledged),
            desired: total(&self.desired),
            faults: total(&self.faults),
        }
    }
}

/// What a fleet has done so far. Totals since its start, but for `online`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FleetStats {
    /// Devices connected now, with their subscriptions in force.
    pub online: usize,
    /// Connections that the hub accepted; above the number of devices, the rest are reconnects.
    pub connects: u64,
    /// Connections that the hub refused in CONNACK.
    pub refused: u64,
    /// Method calls received.
    pub calls: u64,
    /// Answers written for the first time.
    pub answers: u64,
    /// Answers written again with DUP.
    pub answers_again: u64,
    /// Answers that the hub acknowledged.
    pub acknowledged: u64,
    /// Desired patches received.
    pub desired: u64,
    /// Things that must not happen; each is in its device's log.
    pub faults: u64,
}
