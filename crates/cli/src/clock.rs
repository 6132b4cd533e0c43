//! The one place of this crate that reads the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, UTC.
#[must_use]
pub fn unix_now_s() -> i64 {
    unix_now_micros() / 1_000_000
}

/// Microseconds since 1970, UTC.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "the command line has no clock but the system's"
)]
pub fn unix_now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
