//! How fast a job goes, and when it will have ended at that pace.
//!
//! Pure: the caller says when it looked. The pace is that of the last [`LOOK_BACK`], so it neither jumps with each
//! page of devices nor remembers a slow start for ever.

use std::collections::VecDeque;
use std::time::Duration;

/// Over how long the pace is taken.
const LOOK_BACK: Duration = Duration::from_secs(15);
/// Looks that are kept, should they come faster than anybody can read.
const LOOKS_MAX: usize = 512;

/// What was seen of a job's ended device jobs, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    /// Time since the watch began, and how many had ended then.
    looks: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Takes note that `ended` device jobs had their outcome at `at`, a time since the watch began.
    pub(crate) fn observe(&mut self, at: Duration, ended: u64) {
        self.looks.push_back((at, ended));
        // One look from before stays, so that a pause is seen as a pause.
        while self
            .looks
            .get(1)
            .is_some_and(|(next, _)| *next + LOOK_BACK < at)
            || self.looks.len() > LOOKS_MAX
        {
            self.looks.pop_front();
        }
    }

    /// Device jobs that ended in a second, lately; `None` before there are two looks, or when none ended.
    pub(crate) fn per_second(&self, now: Duration) -> Option<f64> {
        let (since, before) = self.looks.front()?;
        let (_, ended) = self.looks.back()?;
        let gained = ended.checked_sub(*before).filter(|gained| *gained > 0)?;
        let seconds = now.checked_sub(*since)?.as_secs_f64();
        // Less than this is the first page of a job, not a pace.
        #[allow(clippy::cast_precision_loss, reason = "a rate for the eye")]
        (seconds >= 0.5).then(|| gained as f64 / seconds)
    }

    /// For how long none has ended.
    pub(crate) fn idle(&self, now: Duration) -> Duration {
        let ended = self.looks.back().map(|(_, ended)| *ended);
        let since = self.looks.iter().find(|(_, then)| Some(*then) == ended);
        now.saturating_sub(since.map_or(now, |(at, _)| *at))
    }

    /// How long `left` device jobs take at that pace.
    pub(crate) fn time_for(&self, left: u64, now: Duration) -> Option<Duration> {
        let per_second = self.per_second(now)?;
        #[allow(clippy::cast_precision_loss, reason = "a guess for the eye")]
        Duration::try_from_secs_f64(left as f64 / per_second).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_look_is_no_pace() {
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(seconds(1)), None);
        pace.observe(seconds(0), 500);
        assert_eq!(pace.per_second(seconds(1)), None);
        assert_eq!(pace.time_for(10, seconds(1)), None);
    }

    #[test]
    fn what_had_ended_before_the_watch_does_not_count() {
        let mut pace = Pace::default();
        pace.observe(seconds(0), 10_000);
        pace.observe(seconds(2), 10_100);
        assert_eq!(pace.per_second(seconds(2)), Some(50.0));
        assert_eq!(pace.time_for(500, seconds(2)), Some(seconds(10)));
    }

    #[test]
    fn a_slow_start_is_forgotten_and_a_pause_is_not() {
        let mut pace = Pace::default();
        for at in 0..100 {
            pace.observe(seconds(at), 0);
        }
        for at in 100..130 {
            pace.observe(seconds(at), (at - 99) * 100);
        }
        let fast = pace.per_second(seconds(129)).unwrap();
        assert!((95.0..=105.0).contains(&fast), "{fast}");
        for at in 130..160 {
            pace.observe(seconds(at), 3_000);
        }
        assert_eq!(pace.per_second(seconds(159)), None);
    }

    #[test]
    fn the_pace_falls_while_nothing_is_heard() {
        let mut pace = Pace::default();
        pace.observe(seconds(0), 0);
        pace.observe(seconds(1), 100);
        assert_eq!(pace.per_second(seconds(10)), Some(10.0));
    }

    #[test]
    fn a_pause_has_a_length() {
        let mut pace = Pace::default();
        assert_eq!(pace.idle(seconds(9)), seconds(0));
        for (at, ended) in [(0, 0), (1, 40), (2, 40), (5, 40)] {
            pace.observe(seconds(at), ended);
        }
        assert_eq!(pace.idle(seconds(6)), seconds(5));
    }

    #[test]
    fn looks_are_bounded() {
        let mut pace = Pace::default();
        for at in 0..100_000 {
            pace.observe(Duration::from_millis(at), at);
        }
        assert!(pace.looks.len() <= LOOKS_MAX + 1);
    }
}
