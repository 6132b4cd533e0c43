//! Modules: identities, twins and methods, on devices that are there and that are not.

use serde_json::{Value, json};

use super::{
    Answer, INVALID, NO_DEVICE, NO_METHOD, NOT_ONLINE, PRECONDITION, Row, UNAUTHORIZED,
    fields::{nested, text, with},
    jobs,
    request::{Request, Token, delete, get, patch, post, put, request},
    row,
};

const NO_MODULE: Answer = Answer::Refused(404_010, "ModuleNotFound");
const MODULE_EXISTS: Answer = Answer::Refused(409_301, "ModuleAlreadyExistsOnDevice");
const OPERATION: Answer = Answer::Refused(400_003, "InvalidOperation");

pub(super) fn sound() -> Vec<Request> {
    let mut job = jobs::method_job();
    job["queryCondition"] = json!("FROM devices.modules WHERE moduleId = 'm'");
    job["startTime"] = json!("2999-01-01T00:00:00Z");
    vec![
        put(
            "/devices/d/modules/right",
            json!({"moduleId": "right", "deviceId": "d"}),
        ),
        patch("/twins/d/modules/right", json!({"tags": {"a": 1}})),
        post("/twins/d/modules/right/methods", json!({"methodName": "m"})),
        put("/jobs/v2/right-3", job),
        delete("/devices/d/modules/right").header("if-match", "\"*\""),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_identities();
    rows.extend(of_what_is_not_there());
    rows.extend(of_twins_and_calls());
    rows
}

fn of_identities() -> Vec<Row> {
    let module = |body| put("/devices/d/modules/new", body);
    let long = format!("/devices/d/modules/{}", text(129));
    let known = || put("/devices/d/modules/m", json!({}));
    vec![
        row("HTTP-15", "a module that is a list", module(json!([])), INVALID).saying("body"),
        row("HTTP-15", "a module kept by a number", module(json!({"managedBy": 1})), INVALID)
            .saying("managedBy"),
        row("HTTP-15", "a module with listed credentials", module(json!({"authentication": []})), INVALID)
            .saying("authentication"),
        row("REG-40", "a module whose body names another", module(json!({"moduleId": "old"})), INVALID)
            .saying("moduleId"),
        row("REG-40", "a module whose body names another device", module(json!({"deviceId": "other"})), INVALID)
            .saying("deviceId"),
        row(
            "REG-41",
            "a module with a broken key",
            module(json!({"authentication": {"symmetricKey": {"primaryKey": "x", "secondaryKey": "y"}}})),
            INVALID,
        )
        .saying("primaryKey"),
        row("REG-11", "a module named with a blank", put("/devices/d/modules/a%20b", json!({})), INVALID),
        row("REG-11", "a module named with 129 characters", put(long, json!({})), INVALID)
            .saying("128"),
        row("REG-21", "a module that is there already", known(), MODULE_EXISTS),
        row("REG-42", "a module put over another version", known().header("if-match", "\"Mg==\""), PRECONDITION),
        row("HTTP-19", "a module put over bytes", known().header("if-match", b"\xff".as_slice()), PRECONDITION),
        row(
            "REG-42",
            "a delete of another version of a module",
            delete("/devices/d/modules/m").header("if-match", "\"OTk5\""),
            PRECONDITION,
        ),
        row("REG-20", "a delete of an edge device's own module", delete("/devices/edge/modules/$edgeHub"), OPERATION),
        row(
            "AUTH-12",
            "service may not create a module",
            module(json!({})).token(Token::Policy("service")),
            UNAUTHORIZED,
        ),
        row("HTTP-18", "a module that is posted", request("POST", "/devices/d/modules/m"), NO_METHOD),
        row("HTTP-18", "modules that are deleted", request("DELETE", "/devices/d/modules"), NO_METHOD),
    ]
}

fn of_what_is_not_there() -> Vec<Row> {
    let mut rows = Vec::new();
    let body = || json!({"tags": {"spoilt": 1}});
    for (device, module, answer) in [
        ("never", "m", NO_DEVICE),
        ("a%2Fb", "m", NO_DEVICE),
        ("d", "never", NO_MODULE),
        ("d", "a%2Fb", NO_MODULE),
        ("other", "m", NO_MODULE),
    ] {
        let identity = format!("/devices/{device}/modules/{module}");
        let twin = format!("/twins/{device}/modules/{module}");
        let call = json!({"methodName": "m"});
        for (what, request) in [
            ("read", get(&*identity)),
            ("deleted", delete(&*identity)),
            ("shown", get(&*twin)),
            ("patched", patch(&*twin, body())),
            ("replaced", put(&*twin, body())),
            ("called", post(format!("{twin}/methods"), call)),
        ] {
            rows.push(row(
                "REG-16",
                format!("{device}/{module} is {what}"),
                request,
                answer,
            ));
        }
    }
    rows.extend([
        row(
            "REG-16",
            "a module of nobody is created",
            put("/devices/never/modules/m", json!({})),
            NO_DEVICE,
        ),
        row(
            "REG-16",
            "modules of nobody are listed",
            get("/devices/never/modules"),
            NO_DEVICE,
        ),
        row(
            "REG-42",
            "a change of a module that is not there",
            put("/devices/d/modules/new", json!({})).header("if-match", "*"),
            NO_MODULE,
        ),
        row(
            "REG-44",
            "an item for a module that is there",
            post(
                "/devices",
                json!([{"id": "d", "moduleId": "m", "importMode": "create"}]),
            ),
            Answer::BulkFailed(&[("d", "ModuleAlreadyExistsOnDevice")]),
        ),
        row(
            "REG-44",
            "an item for a module that is not there",
            post(
                "/devices",
                json!([{"id": "d", "moduleId": "new", "importMode": "update"}]),
            ),
            Answer::BulkFailed(&[("d", "ModuleNotFound")]),
        ),
        row(
            "REG-14",
            "a renewal of a module that is not there",
            post(
                "/devices/keys/regenerate",
                json!({"policyKey": "swap", "devices": [{"id": "d", "moduleId": "new"}]}),
            ),
            Answer::KeysStay(&[("d", "ModuleNotFound")]),
        ),
    ]);
    rows
}

fn of_twins_and_calls() -> Vec<Row> {
    let job = |condition: &str| {
        put(
            "/jobs/v2/new",
            with(jobs::twin_job(), "queryCondition", json!(condition)),
        )
    };
    let mut rows = vec![
        row(
            "METHOD-8",
            "a call to a module that is away",
            post("/twins/d/modules/m/methods", json!({"methodName": "m"})),
            NOT_ONLINE,
        ),
        row(
            "METHOD-7",
            "a call to a module answered within 4 s",
            post(
                "/twins/d/modules/m/methods",
                json!({"methodName": "m", "responseTimeoutInSeconds": 4}),
            ),
            INVALID,
        ),
        row(
            "QUERY-10",
            "a job for modules of an unknown field",
            job("FROM devices.modules WHERE colour = 1"),
            INVALID,
        ),
        row(
            "JOB-35",
            "a job for modules of nothing",
            job("FROM devices.modules WHERE"),
            INVALID,
        ),
        row(
            "QUERY-1",
            "a job for modules of nowhere",
            job("FROM modules WHERE true"),
            INVALID,
        ),
    ];
    for method in ["PATCH", "PUT"] {
        let send = |body: Value| request(method, "/twins/d/modules/m").json(&body);
        rows.extend([
            row(
                "TWIN-14",
                format!("{method}: a module's twin with a dot in a key"),
                send(json!({"tags": {"a.b": 1}})),
                INVALID,
            )
            .saying("a.b"),
            row(
                "TWIN-13",
                format!("{method}: a module's twin of eleven levels"),
                send(json!({"properties": {"desired": {"k": nested(11)}}})),
                INVALID,
            ),
            row(
                "TWIN-21",
                format!("{method}: a module's twin of another version"),
                send(json!({"tags": {"spoilt": 1}})).header("if-match", "\"AAAAAAAAAGM=\""),
                PRECONDITION,
            ),
        ]);
    }
    rows
}
