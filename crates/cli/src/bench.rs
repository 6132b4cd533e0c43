//! `fanfare bench`: measures a hub of its own on this machine.
//!
//! The hub is a child process and so are the devices that connect, so that the hub's CPU can be told from theirs:
//! it is read from the kernel's account of the hub's process, before and after.

#![allow(clippy::print_stdout, reason = "a command line prints")]

#[cfg(target_os = "linux")]
mod get_job;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod relay;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use fanfare_client::{BulkItem, Device, DeviceMethod, HubClient, Job, ScheduleOptions, TwinPatch};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::hub_process::{HubOptions, HubProcess, free_port};

/// Longest wait for the hub and for the devices.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Pause between two looks at a job; what it costs is part of the hub's CPU.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Bulk calls in flight while devices are created.
const BULK_CALLS: usize = 4;
/// Devices in one bulk call.
const BULK_DEVICES: usize = 100;
/// Name of the counter of durable commits among the hub's metrics.
const COMMITS: &str = "fanfare_store_commits_total";

/// Arguments of `fanfare bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A twin job over devices that are offline, a method job over devices that are connected.
    Jobs(JobsArgs),
    /// A method job over devices that are connected, on a quiet hub and on one under attack.
    #[cfg(target_os = "linux")]
    Hostile(hostile::HostileArgs),
    /// One small call, many times, beside the Node SDK making the same.
    #[cfg(target_os = "linux")]
    GetJob(get_job::GetJobArgs),
    /// The client under measurement of `get-job`.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    GetJobCalls(get_job::CallsArgs),
}

#[derive(Debug, Args)]
struct JobsArgs {
    /// Devices of the twin job, all offline.
    #[arg(long, default_value_t = 100_000)]
    offline: usize,
    /// Devices of the method job, all connected; a process may hold fewer than 20,000 sockets on many machines.
    #[arg(long, default_value_t = 5_000)]
    connected: usize,
    /// How often each job is run; the first run meets cold caches.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Loopback address of the hub.
    #[arg(long, default_value = "127.0.0.61")]
    bind: IpAddr,
    /// Keep the hub's data here; a temporary folder otherwise.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// One JSON object a run in place of text.
    #[arg(long)]
    json: bool,
}

/// Runs `fanfare bench`.
///
/// # Errors
/// When the hub or the devices do not start, or a job does not complete.
pub fn run(args: BenchArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new;
    match args.what {
        What::Jobs(args) => runtime()?.block_on(bench_jobs(args)),
        #[cfg(target_os = "linux")]
        What::Hostile(args) => runtime()?.block_on(hostile::run(args)),
        #[cfg(target_os = "linux")]
        What::GetJob(args) => runtime()?.block_on(get_job::run(args)),
        #[cfg(target_os = "linux")]
        What::GetJobCalls(args) => get_job::calls(args),
    }
}

/// One job, measured.
#[derive(Debug, Serialize)]
struct Measurement {
    job: &'static str,
    round: usize,
    devices: u64,
    succeeded: u64,
    /// From the request until the job was seen ended.
    seconds: f64,
    devices_per_s: f64,
    /// CPU time of the hub's process per device, user and system, microseconds.
    hub_cpu_us_per_device: f64,
    /// Durable commits a second; absent when the hub does not count them.
    commits_per_s: Option<f64>,
}

impl Measurement {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let commits = self
            .commits_per_s
            .map_or("not counted".to_owned(), |n| format!("{n:.0}"));
        println!(
            "{} job, round {}: {} of {} devices in {:.2} s, {:.0} devices/s, {:.1} us of hub CPU per device, commits/s: {commits}",
            self.job,
            self.round,
            self.succeeded,
            self.devices,
            self.seconds,
            self.devices_per_s,
            self.hub_cpu_us_per_device
        );
        Ok(())
    }
}

async fn bench_jobs(args: JobsArgs) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-bench-")
        .tempdir()?;
    let options = HubOptions {
        program: std::env::current_exe()?,
        data_dir: args
            .data_dir
            .clone()
            .unwrap_or_else(|| scratch.path().join("data")),
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
    let done = bench.run(&args).await;
    let ended = hub.terminate().await;
    done?;
    ensure!(ended?.success(), "the hub did not end well");
    Ok(())
}

/// A hub under measurement.
struct Bench<'a> {
    hub: &'a HubProcess,
    client: HubClient,
}

impl Bench<'_> {
    async fn run(&self, args: &JobsArgs) -> anyhow::Result<()> {
        if args.offline > 0 {
            self.create_offline(args.offline, args.json).await?;
            for round in 1..=args.rounds {
                let patch = TwinPatch::desired(json!({"building": "43", "floor": round}));
                let condition = "tags.bench = 'offline'";
                let id = format!("bench-twin-{round}");
                let jobs = self.client.jobs();
                let schedule = jobs.schedule_twin_update(&id, condition, patch, None);
                let measured = self.measure("twin", round, &id, schedule).await?;
                ensure!(
                    measured.succeeded == args.offline as u64,
                    "not all twins were patched"
                );
                measured.print(args.json)?;
            }
        }
        if args.connected > 0 {
            let fleet = FleetProcess::start(self.hub.options(), args.connected).await?;
            let done = self.method_rounds(args).await;
            fleet.stop().await?;
            done?;
        }
        Ok(())
    }

    async fn method_rounds(&self, args: &JobsArgs) -> anyhow::Result<()> {
        for round in 1..=args.rounds {
            let condition = "STARTSWITH(deviceId, 'bench-online-')";
            let id = format!("bench-method-{round}");
            let lock = DeviceMethod::new("lockDoor");
            let window = ScheduleOptions {
                window: Some(Duration::from_secs(120)),
                ..ScheduleOptions::default()
            };
            let jobs = self.client.jobs();
            let schedule = jobs.schedule_device_method(&id, condition, lock, window);
            let measured = self.measure("method", round, &id, schedule).await?;
            ensure!(
                measured.succeeded == args.connected as u64,
                "not all devices answered"
            );
            measured.print(args.json)?;
        }
        Ok(())
    }

    /// Creates the devices of the twin job with keys of the hub's making.
    async fn create_offline(&self, count: usize, json: bool) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut calls = JoinSet::new();
        for first in (0..count).step_by(BULK_DEVICES) {
            if calls.len() >= BULK_CALLS {
                calls.join_next().await.expect("the set is not empty")??;
            }
            let items: Vec<BulkItem> = (first..count.min(first + BULK_DEVICES))
                .map(|number| {
                    BulkItem::from(Device::new(format!("bench-offline-{number:06}")))
                        .tags(json!({"bench": "offline", "building": "43"}))
                })
                .collect();
            let registry = self.client.registry();
            calls.spawn(async move {
                let outcome = registry.bulk(&items).await?;
                ensure!(
                    outcome.is_all_done(),
                    "devices were refused: {:?}",
                    outcome.refused
                );
                Ok(())
            });
        }
        while let Some(call) = calls.join_next().await {
            call??;
        }
        if !json {
            let seconds = started.elapsed().as_secs_f64();
            println!(
                "{count} devices created, {:.0} a second",
                count as f64 / seconds
            );
        }
        Ok(())
    }

    /// Schedules a job, waits for its end, and accounts for it.
    async fn measure(
        &self,
        job: &'static str,
        round: usize,
        id: &str,
        schedule: impl Future<Output = Result<Job, fanfare_client::Error>>,
    ) -> anyhow::Result<Measurement> {
        let pid = self.hub.pid().context("the hub is gone")?;
        let commits_before = self.commits().await;
        let cpu_before = cpu_seconds(pid)?;
        let started = Instant::now();
        schedule.await?;
        let ended = loop {
            let now = self.client.jobs().get_job(id).await?;
            if now.status.is_terminal() {
                break now;
            }
            sleep(LOOK_PAUSE).await;
        };
        let seconds = started.elapsed().as_secs_f64();
        let cpu = cpu_seconds(pid)? - cpu_before;
        let commits = self
            .commits()
            .await
            .zip(commits_before)
            .map(|(now, then)| now - then);
        let counts = ended.statistics.unwrap_or_default();
        let devices = counts.device_count as f64;
        Ok(Measurement {
            job,
            round,
            devices: counts.device_count,
            succeeded: counts.succeeded_count,
            seconds,
            devices_per_s: devices / seconds,
            hub_cpu_us_per_device: cpu * 1e6 / devices.max(1.0),
            commits_per_s: commits.map(|commits| commits / seconds),
        })
    }

    /// Durable commits so far; `None` when the hub does not say.
    async fn commits(&self) -> Option<f64> {
        metric(&self.client.metrics().await.ok()?, COMMITS)
    }
}

/// The sum of all series of one metric in Prometheus' text form; `None` when there is none.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{'])
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        })
        .reduce(|sum, value| sum + value)
}

/// CPU time a process has used, user and system, seconds. Resolution: the kernel's tick, mostly 10 ms.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(Path::new(&path)).with_context(|| format!("no {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has an unknown form"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 14 and 15 of `/proc/PID/stat`. The name in field 2 may hold spaces, so counting starts after it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// `fanfare fleet` as a child.
struct FleetProcess {
    child: Child,
}

impl FleetProcess {
    /// Starts the fleet and waits until all its devices are online.
    async fn start(hub: &HubOptions, count: usize) -> anyhow::Result<Self> {
        let string = hub.connection_string("iothubowner").await?;
        let plain = hub
            .mqtt_plain_port
            .context("the hub has no plain MQTT port")?;
        let mut child = Command::new(&hub.program)
            .args(["fleet", "--json", "--prefix", "bench-online-"])
            .args(["--count", &count.to_string()])
            .args(["--https-port", &hub.https_port.to_string()])
            .args(["--mqtt-plain-port", &plain.to_string()])
            .arg("--ca-file")
            .arg(hub.data_dir.join("ca.pem"))
            .env("FANFARE_CONNECTION_STRING", string)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run fanfare fleet")?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        timeout(READY_WITHIN, Self::wait_online(&mut lines, count))
            .await
            .context("the devices did not come online in time")??;
        // Its lines are read to the end, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child })
    }

    async fn wait_online(
        lines: &mut Lines<BufReader<ChildStdout>>,
        count: usize,
    ) -> anyhow::Result<()> {
        while let Some(line) = lines.next_line().await? {
            let stats: Value = serde_json::from_str(&line)?;
            if stats["online"].as_u64() >= Some(count as u64) {
                return Ok(());
            }
        }
        anyhow::bail!("fanfare fleet ended before its devices were online")
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces() {
        let stat = "17 (a b) c) S 1 17 17 0 -1 4194560 100 0 0 0 250 40 0 0 20 0 3 0 99 1 1";
        assert_eq!(cpu_ticks(stat), Some(290));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn a_metric_is_the_sum_of_its_series() {
        let text = "# TYPE fanfare_store_commits_total counter\n\
            fanfare_store_commits_total{lane=\"jobs\"} 40\nfanfare_store_commits_total{lane=\"other\"} 2\n\
            fanfare_store_commits_total_bytes 7\n";
        assert_eq!(metric(text, COMMITS), Some(42.0));
        assert_eq!(
            metric("fanfare_store_commits_total 5\n", COMMITS),
            Some(5.0)
        );
        assert_eq!(metric("", COMMITS), None);
    }
}
