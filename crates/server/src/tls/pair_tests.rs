//! What is told of a pair that can be used, but perhaps not by everybody.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use time::OffsetDateTime;

use super::*;

const BEGINS: i64 = 1_900_000_000;
const ENDS: i64 = 1_900_100_000;
const NAMES: [&str; 3] = ["hub.test", "*.plant.test", "192.0.2.1"];

fn pair(change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
    params.not_before = at(BEGINS);
    params.not_after = at(ENDS);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Pair::new(vec![certificate.der().clone()], key).unwrap()
}

fn doubts(pair: &Pair, names: &[&str], seconds: i64) -> String {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    pair.doubts(&names, moment(Some(seconds))).join("\n")
}

#[test]
fn a_certificate_outside_its_time_is_doubted() {
    let pair = pair(|_| {});
    assert_eq!(doubts(&pair, &[], BEGINS), "");
    assert_eq!(doubts(&pair, &[], ENDS - 1), "");
    let early = doubts(&pair, &[], BEGINS - 1);
    assert!(
        early.contains("until it begins to count, 2030-03-17"),
        "{early}"
    );
    let late = doubts(&pair, &[], ENDS);
    assert!(late.contains("it ended 2030-03-18"), "{late}");
}

#[test]
fn names_that_it_does_not_carry_are_told() {
    let pair = pair(|_| {});
    let carried = ["hub.test", "HUB.test", "north.plant.test", "192.0.2.1"];
    assert_eq!(doubts(&pair, &carried, BEGINS), "");
    let told = doubts(
        &pair,
        &["plant.test", "hub.test", "192.0.2.2", "a.b.plant.test"],
        BEGINS,
    );
    let missing = r#"["plant.test", "192.0.2.2", "a.b.plant.test"]"#;
    assert!(told.ends_with(missing), "{told}");
}

#[test]
fn an_authority_as_a_servers_certificate_is_told() {
    let pair = pair(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let told = doubts(&pair, &["hub.test"], BEGINS);
    assert!(told.contains("CA:TRUE"), "{told}");
}

#[test]
fn neither_key_nor_signer_shows_itself() {
    assert!(!format!("{:?}", pair(|_| {})).contains("key"));
}
