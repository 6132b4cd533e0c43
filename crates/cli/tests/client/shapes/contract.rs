//! Requests of calls that the Node SDK does not have, as the published contract and the other SDKs have them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::scene;
use super::shape::Shape;
use crate::proxy::Content;

/// The requests of each such call, by its name.
pub(crate) fn requests() -> Vec<(&'static str, Vec<Shape>)> {
    let keyed = scene::KEYED;
    let twin = format!("/twins/{keyed}");
    let module_twin = format!("/twins/{keyed}/modules/m%231");
    let job_rows = "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'job-t'";
    let disabled = json!({
        "deviceId": scene::ID,
        "status": "disabled",
        "statusReason": "tested",
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}},
    });
    let renewal = json!({"policyKey": "primaryKey", "devices": [{"id": scene::ID}]});
    let tried = json!({
        "targetCondition": "tags.ring = 7",
        "customMetricQueries": {"all": scene::QUERY},
    });
    vec![
        // The Node SDK updates whatever version a device has; Python's client sends the version it was given.
        (
            "update_device: with an etag",
            vec![
                put("/devices/d%231", &disabled)
                    .if_match("\"ETAG\"")
                    .shape(),
            ],
        ),
        // Python's get_devices(5) and get_configurations(7).
        (
            "list_devices: some",
            vec![get("/devices").query("top=5").shape()],
        ),
        (
            "list_configurations: some",
            vec![get("/configurations").query("top=7").shape()],
        ),
        // Python's statistics of the service.
        (
            "service_statistics",
            vec![get("/statistics/service").shape()],
        ),
        // Python's purge of a device's messages.
        (
            "purge_messages",
            vec![delete(&format!("/devices/{keyed}/commands")).shape()],
        ),
        // Python's replace_twin and replace_module_twin: whatever the version.
        (
            "replace",
            vec![put(&twin, &scene::twin()).if_match("\"*\"").shape()],
        ),
        (
            "replace: module",
            vec![put(&module_twin, &scene::twin()).if_match("\"*\"").shape()],
        ),
        // The original's command line renews keys so.
        (
            "regenerate_keys",
            vec![post("/devices/keys/regenerate", &renewal).shape()],
        ),
        // Python's bulk calls, with the members of the published item.
        (
            "bulk",
            vec![post("/devices", &scene::bulk_items().to_vec().into()).shape()],
        ),
        // Python's test of a configuration's queries.
        (
            "test_configuration_queries",
            vec![post("/configurations/testQueries", &tried).shape()],
        ),
        // The outcomes of a job are rows of a query.
        (
            "device_jobs",
            vec![
                post("/devices/query", &json!({ "query": job_rows }))
                    .page_items(1_000)
                    .shape(),
            ],
        ),
        // Fanfare's own: a job that has ended is told by its document alone.
        ("monitor", vec![get("/jobs/v2/job-t").shape()]),
        ("metrics", vec![get("/fanfare/v1/metrics").shape()]),
        ("profile", vec![get("/fanfare/v1/profile").shape()]),
    ]
}

/// A request in the making: signature and version are on every one.
struct Expected(Shape);

fn request(method: &str, path: &str, body: Content) -> Expected {
    let resource = scene::ADDRESS;
    let signature = format!(
        "SharedAccessSignature {{\"skn=iothubowner\", \"sr={resource}\"}} of {{\"se\", \"sig\", \"skn\", \"sr\"}}"
    );
    let mut headers = BTreeMap::from([("authorization", signature)]);
    if body != Content::Empty {
        headers.insert("content-type", "application/json; charset=utf-8".to_owned());
    }
    Expected(Shape {
        method: method.to_owned(),
        path: path.to_owned(),
        query: BTreeSet::from(["api-version=2021-04-12".to_owned()]),
        headers,
        body,
    })
}

fn get(path: &str) -> Expected {
    request("GET", path, Content::Empty)
}

fn delete(path: &str) -> Expected {
    request("DELETE", path, Content::Empty)
}

fn put(path: &str, body: &Value) -> Expected {
    request("PUT", path, Content::Json(body.clone()))
}

fn post(path: &str, body: &Value) -> Expected {
    request("POST", path, Content::Json(body.clone()))
}

impl Expected {
    fn query(mut self, pair: &str) -> Self {
        self.0.query.insert(pair.to_owned());
        self
    }

    fn if_match(mut self, value: &str) -> Self {
        self.0.headers.insert("if-match", value.to_owned());
        self
    }

    fn page_items(mut self, items: u32) -> Self {
        self.0
            .headers
            .insert("x-ms-max-item-count", items.to_string());
        self
    }

    fn shape(self) -> Shape {
        self.0
    }
}
