//! Direct methods: the body member by member, and devices that cannot be called.

use serde_json::{Value, json};

use super::{
    FORMAT, INVALID, MISSING, NO_DEVICE, NO_METHOD, NOT_ONLINE, Row,
    fields::{nested, text, with, without},
    request::{Request, get, post},
    row,
};

const PATH: &str = "/twins/d/methods";

fn call() -> Value {
    json!({"methodName": "m", "payload": {"n": 1}, "responseTimeoutInSeconds": 5, "connectTimeoutInSeconds": 0})
}

pub(super) fn sound() -> Vec<Request> {
    let largest = with(call(), "payload", json!(text(128 * 1024 - 2)));
    vec![post(PATH, call()), post(PATH, largest)]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_bodies();
    rows.extend(of_devices());
    rows.extend(of_members());
    rows
}

fn of_bodies() -> Vec<Row> {
    let spoilt = |name: &str, value| post(PATH, with(call(), name, value));
    vec![
        row(
            "HTTP-15",
            "a call without body",
            post(PATH, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a call that is a list",
            post(PATH, json!([])),
            INVALID,
        ),
        row(
            "HTTP-15",
            "a call whose payload breaks off",
            post(PATH, Value::Null).body("{\"methodName\":\"m\",\"payload\":{"),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a call whose payload is not UTF-8",
            post(PATH, Value::Null).body(b"{\"methodName\":\"m\",\"payload\":\"\xff\"}".as_slice()),
            FORMAT,
        ),
        row(
            "METHOD-6",
            "a call without name",
            post(PATH, without(call(), "methodName")),
            MISSING,
        )
        .saying("methodName"),
        row(
            "METHOD-6",
            "a call whose name is null",
            spoilt("methodName", Value::Null),
            MISSING,
        ),
        row(
            "METHOD-6",
            "a call whose name is empty",
            spoilt("methodName", json!("")),
            MISSING,
        ),
        row(
            "HTTP-15",
            "a call whose name is a number",
            spoilt("methodName", json!(1)),
            INVALID,
        )
        .saying("methodName"),
        row(
            "METHOD-1",
            "a call whose name has 101 characters",
            spoilt("methodName", json!(text(101))),
            INVALID,
        )
        .saying("100"),
        row(
            "METHOD-4",
            "a call of 128 KiB and one byte",
            spoilt("payload", json!(text(128 * 1024 - 1))),
            INVALID,
        )
        .saying("payload"),
        row(
            "METHOD-4",
            "a call of 129 levels",
            spoilt("payload", nested(129)),
            INVALID,
        )
        .saying("payload"),
        row(
            "METHOD-8",
            "a call that waits for a disabled device",
            post(
                "/twins/off/methods",
                with(call(), "connectTimeoutInSeconds", json!(300)),
            ),
            NO_DEVICE,
        ),
    ]
}

fn of_devices() -> Vec<Row> {
    vec![
        row(
            "METHOD-8",
            "a call to nobody",
            post("/twins/never/methods", call()),
            NO_DEVICE,
        )
        .saying("never"),
        row(
            "HTTP-20",
            "a call to a broken name",
            post("/twins/a%2Fb/methods", call()),
            NO_DEVICE,
        ),
        row(
            "METHOD-8",
            "a call to a device that is away",
            post(PATH, call()),
            NOT_ONLINE,
        ),
        row(
            "METHOD-8",
            "a call to a device that is away, on the oldest version",
            post(PATH, call()).version(Some("2016-11-14")),
            NOT_ONLINE,
        ),
        row("HTTP-18", "a call that is read", get(PATH), NO_METHOD),
    ]
}

fn of_members() -> Vec<Row> {
    let spoilt = |name: &str, value| post(PATH, with(call(), name, value));
    let mut rows = Vec::new();
    for name in ["a b", "a/b", "a?b", "a#b", "a+b", "t\u{fc}r", "a\u{0}"] {
        let request = spoilt("methodName", json!(name));
        rows.push(
            row(
                "METHOD-1",
                format!("a call named {name:?}"),
                request,
                INVALID,
            )
            .saying("methodName"),
        );
    }
    for member in ["responseTimeoutInSeconds", "connectTimeoutInSeconds"] {
        for (name, value) in [
            ("301", json!(301)),
            ("negative", json!(-1)),
            ("a fraction", json!(5.5)),
            ("a word", json!("soon")),
            ("a list", json!([30])),
            ("over 64 bits", json!(1e30)),
        ] {
            let request = spoilt(member, value);
            rows.push(
                row(
                    "METHOD-7",
                    format!("a call whose {member} is {name}"),
                    request,
                    INVALID,
                )
                .saying(member),
            );
        }
    }
    for seconds in [0, 4] {
        let request = spoilt("responseTimeoutInSeconds", json!(seconds));
        rows.push(
            row(
                "METHOD-7",
                format!("a call answered within {seconds} s"),
                request,
                INVALID,
            )
            .saying("responseTimeoutInSeconds"),
        );
    }
    rows
}
