//! What surrounds a body: versions, encodings, claims.

use serde_json::json;

use super::{
    ENCODING, FORMAT, Row, VERSION,
    fields::text,
    request::{Request, get, patch, put, request},
    row,
};

pub(super) fn sound() -> Vec<Request> {
    let body = json!({"tags": {"read": true}});
    vec![
        get("/devices/d").version(Some("2024-03-31")),
        get("/devices/d").version(Some("2020-05-31-preview")),
        put("/twins/d", body.clone()).header("content-encoding", "identity"),
        put("/twins/d", body.clone()).header("content-type", "text/plain"),
        put("/twins/d", body).header("content-type", "application/json; charset=utf-16"),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, version) in [
        ("no version", None),
        ("an empty version", Some("")),
        ("the latest version", Some("latest")),
        ("a version of a thirteenth month", Some("2021-13-12")),
        ("a version in short digits", Some("2021-4-12")),
        ("a version with a tail", Some("2021-04-12-beta")),
        ("a version with slashes", Some("2021%2F04%2F12")),
        ("a version in quotes", Some("%222021-04-12%22")),
    ] {
        rows.push(row(
            "HTTP-1",
            name,
            get("/devices/d").version(version),
            VERSION,
        ));
        let change = put("/twins/d", json!({"tags": {"spoilt": 1}})).version(version);
        rows.push(row(
            "HTTP-1",
            format!("a change with {name}"),
            change,
            VERSION,
        ));
    }
    let twice = get("/devices/d?api-version=latest");
    rows.push(row(
        "HTTP-1",
        "two versions, the first of them wrong",
        twice,
        VERSION,
    ));

    let plain = || patch("/twins/d", json!({"tags": {"spoilt": 1}}));
    for encoding in ["gzip", "deflate", "br", "gzip, identity", ""] {
        rows.push(row(
            "HTTP-17",
            format!("a body that says it is encoded as '{encoding}'"),
            plain().header("content-encoding", encoding),
            ENCODING,
        ));
    }
    // The begin of every gzip file, with and without saying so.
    let packed = || request("PATCH", "/twins/d").body(b"\x1f\x8b\x08\x00\x00\x00".as_slice());
    let said = packed().header("content-encoding", "gzip");
    rows.push(row("HTTP-17", "a packed body", said, ENCODING));
    rows.push(row(
        "HTTP-15",
        "a packed body that does not say so",
        packed(),
        FORMAT,
    ));
    let form = request("PATCH", "/twins/d")
        .body("tags=x")
        .header("content-type", "application/x-www-form-urlencoded");
    rows.push(row("HTTP-17", "a form", form, FORMAT));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    rows.push(row(
        "HTTP-15",
        "a hundred thousand levels",
        request("PATCH", "/twins/d").body(deep),
        super::INVALID,
    ));
    let spaces = request("PATCH", "/twins/d").body(" ".repeat(100_000));
    rows.push(row("HTTP-15", "a hundred thousand blanks", spaces, FORMAT));
    let page = format!("<html>{}</html>", text(1_000));
    let page = request("PUT", "/jobs/v2/new").body(page);
    rows.push(row("HTTP-15", "a page of a proxy", page, FORMAT));
    rows
}
