//! Configurations: the document member by member, preconditions, trials, contents applied by hand.

use serde_json::{Value, json};

use super::{
    Answer, FORMAT, INVALID, MISSING, NO_DEVICE, NO_METHOD, PRECONDITION, Row, UNAUTHORIZED,
    fields::{nested, text, with},
    request::{Request, Token, delete, get, post, put, request},
    row,
};

const NEW: &str = "/configurations/new";
const ABSENT: Answer = Answer::Refused(404_301, "ConfigurationNotFound");
const EXISTS: Answer = Answer::Refused(409_401, "ConfigurationAlreadyExists");
const CONDITION: Answer = Answer::Refused(400_401, "InvalidConfigurationTargetCondition");

/// A configuration that is for nobody, so that its hub stays as it is.
pub(super) fn configuration() -> Value {
    json!({
        "labels": {"made": "here"},
        "content": {"deviceContent": {"properties.desired.place": {"floor": 3}}},
        "targetCondition": "",
        "priority": 10,
        "metrics": {"queries": {"all": "SELECT deviceId FROM devices"}},
    })
}

pub(super) fn sound() -> Vec<Request> {
    vec![
        put("/configurations/right", configuration()),
        put("/configurations/right", configuration()).header("if-match", "\"*\""),
        post(
            "/configurations/testQueries",
            json!({"targetCondition": "tags.a = 1", "customMetricQueries": {}}),
        ),
        post(
            "/devices/d/applyConfigurationContent",
            json!({"modulesContent": {"m": {"properties.desired.a": 1}}}),
        ),
        delete("/configurations/right"),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_bodies();
    rows.extend(of_contents());
    rows.extend(of_names());
    rows.extend(of_calls());
    rows
}

fn of_bodies() -> Vec<Row> {
    let spoilt = |name: &str, value| put(NEW, with(configuration(), name, value));
    let mut rows = vec![
        row(
            "HTTP-15",
            "a configuration without body",
            put(NEW, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a configuration that is a list",
            put(NEW, json!([])),
            INVALID,
        )
        .saying("body"),
        row(
            "CFG-2",
            "a configuration whose body names another",
            spoilt("id", json!("old")),
            INVALID,
        )
        .saying("id"),
        row(
            "HTTP-15",
            "a configuration with listed labels",
            spoilt("labels", json!(["x"])),
            INVALID,
        )
        .saying("labels"),
        row(
            "HTTP-15",
            "a configuration with a numbered label",
            spoilt("labels", json!({"a": 1})),
            INVALID,
        )
        .saying("labels"),
        row(
            "HTTP-15",
            "a configuration for a number",
            spoilt("targetCondition", json!(1)),
            INVALID,
        )
        .saying("targetCondition"),
        row(
            "HTTP-15",
            "a configuration with listed metrics",
            spoilt("metrics", json!([])),
            INVALID,
        )
        .saying("metrics"),
        row(
            "HTTP-15",
            "a configuration with a numbered metric",
            spoilt("metrics.queries", json!({"a": 1})),
            INVALID,
        )
        .saying("metrics"),
        row(
            "CFG-11",
            "a metric that is no query",
            spoilt("metrics.queries", json!({"a": "count all"})),
            INVALID,
        )
        .saying("metrics.queries.a"),
    ];
    for (name, value) in [
        ("negative", json!(-1)),
        ("over 31 bits", json!(2_147_483_648_u64)),
        ("a fraction", json!(1.5)),
        ("a word", json!("high")),
    ] {
        let request = spoilt("priority", value);
        rows.push(
            row(
                "HTTP-15",
                format!("a priority that is {name}"),
                request,
                INVALID,
            )
            .saying("priority"),
        );
    }
    for (name, condition) in [
        ("no expression", "tags.a ="),
        ("a whole query", "SELECT * FROM devices"),
        ("an unknown field", "colour = 'red'"),
    ] {
        let request = spoilt("targetCondition", json!(condition));
        rows.push(
            row(
                "CFG-4",
                format!("a configuration for {name}"),
                request,
                CONDITION,
            )
            .saying("targetCondition"),
        );
    }
    rows
}

fn of_contents() -> Vec<Row> {
    let content = |value| put(NEW, with(configuration(), "content", value));
    let device = |paths: Value| content(json!({ "deviceContent": paths }));
    vec![
        row(
            "HTTP-15",
            "a content that is text",
            content(json!("x")),
            INVALID,
        )
        .saying("content"),
        row(
            "HTTP-15",
            "a content that is a list",
            content(json!([])),
            INVALID,
        )
        .saying("content"),
        row(
            "CFG-6",
            "a content for tags",
            device(json!({"tags.a": 1})),
            INVALID,
        )
        .saying("tags.a"),
        row(
            "CFG-6",
            "a content for reported properties",
            device(json!({"properties.reported.a": 1})),
            INVALID,
        )
        .saying("properties.reported.a"),
        row(
            "CFG-6",
            "a content that meets itself",
            device(json!({"properties.desired.a": {"b": 1}, "properties.desired.a.b": 2})),
            INVALID,
        )
        .saying("a.b"),
        row(
            "CFG-6",
            "a content with a stamp",
            device(json!({"properties.desired.$version": 1})),
            INVALID,
        ),
        row(
            "CFG-6",
            "a content with a blank in a key",
            device(json!({"properties.desired.a b": 1})),
            INVALID,
        ),
        row(
            "CFG-6",
            "a content of eleven levels",
            device(json!({"properties.desired.k": nested(11)})),
            INVALID,
        )
        .saying("10 levels"),
        row(
            "CFG-6",
            "a content with a long string",
            device(json!({"properties.desired.a": text(4_097)})),
            INVALID,
        )
        .saying("4097"),
        row(
            "CFG-6",
            "a content with a large integer",
            device(json!({"properties.desired.a": 4_503_599_627_370_496_i64})),
            INVALID,
        ),
    ]
}

fn of_names() -> Vec<Row> {
    let long = format!("/configurations/{}", text(129));
    let known = || put("/configurations/known", configuration());
    vec![
        row(
            "CFG-1",
            "a configuration named in capitals",
            put("/configurations/New", configuration()),
            INVALID,
        ),
        row(
            "CFG-1",
            "a configuration named with a blank",
            put("/configurations/a%20b", configuration()),
            INVALID,
        ),
        row(
            "CFG-1",
            "a configuration named with 129 characters",
            put(long, configuration()),
            INVALID,
        )
        .saying("128"),
        row(
            "CFG-2",
            "a configuration that is there already",
            known(),
            EXISTS,
        )
        .saying("known"),
        row(
            "CFG-2",
            "a configuration put over another version",
            known().header("if-match", "\"OTk5\""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a configuration put over bytes",
            known().header("if-match", b"\xff".as_slice()),
            PRECONDITION,
        ),
        row(
            "CFG-2",
            "a change of a configuration that is not there",
            put(NEW, configuration()).header("if-match", "\"*\""),
            ABSENT,
        ),
        row(
            "CFG-3",
            "a delete of another version of a configuration",
            delete("/configurations/known").header("if-match", "\"OTk5\""),
            PRECONDITION,
        ),
        row(
            "CFG-3",
            "a delete of a configuration that is not there",
            delete(NEW),
            ABSENT,
        ),
        row(
            "CFG-3",
            "a configuration that is not there",
            get(NEW),
            ABSENT,
        )
        .saying("new"),
        row(
            "CFG-3",
            "a configuration that cannot be there",
            get("/configurations/A%2FB"),
            ABSENT,
        ),
        row(
            "HTTP-18",
            "a configuration that is patched",
            request("PATCH", "/configurations/known"),
            NO_METHOD,
        ),
        row(
            "AUTH-12",
            "registryRead may not write a configuration",
            put(NEW, configuration()).token(Token::Policy("registryRead")),
            UNAUTHORIZED,
        ),
    ]
}

fn of_calls() -> Vec<Row> {
    const APPLY: &str = "/devices/d/applyConfigurationContent";
    const TRY: &str = "/configurations/testQueries";
    let desired = || json!({"modulesContent": {"m": {"properties.desired.a": 1}}});
    vec![
        row(
            "HTTP-15",
            "a trial without body",
            post(TRY, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a trial of a list",
            post(TRY, json!([])),
            INVALID,
        ),
        row(
            "HTTP-15",
            "a trial of a number",
            post(TRY, json!({"targetCondition": 1})),
            INVALID,
        )
        .saying("targetCondition"),
        row(
            "CFG-14",
            "a content for nobody",
            post("/devices/never/applyConfigurationContent", desired()),
            NO_DEVICE,
        ),
        row("CFG-14", "no content", post(APPLY, Value::Null), MISSING),
        row(
            "CFG-14",
            "a content that says nothing",
            post(APPLY, json!({})),
            INVALID,
        ),
        row(
            "CFG-14",
            "a content for a module that is not there",
            post(
                APPLY,
                json!({"modulesContent": {"new": {"properties.desired.a": 1}}}),
            ),
            Answer::Refused(404_010, "ModuleNotFound"),
        ),
        row(
            "CFG-14",
            "a content for the tags of a module",
            post(APPLY, json!({"modulesContent": {"m": {"tags": 1}}})),
            INVALID,
        )
        .saying("tags"),
        row("HTTP-18", "a content that is read", get(APPLY), NO_METHOD),
    ]
}
