//! `fanfare device import` and `export`: lines, and what is left when one is cut.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};

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
        "{\"import\":1,\"hub\":\"https://other\",\"mode\":\"createOrUpdate\",\"file\":{\"bytes\":1,\"head\":\"\"},\"lines\":1,\"bytes\":1,\"sentLinesMax\":1,\"changed\":1,\"foundDone\":0,\"failed\":0,\"errorsBytes\":0}",
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
    write(&scene, "other.txt.export", "{");
    run(&["device", "export", "other.txt"])
        .snapshot("device-export-bad-checkpoint")
        .exits(2);
    use std::os::unix::fs::PermissionsExt as _;
    let file = fs::metadata(scene.folder().join("devices.txt")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(!scene.folder().join("other.txt.partial").exists());
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

/// Lines that may be imported once only: what is told twice is refused.
fn creations(devices: u64) -> String {
    let mut text = String::new();
    for n in 0..devices {
        writeln!(
            text,
            "{{\"id\":\"d-{n}\",\"importMode\":\"create\",\"tags\":{{\"n\":{n}}}}}"
        )
        .unwrap();
    }
    text
}

/// Starts an import and returns when it is under way: the checkpoint on the disk says that lines are done.
fn begin_import(scene: &Scene, file: &str) -> Child {
    let mut child = scene
        .command(&["device", "import", file, "-o", "json"], &[])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let checkpoint = scene.folder().join(format!("{file}.import"));
    let lines = || {
        let text = fs::read_to_string(&checkpoint).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["lines"].as_u64()
    };
    let registry = scene.client().registry();
    // Each look asks the hub, so that it is no idle loop.
    while lines().unwrap_or(0) == 0 {
        scene.wait(registry.device_statistics()).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the import has ended");
    }
    child
}

/// Devices of the tests that cut an import: some seconds of work.
const MANY: u64 = 20_000;

#[test]
fn a_killed_import_goes_on_where_it_was() {
    let scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let mut child = begin_import(&scene, "devices.txt");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let done_before = total(&scene);
    assert!(done_before < MANY, "it was not cut in the middle");

    let again = scene.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    let result = again.exits(0).json();
    let began = result["beganAtLine"].as_u64().unwrap();
    assert!(began > 1, "{result}");
    assert!(
        again.stderr.contains("Going on with line "),
        "{}",
        again.stderr
    );
    // No line is lost, none was refused for having been told twice.
    let (changed, found) = (
        result["changed"].as_u64().unwrap(),
        result["foundDone"].as_u64().unwrap(),
    );
    assert_eq!((changed + found, &result["failed"]), (MANY, &json!(0)));
    // What was done again is what was done after the last checkpoint, and in the calls that were under way.
    let doubled = done_before - (began - 1);
    assert!(
        (doubled..=doubled + 400).contains(&found),
        "{found}, {doubled}"
    );
    assert_eq!(total(&scene), MANY);
    assert!(!scene.folder().join("devices.txt.import").exists());
    assert!(!scene.folder().join("devices.txt.errors.jsonl").exists());
}

#[test]
fn an_import_outlives_a_kill_of_the_hub() {
    let mut scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let child = begin_import(&scene, "devices.txt");
    scene.kill_hub();
    scene.start_again();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (changed, found) = (
        result["changed"].as_u64().unwrap(),
        result["foundDone"].as_u64().unwrap(),
    );
    assert_eq!(
        (changed + found, &result["failed"]),
        (MANY, &json!(0)),
        "{said}"
    );
    assert_eq!(total(&scene), MANY);
}

#[test]
fn two_imports_of_one_file_do_not_meet() {
    let scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let mut child = begin_import(&scene, "devices.txt");
    scene
        .fanfare(&["device", "import", "devices.txt"])
        .snapshot("device-import-twice-at-once")
        .exits(2);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn ctrl_c_leaves_an_import_to_be_finished() {
    use rustix::process::{Pid, Signal, kill_process};
    let scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let child = begin_import(&scene, "devices.txt");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("Stopped before line "), "{said}");
    // Whatever was under way was waited for: nothing is in doubt.
    let again = scene.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    let result = again.exits(0).json();
    assert_eq!(
        (&result["changed"], &result["foundDone"]),
        (&json!(MANY), &json!(0))
    );
}

#[test]
fn a_killed_export_goes_on_behind_its_last_page() {
    let scene = Scene::start(ADDRESS);
    write(&scene, "made.txt", &creations(MANY));
    scene.fanfare(&["device", "import", "made.txt"]).exits(0);
    let mut child = scene
        .command(
            &["device", "export", "devices.txt", "--in-flight", "4"],
            &[],
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (checkpoint, partial) = (
        scene.folder().join("devices.txt.export"),
        scene.folder().join("devices.txt.partial"),
    );
    let registry = scene.client().registry();
    while !checkpoint.exists() {
        scene.wait(registry.device_statistics()).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the export has ended");
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(!scene.folder().join("devices.txt").exists());
    // What a crash leaves behind the durable bytes is cut off.
    let mut torn = fs::File::options().append(true).open(&partial).unwrap();
    std::io::Write::write_all(&mut torn, b"{\"id\":\"d-tor").unwrap();

    let again = scene.fanfare(&["device", "export", "devices.txt", "-o", "json"]);
    assert_eq!(again.exits(0).json()["lines"], MANY);
    assert!(
        again.stderr.contains("Going on behind "),
        "{}",
        again.stderr
    );
    let text = fs::read_to_string(scene.folder().join("devices.txt")).unwrap();
    let all = told(&text);
    assert_eq!(all.len() as u64, MANY);
    assert!(!checkpoint.exists() && !partial.exists());
}
