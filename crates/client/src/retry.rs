//! Which failed calls are made again, and after what pause.
//!
//! Pure: no clock, no chance, no network; [`crate::transport`] asks after every try and does what it is told.

use std::time::{Duration, SystemTime};

use fanfare_wire::Timestamp;
use fanfare_wire::http::parse_date;

use crate::error::leaves_open_whether_it_was_done;

/// How often and how patiently a failed call is made again; [`Default`] suits a service, [`RetryPolicy::none`] one
/// that retries by itself.
///
/// Only calls are repeated whose repetition is safe: see the crate's documentation.
///
/// ```
/// use std::time::Duration;
/// use fanfare_client::{ClientOptions, RetryPolicy};
///
/// let retry = RetryPolicy { tries_max: 8, ..RetryPolicy::default() };
/// let options = ClientOptions { retry, ..ClientOptions::default() };
/// assert_eq!(options.retry.delay_first, Duration::from_millis(200));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most tries of one call, the first included. Default 4.
    pub tries_max: u32,
    /// Longest pause before the second try; it doubles with each further one. Default 200 ms.
    pub delay_first: Duration,
    /// Longest pause of all, a hub's `Retry-After` included. Default 30 s.
    pub delay_max: Duration,
    /// No new try is begun when this has passed, its pause included, since the first one began. Default 3 min.
    pub elapsed_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries_max: 4,
            delay_first: Duration::from_millis(200),
            delay_max: Duration::from_secs(30),
            elapsed_max: Duration::from_secs(180),
        }
    }
}

impl RetryPolicy {
    /// One try, come what may.
    ///
    /// ```
    /// assert_eq!(fanfare_client::RetryPolicy::none().tries_max, 1);
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self {
            tries_max: 1,
            ..Self::default()
        }
    }

    /// How long to wait before the next try, after `tries` of them in `elapsed`; `None` when it is time to give up.
    /// The pause is any part of a span that doubles (`chance` of 2^64 picks it), so that clients which failed
    /// together do not come back together; what the hub asked for in `Retry-After` comes on top.
    pub(crate) fn pause(
        &self,
        tries: u32,
        elapsed: Duration,
        retry_after: Option<Duration>,
        chance: u64,
    ) -> Option<Duration> {
        if tries >= self.tries_max {
            return None;
        }
        let doublings = tries.saturating_sub(1).min(31);
        let span = self.delay_first.saturating_mul(1 << doublings);
        let span = span.min(self.delay_max);
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(span) * u128::from(chance)) >> 64;
        let part = Duration::from_nanos(u64::try_from(part).expect("a part is no more than all"));
        let pause = retry_after.unwrap_or_default().saturating_add(part);
        let pause = pause.min(self.delay_max);
        (elapsed.saturating_add(pause) <= self.elapsed_max).then_some(pause)
    }
}

/// Whether doing a call twice is the same as doing it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is: reads, queries, whatever names the state it leads to.
    Always,
    /// It is not, or not for sure: repeated only when the hub certainly did nothing.
    Refused,
}

/// How a try ended that did not bring what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The hub certainly did nothing; whether another try would end the same way.
    Unsent { lasting: bool },
    /// The request was sent, or may have been, and no whole reply came.
    Lost,
    /// The reply was this status.
    Status(u16),
}

impl Repeat {
    /// Whether a try that ended so may be made again.
    pub(crate) fn allows(self, ended: Ended) -> bool {
        match ended {
            Ended::Unsent { lasting } => !lasting,
            Ended::Status(429) => true,
            Ended::Lost => self == Self::Always,
            Ended::Status(status) => {
                self == Self::Always && leaves_open_whether_it_was_done(status)
            }
        }
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). A date that has passed is no wait.
pub(crate) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has ask for more than any bound.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let at = parse_date(text)?.as_micros();
    let wait = at.saturating_sub(Timestamp::from(now).as_micros());
    Some(Duration::from_micros(u64::try_from(wait).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_end() {
        let policy = RetryPolicy {
            tries_max: 9,
            delay_first: ms(200),
            delay_max: ms(5_000),
            elapsed_max: ms(60_000),
        };
        let longest = |tries| policy.pause(tries, Duration::ZERO, None, u64::MAX);
        for (tries, pause) in [
            (1, Some(200)),
            (2, Some(400)),
            (3, Some(800)),
            (5, Some(3_200)),
            (6, Some(5_000)),
            (8, Some(5_000)),
            (9, None),
            (u32::MAX, None),
        ] {
            // The last nanosecond of a span is never picked.
            let got = longest(tries).map(|got| got + Duration::from_nanos(1));
            assert_eq!(got, pause.map(ms), "{tries}");
        }
    }

    #[test]
    fn a_pause_is_any_part_of_its_span() {
        let policy = RetryPolicy::default();
        let pause = |chance| policy.pause(2, Duration::ZERO, None, chance);
        assert_eq!(pause(0), Some(Duration::ZERO));
        assert_eq!(pause(1 << 62), Some(ms(100)));
        assert_eq!(pause(1 << 63), Some(ms(200)));
    }

    #[test]
    fn what_the_hub_asks_for_is_heard_within_bounds() {
        let policy = RetryPolicy::default();
        let pause = |asked| policy.pause(1, Duration::ZERO, Some(asked), 1 << 63);
        assert_eq!(pause(Duration::ZERO), Some(ms(100)));
        assert_eq!(pause(ms(2_000)), Some(ms(2_100)));
        assert_eq!(pause(Duration::MAX), Some(policy.delay_max));
    }

    #[test]
    fn no_try_begins_after_the_last_moment() {
        let policy = RetryPolicy::default();
        let pause = |elapsed| policy.pause(1, elapsed, Some(ms(1_000)), 0);
        assert_eq!(pause(ms(179_000)), Some(ms(1_000)));
        assert_eq!(pause(ms(179_001)), None);
        assert_eq!(pause(Duration::MAX), None);
    }

    #[test]
    fn a_policy_of_none_and_odd_ones_end_at_once() {
        let once = RetryPolicy::none();
        assert_eq!(once.pause(1, Duration::ZERO, None, 0), None);
        let never = RetryPolicy {
            tries_max: 0,
            ..RetryPolicy::default()
        };
        assert_eq!(never.pause(1, Duration::ZERO, None, 0), None);
        let huge = RetryPolicy {
            tries_max: u32::MAX,
            delay_first: Duration::MAX,
            delay_max: Duration::MAX,
            elapsed_max: Duration::MAX,
        };
        assert!(
            huge.pause(40, Duration::MAX, Some(Duration::MAX), u64::MAX)
                .is_some()
        );
    }

    #[test]
    fn only_what_was_certainly_not_done_is_repeated_of_unsafe_calls() {
        use Ended::{Lost, Status, Unsent};
        for (ended, always, refused) in [
            (Unsent { lasting: false }, true, true),
            (Unsent { lasting: true }, false, false),
            (Lost, true, false),
            (Status(400), false, false),
            (Status(401), false, false),
            (Status(403), false, false),
            (Status(404), false, false),
            (Status(408), true, false),
            (Status(409), false, false),
            (Status(412), false, false),
            (Status(429), true, true),
            (Status(500), true, false),
            (Status(501), false, false),
            (Status(502), true, false),
            (Status(503), true, false),
            (Status(504), true, false),
            (Status(301), false, false),
        ] {
            assert_eq!(Repeat::Always.allows(ended), always, "{ended:?}");
            assert_eq!(Repeat::Refused.allows(ended), refused, "{ended:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(
                retry_after(text, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        let endless = retry_after("99999999999999999999999", now);
        assert_eq!(endless, Some(Duration::MAX));
    }
}
