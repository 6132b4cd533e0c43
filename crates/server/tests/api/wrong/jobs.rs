//! Jobs: both bodies member by member, what a path may name, cancels, lists.

use serde_json::{Value, json};

use super::{
    FORMAT, GENERIC, INVALID, JOB_EXISTS, MISSING, NO_JOB, NO_METHOD, PRECONDITION, Row, TOO_LARGE,
    WRONG_STATE,
    fields::{filling, nested, text, with, without},
    request::{Request, get, post, put, request},
    row,
};

const NEW: &str = "/jobs/v2/new";

pub(super) fn method_job() -> Value {
    json!({
        "type": "scheduleDeviceMethod",
        "cloudToDeviceMethod": {"methodName": "m", "payload": null},
        "queryCondition": "deviceId IN ['d', 'other']",
    })
}

pub(super) fn twin_job() -> Value {
    json!({
        "type": "scheduleUpdateTwin",
        "updateTwin": {"etag": "*", "tags": {"ring": 1}, "properties": {"desired": {"t": [5]}}},
        "queryCondition": "deviceId = 'd'",
    })
}

pub(super) fn sound() -> Vec<Request> {
    let mut ahead = method_job();
    ahead["startTime"] = json!("2999-01-01T00:00:00Z");
    vec![
        put("/jobs/v2/right-1", ahead),
        put("/jobs/v2/right-2", twin_job()),
        get("/jobs/v2/query?jobStatus=finished&jobType=ScheduleUpdateTwin"),
        post("/jobs/v2/ahead/cancel", Value::Null).body(""),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_both();
    rows.extend(of_times());
    rows.extend(of_method_jobs());
    rows.extend(of_twin_jobs());
    rows.extend(of_conditions());
    rows.extend(of_ids());
    rows.extend(of_lists());
    rows
}

fn of_both() -> Vec<Row> {
    let job = |name: &str, value| put(NEW, with(method_job(), name, value));
    let mut rows = vec![
        row(
            "JOB-32",
            "a job without type",
            put(NEW, without(method_job(), "type")),
            MISSING,
        )
        .saying("type"),
        row(
            "JOB-32",
            "a job whose type is null",
            job("type", Value::Null),
            MISSING,
        )
        .saying("type"),
        row(
            "HTTP-15",
            "a job whose type is a number",
            job("type", json!(3)),
            INVALID,
        )
        .saying("type"),
        row(
            "HTTP-15",
            "a job that is a list",
            put(NEW, json!([method_job()])),
            INVALID,
        )
        .saying("body"),
        row(
            "HTTP-15",
            "a job that is null",
            put(NEW, Value::Null),
            INVALID,
        ),
        row(
            "HTTP-15",
            "a job without body",
            put(NEW, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "JOB-1",
            "a job whose body names another",
            job("jobId", json!("old")),
            INVALID,
        )
        .saying("jobId"),
        row(
            "JOB-1",
            "a job whose body has another number",
            job("jobId", json!(7)),
            INVALID,
        ),
        row(
            "HTTP-15",
            "a job whose id is an object",
            job("jobId", json!({})),
            INVALID,
        )
        .saying("jobId"),
        row(
            "HTTP-16",
            "a job of more than 64 MiB",
            put(NEW, Value::Null).declaring(64 * 1024 * 1024 + 1),
            TOO_LARGE,
        ),
    ];
    for name in [
        "scheduleDirectMethod",
        "scheduleTwinUpdate",
        "export",
        "unknown",
        "",
    ] {
        let request = job("type", json!(name));
        rows.push(row(
            "JOB-2",
            format!("a job of the type '{name}'"),
            request,
            GENERIC,
        ));
    }
    rows
}

fn of_times() -> Vec<Row> {
    let job = |name: &str, value| put(NEW, with(method_job(), name, value));
    let mut rows = Vec::new();
    for (name, start) in [
        ("no date", json!("tomorrow")),
        ("empty", json!("")),
        ("a date alone", json!("2031-02-03")),
        ("a month too many", json!("2031-13-03T04:05:06Z")),
        ("an hour too many", json!("2031-02-03T25:05:06Z")),
        ("of the year 10000", json!("+10000-01-01T00:00:00Z")),
        ("a number", json!(1_900_000_000)),
        ("a list", json!(["2031-02-03T04:05:06Z"])),
    ] {
        let request = job("startTime", start);
        rows.push(
            row(
                "JOB-33",
                format!("a start time that is {name}"),
                request,
                INVALID,
            )
            .saying("startTime"),
        );
    }
    for (name, seconds) in [
        ("negative", json!(-1)),
        ("a fraction", json!(1.5)),
        ("over 31 bits", json!(2_147_483_648_u64)),
        ("over 64 bits", json!(1e30)),
        ("a word", json!("hour")),
        ("true", json!(true)),
    ] {
        let request = job("maxExecutionTimeInSeconds", seconds);
        rows.push(
            row(
                "JOB-33",
                format!("a window that is {name}"),
                request,
                INVALID,
            )
            .saying("maxExecutionTimeInSeconds"),
        );
    }
    rows
}

fn of_method_jobs() -> Vec<Row> {
    let call = |name: &str, value| {
        put(
            NEW,
            with(method_job(), &format!("cloudToDeviceMethod.{name}"), value),
        )
    };
    let member = |name: &str| format!("cloudToDeviceMethod.{name}");
    let wrong_shape = with(method_job(), "cloudToDeviceMethod", json!("m"));
    vec![
        row(
            "JOB-32",
            "a method job without method",
            put(NEW, without(method_job(), "cloudToDeviceMethod")),
            MISSING,
        )
        .saying("cloudToDeviceMethod"),
        row(
            "HTTP-15",
            "a method job whose method is text",
            put(NEW, wrong_shape),
            INVALID,
        )
        .saying("cloudToDeviceMethod"),
        row(
            "METHOD-6",
            "a method job without name",
            call("methodName", Value::Null),
            MISSING,
        )
        .saying(member("methodName")),
        row(
            "METHOD-1",
            "a method job whose name has a slash",
            call("methodName", json!("a/b")),
            INVALID,
        )
        .saying(member("methodName")),
        row(
            "METHOD-1",
            "a method job of 101 characters",
            call("methodName", json!(text(101))),
            INVALID,
        )
        .saying("100"),
        row(
            "METHOD-4",
            "a method job of 128 KiB and one byte",
            call("payload", json!(text(128 * 1024 - 1))),
            INVALID,
        )
        .saying(member("payload")),
        row(
            "METHOD-4",
            "a method job of 129 levels",
            call("payload", nested(129)),
            INVALID,
        )
        .saying("128"),
        row(
            "METHOD-7",
            "a method job answered within 4 s",
            call("responseTimeoutInSeconds", json!(4)),
            INVALID,
        )
        .saying(member("responseTimeoutInSeconds")),
        row(
            "METHOD-7",
            "a method job answered within 301 s",
            call("responseTimeoutInSeconds", json!("301")),
            INVALID,
        )
        .saying(member("responseTimeoutInSeconds")),
        row(
            "METHOD-7",
            "a method job that connects within 301 s",
            call("connectTimeoutInSeconds", json!(301)),
            INVALID,
        )
        .saying(member("connectTimeoutInSeconds")),
    ]
}

fn of_twin_jobs() -> Vec<Row> {
    let update =
        |name: &str, value| put(NEW, with(twin_job(), &format!("updateTwin.{name}"), value));
    vec![
        row(
            "JOB-32",
            "a twin job without twin",
            put(NEW, without(twin_job(), "updateTwin")),
            MISSING,
        )
        .saying("updateTwin"),
        row(
            "HTTP-15",
            "a twin job whose twin is a list",
            put(NEW, with(twin_job(), "updateTwin", json!([]))),
            INVALID,
        )
        .saying("updateTwin"),
        row(
            "JOB-10",
            "a twin job for one version",
            update("etag", json!("AAAAAAAAAAE=")),
            PRECONDITION,
        )
        .saying("etag"),
        row(
            "JOB-10",
            "a twin job whose etag is empty",
            update("etag", json!("")),
            PRECONDITION,
        ),
        row(
            "HTTP-15",
            "a twin job whose etag is a number",
            update("etag", json!(1)),
            INVALID,
        )
        .saying("etag"),
        row(
            "TWIN-20",
            "a twin job whose tags are a list",
            update("tags", json!([])),
            INVALID,
        )
        .saying("tags"),
        row(
            "TWIN-20",
            "a twin job whose properties are text",
            update("properties", json!("x")),
            INVALID,
        )
        .saying("properties"),
        row(
            "TWIN-20",
            "a twin job whose desired section is a number",
            update("properties.desired", json!(1)),
            INVALID,
        )
        .saying("desired"),
        row(
            "TWIN-14",
            "a twin job with a dot in a key",
            update("tags", json!({"a.b": 1})),
            INVALID,
        )
        .saying("a.b"),
        row(
            "TWIN-12",
            "a twin job with a stamp below",
            update("properties.desired", json!({"a": {"$version": 1}})),
            INVALID,
        )
        .saying("$version"),
        row(
            "TWIN-13",
            "a twin job of eleven levels",
            update("tags", json!({"k": nested(11)})),
            INVALID,
        )
        .saying("10 levels"),
        row(
            "TWIN-15",
            "a twin job with a long string",
            update("tags", json!({"a": text(4_097)})),
            INVALID,
        )
        .saying("4097"),
        row(
            "TWIN-16",
            "a twin job with a larger integer",
            put(NEW, Value::Null).body(
                r#"{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"tags":{"a":18446744073709551616}}}"#,
            ),
            INVALID,
        )
        .saying("18446744073709551616"),
        row(
            "TWIN-16",
            "a twin job with a large integer",
            update("tags", json!({"a": 4_503_599_627_370_496_i64})),
            INVALID,
        )
        .saying("tags.a"),
        row(
            "JOB-37",
            "a twin job that never fits",
            update("properties.desired", filling(32_769)),
            INVALID,
        )
        .saying("32769"),
    ]
}

fn of_conditions() -> Vec<Row> {
    let condition = |value| put(NEW, with(method_job(), "queryCondition", value));
    let mut rows = vec![
        row(
            "JOB-32",
            "a job without condition",
            put(NEW, without(method_job(), "queryCondition")),
            MISSING,
        )
        .saying("queryCondition"),
        row("JOB-32", "a job for nobody", condition(json!("")), MISSING).saying("queryCondition"),
        row(
            "JOB-32",
            "a job for blanks",
            condition(json!(" \t ")),
            MISSING,
        ),
        row(
            "HTTP-15",
            "a job for a number",
            condition(json!(1)),
            INVALID,
        )
        .saying("queryCondition"),
    ];
    for (fact, name, text) in [
        ("QUERY-1", "a whole query", "SELECT * FROM devices"),
        (
            "QUERY-1",
            "a source of rows",
            "FROM devices.jobs WHERE status = 'x'",
        ),
        ("JOB-35", "no expression", "deviceId ="),
        ("JOB-35", "a string without end", "deviceId = 'd"),
        (
            "JOB-35",
            "two expressions",
            "deviceId = 'd' status = 'enabled'",
        ),
        ("JOB-35", "an open bracket", "(deviceId = 'd'"),
        ("JOB-35", "an unknown function", "FLY(deviceId)"),
        ("QUERY-10", "an unknown field", "colour = 'red'"),
        ("QUERY-7", "a chain of comparisons", "1 < version < 3"),
    ] {
        let request = condition(json!(text));
        rows.push(
            row(fact, format!("a condition with {name}"), request, INVALID)
                .saying("queryCondition"),
        );
    }
    let deep = format!("{}true{}", "(".repeat(201), ")".repeat(201));
    rows.push(row(
        "QUERY-2",
        "a condition of 201 levels",
        condition(json!(deep)),
        INVALID,
    ));
    rows
}

fn of_ids() -> Vec<Row> {
    let long = format!("/jobs/v2/{}", text(65));
    let cancel = |path: &str| post(path, Value::Null).body("");
    vec![
        row(
            "JOB-1",
            "a job named with a blank",
            put("/jobs/v2/a%20b", method_job()),
            INVALID,
        )
        .saying("job id"),
        row(
            "JOB-1",
            "a job named with a line",
            put("/jobs/v2/a_b", method_job()),
            INVALID,
        ),
        row(
            "JOB-1",
            "a job named with a letter beyond ASCII",
            put("/jobs/v2/%C3%BC", method_job()),
            INVALID,
        ),
        row(
            "JOB-1",
            "a job named with 65 characters",
            put(long, method_job()),
            INVALID,
        )
        .saying("64"),
        row(
            "JOB-34",
            "a job whose name is taken",
            put("/jobs/v2/done", method_job()),
            JOB_EXISTS,
        )
        .saying("done"),
        row(
            "JOB-34",
            "a job whose name a waiting one has",
            put("/jobs/v2/ahead", twin_job()),
            JOB_EXISTS,
        ),
        row(
            "JOB-34",
            "a job that is not there",
            get("/jobs/v2/never"),
            NO_JOB,
        )
        .saying("never"),
        row(
            "JOB-34",
            "a job that cannot be there",
            get("/jobs/v2/a%2Fb"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "an import job that is not there",
            get("/jobs/never"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a cancel of nothing",
            cancel("/jobs/v2/never/cancel"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a cancel of what cannot be",
            cancel("/jobs/v2/a%20b/cancel"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a cancel of what has ended",
            cancel("/jobs/v2/done/cancel"),
            WRONG_STATE,
        )
        .saying("done"),
        row(
            "JOB-34",
            "a job that is deleted",
            request("DELETE", "/jobs/v2/done"),
            NO_METHOD,
        ),
        row(
            "JOB-34",
            "a job that is patched",
            request("PATCH", "/jobs/v2/done"),
            NO_METHOD,
        ),
        row(
            "JOB-38",
            "a job named query",
            put("/jobs/v2/query", method_job()),
            NO_METHOD,
        ),
        row(
            "JOB-34",
            "a cancel that is read",
            get("/jobs/v2/ahead/cancel"),
            NO_METHOD,
        ),
    ]
}

fn of_lists() -> Vec<Row> {
    let list = |parameters: &str| get(format!("/jobs/v2/query?{parameters}"));
    vec![
        row(
            "JOB-36",
            "jobs of an unknown status",
            list("jobStatus=asleep"),
            INVALID,
        )
        .saying("jobStatus"),
        row(
            "JOB-36",
            "jobs of the status unknown",
            list("jobStatus=unknown"),
            INVALID,
        ),
        row(
            "JOB-36",
            "jobs of an unknown type",
            list("jobType=export"),
            INVALID,
        )
        .saying("jobType"),
        row(
            "HTTP-21",
            "jobs from a place that is none",
            list("").header("x-ms-continuation", "there"),
            INVALID,
        )
        .saying("continuation"),
        row(
            "HTTP-21",
            "jobs from a place in bytes",
            list("").header("x-ms-continuation", b"\xff\xfe".as_slice()),
            INVALID,
        ),
        row(
            "HTTP-21",
            "ten jobs in words",
            list("").header("x-ms-max-item-count", "ten"),
            INVALID,
        )
        .saying("x-ms-max-item-count"),
        row(
            "HTTP-21",
            "jobs in no number",
            list("").header("x-ms-max-item-count", ""),
            INVALID,
        ),
        row("HTTP-21", "jobs in halves", list("pageSize=1.5"), INVALID),
        row(
            "HTTP-21",
            "jobs in bytes",
            list("").header("x-ms-max-item-count", b"\xc3\xbc".as_slice()),
            INVALID,
        ),
    ]
}
