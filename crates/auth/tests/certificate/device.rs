//! Whether a certificate is the identity's.

use fanfare_auth::certificate::{CertificateRefusal as Refusal, thumbprints};
use fanfare_hub::{
    presence::Admission,
    registry::{Authentication, SymmetricKey},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use crate::rig::{
    Answer, Made, NOW, authority_params, below, by_thumbprint, days, params, usage, with,
};

fn leaf() -> CertificateParams {
    params("door-1", -1..30)
}

fn is_unknown(answer: &Answer) -> bool {
    *answer == Err(Refusal::UnknownIssuer)
}

fn is_bad_chain(answer: &Answer) -> bool {
    matches!(answer, Err(Refusal::Chain(_)))
}

#[test]
fn a_certificate_is_known_by_either_thumbprint_in_either_hash() {
    let made = Made::alone(params("anybody", -1..30));
    let seen = thumbprints(&made.der);
    let (sha1, sha256) = (seen.sha1_hex(), seen.sha256_hex());
    let other = "0".repeat(40);
    for named in [
        by_thumbprint(Some(&sha1), None),
        by_thumbprint(Some(&sha256), None),
        by_thumbprint(Some(&other), Some(&sha1.to_lowercase())),
        by_thumbprint(None, Some(&sha256.to_lowercase())),
    ] {
        let answer = with(named.clone(), std::slice::from_ref(&made.der), NOW);
        assert_eq!(
            answer,
            Ok((days(30), Admission::Thumbprint(seen))),
            "{named:?}"
        );
    }
    for named in [
        by_thumbprint(Some(&other), Some(&"0".repeat(64))),
        by_thumbprint(None, None),
    ] {
        let answer = with(named.clone(), std::slice::from_ref(&made.der), NOW);
        assert_eq!(answer, Err(Refusal::Thumbprint), "{named:?}");
    }
}

#[test]
fn a_known_certificate_counts_only_in_its_time() {
    let made = Made::alone(params("door-1", -1..30));
    let named = by_thumbprint(Some(&thumbprints(&made.der).sha1_hex()), None);
    for (now, is_in) in [
        (days(-1), true),
        (days(30), true),
        (fanfare_hub::time::Timestamp(days(-1).0 - 1_000_000), false),
        (fanfare_hub::time::Timestamp(days(30).0 + 1_000_000), false),
    ] {
        let answer = with(named.clone(), std::slice::from_ref(&made.der), now);
        assert_eq!(answer.is_ok(), is_in, "{now} {answer:?}");
        if !is_in {
            assert!(matches!(answer, Err(Refusal::OutOfDate(_))), "{answer:?}");
        }
    }
}

#[test]
fn the_kind_of_proof_is_the_one_that_the_identity_asks_for() {
    let root = Made::root("root");
    let made = root.below(leaf());
    let key = || SymmetricKey::new("a2V5");
    let sas = Authentication::Sas {
        primary: key(),
        secondary: key(),
    };
    let chain = std::slice::from_ref(&made.der);
    assert_eq!(with(sas, chain, NOW), Err(Refusal::OtherWay("sas")));
    assert_eq!(
        with(Authentication::None, chain, NOW),
        Err(Refusal::OtherWay("none"))
    );
    // One that an authority signed is no stranger's when its thumbprint is known, whoever the authority is.
    let named = by_thumbprint(Some(&thumbprints(&made.der).sha256_hex()), None);
    assert!(with(named, chain, NOW).is_ok());
    // And one that signed itself has no authority.
    let alone = Made::alone(leaf());
    assert!(is_unknown(&below(None, &[&root], &[&alone], NOW)));
}

#[test]
fn an_authority_vouches_directly_and_over_others() {
    let root = Made::root("root");
    let middle = root.below(authority_params("middle", None));
    let low = middle.below(authority_params("low", Some(0)));
    let chain = [&low.below(leaf()), &low, &middle];
    let turned = [chain[0], &middle, &low];
    let with_root = [chain[0], &low, &middle, &root];
    let direct = root.below(leaf());
    for chain in [&chain[..], &turned, &with_root, &[&direct]] {
        let answer = below(None, &[&root], chain, NOW);
        assert_eq!(answer, Ok((days(30), root.admission())));
    }
    // Whoever trusts one in the middle needs no root, and trusts nobody beside it.
    let answer = below(None, &[&middle], &chain, NOW);
    assert_eq!(answer, Ok((days(30), middle.admission())));
    assert!(is_unknown(&below(None, &[&middle], &[&direct], NOW)));
    // Nobody fetches what was not sent.
    assert!(is_unknown(&below(None, &[&root], &chain[..2], NOW)));
    assert!(is_unknown(&below(None, &[], &chain, NOW)));
}

#[test]
fn an_authority_of_the_same_name_is_another_one() {
    let (root, namesake) = (Made::root("root"), Made::root("root"));
    let made = namesake.below(leaf());
    let answer = below(None, &[&root], &[&made], NOW);
    assert!(is_bad_chain(&answer) || is_unknown(&answer), "{answer:?}");
    let answer = below(None, &[&root, &namesake], &[&made], NOW);
    assert_eq!(answer, Ok((days(30), namesake.admission())));
}

#[test]
fn the_common_name_is_the_identity() {
    let root = Made::root("root");
    let named = |name: &str| root.below(params(name, -1..30));
    for (module, name, is_in) in [
        (None, "door-1", true),
        (None, "Door-1", false),
        (None, "door-2", false),
        (None, "door-1/lock", false),
        (None, "door-1 ", false),
        (Some("lock"), "door-1/lock", true),
        (Some("lock"), "door-1", false),
        (Some("lock"), "door-1/light", false),
        (Some("lock"), "lock", false),
    ] {
        let answer = below(module, &[&root], &[&named(name)], NOW);
        assert_eq!(answer.is_ok(), is_in, "{module:?} {name}");
        if !is_in {
            assert!(
                matches!(answer, Err(Refusal::CommonName { .. })),
                "{answer:?}"
            );
        }
    }
    let mut nameless = leaf();
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let answer = below(None, &[&root], &[&root.below(nameless)], NOW);
    assert!(
        matches!(answer, Err(Refusal::CommonName { .. })),
        "{answer:?}"
    );
    let long = "x".repeat(5_000);
    let answer = below(None, &[&root], &[&named(&long)], NOW);
    let text = answer.unwrap_err().to_string();
    assert!(text.len() < 300, "a stranger's text is cut: {text}");
}

#[test]
fn a_certificate_for_servers_alone_is_not_for_devices() {
    let root = Made::root("root");
    for (purpose, is_in) in [
        (ExtendedKeyUsagePurpose::ClientAuth, true),
        (ExtendedKeyUsagePurpose::ServerAuth, false),
    ] {
        let made = root.below(usage(leaf(), purpose.clone()));
        let answer = below(None, &[&root], &[&made], NOW);
        assert_eq!(answer.is_ok(), is_in, "{purpose:?} {answer:?}");
        assert!(is_in || is_bad_chain(&answer), "{answer:?}");
    }
}

#[test]
fn everybody_on_the_way_counts_only_in_their_time() {
    let root = Made::root("root");
    let mut late = authority_params("middle", None);
    late.not_before = params("", 1..5).not_before;
    let late = root.below(late);
    // The device's own.
    for days in [-5..-1, 1..5] {
        let made = root.below(params("door-1", days));
        let answer = below(None, &[&root], &[&made], NOW);
        assert!(matches!(answer, Err(Refusal::OutOfDate(_))), "{answer:?}");
    }
    // One in the middle.
    let answer = below(None, &[&root], &[&late.below(leaf()), &late], NOW);
    assert!(is_bad_chain(&answer), "{answer:?}");
    // The authority itself.
    let made = root.below(params("door-1", -20..2_000));
    for (now, is_in) in [(days(-11), false), (days(999), true), (days(1_001), false)] {
        let answer = below(None, &[&root], &[&made], now);
        assert_eq!(answer.is_ok(), is_in, "{now} {answer:?}");
        assert!(
            is_in || matches!(answer, Err(Refusal::AuthorityOutOfDate(_))),
            "{answer:?}"
        );
    }
    // A new certificate of the same authority goes on where the old one ended.
    let mut again = authority_params("root", None);
    again.not_after = params("", -10..3_000).not_after;
    let key = rcgen::KeyPair::from_pem(&root.key.serialize_pem()).unwrap();
    let renewed = Made::alone_with(again, key);
    let answer = below(None, &[&root, &renewed], &[&made], days(1_001));
    assert_eq!(answer, Ok((days(2_000), renewed.admission())));
}

#[test]
fn a_connection_ends_with_the_first_certificate_on_its_way() {
    let root = Made::root("root");
    let mut short = authority_params("middle", None);
    short.not_after = params("", -1..7).not_after;
    let middle = root.below(short);
    let answer = below(None, &[&root], &[&middle.below(leaf()), &middle], NOW);
    assert_eq!(answer, Ok((days(7), root.admission())));
    let long = root.below(params("door-1", -1..5_000));
    let answer = below(None, &[&root], &[&long], NOW);
    assert_eq!(answer, Ok((days(1_000), root.admission())));
}

#[test]
fn an_authority_allows_as_many_below_it_as_it_says() {
    let strict = Made::alone(authority_params("root", Some(0)));
    let middle = strict.below(authority_params("middle", None));
    let answer = below(None, &[&strict], &[&middle.below(leaf()), &middle], NOW);
    assert!(is_bad_chain(&answer), "{answer:?}");
    assert!(below(None, &[&strict], &[&strict.below(leaf())], NOW).is_ok());
    // A device is no authority.
    let root = Made::root("root");
    let device = root.below(params("middle", -1..30));
    let answer = below(None, &[&root], &[&device.below(leaf()), &device], NOW);
    assert!(is_bad_chain(&answer), "{answer:?}");
}

#[test]
fn what_is_no_certificate_lets_nobody_in() {
    let root = Made::root("root");
    let made = root.below(leaf());
    let cut = CertificateDer::from(made.der[..made.der.len() - 1].to_vec());
    let named = by_thumbprint(Some(&thumbprints(&cut).sha256_hex()), None);
    for chain in [
        vec![],
        vec![cut],
        vec![CertificateDer::from(vec![0x30, 0x82])],
        vec![CertificateDer::from(vec![])],
    ] {
        let answer = with(named.clone(), &chain, NOW);
        assert_eq!(answer, Err(Refusal::Unreadable));
    }
    // Rubbish beside a good certificate does no harm.
    let rubbish = Made {
        der: CertificateDer::from(vec![1, 2, 3]),
        ..Made::root("rubbish")
    };
    let answer = below(None, &[&root], &[&made, &rubbish], NOW);
    assert_eq!(answer, Ok((days(30), root.admission())), "{answer:?}");
}
