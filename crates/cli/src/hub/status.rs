//! `fanfare hub status`: whether a hub answers, what the credential may do, and what is going on there.
//!
//! Only reads. What a right opens is seen by asking for something that needs it, since the contract has no call that
//! tells; the right to write is therefore not known.

use std::time::Duration;

use clap::Args;
use fanfare_client::{DeviceStatistics, Error, HubClient, JobStatus, ServiceStatistics};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Addressed, HubArgs, Source, addressed};
use crate::failure::Failure;
use crate::output::{self, Column, OutputArgs, Tone};

/// Arguments of `fanfare hub status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// A hub that has a name, in place of the one in use.
    #[arg(value_name = "NAME", conflicts_with = "which_hub")]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare hub status
  fanfare hub status plant -o json
  fanfare hub status --data-dir ./fanfare-data --policy service";

/// Looks at the hub and shows it.
pub(crate) async fn run(args: &StatusArgs) -> Result<(), Failure> {
    let chosen = match &args.name {
        Some(name) => args.hub.chosen_as(name)?,
        None => args.hub.chosen()?,
    };
    let client = args.hub.probe_of(&chosen)?;
    let seen = Rights::seen(&client).await?;
    let mut value = seen.described();
    if let (Some(hub), Some(members)) = (addressed(), value.as_object_mut()) {
        members.extend(described(hub));
    }
    value["jobs"] = json!({
        "running": jobs(&client, &[JobStatus::Running]).await,
        "waiting": jobs(&client, &[JobStatus::Scheduled, JobStatus::Queued, JobStatus::Enqueued]).await,
    });
    // Hubs other than ours have none.
    value["profile"] = client
        .profile()
        .await
        .map_or(Value::Null, |profile| json!(profile));
    let mut columns = columns();
    if value["name"].is_null() {
        columns[0] = Column::new("name").only_csv();
    }
    if value["accessTokenFrom"].is_string() {
        columns.push(Column::new("accessTokenFrom").titled("token of"));
    }
    output::show_one(&args.output, columns, &value)
}

/// What a credential turned out to be allowed, and what was seen by the way.
pub(super) struct Rights {
    devices: Option<DeviceStatistics>,
    service: Option<ServiceStatistics>,
    /// Of the later call, which needs no new connection.
    latency: Duration,
}

impl Rights {
    /// Asks for one thing that each right opens.
    ///
    /// # Errors
    /// When the hub does not answer, or the credential opens neither.
    pub(super) async fn seen(client: &HubClient) -> Result<Self, Failure> {
        let registry = client.registry();
        let devices = registry.device_statistics().await;
        if let Err(error) = &devices
            && error.status() != Some(401)
        {
            return Err(devices.map(drop).expect_err("it is an error").into());
        }
        let begun = Instant::now();
        let service = registry.service_statistics().await;
        let latency = begun.elapsed();
        match (devices, service) {
            (Err(error), Err(_)) => Err(error.into()),
            (devices, service) => Ok(Self {
                devices: allowed(devices)?,
                service: allowed(service)?,
                latency,
            }),
        }
    }

    fn described(&self) -> Value {
        let rights = [
            ("registryRead", self.devices.is_some()),
            ("serviceConnect", self.service.is_some()),
        ];
        let rights: Vec<&str> = rights
            .iter()
            .filter(|(_, has)| *has)
            .map(|(name, _)| *name)
            .collect();
        let devices = self.devices.as_ref();
        json!({
            "reachable": true,
            "latencyMs": self.latency.as_micros() as f64 / 1_000.0,
            "rights": rights,
            "devices": {
                "total": devices.map(|devices| devices.total_device_count),
                "enabled": devices.map(|devices| devices.enabled_device_count),
                "disabled": devices.map(|devices| devices.disabled_device_count),
                "connected": self.service.as_ref().map(|service| service.connected_device_count),
            },
        })
    }
}

/// `None` is a right that the credential has not.
fn allowed<T>(seen: Result<T, Error>) -> Result<Option<T>, Error> {
    match seen {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if error.status() == Some(401) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many jobs have one of these states; `None` when that may not be asked.
async fn jobs(client: &HubClient, states: &[JobStatus]) -> Option<usize> {
    let mut count = 0;
    for state in states {
        let mut pages = client.jobs().query_jobs(None, Some(state.clone())).pages();
        while let Some(page) = pages.try_next().await.ok()? {
            count += page.items.len();
        }
    }
    Some(count)
}

fn described(hub: &Addressed) -> impl Iterator<Item = (String, Value)> {
    let (name, by) = match &hub.source {
        Source::Named(name, by) => (Some(name.as_str()), (*by).to_owned()),
        other => (None, other.words()),
    };
    let trust = if hub.has_ca { "own CA" } else { "system" };
    [
        ("name", json!(name)),
        ("chosenBy", json!(by)),
        ("endpoint", json!(hub.endpoint)),
        ("policy", json!(hub.policy)),
        ("accessTokenFrom", json!(hub.token)),
        ("trust", json!(trust)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("name").titled("hub"),
        Column::new("chosenBy").titled("chosen by"),
        Column::new("endpoint"),
        Column::new("reachable")
            .toned(|_| Tone::Good)
            .shown(|_| "yes".to_owned()),
        Column::new("latencyMs").titled("latency").shown(|value| {
            value
                .as_f64()
                .map_or_else(String::new, |ms| format!("{ms:.1} ms"))
        }),
        Column::new("trust").shown(|value| match value.as_str() {
            Some("own CA") => "the CA that was given, and no other".to_owned(),
            _ => "the authorities of this system".to_owned(),
        }),
        Column::new("policy"),
        Column::new("rights").titled("may").shown(rights),
        Column::new("profile").shown(profile).only_table(),
        Column::new("devices").shown(devices).only_table(),
        Column::new("jobs").shown(job_counts).only_table(),
        Column::new("profile").at("/profile/profile").only_csv(),
        Column::new("devicesTotal").at("/devices/total").only_csv(),
        Column::new("devicesDisabled")
            .at("/devices/disabled")
            .only_csv(),
        Column::new("devicesConnected")
            .at("/devices/connected")
            .only_csv(),
        Column::new("jobsRunning").at("/jobs/running").only_csv(),
        Column::new("jobsWaiting").at("/jobs/waiting").only_csv(),
    ]
}

fn rights(value: &Value) -> String {
    let has = |right: &str| {
        value
            .as_array()
            .is_some_and(|rights| rights.iter().any(|r| r == right))
    };
    match (has("registryRead"), has("serviceConnect")) {
        (true, true) => "read the registry, use twins, methods, queries and jobs".to_owned(),
        (true, false) => {
            "read the registry and jobs; not use twins, methods and queries".to_owned()
        }
        (false, _) => "use twins, methods, queries and jobs; not read the registry".to_owned(),
    }
}

/// The tier, and the limits that people meet.
fn profile(value: &Value) -> String {
    let Some(name) = value["profile"].as_str() else {
        return String::new();
    };
    let limit = |member: &str, what: &str| {
        let number = value[member].as_u64();
        number.map(|number| format!("{number} {what}"))
    };
    let limits: Vec<String> = [
        limit("jobsAtOnce", "jobs at once"),
        limit(
            "jobDeviceOperationsPerSecond",
            "device operations of jobs a second",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    match (limits.is_empty(), value["units"].as_u64()) {
        (true, _) => name.to_owned(),
        (false, units) => format!("{name} x {}: {}", units.unwrap_or(1), limits.join(", ")),
    }
}

fn devices(value: &Value) -> String {
    let number = |name: &str| value[name].as_u64();
    let total = number("total").map(|total| format!("{total} registered"));
    let disabled = number("disabled")
        .filter(|n| *n > 0)
        .map(|n| format!("{n} disabled"));
    let connected = number("connected").map(|connected| format!("{connected} connected"));
    let parts: Vec<String> = [total, disabled, connected].into_iter().flatten().collect();
    parts.join(", ")
}

fn job_counts(value: &Value) -> String {
    match (value["running"].as_u64(), value["waiting"].as_u64()) {
        (Some(running), Some(waiting)) => format!("{running} running, {waiting} waiting"),
        _ => String::new(),
    }
}
