//! Imports and exports that are cut: by a kill, by Ctrl-C, by a hub that goes away, by a full disk.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{ADDRESS, told, total, write};
use crate::rig::Scene;

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
fn a_file_that_grows_while_it_is_imported_is_told() {
    let scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let child = begin_import(&scene, "devices.txt");
    let path = scene.folder().join("devices.txt");
    let mut file = fs::File::options().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, b"{\"id\":\"late\"}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has changed while it was imported"), "{said}");
    let again = scene.fanfare(&["device", "import", "devices.txt"]);
    assert!(again.exits(2).stderr.contains("--restart"), "{again:?}");
}

/// Runs a command that may write so many blocks of 512 bytes (1,024 in some shells) into one file, as on a disk
/// that is full.
fn cramped(scene: &Scene, blocks: u32, args: &[&str]) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    Command::new("/bin/sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_fanfare")])
        .args(args)
        .current_dir(scene.folder())
        .env_clear()
        .envs(scene.environment(&[]))
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_doubles_and_loses_nothing() {
    const DEVICES: u64 = 5_000;
    let scene = Scene::start(ADDRESS);
    let mut text = String::new();
    for (n, line) in creations(DEVICES).lines().enumerate() {
        writeln!(text, "{line}\nnonsense {n}").unwrap();
    }
    write(&scene, "devices.txt", &text);
    let full = cramped(&scene, 256, &["device", "import", "devices.txt"]);
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(
        said.contains("devices.txt.errors.jsonl cannot be used"),
        "{said}"
    );
    let again = scene.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    let result = again.exits(1).json();
    let number = |member: &str| result[member].as_u64().unwrap();
    assert_eq!(number("changed") + number("foundDone"), DEVICES);
    assert_eq!(number("failed"), DEVICES);
    let errors = fs::read_to_string(scene.folder().join("devices.txt.errors.jsonl")).unwrap();
    let lines = errors
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<u64> = lines.map(|error| error["line"].as_u64().unwrap()).collect();
    assert!(lines.iter().copied().eq((1..=DEVICES).map(|n| 2 * n)));

    let full = cramped(&scene, 1_536, &["device", "export", "out.txt"]);
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("out.txt.partial cannot be used"), "{said}");
    scene.fanfare(&["device", "export", "out.txt"]).exits(0);
    let text = fs::read_to_string(scene.folder().join("out.txt")).unwrap();
    assert_eq!(told(&text).len() as u64, DEVICES);
    let names = fs::read_dir(scene.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(
        !names.iter().any(|name| name.ends_with(".new")),
        "{names:?}"
    );
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
fn a_second_ctrl_c_does_not_wait_for_a_hub_that_is_gone() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut scene = Scene::start(ADDRESS);
    write(&scene, "devices.txt", &creations(MANY));
    let mut child = begin_import(&scene, "devices.txt");
    scene.kill_hub();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("Stopping when ")));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(said.any(|line| line.unwrap().starts_with("Stopped before line ")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    scene.start_again();
    let again = scene.fanfare(&["device", "import", "devices.txt", "-o", "json"]);
    let result = again.exits(0).json();
    let number = |member: &str| result[member].as_u64().unwrap();
    assert_eq!(number("changed") + number("foundDone"), MANY);
    assert_eq!(total(&scene), MANY);
}

/// Starts an export and returns when it is under way: there is a checkpoint on the disk.
fn begin_export(scene: &Scene) -> Child {
    let mut child = scene
        .command(
            &["device", "export", "devices.txt", "--in-flight", "4"],
            &[],
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let checkpoint = scene.folder().join("devices.txt.export");
    let registry = scene.client().registry();
    while !checkpoint.exists() {
        scene.wait(registry.device_statistics()).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the export has ended");
    }
    child
}

#[test]
fn a_killed_export_goes_on_behind_its_last_page() {
    let scene = Scene::start(ADDRESS);
    write(&scene, "made.txt", &creations(MANY));
    scene.fanfare(&["device", "import", "made.txt"]).exits(0);
    let mut child = begin_export(&scene);
    let (checkpoint, partial) = (
        scene.folder().join("devices.txt.export"),
        scene.folder().join("devices.txt.partial"),
    );
    // Another one would write into the same file.
    scene
        .fanfare(&["device", "export", "devices.txt"])
        .snapshot("device-export-twice-at-once")
        .exits(2);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(!scene.folder().join("devices.txt").exists());
    let kept = fs::read_to_string(&checkpoint).unwrap();
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

    // What an end between the last two steps leaves: a checkpoint of a file that has its name already.
    write(&scene, "next.txt", "");
    let mut kept: Value = serde_json::from_str(&kept).unwrap();
    kept["condition"] = json!("deviceId = 'd-7'");
    write(&scene, "next.txt.export", &kept.to_string());
    let next = [
        "device",
        "export",
        "next.txt",
        "--overwrite",
        "--condition",
        "deviceId = 'd-7'",
    ];
    scene.fanfare(&next).exits(0);
    let text = fs::read_to_string(scene.folder().join("next.txt")).unwrap();
    assert_eq!(told(&text).len(), 1);
}

#[test]
fn an_export_outlives_a_kill_of_the_hub() {
    let mut scene = Scene::start(ADDRESS);
    write(&scene, "made.txt", &creations(MANY));
    scene.fanfare(&["device", "import", "made.txt"]).exits(0);
    let child = begin_export(&scene);
    scene.kill_hub();
    scene.start_again();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let text = fs::read_to_string(scene.folder().join("devices.txt")).unwrap();
    assert_eq!(told(&text).len() as u64, MANY);
}
