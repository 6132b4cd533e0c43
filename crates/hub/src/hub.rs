//! A hub node's services, put together: what front ends talk to.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    jobs::{
        Jobs,
        scheduler::{Scheduler, SchedulerParts},
    },
    limits,
    method::Methods,
    ports::{Clock, Entropy, Store},
    presence::Presence,
    queries::Queries,
    registry::Registry,
    session::Sessions,
    signals::JobSignals,
    twin::Twins,
    upkeep::Upkeep,
};

/// The services of one node. Cheap to share behind an `Arc`.
pub struct Hub {
    /// Identities.
    pub registry: Registry,
    /// Twins.
    pub twins: Arc<Twins>,
    /// Direct methods.
    pub methods: Arc<Methods>,
    /// Queries.
    pub queries: Queries,
    /// Jobs.
    pub jobs: Jobs,
    /// What is remembered of devices between connections.
    pub sessions: Sessions,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The loops that move jobs on and tidy up; each is run once, by whoever owns the node.
pub struct Engine {
    /// Starts, drives and ends jobs.
    pub scheduler: Scheduler,
    /// Retention, sweeps, activity.
    pub upkeep: Upkeep,
}

impl Hub {
    /// Puts a node together over its ports.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        history: std::time::Duration,
    ) -> (Arc<Self>, Engine) {
        let presence = Arc::new(Presence::default());
        let signals = JobSignals::default();
        let (job_answers, answers) = mpsc::channel(limits::ANSWER_QUEUE);
        let twins = Arc::new(Twins::new(store.clone(), presence.clone(), clock.clone()));
        let methods = Arc::new(Methods::new(
            store.clone(),
            presence.clone(),
            clock.clone(),
            job_answers,
        ));
        let scheduler = Scheduler::new(SchedulerParts {
            store: store.clone(),
            clock: clock.clone(),
            presence: presence.clone(),
            twins: twins.clone(),
            methods: methods.clone(),
            signals: signals.clone(),
            answers,
        });
        let upkeep = Upkeep::new(
            store.clone(),
            clock.clone(),
            presence.clone(),
            twins.clone(),
            history,
        );
        let hub = Self {
            registry: Registry::new(
                store.clone(),
                presence.clone(),
                clock.clone(),
                entropy,
                signals.clone(),
            ),
            twins,
            methods,
            queries: Queries::new(store.clone(), presence.clone()),
            jobs: Jobs::new(store.clone(), clock.clone(), signals),
            sessions: Sessions::new(store, clock.clone()),
            presence,
            clock,
        };
        (Arc::new(hub), Engine { scheduler, upkeep })
    }
}
