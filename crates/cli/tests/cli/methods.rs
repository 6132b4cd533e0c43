//! `fanfare method call`.

use std::time::Duration;

use fanfare_cli::fleet::{Answer, Behaviour, Payload};
use serde_json::{Value, json};

use crate::rig::Scene;

const ADDRESS: &str = "127.0.0.87";

fn answering(status: i32, payload: Value) -> Behaviour {
    Behaviour {
        answer: Answer::Reply {
            status,
            payload: Payload::Fixed(payload),
            delay: Duration::ZERO..Duration::ZERO,
        },
        ..Behaviour::default()
    }
}

#[test]
fn call() {
    let mut scene = Scene::start(ADDRESS);
    let silent = Behaviour {
        answer: Answer::Silence,
        ..Behaviour::default()
    };
    scene.devices([
        ("door-1", json!({}), answering(200, json!({"locked": true}))),
        ("door-2", json!({}), answering(503, json!("jammed"))),
        ("door-3", json!({}), silent),
        ("door-4", json!({}), Behaviour::offline()),
    ]);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&["method", "call", "door-1", "lockDoor"])
        .snapshot("method-call")
        .exits(0);
    run(&[
        "method",
        "call",
        "door-1",
        "lockDoor",
        "--payload",
        r#"{"force":true}"#,
        "-o",
        "json",
    ])
    .snapshot("method-call-json")
    .exits(0);
    run(&["method", "call", "door-2", "lockDoor"])
        .snapshot("method-call-device-error")
        .exits(0);
    run(&[
        "method",
        "call",
        "door-2",
        "lockDoor",
        "--fail-on-device-error",
        "-o",
        "csv",
    ])
    .snapshot("method-call-fail-on-device-error")
    .exits(1);
    run(&["method", "call", "door-4", "lockDoor"])
        .snapshot("method-call-offline")
        .exits(4);
    run(&[
        "method",
        "call",
        "door-3",
        "lockDoor",
        "--response-timeout",
        "5s",
    ])
    .snapshot("method-call-silent")
    .exits(4);
    run(&["method", "call", "absent", "lockDoor"])
        .snapshot("method-call-absent")
        .exits(4);
    run(&[
        "method",
        "call",
        "door-1",
        "lockDoor",
        "--payload",
        "{force: true}",
    ])
    .snapshot("method-call-bad-payload")
    .exits(2);
    run(&[
        "method",
        "call",
        "door-1",
        "lockDoor",
        "--response-timeout",
        "1s",
    ])
    .snapshot("method-call-bad-timeout")
    .exits(2);
    run(&["method", "call", "door-1"])
        .snapshot("method-call-no-name")
        .exits(2);
    run(&["method", "call", "door-1", "lockDoor", "--module", "absent"])
        .snapshot("method-call-module-absent")
        .exits(4);
}
