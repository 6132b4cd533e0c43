//! Device identities: the body member by member, preconditions, ids.

use serde_json::{Value, json};

use super::{
    DEVICE_EXISTS, FORMAT, INVALID, NO_DEVICE, PRECONDITION, Row,
    fields::text,
    request::{Request, delete, get, put, request},
    row,
};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

pub(super) fn sound() -> Vec<Request> {
    let keys = json!({"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}});
    vec![
        put(
            "/devices/right",
            json!({"deviceId": "right", "statusReason": text(128), "authentication": keys}),
        ),
        put("/devices/right", json!({})).header("if-match", "\"*\""),
        delete("/devices/right").header("if-match", "\"*\""),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_bodies();
    rows.extend(of_scopes());
    rows.extend(of_credentials());
    rows.extend(of_preconditions());
    rows.extend(of_ids());
    rows
}

fn of_scopes() -> Vec<Row> {
    let device = |body| put("/devices/new", body);
    vec![
        row(
            "REG-48",
            "a device with a long scope",
            device(json!({"deviceScope": text(257)})),
            INVALID,
        )
        .saying("deviceScope"),
        row(
            "REG-48",
            "a device with a long scope above it",
            device(json!({"parentScopes": [text(257)]})),
            INVALID,
        )
        .saying("parentScopes"),
        row(
            "REG-48",
            "a device with many scopes above it",
            device(json!({"parentScopes": vec!["s"; 17]})),
            INVALID,
        )
        .saying("parentScopes"),
    ]
}

fn of_bodies() -> Vec<Row> {
    let device = |body| put("/devices/new", body);
    vec![
        row(
            "HTTP-15",
            "a device without body",
            device(Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a device that is a list",
            device(json!([])),
            INVALID,
        )
        .saying("body"),
        row(
            "HTTP-15",
            "a device that is null",
            device(Value::Null),
            INVALID,
        ),
        row(
            "REG-40",
            "a device whose body names another",
            device(json!({"deviceId": "old"})),
            INVALID,
        )
        .saying("deviceId"),
        row(
            "HTTP-15",
            "a device whose id is a number",
            device(json!({"deviceId": 1})),
            INVALID,
        )
        .saying("deviceId"),
        row(
            "HTTP-15",
            "a device that is asleep",
            device(json!({"status": "asleep"})),
            INVALID,
        )
        .saying("status"),
        row(
            "HTTP-15",
            "a device whose status is true",
            device(json!({"status": true})),
            INVALID,
        ),
        row(
            "REG-41",
            "a device with a long reason",
            device(json!({"statusReason": text(129)})),
            INVALID,
        )
        .saying("statusReason"),
        row(
            "HTTP-15",
            "a device with a listed reason",
            device(json!({"statusReason": ["x"]})),
            INVALID,
        )
        .saying("statusReason"),
        row(
            "HTTP-15",
            "a device able to do text",
            device(json!({"capabilities": "edge"})),
            INVALID,
        )
        .saying("capabilities"),
        row(
            "HTTP-15",
            "a device that may be an edge",
            device(json!({"capabilities": {"iotEdge": "maybe"}})),
            INVALID,
        )
        .saying("iotEdge"),
        row(
            "HTTP-15",
            "a device whose scope is a number",
            device(json!({"deviceScope": 1})),
            INVALID,
        )
        .saying("deviceScope"),
        row(
            "HTTP-15",
            "a device whose parents are text",
            device(json!({"parentScopes": "p"})),
            INVALID,
        )
        .saying("parentScopes"),
        row(
            "REG-9",
            "a scope that changes",
            put(
                "/devices/edge",
                json!({"capabilities": {"iotEdge": true}, "deviceScope": "bogus"}),
            )
            .header("if-match", "*"),
            INVALID,
        )
        .saying("scope"),
    ]
}

fn of_credentials() -> Vec<Row> {
    let with = |authentication| put("/devices/new", json!({ "authentication": authentication }));
    let keys = |primary: &str, secondary: &str| {
        with(json!({"symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}}))
    };
    let thumbprint = |text: &str| {
        with(json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": text}}))
    };
    vec![
        row(
            "HTTP-15",
            "credentials that are text",
            with(json!("sas")),
            INVALID,
        )
        .saying("authentication"),
        row(
            "HTTP-15",
            "credentials of an unknown type",
            with(json!({"type": "password"})),
            INVALID,
        )
        .saying("type"),
        row(
            "HTTP-15",
            "keys that are a list",
            with(json!({"symmetricKey": []})),
            INVALID,
        )
        .saying("symmetricKey"),
        row(
            "HTTP-15",
            "a key that is a number",
            with(json!({"symmetricKey": {"primaryKey": 1}})),
            INVALID,
        )
        .saying("primaryKey"),
        row(
            "REG-41",
            "a key that is not base64",
            keys("not base64!", KEY),
            INVALID,
        )
        .saying("primaryKey"),
        row(
            "REG-41",
            "a key of 15 bytes",
            keys("MDEyMzQ1Njc4OWFiY2Rl", KEY),
            INVALID,
        )
        .saying("primaryKey"),
        row(
            "REG-41",
            "a second key of 65 bytes",
            keys(KEY, &"QUFB".repeat(22)),
            INVALID,
        )
        .saying("secondaryKey"),
        row(
            "REG-41",
            "a thumbprint of 39 digits",
            thumbprint(&"a".repeat(39)),
            INVALID,
        )
        .saying("humbprint"),
        row(
            "REG-41",
            "a thumbprint that is not hex",
            thumbprint(&"g".repeat(40)),
            INVALID,
        )
        .saying("humbprint"),
    ]
}

fn of_preconditions() -> Vec<Row> {
    let put_if = |etag: &[u8]| put("/devices/d", json!({})).header("if-match", etag);
    let delete_if = |etag: &[u8]| delete("/devices/d").header("if-match", etag);
    vec![
        row(
            "REG-42",
            "a device that is there already",
            put("/devices/d", json!({})),
            DEVICE_EXISTS,
        )
        .saying("d "),
        row(
            "REG-42",
            "a change of a device that is not there",
            put("/devices/new", json!({})).header("if-match", "\"*\""),
            NO_DEVICE,
        ),
        row(
            "REG-42",
            "a change of a version that never was",
            put("/devices/new", json!({})).header("if-match", "\"MQ==\""),
            NO_DEVICE,
        ),
        row(
            "REG-42",
            "a device put over another version",
            put_if(b"\"Mg==\""),
            PRECONDITION,
        ),
        row(
            "REG-42",
            "a device put over a weak other version",
            put_if(b"W/\"Mg==\""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a device put over half a quote",
            put_if(b"\"MQ=="),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a device put over two versions",
            put_if(b"\"MQ==\", \"Mg==\""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a device put over an empty version",
            put_if(b""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a device put over bytes",
            put_if(b"\"\xff\xfe\""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a device put over a twin's version",
            put_if(b"\"AAAAAAAAAAE=\""),
            PRECONDITION,
        ),
        row(
            "REG-42",
            "a delete of another version",
            delete_if(b"\"OTk=\""),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a delete of bytes",
            delete_if(b"\xff"),
            PRECONDITION,
        ),
        row(
            "HTTP-19",
            "a delete of a nonsense version",
            delete_if(b"nonsense"),
            PRECONDITION,
        ),
        row(
            "REG-42",
            "a delete of what is not there",
            delete("/devices/new"),
            NO_DEVICE,
        ),
        row(
            "REG-15",
            "a purge of what is not there",
            delete("/devices/new/commands"),
            NO_DEVICE,
        ),
    ]
}

fn of_ids() -> Vec<Row> {
    let long = format!("/devices/{}", text(129));
    let mut rows = vec![
        row(
            "REG-11",
            "a device named with a slash",
            put("/devices/invalid%2Fname", json!({})),
            INVALID,
        )
        .saying("'/'"),
        row(
            "REG-11",
            "a device named with a blank",
            put("/devices/a%20b", json!({})),
            INVALID,
        ),
        row(
            "REG-11",
            "a device named with a zero byte",
            put("/devices/a%00", json!({})),
            INVALID,
        ),
        row(
            "REG-11",
            "a device named with letters beyond ASCII",
            put("/devices/t%C3%BCr", json!({})),
            INVALID,
        ),
        row(
            "REG-11",
            "a device named with 129 characters",
            put(long.clone(), json!({})),
            INVALID,
        )
        .saying("128"),
        row(
            "REG-11",
            "a device of another case",
            get("/devices/D"),
            NO_DEVICE,
        ),
    ];
    for (name, path) in [
        ("never came", "/devices/never".to_owned()),
        ("has a slash", "/devices/invalid%2Fname".to_owned()),
        ("has a zero byte", "/devices/%00".to_owned()),
        ("is too long", long),
        ("is a step up", "/devices/%2e%2e".to_owned()),
    ] {
        rows.push(row(
            "HTTP-20",
            format!("a device that {name} is read"),
            get(path.clone()),
            NO_DEVICE,
        ));
        rows.push(row(
            "HTTP-20",
            format!("a device that {name} is deleted"),
            request("DELETE", path),
            NO_DEVICE,
        ));
    }
    rows
}
