//! The node's housekeeping: everything that happens because time passed, and may happen late.
//!
//! Woken by the clock alone, takes no input, safe to repeat: the desired sweep, last activity, and what
//! has outlived its use (jobs' history, sessions, names of deleted identities).

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    ids::Space,
    limits,
    ports::{Clock, Store, StoreError, store::Connected},
    presence::Presence,
    signals::stopped,
    time::Timestamp,
    twin::Twins,
};

/// The housekeeping loop.
pub struct Upkeep {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    presence: Arc<Presence>,
    twins: Arc<Twins>,
    /// How long ended jobs are kept.
    history: Duration,
}

impl Upkeep {
    /// Over a node's parts; `history` is how long ended jobs are kept.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        presence: Arc<Presence>,
        twins: Arc<Twins>,
        history: Duration,
    ) -> Self {
        Self {
            store,
            clock,
            presence,
            twins,
            history,
        }
    }

    /// Runs until `stop` says true; writes the last activity once more before it ends.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut next_sweep = self.clock.now() + limits::DESIRED_SWEEP_EVERY;
        let mut next_expiry = self.clock.now();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                () = self.clock.sleep_until(next_sweep.min(next_expiry)) => {}
            }
            let now = self.clock.now();
            if now >= next_sweep {
                next_sweep = now + limits::DESIRED_SWEEP_EVERY;
                report("desired properties were compared", self.twins.sweep().await);
                report("last activity was written", self.write_activity().await);
            }
            if now >= next_expiry {
                next_expiry = now + limits::SWEEP_EVERY;
                report("what has expired was removed", self.expire(now).await);
            }
        }
        report("last activity was written", self.write_activity().await);
    }

    async fn write_activity(&self) -> Result<(), StoreError> {
        for batch in self
            .presence
            .take_activity()
            .chunks(limits::TWIN_PAGE_DEVICES)
        {
            self.store.activity_write(batch.to_vec()).await?;
        }
        Ok(())
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = |span: Duration| Timestamp(now.0 - span.as_micros() as i64);
        let before_history = before(self.history);
        while self
            .store
            .job_expire(before_history, limits::JOB_EXPIRE_BATCH)
            .await?
            > 0
        {}
        self.store.identity_forget().await?;
        let connected = Connected {
            devices: self.presence.connected(Space::Devices),
            modules: self.presence.connected(Space::Modules),
        };
        self.store
            .session_expire(before(limits::SESSION_KEPT), connected)
            .await?;
        Ok(())
    }
}

fn report(what: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "not true yet, will be tried again: {what}");
    }
}
