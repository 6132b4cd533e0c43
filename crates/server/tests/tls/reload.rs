//! Certificates that are replaced while a node serves.

use std::fs;

use fanfare_server::tls::Exchange;

use crate::{
    made::{Files, Made, set_mode},
    rig::{Hub, LOOK, own, soon},
};

const GOOD: &str = "fanfare_tls_certificate_reloads_total{result=\"good\"}";
const FAILED: &str = "fanfare_tls_certificate_reloads_total{result=\"failed\"}";

async fn reload(hub: &Hub) -> Exchange {
    soon("the reload", hub.node.reload())
        .await
        .unwrap()
        .certificate
}

#[tokio::test]
async fn new_handshakes_see_the_new_certificate_and_nobody_is_cut() {
    let (first, second) = (Made::alone(), Made::alone());
    let files = Files::of(&first);
    let hub = Hub::with_files(&files).await;
    let mut session = hub.session().await;
    let mut device = hub.device("d").await;
    assert_eq!(hub.shown().await, first.der());
    assert_eq!(reload(&hub).await, Exchange::Same);

    files.write(&second.pem, &second.key.serialize_pem());
    assert_eq!(hub.shown().await, first.der(), "nobody looked yet");
    assert_eq!(reload(&hub).await, Exchange::New);
    assert_eq!(hub.shown().await, second.der());
    device.ping().await;
    session.ask("GET", "/devices/d").await;
    hub.device("e").await.ping().await;
    device.ping().await;
    assert_eq!(hub.metric(GOOD).await, Some(1.0));
    assert_eq!(hub.metric(FAILED).await, Some(0.0));
    drop(session);
    hub.stop().await;
}

#[tokio::test]
async fn changed_files_are_noticed_without_a_word() {
    let (first, second) = (Made::alone(), Made::alone());
    let files = Files::of(&first);
    let hub = Hub::with_files(&files).await;
    let mut device = hub.device("d").await;
    files.write(&second.pem, &second.key.serialize_pem());
    let shown = hub.comes_to_show_other_than(&first.der()).await;
    assert_eq!(shown, second.der());
    device.ping().await;
    assert_eq!(hub.metric(GOOD).await, Some(1.0));
    hub.stop().await;
}

#[tokio::test]
async fn half_a_change_keeps_the_old_certificate_until_the_other_half_comes() {
    let (first, second) = (Made::alone(), Made::alone());
    let files = Files::of(&first);
    let hub = Hub::with_files(&files).await;
    files.write_certificate(&second.pem);
    let seen = async {
        while hub.metric(FAILED).await.unwrap() == 0.0 {
            hub.clock.advance(LOOK);
        }
    };
    soon("a look at half of it", seen).await;
    assert_eq!(hub.shown().await, first.der());
    files.write_key(&second.key.serialize_pem());
    let shown = hub.comes_to_show_other_than(&first.der()).await;
    assert_eq!(shown, second.der());
    assert_eq!(hub.metric(GOOD).await, Some(1.0));
    hub.stop().await;
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing() {
    let (first, second) = (Made::alone(), Made::alone());
    let files = Files::of(&first);
    let hub = Hub::with_files(&files).await;
    let mut device = hub.device("d").await;
    let key = second.key.serialize_pem();
    let mut failures = 0.0;
    for (spoil, said) in [
        (
            Box::new(|| files.write(&second.pem, &first.key.serialize_pem())) as Box<dyn Fn()>,
            "another certificate",
        ),
        (Box::new(|| files.write("", &key)), "holds no certificate"),
        (
            Box::new(|| {
                files.write(&second.pem, &key);
                set_mode(&files.key(), 0o644);
            }),
            "chmod 600",
        ),
        (
            Box::new(|| fs::remove_file(files.certificate()).unwrap()),
            "cannot be read",
        ),
    ] {
        spoil();
        match reload(&hub).await {
            Exchange::Failed(problem) => assert!(problem.contains(said), "{problem}"),
            other => panic!("{other:?} in place of {said}"),
        }
        failures += 1.0;
        assert_eq!(hub.shown().await, first.der());
        assert_eq!(hub.metric(FAILED).await, Some(failures));
    }
    device.ping().await;
    files.write(&second.pem, &key);
    assert_eq!(reload(&hub).await, Exchange::New);
    assert_eq!(hub.shown().await, second.der());
    hub.stop().await;
}

#[tokio::test]
async fn links_that_point_elsewhere_are_a_change() {
    // As certbot and Kubernetes do it: the name is a link, and the link moves.
    let (first, second) = (Made::alone(), Made::alone());
    let (old, new, files) = (Files::of(&first), Files::of(&second), Files::new());
    let link = |to: &Files| {
        for (from, name) in [
            (to.certificate(), files.certificate()),
            (to.key(), files.key()),
        ] {
            let fresh = name.with_extension("fresh");
            std::os::unix::fs::symlink(from, &fresh).unwrap();
            fs::rename(&fresh, name).unwrap();
        }
    };
    link(&old);
    let hub = Hub::with_files(&files).await;
    link(&new);
    assert_eq!(hub.shown().await, first.der());
    let shown = hub.comes_to_show_other_than(&first.der()).await;
    assert_eq!(shown, second.der());
    hub.stop().await;
}

#[tokio::test]
async fn authorities_of_devices_are_read_again_with_it() {
    let (own_files, trusted) = (Files::of(&Made::alone()), Files::new());
    let (first, second) = (Made::root(), Made::root());
    trusted.write_certificate(&first.pem);
    let hub = Hub::start(|flags| {
        own(&own_files, flags);
        flags.device_ca_file = vec![trusted.certificate()];
    })
    .await;
    let authorities = async || {
        let reloaded = soon("the reload", hub.node.reload()).await.unwrap();
        assert_eq!(reloaded.certificate, Exchange::Same);
        reloaded.authorities
    };
    let count = || hub.node.hub().authorities.trusted().len();
    assert_eq!(authorities().await, Exchange::Same);
    assert_eq!(count(), 1);
    trusted.write_certificate(&format!("{}{}", first.pem, second.pem));
    assert_eq!(authorities().await, Exchange::New);
    assert_eq!(count(), 2);
    trusted.write_certificate("nothing");
    match authorities().await {
        Exchange::Failed(problem) => assert!(problem.contains("hub.pem"), "{problem}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(count(), 2, "what was trusted stays trusted");
    hub.stop().await;
}
