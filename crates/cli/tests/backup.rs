//! A backup taken from a running hub, half-way through a job, is a hub that goes on from there.
//!
//! The hub under test is a process of its own; it is backed up and restored with the commands an operator
//! uses, killed in between, and its devices never learn that they talk to a restored one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use fanfare_cli::fleet::{Behaviour, DeviceSpec, Fleet, FleetOptions, FleetTarget, new_key};
use fanfare_cli::hub_process::{HubOptions, HubProcess, free_port};
use fanfare_client::{DeviceMethod, HubClient, Job, JobStatus, ScheduleOptions};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 76));
/// Nothing here takes this long; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a job.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const JOB: &str = "half-way";
/// There from the start, from after the backup on, and only at the restored hub.
const EARLY: std::ops::Range<usize> = 0..20;
const LOST: std::ops::Range<usize> = 20..25;
const LATE: std::ops::Range<usize> = 25..30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_restored_from_a_hot_backup_goes_on_with_a_job() {
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-backup-")
        .tempdir()
        .unwrap();
    let mut scene = Scene::set_up(scratch.path()).await;
    scene.start(EARLY).await;
    let method = DeviceMethod::new("lock").payload(json!({"by": "test"}));
    let jobs = scene.client.jobs();
    let window = ScheduleOptions {
        window: Some(Duration::from_secs(600)),
        ..ScheduleOptions::default()
    };
    jobs.schedule_device_method(JOB, "*", method, Some(window))
        .await
        .unwrap();
    scene.until_succeeded(EARLY.len()).await;
    patch(&scene.client, "before").await;

    let backup = scratch.path().join("backup");
    let printed = scene.back_up_under_load(&backup).await;
    assert_eq!(printed["files"], 6, "{printed}");

    // What the backup does not know: five more outcomes and a patch, then the machine is gone.
    scene.start(LOST).await;
    scene.until_succeeded(LOST.end).await;
    scene.check_counts(LOST.end).await;
    patch(&scene.client, "after").await;
    scene.hub.take().unwrap().kill().await.unwrap();
    // A dead hub's folder can be backed up too; its newest commits are in the log.
    let dead = scene.back_up(&scratch.path().join("dead")).await;
    assert_eq!(dead["files"], 6, "{dead}");

    let folder = scratch.path().join("restored");
    let restored = scene.restore(&backup, &folder).await;
    assert!(restored["term"].as_u64().unwrap() > printed["term"].as_u64().unwrap());
    let audit = std::fs::read_to_string(folder.join("audit/audit.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&audit).unwrap();
    assert_eq!(
        (&line["operation"], &line["detail"]["asOf"]),
        (&json!("hub.restore"), &printed["created"])
    );
    scene.go_on_in(folder).await;

    let twin = scene.client.twins().get(id_of(0)).await.unwrap();
    assert_eq!(twin.tags["mark"], "before");
    let job = scene.look().await;
    assert_eq!(job.status, JobStatus::Running);
    scene.start(LATE).await;
    let job = scene.until_succeeded(LATE.end).await;
    assert_eq!(job.status, JobStatus::Completed, "{job:?}");
    scene.check_counts(LOST.len() + LATE.len()).await;
    scene.check_rows().await;
    scene.check_calls();
    scene.end().await;
}

#[tokio::test]
async fn commands_refuse_what_would_do_harm() {
    let scratch = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(options(scratch.path()), PATIENCE)
        .await
        .unwrap();
    let data = hub.options().data_dir.clone();
    let backup = scratch.path().join("backup");
    let made = fanfare(&["backup", "--data-dir"], &[&data], &["--to"], &[&backup]).await;
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.contains("It holds keys"), "{text}");
    for (refused, said) in [
        (
            fanfare(&["backup", "--data-dir"], &[&data], &["--to"], &[&backup]).await,
            "exists already",
        ),
        (
            fanfare(
                &["restore", "--from"],
                &[&backup],
                &["--data-dir"],
                &[&data],
            )
            .await,
            "not empty",
        ),
        (
            fanfare(
                &["restore", "--from"],
                &[&data],
                &["--data-dir"],
                &[&scratch.path().join("x")],
            )
            .await,
            "manifest.json",
        ),
    ] {
        assert!(!refused.status.success(), "{refused:?}");
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(error.contains(said), "{error}");
    }
    assert!(hub.terminate().await.unwrap().success());
}

/// The hub, its devices and a client.
struct Scene {
    options: HubOptions,
    hub: Option<HubProcess>,
    client: HubClient,
    fleet: Fleet,
    online: usize,
}

impl Scene {
    async fn set_up(scratch: &Path) -> Self {
        let options = options(scratch);
        let hub = HubProcess::start(options.clone(), PATIENCE).await.unwrap();
        let client = options.client("iothubowner").await.unwrap();
        let target = FleetTarget::plain(&*options.host_name, options.mqtt_plain().unwrap());
        let backoff = Duration::from_millis(20)..Duration::from_millis(200);
        let fleet_options = FleetOptions {
            backoff,
            ..FleetOptions::default()
        };
        let mut fleet = Fleet::new(target, fleet_options);
        let specs: Vec<_> = (0..LATE.end).map(spec).collect();
        let new: Vec<_> = specs.iter().map(DeviceSpec::identity).collect();
        let outcome = client.registry().create_devices(&new).await.unwrap();
        assert!(outcome.is_all_done(), "{:?}", outcome.refused);
        specs.into_iter().for_each(|spec| fleet.add(spec));
        Self {
            options,
            hub: Some(hub),
            client,
            fleet,
            online: 0,
        }
    }

    async fn start(&mut self, devices: std::ops::Range<usize>) {
        self.online += devices.len();
        devices.for_each(|number| self.fleet.start(&id_of(number)));
        self.wait_online().await;
    }

    async fn wait_online(&self) {
        timeout(PATIENCE, self.fleet.wait_online(self.online))
            .await
            .expect("the devices come online");
    }

    /// The job; its counts add up at every look.
    async fn look(&self) -> Job {
        let job = self.client.jobs().get_job(JOB).await.unwrap();
        if let Some(counts) = &job.statistics {
            let parts = [
                counts.succeeded_count,
                counts.failed_count,
                counts.running_count,
                counts.pending_count,
            ];
            assert_eq!(parts.iter().sum::<u64>(), counts.device_count, "{job:?}");
        }
        job
    }

    async fn until_succeeded(&self, devices: usize) -> Job {
        let look = async {
            loop {
                let job = self.look().await;
                if job
                    .statistics
                    .as_ref()
                    .is_some_and(|counts| counts.succeeded_count == devices as u64)
                {
                    return job;
                }
                sleep(LOOK_PAUSE).await;
            }
        };
        timeout(PATIENCE, look).await.expect("devices answer")
    }

    /// Takes the backup while twins are being patched as fast as one caller can.
    async fn back_up_under_load(&self, to: &Path) -> Value {
        let (stop, stopped) = watch::channel(false);
        let twins = self.options.client("service").await.unwrap().twins();
        let load = tokio::spawn(async move {
            let mut patches = 0;
            while !*stopped.borrow() {
                let change = json!({"tags": {"load": patches}});
                twins.patch(id_of(1), &change, None).await.unwrap();
                patches += 1;
            }
            patches
        });
        let made = self.back_up(to).await;
        stop.send_replace(true);
        let patches = timeout(PATIENCE, load).await.unwrap().unwrap();
        assert!(patches > 0, "no write went on beside the backup");
        made
    }

    async fn back_up(&self, to: &Path) -> Value {
        let made = fanfare(
            &["backup", "--output", "json", "--data-dir"],
            &[&self.options.data_dir],
            &["--to"],
            &[to],
        )
        .await;
        printed(&made)
    }

    async fn restore(&self, from: &Path, to: &Path) -> Value {
        let done = fanfare(
            &["restore", "--output", "json", "--from"],
            &[from],
            &["--data-dir"],
            &[to],
        )
        .await;
        printed(&done)
    }

    /// Starts a hub on another folder, under the same names and ports.
    async fn go_on_in(&mut self, folder: PathBuf) {
        self.options.data_dir = folder;
        let hub = HubProcess::start(self.options.clone(), PATIENCE)
            .await
            .unwrap();
        self.hub = Some(hub);
        self.wait_online().await;
    }

    /// The hub's metrics tell of the devices that are there and of those that answered since its start.
    async fn check_counts(&self, answered: usize) {
        let text = self.client.metrics().await.unwrap();
        let value = |series: &str| -> usize {
            let line = text.lines().find_map(|line| line.strip_prefix(series));
            let value = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
            value.trim().parse().unwrap()
        };
        let ended = "fanfare_device_jobs_ended_total{outcome=\"answered\"}";
        assert_eq!(value(ended), answered);
        assert_eq!(value("fanfare_settle_batch_outcomes_sum"), answered);
        assert_eq!(value("fanfare_dispatch_batch_calls_sum"), answered);
        assert_eq!(value("fanfare_calls_in_flight{origin=\"job\"}"), 0);
        let connected = "fanfare_identities_connected{space=\"devices\"}";
        assert_eq!(value(connected), self.online);
        assert_eq!(
            value("fanfare_connections{front_end=\"mqtt\"}"),
            self.online
        );
        assert!(value("fanfare_mqtt_sign_ins_total{result=\"accepted\"}") >= self.online);
        // Each call is one packet to its device and one answer.
        for direction in ["in", "out"] {
            let packets = format!("fanfare_mqtt_packets_total{{direction=\"{direction}\"}}");
            assert!(value(&packets) >= answered + self.online);
            let bytes = format!("fanfare_mqtt_bytes_total{{direction=\"{direction}\"}}");
            assert!(value(&bytes) > value(&packets));
        }
    }

    async fn check_rows(&self) {
        let rows = self.client.jobs().device_jobs(JOB).collect().await.unwrap();
        let devices: BTreeSet<_> = rows.iter().map(|row| row.device_id.clone()).collect();
        assert_eq!((rows.len(), devices.len()), (LATE.end, LATE.end));
        for row in rows {
            // The devices answer with who they are and which call it was.
            let (status, payload) = row.answer().unwrap_or_else(|| panic!("{row:?}"));
            let log = self.fleet.log(&row.device_id).unwrap();
            let last = log.calls.last().unwrap();
            let answered = json!({"device": row.device_id, "rid": &*last.rid});
            assert_eq!((status, payload), (200, &answered), "{row:?}");
        }
    }

    /// Who was called by the lost hub only is called again, under an id the lost hub never used.
    fn check_calls(&self) {
        let mut seen = BTreeSet::new();
        for number in 0..LATE.end {
            let log = self.fleet.log(&id_of(number)).unwrap();
            let calls = if LOST.contains(&number) { 2 } else { 1 };
            assert_eq!(log.calls.len(), calls, "device {number}: {:?}", log.calls);
            for call in &log.calls {
                assert!(seen.insert(call.rid.clone()), "{} was used twice", call.rid);
            }
            let terms: Vec<_> = log.calls.iter().map(|call| term_of(&call.rid)).collect();
            match calls {
                2 => assert!(terms[0] + 1_000 < terms[1], "device {number}: {terms:?}"),
                _ => assert_eq!(terms[0] == 1, EARLY.contains(&number), "device {number}"),
            }
        }
    }

    async fn end(mut self) {
        self.fleet.stop_all().await;
        let hub = self.hub.take().unwrap();
        assert!(hub.terminate().await.unwrap().success());
    }
}

fn options(scratch: &Path) -> HubOptions {
    HubOptions {
        program: program(),
        data_dir: scratch.join("data"),
        log_file: scratch.join("serve.log"),
        bind: ADDRESS,
        host_name: ADDRESS.to_string(),
        https_port: free_port(ADDRESS).unwrap(),
        mqtts_port: free_port(ADDRESS).unwrap(),
        mqtt_plain_port: Some(free_port(ADDRESS).unwrap()),
    }
}

fn id_of(number: usize) -> String {
    format!("backup-{number:02}")
}

fn spec(number: usize) -> DeviceSpec {
    DeviceSpec {
        id: id_of(number),
        key: new_key(),
        behaviour: Behaviour::answers(Duration::ZERO..Duration::from_millis(5)),
    }
}

async fn patch(client: &HubClient, mark: &str) {
    let change = json!({"tags": {"mark": mark}});
    let twins = client.twins();
    twins.patch(id_of(0), &change, None).await.unwrap();
}

/// The first eight hex digits of a call id.
fn term_of(rid: &str) -> u32 {
    u32::from_str_radix(&rid[..8], 16).unwrap()
}

fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn fanfare(verb: &[&str], first: &[&Path], between: &[&str], second: &[&Path]) -> Output {
    let mut command = Command::new(program());
    command.args(verb).args(first).args(between).args(second);
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test is configured by its environment"
)]
fn program() -> PathBuf {
    std::env::var("FANFARE_BIN").map_or_else(|_| env!("CARGO_BIN_EXE_fanfare").into(), Into::into)
}
