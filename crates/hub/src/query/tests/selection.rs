//! What a query answers with: columns, values as JSON.

use std::borrow::Cow;

use serde_json::Value as JsonValue;

use super::super::{Document, Json, Number, Path, Selection, Value};
use super::{JsonDocument, Query, job_row, twin};

fn row(text: &str, document: &JsonValue) -> String {
    let query = Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let Selection::Projection(projection) = query.selection() else {
        panic!("{text}: no columns")
    };
    let mut out = Vec::new();
    projection.write_row(&JsonDocument(document), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_column_is_named_by_alias_or_last_step() {
    let cases = [
        (
            "SELECT DeviceId, LASTACTIVITYTIME FROM devices",
            r#"{"deviceId":"pump-3","lastActivityTime":"2031-02-03T04:05:06.5000000Z"}"#,
        ),
        (
            "SELECT tags.building AS b, tags.floor FROM devices",
            r#"{"b":"43","floor":3}"#,
        ),
        (
            "SELECT tags.missing, tags.floor, tags.gone FROM devices",
            r#"{"floor":3}"#,
        ),
        ("SELECT tags.missing FROM devices", "{}"),
        (
            "SELECT tags.none, statusReason FROM devices",
            r#"{"none":null,"statusReason":null}"#,
        ),
        (
            "SELECT tags['a-b'], tags.list, tags.group AS [[a \"b\"]] FROM devices",
            r#"{"a-b":{"c d":1},"list":[1,2],"a \"b\"":{"name":"g"}}"#,
        ),
        (
            "SELECT tags.half, tags.whole, tags.hot FROM devices",
            r#"{"half":0.5,"whole":1.0,"hot":true}"#,
        ),
        (
            "SELECT properties.reported.$version, properties.desired.$metadata.$lastUpdated AS at FROM devices",
            r#"{"$version":9,"at":"2031-02-03T04:05:06.0000000Z"}"#,
        ),
        (
            "SELECT X509thumbprint.PrimaryThumbprint, capabilities FROM devices",
            r#"{"primaryThumbprint":null,"capabilities":{"iotEdge":false}}"#,
        ),
        (
            "SELECT configurations.cool.STATUS, configurations.[[it's]], configurations.gone FROM devices",
            r#"{"status":"Applied","it's":{"status":"Targeted"}}"#,
        ),
        (
            "SELECT c.deviceId AS id FROM devices c",
            r#"{"id":"pump-3"}"#,
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(row(text, &twin()), wanted, "{text}");
    }
    let text =
        "SELECT jobId, createdTimeUtc, outcome.deviceMethodResponse.status FROM devices.jobs";
    let wanted =
        r#"{"jobId":"fw-9","createdDateTimeUtc":"2031-02-03T04:05:07.0000000Z","status":200}"#;
    assert_eq!(row(text, &job_row()), wanted);
}

#[test]
fn everything_and_top_are_told() {
    let query = Query::parse("SELECT TOP 0x10 * FROM devices WHERE tags.floor = 3").unwrap();
    assert_eq!(query.selection(), &Selection::Document);
    assert_eq!(query.top(), Some(16));
    assert!(query.filter().is_some() && query.matches(&JsonDocument(&twin())));
    assert_eq!(Query::parse("SELECT * FROM devices").unwrap().top(), None);
}

#[test]
fn json_text_becomes_values_without_a_tree() {
    let cases = [
        (
            " {\"a\": 1} ",
            Value::Object(Json::Text(Cow::Borrowed("{\"a\": 1}"))),
        ),
        (
            "[1 , 2]",
            Value::Array(Json::Text(Cow::Borrowed("[1 , 2]"))),
        ),
        (r#""plain""#, Value::str("plain")),
        (r#""a\"\u00e9""#, Value::str("a\"é")),
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("-12", Value::Number(Number::Integer(-12))),
        ("1.0", Value::Number(Number::Float(1.0))),
        ("1e2", Value::Number(Number::Float(100.0))),
    ];
    for (text, wanted) in cases {
        assert_eq!(Value::from_json_text(text), Some(wanted), "{text}");
    }
    for text in ["", "\"", "x", "1 2", "\"\\x\""] {
        assert_eq!(Value::from_json_text(text), None, "{text}");
    }
}

#[test]
fn raw_text_is_embedded_verbatim() {
    struct Raw;
    impl Document for Raw {
        fn value(&self, _: &Path) -> Value<'_> {
            Value::from_json_text("{ \"big\" : 12345678901234567890.10 }").expect("it is an object")
        }
    }
    let query = Query::parse("SELECT tags.x FROM devices").unwrap();
    let Selection::Projection(projection) = query.selection() else {
        panic!("no columns")
    };
    assert_eq!(projection.columns()[0].path.to_string(), "tags.x");
    let mut out = Vec::new();
    projection.write_row(&Raw, &mut out);
    assert_eq!(out, br#"{"x":{ "big" : 12345678901234567890.10 }}"#);
}
