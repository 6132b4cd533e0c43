//! A hub under attack serves whoever means well, and is itself again when the attack is over.
//!
//! A real hub process is set upon by every [`Kind`] of hostile peer at once, 5,000 half-open connections among
//! them, from addresses of their own. Meanwhile a method job over 500 devices, which are connected as any
//! devices are, must complete without a failure, and the hub's memory stay within what its limits allow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it saw")]
#![cfg(target_os = "linux")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use fanfare_cli::fleet::{Behaviour, DeviceSpec, Fleet, FleetOptions, FleetTarget, new_key};
use fanfare_cli::hostile::{Attack, HostileTarget, Kind};
use fanfare_cli::hub_process::{HubOptions, HubProcess, free_port, raise_open_files};
use fanfare_client::{Device, DeviceMethod, HubClient, JobStatus, ScheduleOptions};
use fanfare_wire::connection_string::ConnectionString;
use fanfare_wire::sas::{SasGrant, sign};
use tokio::time::{sleep, timeout};

/// Where the hub listens, and where hostile peers come from; devices come from 127.0.0.1.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 97));
const SOURCES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 98)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99)),
];
const DEVICES: usize = 500;
/// What the hub may hold in RAM at any moment of it. By its limits 4,096 strangers at each port could make it hold
/// about 20 KiB each, and insiders 256 MiB of bodies; the peers of this attack are fewer than that.
const RESIDENT_MIB_MAX: u64 = 512;
/// The whole suite's patience, for slow machines; nothing of it is measured.
const WITHIN: Duration = Duration::from_secs(300);
/// Pause between two looks at something that changes.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Strangers that must be there before the attack counts as one.
const STRANGERS: f64 = 1_500.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_job_completes_on_a_hub_under_attack() {
    timeout(WITHIN, under_attack()).await.expect("all of it");
}

async fn under_attack() {
    raise_open_files().unwrap();
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-hostile-")
        .tempdir()
        .unwrap();
    let options = HubOptions {
        program: PathBuf::from(env!("CARGO_BIN_EXE_fanfare")),
        data_dir: scratch.path().join("data"),
        log_file: scratch.path().join("serve.log"),
        bind: ADDRESS,
        host_name: ADDRESS.to_string(),
        https_port: free_port(ADDRESS).unwrap(),
        mqtts_port: free_port(ADDRESS).unwrap(),
        mqtt_plain_port: None,
    };
    let hub = HubProcess::start(options.clone(), WITHIN).await.unwrap();
    let client = options.client("iothubowner").await.unwrap();
    let mut fleet = fleet(&options, &client).await;
    let quiet = Resident::of(&hub);

    let method = || {
        // Devices answer at once; how long a hub with all hands full takes is not what is tested.
        DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(250))
    };
    // One that waits for a device which never comes, for those who follow it.
    let jobs = client.jobs();
    let absent = Device::new("absent");
    client.registry().create_device(&absent).await.unwrap();
    jobs.schedule_device_method("followed", "deviceId = 'absent'", method(), window())
        .await
        .unwrap();

    let attack = Attack::start(target(&options).await);
    attack.in_force().await;
    until(&client, |metrics| strangers(metrics) >= STRANGERS).await;

    // Again and again, until the hub has ended every kind of peer, those included that it has patience with.
    let mut rounds = 0;
    while rounds < 3 || !attack.is_refused() {
        rounds += 1;
        lock_doors(&client, &format!("locked-{rounds}"), method()).await;
    }
    // Nobody real was put out, and whoever comes now is let in.
    assert_eq!(fleet.stats().online, DEVICES);
    fleet.stop("door-000").await;
    fleet.start("door-000");
    fleet.wait_online(DEVICES).await;

    let resident = Resident::of(&hub);
    say(&client, &attack).await;
    println!("{rounds} jobs; {quiet:?} before, {resident:?} under attack");
    attack.stop().await;
    assert!(
        resident.most_mib <= RESIDENT_MIB_MAX,
        "{resident:?} is more than {RESIDENT_MIB_MAX} MiB"
    );

    // Everything that strangers held is free again; the devices and this client are there.
    until(&client, |metrics| {
        strangers(metrics) == 0.0
            && series(metrics, "fanfare_connections{front_end=\"mqtt\"}") == DEVICES as f64
            && series(metrics, "fanfare_job_watchers") == 0.0
    })
    .await;
    jobs.cancel_job("followed").await.unwrap();
    fleet.stop_all().await;
    assert!(hub.terminate().await.unwrap().success());
}

/// What the peers did, and how the hub counted it.
async fn say(client: &HubClient, attack: &Attack) {
    for kind in Kind::ALL {
        println!("{kind:?}: {:?}", attack.tally(kind));
    }
    let metrics = client.metrics().await.unwrap();
    let turned_away = metrics
        .lines()
        .filter(|line| line.starts_with("fanfare_peers_turned_away_total"));
    turned_away
        .filter(|line| !line.ends_with(" 0"))
        .for_each(|line| println!("{line}"));
}

/// A method job over all devices, to its end: not one may fail.
async fn lock_doors(client: &HubClient, id: &str, method: DeviceMethod) {
    let doors = "STARTSWITH(deviceId, 'door-')";
    let jobs = client.jobs();
    jobs.schedule_device_method(id, doors, method, window())
        .await
        .unwrap();
    let job = loop {
        let job = jobs.get_job(id).await.unwrap();
        if job.status.is_terminal() {
            break job;
        }
        sleep(LOOK_PAUSE).await;
    };
    let counts = job.statistics.clone().unwrap_or_default();
    assert_eq!(job.status, JobStatus::Completed, "{job:?}");
    assert_eq!(
        (counts.succeeded_count, counts.failed_count),
        (DEVICES as u64, 0)
    );
}

fn window() -> ScheduleOptions {
    ScheduleOptions {
        window: Some(WITHIN),
        ..ScheduleOptions::default()
    }
}

/// Devices of the hub, all online over TLS.
async fn fleet(options: &HubOptions, client: &HubClient) -> Fleet {
    let address = std::net::SocketAddr::new(ADDRESS, options.mqtts_port);
    let ca = options.ca_pem().unwrap();
    let target = FleetTarget::tls(&*options.host_name, address, &ca).unwrap();
    let mut fleet = Fleet::new(target, FleetOptions::default());
    let specs: Vec<_> = (0..DEVICES)
        .map(|number| DeviceSpec {
            id: format!("door-{number:03}"),
            key: new_key(),
            behaviour: Behaviour::default(),
        })
        .collect();
    let devices: Vec<Device> = specs.iter().map(DeviceSpec::identity).collect();
    let created = client.registry().create_devices(&devices).await.unwrap();
    assert!(created.is_all_done(), "{:?}", created.refused);
    specs.into_iter().for_each(|spec| fleet.add(spec));
    fleet.start_all();
    fleet.wait_online(DEVICES).await;
    fleet
}

async fn target(options: &HubOptions) -> HostileTarget {
    let text = options.connection_string("iothubowner").await.unwrap();
    let string = ConnectionString::parse(&text).unwrap();
    let grant = SasGrant {
        resource: &options.host_name,
        key: string.key.as_ref().unwrap().expose(),
        policy: string.policy.as_deref(),
        expiry: 4_000_000_000,
    };
    let named = ("door-001".to_owned(), "followed".to_owned());
    HostileTarget::new(options, sign(&grant).unwrap(), named, SOURCES.into()).unwrap()
}

/// Looks at the hub's metrics until they are as wished; asking is part of what must work.
async fn until(client: &HubClient, wished: impl Fn(&str) -> bool) {
    while !wished(&client.metrics().await.unwrap()) {
        sleep(LOOK_PAUSE).await;
    }
}

fn strangers(metrics: &str) -> f64 {
    ["https", "mqtt"]
        .map(|name| {
            series(
                metrics,
                &format!("fanfare_unfinished_connections{{front_end=\"{name}\"}}"),
            )
        })
        .iter()
        .sum()
}

/// One number of the hub's metrics.
fn series(metrics: &str, name: &str) -> f64 {
    let of = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    metrics
        .lines()
        .find_map(of)
        .unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}

/// What a process holds in RAM, MiB.
#[derive(Debug)]
#[allow(dead_code, reason = "both are printed")]
struct Resident {
    now_mib: u64,
    most_mib: u64,
}

impl Resident {
    fn of(hub: &HubProcess) -> Self {
        let path = format!("/proc/{}/status", hub.pid().unwrap());
        let status = std::fs::read_to_string(path).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib: u64 = line
                .unwrap()
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .unwrap();
            kib / 1_024
        };
        Self {
            now_mib: mib("VmRSS:"),
            most_mib: mib("VmHWM:"),
        }
    }
}
