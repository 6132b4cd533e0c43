//! Simulated devices: thousands of real MQTT connections from one process, for the demo, tests and benchmarks.
//!
//! A [`Fleet`] holds devices described by a [`DeviceSpec`] and runs one task per connected one ([`device`]). The
//! rules of a device's session are in [`session`], what it saw is in its [`DeviceLog`]. Everything random comes
//! from one seed and the device's id, so a fleet behaves the same way whichever order its devices start in.

mod device;
mod document;
mod link;
mod log;
mod session;
mod spec;
mod stats;
mod target;
mod topic;
mod verb;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::log::{AnswerLog, CALLS_KEPT_MAX, CallLog, DeviceLog};
pub use self::spec::{
    Answer, AnswerQos, Behaviour, DeviceSpec, Payload, Presence, Subscribing, TwinUse,
};
pub use self::stats::FleetStats;
pub use self::target::FleetTarget;
pub use self::verb::{FleetArgs, run};

use self::device::DeviceTask;
use self::session::Session;
use self::stats::Counters;

/// Settings shared by all devices of a fleet.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// MQTT keep-alive, seconds. Default 180, the Node SDK's.
    pub keep_alive_s: u16,
    /// Shortest and longest wait before a reconnect. Default 100 ms to 10 s, the Node SDK's.
    pub backoff: Range<Duration>,
    /// Life of a device's token; it signs in anew after 85% of it. Default one hour.
    pub token_life: Duration,
    /// Devices between TCP connect and CONNACK at once. Default 256.
    pub connecting_max: usize,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            keep_alive_s: 180,
            backoff: Duration::from_millis(100)..Duration::from_secs(10),
            token_life: Duration::from_secs(3600),
            connecting_max: 256,
        }
    }
}

/// A fresh device key: 32 random bytes, base64.
#[must_use]
pub fn new_key() -> String {
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    STANDARD.encode([one.into_bytes(), two.into_bytes()].concat())
}

/// What every device's task shares.
struct Shared {
    target: FleetTarget,
    options: FleetOptions,
    counters: Arc<Counters>,
    connecting: Semaphore,
}

/// A set of simulated devices. Dropping it stops them without a farewell; [`Fleet::stop_all`] waits for them.
pub struct Fleet {
    shared: Arc<Shared>,
    devices: BTreeMap<String, Member>,
    stop: CancellationToken,
}

struct Member {
    spec: Arc<DeviceSpec>,
    log: Arc<Mutex<DeviceLog>>,
    /// The session while the device is stopped; its task has it otherwise.
    session: Option<Session>,
    task: Option<Task>,
}

struct Task {
    stop: CancellationToken,
    running: JoinHandle<Session>,
}

impl Fleet {
    /// An empty fleet of the hub at `target`.
    #[must_use]
    pub fn new(target: FleetTarget, options: FleetOptions) -> Self {
        let connecting = Semaphore::new(options.connecting_max);
        let counters = Arc::new(Counters::new());
        Self {
            shared: Arc::new(Shared {
                target,
                options,
                counters,
                connecting,
            }),
            devices: BTreeMap::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Adds a device, stopped. A device of the same id is replaced and its task told to stop.
    pub fn add(&mut self, spec: DeviceSpec) {
        let mut hasher = DefaultHasher::new();
        (self.shared.options.seed, &spec.id).hash(&mut hasher);
        let spec = Arc::new(spec);
        let log = Arc::new(Mutex::new(DeviceLog::default()));
        let session = Session::new(
            Arc::clone(&spec),
            Arc::clone(&log),
            Arc::clone(&self.shared.counters),
            hasher.finish(),
        );
        let id = spec.id.clone();
        let member = Member {
            spec,
            log,
            session: Some(session),
            task: None,
        };
        if let Some(Member {
            task: Some(task), ..
        }) = self.devices.insert(id, member)
        {
            task.stop.cancel();
        }
    }

    /// Starts one device. Nothing happens when it runs already, is unknown, or is [`Presence::Offline`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(&mut self, id: &str) {
        if let Some(member) = self.devices.get_mut(id) {
            member.start(&self.shared, &self.stop);
        }
    }

    /// Starts every device that is not [`Presence::Offline`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_all(&mut self) {
        for member in self.devices.values_mut() {
            member.start(&self.shared, &self.stop);
        }
    }

    /// Stops one device (DISCONNECT) and waits for it. Its log and its unacknowledged answers stay; a later
    /// start goes on with them.
    pub async fn stop(&mut self, id: &str) {
        if let Some(member) = self.devices.get_mut(id) {
            member.stop().await;
        }
    }

    /// Stops every device and waits for all.
    pub async fn stop_all(&mut self) {
        self.stop.cancel();
        for member in self.devices.values_mut() {
            member.stop().await;
        }
        self.stop = CancellationToken::new();
    }

    /// Waits until at least `count` devices are connected with their subscriptions in force.
    pub async fn wait_online(&self, count: usize) {
        let mut online = self.shared.counters.online.subscribe();
        online
            .wait_for(|now| *now >= count)
            .await
            .expect("the sender lives in the fleet");
    }

    /// What the fleet has done so far.
    #[must_use]
    pub fn stats(&self) -> FleetStats {
        self.shared.counters.read()
    }

    /// What one device saw and did so far; `None` for an unknown id.
    #[must_use]
    pub fn log(&self, id: &str) -> Option<DeviceLog> {
        self.devices
            .get(id)
            .map(|member| session::lock(&member.log).clone())
    }

    /// All devices of the fleet, by id.
    pub fn specs(&self) -> impl Iterator<Item = &DeviceSpec> {
        self.devices.values().map(|member| &*member.spec)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Member {
    fn start(&mut self, shared: &Arc<Shared>, stop: &CancellationToken) {
        if !self.spec.connects() {
            return;
        }
        // A running device has given its session away.
        let Some(session) = self.session.take() else {
            return;
        };
        let stop = stop.child_token();
        let task = DeviceTask {
            spec: Arc::clone(&self.spec),
            session,
            shared: Arc::clone(shared),
            stop: stop.clone(),
        };
        self.task = Some(Task {
            stop,
            running: tokio::spawn(task.run()),
        });
    }

    async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.stop.cancel();
            match task.running.await {
                Ok(session) => self.session = Some(session),
                Err(error) => {
                    tracing::error!(device.id = %self.spec.id, %error, "device task died")
                }
            }
        }
    }
}
