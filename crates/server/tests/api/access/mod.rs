//! Who is let in where: every route against every kind of credential.
//!
//! What must come out is written down by hand in [`table`]; a route that is not there fails the test.

mod credentials;
mod line;
mod proofs;
mod table;
pub(crate) mod tokens;

use std::collections::BTreeMap;

use fanfare_server::rest::routes;

use self::{
    credentials::{Credential, Proves},
    line::Line,
    table::{ROLES, Row, TABLE},
    tokens::Issuer,
};
use crate::harness::{Hub, Reply};

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says() {
    let issuer = Issuer::start().await;
    let hub = issuer.hub(|_| {}).await;
    let rows = rows_by_route();
    let mut refusal = None;
    for credential in credentials::all(&hub, &issuer).await {
        let mut line = Line::to(&hub);
        for ((method, path), row) in &rows {
            let reply = line
                .send(method, &filled(path), &credential.authorization)
                .await;
            let is_let_in = reply.status != 401;
            let place = format!("{} at {method} {path}", credential.name);
            assert_eq!(is_let_in, opens(&credential, row), "{place}: {reply:?}");
            if !is_let_in {
                let seen = without_tracking(&reply);
                let first = refusal.get_or_insert_with(|| seen.clone());
                assert_eq!(&seen, first, "every refusal looks the same; {place}");
            }
        }
    }
    assert!(refusal.is_some(), "somebody was refused");
    hub.stop().await;
}

/// The table, after a look at whether it is the table of these routes.
fn rows_by_route() -> BTreeMap<(&'static str, &'static str), Row> {
    let rows: BTreeMap<_, _> = TABLE.iter().map(|row| ((row.0, row.1), *row)).collect();
    assert_eq!(rows.len(), TABLE.len(), "a route has two rows");
    let mut left = rows.clone();
    for route in routes() {
        let mut rows = left.keys();
        let known = rows.find(|(method, path)| *method == route.method && *path == route.path);
        let known = known.copied().and_then(|place| left.remove(&place));
        assert!(
            known.is_some(),
            "{} {} has no row in crates/server/tests/api/access/table.rs. Write down there, from the \
             specification and not from the code, which rights and which roles may take it.",
            route.method,
            route.path
        );
    }
    assert!(
        left.is_empty(),
        "rows of routes that are not there: {:?}",
        left.keys()
    );
    rows
}

fn opens(credential: &Credential, row: &Row) -> bool {
    let (_, path, needed, roles) = row;
    let has = |rights: &[&str]| {
        let mut any = needed.iter();
        any.any(|all| all.iter().all(|right| rights.contains(right)))
    };
    match credential.proves {
        Proves::Nothing => has(&[]),
        Proves::Rights(rights) => has(rights),
        Proves::RightsBelow(below, rights) => {
            let is_below = *path == below || path.starts_with(&format!("{below}/"));
            has(if is_below { rights } else { &[] })
        }
        Proves::Roles(letters) => has(&[]) || letters.chars().any(|letter| roles.contains(letter)),
    }
}

/// A path that names nothing that matters to anybody.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{policy}" => "nobodys",
        part if part.starts_with('{') => "d",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// All that a refused caller gets to see, but for what differs with every answer.
fn without_tracking(reply: &Reply) -> String {
    let headers = reply.headers.iter().filter(|(name, _)| *name != "date");
    let headers: BTreeMap<_, _> = headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let mut body = reply.json();
    let tracking = body["ExceptionMessage"].take();
    let tracking = tracking.as_str().unwrap_or_default();
    assert!(tracking.starts_with("Tracking ID:"), "{reply:?}");
    format!("{} {headers:?} {body}", reply.status)
}

/// The letters of rows are those of roles, so that a slip of the pen is found.
#[test]
fn rows_name_roles_by_their_letters() {
    for (method, path, _, roles) in TABLE {
        let is_known = |letter: char| ROLES.iter().any(|(known, _)| *known == letter);
        assert!(roles.chars().all(is_known), "{method} {path}: {roles}");
        assert!(
            roles.contains('O'),
            "{method} {path}: an owner may do everything"
        );
    }
}

#[tokio::test]
async fn a_query_needs_what_it_reads() {
    let hub = Hub::start().await;
    for (policy, query, status) in [
        ("service", "SELECT * FROM devices", 200),
        ("service", "SELECT * FROM devices.jobs", 200),
        ("registryRead", "SELECT * FROM devices.jobs", 200),
        ("registryRead", "SELECT * FROM devices", 401),
        ("registryReadWrite", "SELECT * FROM devices.modules", 401),
        ("device", "SELECT * FROM devices.jobs", 401),
    ] {
        let body = serde_json::json!({"query": query}).to_string();
        let reply = hub.send(policy, "POST", "/devices/query", &[], &body).await;
        assert_eq!(reply.status, status, "{policy} {query}: {reply:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_query_of_a_token_needs_what_it_reads() {
    let issuer = Issuer::start().await;
    let hub = issuer.hub(|_| {}).await;
    let mut line = Line::to(&hub);
    for (role, query, status) in [
        ("IoT Hub Twin Contributor", "SELECT * FROM devices", 200),
        (
            "IoT Hub Twin Contributor",
            "SELECT * FROM devices.modules",
            200,
        ),
        (
            "IoT Hub Twin Contributor",
            "SELECT * FROM devices.jobs",
            401,
        ),
        ("IoT Hub Data Reader", "SELECT * FROM devices.jobs", 200),
        (
            "IoT Hub Data Contributor",
            "SELECT * FROM devices.jobs",
            200,
        ),
        ("IoT Hub Registry Contributor", "SELECT * FROM devices", 401),
        (
            "IoT Hub Registry Contributor",
            "SELECT * FROM devices.jobs",
            401,
        ),
    ] {
        let body = serde_json::json!({"query": query}).to_string();
        let authorization = Some(issuer.bearer(&[role]));
        let reply = line
            .send_body("POST", "/devices/query", &authorization, &body)
            .await;
        assert_eq!(reply.status, status, "{role} {query}: {reply:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_refused_body_is_not_read() {
    let hub = Hub::start().await;
    let request = hyper::Request::builder()
        .method("PUT")
        .uri("/jobs/v2/j?api-version=2021-04-12")
        .header(
            "authorization",
            "SharedAccessSignature sr=x&sig=x&se=1&skn=service",
        )
        .body("{".repeat(100).into())
        .unwrap();
    assert_eq!(hub.raw(request).await.code(), "IotHubUnauthorizedAccess");
    hub.stop().await;
}
