//! The OpenAPI document says what routes there are.

use std::collections::BTreeSet;

use fanfare_server::rest::{Needs, openapi::document, routes};
use serde_json::{Value, json};

use crate::harness::{Hub, Reply};

#[test]
fn every_route_has_an_operation_and_every_operation_an_id_of_its_own() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in routes() {
        let method = route.method.as_str().to_lowercase();
        let operation = &document["paths"][route.path][&method];
        let name = format!("{method} {}", route.path);
        let id = operation["operationId"].as_str();
        let id = id.unwrap_or_else(|| panic!("{name} has no operation"));
        assert!(ids.insert(id.to_owned()), "{id} is there twice");
        let is_open = operation["security"] == serde_json::json!([]);
        assert_eq!(is_open, route.needs == Needs::Nothing, "{name}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|one| one["in"] == "path").count();
        assert_eq!(in_path, route.path.matches('{').count(), "{name}");
        let says_refused = !operation["responses"]["401"].is_null();
        assert_eq!(says_refused, !is_open, "{name}");
    }
}

#[test]
fn every_shape_that_is_named_is_there() {
    let document = document();
    let mut named = BTreeSet::new();
    collect_references(&document, &mut named);
    assert!(named.len() > 20, "{named:?}");
    for name in &named {
        let shape = &document["components"]["schemas"][name];
        assert!(shape.is_object(), "{name} is named and not there");
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(path) => {
                        let name = path.strip_prefix("#/components/schemas/");
                        found.insert(name.unwrap().to_owned());
                    }
                    None => collect_references(value, found),
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_member_that_is_answered_is_named() {
    let hub = Hub::start().await;
    hub.done("PUT", "/devices/d", json!({"deviceId": "d"}))
        .await;
    hub.done(
        "PUT",
        "/devices/d/modules/m",
        json!({"deviceId": "d", "moduleId": "m"}),
    )
    .await;
    let wishes = json!({"id": "c", "priority": 1, "targetCondition": "*", "content": {}});
    hub.done("PUT", "/configurations/c", wishes).await;
    let job = json!({
        "type": "scheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"a": 1}},
    });
    hub.done("PUT", "/jobs/v2/j", job).await;
    hub.ended("j").await;
    let schemas = &document()["components"]["schemas"];
    for (path, name) in [
        ("/devices/d", "Device"),
        ("/devices/d/modules/m", "Module"),
        ("/twins/d", "Twin"),
        ("/twins/d/modules/m", "Twin"),
        ("/jobs/v2/j", "Job"),
        ("/configurations/c", "Configuration"),
        ("/statistics/devices", "DeviceStatistics"),
        ("/statistics/service", "ServiceStatistics"),
    ] {
        let answer = hub.done("GET", path, Value::Null).await;
        let named = schemas[name]["properties"].as_object().unwrap();
        for member in answer.as_object().unwrap().keys() {
            assert!(
                named.contains_key(member),
                "{member} of {path} is not in {name}"
            );
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn the_document_is_served_to_anybody() {
    let hub = Hub::start().await;
    let request = hyper::Request::get("/fanfare/v1/openapi.json")
        .body(Default::default())
        .unwrap();
    let reply: Reply = hub.raw(request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(reply.json(), document());
    hub.stop().await;
}
