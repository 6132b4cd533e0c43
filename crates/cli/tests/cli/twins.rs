//! `fanfare twin`.

use std::fs;

use fanfare_cli::fleet::{Behaviour, TwinUse};
use serde_json::json;

use crate::rig::Scene;

const ADDRESS: &str = "127.0.0.87";

#[test]
fn show_patch_and_replace() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&[
        "device",
        "create",
        "door-1",
        "--tags",
        r#"{"building":"43"}"#,
    ])
    .exits(0);
    run(&["device", "create", "door-1", "--module", "lock"]).exits(0);
    run(&["twin", "show", "door-1"])
        .snapshot("twin-show")
        .exits(0);
    run(&[
        "twin",
        "patch",
        "door-1",
        "--tags",
        r#"{"floor":3}"#,
        "--desired",
        r#"{"locked":true}"#,
    ])
    .snapshot("twin-patch")
    .exits(0);
    run(&["twin", "show", "door-1", "--section", "desired"])
        .snapshot("twin-show-section")
        .exits(0);
    run(&["twin", "show", "door-1", "--section", "tags", "-o", "json"])
        .snapshot("twin-show-section-json")
        .exits(0);
    fs::write(
        scene.folder().join("desired.json"),
        r#"{"locked":false,"limit":7}"#,
    )
    .unwrap();
    run(&["twin", "replace", "door-1", "--desired", "@desired.json"])
        .snapshot("twin-replace")
        .exits(0);
    scene
        .fanfare_with(
            &[
                "twin",
                "patch",
                "door-1",
                "--module",
                "lock",
                "--desired",
                "-",
            ],
            "{\"n\":1}",
            &[],
        )
        .snapshot("twin-patch-module")
        .exits(0);
    let emptied = run(&["twin", "patch", "door-1", "--tags", "null", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(emptied["tags"], json!({}));
    let etag = emptied["etag"].as_str().unwrap();
    run(&[
        "twin",
        "patch",
        "door-1",
        "--tags",
        r#"{"a":1}"#,
        "--etag",
        etag,
    ])
    .exits(0);
    run(&[
        "twin",
        "patch",
        "door-1",
        "--tags",
        r#"{"a":2}"#,
        "--etag",
        etag,
    ])
    .snapshot("twin-patch-other-etag")
    .exits(4);
    run(&["twin", "show", "door-1", "-o", "csv"])
        .snapshot("twin-show-csv")
        .exits(0);
}

#[test]
fn what_goes_wrong() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&["device", "create", "door-1"]).exits(0);
    run(&["twin", "show", "absent"])
        .snapshot("twin-show-absent")
        .exits(4);
    run(&["twin", "show", "door-1", "--module", "absent"])
        .snapshot("twin-show-module-absent")
        .exits(4);
    run(&["twin", "show"]).snapshot("twin-show-nobody").exits(2);
    run(&["twin", "show", "door-1", "--section", "wishes"])
        .snapshot("twin-show-bad-section")
        .exits(2);
    run(&["twin"]).snapshot("twin").exits(2);
    run(&["twin", "patch", "door-1"])
        .snapshot("twin-patch-nothing")
        .exits(2);
    run(&["twin", "patch", "door-1", "--tags", "{'floor': 3}"])
        .snapshot("twin-patch-bad-json")
        .exits(2);
    run(&["twin", "patch", "door-1", "--tags", "[3]"])
        .snapshot("twin-patch-no-object")
        .exits(2);
    run(&["twin", "patch", "door-1", "--tags", r#"{"a.b":1}"#])
        .snapshot("twin-patch-bad-key")
        .exits(4);
    run(&["twin", "patch", "absent", "--tags", r#"{"a":1}"#])
        .snapshot("twin-patch-absent")
        .exits(4);
    run(&["twin", "replace", "door-1", "--desired", "@absent.json"])
        .snapshot("twin-replace-no-file")
        .exits(2);
    run(&["twin", "replace", "door-1"])
        .snapshot("twin-replace-nothing")
        .exits(2);
    run(&["twin", "replace", "absent", "--tags", "{}"])
        .snapshot("twin-replace-absent")
        .exits(4);
    run(&[
        "twin", "replace", "door-1", "--tags", "{}", "--etag", "AAAA",
    ])
    .snapshot("twin-replace-other-etag")
    .exits(4);
    run(&["twin", "replace", "door-1", "--tags", "-", "--desired", "-"])
        .snapshot("twin-replace-two-stdins")
        .exits(2);
}

#[test]
fn what_a_device_reported_is_shown() {
    let mut scene = Scene::start(ADDRESS);
    let talkative = Behaviour {
        twin: TwinUse::ReadAndReport,
        ..Behaviour::default()
    };
    scene.devices([("door-1", json!({}), talkative)]);
    // It reports after it has connected; the twin says when that is there.
    let reported = || {
        let shown = scene.fanfare(&[
            "twin",
            "show",
            "door-1",
            "--section",
            "reported",
            "-o",
            "json",
        ]);
        shown.exits(0).json()
    };
    while reported()["connections"].is_null() {}
    scene
        .fanfare(&["twin", "show", "door-1", "--section", "reported"])
        .snapshot("twin-show-reported")
        .exits(0);
}
