//! What the hub is asked for while it lives: jobs, a cancel now and then, patches without pause, and looks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_client::{
    DeviceJob, DeviceJobStatus, DeviceMethod, Error, HubClient, ScheduleOptions, TwinPatch,
};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cast;
use crate::devices::{RESPONSE_TIMEOUT, payload_of};
use crate::ledger::{JobEntry, Kind, Ledger};

/// Window of every job: longer than a few kills, so that jobs live through them.
pub(crate) const WINDOW: Duration = Duration::from_secs(40);
/// Devices whose tags are patched in a round, in turn.
const PATCHED_DEVICES: usize = 20;
/// Every so many rounds the method job is cancelled while it runs.
const CANCEL_EVERY: usize = 5;
/// Pause between two rounds of looks at the jobs.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What one round asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    round: usize,
    method_group: usize,
    twin_group: usize,
    /// When the method job is cancelled, if it is.
    cancel_after: Option<Duration>,
    patched: Vec<String>,
}

impl Plan {
    pub(crate) fn new(rng: &mut SmallRng, round: usize) -> Self {
        let cancel_after = Duration::from_millis(rng.random_range(0..1_500));
        Self {
            round,
            method_group: rng.random_range(0..cast::GROUPS),
            twin_group: rng.random_range(0..cast::GROUPS),
            cancel_after: round.is_multiple_of(CANCEL_EVERY).then_some(cancel_after),
            patched: (0..PATCHED_DEVICES)
                .map(|_| cast::id_of(rng.random_range(0..cast::DEVICES)))
                .collect(),
        }
    }
}

/// The member of desired that a round's twin job writes.
pub(crate) fn mark(round: usize) -> String {
    format!("round{round}")
}

/// Whether a cancel ended this device job.
pub(crate) fn was_canceled(row: &DeviceJob) -> bool {
    row.status == DeviceJobStatus::Canceled
}

/// A job to schedule, the same each time it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    id: String,
    kind: Kind,
    group: usize,
    round: usize,
    asked_at: Instant,
}

impl Request {
    fn new(kind: Kind, group: usize, round: usize) -> Self {
        let id = match kind {
            Kind::Method => format!("method-{round:03}"),
            Kind::Twin => format!("twin-{round:03}"),
        };
        Self {
            id,
            kind,
            group,
            round,
            asked_at: Instant::now(),
        }
    }

    /// Asks for the job; once acknowledged it is in the ledger.
    async fn send(&self, client: &HubClient, ledger: &Mutex<Ledger>) -> Result<(), Error> {
        let condition = format!("tags.group = {}", self.group);
        let options = ScheduleOptions {
            window: Some(WINDOW),
            ..ScheduleOptions::default()
        };
        let jobs = client.jobs();
        match self.kind {
            Kind::Method => {
                let lock = DeviceMethod::new("lockDoor")
                    .payload(payload_of(&self.id))
                    .response_timeout(RESPONSE_TIMEOUT);
                jobs.schedule_device_method(&self.id, &condition, lock, options)
                    .await?;
            }
            Kind::Twin => {
                let patch = TwinPatch::desired(json!({ mark(self.round): self.round }));
                jobs.schedule_twin_update(&self.id, &condition, patch, options)
                    .await?;
            }
        }
        let entry = JobEntry {
            kind: self.kind,
            round: self.round,
            targets: cast::group(self.group),
            asked_at: self.asked_at,
            window: WINDOW,
            cancel_asked: false,
            cancel_acknowledged: false,
            last: None,
            ended: Default::default(),
            is_final: false,
        };
        ledger.lock().unwrap().jobs.insert(self.id.clone(), entry);
        Ok(())
    }
}

/// Asks once more for jobs whose first request got no reply: whether the hub had taken them or not, the same
/// request is answered well.
pub(crate) async fn ask_again(client: &HubClient, ledger: &Mutex<Ledger>, requests: Vec<Request>) {
    for request in requests {
        if let Err(error) = request.send(client, ledger).await {
            let text = format!("job {} was asked for again: {error}", request.id);
            ledger.lock().unwrap().fault(text);
        }
    }
}

/// The tasks that put load on a hub.
pub(crate) struct Load {
    tasks: JoinSet<Vec<Request>>,
    stop: CancellationToken,
}

impl Load {
    pub(crate) fn start(client: HubClient, ledger: Arc<Mutex<Ledger>>, plan: Plan) -> Self {
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(schedule(
            client.clone(),
            Arc::clone(&ledger),
            plan.clone(),
            stop.clone(),
        ));
        tasks.spawn(patch(client.clone(), Arc::clone(&ledger), plan));
        tasks.spawn(look(client, ledger, stop.clone()));
        Self { tasks, stop }
    }

    /// The hub is gone: waits until every task has noticed. Returns the requests that got no reply.
    pub(crate) async fn stop(mut self) -> Vec<Request> {
        self.stop.cancel();
        let mut unanswered = Vec::new();
        while let Some(task) = self.tasks.join_next().await {
            unanswered.extend(task.expect("a task of the load never panics"));
        }
        unanswered
    }
}

/// Schedules both jobs of the round and cancels one where the plan says so.
async fn schedule(
    client: HubClient,
    ledger: Arc<Mutex<Ledger>>,
    plan: Plan,
    stop: CancellationToken,
) -> Vec<Request> {
    let requests = [
        Request::new(Kind::Twin, plan.twin_group, plan.round),
        Request::new(Kind::Method, plan.method_group, plan.round),
    ];
    let mut unanswered = Vec::new();
    for request in requests {
        match request.send(&client, &ledger).await {
            Ok(()) => {}
            Err(error) if error.status().is_none() => unanswered.push(request),
            Err(error) => ledger
                .lock()
                .unwrap()
                .fault(format!("job {}: {error}", request.id)),
        }
    }
    if let Some(after) = plan.cancel_after {
        tokio::select! {
            () = stop.cancelled() => return unanswered,
            () = sleep(after) => {}
        }
        cancel(&client, &ledger, &format!("method-{:03}", plan.round)).await;
    }
    unanswered
}

async fn cancel(client: &HubClient, ledger: &Mutex<Ledger>, id: &str) {
    match ledger.lock().unwrap().jobs.get_mut(id) {
        Some(entry) => entry.cancel_asked = true,
        None => return,
    }
    match client.jobs().cancel_job(id).await {
        Ok(_) => {
            let mut ledger = ledger.lock().unwrap();
            ledger
                .jobs
                .get_mut(id)
                .expect("it was there before")
                .cancel_acknowledged = true;
        }
        // No reply: it may or may not be cancelled.
        Err(error) if error.status().is_none() => {}
        Err(error) => ledger
            .lock()
            .unwrap()
            .fault(format!("job {id}, cancelled: {error}")),
    }
}

/// Patches tags, one device after the other, until the hub is gone.
async fn patch(client: HubClient, ledger: Arc<Mutex<Ledger>>, plan: Plan) -> Vec<Request> {
    for number in 1_u64.. {
        let device = &plan.patched[number as usize % plan.patched.len()];
        // Rounds count in thousands, so that numbers only grow.
        let value = plan.round as u64 * 1_000_000 + number;
        {
            let mut ledger = ledger.lock().unwrap();
            ledger.patches.entry(device.clone()).or_default().sent = value;
        }
        match client
            .twins()
            .patch(device, &json!({"tags": {"patch": value}}), None)
            .await
        {
            Ok(_) => {
                let mut ledger = ledger.lock().unwrap();
                ledger
                    .patches
                    .entry(device.clone())
                    .or_default()
                    .acknowledged = value;
            }
            Err(error) if error.status().is_none() => break,
            Err(error) => ledger
                .lock()
                .unwrap()
                .fault(format!("patch of {device}: {error}")),
        }
    }
    Vec::new()
}

/// Looks at every open job, over and over, until the hub is gone.
async fn look(
    client: HubClient,
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
) -> Vec<Request> {
    let jobs = client.jobs();
    while !stop.is_cancelled() {
        let open = ledger.lock().unwrap().open_jobs();
        for id in open {
            match jobs.get_job(&id).await {
                Ok(job) => ledger.lock().unwrap().saw_job(job),
                Err(error) if error.status().is_none() => return Vec::new(),
                Err(error) => ledger.lock().unwrap().fault(format!("job {id}: {error}")),
            }
        }
        sleep(LOOK_PAUSE).await;
    }
    Vec::new()
}
