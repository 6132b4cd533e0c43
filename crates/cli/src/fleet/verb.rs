//! `fanfare fleet`: simulated devices against any hub, until Ctrl-C.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use fanfare_client::{ClientOptions, Device, HubClient, Trust};
use fanfare_wire::connection_string::ConnectionString;
use serde_json::json;
use tokio::net::lookup_host;
use tokio::time::{MissedTickBehavior, interval};

use super::spec::{Answer, AnswerQos, Behaviour, DeviceSpec, Payload};
use super::{Fleet, FleetOptions, FleetTarget};
use crate::stop_signal::StopSignal;

/// Pause between two lines of statistics.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `fanfare fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Connection string of a policy that may read and write the registry.
    #[arg(long, env = "FANFARE_CONNECTION_STRING", hide_env_values = true)]
    connection_string: String,
    /// The CA to trust, a PEM file such as `fanfare-data/ca.pem`; the system's otherwise.
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// HTTPS port of the hub.
    #[arg(long, default_value_t = 443)]
    https_port: u16,
    /// MQTT port of the hub.
    #[arg(long, default_value_t = 8883)]
    mqtts_port: u16,
    /// Unencrypted MQTT port of the hub; used in place of TLS when given.
    #[arg(long)]
    mqtt_plain_port: Option<u16>,
    /// Number of devices.
    #[arg(long, default_value_t = 100)]
    count: u32,
    /// Start of every device id; a number follows.
    #[arg(long, default_value = "fleet-")]
    prefix: String,
    /// Fail when a device does not exist, in place of creating it.
    #[arg(long)]
    no_create: bool,
    /// Longest time a device takes to answer a call, milliseconds.
    #[arg(long, default_value_t = 0)]
    answer_ms_max: u64,
    /// Quality of service of answers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One JSON object a second in place of text.
    #[arg(long)]
    json: bool,
}

/// Runs `fanfare fleet` until Ctrl-C.
///
/// # Errors
/// When the hub cannot be reached, refuses, or a device does not exist and may not be created.
pub fn run(args: FleetArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run_until_stopped(args))
}

async fn run_until_stopped(args: FleetArgs) -> anyhow::Result<()> {
    let host = ConnectionString::parse(&args.connection_string)?.host_name;
    let hub = hub_client(&args)?;
    let specs = devices(&args, &hub).await?;
    let options = FleetOptions {
        seed: args.seed,
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::new(target(&args, &host).await?, options);
    for spec in specs {
        fleet.add(spec);
    }
    fleet.start_all();
    let mut stop = StopSignal::new()?;
    let mut tick = interval(REPORT_PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.heard() => break,
            _ = tick.tick() => report(&fleet, args.json)?,
        }
    }
    fleet.stop_all().await;
    report(&fleet, args.json)
}

fn report(fleet: &Fleet, json: bool) -> anyhow::Result<()> {
    let stats = fleet.stats();
    if json {
        println!("{}", serde_json::to_string(&stats)?);
    } else {
        println!(
            "{} online, {} connects, {} refused, {} calls, {} answers ({} again, {} acknowledged), {} desired patches, {} faults",
            stats.online,
            stats.connects,
            stats.refused,
            stats.calls,
            stats.answers,
            stats.answers_again,
            stats.acknowledged,
            stats.desired,
            stats.faults
        );
    }
    Ok(())
}

fn hub_client(args: &FleetArgs) -> anyhow::Result<HubClient> {
    let trust = match &args.ca_file {
        Some(path) => Trust::SystemAnd(
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        ),
        None => Trust::System,
    };
    let options = ClientOptions {
        trust,
        port: Some(args.https_port),
        ..ClientOptions::default()
    };
    Ok(HubClient::from_connection_string(
        &args.connection_string,
        options,
    )?)
}

async fn target(args: &FleetArgs, host: &str) -> anyhow::Result<FleetTarget> {
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    if let Some(port) = args.mqtt_plain_port {
        return Ok(FleetTarget::plain(host, resolve(bare, port).await?));
    }
    let address = resolve(bare, args.mqtts_port).await?;
    match &args.ca_file {
        Some(path) => FleetTarget::tls(host, address, &std::fs::read(path)?),
        None => FleetTarget::tls_with_system_roots(host, address),
    }
}

/// The host's address, IPv4 before IPv6: hubs listen on 127.0.0.1 unless told otherwise.
async fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    let mut found: Vec<SocketAddr> = lookup_host((host, port))
        .await
        .with_context(|| format!("cannot find {host}"))?
        .collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found
        .first()
        .copied()
        .with_context(|| format!("{host} has no address"))
}

/// The devices with their keys: new ones get keys of ours, the hub is asked for those of the others.
async fn devices(args: &FleetArgs, hub: &HubClient) -> anyhow::Result<Vec<DeviceSpec>> {
    let answer = Answer::Reply {
        status: 200,
        payload: Payload::Fixed(json!({"ok": true})),
        delay: Duration::ZERO..Duration::from_millis(args.answer_ms_max),
    };
    let answer_qos = if args.qos == 0 {
        AnswerQos::AtMostOnce
    } else {
        AnswerQos::AtLeastOnce
    };
    let behaviour = Behaviour {
        answer,
        answer_qos,
        ..Behaviour::default()
    };
    let mut specs: Vec<DeviceSpec> = (0..args.count)
        .map(|number| DeviceSpec {
            id: format!("{}{number:05}", args.prefix),
            key: super::new_key(),
            behaviour: behaviour.clone(),
        })
        .collect();
    let registry = hub.registry();
    let mut there_already: Vec<usize> = (0..specs.len()).collect();
    if !args.no_create {
        let new: Vec<Device> = specs.iter().map(DeviceSpec::identity).collect();
        let outcome = registry
            .create_devices(&new)
            .await
            .context("cannot create devices")?;
        for refused in &outcome.refused {
            ensure!(
                refused.code == "DeviceAlreadyExists",
                "device {refused} was refused"
            );
        }
        let places = outcome.refused.iter().filter_map(|refused| refused.index);
        there_already = places.collect();
    }
    for place in there_already {
        let spec = &mut specs[place];
        let known = registry.get_device(&spec.id).await?;
        let key = known
            .primary_key()
            .with_context(|| format!("{} has no key", spec.id))?;
        spec.key = key.expose().to_owned();
    }
    Ok(specs)
}
