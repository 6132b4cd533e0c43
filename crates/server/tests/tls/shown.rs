//! What a node shows and takes: kinds of keys, chains, versions; and what its files say about it.

use std::sync::Arc;

use fanfare_server::connection_string;
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore,
    crypto::ring,
    version::{TLS12, TLS13},
};

use crate::{
    made::{Files, Made},
    rig::{Hub, NAME, chain, connect, handshake, own},
};

#[tokio::test]
async fn certificates_of_plain_openssl_serve_with_every_usual_key() {
    let subject = format!("/CN={NAME}");
    let alternative = format!("subjectAltName=DNS:{NAME}");
    for key in [
        &["-newkey", "rsa:2048"][..],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-newkey", "ed25519"],
    ] {
        let files = Files::new();
        let fixed = [
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &subject,
            "-addext",
            &alternative,
            "-keyout",
            "hub-key.pem",
            "-out",
            "hub.pem",
        ];
        files.openssl(&[&fixed[..], key].concat());
        let hub = Hub::with_files(&files).await;
        for version in [&TLS12, &TLS13] {
            let stream = handshake(hub.https(), version).await.unwrap();
            assert_eq!(chain(&stream), [files.der()], "{key:?}");
        }
        hub.device("d").await.ping().await;
        hub.stop().await;
    }
}

#[tokio::test]
async fn keys_in_their_older_forms_serve_as_well() {
    for (make, curve_or_bits) in [("rsa", "2048"), ("ec", "prime256v1")] {
        let files = Files::new();
        match make {
            "rsa" => files.openssl(&[
                "genrsa",
                "-traditional",
                "-out",
                "hub-key.pem",
                curve_or_bits,
            ]),
            // With its block of parameters in front.
            _ => files.openssl(&[
                "ecparam",
                "-genkey",
                "-name",
                curve_or_bits,
                "-out",
                "hub-key.pem",
            ]),
        }
        let subject = format!("/CN={NAME}");
        files.openssl(&[
            "req",
            "-x509",
            "-key",
            "hub-key.pem",
            "-days",
            "30",
            "-subj",
            &subject,
            "-out",
            "hub.pem",
        ]);
        let hub = Hub::with_files(&files).await;
        assert_eq!(hub.shown().await, files.der(), "{make}");
        hub.stop().await;
    }
}

#[tokio::test]
async fn a_whole_chain_is_sent_and_one_file_may_hold_everything() {
    let root = Made::root();
    let intermediate = root.intermediate();
    let leaf = intermediate.leaf();
    let files = Files::new();
    // What lies around the blocks does not matter.
    let all = format!(
        "subject: hub\n{}{}\n{}",
        leaf.key.serialize_pem(),
        leaf.pem,
        intermediate.pem
    );
    files.write_key(&all);
    let hub = Hub::start(|flags| {
        flags.tls_certificate_file = Some(files.key());
        flags.tls_key_file = Some(files.key());
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(root.der()).unwrap();
    let trusting = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for address in [hub.https(), hub.mqtts()] {
        let stream = connect(address, trusting.clone()).await.unwrap();
        assert_eq!(chain(&stream), [leaf.der(), intermediate.der()]);
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_peer_below_the_minimum_version_stays_out() {
    let hub = Hub::start(|_| {}).await;
    for (version, negotiated) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let stream = handshake(hub.https(), version).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(negotiated));
    }
    hub.stop().await;

    let hub = Hub::start(|flags| flags.tls_min_version = Some("1.3".to_owned())).await;
    for address in [hub.https(), hub.mqtts()] {
        let refused = handshake(address, &TLS12).await.unwrap_err().to_string();
        assert!(refused.contains("ProtocolVersion"), "{refused}");
        assert!(handshake(address, &TLS13).await.is_ok());
    }
    hub.stop().await;
}

#[tokio::test]
async fn commands_beside_a_hub_know_what_to_trust() {
    let hub = Hub::start(|_| {}).await;
    let data = hub.folder.path().join("data");
    let ca = Some(data.join("ca.pem"));
    assert_eq!(hub.node.trusted_ca(), ca);
    assert_eq!(connection_string::trusted_ca(&data).unwrap(), ca);
    let folder = hub.stop().await;

    // One that vouches for itself is its own root; one below somebody else needs that somebody.
    let alone = Files::of(&Made::alone());
    let root = Made::root();
    let below = Files::of(&root.leaf());
    let with_root = Files::new();
    let leaf = root.leaf();
    with_root.write(
        &format!("{}{}", leaf.pem, root.pem),
        &leaf.key.serialize_pem(),
    );
    let mut folder = folder;
    for (files, trusted) in [
        (&alone, Some(alone.certificate())),
        (&below, None),
        (&with_root, Some(with_root.certificate())),
    ] {
        let hub = Hub::on(folder, crate::rig::START, |flags| own(files, flags)).await;
        assert_eq!(hub.node.trusted_ca(), trusted);
        assert_eq!(connection_string::trusted_ca(&data).unwrap(), trusted);
        folder = hub.stop().await;
    }
}

#[tokio::test]
async fn an_ended_certificate_is_shown_all_the_same_and_its_end_is_told() {
    let seconds = 1_500_000_000..1_600_000_000;
    let made = Made::within(seconds.clone());
    let files = Files::of(&made);
    let hub = Hub::with_files(&files).await;
    assert_eq!(hub.shown().await, made.der());
    let series = "fanfare_tls_certificate_expiry_timestamp_seconds{certificate=\"server\"}";
    assert_eq!(hub.metric(series).await, Some(seconds.end as f64));
    let of_ca = "fanfare_tls_certificate_expiry_timestamp_seconds{certificate=\"private_ca\"}";
    assert_eq!(hub.metric(of_ca).await, None);
    hub.stop().await;
}
