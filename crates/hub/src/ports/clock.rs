//! The door to time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::time::Timestamp;

/// Time as the domain sees it.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Ends when `at` has come; at once when it has passed.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// A clock that stands still until it is told to move: for tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    next: u64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        let sleepers = BTreeMap::new();
        Self {
            state: Mutex::new(ManualState {
                now,
                sleepers,
                next: 0,
            }),
        }
    }

    /// Moves to `to` and wakes whoever waited for a moment up to it. Never moves back.
    pub fn advance_to(&self, to: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now.max(to);
        let after = Timestamp(state.now.0 + 1);
        let later = state.sleepers.split_off(&(after, 0));
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, later) {
            // A sleeper that went away needs no wake-up.
            let _ = sleeper.send(());
        }
    }

    /// Moves on by a span.
    pub fn advance(&self, span: std::time::Duration) {
        let to = self.now() + span;
        self.advance_to(to);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .now
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if at <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        let place = state.next;
        state.next += 1;
        state.sleepers.insert((at, place), wake);
        Box::pin(async move {
            // The clock itself went away: nobody will ever be woken, so neither is this one.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
