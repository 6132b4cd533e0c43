//! Wrong requests of every kind: each gets its code, changes nothing, and leaves the hub answering.
//!
//! One hub serves the whole table. A row names the fact of `docs/compat` that it follows from; the rows of
//! an area are one file. A new area is a file with `rows` and `sound`, and a line in [`AREAS`].

mod bulk;
mod configurations;
mod devices;
mod fields;
mod jobs;
mod keys;
mod methods;
mod modules;
mod paths;
mod query;
mod request;
mod state;
mod tokens;
mod transfers;
mod transport;
mod twins;

use std::collections::BTreeSet;

use serde_json::json;

use self::{
    request::{Request, get, put},
    state::Watch,
};
use crate::harness::{Hub, Reply};

/// An area: its wrong requests, and right ones that they are spoilt forms of.
type Area = (fn() -> Vec<Row>, fn() -> Vec<Request>);

const AREAS: &[Area] = &[
    (jobs::rows, jobs::sound),
    (devices::rows, devices::sound),
    (twins::rows, twins::sound),
    (methods::rows, methods::sound),
    (modules::rows, modules::sound),
    (query::rows, query::sound),
    (bulk::rows, bulk::sound),
    (keys::rows, keys::sound),
    (configurations::rows, configurations::sound),
    (transfers::rows, transfers::sound),
    (tokens::rows, tokens::sound),
    (transport::rows, transport::sound),
    (paths::rows, paths::sound),
];

/// One wrong request.
struct Row {
    fact: &'static str,
    name: String,
    request: Request,
    answer: Answer,
    /// What the text for the caller must hold.
    says: String,
}

fn row(fact: &'static str, name: impl Into<String>, request: Request, answer: Answer) -> Row {
    Row {
        fact,
        name: name.into(),
        request,
        answer,
        says: String::new(),
    }
}

impl Row {
    /// The text must name what is wrong.
    fn saying(mut self, part: impl Into<String>) -> Self {
        self.says = part.into();
        self
    }
}

/// What must come back.
#[derive(Clone, Copy)]
enum Answer {
    /// A refusal with this number and name; the number begins with the HTTP status.
    Refused(u32, &'static str),
    /// The same with another HTTP status.
    RefusedAs(u16, u32, &'static str),
    /// 400 with one entry for each item that failed: its id and code.
    BulkFailed(&'static [(&'static str, &'static str)]),
    /// 200 with one entry for each device whose keys stay.
    KeysStay(&'static [(&'static str, &'static str)]),
}

const GENERIC: Answer = Answer::Refused(400_000, "GenericBadRequest");
const VERSION: Answer = Answer::Refused(400_001, "InvalidProtocolVersion");
const INVALID: Answer = Answer::Refused(400_004, "ArgumentInvalid");
const MISSING: Answer = Answer::Refused(400_005, "ArgumentNull");
const FORMAT: Answer = Answer::Refused(400_006, "IotHubFormatError");
const UNAUTHORIZED: Answer = Answer::Refused(401_002, "IotHubUnauthorizedAccess");
const NO_DEVICE: Answer = Answer::Refused(404_001, "DeviceNotFound");
const NO_JOB: Answer = Answer::Refused(404_002, "JobNotFound");
const NOT_ONLINE: Answer = Answer::Refused(404_103, "DeviceNotOnline");
const NO_PATH: Answer = Answer::RefusedAs(404, 400_000, "GenericBadRequest");
const NO_METHOD: Answer = Answer::Refused(405_000, "GenericMethodNotAllowed");
const WRONG_STATE: Answer = Answer::Refused(405_102, "OperationNotAllowedInCurrentState");
const DEVICE_EXISTS: Answer = Answer::Refused(409_001, "DeviceAlreadyExists");
const JOB_EXISTS: Answer = Answer::Refused(409_104, "JobAlreadyExists");
const PRECONDITION: Answer = Answer::Refused(412_001, "PreconditionFailed");
const TOO_LARGE: Answer = Answer::Refused(413_001, "MessageTooLarge");
const TOO_MANY: Answer = Answer::Refused(413_002, "TooManyDevices");
const ENCODING: Answer = Answer::Refused(415_101, "IncompatibleDataType");

#[tokio::test]
async fn what_is_wrong_is_refused_and_changes_nothing() {
    let hub = Hub::start().await;
    furnish(&hub).await;
    let mut watch = Watch::on(&hub).await;
    let mut before = watch.look().await;
    let mut faults = Vec::new();
    for row in AREAS.iter().flat_map(|(rows, _)| rows()) {
        let reply = row.request.send(&hub).await;
        if let Err(fault) = row.check(&reply) {
            faults.push(format!("{}: {fault}\n  {reply:?}", row.name));
        }
        let after = watch.look().await;
        if let Some(changed) = before.differs_from(&after) {
            faults.push(format!("{}: changed {changed}", row.name));
            before = after;
        }
    }
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", faults.join("\n"));

    // Unspoilt they pass: a row is refused for what its name says, and for nothing else.
    for request in AREAS.iter().flat_map(|(_, sound)| sound()) {
        let reply = request.send(&hub).await;
        let is_offline = reply.header("iothub-errorcode") == Some("DeviceNotOnline");
        assert!(
            reply.status.is_success() || is_offline,
            "{request:?}: {reply:?}"
        );
    }
    hub.stop().await;
}

#[test]
fn the_table_is_large_and_every_row_has_its_fact() {
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compat");
    let facts: String = std::fs::read_dir(pages)
        .unwrap()
        .map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap())
        .collect();
    let rows: Vec<_> = AREAS.iter().flat_map(|(rows, _)| rows()).collect();
    assert!(rows.len() >= 600, "{} rows", rows.len());
    let mut names = BTreeSet::new();
    for row in &rows {
        assert!(names.insert(&row.name), "{} is there twice", row.name);
        let fact = format!("- **{}** ", row.fact);
        assert!(facts.contains(&fact), "{}: no fact {}", row.name, row.fact);
    }
}

/// Devices, twins and jobs that wrong requests could spoil.
async fn furnish(hub: &Hub) {
    let mut requests = vec![
        put("/devices/d", json!({})),
        put("/devices/other", json!({"statusReason": "spare"})),
        put("/devices/off", json!({"status": "disabled"})),
        put(
            "/devices/cert",
            json!({"authentication": {"type": "certificateAuthority"}}),
        ),
        put("/devices/edge", json!({"capabilities": {"iotEdge": true}})),
        put("/devices/d/modules/m", json!({})),
        // Without metrics: nothing of it is counted later.
        put(
            "/configurations/known",
            fields::without(configurations::configuration(), "metrics"),
        ),
        put(
            "/twins/d",
            json!({"tags": {"site": "b4", "list": [1, {"n": null}]}, "properties": {"desired": {"a": {"b": 1}}}}),
        ),
        put(
            "/twins/other",
            json!({"tags": {"pad": fields::text(4_000)}}),
        ),
        put("/jobs/v2/done", jobs::twin_job()),
    ];
    let mut ahead = jobs::method_job();
    ahead["startTime"] = json!("2999-01-01T00:00:00Z");
    requests.push(put("/jobs/v2/ahead", ahead));
    for request in requests {
        let reply = request.send(hub).await;
        assert!(reply.status.is_success(), "{request:?}: {reply:?}");
    }
    hub.ended("done").await;
    // Its state changes by itself once more, from queued to scheduled.
    let scheduled =
        async { while get("/jobs/v2/ahead").send(hub).await.json()["status"] != "scheduled" {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), scheduled)
        .await
        .unwrap();
}

impl Row {
    fn check(&self, reply: &Reply) -> Result<(), String> {
        match self.answer {
            Answer::Refused(number, name) => {
                let status = u16::try_from(number / 1_000).unwrap();
                self.check_refusal(reply, status, number, name)
            }
            Answer::RefusedAs(status, number, name) => {
                self.check_refusal(reply, status, number, name)
            }
            Answer::BulkFailed(items) => {
                check_items(reply, 400, items)?;
                match reply.json()["isSuccessful"] == json!(false) {
                    true => Ok(()),
                    false => Err("it says that all went well".to_owned()),
                }
            }
            Answer::KeysStay(items) => check_items(reply, 200, items),
        }
    }

    /// Status, header and body, whichever form it has. compat: HTTP-6, HTTP-7
    fn check_refusal(
        &self,
        reply: &Reply,
        status: u16,
        number: u32,
        name: &str,
    ) -> Result<(), String> {
        let report = fanfare_wire::error::ErrorReport::parse(&reply.body)
            .ok_or("the body is none of the contract's")?;
        let told = (reply.status.as_u16(), report.number, report.name.as_deref());
        if told != (status, Some(number), Some(name)) {
            return Err(format!("{status} {number} {name} expected"));
        }
        if reply.header("iothub-errorcode") != Some(name) {
            return Err("the header has another code".to_owned());
        }
        if reply.header("content-type") != Some("application/json; charset=utf-8") {
            return Err("the content type is another".to_owned());
        }
        if report.tracking_id.is_none() || report.text.is_empty() || report.text.contains(';') {
            return Err("the tracking id or the text is not as it must be".to_owned());
        }
        if !report.text.contains(&self.says) {
            return Err(format!("the text does not say {}", self.says));
        }
        Ok(())
    }
}

fn check_items(reply: &Reply, status: u16, items: &[(&str, &str)]) -> Result<(), String> {
    let body = reply.json();
    let told: BTreeSet<_> = body["errors"]
        .as_array()
        .ok_or("there is no list of errors")?
        .iter()
        .map(|item| (item["deviceId"].as_str(), item["errorCode"].as_str()))
        .collect();
    let expected = items.iter().map(|(id, code)| (Some(*id), Some(*code)));
    if reply.status.as_u16() != status || told != expected.collect() {
        return Err(format!("{status} with {items:?} expected"));
    }
    Ok(())
}
