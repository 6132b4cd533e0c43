//! Bulk changes of the registry: the call as a whole, and items that fail alone.

use serde_json::{Value, json};

use super::{
    Answer, FORMAT, INVALID, Row, TOO_MANY,
    fields::{nested, text},
    request::{Request, post},
    row,
};

fn send(items: Value) -> Request {
    post("/devices", items)
}

pub(super) fn sound() -> Vec<Request> {
    let hundred: Vec<_> = (0..100)
        .map(|n| json!({"id": format!("bulk-{n}"), "importMode": "create"}))
        .collect();
    vec![send(hundred.into())]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = whole_calls();
    rows.extend(single_items());
    rows
}

fn whole_calls() -> Vec<Row> {
    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("n{n}")})).collect();
    let good = || json!({"id": "new"});
    let spoilt = |name: &str, value: Value| send(json!([good(), {"id": "new-2", name: value}]));
    vec![
        row(
            "HTTP-15",
            "a bulk call without body",
            send(Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "a bulk call of one object",
            send(good()),
            INVALID,
        ),
        row("REG-43", "a bulk call of nobody", send(json!([])), INVALID),
        row(
            "REG-43",
            "a bulk call of 101 devices",
            send(many.into()),
            TOO_MANY,
        )
        .saying("100"),
        row(
            "REG-43",
            "a bulk call of a text",
            send(json!([good(), "x"])),
            INVALID,
        )
        .saying("[1]"),
        row(
            "REG-43",
            "a bulk call without an id",
            send(json!([good(), {}])),
            INVALID,
        )
        .saying("id"),
        row(
            "REG-43",
            "a bulk call for a numbered device",
            send(json!([good(), {"id": 7}])),
            INVALID,
        )
        .saying("[1].id"),
        row(
            "REG-43",
            "a bulk call of an unknown mode",
            spoilt("importMode", json!("upsert")),
            INVALID,
        )
        .saying("importMode"),
        row(
            "REG-43",
            "a bulk call of an unknown status",
            spoilt("status", json!("asleep")),
            INVALID,
        )
        .saying("status"),
        row(
            "REG-43",
            "a bulk call whose tags are a list",
            spoilt("tags", json!([])),
            INVALID,
        )
        .saying("tags"),
        row(
            "REG-43",
            "a bulk call whose properties are text",
            spoilt("properties", json!("x")),
            INVALID,
        )
        .saying("properties"),
        row(
            "REG-43",
            "a bulk call whose etag is a number",
            spoilt("eTag", json!(1)),
            INVALID,
        )
        .saying("eTag"),
        row(
            "REG-43",
            "a bulk call with unknown credentials",
            spoilt("authentication", json!({"type": "x"})),
            INVALID,
        )
        .saying("authentication"),
    ]
}

fn single_items() -> Vec<Row> {
    const EXISTS: Answer = Answer::BulkFailed(&[("d", "DeviceAlreadyExists")]);
    const INVALID_D: Answer = Answer::BulkFailed(&[("d", "ArgumentInvalid")]);
    const OTHER_D: Answer = Answer::BulkFailed(&[("d", "PreconditionFailed")]);
    const NOBODY: Answer = Answer::BulkFailed(&[("never", "DeviceNotFound")]);
    let item = |mode: &str, members: Value| {
        let mut item = json!({"id": "d", "importMode": mode});
        item.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        send(json!([item]))
    };
    let nobody = |mode: &str| send(json!([{"id": "never", "importMode": mode}]));
    vec![
        row(
            "REG-44",
            "an item that is there already",
            item("create", json!({})),
            EXISTS,
        ),
        row("REG-44", "an update of nobody", nobody("update"), NOBODY),
        row("REG-44", "a delete of nobody", nobody("delete"), NOBODY),
        row(
            "REG-44",
            "a twin update of nobody",
            nobody("updateTwin"),
            NOBODY,
        ),
        row(
            "REG-44",
            "an update of another version",
            item("updateIfMatchETag", json!({"eTag": "OTk="})),
            OTHER_D,
        ),
        row(
            "REG-44",
            "a deleting item of a nonsense version",
            item("deleteIfMatchETag", json!({"etag": "nonsense"})),
            OTHER_D,
        ),
        row(
            "REG-44",
            "a twin update of another version",
            item(
                "updateTwinIfMatchETag",
                json!({"twinETag": "AAAAAAAAAGM=", "tags": {"a": 1}}),
            ),
            OTHER_D,
        ),
        row(
            "REG-44",
            "an item named twice",
            send(json!([{"id": "new"}, {"id": "new", "importMode": "delete"}])),
            Answer::BulkFailed(&[("new", "DeviceDefinedMultipleTimes")]),
        ),
        row(
            "REG-44",
            "an item with a broken name",
            send(json!([{"id": "a b"}])),
            Answer::BulkFailed(&[("a b", "ArgumentInvalid")]),
        ),
        row(
            "REG-44",
            "an item with a broken key",
            item(
                "update",
                json!({"authentication": {"type": "sas", "symmetricKey": {"primaryKey": "x", "secondaryKey": "y"}}}),
            ),
            INVALID_D,
        ),
        row(
            "TWIN-14",
            "an item with a dot in a tag",
            item("updateTwin", json!({"tags": {"a.b": 1}})),
            INVALID_D,
        ),
        row(
            "TWIN-13",
            "an item of eleven levels",
            item(
                "updateTwin",
                json!({"properties": {"desired": {"k": nested(11)}}}),
            ),
            INVALID_D,
        ),
        row(
            "TWIN-15",
            "an item with a long tag",
            item("updateTwin", json!({"tags": {"a": text(4_097)}})),
            INVALID_D,
        ),
    ]
}
