//! Import and export jobs: the request member by member, and jobs that are not there.

use serde_json::{Value, json};

use super::{
    FORMAT, INVALID, MISSING, NO_JOB, NO_METHOD, Row, UNAUTHORIZED,
    fields::{text, with, without},
    request::{Request, Token, delete, get, post, request},
    row,
};

const PATH: &str = "/jobs/create";

fn export() -> Value {
    json!({"type": "export", "outputBlobContainerUri": "file:right"})
}

fn import() -> Value {
    json!({"type": "import", "inputBlobContainerUri": "file:right", "outputBlobContainerUri": "file:right"})
}

pub(super) fn sound() -> Vec<Request> {
    vec![post(PATH, export()), get("/jobs")]
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_bodies();
    rows.extend(of_members());
    rows.extend(of_places());
    rows.extend(of_paths());
    rows
}

fn of_bodies() -> Vec<Row> {
    let spoilt = |name: &str, value| post(PATH, with(export(), name, value));
    vec![
        row(
            "HTTP-15",
            "an export without body",
            post(PATH, Value::Null).body(""),
            FORMAT,
        ),
        row(
            "HTTP-15",
            "an export that is a list",
            post(PATH, json!([])),
            INVALID,
        )
        .saying("body"),
        row(
            "XFER-9",
            "a transfer without type",
            post(PATH, without(export(), "type")),
            MISSING,
        )
        .saying("type"),
        row(
            "HTTP-15",
            "a transfer of an unknown type",
            spoilt("type", json!("copy")),
            INVALID,
        )
        .saying("type"),
        row(
            "HTTP-15",
            "a transfer whose type is a number",
            spoilt("type", json!(1)),
            INVALID,
        )
        .saying("type"),
        row(
            "XFER-9",
            "an export to nowhere",
            post(PATH, without(export(), "outputBlobContainerUri")),
            MISSING,
        )
        .saying("outputBlobContainerUri"),
        row(
            "XFER-9",
            "an export to an empty place",
            spoilt("outputBlobContainerUri", json!("")),
            MISSING,
        )
        .saying("outputBlobContainerUri"),
        row(
            "XFER-9",
            "an import from nowhere",
            post(PATH, without(import(), "inputBlobContainerUri")),
            MISSING,
        )
        .saying("inputBlobContainerUri"),
        row(
            "XFER-9",
            "an import without a place for its log",
            post(PATH, without(import(), "outputBlobContainerUri")),
            MISSING,
        )
        .saying("outputBlobContainerUri"),
    ]
}

fn of_members() -> Vec<Row> {
    let spoilt = |name: &str, value| post(PATH, with(export(), name, value));
    vec![
        row(
            "HTTP-15",
            "an export that hides keys perhaps",
            spoilt("excludeKeysInExport", json!("perhaps")),
            INVALID,
        )
        .saying("excludeKeysInExport"),
        row(
            "HTTP-15",
            "an export opened by magic",
            spoilt("storageAuthenticationType", json!("magic")),
            INVALID,
        )
        .saying("storageAuthenticationType"),
        row(
            "XFER-8",
            "an export opened by somebody",
            spoilt("identity", json!({"userAssignedIdentity": "/me"})),
            INVALID,
        )
        .saying("identity"),
        row(
            "HTTP-15",
            "an export opened by a list",
            spoilt("identity", json!([])),
            INVALID,
        )
        .saying("identity"),
    ]
}

fn of_paths() -> Vec<Row> {
    vec![
        row(
            "JOB-34",
            "a transfer that is not there",
            get("/jobs/never-made"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a cancel of a transfer that is not there",
            delete("/jobs/never-made"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a cancel of a transfer that cannot be there",
            delete("/jobs/a%20b"),
            NO_JOB,
        ),
        row(
            "JOB-34",
            "a transfer that is a job of the second version",
            get("/jobs/done"),
            NO_JOB,
        ),
        row(
            "HTTP-18",
            "transfers that are put",
            request("PUT", "/jobs/create"),
            NO_METHOD,
        ),
        row(
            "AUTH-12",
            "service may not export",
            post(PATH, export()).token(Token::Policy("service")),
            UNAUTHORIZED,
        ),
    ]
}

fn of_places() -> Vec<Row> {
    let spoilt = |name: &str, value| post(PATH, with(export(), name, value));
    let mut rows = Vec::new();
    for (name, uri) in [
        ("of another scheme", "ftp://host/container"),
        ("that is no URI", "somewhere"),
        ("above the folder", "file:../outside"),
        ("at the root", "file:/etc"),
    ] {
        let request = spoilt("outputBlobContainerUri", json!(uri));
        rows.push(
            row(
                "XFER-9",
                format!("an export to a place {name}"),
                request,
                INVALID,
            )
            .saying("outputBlobContainerUri"),
        );
    }
    for (name, blob) in [
        ("a step up", json!("../devices.txt")),
        ("an empty part", json!("a//b")),
        ("a control character", json!("a\u{7}")),
        ("far too many characters", json!(text(2_000))),
    ] {
        let request = spoilt("outputBlobName", blob);
        rows.push(
            row(
                "XFER-9",
                format!("an export to a blob with {name}"),
                request,
                INVALID,
            )
            .saying("outputBlobName"),
        );
    }
    rows
}
