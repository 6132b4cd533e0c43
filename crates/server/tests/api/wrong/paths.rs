//! Paths that lead nowhere, and methods that a path does not know.

use serde_json::json;

use super::{
    INVALID, NO_DEVICE, NO_METHOD, NO_PATH, Row,
    request::{Request, get, request},
    row,
};

pub(super) fn sound() -> Vec<Request> {
    vec![get("/devices/"), get("/twins/%64"), get("/devices?top=0")]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for path in [
        "/",
        "/nothing",
        "/Devices/d",
        "//devices/d",
        "/devices/d/",
        "/twins",
        "/twins/",
        "/twins/d/",
        "/twins/d/tags",
        "/twins/d/methods/m",
        "/devices/d/../other",
        "/devices/..%2f..%2fetc/passwd",
        "/devices/d/commands/c",
        "/jobs/v2/done/cancel/now",
        "/statistics",
        "/statistics/jobs",
        "/health",
        "/fanfare/v2/metrics",
        "/%2564evices/d",
    ] {
        rows.push(row(
            "HTTP-18",
            format!("nothing under {path}"),
            get(path),
            NO_PATH,
        ));
        let change = request("PUT", path).json(&json!({"tags": {"spoilt": 1}}));
        rows.push(row(
            "HTTP-18",
            format!("nothing put under {path}"),
            change,
            NO_PATH,
        ));
    }
    for (method, path) in [
        ("PATCH", "/devices/d"),
        ("PUT", "/jobs/v2"),
        ("GET", "/twins//methods"),
        ("POST", "/devices/d"),
        ("PUT", "/devices"),
        ("DELETE", "/devices"),
        ("PUT", "/jobs"),
        ("POST", "/jobs/v2/done"),
        ("POST", "/jobs/v2/query"),
        ("POST", "/statistics/devices"),
        ("PUT", "/statistics/service"),
        ("POST", "/devices/d/commands"),
        ("OPTIONS", "/devices/d"),
        ("TRACE", "/devices/d"),
        ("BREW", "/devices/d"),
    ] {
        let request = request(method, path).json(&json!({}));
        rows.push(row(
            "HTTP-18",
            format!("{method} {path}"),
            request,
            NO_METHOD,
        ));
    }
    for (name, path, answer) in [
        ("bytes that are no text", "/twins/%ff", INVALID),
        ("half a character", "/devices/%c3", INVALID),
        ("an escape without digits", "/twins/d%", NO_DEVICE),
        ("an escape of an escape", "/twins/%2564", NO_DEVICE),
        ("a plus for a blank", "/twins/d+", NO_DEVICE),
        ("a module as one part", "/twins/d%2Fmodules%2Fm", NO_DEVICE),
        ("a line break", "/twins/d%0d%0aX-Evil:1", NO_DEVICE),
    ] {
        rows.push(row(
            "HTTP-20",
            format!("a path with {name}"),
            get(path),
            answer,
        ));
    }
    rows
}
