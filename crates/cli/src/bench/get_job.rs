//! `fanfare bench get-job`: what one small call costs a client, beside the Node SDK making the same call.
//!
//! Each client is a process of its own, so that its CPU and memory can be told from everybody else's, and makes
//! its calls over one client: one after another, as a script does, and many at once, as a back end with many jobs does.
//! A warm-up comes first and is not counted: connecting, signing, compiled code. What the hub costs meanwhile is its own
//! affair. All share one processor: what it costs to wake another depends on the machine and its neighbours more than
//! on the client. The clients take turns, so that a slow minute is one for all of them.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use fanfare_client::{
    BulkItem, ClientOptions, Credential, Device, HubClient, JobClient, Trust, TwinPatch,
};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::relay::Http1Relay;
use super::{LOOK_PAUSE, READY_WITHIN};
use crate::hub_process::{HubOptions, HubProcess, free_port};

/// The only port that the Node SDK speaks to.
const NODES_PORT: u16 = 443;
/// What the goal is: the Node SDK's CPU per call, divided by ours.
const RATIO_WANTED: f64 = 5.0;

#[derive(Debug, Args)]
pub(super) struct GetJobArgs {
    /// Calls that are counted, of each client.
    #[arg(long, default_value_t = 10_000)]
    calls: usize,
    /// Calls before those.
    #[arg(long, default_value_t = 1_000)]
    warm_up: usize,
    /// How often each client is run.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many calls are under way at once; each number is measured.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32], value_parser = at_least_one)]
    in_flight: Vec<usize>,
    /// The folder of the Node SDK's script with its packages installed; without it ours is measured alone.
    #[arg(long, value_name = "DIR")]
    node: Option<PathBuf>,
    /// Loopback address of the hub, which listens on 443 there when the Node SDK is measured.
    #[arg(long, default_value = "127.0.0.61")]
    bind: IpAddr,
    /// One JSON object a run in place of text.
    #[arg(long)]
    json: bool,
}

/// What the child process is told.
#[derive(Debug, Args)]
pub(super) struct CallsArgs {
    job: String,
    #[arg(long)]
    calls: usize,
    #[arg(long)]
    warm_up: usize,
    #[arg(long, value_parser = at_least_one)]
    in_flight: usize,
    #[arg(long)]
    endpoint: String,
    #[arg(long)]
    ca: PathBuf,
    #[arg(long, value_enum)]
    runtime: Runtime,
    #[arg(long, env = "FANFARE_CONNECTION_STRING", hide = true)]
    connection_string: String,
}

/// Which of tokio's runtimes the client runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// What `#[tokio::main]` gives.
    Threads,
    /// One thread for everything.
    OneThread,
}

/// What calls have cost the process that made them; the Node script prints the same.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cost {
    calls: usize,
    seconds: f64,
    /// User and system.
    cpu_seconds: f64,
    resident_kib: u64,
}

/// A client under measurement.
struct Contender {
    name: &'static str,
    speaks: Speaks,
}

enum Speaks {
    /// Whatever it chooses where both are offered: calls alone over HTTP/1.1, calls at once over HTTP/2.
    Both(Runtime),
    Http1(Runtime),
    Node,
}

const OURS: [Contender; 4] = [
    Contender {
        name: "fanfare-client",
        speaks: Speaks::Both(Runtime::Threads),
    },
    Contender {
        name: "fanfare-client, hub without HTTP/2",
        speaks: Speaks::Http1(Runtime::Threads),
    },
    Contender {
        name: "fanfare-client, one thread",
        speaks: Speaks::Both(Runtime::OneThread),
    },
    Contender {
        name: "fanfare-client, one thread, hub without HTTP/2",
        speaks: Speaks::Http1(Runtime::OneThread),
    },
];
const NODE: Contender = Contender {
    name: "azure-iothub for Node",
    speaks: Speaks::Node,
};

/// Runs `fanfare bench get-job`.
///
/// # Errors
/// When the hub or a client does not start, or a call fails.
pub(super) async fn run(args: GetJobArgs) -> anyhow::Result<()> {
    stay_on_one_processor()?;
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-bench-")
        .tempdir()?;
    let https_port = match args.node {
        Some(_) => NODES_PORT,
        None => free_port(args.bind)?,
    };
    let options = HubOptions {
        program: std::env::current_exe()?,
        data_dir: scratch.path().join("data"),
        log_file: scratch.path().join("serve.log"),
        bind: args.bind,
        host_name: args.bind.to_string(),
        https_port,
        mqtts_port: free_port(args.bind)?,
        mqtt_plain_port: None,
    };
    let hub = HubProcess::start(options, READY_WITHIN).await?;
    let done = compare(&args, hub.options()).await;
    let ended = hub.terminate().await;
    done?;
    ensure!(ended?.success(), "the hub did not end well");
    Ok(())
}

async fn compare(args: &GetJobArgs, hub: &HubOptions) -> anyhow::Result<()> {
    let job = finished_job(&hub.client("iothubowner").await?).await?;
    let relay = Http1Relay::start(hub).await?;
    let scene = Scene {
        args,
        hub,
        job,
        relay: relay.address(),
        connection_string: hub.connection_string("service").await?,
    };
    for &in_flight in &args.in_flight {
        if !args.json {
            println!("{in_flight} under way at once");
        }
        let costs = scene.measure_all(in_flight).await?;
        if args.node.is_some() && !args.json {
            print_ratios(&costs);
        }
    }
    drop(relay);
    Ok(())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a whole number from 1".to_owned()),
    }
}

/// A job that has ended, with a document as jobs have it.
async fn finished_job(client: &HubClient) -> anyhow::Result<String> {
    let device = BulkItem::from(Device::new("bench-door")).tags(json!({"building": "43"}));
    let made = client.registry().bulk(&[device]).await?;
    ensure!(made.is_all_done(), "the device was refused");
    let (id, patch) = ("bench-get-job", TwinPatch::desired(json!({"floor": 2})));
    let condition = "tags.building = '43'";
    let jobs = client.jobs();
    jobs.schedule_twin_update(id, condition, patch, None)
        .await?;
    while !jobs.get_job(id).await?.status.is_terminal() {
        sleep(LOOK_PAUSE).await;
    }
    Ok(id.to_owned())
}

/// Moves this process to one processor; what it begins from now on stays there.
fn stay_on_one_processor() -> anyhow::Result<()> {
    let all = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rfind(|cpu| all.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is no processor to run on")?);
    for thread in std::fs::read_dir("/proc/self/task")? {
        let id: i32 = thread?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(id), &one)?;
    }
    Ok(())
}

/// What every child is told.
struct Scene<'a> {
    args: &'a GetJobArgs,
    hub: &'a HubOptions,
    job: String,
    relay: SocketAddr,
    connection_string: String,
}

impl Scene<'_> {
    /// The round of each client with the least CPU.
    async fn measure_all(&self, in_flight: usize) -> anyhow::Result<Vec<(&'static str, Cost)>> {
        let mut best: Vec<(&'static str, Cost)> = Vec::new();
        for round in 1..=self.args.rounds {
            for contender in OURS.iter().chain(self.args.node.as_ref().map(|_| &NODE)) {
                let cost = self.measure(contender, in_flight).await?;
                self.print_cost(contender.name, in_flight, round, &cost);
                match best.iter_mut().find(|(name, _)| *name == contender.name) {
                    None => best.push((contender.name, cost)),
                    Some((_, best)) if cost.cpu_seconds < best.cpu_seconds => *best = cost,
                    Some(_) => {}
                }
            }
        }
        Ok(best)
    }

    async fn measure(&self, contender: &Contender, in_flight: usize) -> anyhow::Result<Cost> {
        let mut command = match &contender.speaks {
            Speaks::Both(runtime) => self.ours(self.hub.https_port, *runtime, in_flight),
            Speaks::Http1(runtime) => self.ours(self.relay.port(), *runtime, in_flight),
            Speaks::Node => self.nodes(in_flight)?,
        };
        command
            .env("FANFARE_CONNECTION_STRING", &self.connection_string)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = command.output().await.context(contender.name)?;
        ensure!(
            output.status.success(),
            "{}: ended with {}",
            contender.name,
            output.status
        );
        serde_json::from_slice(&output.stdout).context(contender.name)
    }

    fn ours(&self, port: u16, runtime: Runtime, in_flight: usize) -> Command {
        let runtime = runtime
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        let mut command = Command::new(&self.hub.program);
        command
            .args(["bench", "get-job-calls", &self.job])
            .args(["--calls", &self.args.calls.to_string()])
            .args(["--warm-up", &self.args.warm_up.to_string()])
            .args(["--in-flight", &in_flight.to_string()])
            .args(["--endpoint", &format!("https://{}:{port}", self.hub.bind)])
            .args(["--runtime", &runtime])
            .arg("--ca")
            .arg(self.ca());
        command
    }

    fn nodes(&self, in_flight: usize) -> anyhow::Result<Command> {
        let folder = self.args.node.as_deref();
        let folder = folder.context("the Node SDK's folder was not named")?;
        let mut command = Command::new("node");
        command
            .arg("--no-deprecation")
            .arg(folder.join("bench_get_job.js"))
            .arg(&self.job)
            .arg(self.args.calls.to_string())
            .arg(self.args.warm_up.to_string())
            .arg(in_flight.to_string())
            .env("NODE_EXTRA_CA_CERTS", self.ca());
        Ok(command)
    }

    fn ca(&self) -> OsString {
        self.hub.data_dir.join("ca.pem").into_os_string()
    }

    fn print_cost(&self, name: &str, in_flight: usize, round: usize, cost: &Cost) {
        if self.args.json {
            let line = json!({"client": name, "inFlight": in_flight, "round": round, "cost": cost});
            println!("{line}");
            return;
        }
        println!(
            "  {name}, round {round}: {:.0} calls/s, {:.1} us of CPU per call, {:.1} MiB resident",
            cost.calls as f64 / cost.seconds,
            cpu_us(cost),
            cost.resident_kib as f64 / 1024.0
        );
    }
}

/// The rounds of each client with the least CPU, beside the Node SDK's.
fn print_ratios(costs: &[(&'static str, Cost)]) {
    let Some((_, node)) = costs.iter().find(|(name, _)| *name == NODE.name) else {
        return;
    };
    for (name, cost) in costs.iter().filter(|(name, _)| *name != NODE.name) {
        let ratio = cpu_us(node) / cpu_us(cost);
        let verdict = match ratio >= RATIO_WANTED {
            true => "as wanted",
            false => "LESS THAN WANTED",
        };
        println!(
            "  {name}: 1/{ratio:.1} of the Node SDK's CPU per call, 1/{:.1} of its memory \
             (1/{RATIO_WANTED} of the CPU or less is wanted: {verdict})",
            node.resident_kib as f64 / cost.resident_kib as f64
        );
    }
}

fn cpu_us(cost: &Cost) -> f64 {
    cost.cpu_seconds * 1e6 / cost.calls as f64
}

/// Runs `fanfare bench get-job-calls`: the child that makes the calls.
///
/// # Errors
/// When a call fails.
pub(super) fn calls(args: CallsArgs) -> anyhow::Result<()> {
    let mut builder = match args.runtime {
        Runtime::Threads => tokio::runtime::Builder::new_multi_thread(),
        Runtime::OneThread => tokio::runtime::Builder::new_current_thread(),
    };
    let cost = builder
        .enable_all()
        .build()?
        .block_on(make(&Arc::new(args)))?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

async fn make(args: &Arc<CallsArgs>) -> anyhow::Result<Cost> {
    let credential = Credential::from_connection_string(&args.connection_string)?;
    let options = ClientOptions {
        trust: Trust::only_file(&args.ca)?,
        ..ClientOptions::default()
    };
    let jobs = JobClient::new(&args.endpoint, credential, options)?;
    repeat(&jobs, args, args.warm_up).await?;
    let (began, cpu_before) = (Instant::now(), cpu_seconds());
    repeat(&jobs, args, args.calls).await?;
    Ok(Cost {
        calls: args.calls,
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu_before,
        resident_kib: resident_kib().context("/proc/self/status has an unknown form")?,
    })
}

/// Makes the calls, as many at once as asked for, each of those in a task of its own, as a service does.
async fn repeat(jobs: &JobClient, args: &Arc<CallsArgs>, times: usize) -> anyhow::Result<()> {
    let left = Arc::new(AtomicUsize::new(times));
    let mut callers = JoinSet::new();
    for _ in 0..args.in_flight {
        let (jobs, args, left) = (jobs.clone(), Arc::clone(args), Arc::clone(&left));
        callers.spawn(async move {
            while left
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                let job = jobs.get_job(&args.job).await?;
                ensure!(job.job_id == args.job, "got {}", job.job_id);
            }
            Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

/// CPU time of this process with all its threads, user and system.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
