//! A fleet that comes in and goes out whole; prints how long that took and what it needed.
//!
//! `FANFARE_TEST_FLEET=100000` makes it a measurement: run it alone and with `--nocapture`.

use std::{
    fs,
    io::{BufWriter, Write as _},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::Hub;

const DEVICES: usize = 2_000;
/// For a fleet fifty times that size on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_comes_in_and_goes_out() {
    let hub = Hub::start().await;
    let devices = devices();
    let folder = hub.folder.path().join("data/blobs/fleet");
    fs::create_dir_all(&folder).unwrap();
    let mut file = BufWriter::new(fs::File::create(folder.join("devices.txt")).unwrap());
    for n in 0..devices {
        let line = json!({
            "id": format!("device-{n:06}"), "importMode": "createOrUpdate",
            "tags": {"ring": n % 10, "site": {"city": "Malm\u{f6}", "row": n}},
            "properties": {"desired": {"interval": 60, "limits": {"low": 1.5, "high": n}}},
        });
        writeln!(file, "{line}").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();

    let import = json!({"type": "import", "inputBlobContainerUri": "file:fleet", "outputBlobContainerUri": "file:log"});
    measured(&hub, "import, all new", devices, import.clone()).await;
    measured(&hub, "the same over itself", devices, import).await;
    let export = json!({"type": "export", "outputBlobContainerUri": "file:back"});
    measured(&hub, "export", devices, export).await;
    let again = json!({"type": "import", "inputBlobContainerUri": "file:back", "outputBlobContainerUri": "file:log"});
    measured(&hub, "import of the export", devices, again).await;

    let blobs = hub.folder.path().join("data/blobs");
    assert_eq!(fs::read(blobs.join("log/importErrors.log")).unwrap(), b"");
    let text = fs::read_to_string(blobs.join("back/devices.txt")).unwrap();
    let ids = text.lines().enumerate().map(|(n, line)| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["properties"]["desired"]["limits"]["high"], n);
        line["id"].as_str().unwrap().to_owned()
    });
    let expected = (0..devices).map(|n| format!("device-{n:06}"));
    assert!(ids.eq(expected), "everyone is there once, in order");
    let numbers = hub.done("GET", "/statistics/devices", Value::Null).await;
    assert_eq!(numbers["totalDeviceCount"], devices);
    hub.stop().await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "the size of a measurement is no setting of a hub"
)]
fn devices() -> usize {
    let wished = std::env::var("FANFARE_TEST_FLEET").ok();
    wished.map_or(DEVICES, |text| text.parse().unwrap())
}

async fn measured(hub: &Hub, what: &str, devices: usize, request: Value) {
    let began = Instant::now();
    let accepted = hub.done("POST", "/jobs/create", request).await;
    let path = format!("/jobs/{}", accepted["jobId"].as_str().unwrap());
    let ended = async {
        loop {
            let job = hub.done("GET", &path, Value::Null).await;
            if job["status"] != "enqueued" && job["status"] != "running" {
                return job;
            }
            // Asking again at once would take half the machine from what is measured.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let job = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(job["status"], "completed", "{job}");
    let seconds = began.elapsed().as_secs_f64();
    let rate = devices as f64 / seconds;
    eprintln!(
        "{what}: {devices} devices in {seconds:.2} s, {rate:.0}/s, {} now and at most",
        memory()
    );
}

/// What the process holds and has held at most, the test's own client included.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    format!("{} and {} KiB", of("VmRSS:"), of("VmHWM:"))
}
