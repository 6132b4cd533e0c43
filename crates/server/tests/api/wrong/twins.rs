//! Twins: patches and replacements alike, member by member, limits at their edges, preconditions.

use serde_json::{Value, json};

use super::{
    FORMAT, INVALID, NO_DEVICE, NO_METHOD, PRECONDITION, Row, TOO_LARGE,
    fields::{filling, nested, text},
    request::{Request, get, patch, put, request},
    row,
};

pub(super) fn sound() -> Vec<Request> {
    vec![
        patch(
            "/twins/d",
            json!({"tags": {"k": nested(10), "s": text(4_096), "k".repeat(1_024): 1}}),
        ),
        put(
            "/twins/d",
            json!({"tags": filling(8_192), "properties": {"desired": filling(32_768)}}),
        )
        .header("if-match", "\"*\""),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for method in ["PATCH", "PUT"] {
        rows.extend(of_shapes(method));
        rows.extend(of_limits(method));
        rows.extend(of_preconditions(method));
    }
    rows.extend([
        row(
            "TWIN-21",
            "a twin of nobody",
            get("/twins/never"),
            NO_DEVICE,
        )
        .saying("never"),
        row(
            "HTTP-20",
            "a twin of a broken name",
            get("/twins/x%23+f%C3%BC"),
            NO_DEVICE,
        ),
        row(
            "TWIN-15",
            "a patch that makes tags too large",
            patch(
                "/twins/other",
                json!({"tags": {"more": text(4_080), "last": text(120)}}),
            ),
            INVALID,
        )
        .saying("tags would have"),
        row(
            "HTTP-18",
            "a twin that is deleted",
            request("DELETE", "/twins/d"),
            NO_METHOD,
        ),
        row(
            "HTTP-18",
            "a twin that is posted",
            request("POST", "/twins/d"),
            NO_METHOD,
        ),
        row(
            "HTTP-16",
            "a patch of more than 1 MiB",
            request("PATCH", "/twins/d").body(text(1024 * 1024 + 1)),
            TOO_LARGE,
        ),
    ]);
    rows
}

fn of_shapes(method: &'static str) -> Vec<Row> {
    let send = |body: Value| request(method, "/twins/d").json(&body);
    let raw = |body: &[u8]| request(method, "/twins/d").body(body);
    let named = |name: &str| format!("{method}: {name}");
    vec![
        row(
            "HTTP-15",
            named("a twin that is a list"),
            send(json!([])),
            INVALID,
        ),
        row(
            "HTTP-15",
            named("a twin that is null"),
            send(Value::Null),
            INVALID,
        ),
        row(
            "TWIN-20",
            named("tags in a list"),
            send(json!({"tags": []})),
            INVALID,
        )
        .saying("tags"),
        row(
            "TWIN-20",
            named("tags as text"),
            send(json!({"tags": "x"})),
            INVALID,
        )
        .saying("tags"),
        row(
            "TWIN-20",
            named("properties in a list"),
            send(json!({"properties": [1]})),
            INVALID,
        )
        .saying("properties"),
        row(
            "TWIN-20",
            named("a desired section that is true"),
            send(json!({"properties": {"desired": true}})),
            INVALID,
        )
        .saying("desired"),
        row("HTTP-15", named("nothing"), raw(b""), FORMAT),
        row(
            "HTTP-15",
            named("half an object"),
            raw(b"{\"tags\":{"),
            FORMAT,
        ),
        row("HTTP-15", named("two objects"), raw(b"{}{}"), FORMAT),
        row(
            "HTTP-15",
            named("a name without quotes"),
            raw(b"{tags:{}}"),
            FORMAT,
        ),
        row(
            "HTTP-15",
            named("a comma too many"),
            raw(b"{\"tags\":{\"a\":1,}}"),
            FORMAT,
        ),
        row(
            "HTTP-15",
            named("a byte order mark"),
            raw(b"\xef\xbb\xbf{}"),
            FORMAT,
        ),
        row(
            "HTTP-15",
            named("a string that is not UTF-8"),
            raw(b"{\"tags\":{\"a\":\"\xff\"}}"),
            FORMAT,
        ),
        row("HTTP-15", named("UTF-16"), raw(b"{\0}\0"), FORMAT),
    ]
}

fn of_limits(method: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (section, bytes_max) in [("tags", 8_192), ("properties.desired", 32_768)] {
        let send = |members: Value| {
            let body = match section {
                "tags" => json!({ "tags": members }),
                _ => json!({"properties": {"desired": members}}),
            };
            request(method, "/twins/d").json(&body)
        };
        let raw = |number: &str| {
            let body = match section {
                "tags" => format!(r#"{{"tags":{{"n":{number}}}}}"#),
                _ => format!(r#"{{"properties":{{"desired":{{"n":{number}}}}}}}"#),
            };
            request(method, "/twins/d").body(body)
        };
        let named = |name: &str| format!("{method}: {section} with {name}");
        rows.extend([
            row(
                "TWIN-14",
                named("a dot in a key"),
                send(json!({"a.b": 1})),
                INVALID,
            )
            .saying("a.b"),
            row(
                "TWIN-14",
                named("a blank in a key"),
                send(json!({"a": {"b c": 1}})),
                INVALID,
            )
            .saying(format!("{section}.a")),
            row(
                "TWIN-14",
                named("a tab in a key"),
                send(json!({"\t": 1})),
                INVALID,
            ),
            row(
                "TWIN-14",
                named("a C1 character in a key"),
                send(json!({"\u{85}": 1})),
                INVALID,
            ),
            row(
                "TWIN-14",
                named("an empty key"),
                send(json!({"": 1})),
                INVALID,
            ),
            row(
                "TWIN-14",
                named("a key of 1,025 bytes"),
                send(json!({ text(1_025): 1 })),
                INVALID,
            ),
            row(
                "TWIN-14",
                named("a wrong key in a list"),
                send(json!({"a": [{"$x": 1}]})),
                INVALID,
            )
            .saying("$x"),
            row(
                "TWIN-12",
                named("a stamp"),
                send(json!({"$lastUpdated": 1})),
                INVALID,
            )
            .saying("$lastUpdated"),
            row(
                "TWIN-13",
                named("eleven levels"),
                send(json!({"k": nested(11)})),
                INVALID,
            )
            .saying("10 levels"),
            row(
                "TWIN-15",
                named("a string of 4,097 bytes"),
                send(json!({"a": text(4_097)})),
                INVALID,
            )
            .saying(format!("{section}.a")),
            row(
                "TWIN-15",
                named("one byte too many"),
                send(filling(bytes_max + 1)),
                INVALID,
            )
            .saying(format!("{section} would have {} bytes", bytes_max + 1)),
            row("TWIN-16", named("2^52"), raw("4503599627370496"), INVALID)
                .saying(format!("{section}.n")),
            row(
                "TWIN-16",
                named("-2^52 - 1"),
                raw("-4503599627370497"),
                INVALID,
            ),
            row(
                "TWIN-16",
                named("2^64"),
                raw("18446744073709551616"),
                INVALID,
            )
            .saying("18446744073709551616"),
            row("TWIN-16", named("1e400"), raw("1e400"), INVALID),
        ]);
    }
    rows
}

fn of_preconditions(method: &'static str) -> Vec<Row> {
    let mut rows = vec![row(
        "TWIN-21",
        format!("{method}: the twin of nobody"),
        request(method, "/twins/never").json(&json!({})),
        NO_DEVICE,
    )];
    for (fact, name, etag) in [
        (
            "TWIN-21",
            "of another version",
            b"\"AAAAAAAAAGM=\"".as_slice(),
        ),
        ("TWIN-21", "of a weak other version", b"W/\"AAAAAAAAAGM=\""),
        ("HTTP-19", "of a short version", b"\"AAAA=\""),
        ("HTTP-19", "of half a quote", b"\"AAAAAAAAAAE="),
        (
            "HTTP-19",
            "of two versions",
            b"\"AAAAAAAAAAE=\",\"AAAAAAAAAAI=\"",
        ),
        ("HTTP-19", "of an empty version", b"\"\""),
        ("HTTP-19", "of bytes", b"\xff\xfe"),
        ("HTTP-19", "of the identity's version", b"\"MQ==\""),
    ] {
        let body = json!({"tags": {"spoilt": true}});
        let request = request(method, "/twins/d")
            .json(&body)
            .header("if-match", etag);
        rows.push(row(
            fact,
            format!("{method}: a twin {name}"),
            request,
            PRECONDITION,
        ));
    }
    rows
}
