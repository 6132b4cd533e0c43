//! `fanfare job`: each verb, and what people do wrong with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

use fanfare_cli::fleet::{Answer, Behaviour, Payload};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::rig::{Ran, Scene};

const ADDRESS: &str = "127.0.0.85";

/// A hub with four doors: two that lock, one that is jammed, one that is offline.
fn doors() -> Scene {
    let mut scene = Scene::start(ADDRESS);
    let replies = |status, payload| Behaviour {
        answer: Answer::Reply {
            status,
            payload: Payload::Fixed(payload),
            delay: Duration::ZERO..Duration::from_millis(1),
        },
        ..Behaviour::default()
    };
    let tags = |floor| json!({"building": "43", "floor": floor});
    scene.devices([
        ("door-1", tags(1), replies(200, json!({"locked": true}))),
        ("door-2", tags(1), replies(200, json!({"locked": true}))),
        ("door-3", tags(2), replies(500, json!({"error": "jammed"}))),
        ("door-4", tags(2), Behaviour::offline()),
    ]);
    scene
}

/// Without what depends on how fast the machine is: lines about a job under way, and how long it took.
fn steady(ran: &Ran) -> Ran {
    let under_way = Regex::new(r"(?m)^\S+: (queued|scheduled|running)[^\n]*\n").unwrap();
    let took = Regex::new(r"\b(in|after) ([0-9]+\.[0-9]s|[0-9]+ ms)").unwrap();
    let steady = |text: &str| {
        took.replace_all(&under_way.replace_all(text, ""), "$1 [TOOK]")
            .into_owned()
    };
    let mut ran = ran.clone();
    ran.stdout = steady(&ran.stdout);
    ran.stderr = steady(&ran.stderr);
    ran
}

/// `fanfare LINE`, for arguments without spaces.
fn run(scene: &Scene, line: &str) -> Ran {
    let arguments: Vec<&str> = line.split(' ').collect();
    scene.fanfare(&arguments)
}

#[test]
fn a_method_is_scheduled_watched_and_its_results_shown() {
    let scene = doors();
    let method = [
        "job",
        "schedule-method",
        "tags.floor = 1",
        "--method",
        "lockDoor",
    ];
    let rest = [
        "--job-id",
        "lock-1",
        "--payload",
        "{\"force\": true}",
        "--window",
        "5m",
    ];
    scene
        .fanfare(&[&method[..], &rest].concat())
        .snapshot("job-schedule-method")
        .exits(0);
    steady(&run(&scene, "job watch lock-1"))
        .snapshot("job-watch")
        .exits(0);
    let all = "job schedule-method * --method lockDoor --job-id lock-all --window 2s --watch";
    steady(&run(&scene, all))
        .snapshot("job-schedule-method-watch")
        .exits(0);

    run(&scene, "job results lock-all")
        .snapshot("job-results")
        .exits(0);
    run(&scene, "job results lock-all --failed -o csv")
        .snapshot("job-results-csv")
        .exits(0);
    let rows = run(&scene, "job results lock-all --status completed -o jsonl");
    assert_eq!(rows.exits(0).stdout.lines().count(), 3, "{rows:?}");
    steady(&run(&scene, "job show lock-all"))
        .snapshot("job-show")
        .exits(0);
    let document = run(&scene, "job show lock-1 -o json").json();
    assert_eq!(document["queryCondition"], "tags.floor = 1");
    run(&scene, "job list").snapshot("job-list").exits(0);
    run(&scene, "job list --limit 1 --type method -o csv")
        .snapshot("job-list-csv")
        .exits(0);
    let failed = run(&scene, "job watch lock-all --fail-on-device-error");
    steady(&failed).snapshot("job-watch-device-errors").exits(1);
}

#[test]
fn a_twin_update_is_scheduled() {
    let scene = doors();
    let scheduled = scene.fanfare_with(
        &[
            "job",
            "schedule-twin",
            "--ids-from",
            "-",
            "--desired",
            "{\"interval\": 30}",
            "--job-id",
            "twin-1",
            "--watch",
        ],
        "# the doors of the first floor\ndoor-1\n\ndoor-2\ndoor-1\n",
        &[],
    );
    steady(&scheduled).snapshot("job-schedule-twin").exits(0);
    let named = scene.fanfare(&[
        "job",
        "schedule-twin",
        "*",
        "--tags",
        "{\"ring\": 2}",
        "-o",
        "json",
    ]);
    let id = named.exits(0).json()["jobId"].as_str().unwrap().to_owned();
    assert!(
        Regex::new("^twin-20[0-9]{6}-[0-9]{6}-[0-9a-z]{4}$")
            .unwrap()
            .is_match(&id),
        "{id}"
    );
    let documents = scene.fanfare(&["job", "watch", &id, "--output", "jsonl"]);
    let last: Value =
        serde_json::from_str(documents.exits(0).stdout.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["status"], &last["reasons"]),
        (&json!("completed"), &json!([]))
    );
    assert_eq!(last["deviceJobStatistics"]["succeededCount"], 4);
    assert_eq!(documents.stderr, "");
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_happen() {
    let scene = doors();
    let dry = |targets: &[&str], input: &str| {
        let arguments = [
            "job",
            "schedule-method",
            "--method",
            "lockDoor",
            "--dry-run",
        ];
        scene.fanfare_with(&[&arguments, targets].concat(), input, &[])
    };
    let later = dry(
        &[
            "tags.building = '43'",
            "--start",
            "2031-01-02T03:04:05Z",
            "--window",
            "300",
        ],
        "",
    );
    assert!(
        later
            .exits(0)
            .stdout
            .contains("starts     2031-01-02 03:04:05Z, in "),
        "{later:?}"
    );
    dry(&["tags.building = '43'"], "")
        .snapshot("job-dry-run")
        .exits(0);
    dry(&["FROM devices.modules WHERE moduleId = 'lock'"], "")
        .snapshot("job-dry-run-none")
        .exits(0);
    let ids: String = (1..=5_000).map(|n| format!("door-{n}\n")).collect();
    dry(&["--ids-from", "-"], &ids)
        .snapshot("job-dry-run-ids")
        .exits(0);
    let document = dry(&["--ids-from", "-", "--output", "json"], &ids)
        .exits(0)
        .json();
    assert_eq!(
        (&document["matching"], &document["connected"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(document["ids"]["absent"], 4_996);
    dry(&["tags.building = '43' AND tags.floor >> 1"], "")
        .snapshot("job-dry-run-bad-condition")
        .exits(4);
    assert_eq!(
        scene.fanfare(&["job", "list", "-o", "json"]).json(),
        json!([])
    );
}

#[test]
fn mistakes_of_scheduling_are_told_before_or_by_the_hub() {
    let scene = doors();
    std::fs::write(
        scene.folder().join("bad.txt"),
        "door-1\ndoor 2\n# fine\ndoor/3\n",
    )
    .unwrap();
    std::fs::write(scene.folder().join("empty.txt"), "# nobody\n").unwrap();
    let method = |arguments: &[&str]| {
        let first = ["job", "schedule-method", "--method", "lockDoor"];
        scene.fanfare(&[&first, arguments].concat())
    };
    method(&[]).snapshot("job-schedule-no-targets").exits(2);
    method(&["--ids-from", "bad.txt"])
        .snapshot("job-schedule-bad-ids")
        .exits(2);
    method(&["--ids-from", "empty.txt"])
        .snapshot("job-schedule-no-ids")
        .exits(2);
    method(&["--ids-from", "absent.txt"])
        .snapshot("job-schedule-absent-file")
        .exits(2);
    method(&["tags.floor = 1 ORDER BY deviceId"])
        .snapshot("job-schedule-bad-condition")
        .exits(4);
    for (name, condition) in [
        ("job-schedule-stray-word", "tags.floor = 1 doors"),
        ("job-schedule-unended", "tags.floor = 1 AND"),
        (
            "job-schedule-wrong-brackets",
            "tags.floor = 1) OR (tags.floor = 2",
        ),
    ] {
        method(&[condition, "--dry-run"]).snapshot(name).exits(4);
    }
    method(&["deviceId = 'nobody'", "--job-id", "lock-nobody"])
        .snapshot("job-schedule-nobody")
        .exits(0);
    method(&["tags.floor = ", "--yes", "--job-id", "lock-0"])
        .snapshot("job-schedule-bad-condition-yes")
        .exits(4);
    method(&["*", "--start", "tomorrow"])
        .snapshot("job-schedule-bad-start")
        .exits(2);
    method(&["*", "--window", "0"])
        .snapshot("job-schedule-no-window")
        .exits(2);
    method(&["*", "--job-id", "lock all"])
        .snapshot("job-schedule-bad-id")
        .exits(2);
    method(&["*", "--payload", "{force: true}"])
        .snapshot("job-schedule-bad-payload")
        .exits(2);
    method(&["*", "--response-timeout", "1s", "--job-id", "lock-0"])
        .snapshot("job-schedule-bad-timeout")
        .exits(2);
    method(&["*", "--confirm-above", "3"])
        .snapshot("job-schedule-nobody-to-ask")
        .exits(2);
    method(&["*", "--confirm-above", "3", "--yes", "--job-id", "lock"]).exits(0);
    method(&["tags.floor = 2", "--job-id", "lock"])
        .snapshot("job-schedule-taken")
        .exits(4);
    let twin = |arguments: &[&str]| scene.fanfare(&[&["job", "schedule-twin"], arguments].concat());
    twin(&["*"]).snapshot("job-schedule-twin-nothing").exits(2);
    twin(&["*", "--desired", "3"])
        .snapshot("job-schedule-twin-no-object")
        .exits(2);
}

#[test]
fn a_job_ahead_is_shown_and_cancelled() {
    let scene = doors();
    scene
        .fanfare(&[
            "job",
            "schedule-method",
            "*",
            "--method",
            "lockDoor",
            "--job-id",
            "lock-later",
            "--start",
            "2031-01-02T03:04",
            "--timezone",
            "Europe/Rome",
        ])
        .exits(0);
    let shown = scene.fanfare(&["job", "show", "lock-later"]);
    assert!(
        shown.exits(0).stdout.contains("2031-01-02 02:04:00Z, in "),
        "{shown:?}"
    );
    scene
        .fanfare(&["job", "results", "lock-later"])
        .snapshot("job-results-ahead")
        .exits(0);
    scene
        .fanfare(&["job", "cancel", "lock-later"])
        .snapshot("job-cancel")
        .exits(0);
    scene
        .fanfare(&["job", "cancel", "lock-later"])
        .snapshot("job-cancel-again")
        .exits(4);
    steady(&scene.fanfare(&["job", "watch", "lock-later"]))
        .snapshot("job-watch-cancelled")
        .exits(1);
}

#[test]
fn a_running_job_is_cancelled_and_watched_to_its_end() {
    let scene = doors();
    scene
        .fanfare(&[
            "job",
            "schedule-method",
            "deviceId = 'door-4'",
            "--method",
            "lockDoor",
            "--job-id",
            "lock-4",
        ])
        .exits(0);
    let jobs = scene.client().jobs();
    scene.wait(async {
        let mut monitor = jobs.monitor("lock-4");
        while let Some(progress) = monitor.try_next().await.unwrap() {
            if progress.job.statistics.is_some() {
                break;
            }
        }
    });
    let cancelled = scene.fanfare(&["job", "cancel", "lock-4", "--watch"]);
    assert!(
        cancelled.exits(0).stdout.starts_with("Job lock-4 is "),
        "{cancelled:?}"
    );
    let job = scene.wait(jobs.get_job("lock-4")).unwrap();
    assert_eq!(job.status, fanfare_client::JobStatus::Cancelled);
}

#[test]
fn what_is_not_there_or_no_word_is_told() {
    let scene = Scene::start(ADDRESS);
    scene
        .fanfare(&["job", "show", "absent"])
        .snapshot("job-show-absent")
        .exits(4);
    scene
        .fanfare(&["job", "watch", "absent"])
        .snapshot("job-watch-absent")
        .exits(4);
    scene
        .fanfare(&["job", "cancel", "absent"])
        .snapshot("job-cancel-absent")
        .exits(4);
    scene
        .fanfare(&["job", "results", "absent"])
        .snapshot("job-results-absent")
        .exits(4);
    scene
        .fanfare(&["job", "show", "no_id"])
        .snapshot("job-show-bad-id")
        .exits(2);
    scene
        .fanfare(&["job", "show"])
        .snapshot("job-show-no-id")
        .exits(2);
    scene
        .fanfare(&["job", "list"])
        .snapshot("job-list-none")
        .exits(0);
    scene
        .fanfare(&["job", "list", "--status", "pausing"])
        .snapshot("job-list-bad-status")
        .exits(2);
    scene
        .fanfare(&["job", "list", "--type", "parade"])
        .snapshot("job-list-bad-type")
        .exits(2);
    scene
        .fanfare(&["job", "results", "x", "--status", "lost"])
        .snapshot("job-results-bad-status")
        .exits(2);
    scene
        .fanfare(&["job", "results", "x", "--failed", "--status", "failed"])
        .snapshot("job-results-both")
        .exits(2);
    scene
        .fanfare(&["job", "watch", "x", "--give-up-after", "soon"])
        .snapshot("job-watch-bad-patience")
        .exits(2);
    scene.fanfare(&["job"]).snapshot("job").exits(2);
}

#[test]
fn ctrl_c_leaves_the_job_running_and_says_so() {
    let scene = doors();
    scene
        .fanfare(&[
            "job",
            "schedule-method",
            "deviceId = 'door-4'",
            "--method",
            "lockDoor",
            "--job-id",
            "lock-4",
        ])
        .exits(0);
    let mut watching = scene
        .command(&["job", "watch", "lock-4"], &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watching.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("pending") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
    }
    kill_process(Pid::from_child(&watching), Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(130));
    assert!(
        rest.ends_with(
            "Job lock-4 goes on without being watched. Watch it again: fanfare job watch lock-4\n"
        ),
        "{rest}"
    );
    let job = scene.wait(scene.client().jobs().get_job("lock-4")).unwrap();
    assert!(!job.has_ended());
}

#[test]
fn a_watch_goes_through_a_restart_of_the_hub() {
    let mut scene = doors();
    scene
        .fanfare(&[
            "job",
            "schedule-method",
            "deviceId = 'door-4'",
            "--method",
            "lockDoor",
            "--job-id",
            "lock-4",
            "--window",
            "10s",
        ])
        .exits(0);
    let mut watching = scene
        .command(&["job", "watch", "lock-4"], &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(watching.stderr.take().unwrap());
    let mut wait_for = |word: &str| {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "it ended before '{word}'"
            );
        }
    };
    wait_for("1 pending");
    scene.kill_hub();
    wait_for("hub not reachable, trying again");
    scene.start_again();
    wait_for("lock-4 completed in ");
    wait_for("JobRunPreconditionFailed  not online before the window closed");
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

#[test]
fn a_hub_that_stays_away_ends_the_watch_with_how_to_take_it_up() {
    let mut scene = doors();
    scene
        .fanfare(&[
            "job",
            "schedule-method",
            "deviceId = 'door-4'",
            "--method",
            "lockDoor",
            "--job-id",
            "lock-4",
        ])
        .exits(0);
    scene.kill_hub();
    let refused = scene.fanfare(&["job", "watch", "lock-4"]);
    refused.snapshot("job-watch-no-hub").exits(3);
}
