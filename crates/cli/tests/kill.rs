//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! A real hub process is killed at seeded random moments while method and twin jobs run over a thousand simulated
//! devices that come and go. After each restart everything the hub had acknowledged or shown is held against what
//! it says now ([`ledger`]), and what the devices saw against both ([`devices`]).
//!
//! `FANFARE_KILL_SEED` repeats a run's choices (devices, jobs, moments; not the machine's timing),
//! `FANFARE_KILL_ROUNDS` sets the number of kills, `FANFARE_BIN` the program to kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what it saw"
)]

#[path = "kill/cast.rs"]
mod cast;
#[path = "kill/devices.rs"]
mod devices;
#[path = "kill/ledger.rs"]
mod ledger;
#[path = "kill/load.rs"]
mod load;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_cli::fleet::{Fleet, FleetOptions, FleetTarget, Presence};
use fanfare_cli::hub_process::{HubOptions, HubProcess};
use fanfare_client::{HubClient, Job, JobStatus, Twin};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use self::devices::{Compared, Logs};
use self::ledger::{Kind, Ledger};
use self::load::{Load, Plan};

/// Loopback address of the test's hub, its own.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 60));
/// Longest wait for a hub to be ready, first start included.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A hub lives at most this long in a round, milliseconds.
const LIFE_MS_MAX: u64 = 2_500;
/// After the last round, jobs have their window and this long to end.
const END_MARGIN: Duration = Duration::from_secs(30);
/// Pause between two looks at the jobs that have not ended.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_hub_is_killed() {
    let rounds = setting("FANFARE_KILL_ROUNDS").unwrap_or(30) as usize;
    let seed = setting("FANFARE_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("FANFARE_KILL_SEED={seed} FANFARE_KILL_ROUNDS={rounds}");
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-kill-")
        .tempdir()
        .unwrap();
    let mut test = KillTest::set_up(scratch.path(), seed).await;
    for round in 1..=rounds {
        test.round(round).await;
        test.check_faults(round);
    }
    test.end(rounds).await;
}

/// The hub under test and all that is known about it.
struct KillTest {
    rng: SmallRng,
    options: HubOptions,
    hub: Option<HubProcess>,
    connection_string: String,
    fleet: Fleet,
    ledger: Arc<Mutex<Ledger>>,
    /// Method calls that the hub showed in flight, summed over the kills.
    in_flight: u64,
}

impl KillTest {
    /// Starts the hub, registers the devices and connects those that are meant to be there.
    async fn set_up(scratch: &Path, seed: u64) -> Self {
        let options = HubOptions {
            program: program(),
            data_dir: scratch.join("data"),
            log_file: scratch.join("serve.log"),
            bind: ADDRESS,
            host_name: ADDRESS.to_string(),
            https_port: 18_443,
            mqtts_port: 18_883,
            mqtt_plain_port: Some(11_883),
        };
        let hub = HubProcess::start(options.clone(), READY_WITHIN)
            .await
            .unwrap();
        let connection_string = options.connection_string("iothubowner").await.unwrap();
        let target = FleetTarget::plain(&*options.host_name, options.mqtt_plain().unwrap());
        // Devices come back fast, so that an answer can be sent again within its time-out.
        let backoff = Duration::from_millis(50)..Duration::from_millis(1_000);
        let mut fleet = Fleet::new(
            target,
            FleetOptions {
                seed,
                backoff,
                ..Default::default()
            },
        );
        let specs = cast::cast();
        let new: Vec<_> = specs
            .iter()
            .enumerate()
            .map(|(number, spec)| cast::new_device(number, spec))
            .collect();
        let client = client(&options, &connection_string);
        let outcome = client.registry().bulk(&new).await.unwrap();
        assert!(outcome.is_all_done(), "{:?}", outcome.refused);
        let steady = specs
            .iter()
            .filter(|spec| matches!(spec.behaviour.presence, Presence::Online))
            .count();
        for spec in specs {
            fleet.add(spec);
        }
        fleet.start_all();
        timeout(READY_WITHIN, fleet.wait_online(steady))
            .await
            .expect("the devices come online");
        Self {
            rng: SmallRng::seed_from_u64(seed),
            options,
            hub: Some(hub),
            connection_string,
            fleet,
            ledger: Arc::default(),
            in_flight: 0,
        }
    }

    fn client(&self) -> HubClient {
        client(&self.options, &self.connection_string)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Puts load on the hub, kills it at a random moment, starts it again and checks.
    async fn round(&mut self, round: usize) {
        let plan = Plan::new(&mut self.rng, round);
        let life = Duration::from_millis(self.rng.random_range(0..LIFE_MS_MAX));
        let mut hub = self.hub.take().expect("a hub runs between rounds");
        let load = Load::start(self.client(), Arc::clone(&self.ledger), plan);
        // The random moment is the point of this test.
        tokio::select! {
            ended = hub.ended() => panic!("the hub ended by itself: {ended:?}"),
            () = sleep(life) => {}
        }
        let before = self.calls_in_flight();
        hub.kill().await.unwrap();
        let unanswered = load.stop().await;

        let restarted = Instant::now();
        self.hub = Some(
            HubProcess::start(self.options.clone(), READY_WITHIN)
                .await
                .unwrap(),
        );
        let ready = restarted.elapsed();
        let logs = Logs::of(&self.fleet);
        let client = self.client();
        self.look_at_jobs(&client).await;
        let after = self.calls_in_flight();
        self.read_rows(&client, true).await;
        self.in_flight += before.max(after);
        load::ask_again(&client, &self.ledger, unanswered).await;
        self.check_patches(&client).await;
        let compared = logs.check(&mut self.ledger());
        println!(
            "round {round}: lived {life:?}, ready again in {ready:?}, {after} calls in flight, {} calls and {} answers compared, {:?}",
            compared.calls,
            compared.answers,
            self.fleet.stats()
        );
    }

    /// Calls in flight in all method jobs, as they were seen last.
    fn calls_in_flight(&self) -> u64 {
        let ledger = self.ledger();
        let methods = ledger
            .jobs
            .values()
            .filter(|entry| entry.kind == Kind::Method);
        methods
            .filter_map(|entry| entry.last.as_ref()?.statistics.clone())
            .map(|counts| counts.running_count)
            .sum()
    }

    /// Looks at every job that may have changed.
    async fn look_at_jobs(&self, client: &HubClient) {
        let open = self.ledger().open_jobs();
        for id in open {
            let job = self.look(client, &id).await;
            self.ledger().saw_job(job);
        }
    }

    /// Reads the rows of every job that may have changed.
    async fn read_rows(&self, client: &HubClient, after_kill: bool) {
        let open = self.ledger().open_jobs();
        for id in open {
            let before = self.look(client, &id).await;
            self.ledger().saw_job(before.clone());
            let rows = client.jobs().device_jobs(&id).collect().await.unwrap();
            let after = self.look(client, &id).await;
            let mut ledger = self.ledger();
            ledger.saw_job(after.clone());
            ledger.saw_rows(&before, rows, &after, after_kill);
        }
    }

    async fn look(&self, client: &HubClient, id: &str) -> Job {
        match client.jobs().get_job(id).await {
            Ok(job) => job,
            Err(error) => panic!("job {id} was acknowledged and now: {error}"),
        }
    }

    /// Every acknowledged patch of tags is in its twin.
    async fn check_patches(&self, client: &HubClient) {
        let patches = std::mem::take(&mut self.ledger().patches);
        for (device, patched) in patches {
            let twin = client.twins().get(&device).await.unwrap();
            let kept = twin.tags["patch"].as_u64().unwrap_or_default();
            if !(patched.acknowledged..=patched.sent).contains(&kept) {
                self.ledger()
                    .fault(format!("device {device}: {patched:?}, the twin has {kept}"));
            }
        }
    }

    fn check_faults(&self, round: usize) {
        let ledger = self.ledger();
        assert!(
            ledger.faults.is_empty(),
            "round {round}: {:#?}",
            ledger.faults
        );
    }

    /// Waits until all jobs have ended and checks the whole story once more.
    async fn end(&mut self, rounds: usize) {
        let client = self.client();
        let ended = timeout(load::WINDOW + END_MARGIN, async {
            while !self.ledger().open_jobs().is_empty() {
                self.read_rows(&client, false).await;
                sleep(LOOK_PAUSE).await;
            }
        });
        if ended.await.is_err() {
            panic!("jobs did not end: {:?}", self.ledger().open_jobs());
        }
        let logs = Logs::of(&self.fleet);
        let compared = logs.check(&mut self.ledger());
        logs.check_final(&mut self.ledger());
        self.check_ends();
        self.check_twins(&client).await;
        self.check_faults(rounds);
        self.check_unknown();
        check_compared(compared);
        self.fleet.stop_all().await;
        let status = self
            .hub
            .take()
            .expect("the last hub runs")
            .terminate()
            .await
            .unwrap();
        assert!(status.success(), "the hub ended with {status}");
    }

    /// Jobs end as what they were asked to be.
    fn check_ends(&self) {
        let mut ledger = self.ledger();
        let mut faults = Vec::new();
        for (id, entry) in &ledger.jobs {
            let status = &entry.last.as_ref().expect("final jobs were seen").status;
            let is_right = match status {
                JobStatus::Completed => !entry.cancel_acknowledged,
                JobStatus::Cancelled => entry.cancel_asked,
                _ => false,
            };
            if !is_right {
                faults.push(format!(
                    "job {id} of round {} ended as {status}",
                    entry.round
                ));
            }
        }
        faults.into_iter().for_each(|fault| ledger.fault(fault));
    }

    /// Each twin job wrote each of its twins exactly once: the mark is there, and `$version` counts the writes.
    async fn check_twins(&self, client: &HubClient) {
        let twins: Vec<Twin> = client
            .queries()
            .twins("SELECT * FROM devices")
            .collect()
            .await
            .unwrap();
        assert_eq!(twins.len(), cast::DEVICES);
        let mut ledger = self.ledger();
        let mut faults = Vec::new();
        for twin in twins {
            let desired = &twin.properties.desired;
            let applied: Vec<_> = ledger
                .jobs
                .values()
                .filter(|entry| entry.kind == Kind::Twin)
                .filter(|entry| {
                    entry
                        .ended
                        .get(&twin.device_id)
                        .is_some_and(|row| row.error.is_none() && !load::was_canceled(row))
                })
                .collect();
            for entry in &applied {
                if desired[load::mark(entry.round)] != entry.round {
                    faults.push(format!(
                        "the twin of {} lacks round {}: {desired}",
                        twin.device_id, entry.round
                    ));
                }
            }
            // A new twin begins at 1.
            let expected = 1 + applied.len() as u64;
            if desired["$version"] != expected {
                faults.push(format!(
                    "the twin of {} was patched {} times and has version {}",
                    twin.device_id,
                    applied.len(),
                    desired["$version"]
                ));
            }
        }
        faults.into_iter().for_each(|fault| ledger.fault(fault));
    }

    /// Only calls in flight at a kill may end as unknown.
    fn check_unknown(&self) {
        let ledger = self.ledger();
        let (unknown, all) = ledger.unknown();
        println!(
            "{} of {all} device jobs ended as OutcomeUnknown ({:.2}%); {} calls were in flight at the kills",
            unknown.len(),
            100.0 * unknown.len() as f64 / all.max(1) as f64,
            self.in_flight
        );
        let strangers: Vec<_> = unknown.difference(&ledger.in_flight_at_kills).collect();
        assert!(
            strangers.is_empty(),
            "unknown, though not in flight at a kill: {strangers:?}"
        );
        assert!(unknown.len() as u64 <= self.in_flight);
    }
}

/// The test has met what it is about.
fn check_compared(compared: Compared) {
    println!("{compared:?}");
    assert!(compared.answers > 0, "no acknowledged answer was compared");
    assert!(
        compared.sent_again > 0,
        "no answer was sent again after a kill"
    );
    assert!(
        compared.on_restored_sessions > 0,
        "no call came on a restored session"
    );
}

fn client(options: &HubOptions, connection_string: &str) -> HubClient {
    let client_options = options.client_options().unwrap();
    HubClient::from_connection_string(connection_string, client_options).unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test is configured by its environment"
)]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test is configured by its environment"
)]
fn program() -> std::path::PathBuf {
    std::env::var("FANFARE_BIN").map_or_else(|_| env!("CARGO_BIN_EXE_fanfare").into(), Into::into)
}
