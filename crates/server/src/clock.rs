//! The system's clock as the hub's port of time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfare_hub::{ports::Clock, time::Timestamp};
use futures_util::future::BoxFuture;

/// Wall clock time of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

/// Longest single sleep: a wall clock that was set forward is noticed this soon.
const NAP_MAX: Duration = Duration::from_secs(60);

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the adapter everybody else goes through"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(0) + since
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(NAP_MAX)).await;
            }
        })
    }
}
