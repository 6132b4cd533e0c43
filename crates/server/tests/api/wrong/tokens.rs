//! Tokens: missing, spoilt, of others, too narrow, too weak. All are told the same.

use serde_json::{Value, json};

use super::{
    Row, UNAUTHORIZED, jobs,
    request::{Request, Token, delete, get, patch, post, put},
    row,
};
use crate::harness::ADDRESS;

const FAR: i64 = 4_000_000_000;

fn signed(resource: &'static str, names: Option<&'static str>, key_of: &'static str) -> Token {
    Token::Signed {
        resource,
        names,
        key_of,
        expiry: FAR,
    }
}

pub(super) fn sound() -> Vec<Request> {
    vec![
        get("/twins/d").token(signed("127.0.0.11:8443", Some("service"), "service")),
        get("/twins/d").token(signed("127.0.0.11/twins/d", Some("service"), "service")),
        get("/devices/d").token(Token::Policy("registryRead")),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    let tokens = spoilt_tokens().into_iter().chain(foreign_tokens());
    let mut rows: Vec<_> = tokens
        .map(|(fact, name, token)| {
            row(fact, name, get("/devices/d").token(token), UNAUTHORIZED).saying("Unauthorized")
        })
        .collect();
    rows.extend(missing_rights());
    rows
}

/// The fact, the name and the token of a row.
type Spoilt = (&'static str, &'static str, Token);

fn spoilt_tokens() -> Vec<Spoilt> {
    let bytes = |text: &str| Token::Bytes(text.into());
    vec![
        ("AUTH-13", "no token", Token::Absent),
        ("AUTH-13", "an empty token", bytes("")),
        ("AUTH-13", "a bearer", bytes("Bearer abc.def.ghi")),
        ("AUTH-13", "a password", bytes("Basic dXNlcjpwYXNz")),
        ("AUTH-13", "a scheme alone", bytes("SharedAccessSignature")),
        (
            "AUTH-13",
            "a scheme of another case",
            Token::Spoilt("SharedAccess", "sharedaccess"),
        ),
        (
            "AUTH-13",
            "bytes for a token",
            Token::Bytes(b"SharedAccessSignature \xff\xfe".to_vec()),
        ),
        ("AUTH-1", "a token without sr", Token::Spoilt("sr=", "rs=")),
        (
            "AUTH-1",
            "a token without sig",
            Token::Spoilt("sig=", "gis="),
        ),
        (
            "AUTH-1",
            "a token without se",
            Token::Spoilt("&se=", "&es="),
        ),
        (
            "AUTH-13",
            "a token without policy",
            Token::Spoilt("skn=", "nks="),
        ),
        (
            "AUTH-13",
            "a token with two ends",
            Token::Spoilt("&se=", "&se=1&se="),
        ),
        (
            "AUTH-13",
            "a token whose end is a word",
            Token::Spoilt("&se=", "&se=x"),
        ),
        (
            "AUTH-13",
            "a token that ends later than signed",
            Token::Spoilt("se=4000000000", "se=4000000001"),
        ),
        (
            "AUTH-13",
            "a token whose signature is not base64",
            Token::Spoilt("sig=", "sig=!"),
        ),
        (
            "AUTH-13",
            "a token of more than 4 KiB",
            Token::Padded(4_096),
        ),
    ]
}

fn foreign_tokens() -> Vec<Spoilt> {
    let owner = Some("iothubowner");
    vec![
        (
            "AUTH-13",
            "a token of an unknown policy",
            signed(ADDRESS, Some("nobody"), "iothubowner"),
        ),
        (
            "AUTH-13",
            "a token signed by another policy",
            signed(ADDRESS, owner, "service"),
        ),
        (
            "AUTH-13",
            "a token that names no policy",
            signed(ADDRESS, None, "iothubowner"),
        ),
        (
            "AUTH-6",
            "a token for another host",
            signed("other.test", owner, "iothubowner"),
        ),
        (
            "AUTH-6",
            "a token for a longer host",
            signed("127.0.0.11.test", owner, "iothubowner"),
        ),
        (
            "AUTH-5",
            "a token for another part",
            signed("127.0.0.11/twins", owner, "iothubowner"),
        ),
        (
            "AUTH-5",
            "a token for another device",
            signed("127.0.0.11/devices/dd", owner, "iothubowner"),
        ),
        (
            "AUTH-5",
            "a token for less than the device",
            signed("127.0.0.11/devices/d/modules", owner, "iothubowner"),
        ),
        (
            "AUTH-4",
            "a token that has ended",
            Token::Signed {
                resource: ADDRESS,
                names: owner,
                key_of: "iothubowner",
                expiry: 1_700_000_000,
            },
        ),
        (
            "AUTH-4",
            "a token from before all time",
            Token::Signed {
                resource: ADDRESS,
                names: owner,
                key_of: "iothubowner",
                expiry: i64::MIN,
            },
        ),
        ("AUTH-13", "a device's own token", Token::Device),
    ]
}

fn missing_rights() -> Vec<Row> {
    let requests = [
        ("registryRead", "create", put("/devices/new", json!({}))),
        ("service", "create", put("/devices/new", json!({}))),
        ("service", "delete", delete("/devices/d")),
        (
            "registryRead",
            "change in bulk",
            post("/devices", json!([{"id": "new"}])),
        ),
        (
            "registryRead",
            "renew keys",
            post("/devices/keys/regenerate", Value::Null),
        ),
        ("device", "read a device", get("/devices/d")),
        (
            "registryReadWrite",
            "patch a twin",
            patch("/twins/d", json!({"tags": {"a": 1}})),
        ),
        (
            "registryReadWrite",
            "replace a twin",
            put("/twins/d", json!({"tags": {"a": 1}})),
        ),
        (
            "registryReadWrite",
            "call a method",
            post("/twins/d/methods", json!({"methodName": "m"})),
        ),
        (
            "registryRead",
            "schedule a job",
            put("/jobs/v2/new", jobs::twin_job()),
        ),
        (
            "registryRead",
            "cancel a job",
            post("/jobs/v2/ahead/cancel", Value::Null),
        ),
        ("device", "list jobs", get("/jobs/v2/query")),
        (
            "registryRead",
            "query twins",
            post("/devices/query", json!({"query": "SELECT * FROM devices"})),
        ),
    ];
    let rows = requests.into_iter().map(|(policy, what, request)| {
        let name = format!("{policy} may not {what}");
        row(
            "AUTH-12",
            name,
            request.token(Token::Policy(policy)),
            UNAUTHORIZED,
        )
    });
    rows.collect()
}
