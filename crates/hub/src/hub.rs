//! A hub node's services, put together: what front ends talk to.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    access::Policies,
    authorities::Authorities,
    configurations::{ConfigurationSignal, Configurations, Reconciler},
    jobs::{
        Jobs,
        scheduler::{Scheduler, SchedulerParts},
    },
    limits,
    measures::EngineMeasures,
    method::Methods,
    ports::{Clock, Entropy, Store},
    presence::Presence,
    profile::Profile,
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
    /// Configurations.
    pub configurations: Configurations,
    /// Shared access policies.
    pub policies: Arc<Policies>,
    /// Authorities that may vouch for devices.
    pub authorities: Arc<Authorities>,
    /// What is remembered of devices between connections.
    pub sessions: Sessions,
    /// Who is connected.
    pub presence: Arc<Presence>,
    /// What the job engine measures.
    pub engine: Arc<EngineMeasures>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What it imposes beyond its own bounds.
    pub profile: Profile,
}

/// The loops that move jobs on and tidy up; each is run once, by whoever owns the node.
pub struct Engine {
    /// Starts, drives and ends jobs.
    pub scheduler: Scheduler,
    /// Retention, sweeps, activity.
    pub upkeep: Upkeep,
    /// Brings twins to what configurations want.
    pub reconciler: Reconciler,
}

impl Hub {
    /// Puts a node together over its ports; nothing is imposed beyond the hub's own bounds.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        history: std::time::Duration,
    ) -> (Arc<Self>, Engine) {
        Self::with_profile(store, clock, entropy, history, Profile::open())
    }

    /// The same with the limits of a profile. The rules of jobs are held here, the rates by front ends.
    pub fn with_profile(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        history: std::time::Duration,
        profile: Profile,
    ) -> (Arc<Self>, Engine) {
        let presence = Arc::new(Presence::default());
        let signals = JobSignals::default();
        let measures = Arc::new(EngineMeasures::default());
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
            measures: measures.clone(),
            answers,
            rules: profile.jobs,
        });
        let upkeep = Upkeep::new(
            store.clone(),
            clock.clone(),
            presence.clone(),
            twins.clone(),
            history,
        );
        let configurations = ConfigurationSignal::default();
        let reconciler = Reconciler::new(
            store.clone(),
            clock.clone(),
            presence.clone(),
            twins.clone(),
            configurations.clone(),
        );
        let configurations =
            Configurations::new(store.clone(), clock.clone(), twins.clone(), configurations);
        let policies = Policies::new(store.clone(), presence.clone(), entropy.clone());
        let hub = Self {
            authorities: Arc::new(Authorities::new(
                store.clone(),
                presence.clone(),
                clock.clone(),
                entropy.clone(),
            )),
            policies: Arc::new(policies),
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
            jobs: Jobs::new(store.clone(), clock.clone(), signals, profile.jobs),
            configurations,
            sessions: Sessions::new(store, clock.clone()),
            presence,
            engine: measures,
            clock,
            profile,
        };
        let engine = Engine {
            scheduler,
            upkeep,
            reconciler,
        };
        (Arc::new(hub), engine)
    }
}
