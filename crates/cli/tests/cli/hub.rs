//! `fanfare hub`: names for hubs, and what people get wrong about which hub a command is for.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use fanfare_cli::fleet::Behaviour;
use serde_json::json;

use crate::rig::{Ran, Scene};

const ADDRESS: &str = "127.0.0.84";
/// No hub in the environment, and no CA the system trusts.
const BARE: [(&str, &str); 2] = [("IOTHUB_CONNECTION_STRING", ""), ("SSL_CERT_FILE", "")];

fn bare(scene: &Scene, arguments: &[&str]) -> Ran {
    scene.fanfare_with(arguments, "", &BARE)
}

/// `text` with another value for the part `name`.
fn with_part(text: &str, name: &str, value: &str) -> String {
    let parts = text.split(';').map(|part| match part.split_once('=') {
        Some((own, _)) if own == name => format!("{own}={value}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(";")
}

#[test]
fn a_hub_is_named_used_listed_and_forgotten() {
    let scene = Scene::start(ADDRESS);
    let ca = scene.options().data_dir.join("ca.pem");
    let ca = ca.to_str().unwrap();
    let input = format!("{}\n", scene.connection_string());
    let login = [
        "hub",
        "login",
        "lab",
        "--connection-string",
        "-",
        "--ca-file",
        ca,
    ];
    let login = scene.fanfare_with(&login, &input, &BARE);
    login.exits(0).snapshot("hub-login");
    bare(&scene, &["hub", "login", "here", "--data-dir", "data"])
        .exits(0)
        .snapshot("hub-login-data-dir");
    bare(&scene, &["hub", "list"]).exits(0).snapshot("hub-list");
    bare(&scene, &["hub", "list", "-o", "json"])
        .exits(0)
        .snapshot("hub-list-json");
    bare(&scene, &["hub", "use", "here"])
        .exits(0)
        .snapshot("hub-use");
    let status = bare(&scene, &["hub", "status", "-o", "json"]);
    assert_eq!(status.exits(0).json()["name"], "here");
    // What is said for one command wins over what was chosen.
    let status = bare(&scene, &["hub", "status", "--hub", "lab", "-o", "json"]);
    assert_eq!(status.exits(0).json()["name"], "lab");
    let named = scene.fanfare_with(
        &["hub", "status", "-o", "json"],
        "",
        &[("FANFARE_HUB", "lab")],
    );
    assert_eq!(named.exits(0).json()["chosenBy"], "FANFARE_HUB");
    bare(&scene, &["hub", "logout", "here"])
        .exits(0)
        .snapshot("hub-logout");
    bare(&scene, &["hub", "status"])
        .exits(2)
        .snapshot("hub-none-chosen");

    let book = scene.folder().join(".config/fanfare/hubs.toml");
    let key = scene
        .connection_string()
        .rsplit_once("Key=")
        .unwrap()
        .1
        .to_owned();
    assert!(std::fs::read_to_string(&book).unwrap().contains(&key));
    std::fs::set_permissions(&book, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = bare(&scene, &["hub", "list"]);
    refused.exits(2).snapshot("hub-book-readable-by-others");
}

#[test]
fn the_status_of_a_hub_tells_what_a_credential_may_do() {
    let mut scene = Scene::start(ADDRESS);
    let door = || json!({"building": "43"});
    scene.devices([
        ("door-1", door(), Behaviour::answers(Default::default())),
        ("door-2", door(), Behaviour::offline()),
    ]);
    scene
        .fanfare(&["hub", "status"])
        .exits(0)
        .snapshot("hub-status");
    let seen = scene.fanfare(&["hub", "status", "-o", "json"]);
    let seen = seen.exits(0).json();
    assert_eq!(
        seen["devices"],
        json!({"total": 2, "enabled": 2, "disabled": 0, "connected": 1})
    );
    assert_eq!(seen["jobs"], json!({"running": 0, "waiting": 0}));
    assert!(!seen.to_string().contains("SharedAccessKey="), "{seen}");
    assert_eq!(seen["profile"]["profile"], "open");
    for policy in ["service", "registryRead"] {
        let arguments = ["hub", "status", "--data-dir", "data", "--policy", policy];
        bare(&scene, &arguments)
            .exits(0)
            .snapshot(&format!("hub-status-{policy}"));
    }
    let arguments = ["hub", "status", "--data-dir", "data", "--policy", "device"];
    bare(&scene, &arguments)
        .exits(4)
        .snapshot("hub-status-no-rights");
}

#[test]
fn a_wrong_credential_or_string_says_what_would_be_right() {
    let scene = Scene::start(ADDRESS);
    let good = scene.connection_string();
    let status = |string: &str| {
        let environment = [("IOTHUB_CONNECTION_STRING", string)];
        scene.fanfare_with(&["hub", "status"], "", &environment)
    };
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    status(&with_part(good, "SharedAccessKey", key))
        .exits(4)
        .snapshot("hub-wrong-key");
    status(&with_part(good, "SharedAccessKey", "no-base64"))
        .exits(2)
        .snapshot("hub-key-not-base64");
    let device = good.replace("SharedAccessKeyName=iothubowner", "DeviceId=door-1");
    status(&device).exits(2).snapshot("hub-string-of-a-device");
    // What an unquoted ';' leaves of it.
    let cut = good.split(';').next().unwrap();
    let arguments = ["hub", "status", "--connection-string", cut];
    bare(&scene, &arguments)
        .exits(2)
        .snapshot("hub-string-without-quotes");
    let arguments = [
        "hub",
        "login",
        "lab",
        "--connection-string-file",
        "absent.txt",
    ];
    bare(&scene, &arguments)
        .exits(2)
        .snapshot("hub-login-file-absent");
    let wrong = with_part(good, "SharedAccessKey", key);
    let login = ["hub", "login", "lab", "--connection-string", "-"];
    scene
        .fanfare_with(&login, &wrong, &[])
        .exits(4)
        .snapshot("hub-login-wrong-key");
    assert!(
        !scene.folder().join(".config").exists(),
        "nothing was saved"
    );
}

#[test]
fn a_hub_out_of_reach_says_why() {
    let mut scene = Scene::start(ADDRESS);
    bare(&scene, &["hub", "status", "--hub", "plant"])
        .exits(2)
        .snapshot("hub-unknown-name");
    let untrusted = scene.fanfare_with(&["hub", "status"], "", &[("SSL_CERT_FILE", "")]);
    untrusted.exits(3).snapshot("hub-not-trusted");
    let plain = scene.options().mqtt_plain_port.unwrap().to_string();
    scene.fanfare(&["hub", "status", "--port", &plain]).exits(3);
    let silent = TcpListener::bind((ADDRESS, 0)).unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    scene
        .fanfare(&["hub", "status", "--port", &port, "--timeout", "1s"])
        .exits(3);
    bare(&scene, &["hub", "status", "--data-dir", "elsewhere"])
        .exits(2)
        .snapshot("hub-no-data-folder");
    scene.kill_hub();
    scene
        .fanfare(&["hub", "status"])
        .exits(3)
        .snapshot("hub-down");
    bare(&scene, &["hub", "status", "--data-dir", "data"])
        .exits(3)
        .snapshot("hub-down-data-dir");
    let unknown = with_part(scene.connection_string(), "HostName", "hub.invalid");
    let arguments = ["hub", "status", "--connection-string", &unknown];
    scene.fanfare(&arguments).exits(3);
}
