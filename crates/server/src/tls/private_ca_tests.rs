//! What becomes of the private CA's files over the years.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const NOW: Timestamp = Timestamp(1_900_000_000_000_000);

fn issue(folder: &Path, names: &[&str], now: Timestamp) -> CertificateDer<'static> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = provide(folder, &names, &Vault::plain(), now).unwrap();
    issued.pair.certified.cert[0].clone()
}

#[test]
fn the_certificate_is_kept_until_names_change_or_two_thirds_of_its_life_are_over() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path(), &["localhost", "127.0.0.1"], NOW);
    let ca = fs::read(folder.path().join("ca.pem")).unwrap();
    let again = issue(folder.path(), &["127.0.0.1", "localhost"], NOW + DAY);
    assert_eq!(first, again);

    let renamed = issue(folder.path(), &["hub.test", "::1"], NOW);
    assert_ne!(first, renamed);
    let (_, leaf) = x509_parser::parse_x509_certificate(&renamed).unwrap();
    assert_eq!(names_of(&leaf), ["hub.test", "::1"]);

    // 801 days, of which one lies before the issue.
    let kept = issue(folder.path(), &["hub.test", "::1"], NOW + DAY * 532);
    assert_eq!(renamed, kept);
    let renewed = issue(folder.path(), &["hub.test", "::1"], NOW + DAY * 533);
    assert_ne!(renamed, renewed);
    let clock_set_back = issue(folder.path(), &["hub.test", "::1"], NOW);
    assert_ne!(renewed, clock_set_back);
    let ca_now = fs::read(folder.path().join("ca.pem")).unwrap();
    assert_eq!(ca_now, ca, "the CA stays");
}

#[test]
fn a_crash_between_the_two_files_costs_a_certificate_not_the_start() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = issue(folder.path(), &["localhost"], NOW);
    issue(other.path(), &["localhost"], NOW);
    let key = "server-key.pem";
    fs::copy(other.path().join(key), folder.path().join(key)).unwrap();
    assert_ne!(issue(folder.path(), &["localhost"], NOW), first);
    fs::write(folder.path().join("server.pem"), "-----BEGIN CERT").unwrap();
    issue(folder.path(), &["localhost"], NOW);
}

#[test]
fn another_authority_in_the_folder_issues_another_certificate() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = issue(folder.path(), &["localhost"], NOW);
    issue(other.path(), &["localhost"], NOW);
    for file in ["ca.pem", "ca-key.pem"] {
        fs::copy(other.path().join(file), folder.path().join(file)).unwrap();
    }
    let second = issue(folder.path(), &["localhost"], NOW);
    assert_ne!(first, second);
    assert_eq!(issue(folder.path(), &["localhost"], NOW), second);
}

#[test]
fn keys_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), &["localhost"], NOW);
    for (file, mode) in [
        ("ca.pem", 0o644),
        ("ca-key.pem", 0o600),
        ("server.pem", 0o644),
        ("server-key.pem", 0o600),
    ] {
        let found = fs::metadata(folder.path().join(file)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
    }
}

#[test]
fn a_lost_ca_is_said_not_papered_over() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), &["localhost"], NOW);
    let names = ["localhost".to_owned()];
    fs::remove_file(folder.path().join("ca-key.pem")).unwrap();
    let refused = provide(folder.path(), &names, &Vault::plain(), NOW);
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("ca-key.pem"), "{refused}");

    fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let refused = provide_again(folder.path(), &names, &Vault::plain(), NOW);
    assert!(
        refused.is_err(),
        "no new CA while clients trust the old one"
    );
    assert!(!folder.path().join("ca.pem").exists());
    assert!(provide(folder.path(), &names, &Vault::plain(), NOW).is_ok());
}

#[test]
fn names_are_host_names_and_addresses_once_each() {
    let bind = ["127.0.0.2", "0.0.0.0", "::1"].map(|text| text.parse().unwrap());
    let names = certificate_names(&["Hub".to_owned(), "127.0.0.2".to_owned()], &bind);
    assert_eq!(names, ["Hub", "127.0.0.2", "::1"]);
}
