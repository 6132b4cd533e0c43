//! The private CA's certificate over the years, and on a disk that others may reach.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use fanfare_hub::{ports::clock::ManualClock, time::Timestamp};
use fanfare_server::{Config, tls::Exchange};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::{
    made::set_mode,
    rig::{Hub, NAME, START, flags, soon, start},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const ENDS: &str = "fanfare_tls_certificate_expiry_timestamp_seconds{certificate=\"server\"}";

/// Whether a client that trusts `ca.pem` takes this certificate at that time.
fn is_trusted(hub: &Hub, certificate: &CertificateDer<'_>, at: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(hub.node.ca_pem()).unwrap())
        .unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let at = Duration::from_micros(at.0.try_into().unwrap());
    let name = ServerName::try_from(NAME).unwrap();
    let at = UnixTime::since_unix_epoch(at);
    verifier
        .verify_server_cert(certificate, &[], &name, &[], at)
        .is_ok()
}

#[tokio::test]
async fn the_certificate_is_renewed_while_the_node_serves() {
    let hub = Hub::start(|_| {}).await;
    let mut device = hub.device("d").await;
    let mut session = hub.session().await;
    let first = hub.shown().await;
    let ca = fs::read(hub.node.ca_pem()).unwrap();
    let first_end = hub.metric(ENDS).await.unwrap();
    assert!(is_trusted(&hub, &first, START));
    assert_eq!(first_end, (START + DAY * 800).0 as f64 / 1e6);

    // Two thirds of its life come before this; its end does not.
    hub.clock.advance(DAY * 534);
    let now = START + DAY * 534;
    let second = hub.comes_to_show_other_than(&first).await;
    for at in [now, START + DAY * 1_300] {
        assert!(is_trusted(&hub, &second, at));
    }
    assert!(!is_trusted(&hub, &first, START + DAY * 1_300));
    assert!(hub.metric(ENDS).await.unwrap() > first_end);
    device.ping().await;
    session.ask("GET", "/devices/d").await;
    assert_eq!(fs::read(hub.node.ca_pem()).unwrap(), ca, "the CA stays");
    drop(session);

    // What was renewed is what the next start finds.
    let folder = hub.stop().await;
    let hub = Hub::on(folder, now, |_| {}).await;
    assert_eq!(hub.shown().await, second);
    hub.stop().await;
}

#[tokio::test]
async fn a_renewal_that_fails_keeps_the_old_one_and_is_tried_again() {
    let hub = Hub::start(|_| {}).await;
    let first = hub.shown().await;
    let key = hub.folder.path().join("data/ca-key.pem");
    let away = hub.folder.path().join("ca-key.pem");
    fs::rename(&key, &away).unwrap();
    hub.clock.advance(DAY * 540);
    let failed = "fanfare_tls_certificate_reloads_total{result=\"failed\"}";
    let tried = async {
        while hub.metric(failed).await.unwrap() < 2.0 {
            hub.clock.advance(Duration::from_secs(11));
        }
    };
    soon("two attempts", tried).await;
    assert_eq!(hub.shown().await, first);
    fs::rename(&away, &key).unwrap();
    hub.comes_to_show_other_than(&first).await;
    hub.stop().await;
}

#[tokio::test]
async fn another_authority_is_taken_over_when_a_reload_is_asked_for() {
    let (hub, other) = (Hub::start(|_| {}).await, Hub::start(|_| {}).await);
    let first = hub.shown().await;
    let reload = async || {
        soon("the reload", hub.node.reload())
            .await
            .unwrap()
            .certificate
    };
    assert_eq!(reload().await, Exchange::Same);
    for file in ["ca.pem", "ca-key.pem"] {
        let of = |hub: &Hub| hub.folder.path().join("data").join(file);
        fs::copy(of(&other), of(&hub)).unwrap();
    }
    assert_eq!(reload().await, Exchange::New);
    let second = hub.shown().await;
    assert_ne!(first, second);
    assert!(is_trusted(&other, &second, START) && !is_trusted(&other, &first, START));
    hub.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn everything_in_a_new_folder_is_its_owners_alone() {
    let hub = Hub::start(|_| {}).await;
    hub.device("d").await.ping().await;
    let data = hub.folder.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expected = match name.as_str() {
            "ca.pem" | "server.pem" => 0o644,
            _ if path.is_dir() => 0o700,
            _ => 0o600,
        };
        assert_eq!(mode(&path), expected, "{name}");
        names.push(name);
    }
    for name in [
        "fanfare.db",
        "fanfare.db-wal",
        "hub.toml",
        "lock",
        "audit",
        "server-key.pem",
    ] {
        assert!(names.iter().any(|there| there == name), "{name}: {names:?}");
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_folder_or_key_that_others_can_reach_is_refused_with_the_command_that_helps() {
    let folder = Hub::start(|_| {}).await.stop().await;
    let data = folder.path().join("data");
    let config = Config::from_layers(flags(&folder), []).unwrap();
    for (path, open, private) in [
        (data.clone(), 0o750, 0o700),
        (data.join("ca-key.pem"), 0o640, 0o600),
        (data.join("server-key.pem"), 0o604, 0o600),
    ] {
        set_mode(&path, open);
        let refused = start(&config, Arc::new(ManualClock::new(START))).await;
        let refused = refused.err().unwrap().to_string();
        let helps = format!("chmod {private:o} {}", path.display());
        assert!(refused.ends_with(&helps), "{refused}");
        set_mode(&path, private);
    }
    Hub::on(folder, START, |_| {}).await.stop().await;
}
