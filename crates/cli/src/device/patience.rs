//! Waiting for a hub that has gone away in the middle of an import or export.
//!
//! The client has tried several times before anything is heard here: this is for a hub that restarts, or a
//! network that is down for a while. A hub that throttles is not away, and is waited for without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare_client::Error;
use tokio::time::sleep;

use crate::diagnostic;
use crate::job::figures::span;

/// Shortest and longest pause before a hub that has gone away is asked again. The client has tried before.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the calls of one import or export share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    longest: Duration,
    /// A hub that never answered is more likely a wrong name than one that has gone away.
    has_answered: Arc<AtomicBool>,
    /// Said once in an outage.
    is_told: Arc<AtomicBool>,
}

impl Patience {
    /// Waits up to `longest` for a hub that gives no answer any more.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            has_answered: Arc::default(),
            is_told: Arc::default(),
        }
    }

    /// The waiting of one call.
    pub(super) fn call(&self) -> Outage<'_> {
        Outage {
            patience: self,
            since: None,
            pause: PAUSE_FIRST,
        }
    }

    /// The hub has done what it was asked.
    pub(super) fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
        self.is_told.store(false, Ordering::Relaxed);
    }

    /// Makes a call again and again as long as there is hope. Only for calls that may be repeated.
    pub(super) async fn keep_trying<T>(
        &self,
        mut call: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut outage = self.call();
        loop {
            match call().await {
                Ok(answer) => {
                    self.answered();
                    return Ok(answer);
                }
                Err(error) => outage.wait(error).await?,
            }
        }
    }
}

/// How long one call has waited.
#[derive(Debug)]
pub(super) struct Outage<'a> {
    patience: &'a Patience,
    since: Option<Instant>,
    pause: Duration,
}

impl Outage<'_> {
    /// Returns when the call may be made again.
    ///
    /// # Errors
    /// The same error, when there is no hope.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        let Patience {
            longest,
            has_answered,
            is_told,
        } = self.patience;
        let is_throttled = error.status() == Some(429);
        if is_throttled {
            has_answered.store(true, Ordering::Relaxed);
            self.since = None;
        } else {
            let since = *self.since.get_or_insert_with(Instant::now);
            let is_hopeful = error.can_retry_help() && has_answered.load(Ordering::Relaxed);
            if !is_hopeful || since.elapsed() + self.pause > *longest {
                return Err(error);
            }
        }
        if !is_told.swap(true, Ordering::Relaxed) {
            let patience = span(*longest);
            diagnostic::say(&match is_throttled {
                true => format!("The hub asks to be given time ({error}); going on when it lets."),
                false => {
                    format!("The hub gives no answer ({error}); waiting up to {patience} for it.")
                }
            });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
