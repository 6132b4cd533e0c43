//! Decides when an issuer's keys are fetched: before they grow old, sooner when a token names a key that nobody knows,
//! more and more seldom while the issuer fails.
//!
//! Pure: the time and the dice are arguments. One fetch runs at a time, whoever asked for it. compat: AUTH-28

use std::time::Duration;

use fanfare_hub::time::Timestamp;

/// How long keys count when the issuer does not say.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(3_600);
const LIFETIME_MIN: Duration = Duration::from_secs(5 * 60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The shortest time between two fetches that tokens asked for, so that strangers with made-up keys cost the issuer
/// nothing.
pub(super) const ASKED_AFTER: Duration = Duration::from_secs(30);
/// Waits between failing fetches double from the first to the second.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(300);

/// How long keys count that were fetched with this `max-age`, in seconds.
pub(super) fn lifetime(max_age: Option<u64>) -> Duration {
    max_age.map_or(LIFETIME_DEFAULT, |seconds| {
        Duration::from_secs(seconds).clamp(LIFETIME_MIN, LIFETIME_MAX)
    })
}

/// When an issuer is asked next, and why.
#[derive(Debug)]
pub(super) struct Pace {
    next: Timestamp,
    began: Option<Timestamp>,
    failures: u32,
    is_asked: bool,
    is_under_way: bool,
}

impl Pace {
    /// The first fetch is due at once.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            next: now,
            began: None,
            failures: 0,
            is_asked: false,
            is_under_way: false,
        }
    }

    /// When the next fetch begins, as things stand.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// A token needs keys that are not there. Whether it pays to wait: a fetch is under way, or is now due.
    pub(super) fn ask(&mut self, now: Timestamp) -> bool {
        let is_free = self.began.is_none_or(|began| {
            // A clock that was set back must not keep anybody waiting.
            now < began || now.since(began) >= ASKED_AFTER
        });
        if is_free && !self.is_under_way {
            self.is_asked = true;
            self.next = self.next.min(now);
        }
        self.is_asked || self.is_under_way
    }

    /// A fetch begins.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.began = Some(now);
        self.is_asked = false;
        self.is_under_way = true;
    }

    /// It brought keys. The next is due when four fifths of their time have passed, or a little earlier:
    /// nodes that started together should not ask together. `dice` is from 0 to 1.
    pub(super) fn succeeded(&mut self, now: Timestamp, lifetime: Duration, dice: f64) {
        self.is_under_way = false;
        self.failures = 0;
        self.next = now + lifetime.mul_f64(0.7 + 0.1 * dice);
    }

    /// It brought nothing. The next waits twice as long as the last did, give or take a half.
    pub(super) fn failed(&mut self, now: Timestamp, dice: f64) {
        self.is_under_way = false;
        let doubled = RETRY_FIRST * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.next = now + doubled.min(RETRY_LAST).mul_f64(0.5 + 0.5 * dice);
    }

    /// Fetches that failed since the last that did not.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(2_000_000_000_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn issuers_say_how_long_keys_count_within_reason() {
        for (max_age, expected) in [
            (None, 3_600),
            (Some(0), 300),
            (Some(299), 300),
            (Some(7_200), 7_200),
            (Some(u64::MAX), 86_400),
        ] {
            assert_eq!(lifetime(max_age), seconds(expected), "{max_age:?}");
        }
    }

    #[test]
    fn keys_are_fetched_before_they_are_old() {
        for (dice, expected) in [(0.0, 2_520), (1.0, 2_880)] {
            let mut pace = Pace::new(START);
            assert_eq!(pace.next(), START);
            pace.begin(START);
            pace.succeeded(START, seconds(3_600), dice);
            assert_eq!(pace.next().since(START), seconds(expected));
        }
    }

    #[test]
    fn failures_come_ever_more_seldom() {
        let mut pace = Pace::new(START);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            pace.begin(START);
            pace.failed(START, 1.0);
            assert_eq!(pace.next().since(START), seconds(wait));
        }
        for _ in 0..100 {
            pace.begin(START);
            pace.failed(START, 0.0);
        }
        assert_eq!(pace.next().since(START), seconds(150));
        assert_eq!(pace.failures(), 111);
        pace.begin(START);
        pace.succeeded(START, seconds(300), 0.0);
        pace.failed(START, 1.0);
        assert_eq!(pace.next().since(START), seconds(1));
    }

    #[test]
    fn tokens_may_ask_now_and_then() {
        let mut pace = Pace::new(START);
        assert!(pace.ask(START), "the first fetch is due anyway");
        pace.begin(START);
        assert!(pace.ask(START), "it is under way");
        pace.succeeded(START, seconds(3_600), 0.0);
        let later = |after| START + seconds(after);
        assert!(!pace.ask(later(29)));
        assert!(pace.next() > later(30));
        assert!(pace.ask(later(30)));
        assert_eq!(pace.next(), later(30));
        assert!(pace.ask(later(31)), "it was asked for already");
        assert_eq!(pace.next(), later(30));
        pace.begin(later(31));
        pace.failed(later(32), 0.0);
        assert!(!pace.ask(later(60)));
        assert!(pace.ask(later(61)));
        assert!(pace.ask(START), "the clock was set back");
    }
}
