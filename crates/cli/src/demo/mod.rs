//! `fanfare demo`: a hub, fifty simulated devices and two jobs, from nothing to a table of outcomes.
//!
//! Everything goes the way of any user: the hub is a child process, the jobs are scheduled over HTTPS by the
//! client library, the devices are real MQTT connections over TLS.

mod plan;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use fanfare_client::{DeviceMethod, HubClient, ScheduleOptions, TwinPatch};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::plan::Door;
use self::report::Report;
use crate::diagnostic::say;
use crate::failure::Failure;
use crate::fleet::{Fleet, FleetOptions, FleetTarget};
use crate::hub_process::{HubOptions, HubProcess, choose_port};
use crate::job::follow::{Follow, Standing};
use crate::job::live::Board;
use crate::output::line;
use crate::stop_signal::StopSignal;

/// Longest wait for the hub's first start, which makes keys and certificates.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for the devices to connect.
const ONLINE_WITHIN: Duration = Duration::from_secs(20);
/// Seed of the fleet: the demo is the same each time.
const SEED: u64 = 43;

/// Arguments of `fanfare demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the hub's data here; a temporary folder otherwise.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address the hub listens on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// End when the table is printed, in place of leaving the hub up.
    #[arg(long)]
    exit: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `fanfare demo`.
///
/// # Errors
/// When the hub does not start, or anything it is asked fails.
pub(crate) fn run(args: DemoArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(perform(&args))
}

async fn perform(args: &DemoArgs) -> Result<(), Failure> {
    let mut stop = StopSignal::new()?;
    let stage = tokio::select! {
        biased;
        // The hub is killed with its handle; it has nothing to lose yet.
        () = stop.heard() => return Ok(()),
        stage = Stage::set(args) => stage?,
    };
    let mut fleet = None;
    let shown = tokio::select! {
        biased;
        () = stop.heard() => Ok(()),
        shown = stage.show(args, &mut fleet) => shown,
    };
    if let Some(mut fleet) = fleet {
        fleet.stop_all().await;
    }
    let ended = stage.hub.terminate().await;
    shown?;
    let status = ended?;
    if !status.success() {
        return Err(Failure::not_done(format!("the hub ended with {status}")));
    }
    Ok(())
}

/// The hub and what belongs to it.
struct Stage {
    hub: HubProcess,
    client: HubClient,
    /// Removed when the demo ends.
    _scratch: TempDir,
}

impl Stage {
    /// Starts the hub and waits for it.
    async fn set(args: &DemoArgs) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new().prefix("fanfare-demo-").tempdir()?;
        let https = choose_port(args.bind, 443)?;
        let mqtts = choose_port(args.bind, 8883)?;
        for reason in [&https.reason, &mqtts.reason].into_iter().flatten() {
            say(&format!("Note: {reason}."));
        }
        let loopback = args.bind == IpAddr::from([127, 0, 0, 1]);
        let options = HubOptions {
            program: std::env::current_exe()?,
            data_dir: args
                .data_dir
                .clone()
                .unwrap_or_else(|| scratch.path().join("data")),
            log_file: scratch.path().join("serve.log"),
            bind: args.bind,
            host_name: if loopback {
                "localhost".to_owned()
            } else {
                args.bind.to_string()
            },
            https_port: https.port,
            mqtts_port: mqtts.port,
            mqtt_plain_port: None,
        };
        say("Starting a hub ...");
        let hub = HubProcess::start(options, READY_WITHIN).await?;
        let client = hub.options().client("iothubowner").await?;
        Ok(Self {
            hub,
            client,
            _scratch: scratch,
        })
    }

    /// The whole demo; returns when it is over, with `--exit` as soon as the result is printed.
    async fn show(&self, args: &DemoArgs, fleet: &mut Option<Fleet>) -> Result<(), Failure> {
        let doors = plan::doors();
        register(&self.client, &doors).await?;
        *fleet = Some(connect(self.hub.options(), &doors).await?);
        let report = Box::pin(run_jobs(&self.client, &doors)).await?;
        if args.json {
            line(&serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?)?;
        } else {
            line(&report.table().to_string())?;
            for sentence in report.sentences() {
                line(&sentence)?;
            }
        }
        if args.exit {
            return Ok(());
        }
        say(&self.farewell().await?);
        std::future::pending().await
    }

    /// How to go on with the hub that stays up.
    async fn farewell(&self) -> anyhow::Result<String> {
        let options = self.hub.options();
        let string = options.connection_string("iothubowner").await?;
        let ca = absolute(&options.data_dir.join("ca.pem"))?;
        Ok(format!(
            "\nThe hub stays up until Ctrl-C: HTTPS on {}, MQTT on {}:{}.\n  {string}\n  export NODE_EXTRA_CA_CERTS={ca} REQUESTS_CA_BUNDLE={ca} SSL_CERT_FILE={ca}",
            options.endpoint(),
            options.host_name,
            options.mqtts_port
        ))
    }
}

/// Registers the doors with their tags, a hundred in a call.
async fn register(client: &HubClient, doors: &[Door]) -> anyhow::Result<()> {
    say(&format!(
        "Registering {} devices with tags ...",
        doors.len()
    ));
    let items: Vec<_> = doors.iter().map(Door::item).collect();
    let outcome = client
        .registry()
        .bulk(&items)
        .await
        .context("cannot register the devices")?;
    ensure!(
        outcome.is_all_done(),
        "devices were refused: {:?}",
        outcome.refused
    );
    Ok(())
}

/// Connects the doors that are meant to be online.
async fn connect(options: &HubOptions, doors: &[Door]) -> anyhow::Result<Fleet> {
    let address = SocketAddr::new(options.bind, options.mqtts_port);
    let target = FleetTarget::tls(&*options.host_name, address, &options.ca_pem()?)?;
    let mut fleet = Fleet::new(
        target,
        FleetOptions {
            seed: SEED,
            ..FleetOptions::default()
        },
    );
    for door in doors {
        fleet.add(door.spec.clone());
    }
    fleet.start_all();
    let online = doors.iter().filter(|door| door.spec.connects()).count();
    timeout(ONLINE_WITHIN, fleet.wait_online(online))
        .await
        .with_context(|| {
            format!(
                "only {} of {online} devices came online",
                fleet.stats().online
            )
        })?;
    say(&format!(
        "{online} of {} devices are online over MQTT with TLS.",
        doors.len()
    ));
    Ok(fleet)
}

/// Schedules both jobs, shows them until both have ended, and collects the rows.
async fn run_jobs(hub: &HubClient, doors: &[Door]) -> Result<Report, Failure> {
    let jobs = hub.jobs();
    say("Scheduling two jobs:");
    say(&format!(
        "  twin update  desired building '43', floor 3   WHERE {}",
        plan::TWIN_CONDITION
    ));
    say(&format!(
        "  lockDoor     {} s to answer                   WHERE {}",
        plan::RESPONSE_TIMEOUT.as_secs(),
        plan::METHOD_CONDITION
    ));
    let started = Instant::now();
    let (twin_id, method_id) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let patch = TwinPatch::desired(plan::desired());
    jobs.schedule_twin_update(&twin_id, plan::TWIN_CONDITION, patch, None)
        .await?;
    let lock = DeviceMethod::new("lockDoor").response_timeout(plan::RESPONSE_TIMEOUT);
    let window = ScheduleOptions {
        window: Some(plan::METHOD_WINDOW),
        ..ScheduleOptions::default()
    };
    jobs.schedule_device_method(&method_id, plan::METHOD_CONDITION, lock, window)
        .await?;

    watch_both(hub, [&twin_id, &method_id]).await?;
    let took_s = started.elapsed().as_secs_f64();
    // The watch leaves out of a job what never changes; the report has all of it.
    let ended = tokio::try_join!(jobs.get_job(&twin_id), jobs.get_job(&method_id))?;
    let rows = tokio::try_join!(
        jobs.device_jobs(&twin_id).collect(),
        jobs.device_jobs(&method_id).collect(),
    )?;
    Ok(Report::new(doors, ended, rows, took_s))
}

/// Shows both jobs as `fanfare job watch` shows one, until both have ended.
async fn watch_both(hub: &HubClient, ids: [&str; 2]) -> Result<(), Failure> {
    let seats = ["twin update", "lockDoor"].map(|name| {
        let mut standing = Standing::unknown(name);
        standing.what = match name {
            "lockDoor" => plan::METHOD_CONDITION.to_owned(),
            _ => plan::TWIN_CONDITION.to_owned(),
        };
        watch::channel(standing)
    });
    let [(twin, twin_seat), (method, method_seat)] = seats;
    let mut board = Board::new(vec![twin_seat, method_seat], false);
    let follow = |id: &str| Follow {
        hub: hub.clone(),
        job_id: id.to_owned(),
        // The hub is a child of this process: when it is gone, the demo is over.
        give_up_after: Some(Duration::ZERO),
    };
    let (twin_job, method_job) = (follow(ids[0]), follow(ids[1]));
    let ended = tokio::select! {
        biased;
        ended = async {
            tokio::try_join!(
                twin_job.to_the_end(&twin, |_| Ok(())),
                method_job.to_the_end(&method, |_| Ok(())),
            )
        } => ended.map(drop),
        () = board.run() => Ok(()),
    };
    board.finish();
    ended
}

fn absolute(path: &Path) -> anyhow::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}
