//! Files that cannot be used stop a node before it begins, with what to do about it.

use std::fs;

use fanfare_server::{Config, ConfigError};

use crate::{
    made::{Files, Made, set_mode},
    rig::{NAME, flags, own},
};

fn refused(files: &Files) -> ConfigError {
    let scratch = tempfile::tempdir().unwrap();
    let mut flags = flags(&scratch);
    own(files, &mut flags);
    // Another fault is told beside it.
    flags.units = Some(0);
    let refused = Config::from_layers(flags, []).unwrap_err();
    assert_eq!(refused.faults.len(), 2, "{refused}");
    assert!(!scratch.path().join("data").exists(), "nothing was begun");
    refused
}

/// That one of the faults is about this setting and says all of this.
fn check(refused: &ConfigError, key: &str, parts: &[&str]) {
    let fault = refused.faults.iter().find(|fault| fault.starts_with(key));
    let fault = fault.unwrap_or_else(|| panic!("nothing of {key} in {refused}"));
    for part in parts {
        assert!(fault.contains(part), "{part:?} is not in {fault}");
    }
}

const CERTIFICATE: &str = "tls-certificate-file ";
const KEY: &str = "tls-key-file ";

#[test]
fn a_key_that_others_can_reach() {
    let files = Files::of(&Made::alone());
    let way_out = format!("chmod 600 {}", files.key().display());
    for mode in [0o644, 0o640, 0o604, 0o610] {
        set_mode(&files.key(), mode);
        check(&refused(&files), KEY, &[&format!("{mode:04o}"), &way_out]);
    }
}

#[test]
fn a_key_of_another_certificate() {
    let (made, other) = (Made::alone(), Made::alone());
    let files = Files::new();
    files.write(&made.pem, &other.key.serialize_pem());
    check(&refused(&files), KEY, &["the key of another certificate"]);

    let root = Made::root();
    let leaf = root.leaf();
    files.write(
        &format!("{}{}", leaf.pem, root.pem),
        &root.key.serialize_pem(),
    );
    check(
        &refused(&files),
        KEY,
        &["the key of certificate 2", "first"],
    );
}

#[test]
fn a_chain_out_of_order() {
    let root = Made::root();
    let intermediate = root.intermediate();
    let leaf = intermediate.leaf();
    let files = Files::new();
    let chain = [&leaf.pem, &root.pem, &intermediate.pem].map(String::as_str);
    files.write(&chain.concat(), &leaf.key.serialize_pem());
    check(
        &refused(&files),
        CERTIFICATE,
        &["out of order", "certificate 2", "CN=root"],
    );
}

#[test]
fn a_key_under_a_passphrase() {
    let subject = format!("/CN={NAME}");
    for old_form in [false, true] {
        let files = Files::new();
        files.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-passout",
            "pass:hush",
            "-subj",
            &subject,
            "-keyout",
            "hub-key.pem",
            "-out",
            "hub.pem",
        ]);
        if old_form {
            files.openssl(&[
                "rsa",
                "-in",
                "hub-key.pem",
                "-passin",
                "pass:hush",
                "-traditional",
                "-aes128",
                "-passout",
                "pass:hush",
                "-out",
                "hub-key.pem",
            ]);
        }
        check(
            &refused(&files),
            KEY,
            &["under a passphrase", "openssl pkey -in"],
        );
    }
}

#[test]
fn what_is_not_there_or_is_something_else() {
    let made = Made::alone();
    let key = made.key.serialize_pem();
    let files = Files::new();
    files.write_key(&key);
    check(
        &refused(&files),
        CERTIFICATE,
        &["hub.pem cannot be read", "No such file"],
    );
    fs::create_dir(files.certificate()).unwrap();
    check(&refused(&files), CERTIFICATE, &["is not a file"]);
    fs::remove_dir(files.certificate()).unwrap();

    for (certificate, key, setting, said) in [
        (made.pem.as_str(), "", KEY, "holds no private key"),
        (&made.pem, &made.pem, KEY, "holds no private key"),
        (&made.pem, &key[..80], KEY, "not whole"),
        ("", &key, CERTIFICATE, "holds no certificate"),
        (&key, &key, CERTIFICATE, "holds no certificate"),
        (&made.pem[..80], &key, CERTIFICATE, "not whole"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            CERTIFICATE,
            "number 1, that cannot be read",
        ),
    ] {
        files.write(certificate, key);
        let refused = refused(&files);
        check(&refused, setting, &[said]);
        let body = made.key.serialize_pem();
        let secret = body.lines().nth(1).unwrap();
        assert!(!refused.to_string().contains(&secret[..20]), "{refused}");
    }
}

#[test]
fn a_key_that_tls_cannot_use() {
    let files = Files::new();
    let subject = format!("/CN={NAME}");
    files.openssl(&[
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "rsa:1024",
        "-subj",
        &subject,
        "-keyout",
        "hub-key.pem",
        "-out",
        "hub.pem",
    ]);
    check(&refused(&files), KEY, &["RSA of 2048"]);
}
