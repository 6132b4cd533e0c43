//! A hub process with a temporary data folder, clients with the rights of its policies, and devices over MQTT.
//!
//! Each test has a hub of its own on free ports, so tests may run side by side on one loopback address.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use fanfare_cli::fleet::{Behaviour, DeviceSpec, Fleet, FleetOptions, FleetTarget, new_key};
use fanfare_cli::hub_process::{HubOptions, HubProcess, free_port};
use fanfare_client::{Authentication, BulkItem, ConnectionState, Device, HubClient, ImportMode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

/// Bound of everything that is waited for: a hub to be ready, devices to be online, a call to end. What takes
/// longer hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(60);

/// When a token ends that is made now.
#[allow(
    clippy::disallowed_methods,
    reason = "tokens end at a time of the system's clock"
)]
pub(crate) fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3_600)
}

/// A running hub. Dropping it kills the process and removes the folder.
pub(crate) struct Rig {
    hub: Option<HubProcess>,
    options: HubOptions,
    // Last, so that the folder goes after the hub.
    _scratch: TempDir,
}

impl Rig {
    /// Starts a hub on `address`, on ports that are free now.
    pub(crate) async fn start(address: &str) -> Self {
        Self::start_as(address, address).await
    }

    /// Starts a hub on `address` that calls itself `host_name`: for a proxy that answers to that name.
    pub(crate) async fn start_as(address: &str, host_name: &str) -> Self {
        let bind: IpAddr = address.parse().unwrap();
        let scratch = tempfile::Builder::new()
            .prefix("fanfare-client-")
            .tempdir()
            .unwrap();
        let options = HubOptions {
            program: env!("CARGO_BIN_EXE_fanfare").into(),
            data_dir: scratch.path().join("data"),
            log_file: scratch.path().join("serve.log"),
            bind,
            host_name: host_name.to_owned(),
            https_port: free_port(bind).unwrap(),
            mqtts_port: free_port(bind).unwrap(),
            mqtt_plain_port: Some(free_port(bind).unwrap()),
        };
        let mut rig = Self {
            hub: None,
            options,
            _scratch: scratch,
        };
        rig.spawn().await;
        rig
    }

    /// How the hub was started: address, ports, data folder.
    pub(crate) fn options(&self) -> &HubOptions {
        &self.options
    }

    /// A client of the hub itself (no proxy) with the rights of `policy`.
    pub(crate) async fn client(&self, policy: &str) -> HubClient {
        self.options.client(policy).await.unwrap()
    }

    /// A client that may do everything.
    pub(crate) async fn owner(&self) -> HubClient {
        self.client("iothubowner").await
    }

    /// Registers `count` devices `PREFIX-0 ..` with `tags`, connects them, and waits until they can be called.
    pub(crate) async fn devices(
        &self,
        prefix: &str,
        count: usize,
        tags: Value,
        behaviour: Behaviour,
    ) -> Fleet {
        let specs: Vec<DeviceSpec> = (0..count)
            .map(|number| DeviceSpec {
                id: format!("{prefix}-{number}"),
                key: new_key(),
                behaviour: behaviour.clone(),
            })
            .collect();
        let registry = self.owner().await.registry();
        let items: Vec<BulkItem> = specs
            .iter()
            .map(|spec| {
                let keys = Authentication::keys(&*spec.key, &*spec.key);
                BulkItem::from(Device::new(&spec.id).authentication(keys))
                    .mode(ImportMode::Create)
                    .tags(tags.clone())
            })
            .collect();
        let outcome = registry.bulk(&items).await.unwrap();
        assert!(outcome.is_all_done(), "{outcome:?}");
        let address = self.options.mqtt_plain().unwrap();
        let target = FleetTarget::plain(&*self.options.host_name, address);
        let backoff = Duration::from_millis(20)..Duration::from_millis(200);
        let mut fleet = Fleet::new(
            target,
            FleetOptions {
                backoff,
                ..FleetOptions::default()
            },
        );
        let online = specs.iter().filter(|spec| spec.connects()).count();
        for spec in specs {
            fleet.add(spec);
        }
        fleet.start_all();
        timeout(HANGS_AFTER, fleet.wait_online(online))
            .await
            .expect("the devices come online");
        fleet
    }

    /// Waits until the hub knows that a device is gone: a device that ended its connection learns nothing of when.
    pub(crate) async fn until_away(&self, id: &str) {
        let registry = self.owner().await.registry();
        let gone = async {
            loop {
                let device = registry.get_device(id).await.unwrap();
                if device.connection_state == Some(ConnectionState::Disconnected) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(HANGS_AFTER, gone).await.expect("the device goes");
    }

    /// `kill -9`. Only [`Self::restart`] brings the hub back, on the same ports and data.
    pub(crate) async fn kill(&mut self) {
        self.hub.take().unwrap().kill().await.unwrap();
    }

    /// Starts the hub again after [`Self::kill`] and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.spawn().await;
    }

    /// SIGTERM, and waits for the end. A test that is done calls it: a hub that does not end fails the test.
    pub(crate) async fn stop(mut self) {
        let hub = self.hub.take().unwrap();
        let status = hub.terminate().await.unwrap();
        assert!(status.success(), "the hub ended with {status}");
    }

    async fn spawn(&mut self) {
        let hub = HubProcess::start(self.options.clone(), HANGS_AFTER)
            .await
            .unwrap();
        self.hub = Some(hub);
    }
}
