//! `fanfare device import` and `export`: what goes in, what comes out.

mod cuts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Map, Value, json};

use crate::rig::{Ran, Scene};

const ADDRESS: &str = "127.0.0.87";

/// Base64 of 32 bytes, as the hub makes them.
const KEY_ONE: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const KEY_TWO: &str = "YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=";
const PRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

/// Without how long it took.
fn timeless(mut ran: Ran) -> Ran {
    let took = regex::Regex::new(r" in [0-9.]+ ?m?s\b").unwrap();
    ran.stdout = took.replace_all(&ran.stdout, " in [TOOK]").into_owned();
    ran
}

fn write(scene: &Scene, name: &str, text: &str) {
    fs::write(scene.folder().join(name), text).unwrap();
}

fn total(scene: &Scene) -> u64 {
    let registry = scene.client().registry();
    let statistics = scene.wait(registry.device_statistics()).unwrap();
    statistics.total_device_count
}

#[test]
fn import() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| timeless(scene.fanfare(args));
    write(
        &scene,
        "devices.txt",
        "{\"id\":\"door-1\",\"tags\":{\"floor\":3}}\n\n{\"id\":\"door-1\",\"moduleId\":\"lock\"}\n{\"id\":\"door-2\",\"status\":\"disabled\"}\n",
    );
    run(&["device", "import", "devices.txt", "--dry-run"])
        .snapshot("device-import-dry-run")
        .exits(0);
    assert_eq!(total(&scene), 0);
    run(&["device", "import", "devices.txt"])
        .snapshot("device-import")
        .exits(0);
    assert_eq!(total(&scene), 2);
    run(&[
        "device",
        "import",
        "devices.txt",
        "--mode",
        "update",
        "-o",
        "json",
    ])
    .snapshot("device-import-json")
    .exits(0);
    write(
        &scene,
        "bad.txt",
        "{\"id\":\"door-3\"}\n{\"id\":\"door-4\",\n{\"id\":\"door 5\"}\n{\"id\":\"door-1\",\"importMode\":\"create\"}\n{\"id\":7}\n{\"id\":\"door-6\",\"importMode\":\"merge\"}\n",
    );
    run(&["device", "import", "bad.txt", "--dry-run"])
        .snapshot("device-import-dry-run-bad")
        .exits(2);
    run(&["device", "import", "bad.txt"])
        .snapshot("device-import-bad-lines")
        .exits(1);
    let errors = fs::read_to_string(scene.folder().join("bad.txt.errors.jsonl")).unwrap();
    let codes: Vec<(u64, String)> = errors
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|error| {
            (
                error["line"].as_u64().unwrap(),
                error["errorCode"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let want = [
        (2, "InvalidLine"),
        (3, "ArgumentInvalid"),
        (4, "DeviceAlreadyExists"),
        (5, "InvalidLine"),
        (6, "InvalidLine"),
    ];
    assert_eq!(codes, want.map(|(line, code)| (line, code.to_owned())));
    let piped = scene.fanfare_with(&["device", "import", "-"], "{\"id\":\"door-7\"}\n", &[]);
    timeless(piped).snapshot("device-import-stdin").exits(0);
    assert_eq!(total(&scene), 4);
    let leftovers: Vec<String> = fs::read_dir(scene.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".import") || name.ends_with(".new"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");

    run(&["device", "import"])
        .snapshot("device-import-nothing")
        .exits(2);
    run(&["device", "import", "absent.txt"])
        .snapshot("device-import-no-file")
        .exits(2);
    run(&["device", "import", "devices.txt", "--mode", "replace"])
        .snapshot("device-import-bad-mode")
        .exits(2);
    write(
        &scene,
        "devices.txt.import",
        "{\"import\":1,\"hub\":\"https://other\",\"mode\":\"createOrUpdate\",\"file\":{\"bytes\":1,\"written\":1,\"head\":\"\"},\"lines\":1,\"bytes\":1,\"sentLinesMax\":1,\"changed\":1,\"foundDone\":0,\"failed\":0,\"errorsBytes\":0}",
    );
    run(&["device", "import", "devices.txt"])
        .snapshot("device-import-other-checkpoint")
        .exits(2);
    run(&["device", "import", "devices.txt", "--restart"]).exits(0);
    let nobody = format!("HostName={ADDRESS}:1;SharedAccessKeyName=a;SharedAccessKey={KEY_ONE}");
    scene
        .fanfare_with(
            &["device", "import", "devices.txt"],
            "",
            &[("IOTHUB_CONNECTION_STRING", &nobody)],
        )
        .snapshot("device-import-unreachable")
        .exits(3);
    assert!(!scene.folder().join("devices.txt.import").exists());
}

#[test]
fn export() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| timeless(scene.fanfare(args));
    run(&[
        "device",
        "create",
        "door-1",
        "door-2",
        "--tags",
        r#"{"floor":3}"#,
    ])
    .exits(0);
    run(&["device", "create", "door-1", "--module", "lock"]).exits(0);
    run(&["device", "create", "window"]).exits(0);
    run(&["device", "export", "devices.txt"])
        .snapshot("device-export")
        .exits(0);
    run(&[
        "device",
        "export",
        "-",
        "--no-keys",
        "--condition",
        "tags.floor = 3",
    ])
    .snapshot("device-export-stdout")
    .exits(0);
    run(&["device", "export", "-"])
        .snapshot("device-export-keys")
        .exits(0);
    run(&["device", "export", "devices.txt"])
        .snapshot("device-export-exists")
        .exits(2);
    run(&[
        "device",
        "export",
        "devices.txt",
        "--overwrite",
        "-o",
        "json",
    ])
    .snapshot("device-export-json")
    .exits(0);
    run(&["device", "export"])
        .snapshot("device-export-nowhere")
        .exits(2);
    run(&["device", "export", "absent/devices.txt"])
        .snapshot("device-export-no-folder")
        .exits(2);
    run(&[
        "device",
        "export",
        "other.txt",
        "--condition",
        "tags.floor =",
    ])
    .snapshot("device-export-bad-condition")
    .exits(4);
    // Keys are not written into what others can read already.
    write(&scene, "devices.txt.partial", "");
    let partial = scene.folder().join("devices.txt.partial");
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["device", "export", "devices.txt", "--overwrite"]).exits(0);
    write(&scene, "other.txt.export", "{");
    run(&["device", "export", "other.txt"])
        .snapshot("device-export-bad-checkpoint")
        .exits(2);
    let file = fs::metadata(scene.folder().join("devices.txt")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(!scene.folder().join("other.txt.partial").exists());
}

#[test]
fn what_is_no_file_of_lines_is_called_what_it_is() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| timeless(scene.fanfare(args));
    fs::write(scene.folder().join("devices.gz"), b"\x1f\x8b\x08\0\0").unwrap();
    run(&["device", "import", "devices.gz"])
        .snapshot("device-import-gzip")
        .exits(2);
    scene
        .fanfare_with(
            &["device", "import", "-", "--dry-run"],
            "[\n{\"id\":\"a\"}\n]\n",
            &[],
        )
        .snapshot("device-import-array")
        .exits(2);
    // The file of errors is emptied first; the one that is imported is not to be lost to that.
    write(&scene, "devices.txt", "{\"id\":\"door-1\"}\n");
    run(&[
        "device",
        "import",
        "devices.txt",
        "--errors",
        "./devices.txt",
    ])
    .snapshot("device-import-errors-into-itself")
    .exits(2);
    assert!(scene.folder().join("devices.txt").exists());
    run(&[
        "device",
        "import",
        "devices.txt",
        "--errors",
        "absent/errors.jsonl",
    ])
    .exits(2);
    assert_eq!(total(&scene), 0);
}

/// Members that other programs write, some in their own letter case.
#[test]
fn a_file_of_the_original_in_odd_case_is_read_whole() {
    let scene = Scene::start(ADDRESS);
    let line = json!({
        "Id": "door-1", "ETag": "MA==", "Status": "Disabled", "StatusReason": "lost", "generationId": "637",
        "connectionState": "Disconnected", "connectionStateUpdatedTime": "0001-01-01T00:00:00",
        "lastActivityTime": "0001-01-01T00:00:00Z", "cloudToDeviceMessageCount": 0, "deviceScope": null,
        "parentScopes": [], "TwinETag": "AAAAAAAAAAE=", "Tags": {"Floor": 3}, "ImportMode": "CreateOrUpdate",
        "Authentication": {"Type": "Sas", "SymmetricKey": {"PrimaryKey": KEY_ONE, "SecondaryKey": KEY_TWO},
            "X509Thumbprint": {"PrimaryThumbprint": null, "SecondaryThumbprint": null}},
        "Properties": {"Desired": {"Locked": true, "$version": 7, "$metadata": {}}, "Reported": {"$version": 3}},
        "Capabilities": {"IotEdge": false},
    });
    write(&scene, "devices.txt", &format!("{line}\r\n"));
    scene
        .fanfare(&["device", "import", "devices.txt", "--dry-run"])
        .exits(0);
    scene.fanfare(&["device", "import", "devices.txt"]).exits(0);
    let exported = scene.fanfare(&["device", "export", "-"]);
    let exported = exported.exits(0).json();
    for (member, want) in [
        ("/status", json!("disabled")),
        ("/statusReason", json!("lost")),
        ("/tags", json!({"Floor": 3})),
        ("/properties/desired/Locked", json!(true)),
        ("/authentication/symmetricKey/primaryKey", json!(KEY_ONE)),
        ("/authentication/symmetricKey/secondaryKey", json!(KEY_TWO)),
    ] {
        assert_eq!(exported.pointer(member), Some(&want), "{member}");
    }
}

/// A fleet with everything that a line can say.
fn motley_fleet() -> String {
    let mut text = String::new();
    for n in 0..150 {
        let mut line = json!({
            "id": format!("door-{n}"),
            "tags": {"floor": n % 5, "name": "Tür 'Süd' \"3\"", "nested": {"a": [1, 2.5, {"b": true}]}},
            "properties": {"desired": {"locked": n % 2 == 0, "limit": n}},
        });
        line["authentication"] = match n % 5 {
            0 => {
                json!({"type": "sas", "symmetricKey": {"primaryKey": KEY_ONE, "secondaryKey": KEY_TWO}})
            }
            1 => json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": PRINT}}),
            2 => json!({"type": "certificateAuthority"}),
            3 => json!({"type": "none"}),
            _ => json!({"type": "sas"}),
        };
        if n % 7 == 0 {
            line["status"] = json!("disabled");
            line["statusReason"] = json!("not delivered");
        }
        if n == 5 {
            line["capabilities"] = json!({"iotEdge": true});
        }
        writeln!(text, "{line}").unwrap();
        if n % 3 == 0 {
            let module = json!({
                "id": format!("door-{n}"), "moduleId": "lock", "managedBy": "us", "tags": {"m": n},
                "authentication": {"type": "sas", "symmetricKey": {"primaryKey": KEY_TWO, "secondaryKey": KEY_ONE}},
            });
            writeln!(text, "{module}").unwrap();
        }
    }
    text
}

/// What an export says of each identity, without what only its hub can know.
fn told(text: &str) -> BTreeMap<(String, String), Value> {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut all = BTreeMap::new();
    for mut line in lines {
        let name = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
        let name = (name("id"), name("moduleId"));
        let members: &mut Map<String, Value> = line.as_object_mut().unwrap();
        members.remove("eTag");
        members.remove("twinETag");
        let desired = line["properties"]["desired"].as_object_mut().unwrap();
        desired.remove("$metadata");
        desired.remove("$version");
        line["properties"]
            .as_object_mut()
            .unwrap()
            .remove("reported");
        assert!(
            all.insert(name, line).is_none(),
            "an identity is there twice"
        );
    }
    all
}

#[test]
fn an_exported_fleet_is_the_same_in_another_hub() {
    let (from, to) = (Scene::start(ADDRESS), Scene::start(ADDRESS));
    write(&from, "made.txt", &motley_fleet());
    from.fanfare(&["device", "import", "made.txt"]).exits(0);
    from.fanfare(&["device", "export", "devices.txt", "-o", "json"])
        .exits(0);
    let exported = fs::read_to_string(from.folder().join("devices.txt")).unwrap();
    // 150 devices, 50 modules, and the two that come with an edge device.
    assert_eq!(exported.lines().count(), 202);
    write(&to, "devices.txt", &exported);
    let done = to.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    assert_eq!(done.exits(0).json()["changed"], 202);
    let again = to.fanfare(&["device", "export", "-"]);
    assert_eq!(told(&again.exits(0).stdout), told(&exported));
    let twice = to.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    assert_eq!(twice.exits(0).json()["changed"], 202);
    let again = to.fanfare(&["device", "export", "-", "--in-flight", "3"]);
    assert_eq!(told(&again.exits(0).stdout), told(&exported));
}

#[test]
fn a_fleet_moves_through_a_pipe() {
    let (from, to) = (Scene::start(ADDRESS), Scene::start(ADDRESS));
    write(&from, "made.txt", &motley_fleet());
    from.fanfare(&["device", "import", "made.txt"]).exits(0);
    let mut export = from
        .command(&["device", "export", "-"], &[])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = export.stdout.take().unwrap();
    let import = to
        .command(&["device", "import", "-", "-o", "json"], &[])
        .stdin(lines)
        .output()
        .unwrap();
    assert!(export.wait().unwrap().success());
    let result: Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!(
        (&result["changed"], &result["failed"]),
        (&json!(202), &json!(0))
    );
    let all = |scene: &Scene| told(&scene.fanfare(&["device", "export", "-"]).exits(0).stdout);
    assert_eq!(all(&to), all(&from));
}
