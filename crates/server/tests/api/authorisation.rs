//! Who may take which route. A route that is not in the table fails the test.

use std::collections::BTreeMap;

use fanfare_server::rest::routes;

use crate::harness::Hub;

const POLICIES: [&str; 5] = [
    "iothubowner",
    "service",
    "device",
    "registryRead",
    "registryReadWrite",
];

const ANYONE: &[&str] = &POLICIES;
const REGISTRY_READ: &[&str] = &["iothubowner", "registryRead", "registryReadWrite"];
const REGISTRY_WRITE: &[&str] = &["iothubowner", "registryReadWrite"];
const SERVICE: &[&str] = &["iothubowner", "service"];
const JOB_READ: &[&str] = &[
    "iothubowner",
    "service",
    "registryRead",
    "registryReadWrite",
];
const JOB_WRITE: &[&str] = &["iothubowner", "service", "registryReadWrite"];

const TABLE: &[(&str, &str, &[&str])] = &[
    ("GET", "/health/live", ANYONE),
    ("GET", "/health/ready", ANYONE),
    ("GET", "/fanfare/v1/openapi.json", ANYONE),
    ("GET", "/fanfare/v1/metrics", JOB_READ),
    ("GET", "/fanfare/v1/profile", JOB_READ),
    ("GET", "/fanfare/v1/jobs/{job}/events", JOB_READ),
    ("PUT", "/jobs/v2/{job}", JOB_WRITE),
    ("GET", "/jobs/v2/{job}", JOB_READ),
    ("GET", "/jobs/v2/query", JOB_READ),
    ("POST", "/jobs/v2/{job}/cancel", JOB_WRITE),
    ("GET", "/jobs", JOB_READ),
    ("GET", "/jobs/{job}", JOB_READ),
    ("DELETE", "/jobs/{job}", REGISTRY_WRITE),
    ("POST", "/jobs/create", REGISTRY_WRITE),
    ("POST", "/devices/query", JOB_READ),
    ("GET", "/statistics/devices", REGISTRY_READ),
    ("GET", "/statistics/service", SERVICE),
    ("GET", "/configurations", REGISTRY_READ),
    ("GET", "/configurations/{configuration}", REGISTRY_READ),
    ("PUT", "/configurations/{configuration}", REGISTRY_WRITE),
    ("DELETE", "/configurations/{configuration}", REGISTRY_WRITE),
    ("POST", "/configurations/testQueries", REGISTRY_READ),
    (
        "POST",
        "/devices/{device}/applyConfigurationContent",
        REGISTRY_WRITE,
    ),
    ("POST", "/devices", REGISTRY_WRITE),
    ("GET", "/devices", REGISTRY_READ),
    ("GET", "/devices/", REGISTRY_READ),
    ("PUT", "/devices/{device}", REGISTRY_WRITE),
    ("GET", "/devices/{device}", REGISTRY_READ),
    ("DELETE", "/devices/{device}", REGISTRY_WRITE),
    ("POST", "/devices/keys/regenerate", REGISTRY_WRITE),
    ("DELETE", "/devices/{device}/commands", SERVICE),
    ("PUT", "/devices/query", REGISTRY_WRITE),
    ("GET", "/devices/query", REGISTRY_READ),
    ("DELETE", "/devices/query", REGISTRY_WRITE),
    ("GET", "/devices/{device}/modules", REGISTRY_READ),
    ("GET", "/devices/{device}/modules/{module}", REGISTRY_READ),
    ("PUT", "/devices/{device}/modules/{module}", REGISTRY_WRITE),
    (
        "DELETE",
        "/devices/{device}/modules/{module}",
        REGISTRY_WRITE,
    ),
    ("GET", "/twins/{device}", SERVICE),
    ("PATCH", "/twins/{device}", SERVICE),
    ("PUT", "/twins/{device}", SERVICE),
    ("POST", "/twins/{device}/methods", SERVICE),
    ("GET", "/twins/{device}/modules/{module}", SERVICE),
    ("PATCH", "/twins/{device}/modules/{module}", SERVICE),
    ("PUT", "/twins/{device}/modules/{module}", SERVICE),
    ("POST", "/twins/{device}/modules/{module}/methods", SERVICE),
];

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says() {
    let table: BTreeMap<_, _> = TABLE
        .iter()
        .map(|(method, path, allowed)| ((*method, *path), *allowed))
        .collect();
    let hub = Hub::start().await;
    let mut seen = 0;
    for route in routes() {
        let key = (route.method.as_str(), route.path);
        let allowed = table
            .get(&key)
            .unwrap_or_else(|| panic!("{key:?} is not in the table"));
        seen += 1;
        let path = route
            .path
            .replace("{job}", "j")
            .replace("{device}", "d")
            .replace("{configuration}", "c")
            .replace("{module}", "m");
        for policy in POLICIES {
            let reply = hub
                .send(policy, route.method.as_str(), &path, &[], "{}")
                .await;
            let is_let_in = reply.status != 401;
            assert_eq!(
                is_let_in,
                allowed.contains(&policy),
                "{policy} at {key:?}: {reply:?}"
            );
            if !is_let_in {
                assert_eq!(reply.code(), "IotHubUnauthorizedAccess");
            }
        }
        let bare = hyper::Request::builder()
            .method(route.method.clone())
            .uri(format!("{path}?api-version=2021-04-12"))
            .body(Default::default())
            .unwrap();
        let reply = hub.raw(bare).await;
        assert_eq!(
            reply.status != 401,
            *allowed == ANYONE,
            "no token at {key:?}: {reply:?}"
        );
    }
    assert_eq!(
        seen,
        TABLE.len(),
        "the table names routes that are not there"
    );
    hub.stop().await;
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
