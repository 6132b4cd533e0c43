//! The query endpoint: body, text, paging.

use serde_json::{Value, json};

use super::{
    FORMAT, INVALID, NO_METHOD, Row, TOO_LARGE,
    fields::text,
    request::{Request, post, request},
    row,
};

fn ask(text: &str) -> Request {
    post("/devices/query", json!({ "query": text }))
}

pub(super) fn sound() -> Vec<Request> {
    vec![
        ask("SELECT * FROM devices WHERE tags.site = 'b4'"),
        ask("SELECT * FROM devices").header("x-ms-max-item-count", "0"),
        ask("SELECT * FROM devices.jobs").header("x-ms-continuation", ""),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_bodies();
    rows.extend(of_pages());
    rows.extend(of_texts());
    rows
}

fn of_bodies() -> Vec<Row> {
    let send = |body| post("/devices/query", body);
    vec![
        row(
            "HTTP-15",
            "a query without body",
            send(Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a query as plain text",
            send(Value::Null).body("SELECT * FROM devices"),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a query that is not there",
            send(json!({})),
            INVALID,
        )
        .saying("query"),
        row(
            "HTTP-15",
            "a query that is null",
            send(json!({"query": null})),
            INVALID,
        )
        .saying("query"),
        row(
            "HTTP-15",
            "a query that is a list",
            send(json!({"query": ["SELECT"]})),
            INVALID,
        )
        .saying("query"),
        row(
            "HTTP-15",
            "a query that is a string",
            send(json!("SELECT * FROM devices")),
            INVALID,
        ),
        row(
            "HTTP-16",
            "a query of more than 1 MiB",
            ask(&format!(
                "SELECT * FROM devices WHERE tags.a = '{}'",
                text(1024 * 1024)
            )),
            TOO_LARGE,
        ),
    ]
}

fn of_pages() -> Vec<Row> {
    let all = || ask("SELECT * FROM devices");
    vec![
        row(
            "HTTP-21",
            "rows in words",
            all().header("x-ms-max-item-count", "many"),
            INVALID,
        )
        .saying("x-ms-max-item-count"),
        row(
            "HTTP-21",
            "rows in hexadecimal",
            all().header("x-ms-max-item-count", "0x10"),
            INVALID,
        ),
        row(
            "HTTP-21",
            "rows in bytes",
            all().header("x-ms-max-item-count", b"\xff".as_slice()),
            INVALID,
        ),
        row(
            "HTTP-21",
            "rows from nowhere",
            all().header("x-ms-continuation", "nowhere"),
            INVALID,
        )
        .saying("continuation"),
        row(
            "HTTP-21",
            "rows from bytes",
            all().header("x-ms-continuation", b"\xff".as_slice()),
            INVALID,
        ),
        row(
            "HTTP-21",
            "rows from very far",
            all().header("x-ms-continuation", text(8_000)),
            INVALID,
        ),
        row(
            "HTTP-18",
            "a query that is patched",
            request("PATCH", "/devices/query"),
            NO_METHOD,
        ),
    ]
}

fn of_texts() -> Vec<Row> {
    let mut rows = Vec::new();
    for (fact, name, text) in [
        ("QUERY-5", "an empty query", ""),
        ("QUERY-5", "a query without SELECT", "FROM devices"),
        ("QUERY-5", "a query without FROM", "SELECT *"),
        ("QUERY-5", "a query of nothing", "SELECT FROM devices"),
        (
            "QUERY-5",
            "a query from elsewhere",
            "SELECT * FROM enrollments",
        ),
        (
            "QUERY-5",
            "a query with an empty WHERE",
            "SELECT * FROM devices WHERE",
        ),
        (
            "QUERY-5",
            "a query that goes on",
            "SELECT * FROM devices WHERE true; DROP TABLE devices",
        ),
        (
            "QUERY-5",
            "a query with a wild character",
            "SELECT * FROM devices WHERE tags.a = @x",
        ),
        (
            "QUERY-8",
            "a query with an open string",
            "SELECT * FROM devices WHERE tags.a = 'x",
        ),
        (
            "QUERY-10",
            "a query of an unknown field",
            "SELECT * FROM devices WHERE colour = 1",
        ),
        (
            "QUERY-7",
            "a query with a comma for AND",
            "SELECT * FROM devices WHERE true, false",
        ),
        (
            "QUERY-15",
            "a query of one name twice",
            "SELECT tags.a AS x, tags.b AS x FROM devices",
        ),
        (
            "QUERY-17",
            "a query with too few arguments",
            "SELECT * FROM devices WHERE STARTSWITH(tags.a)",
        ),
    ] {
        rows.push(row(fact, name, ask(text), INVALID));
    }
    rows
}
