//! `fanfare device`: identities, one or many. Moving whole registries is in `moves.rs`.

use std::fs;

use serde_json::json;

use crate::rig::Scene;

const ADDRESS: &str = "127.0.0.87";

/// Base64 of 32 bytes, as the hub makes them.
const KEY_ONE: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const KEY_TWO: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";
const PRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

fn write(scene: &Scene, name: &str, text: &str) {
    fs::write(scene.folder().join(name), text).unwrap();
}

#[test]
fn create() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&["device", "create", "door-1"])
        .snapshot("device-create")
        .exits(0);
    run(&[
        "device",
        "create",
        "door-2",
        "--tags",
        r#"{"floor":3}"#,
        "--show-keys",
    ])
    .snapshot("device-create-show-keys")
    .exits(0);
    run(&[
        "device",
        "create",
        "door-1",
        "--module",
        "lock",
        "--managed-by",
        "us",
    ])
    .snapshot("device-create-module")
    .exits(0);
    run(&[
        "device",
        "create",
        "door-3",
        "--thumbprint",
        PRINT,
        "--disabled",
        "--status-reason",
        "not delivered",
        "-o",
        "json",
    ])
    .snapshot("device-create-thumbprint-json")
    .exits(0);
    let twin = scene
        .fanfare(&["twin", "show", "door-2", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(twin["tags"], json!({"floor": 3}));
    let keys = format!("{KEY_ONE}\n{KEY_TWO}\n");
    let made = scene.fanfare_with(
        &[
            "device",
            "create",
            "door-4",
            "--key",
            "-",
            "--secondary-key",
            "-",
            "--show-keys",
            "-o",
            "json",
        ],
        &keys,
        &[],
    );
    let made = made.exits(0).json();
    assert_eq!(
        made["authentication"]["symmetricKey"],
        json!({"primaryKey": KEY_ONE, "secondaryKey": KEY_TWO})
    );
    let string = format!("HostName={ADDRESS};DeviceId=door-4;SharedAccessKey={KEY_ONE}");
    assert_eq!(made["connectionString"], string);
}

#[test]
fn create_many_and_what_goes_wrong() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&["device", "create", "door-1"]).exits(0);
    write(
        &scene,
        "ids.txt",
        "# the new wing\ndoor-5\ndoor-6\n\ndoor-5\n",
    );
    run(&["device", "create", "--ids-from", "ids.txt"])
        .snapshot("device-create-many")
        .exits(0);
    run(&["device", "create", "door-6", "door-7"])
        .snapshot("device-create-some-exist")
        .exits(1);
    run(&["device", "create", "door-6", "door-8", "-o", "csv"])
        .snapshot("device-create-some-exist-csv")
        .exits(1);
    run(&["device", "create", "door-9", "door-10", "--show-keys"])
        .snapshot("device-create-many-show-keys")
        .exits(0);

    run(&["device", "create"])
        .snapshot("device-create-nobody")
        .exits(2);
    run(&["device", "create", "door-1"])
        .snapshot("device-create-exists")
        .exits(4);
    run(&["device", "create", "a/b"])
        .snapshot("device-create-bad-id")
        .exits(2);
    run(&["device", "create", "d", "--key", KEY_ONE])
        .snapshot("device-create-literal-key")
        .exits(2);
    run(&["device", "create", "d", "--tags", "{floor: 3}"])
        .snapshot("device-create-bad-tags")
        .exits(2);
    run(&["device", "create", "d", "e", "--thumbprint", PRINT])
        .snapshot("device-create-one-print-for-two")
        .exits(2);
    run(&["device", "create", "absent", "--module", "lock"])
        .snapshot("device-create-module-of-nobody")
        .exits(4);
}

#[test]
fn list_and_show() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&["device", "list"])
        .snapshot("device-list-none")
        .exits(0);
    run(&[
        "device",
        "create",
        "door-1",
        "door-2",
        "--tags",
        r#"{"building":"43","floor":3}"#,
    ])
    .exits(0);
    run(&[
        "device",
        "create",
        "window-1",
        "--disabled",
        "--status-reason",
        "lost",
    ])
    .exits(0);
    run(&["device", "create", "door-1", "--module", "lock"]).exits(0);
    run(&["device", "create", "gateway", "--edge"]).exits(0);
    run(&["device", "list"]).snapshot("device-list").exits(0);
    run(&[
        "device",
        "list",
        "--condition",
        "tags.floor = 3",
        "-o",
        "csv",
    ])
    .snapshot("device-list-condition-csv")
    .exits(0);
    run(&["device", "list", "--limit", "1", "-o", "json"])
        .snapshot("device-list-limit-json")
        .exits(0);
    run(&["device", "list", "--modules"])
        .snapshot("device-list-modules")
        .exits(0);
    run(&["device", "list", "--condition", "tags.floor = 4"])
        .snapshot("device-list-no-match")
        .exits(0);
    run(&["device", "list", "--condition", "tags.floor == 3"])
        .snapshot("device-list-bad-condition")
        .exits(4);
    run(&["device", "list", "--limit", "0"])
        .snapshot("device-list-limit-0")
        .exits(2);

    run(&["device", "show", "door-1"])
        .snapshot("device-show")
        .exits(0);
    run(&["device", "show", "door-1", "--keys"])
        .snapshot("device-show-keys")
        .exits(0);
    run(&["device", "show", "window-1", "-o", "json"])
        .snapshot("device-show-json")
        .exits(0);
    run(&["device", "show", "door-1", "--module", "lock"])
        .snapshot("device-show-module")
        .exits(0);
    run(&["device", "show", "gateway"])
        .snapshot("device-show-edge")
        .exits(0);
    run(&["device", "show", "absent"])
        .snapshot("device-show-absent")
        .exits(4);
    run(&["device", "show", "door-1", "--module", "absent"])
        .snapshot("device-show-module-absent")
        .exits(4);
    run(&["device", "show"])
        .snapshot("device-show-nobody")
        .exits(2);
    run(&["device", "show", "door 1"])
        .snapshot("device-show-bad-id")
        .exits(2);
    scene
        .fanfare_with(
            &["device", "show", "door-1"],
            "",
            &[("IOTHUB_CONNECTION_STRING", "")],
        )
        .snapshot("device-show-no-hub")
        .exits(2);
}

#[test]
fn update() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    run(&[
        "device",
        "create",
        "door-1",
        "door-2",
        "door-3",
        "door-4",
        "--tags",
        r#"{"floor":3}"#,
    ])
    .exits(0);
    run(&["device", "create", "door-1", "--module", "lock"]).exits(0);
    let keys = |id: &str| {
        let shown = scene
            .fanfare(&["device", "show", id, "--keys", "-o", "json"])
            .exits(0)
            .json();
        shown["authentication"]["symmetricKey"].clone()
    };
    run(&[
        "device",
        "update",
        "door-1",
        "--status",
        "disabled",
        "--status-reason",
        "stolen",
    ])
    .snapshot("device-update")
    .exits(0);
    let before = keys("door-2");
    run(&["device", "update", "door-2", "--renew-key", "swap"]).exits(0);
    let after = keys("door-2");
    assert_eq!(
        (&after["primaryKey"], &after["secondaryKey"]),
        (&before["secondaryKey"], &before["primaryKey"])
    );
    write(&scene, "key", KEY_ONE);
    run(&["device", "update", "door-2", "--key", "@key"]).exits(0);
    assert_eq!(
        keys("door-2"),
        json!({"primaryKey": KEY_ONE, "secondaryKey": after["secondaryKey"]})
    );
    run(&["device", "update", "door-3", "--auth", "x509-ca"])
        .snapshot("device-update-auth")
        .exits(0);
    run(&[
        "device",
        "update",
        "door-1",
        "--module",
        "lock",
        "--managed-by",
        "us",
    ])
    .snapshot("device-update-module")
    .exits(0);
    run(&["device", "update", "door-1"])
        .snapshot("device-update-nothing")
        .exits(2);
    run(&["device", "update", "absent", "--status", "enabled"])
        .snapshot("device-update-absent")
        .exits(4);
    run(&["device", "update", "door-1", "--status", "broken"])
        .snapshot("device-update-bad-status")
        .exits(2);
    run(&[
        "device", "update", "door-1", "--status", "enabled", "--etag", "AAAA",
    ])
    .snapshot("device-update-other-etag")
    .exits(4);
    run(&["device", "update", "door-3", "--renew-key", "both"])
        .snapshot("device-update-renew-without-keys")
        .exits(4);
}

#[test]
fn delete() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    let doors = ["device", "create", "door-1", "door-2", "door-3", "door-4"];
    run(&[&doors[..], &["--tags", r#"{"floor":3}"#]].concat()).exits(0);
    run(&["device", "create", "door-1", "--module", "lock"]).exits(0);
    run(&["device", "delete", "door-1", "--module", "lock"])
        .snapshot("device-delete-module")
        .exits(0);
    run(&["device", "delete", "door-1"])
        .snapshot("device-delete")
        .exits(0);
    run(&["device", "delete", "door-1"])
        .snapshot("device-delete-absent")
        .exits(4);
    run(&["device", "delete", "door-2", "--etag", "AAAA"])
        .snapshot("device-delete-other-etag")
        .exits(4);
    run(&["device", "delete"])
        .snapshot("device-delete-nobody")
        .exits(2);
    run(&["device", "delete", "--condition", "tags.floor = 3"])
        .snapshot("device-delete-unasked")
        .exits(2);
    run(&["device", "delete", "door-2", "gone", "--yes"])
        .snapshot("device-delete-some")
        .exits(1);
    run(&["device", "delete", "--condition", "tags.floor = ", "--yes"])
        .snapshot("device-delete-bad-condition")
        .exits(4);
    run(&[
        "device",
        "delete",
        "--condition",
        "tags.floor = 3",
        "--yes",
        "-o",
        "jsonl",
    ])
    .snapshot("device-delete-condition-jsonl")
    .exits(0);
    assert_eq!(total(&scene), 0);
}

fn total(scene: &Scene) -> u64 {
    let registry = scene.client().registry();
    let statistics = scene.wait(registry.device_statistics()).unwrap();
    statistics.total_device_count
}
