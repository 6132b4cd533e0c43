//! What both sides of the comparison use: ids, keys and documents. Node gets it as JSON in its environment.

use serde_json::{Value, json};

/// Where the proxy listens, on port 443: the Node SDK knows no other.
pub(crate) const ADDRESS: &str = "127.0.0.83";
/// An id whose characters need encoding in a path.
pub(crate) const ID: &str = "d#1";
/// A device with keys of the caller's.
pub(crate) const KEYED: &str = "keyed-1";
/// Its key.
pub(crate) const KEY: &str = "c2NlbmUtb2YtdGhlLXNoYXBlLXRlc3RzLTAxMjM0NTY=";
/// Start of the jobs that wait.
pub(crate) const START: &str = "2031-02-03T04:05:06.000Z";
/// Window of the jobs that wait, seconds.
pub(crate) const WINDOW_S: u64 = 900;
/// A condition that selects nobody.
pub(crate) const NOBODY: &str = "deviceId = 'nobody'";
/// A query of more than one page of two.
pub(crate) const QUERY: &str = "SELECT * FROM devices";
/// Prefix of the devices the rig connects; the first is called.
pub(crate) const ONLINE: &str = "on";
/// A module that is never connected.
pub(crate) const ONLINE_MODULE: &str = "m#1";
/// Where exports go and imports come from.
pub(crate) const CONTAINERS: [&str; 2] = ["file:into", "file:from"];
/// A user's identity, which the hub refuses.
pub(crate) const IDENTITY: &str = "/subscriptions/s/resourceGroups/g/providers/p/identities/i";
/// A bearer token, which the hub refuses.
pub(crate) const BEARER: &str = "a-token-of-somebody";

/// The patch of twin calls and twin jobs.
pub(crate) fn patch() -> Value {
    json!({"tags": {"ring": 2, "old": null}, "properties": {"desired": {"place": {"floor": 3}}}})
}

/// The method that is called and scheduled.
pub(crate) fn method() -> Value {
    json!({"methodName": "blink", "payload": {"times": 3}, "responseTimeoutInSeconds": 15})
}

/// A twin that replaces another.
pub(crate) fn twin() -> Value {
    json!({"tags": {"ring": 5}, "properties": {"desired": {"place": {"floor": 5}}}})
}

/// Items of a bulk call in every mode that has no method of its own, as they are sent.
pub(crate) fn bulk_items() -> [Value; 3] {
    [
        json!({"id": "b-3", "importMode": "createOrUpdate", "status": "enabled", "tags": {"ring": 1}}),
        json!({"id": "b-3", "importMode": "updateTwin", "properties": {"desired": {"a": 1}}}),
        json!({"id": "b-3", "importMode": "delete"}),
    ]
}

/// The configuration that comes, changes and goes.
pub(crate) fn configuration() -> Value {
    json!({
        "id": "conf-1",
        "schemaVersion": "1.0",
        "labels": {"made": "here"},
        "content": {"deviceContent": {"properties.desired.place": {"floor": 4}}},
        "targetCondition": "tags.ring = 7",
        "priority": 2,
        "metrics": {"queries": {"all": "SELECT deviceId FROM devices"}},
    })
}

/// All of it, as `conformance/node/record.js` reads it.
pub(crate) fn document() -> Value {
    json!({
        "id": ID,
        "device": {
            "deviceId": KEYED,
            "status": "enabled",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
        },
        "key": KEY,
        "method": method(),
        "patch": patch(),
        "start": START,
        "window": WINDOW_S,
        "query": QUERY,
        "online": format!("{ONLINE}-0"),
        "onlineModule": ONLINE_MODULE,
        "containers": CONTAINERS,
        "identity": IDENTITY,
        "bearer": BEARER,
        "configuration": configuration(),
    })
}
