//! How many requests a node takes where a profile imposes the published rates; without one there is no
//! throttle, and nothing is counted.
//!
//! One bucket for each class of operations, shared by all front ends and all callers. It holds what the class
//! is allowed in its published period and fills evenly; the original lets bursts wait before it refuses
//! them, here they are refused at once. compat: HTTP-30

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use fanfare_hub::profile::{OperationClass, Profile, Rate};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock, Reference as _},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

/// The buckets of a node.
pub struct Throttle<C: Clock = DefaultClock> {
    clock: C,
    buckets: Vec<Bucket<C>>,
}

struct Bucket<C: Clock> {
    class: OperationClass,
    holds: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

/// A request is one too many for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many operations of the class {} for the profile of this hub, try again in {} s", .class.name(), self.seconds())]
pub struct Throttled {
    /// What it is one too many of.
    pub class: OperationClass,
    /// When the same would be taken, were nothing else to come.
    pub wait: Duration,
}

impl Throttled {
    /// The wait in whole seconds, at least 1.
    pub fn seconds(&self) -> u64 {
        let part = u64::from(self.wait.subsec_nanos() > 0);
        (self.wait.as_secs() + part).max(1)
    }
}

impl Throttle {
    /// The buckets of a profile; absent when it imposes no rate.
    pub fn of(profile: &Profile) -> Option<Arc<Self>> {
        let throttle = Self::with_clock(profile, DefaultClock::default());
        (!throttle.buckets.is_empty()).then(|| Arc::new(throttle))
    }
}

impl<C: Clock + Clone> Throttle<C> {
    fn with_clock(profile: &Profile, clock: C) -> Self {
        let bucket = |class| {
            let Rate { operations, per } = profile.rate(class)?;
            let holds = NonZeroU32::new(operations)?;
            let quota = Quota::with_period(per / operations)?.allow_burst(holds);
            Some(Bucket {
                class,
                holds,
                limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            })
        };
        let buckets = OperationClass::ALL.into_iter().filter_map(bucket).collect();
        Self { clock, buckets }
    }
}

impl<C: Clock> Throttle<C> {
    /// Takes so many operations of a class, all or none.
    ///
    /// # Errors
    /// The bucket does not hold that many now. More than it can ever hold count as all it can hold.
    pub fn take(&self, class: OperationClass, operations: u32) -> Result<(), Throttled> {
        let Some(bucket) = self.buckets.iter().find(|bucket| bucket.class == class) else {
            return Ok(());
        };
        let operations = NonZeroU32::new(operations).map_or(NonZeroU32::MIN, |wanted| wanted);
        let taken = bucket.limiter.check_n(operations.min(bucket.holds));
        let until = match taken.expect("it is no more than the bucket holds") {
            Ok(()) => return Ok(()),
            Err(until) => until.earliest_possible(),
        };
        let wait = Duration::from(until.duration_since(self.clock.now()));
        Err(Throttled { class, wait })
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::profile::Tier;
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn throttle(tier: Tier) -> (Throttle<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::with_clock(&Profile::of(tier, 1), clock.clone());
        (throttle, clock)
    }

    /// How many single operations are taken at this moment.
    fn taken(throttle: &Throttle<FakeRelativeClock>, class: OperationClass) -> u32 {
        let ok = |_: &u32| throttle.take(class, 1).is_ok();
        (0..100_000).take_while(ok).count() as u32
    }

    #[test]
    fn a_full_bucket_holds_one_period_and_fills_evenly() {
        let (throttle, clock) = throttle(Tier::AzureS1);
        let classes = [
            (OperationClass::Queries, 20, 3_000),
            (OperationClass::Configurations, 20, 3_000),
            (OperationClass::Registry, 100, 600),
            (OperationClass::Jobs, 100, 600),
            (OperationClass::TwinReads, 100, 10),
            (OperationClass::TwinUpdates, 50, 20),
            (OperationClass::Methods, 40, 25),
            (OperationClass::Connects, 100, 10),
        ];
        for (class, holds, millis) in classes {
            assert_eq!(taken(&throttle, class), holds, "{class:?}");
            let refused = throttle.take(class, 1).unwrap_err();
            assert_eq!(refused.wait, Duration::from_millis(millis), "{class:?}");
            clock.advance(Duration::from_millis(5 * millis));
            assert_eq!(taken(&throttle, class), 5, "{class:?}");
        }
    }

    #[test]
    fn several_operations_are_taken_all_or_none() {
        let (throttle, _) = throttle(Tier::AzureS1);
        throttle.take(OperationClass::Methods, 32).unwrap();
        let refused = throttle.take(OperationClass::Methods, 32).unwrap_err();
        assert_eq!(
            (refused.class, refused.seconds()),
            (OperationClass::Methods, 1)
        );
        throttle.take(OperationClass::Methods, 8).unwrap();
    }

    #[test]
    fn what_no_bucket_can_hold_takes_all_of_it() {
        let (throttle, clock) = throttle(Tier::AzureS1);
        throttle.take(OperationClass::Methods, 5_000).unwrap();
        assert!(throttle.take(OperationClass::Methods, 1).is_err());
        clock.advance(Duration::from_secs(1));
        throttle.take(OperationClass::Methods, u32::MAX).unwrap();
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            let wait = Duration::from_millis(millis);
            let class = OperationClass::Jobs;
            assert_eq!(Throttled { class, wait }.seconds(), seconds);
        }
    }

    #[test]
    fn an_open_profile_has_no_throttle() {
        assert!(Throttle::of(&Profile::open()).is_none());
        assert!(Throttle::of(&Profile::of(Tier::AzureS3, 1)).is_some());
    }
}
