//! Moments and spans. The domain never asks what time it is: it is told, or asks its [`Clock`].
//!
//! [`Clock`]: crate::ports::Clock

use std::{fmt, ops::Add, time::Duration};

/// A moment: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The contract's word for "never": the first moment of year 1.
    pub const NEVER: Self = Self(-62_135_596_800_000_000);
    /// Later than anything a peer can name.
    pub const FAR_FUTURE: Self = Self(253_402_300_799_000_000);

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::FAR_FUTURE`].
    fn add(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::FAR_FUTURE)
    }
}

/// `2031-02-03T04:05:06.1234560Z`: fixed width, so that moments compare as text in queries.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("0001-01-01T00:00:00Z");
        }
        let moment = jiff::Timestamp::from_microsecond(self.0)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(jiff::tz::TimeZone::UTC);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}0Z",
            moment.year(),
            moment.month(),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            self.0.rem_euclid(1_000_000),
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_with_seven_digits() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.0000000Z");
        assert_eq!(
            Timestamp(1_927_857_906_123_456).to_string(),
            "2031-02-03T04:05:06.1234560Z"
        );
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.9999990Z");
        assert_eq!(Timestamp::NEVER.to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn spans_do_not_go_negative() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Timestamp(9).since(Timestamp(5)), Duration::from_micros(4));
        assert_eq!(Timestamp(0) + Duration::MAX, Timestamp::FAR_FUTURE);
    }
}
