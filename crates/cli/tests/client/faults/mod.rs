//! Every kind of call against every fault: no call hangs, none is repeated that must not be, the error says what is
//! known, and nothing is left behind.
//!
//! What reached the hub is counted at the proxy, what reached the device at a real device. Each cell of the matrix
//! has a client in a runtime of its own, whose tasks must all end, and whose connections must all close.

mod cases;
mod kinds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_cli::fleet::{Behaviour, Fleet};
use fanfare_client::{ClientOptions, Credential, Error, HubClient, RetryPolicy};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use self::cases::{Case, TRY_WAITS};
use self::kinds::{KINDS, Kind, Prepared};
use crate::own_runtime::in_own_runtime;
use crate::proxy::{Http, Proxy, Recorded};
use crate::rig::Rig;

/// Loopback address of these tests.
const ADDRESS: &str = "127.0.0.86";
/// The device that is called.
const CALLED: &str = "called-0";
/// Cells that run side by side; most of them wait.
const CELLS_AT_ONCE: usize = 24;
/// Tries of a call that is repeated.
const TRIES: u32 = 3;

/// One cell of the matrix.
#[derive(Clone)]
struct Cell {
    kind: Kind,
    case: Case,
    http: Http,
    /// Whether every try meets the fault, or the first alone.
    always: bool,
}

/// What was seen of a cell from outside the client.
struct Traces {
    outcome: Result<(), Error>,
    /// The call's own requests that arrived at the proxy; what it looks up besides is not counted.
    arrived: usize,
    /// Of these, those that were passed on to the hub.
    passed_on: usize,
    connections: usize,
    faults_left: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_meets_every_fault() {
    let rig = Rig::start(ADDRESS).await;
    let fleet = rig
        .devices("called", 1, json!({}), Behaviour::default())
        .await;
    let elsewhere = Proxy::before(rig.options(), Http::Both).await;
    let stage = Arc::new(Stage {
        owner: rig.owner().await,
        credential: Credential::from_connection_string(
            &rig.options()
                .connection_string("iothubowner")
                .await
                .unwrap(),
        )
        .unwrap(),
        rig,
    });
    let cells = cells(&cases::all(&format!("{}/", elsewhere.endpoint())));
    println!("{} cells", cells.len());
    let runs = cells.into_iter().enumerate().map(|(number, cell)| {
        let stage = Arc::clone(&stage);
        async move {
            let prepared = cell
                .kind
                .prepare(&stage.owner, format!("cell-{number}"))
                .await;
            let traces = stage.run(&cell, &prepared).await;
            (prepared, verdict(&cell, &traces))
        }
    });
    let done: Vec<_> = futures_util::stream::iter(runs)
        .buffer_unordered(CELLS_AT_ONCE)
        .collect()
        .await;
    let mut wrong: Vec<String> = done
        .iter()
        .filter_map(|(_, verdict)| verdict.clone().err())
        .collect();
    wrong.extend(doubled_calls(&fleet));
    wrong.sort();
    assert!(
        wrong.is_empty(),
        "{} cells are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // Where redirects led: nobody came, so no signature did.
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    elsewhere.stop().await;
    drop(fleet);
    let stage = Arc::into_inner(stage).expect("every cell has ended");
    stage.rig.stop().await;
}

fn cells(cases: &[Case]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for kind in KINDS {
        for case in cases {
            for (http, always) in [(Http::One, false), (Http::Two, false), (Http::Two, true)] {
                // A method call waits for the device's own time: once is enough.
                let slow = kind == Kind::CallMethod && case.waits && http == Http::One;
                if (case.only_two && http == Http::One) || slow {
                    continue;
                }
                cells.push(Cell {
                    kind,
                    case: case.clone(),
                    http,
                    always,
                });
            }
        }
    }
    // The longest first: whatever waits by itself at the end waits alone.
    cells.sort_by_key(|cell| (!cell.case.waits, cell.kind != Kind::CallMethod));
    cells
}

/// What all cells share.
struct Stage {
    rig: Rig,
    /// Goes to the hub without a proxy.
    owner: HubClient,
    credential: Credential,
}

impl Stage {
    async fn run(&self, cell: &Cell, prepared: &Prepared) -> Traces {
        let proxy = Proxy::before(self.rig.options(), cell.http).await;
        if cell.always {
            proxy.always(cell.case.fault.clone());
        } else {
            proxy.script([cell.case.fault.clone()]);
        }
        let options = impatient(proxy.client_options(), cell.case.waits);
        let (endpoint, credential) = (proxy.endpoint(), self.credential.clone());
        let call = prepared.clone();
        let outcome = in_own_runtime(cell.name(), move || async move {
            let hub = HubClient::new(&endpoint, credential, options).unwrap();
            call.make(&hub).await
        })
        .await;
        proxy.wait_all_closed().await;
        let traces = Traces {
            outcome,
            arrived: own(&proxy.take_seen()),
            passed_on: own(&proxy.take_passed_on()),
            connections: proxy.connections(),
            faults_left: proxy.faults_left(),
        };
        proxy.stop().await;
        traces
    }
}

/// A client that repeats at once, and gives up soon where nothing but its time-out ends a try.
fn impatient(options: ClientOptions, waits: bool) -> ClientOptions {
    let timeout = if waits { TRY_WAITS } else { options.timeout };
    let retry = RetryPolicy {
        tries_max: TRIES,
        delay_first: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    ClientOptions {
        timeout,
        retry,
        ..options
    }
}

/// Requests like the first one: the call itself, not what it looks up.
fn own(requests: &[Recorded]) -> usize {
    let line = requests.first().map(Recorded::line);
    requests
        .iter()
        .filter(|request| Some(request.line()) == line)
        .count()
}

impl Cell {
    fn name(&self) -> String {
        let often = if self.always { "always" } else { "once" };
        format!(
            "{:?}, {} {often}, {:?}",
            self.kind, self.case.name, self.http
        )
    }
}

/// What is wrong with a cell, in words.
fn verdict(cell: &Cell, traces: &Traces) -> Result<(), String> {
    let Cell { kind, case, .. } = cell;
    let repeats = case.meaning.repeats(kind.twice_is_once());
    let tries = match (cell.always, repeats) {
        (true, true) => TRIES as usize,
        (false, true) => 2,
        (_, false) => 1,
    };
    let faulty = if cell.always { tries } else { 1 };
    let honest = tries - faulty;
    let arrived = honest + if case.is_seen() { faulty } else { 0 };
    let passed_on = honest + if case.reaches_hub() { faulty } else { 0 };
    let wrong = |what: String| Err(format!("{}: {what}", cell.name()));
    if traces.faults_left > 0 {
        return wrong("the fault was not met".to_owned());
    }
    match (&traces.outcome, honest > 0) {
        (Ok(()), true) => {}
        (Err(error), true) => return wrong(format!("failed with {error:?}")),
        (Ok(()), false) => return wrong("succeeded".to_owned()),
        (Err(error), false) => {
            if let Err(what) = case.meaning.check(error) {
                return wrong(what);
            }
            if kind.changes() && error.may_have_been_done() != case.meaning.may_have_been_done() {
                let said = error.may_have_been_done();
                return wrong(format!("may_have_been_done() is {said} of {error:?}"));
            }
        }
    }
    if traces.arrived != arrived {
        return wrong(format!(
            "{} requests arrived, not {arrived}",
            traces.arrived
        ));
    }
    if traces.passed_on != passed_on {
        return wrong(format!(
            "{} requests reached the hub, not {passed_on}",
            traces.passed_on
        ));
    }
    if !case.is_seen() && traces.connections < tries {
        return wrong(format!("{} connections, not {tries}", traces.connections));
    }
    Ok(())
}

/// Calls that the device heard more than once. Each cell's call has a payload of its own.
fn doubled_calls(fleet: &Fleet) -> Vec<String> {
    let log = fleet.log(CALLED).expect("the device is in the fleet");
    let mut heard: BTreeMap<String, usize> = BTreeMap::new();
    for call in &log.calls {
        let payload: Value = serde_json::from_str(&call.payload).unwrap();
        *heard.entry(payload["call"].to_string()).or_default() += 1;
    }
    let twice = heard.iter().filter(|(_, times)| **times > 1);
    let mut wrong: Vec<String> = twice
        .map(|(call, times)| format!("the device heard {call} {times} times"))
        .collect();
    if heard.is_empty() {
        wrong.push("the device heard no call at all".to_owned());
    }
    wrong.extend(
        log.faults
            .iter()
            .map(|fault| format!("the device saw: {fault}")),
    );
    wrong
}
