//! The service API as an OpenAPI document, made from the table of routes.
//!
//! Paths, methods and rights are those of [`super::routes`]; [`operations`] adds what a route takes and
//! answers, [`schemas`] the shapes. A route without an operation fails a test, and a client's generator can rely on
//! the rest because the conformance run sends what the document allows and holds the answers against it.

mod operations;
mod schemas;

use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use fanfare_hub::access::{Action, Rights};
use fanfare_wire::http::{
    API_VERSION, API_VERSION_PARAMETER, CONTENT_TYPE_JSON, HEADER_ERROR_CODE,
};
use serde_json::{Map, Value, json};

use self::operations::{Answer, Operation, Parameter, find};
use super::{Needs, Route, reply, routes};

/// `GET /fanfare/v1/openapi.json`. It says what every release says, so anybody may read it. compat: HTTP-31
pub(super) async fn show() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let text = serde_json::to_vec(&document());
        text.expect("the document is JSON already").into()
    });
    reply::text_with(axum::http::StatusCode::OK, text.clone(), CONTENT_TYPE_JSON)
}

/// The whole document. Routes that no operation describes are left out; a test sees to it that there are
/// none.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let Some(operation) = find(route.method.as_str(), route.path) else {
            continue;
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = described(&route, operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fanfare",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The service API of a hub: registry, twins, direct methods, queries, jobs, \
                            configurations. Numbers may be sent as text, unknown members are ignored, null means \
                            absent unless said otherwise.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "sharedAccessSignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "SharedAccessSignature sr={host}&sig={signature}&se={expiry}&skn={policy}",
                },
                "bearerToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of an issuer that the hub was told of.",
                },
            },
        },
    })
}

fn described(route: &Route, operation: &Operation) -> Value {
    let is_open = route.needs == Needs::Nothing;
    let mut parameters: Vec<Value> = path_parameters(route.path);
    if route.is_versioned() {
        parameters.push(json!({
            "name": API_VERSION_PARAMETER, "in": "query", "required": true,
            "description": "A date; clients send the version they were written for.",
            "schema": {"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-preview)?$",
                       "examples": [API_VERSION]},
            "example": API_VERSION,
        }));
    }
    parameters.extend(operation.parameters.iter().map(parameter));
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.id.split('_').next().unwrap_or_default()],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses(operation, is_open),
        "security": if is_open { json!([]) } else { json!([{"sharedAccessSignature": []}, {"bearerToken": []}]) },
    });
    if let Needs::Action(action) = route.needs {
        described["x-fanfare-rights"] = rights(action).into();
        let data_actions = action.data_actions().iter().map(|action| action.name());
        described["x-fanfare-data-actions"] = data_actions.collect();
    }
    if let Some(schema) = operation.body {
        let mut content = json!({"schema": shape(schema)});
        if let Some(example) = schemas::example(schema) {
            content["example"] = example;
        }
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": content}});
    }
    described
}

/// Which rights do, in the words of the shared access policies; `RegistryWrite` need not name what it implies.
fn rights(action: Action) -> String {
    let words = |rights: &Rights| {
        let all: Vec<_> = rights.words().collect();
        match *rights {
            Rights::REGISTRY_WRITE => "RegistryWrite".to_owned(),
            _ => all.join(" and "),
        }
    };
    let choices: Vec<_> = action.rights().iter().map(words).collect();
    choices.join(" or ")
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next());
    names
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "schema": {"$ref": format!("#/components/schemas/{}", schemas::id_of(name))},
            })
        })
        .collect()
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "in": parameter.place, "required": false,
        "description": parameter.meaning, "schema": shape(parameter.schema),
    })
}

fn responses(operation: &Operation, is_open: bool) -> Value {
    let mut responses = Map::new();
    for answer in operation.answers {
        responses.insert(answer.status.to_string(), answered(answer));
    }
    let guarded: &[u16] = if is_open { &[] } else { &[400, 401, 500, 503] };
    for status in guarded.iter().chain(operation.refusals) {
        let refused = json!({
            "description": "Refused; the body says why.",
            "headers": {HEADER_ERROR_CODE: {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": shape("Error")}},
        });
        responses.entry(status.to_string()).or_insert(refused);
    }
    Value::Object(responses)
}

fn answered(answer: &Answer) -> Value {
    let mut answered = json!({"description": answer.meaning});
    let text = json!({"type": "string"});
    if answer.schema == "text" {
        answered["content"] = json!({"text/plain": {"schema": text}});
    } else if answer.schema == "events" {
        // The schema is that of one event. Its data is text, and that text is JSON.
        let event = json!({"type": "object", "required": ["data"], "properties": {"data": text}});
        answered["content"] = json!({"text/event-stream": {"schema": event}});
    } else if !answer.schema.is_empty() {
        answered["content"] = json!({"application/json": {"schema": shape(answer.schema)}});
    }
    if answer.is_page {
        answered["headers"] = json!({
            "x-ms-continuation": {
                "description": "Where the next page begins; absent from the last.",
                "schema": {"type": "string"},
            },
            "x-ms-item-type": {"schema": {"type": "string"}},
        });
    }
    answered
}

/// A schema by name: `Name`, `[Name]` for a list of them, or one of JSON's own types.
fn shape(name: &str) -> Value {
    if let Some(item) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        return json!({"type": "array", "items": shape(item)});
    }
    match name {
        "string" | "integer" | "object" => json!({"type": name}),
        _ => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}
