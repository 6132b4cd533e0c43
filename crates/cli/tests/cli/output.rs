//! What every verb has in common: where results and errors go, colours, closed pipes, Ctrl-C, help.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use fanfare_cli::fleet::Behaviour;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::rig::Scene;
use crate::terminal::Terminal;

const ADDRESS: &str = "127.0.0.84";
const ALL: &str = "SELECT * FROM devices";

fn one_door() -> Scene {
    let mut scene = Scene::start(ADDRESS);
    scene.devices([("door-1", json!({"floor": 3}), Behaviour::offline())]);
    scene
}

#[test]
fn help_tells_the_verbs_and_the_exit_codes() {
    let scene = Scene::start(ADDRESS);
    scene.fanfare(&["--help"]).exits(0).snapshot("help");
    scene
        .fanfare(&["query", "--help"])
        .exits(0)
        .snapshot("help-query");
    scene
        .fanfare(&["hub", "login", "--help"])
        .exits(0)
        .snapshot("help-hub-login");
    scene
        .fanfare(&["qwery", "x"])
        .exits(2)
        .snapshot("help-unknown-verb");
    scene
        .fanfare(&["query", ALL, "-o", "yaml"])
        .exits(2)
        .snapshot("help-unknown-format");
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let scene = Scene::start(ADDRESS);
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.fanfare(&["completions", shell]);
        let script = &script.exits(0).stdout;
        for word in ["connection-string", "page-size", "login"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let page = scene.fanfare(&["man"]);
    assert!(page.exits(0).stdout.starts_with(".ie"), "{}", page.stdout);
    scene.fanfare(&["man", "--out", "man"]).exits(0);
    for page in [
        "fanfare",
        "fanfare-serve",
        "fanfare-query",
        "fanfare-hub-login",
    ] {
        let text = std::fs::read_to_string(scene.folder().join(format!("man/{page}.1"))).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains("SYNOPSIS"),
            "{page}: {text}"
        );
    }
    assert!(
        !scene.folder().join("man/fanfare-bench.1").exists(),
        "it is hidden"
    );
}

#[test]
fn colours_are_for_terminals() {
    let scene = one_door();
    let escape = '\u{1b}';
    assert!(
        !scene
            .fanfare(&["query", ALL])
            .exits(0)
            .stdout
            .contains(escape)
    );
    let coloured = scene.fanfare(&["query", ALL, "--color", "always"]);
    assert!(coloured.exits(0).stdout.contains(escape));
    let refused = scene.fanfare(&["query", "SELECT", "--color", "always"]);
    assert!(refused.exits(4).stderr.contains(escape));
    assert_eq!(refused.stdout, "");
    let json = scene.fanfare(&["query", ALL, "-o", "json", "--color", "always"]);
    assert!(!json.exits(0).stdout.contains(escape));
}

#[test]
fn a_table_fits_its_terminal() {
    let mut scene = Scene::start(ADDRESS);
    let tags = json!({"building": "43", "floor": 3, "note": "by the stairs, behind the plants"});
    scene.devices([(
        "door-43-303-long-id-of-a-device",
        tags,
        Behaviour::offline(),
    )]);
    for columns in [60, 80, 140] {
        let terminal = Terminal::run(&scene, (columns, 20), &["query", ALL]);
        let screen = terminal.wait_for(|screen| screen.contains("plants\"}"));
        // tmux may scroll the head away when the command ends, to say so in the last line.
        let is_row = |line: &&str| !line.is_empty() && !line.contains("Pane is dead");
        let lines = screen
            .lines()
            .skip_while(|line| !line.starts_with("door-43"));
        let row: Vec<&str> = lines.filter(is_row).collect();
        let is_whole = row[0].starts_with("door-43-303-long-id-of-a-device  ");
        assert_eq!(is_whole, columns > 60, "{screen}");
        assert_eq!(row.len() == 1, columns == 140, "{screen}");
        // A line that is too long for the terminal would go on in the next one, at the left edge.
        let at_edge = row.iter().filter(|line| !line.starts_with(' ')).count();
        assert_eq!(at_edge, if columns > 60 { 1 } else { 3 }, "{screen}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut scene = Scene::start(ADDRESS);
    let ids: Vec<String> = (0..900)
        .map(|n| format!("door-{n:04}-{}", "x".repeat(90)))
        .collect();
    for chunk in ids.chunks(100) {
        scene.devices(
            chunk
                .iter()
                .map(|id| (id.as_str(), json!({}), Behaviour::offline())),
        );
    }
    for format in ["table", "json", "jsonl", "csv"] {
        let mut child = scene
            .command(&["query", ALL, "-o", format, "--page-size", "50"], &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(!first.is_empty(), "{format}");
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{format}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{format}");
    }
}

#[test]
fn ctrl_c_ends_with_130_and_no_word() {
    let scene = one_door();
    // Something that takes the connection and says nothing: the command waits for a reply.
    let silent = TcpListener::bind((ADDRESS, 0)).unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let child = scene
        .command(&["query", ALL, "--port", &port], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _connection = silent.accept().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!((&*ended.stdout, &*ended.stderr), (&b""[..], &b""[..]));
}
