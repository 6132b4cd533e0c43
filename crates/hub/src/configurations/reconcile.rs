//! Brings twins to what configurations want, and counts.
//!
//! Two kinds of passes. A whole pass looks at every identity: after a change of a configuration, at the
//! start, and from time to time, because conditions may ask who is connected. A short pass looks at those
//! that carry a mark of change. Either compares what is wanted with what is remembered beside each twin and
//! writes only where they differ, so it may die anywhere and be done again. Without configurations, and
//! once nothing of old ones is left, the loop waits for its signal and costs nothing.

mod pass;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use self::pass::Pass;
use super::{ConfigurationSignal, plan::Plan};
use crate::{
    limits,
    ports::{Clock, Store, StoreError},
    presence::Presence,
    signals::stopped,
    time::Timestamp,
    twin::Twins,
};

/// The loop, and what it works with.
pub struct Reconciler {
    parts: Parts,
    signal: ConfigurationSignal,
}

/// What every pass works with.
#[derive(Clone)]
struct Parts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    presence: Arc<Presence>,
    twins: Arc<Twins>,
}

/// What the last whole pass left.
struct Standing {
    plan: Option<Arc<Plan>>,
    /// When the next whole pass is due; never, while there is nothing to do.
    whole_at: Option<Timestamp>,
}

impl Reconciler {
    /// Over a node's parts.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        presence: Arc<Presence>,
        twins: Arc<Twins>,
        signal: ConfigurationSignal,
    ) -> Self {
        Self {
            parts: Parts {
                store,
                clock,
                presence,
                twins,
            },
            signal,
        }
    }

    /// Runs until `stop` says true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let clock = &self.parts.clock;
        let mut standing = Standing {
            plan: None,
            whole_at: Some(clock.now()),
        };
        let mut next = clock.now();
        loop {
            let is_signalled = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.signal.wait() => true,
                () = clock.sleep_until(next), if standing.whole_at.is_some() => false,
            };
            if is_signalled {
                standing = Standing {
                    plan: None,
                    whole_at: Some(clock.now()),
                };
                if clock.now() < next {
                    // Changes that come together share one pass.
                    continue;
                }
            }
            let looked = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                looked = self.look(&mut standing) => looked,
            };
            if let Err(error) = looked {
                tracing::warn!(%error, "configurations are not applied everywhere yet, will be tried again");
            }
            next = clock.now() + limits::CONFIGURATIONS_LOOK_EVERY;
        }
    }

    /// A whole pass if one is due, a short one otherwise.
    async fn look(&self, standing: &mut Standing) -> Result<(), StoreError> {
        let began = self.parts.clock.now();
        if standing.whole_at.is_none_or(|at| at > began) {
            return match &standing.plan {
                Some(plan) => Pass::new(&self.parts, plan.clone()).short().await,
                None => Ok(()),
            };
        }
        // Until it has succeeded: what fails because of one bad record must not scan all day.
        *standing = Standing {
            plan: None,
            whole_at: Some(began + RETRY_AFTER),
        };
        let most = limits::CONFIGURATIONS_MAX;
        let configurations = self.parts.store.configuration_list(most).await?;
        let plan = Arc::new(Plan::new(&configurations));
        let is_left = Pass::new(&self.parts, plan.clone()).whole().await?;
        let now = self.parts.clock.now();
        let rest = now.since(began).saturating_mul(REST_FACTOR);
        *standing = Standing {
            plan: Some(plan),
            whole_at: is_left.then(|| now + rest.max(limits::CONFIGURATIONS_WHOLE_EVERY)),
        };
        Ok(())
    }
}

/// A whole pass rests at least so many times as long as it took.
const REST_FACTOR: u32 = 10;
/// A whole pass that failed is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(10);
