//! Renewal of keys: the call as a whole, and devices that keep theirs.

use serde_json::{Value, json};

use super::{
    Answer, FORMAT, INVALID, NO_METHOD, Row, TOO_MANY,
    request::{Request, get, post},
    row,
};

const PATH: &str = "/devices/keys/regenerate";

pub(super) fn sound() -> Vec<Request> {
    vec![post(
        PATH,
        json!({"policyKey": "swap", "devices": [{"id": "d"}]}),
    )]
}

pub(super) fn rows() -> Vec<Row> {
    let of = |devices: Value| post(PATH, json!({"policyKey": "primaryKey", "devices": devices}));
    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("n{n}")})).collect();
    vec![
        row(
            "HTTP-15",
            "a renewal without body",
            post(PATH, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a renewal of no key",
            post(PATH, json!({"devices": [{"id": "d"}]})),
            INVALID,
        )
        .saying("policyKey"),
        row(
            "HTTP-15",
            "a renewal of an unknown key",
            post(
                PATH,
                json!({"policyKey": "thirdKey", "devices": [{"id": "d"}]}),
            ),
            INVALID,
        )
        .saying("policyKey"),
        row(
            "HTTP-15",
            "a renewal without devices",
            post(PATH, json!({"policyKey": "swap"})),
            INVALID,
        )
        .saying("devices"),
        row("HTTP-15", "a renewal of texts", of(json!(["d"])), INVALID).saying("devices"),
        row(
            "HTTP-15",
            "a renewal of a numbered device",
            of(json!([{"id": 7}])),
            INVALID,
        )
        .saying("id"),
        row("REG-43", "a renewal of nobody", of(json!([])), INVALID),
        row(
            "REG-43",
            "a renewal of 101 devices",
            of(many.into()),
            TOO_MANY,
        ),
        row(
            "REG-14",
            "a renewal of who is not there",
            of(json!([{"id": "never"}])),
            Answer::KeysStay(&[("never", "DeviceNotFound")]),
        ),
        row(
            "REG-14",
            "a renewal of a broken name",
            of(json!([{"id": "a/b"}])),
            Answer::KeysStay(&[("a/b", "DeviceNotFound")]),
        ),
        row(
            "REG-14",
            "a renewal of one twice",
            of(json!([{"id": "d"}, {"id": "d"}])),
            Answer::KeysStay(&[("d", "DeviceDefinedMultipleTimes")]),
        ),
        row(
            "REG-14",
            "a renewal of who has no keys",
            of(json!([{"id": "cert"}])),
            Answer::KeysStay(&[("cert", "InvalidOperation")]),
        ),
        row("HTTP-18", "a renewal that is read", get(PATH), NO_METHOD),
    ]
}
