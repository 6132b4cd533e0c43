//! Holds what the devices saw and answered against what the hub says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_cli::fleet::{AnswerQos, CallLog, DeviceLog, Fleet, Subscribing};
use fanfare_client::OUTCOME_UNKNOWN;
use serde_json::{Value, json};

use crate::ledger::{JobEntry, Kind, Ledger};

/// How long the jobs of the test give a device to answer.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer acknowledged this long before its time-out must count. The device knows when it got a call, not
/// when the hub's clock for it began.
const MARGIN: Duration = Duration::from_secs(3);

/// The logs of all devices at one moment.
pub(crate) struct Logs(Vec<(String, AnswerQos, Subscribing, DeviceLog)>);

/// What was compared, so that the test can say that it compared anything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Calls the devices received.
    pub(crate) calls: usize,
    /// Answers acknowledged in time and found among the outcomes.
    pub(crate) answers: usize,
    /// Of these, answers that were sent more than once.
    pub(crate) sent_again: usize,
    /// Calls received by devices that had not subscribed on that connection.
    pub(crate) on_restored_sessions: usize,
}

impl Logs {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        Self(
            fleet
                .specs()
                .map(|spec| {
                    let log = fleet.log(&spec.id).expect("its spec is in the fleet");
                    let behaviour = &spec.behaviour;
                    (
                        spec.id.clone(),
                        behaviour.answer_qos,
                        behaviour.subscribing,
                        log,
                    )
                })
                .collect(),
        )
    }

    /// Checks everything a device can know: its own faults, calls twice, answers that the hub acknowledged.
    /// Rows must have been read after these logs were taken.
    pub(crate) fn check(&self, ledger: &mut Ledger) -> Compared {
        let mut compared = Compared::default();
        let mut rids: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut faults = Vec::new();
        for (device, qos, subscribing, log) in &self.0 {
            faults.extend(
                log.faults
                    .iter()
                    .map(|fault| format!("device {device}: {fault}")),
            );
            let mut jobs: BTreeMap<String, usize> = BTreeMap::new();
            for call in &log.calls {
                compared.calls += 1;
                if *subscribing == Subscribing::FirstSessionOnly && call.connection > log.subscribes
                {
                    compared.on_restored_sessions += 1;
                }
                if !rids.insert(Arc::clone(&call.rid)) {
                    faults.push(format!("request id {} was used twice", call.rid));
                }
                let Some(job) = job_of(call) else {
                    faults.push(format!(
                        "device {device}: a call of nobody: {}",
                        call.payload
                    ));
                    continue;
                };
                *jobs.entry(job.clone()).or_default() += 1;
                let Some(entry) = ledger.jobs.get(&job) else {
                    continue;
                };
                if *qos == AnswerQos::AtLeastOnce && in_time(call, entry) {
                    match answer_kept(device, call, entry) {
                        Ok(()) => compared.answers += 1,
                        Err(fault) => faults.push(format!("job {job}: {fault}")),
                    }
                    compared.sent_again +=
                        usize::from(call.answer.as_ref().is_some_and(|answer| answer.sends > 1));
                }
            }
            for (job, calls) in jobs.into_iter().filter(|(_, calls)| *calls > 1) {
                faults.push(format!(
                    "device {device} was called {calls} times by job {job}"
                ));
            }
        }
        for fault in faults {
            ledger.fault(fault);
        }
        compared
    }

    /// Checks, once all jobs have ended, that rows and devices tell the same story in both directions.
    pub(crate) fn check_final(&self, ledger: &mut Ledger) {
        let mut calls: BTreeMap<(String, &str), &CallLog> = BTreeMap::new();
        for (device, _, _, log) in &self.0 {
            for call in &log.calls {
                if let Some(job) = job_of(call) {
                    calls.insert((job, device), call);
                }
            }
        }
        let mut faults = Vec::new();
        for (job, entry) in ledger
            .jobs
            .iter()
            .filter(|(_, entry)| entry.kind == Kind::Method)
        {
            for (device, row) in &entry.ended {
                let call = calls.get(&(job.clone(), device.as_str()));
                let code = row.error.as_ref().map(|error| error.code.as_str());
                let told = match (call, row.answer()) {
                    (None, Some(_)) => "answered by a device that was never called",
                    (Some(call), Some(answer)) if !gave(call, answer) => "not what the device gave",
                    (Some(_), None)
                        if !matches!(code, Some("GatewayTimeout" | OUTCOME_UNKNOWN)) =>
                    {
                        "called, and yet neither answered nor timed out"
                    }
                    _ => continue,
                };
                faults.push(format!(
                    "job {job}: the outcome of {device} is {told}: {row:?}"
                ));
            }
        }
        for fault in faults {
            ledger.fault(fault);
        }
    }
}

/// The job that made a call: the test puts its id into the payload.
fn job_of(call: &CallLog) -> Option<String> {
    let payload: Value = serde_json::from_str(&call.payload).ok()?;
    payload["job"].as_str().map(str::to_owned)
}

/// Whether the hub acknowledged the answer well before the call's time-out and the job's deadline.
fn in_time(call: &CallLog, entry: &JobEntry) -> bool {
    let Some(at) = call
        .answer
        .as_ref()
        .and_then(|answer| answer.acknowledged_at)
    else {
        return false;
    };
    let timeout = RESPONSE_TIMEOUT - MARGIN;
    at < call.received_at + timeout && at < entry.asked_at + entry.window - MARGIN
}

/// An acknowledged answer is the outcome, word for word.
fn answer_kept(device: &str, call: &CallLog, entry: &JobEntry) -> Result<(), String> {
    let row = entry.ended.get(device).ok_or_else(|| {
        format!("the answer of {device} was acknowledged, its device job has no outcome: {call:?}")
    })?;
    match row.answer() {
        Some(answer) if gave(call, answer) => Ok(()),
        _ => Err(format!(
            "{device} answered {call:?} in time, the outcome is {row:?}"
        )),
    }
}

/// Whether the device gave this answer.
fn gave(call: &CallLog, (status, payload): (i64, &Value)) -> bool {
    call.answer.as_ref().is_some_and(|given| {
        i64::from(given.status) == status
            && serde_json::from_str::<Value>(&given.payload).ok().as_ref() == Some(payload)
    })
}

/// The payload by which a device's log tells jobs apart.
pub(crate) fn payload_of(job: &str) -> Value {
    json!({ "job": job })
}
