//! How fast device jobs may begin, over all jobs of a hub: a bucket that fills with time. Pure: told the time.
//!
//! Whoever wants to begin some reserves places and waits until their moment. Places are given in the order
//! of asking, a few at a time once the bucket is empty, so that jobs take turns and nobody polls. compat: JOB-51

use std::sync::{Arc, Mutex, PoisonError};

use crate::time::Timestamp;

/// The bucket that all jobs of a hub share; full at first, and holding one second's worth.
pub(super) struct Pace {
    per_second: u32,
    state: Mutex<Bucket>,
}

/// When the bucket will be full again, were nothing reserved from now on, and the latest moment heard of.
/// In nanoseconds, since a place may take less than a microsecond.
struct Bucket {
    full_at: i128,
    seen: i128,
}

/// Places of device jobs that may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// How many.
    pub(super) count: usize,
    /// When.
    pub(super) at: Timestamp,
}

/// Groups a second once the bucket is empty: more would be wake-ups for nothing.
const GROUPS_PER_SECOND: u32 = 20;
const NANOS: i128 = 1_000_000_000;

impl Pace {
    /// A full bucket; `per_second` is at least 1.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            state: Mutex::new(Bucket {
                full_at: i128::MIN,
                seen: i128::MIN,
            }),
        }
    }

    /// Reserves up to `wanted` places (at least 1) for so many `jobs`: what the bucket holds, at once; when it is
    /// empty a group for each job, later.
    pub(super) fn reserve(&self, wanted: usize, jobs: usize, now: Timestamp) -> Places {
        let now = i128::from(now.0) * 1_000;
        let whole = self.nanos(self.per_second as usize);
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let back = bucket.seen.saturating_sub(now);
        // Whoever asks has looked at the clock before: a little earlier than others is the same moment.
        let now = match back > NANOS {
            // The clock was put back: what is owed stays owed, and no more than that.
            true => {
                bucket.full_at = bucket.full_at.saturating_sub(back);
                now
            }
            false => now.max(bucket.seen),
        };
        bucket.seen = now;
        let from = bucket.full_at.max(now);
        let held = usize::try_from((now + whole - from) / self.nanos(1)).unwrap_or(0);
        let group = (self.per_second / GROUPS_PER_SECOND).max(1) as usize;
        let most = match held {
            0 => group.saturating_mul(jobs.max(1)),
            held => held,
        };
        let count = wanted.clamp(1, most);
        bucket.full_at = from + self.nanos(count);
        let at = (bucket.full_at - whole).max(now);
        // Never too early: a part of a microsecond counts whole.
        let at = at.div_euclid(1_000) + i128::from(at.rem_euclid(1_000) > 0);
        Places {
            count,
            at: Timestamp(i64::try_from(at).unwrap_or(i64::MAX)),
        }
    }

    /// Takes back places that nobody used.
    pub(super) fn give_back(&self, count: usize) {
        let mut bucket = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.full_at = bucket.full_at.saturating_sub(self.nanos(count));
    }

    fn nanos(&self, places: usize) -> i128 {
        let rate = i128::from(self.per_second);
        places as i128 * (NANOS + rate - 1).div_euclid(rate)
    }
}

/// The places that the dispatch of calls holds; without a pace, as many as it likes.
pub(super) struct Quota {
    pace: Option<Arc<Pace>>,
    held: Option<Places>,
}

impl Quota {
    /// None held yet.
    pub(super) fn new(pace: Option<Arc<Pace>>) -> Self {
        Self { pace, held: None }
    }

    /// How many calls may begin now. `wishes` says how many would, of how many jobs; it is asked only when
    /// there is a pace.
    pub(super) fn open(
        &mut self,
        wishes: impl FnOnce() -> (usize, usize),
        now: Timestamp,
    ) -> usize {
        let Some(pace) = &self.pace else {
            return usize::MAX;
        };
        let (wanted, jobs) = wishes();
        if wanted == 0 {
            self.close();
            return 0;
        }
        let held = *self
            .held
            .get_or_insert_with(|| pace.reserve(wanted, jobs, now));
        if held.at <= now { held.count } else { 0 }
    }

    /// So many of the places that [`Self::open`] named were used; what is left goes back.
    pub(super) fn used(&mut self, count: usize) {
        if let Some(held) = &mut self.held {
            held.count = held.count.saturating_sub(count);
            self.close();
        }
    }

    /// When there is a place for whoever waits; never, when nobody does.
    pub(super) fn wake_at(&self) -> Timestamp {
        self.held.map_or(Timestamp::FAR_FUTURE, |held| held.at)
    }

    fn close(&mut self) {
        if let (Some(pace), Some(held)) = (&self.pace, self.held.take()) {
            pace.give_back(held.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const T0: Timestamp = Timestamp(1_927_857_906_000_000);

    fn after(millis: u64) -> Timestamp {
        T0 + Duration::from_millis(millis)
    }

    /// When each of so many places is, taken in groups as they come.
    fn moments(pace: &Pace, mut wanted: usize, mut now: Timestamp) -> Vec<Timestamp> {
        let mut all = Vec::new();
        while wanted > 0 {
            let places = pace.reserve(wanted, 1, now);
            now = places.at;
            wanted -= places.count;
            all.extend(std::iter::repeat_n(places.at, places.count));
        }
        all
    }

    #[test]
    fn beyond_the_burst_places_come_at_the_rate() {
        let pace = Pace::new(10);
        let moments = moments(&pace, 35, T0);
        for (number, at) in moments.into_iter().enumerate() {
            let beyond = (number as u64 + 1).saturating_sub(10);
            assert_eq!(at, after(beyond * 100), "place {number}");
        }
        // Half a second of rest is five places, any rest longer than a second ten.
        let at = after(2_500 + 500);
        assert_eq!(pace.reserve(35, 1, at), Places { count: 5, at });
        let at = after(60_000);
        assert_eq!(pace.reserve(35, 1, at), Places { count: 10, at });
    }

    #[test]
    fn no_window_of_time_has_more_than_burst_and_rate() {
        for per_second in [1, 7, 10, 50, 150, 9_999] {
            let pace = Pace::new(per_second);
            let moments = moments(&pace, 3 * per_second as usize + 100, T0);
            for (from, start) in moments.iter().enumerate() {
                let last = moments.len() - 1;
                let span = moments[last].since(*start).as_micros();
                let allowed = u128::from(per_second) + span * u128::from(per_second) / 1_000_000;
                assert!(
                    (last - from + 1) as u128 <= allowed + 1,
                    "{per_second} {from}"
                );
            }
        }
    }

    #[test]
    fn an_empty_bucket_gives_small_groups_in_order_of_asking() {
        let pace = Pace::new(100);
        assert_eq!(pace.reserve(1_000, 1, T0).count, 100);
        let first = pace.reserve(1_000, 1, T0);
        let second = pace.reserve(1_000, 3, T0);
        assert_eq!((first.count, first.at), (5, after(50)));
        assert_eq!((second.count, second.at), (15, after(200)));
        pace.give_back(second.count);
        assert_eq!(pace.reserve(2, 1, T0).at, after(70));
    }

    #[test]
    fn a_clock_that_is_put_back_owes_no_more_than_before() {
        let pace = Pace::new(10);
        moments(&pace, 10, after(3_600_000));
        assert_eq!(pace.reserve(1, 1, T0).at, after(100));
    }

    #[test]
    fn askers_who_come_with_older_moments_get_no_more() {
        let pace = Pace::new(10);
        moments(&pace, 10, after(50));
        assert_eq!(pace.reserve(1, 1, T0).at, after(150));
        assert_eq!(pace.reserve(1, 1, after(50)).at, after(250));
        assert_eq!(pace.reserve(1, 1, T0).at, after(350));
    }

    #[test]
    fn a_quota_keeps_its_turn_until_it_comes_and_gives_back_what_nobody_uses() {
        let pace = Arc::new(Pace::new(10));
        let mut quota = Quota::new(Some(pace.clone()));
        assert_eq!(quota.open(|| (0, 0), T0), 0);
        assert_eq!(quota.wake_at(), Timestamp::FAR_FUTURE);
        assert_eq!(quota.open(|| (20, 1), T0), 10);
        quota.used(10);
        assert_eq!(quota.open(|| (10, 1), T0), 0);
        assert_eq!(quota.open(|| (10, 1), after(99)), 0);
        assert_eq!(quota.wake_at(), after(100));
        assert_eq!(quota.open(|| (10, 1), after(100)), 1);
        quota.used(0);
        assert_eq!(quota.open(|| (10, 1), after(100)), 1, "it was given back");
        quota.used(1);
        assert_eq!(quota.open(|| (10, 1), after(100)), 0);
        // Whoever waited went away.
        assert_eq!(quota.open(|| (0, 0), after(150)), 0);
        assert_eq!(quota.wake_at(), Timestamp::FAR_FUTURE);
        assert_eq!(pace.reserve(1, 1, after(150)).at, after(200));
    }

    #[test]
    fn without_a_pace_nobody_is_asked() {
        let mut quota = Quota::new(None);
        assert_eq!(
            quota.open(|| unreachable!("it costs nothing"), T0),
            usize::MAX
        );
        quota.used(7);
        assert_eq!(quota.wake_at(), Timestamp::FAR_FUTURE);
    }
}
