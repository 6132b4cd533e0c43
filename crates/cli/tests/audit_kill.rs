//! A hub that is killed has noted every change that it acknowledged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use fanfare_cli::hub_process::{HubOptions, HubProcess, free_port};
use fanfare_client::{Device, HubClient};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 100));
/// Longest wait for a hub to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Callers that change something at the same time.
const CALLERS: usize = 8;
/// Changes that are acknowledged before the hub is killed, while others are under way.
const ACKNOWLEDGED: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_has_its_line() {
    let scratch = tempfile::Builder::new()
        .prefix("fanfare-audit-")
        .tempdir()
        .unwrap();
    let options = HubOptions {
        program: env!("CARGO_BIN_EXE_fanfare").into(),
        data_dir: scratch.path().join("data"),
        log_file: scratch.path().join("serve.log"),
        bind: ADDRESS,
        host_name: ADDRESS.to_string(),
        https_port: free_port(ADDRESS).unwrap(),
        mqtts_port: free_port(ADDRESS).unwrap(),
        mqtt_plain_port: None,
    };
    let hub = HubProcess::start(options.clone(), READY_WITHIN)
        .await
        .unwrap();
    let client = options.client("registryReadWrite").await.unwrap();
    let (acknowledge, mut acknowledged) = mpsc::channel(CALLERS);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(create(client.clone(), caller, acknowledge.clone()));
    }
    drop(acknowledge);
    let mut devices = BTreeSet::new();
    while devices.len() < ACKNOWLEDGED {
        devices.insert(acknowledged.recv().await.unwrap());
    }
    hub.kill().await.unwrap();
    // What was acknowledged before the end and is on its way to us.
    callers.shutdown().await;
    while let Some(device) = acknowledged.recv().await {
        devices.insert(device);
    }
    let log = options.data_dir.join("audit/audit.jsonl");
    let noted: BTreeSet<_> = lines(&log)
        .iter()
        .filter(|line| line["operation"] == "device.put" && line["status"] == 200)
        .map(|line| line["target"]["device"].as_str().unwrap().to_owned())
        .collect();
    let missing: Vec<_> = devices.difference(&noted).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let hub = HubProcess::start(options.clone(), READY_WITHIN)
        .await
        .unwrap();
    assert!(hub.terminate().await.unwrap().success());
    let lines = lines(&log);
    let of_hub = lines
        .iter()
        .filter_map(|line| line["operation"].as_str()?.strip_prefix("hub."));
    assert_eq!(of_hub.collect::<Vec<_>>(), ["start", "start", "stop"]);
    assert_eq!(lines.last().unwrap()["operation"], "hub.stop");
}

/// Creates devices until the hub is gone, or nobody counts any more.
async fn create(client: HubClient, caller: usize, acknowledge: mpsc::Sender<String>) {
    for number in 0.. {
        let id = format!("d-{caller}-{number}");
        let created = client
            .registry()
            .create_device(&Device::new(id.clone()))
            .await;
        if created.is_err() || acknowledge.send(id).await.is_err() {
            return;
        }
    }
}

/// Every line, each a JSON object.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.ends_with('\n'));
    let read = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(read).collect()
}
