//! `fanfare query`: rows in the four formats, and what people get wrong in a query.

use fanfare_cli::fleet::Behaviour;
use serde_json::{Value, json};

use crate::rig::Scene;

const ADDRESS: &str = "127.0.0.84";

fn doors() -> Scene {
    let mut scene = Scene::start(ADDRESS);
    let tags = |floor: u32| json!({"building": "43", "floor": floor});
    scene.devices([
        ("door-1", tags(1), Behaviour::offline()),
        ("door-2", tags(1), Behaviour::offline()),
        (
            "door-3",
            json!({"building": "44", "note": "a, \"b\"\u{1b}[31m"}),
            Behaviour::offline(),
        ),
    ]);
    scene
}

#[test]
fn rows_come_in_every_format() {
    let scene = doors();
    scene
        .fanfare(&["query", "SELECT * FROM devices"])
        .exits(0)
        .snapshot("query-twins");
    let text = "SELECT deviceId, tags.floor AS floor, tags.note AS note FROM devices";
    scene
        .fanfare(&["query", text])
        .exits(0)
        .snapshot("query-projection");
    for format in ["json", "jsonl", "csv"] {
        let ran = scene.fanfare(&["query", text, "-o", format]);
        ran.exits(0).snapshot(&format!("query-{format}"));
    }
    let text =
        "SELECT tags.building AS building, COUNT() AS doors FROM devices GROUP BY tags.building";
    scene
        .fanfare(&["query", text])
        .exits(0)
        .snapshot("query-groups");
    let csv = scene.fanfare(&["query", "SELECT * FROM devices", "-o", "csv"]);
    let head = csv.exits(0).stdout.lines().next().unwrap().to_owned();
    assert_eq!(
        head,
        "deviceId,status,connectionState,lastActivityTime,version,etag,tags,desired,reported"
    );
}

#[test]
fn a_limit_and_pages_give_the_same_rows() {
    let scene = doors();
    let all = "SELECT deviceId FROM devices";
    let ids = |arguments: &[&str]| -> Vec<Value> {
        let ran = scene.fanfare(&[&["query", all, "-o", "json"], arguments].concat());
        ran.exits(0).json().as_array().unwrap().clone()
    };
    let in_one_page = ids(&[]);
    assert_eq!(in_one_page.len(), 3);
    assert_eq!(ids(&["--page-size", "1"]), in_one_page);
    assert_eq!(ids(&["--limit", "2"]), in_one_page[..2]);
    assert_eq!(ids(&["--limit", "2", "--page-size", "1"]), in_one_page[..2]);
    scene
        .fanfare(&["query", all, "--limit", "0"])
        .snapshot("query-limit-0")
        .exits(2);
    let file = scene.folder().join("all.sql");
    std::fs::write(file, format!("{all}\n")).unwrap();
    let from_file = scene.fanfare(&["query", "@all.sql", "-o", "json"]);
    assert_eq!(from_file.exits(0).json(), json!(in_one_page));
    let from_input = scene.fanfare_with(&["query", "-", "-o", "json"], all, &[]);
    assert_eq!(from_input.exits(0).json(), json!(in_one_page));
    let none = "SELECT * FROM devices WHERE tags.building = '99'";
    scene
        .fanfare(&["query", none])
        .exits(0)
        .snapshot("query-no-rows");
    assert_eq!(
        scene
            .fanfare(&["query", none, "-o", "json"])
            .exits(0)
            .stdout,
        "[]\n"
    );
}

#[test]
fn a_mistake_in_a_query_is_shown_where_it_is() {
    let scene = doors();
    for (name, text) in [
        ("typo", "SELCT * FROM devices"),
        (
            "double-equals",
            "SELECT * FROM devices WHERE tags.floor == 3",
        ),
        (
            "ampersands",
            "SELECT * FROM devices WHERE tags.floor = 3 && tags.building = '43'",
        ),
        (
            "no-quotes",
            "SELECT * FROM devices WHERE tags.building = north",
        ),
        (
            "unknown-source",
            "SELECT *\nFROM gadgets\nWHERE tags.floor = 3",
        ),
        ("unended", "SELECT * FROM devices WHERE"),
    ] {
        scene
            .fanfare(&["query", text])
            .exits(4)
            .snapshot(&format!("query-mistake-{name}"));
    }
    let registry = ["--data-dir", "data", "--policy", "registryRead"];
    let arguments = [&["query", "SELECT * FROM devices"], &registry[..]].concat();
    let none = [("IOTHUB_CONNECTION_STRING", "")];
    scene
        .fanfare_with(&arguments, "", &none)
        .exits(4)
        .snapshot("query-no-right");
    scene.fanfare(&["query"]).exits(2).snapshot("query-no-text");
    let arguments = ["query", "SELECT * FROM devices", "--page-size", "5000"];
    scene
        .fanfare(&arguments)
        .exits(2)
        .snapshot("query-page-too-large");
}
