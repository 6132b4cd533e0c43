//! What only shows on a terminal: the live view of a job at several widths, questions, and Ctrl-C.

use std::time::Duration;

use fanfare_cli::fleet::{Answer, Behaviour, Payload};
use serde_json::json;

use crate::rig::Scene;
use crate::terminal::Terminal;

const ADDRESS: &str = "127.0.0.89";
/// Room for everything these tests print.
const ROWS: u16 = 24;
/// What makes a job of six doors end with two that are not reached: one never answers, one is not there.
const SHORT: [&str; 3] = ["--window", "6s", "--watch"];

#[test]
fn the_view_at_80_and_140_columns() {
    let scene = doors();
    for columns in [80, 140] {
        let terminal = lock(&scene, columns, &format!("lock-{columns}"), &SHORT);
        let running = terminal.wait_for(|screen| screen.contains("1 running   1 pending"));
        scene.snapshot_screen(&format!("live-running-{columns}"), &running);
        let (status, ended) = terminal.ended();
        assert_eq!(status, 0, "{ended}");
        scene.snapshot_screen(&format!("live-ended-{columns}"), &ended);
    }
}

#[test]
fn the_view_follows_the_window_to_another_width() {
    let scene = doors();
    let terminal = lock(&scene, 140, "lock-resized", &["--watch"]);
    terminal.wait_for(|screen| screen.contains("1 running   1 pending"));
    terminal.resize(50, ROWS);
    let narrow = terminal.wait_for(|screen| {
        let lines = screen.lines().filter(|line| line.contains('█'));
        lines.map(|line| line.chars().count()).max() <= Some(50)
            && screen.matches("pending").count() == 1
    });
    assert!(narrow.contains("lock-resized"), "{narrow}");
    scene.fanfare(&["job", "cancel", "lock-resized"]).exits(0);
    let (status, ended) = terminal.ended();
    assert_eq!(status, 1, "{ended}");
    assert!(ended.contains("cancelled"), "{ended}");
}

#[test]
fn ctrl_c_leaves_the_job_running_and_says_so() {
    let scene = doors();
    let terminal = lock(&scene, 80, "lock-left", &["--watch"]);
    terminal.wait_for(|screen| screen.contains("1 running   1 pending"));
    terminal.type_keys(&["C-c"]);
    let (status, left) = terminal.ended();
    assert_eq!(status, 130, "{left}");
    scene.snapshot_screen("live-ctrl-c", &left);
    let job = scene.fanfare(&["job", "show", "lock-left", "-o", "json"]);
    assert_eq!(job.exits(0).json()["status"], "running");
}

#[test]
fn the_view_outlives_a_hub_that_is_killed() {
    let mut scene = doors();
    let terminal = lock(&scene, 80, "lock-killed", &["--window", "30s", "--watch"]);
    terminal.wait_for(|screen| screen.contains("1 running   1 pending"));
    scene.kill_hub();
    terminal.wait_for(|screen| screen.contains("hub not reachable, trying again"));
    scene.start_again();
    let back = terminal.wait_for(|screen| !screen.contains("not reachable"));
    assert!(back.contains("lock-killed"), "{back}");
    scene.fanfare(&["job", "cancel", "lock-killed"]).exits(0);
    let (_, ended) = terminal.ended();
    assert!(ended.contains("lock-killed cancelled"), "{ended}");
}

#[test]
fn many_devices_are_asked_about_first() {
    let scene = doors();
    let above = ["--confirm-above", "5"];
    let terminal = lock(&scene, 80, "lock-asked", &above);
    terminal.wait_for(|screen| screen.contains("[y/N]"));
    terminal.type_keys(&["n", "Enter"]);
    let (status, refused) = terminal.ended();
    assert_eq!(status, 1, "{refused}");
    scene.snapshot_screen("live-question-no", &refused);
    scene.fanfare(&["job", "show", "lock-asked"]).exits(4);

    let terminal = lock(&scene, 80, "lock-asked", &above);
    terminal.wait_for(|screen| screen.contains("[y/N]"));
    terminal.type_keys(&["y", "Enter"]);
    let (status, agreed) = terminal.ended();
    assert_eq!(status, 0, "{agreed}");
    scene.fanfare(&["job", "show", "lock-asked"]).exits(0);
}

/// A job that locks every door, scheduled in a terminal.
fn lock(scene: &Scene, columns: u16, job: &str, more: &[&str]) -> Terminal {
    let mut line = vec!["job", "schedule-method", "*", "--method", "lockDoor"];
    // As short as the contract allows: a cancelled job waits for the door that never answers.
    line.extend(["--job-id", job, "--response-timeout", "5s"]);
    line.extend(more);
    Terminal::run(scene, (columns, ROWS), &line)
}

/// Six doors: three answer, one answers with an error of its own, one never answers, one is never there.
fn doors() -> Scene {
    let reply = |status, payload| Behaviour {
        answer: Answer::Reply {
            status,
            payload: Payload::Fixed(payload),
            delay: Duration::ZERO..Duration::ZERO,
        },
        ..Behaviour::default()
    };
    let locked = || reply(200, json!({"locked": true}));
    let silent = Behaviour {
        answer: Answer::Silence,
        ..Behaviour::default()
    };
    let doors = [
        ("door-1", locked()),
        ("door-2", locked()),
        ("door-3", locked()),
        ("door-4", reply(500, json!({"error": "jammed"}))),
        ("door-5", silent),
        ("door-6", Behaviour::offline()),
    ];
    let mut scene = Scene::start(ADDRESS);
    scene.devices(doors.map(|(id, behaviour)| (id, json!({"building": "43"}), behaviour)));
    scene
}
