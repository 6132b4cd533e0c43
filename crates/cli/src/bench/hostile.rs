//! `fanfare bench hostile`: what an attack costs those who mean well.
//!
//! The same method job runs over the same devices, first on a quiet hub, then while every kind of hostile peer is at
//! it. Peers and hub share this machine, so part of the slow-down is theirs: it is a bound, not a share.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use fanfare_client::{Device, DeviceMethod, ScheduleOptions};
use fanfare_wire::connection_string::ConnectionString;
use fanfare_wire::sas::{SasGrant, sign};
use serde::Serialize;

use super::{Bench, FleetProcess, Measurement, READY_WITHIN};
use crate::hostile::{Attack, HostileTarget, Kind};
use crate::hub_process::{HubOptions, HubProcess, free_port, raise_open_files};

/// Where hostile peers come from.
const SOURCES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 98)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99)),
];
/// How long a job may take on a hub under attack.
const WINDOW: Duration = Duration::from_secs(600);
/// When the insiders' token ends: long after.
const FAR_EXPIRY: i64 = 4_000_000_000;

#[derive(Debug, Args)]
pub(super) struct HostileArgs {
    /// Devices of the method job, all connected.
    #[arg(long, default_value_t = 500)]
    connected: usize,
    /// How often the job is run on the quiet hub, and how often under attack.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Loopback address of the hub.
    #[arg(long, default_value = "127.0.0.97")]
    bind: IpAddr,
    /// One JSON object a run in place of text.
    #[arg(long)]
    json: bool,
}

/// Both kinds of runs beside each other.
#[derive(Debug, Serialize)]
struct Comparison {
    devices: usize,
    /// Middle of the rounds on the quiet hub.
    quiet_devices_per_s: f64,
    /// Middle of the rounds under attack.
    attacked_devices_per_s: f64,
    /// How many times slower the second is.
    slow_down: f64,
    quiet_resident_mib: f64,
    attacked_resident_mib: f64,
    /// Times that hostile peers began something.
    attempts: u64,
}

pub(super) async fn run(args: HostileArgs) -> anyhow::Result<()> {
    raise_open_files()?;
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-bench-")
        .tempdir()?;
    let options = HubOptions {
        program: std::env::current_exe()?,
        data_dir: scratch.path().join("data"),
        log_file: scratch.path().join("serve.log"),
        bind: args.bind,
        host_name: args.bind.to_string(),
        https_port: free_port(args.bind)?,
        mqtts_port: free_port(args.bind)?,
        mqtt_plain_port: Some(free_port(args.bind)?),
    };
    let hub = HubProcess::start(options, READY_WITHIN).await?;
    let client = hub.options().client("iothubowner").await?;
    let bench = Bench { hub: &hub, client };
    let fleet = FleetProcess::start(hub.options(), args.connected).await?;
    let done = compare(&bench, &args).await;
    fleet.stop().await?;
    let ended = hub.terminate().await;
    print(&done?, args.json)?;
    ensure!(ended?.success(), "the hub did not end well");
    Ok(())
}

async fn compare(bench: &Bench<'_>, args: &HostileArgs) -> anyhow::Result<Comparison> {
    let quiet = rounds(bench, args, "quiet").await?;
    let quiet_resident_mib = resident_mib(bench.hub)?;
    let target = target(bench).await?;
    let attack = Attack::start(target);
    attack.in_force().await;
    let attacked = rounds(bench, args, "attacked").await;
    let attacked_resident_mib = resident_mib(bench.hub);
    let attempts = Kind::ALL.map(|kind| attack.tally(kind).begun);
    attack.stop().await;
    bench.client.jobs().cancel_job("followed").await?;
    let attacked = attacked?;
    Ok(Comparison {
        devices: args.connected,
        quiet_devices_per_s: quiet,
        attacked_devices_per_s: attacked,
        slow_down: quiet / attacked,
        quiet_resident_mib,
        attacked_resident_mib: attacked_resident_mib?,
        attempts: attempts.iter().sum(),
    })
}

/// Runs the job so many times; the middle of the rates.
async fn rounds(bench: &Bench<'_>, args: &HostileArgs, state: &'static str) -> anyhow::Result<f64> {
    let mut rates = Vec::with_capacity(args.rounds);
    for round in 1..=args.rounds {
        let id = format!("bench-{state}-{round}");
        let condition = "STARTSWITH(deviceId, 'bench-online-')";
        let window = ScheduleOptions {
            window: Some(WINDOW),
            ..ScheduleOptions::default()
        };
        let lock = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(300));
        let jobs = bench.client.jobs();
        let schedule = jobs.schedule_device_method(&id, condition, lock, window);
        let measured: Measurement = bench.measure(state, round, &id, schedule).await?;
        ensure!(
            measured.succeeded == args.connected as u64,
            "not all devices answered"
        );
        measured.print(args.json)?;
        rates.push(measured.devices_per_s);
    }
    rates.sort_by(f64::total_cmp);
    rates
        .get(rates.len() / 2)
        .copied()
        .context("there must be a round at least")
}

async fn target(bench: &Bench<'_>) -> anyhow::Result<HostileTarget> {
    let options = bench.hub.options();
    // What its insiders follow: a job for a device that never comes.
    let absent = Device::new("bench-absent");
    bench.client.registry().create_device(&absent).await?;
    let window = ScheduleOptions {
        window: Some(WINDOW),
        ..ScheduleOptions::default()
    };
    let jobs = bench.client.jobs();
    let lock = DeviceMethod::new("lockDoor");
    jobs.schedule_device_method("followed", "deviceId = 'bench-absent'", lock, window)
        .await?;
    let string = ConnectionString::parse(&options.connection_string("iothubowner").await?)?;
    let key = string.key.context("a policy has a key")?;
    let token = sign(&SasGrant {
        resource: &options.host_name,
        key: key.expose(),
        policy: string.policy.as_deref(),
        expiry: FAR_EXPIRY,
    })?;
    let named = ("bench-absent".to_owned(), "followed".to_owned());
    HostileTarget::new(options, token, named, SOURCES.into())
}

fn resident_mib(hub: &HubProcess) -> anyhow::Result<f64> {
    let pid = hub.pid().context("the hub is gone")?;
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("no {path}"))?;
    resident_kib(&status)
        .map(|kib| kib as f64 / 1_024.0)
        .with_context(|| format!("{path} has an unknown form"))
}

/// The most that a process has held in RAM, from its `/proc/PID/status`.
fn resident_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn print(comparison: &Comparison, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(comparison)?);
        return Ok(());
    }
    println!(
        "{} devices: {:.0} devices/s on a quiet hub, {:.0} under attack: {:.1} times slower; \
         {:.0} MiB at most before it, {:.0} MiB with it; {} attempts",
        comparison.devices,
        comparison.quiet_devices_per_s,
        comparison.attacked_devices_per_s,
        comparison.slow_down,
        comparison.quiet_resident_mib,
        comparison.attacked_resident_mib,
        comparison.attempts
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_a_process_held_is_read() {
        let status = "VmPeak:\t  9 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 7 kB\n";
        assert_eq!(resident_kib(status), Some(12_345));
        assert_eq!(resident_kib(""), None);
    }
}
