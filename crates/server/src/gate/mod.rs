//! The one gate of a node: whoever connects passes here before anything is done for them.
//!
//! Both front ends ask it. [`Lobby`] has the places, [`failures`] tells which addresses fail again and
//! again, [`wrong`] which credentials were refused a moment ago. What a refusal looks like to the peer is the front
//! ends' business; every number is in `docs/operate/limits.md`.

mod failures;
mod lobby;
mod socket;
mod source;
mod wrong;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fanfare_hub::{access::Policy, ids::IdentityId};

pub(crate) use self::socket::{Patience, prepare};
use self::{failures::Failures, lobby::Places, wrong::WrongCredentials};
pub use self::{
    lobby::{Lobby, Turn, Visit},
    source::Source,
    wrong::{Circumstances, CredentialMark},
};
use crate::{open_files::KEPT_FILES, telemetry::FrontEnd};

/// What an operator or a test may change of the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateLimits {
    /// Connections of one front end that have not signed in, or not sent a request, yet.
    pub strangers: usize,
    /// Of those, how many may come from one address.
    pub strangers_per_address: usize,
    /// Connections of the service API.
    pub https_connections: usize,
    /// Of those, how many may come from one address.
    pub https_connections_per_address: usize,
    /// Connections of devices.
    pub mqtt_connections: usize,
    /// Failed sign-ins and requests of one address in a minute before it has to take turns.
    pub failures_per_minute: u32,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            strangers: 4_096,
            strangers_per_address: 1_024,
            https_connections: 10_000,
            https_connections_per_address: 2_500,
            mqtt_connections: usize::MAX,
            failures_per_minute: 600,
        }
    }
}

impl GateLimits {
    /// The same within the number of files that may be open: some are the hub's own.
    #[must_use]
    pub fn within(self, files: Option<u64>) -> Self {
        let Some(files) = files else { return self };
        let places = usize::try_from(files.saturating_sub(KEPT_FILES)).unwrap_or(usize::MAX);
        let places = places.max(2);
        let https_connections = self.https_connections.min(places / 2);
        Self {
            https_connections,
            mqtt_connections: self.mqtt_connections.min(places - https_connections),
            ..self
        }
    }
}

/// Strangers of a suspect address that are listened to at once. Ours.
const TURNS: usize = 16;
/// What every stranger gets before it may have to make room for another. Ours.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a suspect's turn may take while it has not said who it is. Ours.
pub const TURN_WITHIN: Duration = Duration::from_secs(5);

/// The gate of a node.
pub struct Gate {
    began: Instant,
    lobbies: [Arc<Lobby>; 2],
    failures: Failures,
    wrong: WrongCredentials,
}

impl Gate {
    /// A gate with these limits.
    pub fn new(limits: &GateLimits) -> Arc<Self> {
        let https = Places {
            strangers: limits.strangers,
            strangers_of_one: limits.strangers_per_address,
            connections: limits.https_connections,
            connections_of_one: limits.https_connections_per_address,
            turns_of_one: TURNS,
            patience: PATIENCE,
        };
        let mqtt = Places {
            connections: limits.mqtt_connections,
            // Whoever signed in has a place: a fleet may well come from one address.
            connections_of_one: usize::MAX,
            ..https
        };
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has randomness");
        Arc::new(Self {
            began: Instant::now(),
            lobbies: [
                Lobby::new(FrontEnd::Https, https),
                Lobby::new(FrontEnd::Mqtt, mqtt),
            ],
            failures: Failures::new(limits.failures_per_minute),
            wrong: WrongCredentials::new(key),
        })
    }

    /// The places of a front end.
    pub fn lobby(&self, front_end: FrontEnd) -> &Arc<Lobby> {
        &self.lobbies[front_end as usize]
    }

    /// A peer's credentials did not do.
    pub fn failed(&self, source: Source) {
        self.failures.note(source, self.now());
    }

    /// Whether an address has failed so often that it has to take turns.
    pub fn is_suspect(&self, source: Source) -> bool {
        self.failures.is_suspect(source, self.now())
    }

    /// A turn for those who have to take turns; everybody else needs none.
    pub async fn turn(&self, visit: &mut Visit) -> Option<Turn> {
        match self.is_suspect(visit.source()) {
            true => Some(visit.turn().await),
            false => None,
        }
    }

    /// What could make a refused credential right, as it is now; `identity_changes` is the registry's number.
    pub fn circumstances(&self, identity_changes: u64, policies: &[Policy]) -> Circumstances {
        self.wrong.circumstances(identity_changes, policies)
    }

    /// Names an identity with a credential for a host, telling none of them.
    pub fn mark(&self, id: &IdentityId, host: &str, credential: &[u8]) -> CredentialMark {
        self.wrong.mark(id, host, credential)
    }

    /// Whether the very same was refused a moment ago, and nothing has changed since.
    pub fn was_wrong(&self, mark: CredentialMark, circumstances: Circumstances) -> bool {
        self.wrong.is_known(mark, circumstances, self.now())
    }

    /// It was refused; `circumstances` are those from before it was looked at.
    pub fn remember_wrong(&self, mark: CredentialMark, circumstances: Circumstances) {
        self.wrong.remember(mark, circumstances, self.now());
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_hub_itself() {
        for files in [1, 300, 1_024, 20_000, 1_000_000] {
            let limits = GateLimits::default().within(Some(files));
            let places = (limits.https_connections + limits.mqtt_connections) as u64;
            assert!(limits.https_connections > 0 && limits.mqtt_connections > 0);
            assert!(
                places == 2 || places + KEPT_FILES == files,
                "{files}: {places}"
            );
        }
        assert_eq!(GateLimits::default().within(None), GateLimits::default());
    }
}
