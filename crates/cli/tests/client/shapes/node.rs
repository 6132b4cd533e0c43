//! The Node SDK, unmodified, making each of its calls once (`conformance/node/record.js`).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use super::scene;
use crate::proxy::Proxy;
use crate::rig::HANGS_AFTER;

/// Runs the script against the proxy. Nothing but a script that made every call is a record.
pub(crate) async fn record(proxy: &Proxy, string: &str, scratch: &Path) {
    let folder = folder();
    packages(&folder).await;
    let ca = scratch.join("proxy-ca.pem");
    std::fs::write(&ca, proxy.ca_pem()).unwrap();
    let mut node = Command::new("node");
    node.arg("--no-deprecation")
        .arg(folder.join("record.js"))
        .env("NODE_EXTRA_CA_CERTS", &ca)
        .env("FANFARE_CONNECTION_STRING", string)
        .env("FANFARE_SCENE", scene::document().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(HANGS_AFTER, node.output())
        .await
        .expect("node ends")
        .unwrap_or_else(|error| panic!("node cannot be run ({error}); install Node 20 or later"));
    assert!(
        output.status.success(),
        "conformance/node/record.js ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The SDK, as the lock file pins it; installed where it is missing or another.
async fn packages(folder: &Path) {
    let output = Command::new("node")
        .arg(folder.join("install.js"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("node cannot be run ({error}); install Node 20 or later"));
    assert!(
        output.status.success(),
        "the Node SDK of {} cannot be installed:\n{}{}",
        folder.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/node")
}
