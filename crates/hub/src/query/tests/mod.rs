//! Tests of the query language, stage by stage.

mod binding;
mod errors;
mod functions;
mod groups;
mod order;
mod properties;
mod selection;
mod semantics;
mod syntax;

use serde_json::{Value as JsonValue, json};

use super::{Condition, JsonDocument, Query};

/// A twin as the contract shows it.
fn twin() -> JsonValue {
    json!({
        "deviceId": "pump-3", "etag": "AAAAAAAAAAc=", "deviceEtag": "MQ==",
        "status": "enabled", "statusReason": null,
        "statusUpdateTime": "2031-02-03T04:05:06.0000000Z",
        "connectionState": "Disconnected", "lastActivityTime": "2031-02-03T04:05:06.5000000Z",
        "cloudToDeviceMessageCount": 0, "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
        "modelId": "", "version": 7, "capabilities": {"iotEdge": false},
        "configurations": {"cool": {"status": "Applied"}, "it's": {"status": "Targeted"}},
        "tags": {
            "building": "43", "floor": 3, "Floor": 4, "hot": true, "cold": false, "none": null,
            "a-b": {"c d": 1}, "group": {"name": "g"}, "list": [1, 2], "half": 0.5, "whole": 1.0
        },
        "properties": {
            "desired": {"t": 5, "$version": 4, "$metadata": {
                "$lastUpdated": "2031-02-03T04:05:06.0000000Z",
                "t": {"$lastUpdated": "2031-02-03T04:05:06.0000000Z", "$lastUpdatedVersion": 4}
            }},
            "reported": {"t": 5, "$version": 9, "$metadata": {
                "$lastUpdated": "2031-02-03T04:05:07.0000000Z"
            }}
        }
    })
}

/// A row of `devices.jobs`.
fn job_row() -> JsonValue {
    json!({
        "deviceId": "pump-3", "jobId": "fw-9", "jobType": "scheduleDeviceMethod",
        "status": "canceled",
        "startTimeUtc": "2031-02-03T04:05:06.1200000Z",
        "endTimeUtc": "2031-02-03T05:05:06.1200000Z",
        "createdDateTimeUtc": "2031-02-03T04:05:07.0000000Z",
        "lastUpdatedDateTimeUtc": "2031-02-03T05:05:06.1400000Z",
        "outcome": {"deviceMethodResponse": {"status": 200, "payload": {"N": 1}}},
        "error": {"code": "JobRunPreconditionFailed", "description": "was not online"}
    })
}

/// Whether the condition selects [`twin`].
fn selects(condition: &str) -> bool {
    let parsed = Condition::parse(condition).unwrap_or_else(|e| panic!("{condition}: {e}"));
    parsed.matches(&JsonDocument(&twin()))
}

/// What an expression yields for [`twin`]: `true`, `false` or `undefined`, as far as comparisons
/// with it can tell.
fn truth_of(expression: &str) -> &'static str {
    let is_true = selects(&format!("({expression}) = true"));
    let is_false = selects(&format!("({expression}) = false"));
    match (is_true, is_false) {
        (true, false) => "true",
        (false, true) => "false",
        (false, false) => "undefined",
        (true, true) => panic!("{expression} is true and false"),
    }
}

/// Whether the WHERE of a query over rows of jobs selects [`job_row`].
fn selects_row(condition: &str) -> bool {
    let text = format!("SELECT * FROM devices.jobs WHERE {condition}");
    let query = Query::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
    query.matches(&JsonDocument(&job_row()))
}
