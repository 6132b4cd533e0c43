//! What may be an authority, and what proves its key.

use fanfare_auth::certificate::{
    AuthorityCertificate, AuthorityRefusal as Refusal, ProofRefusal, thumbprints,
};
use rcgen::{IsCa, KeyUsagePurpose};

use crate::rig::{Made, NOW, authority_params, days, params};

fn read(pem: &str) -> Result<AuthorityCertificate, Refusal> {
    AuthorityCertificate::from_pem(pem.as_bytes(), NOW)
}

#[test]
fn an_authority_says_who_it_is() {
    let root = Made::root("Acme devices");
    let authority = read(&root.pem).unwrap();
    assert_eq!(authority.subject, "CN=Acme devices");
    assert_eq!(authority.validity.to, days(1_000));
    assert_eq!(authority.thumbprints, thumbprints(&root.der));
    assert_eq!(*authority.der, *root.der);
}

#[test]
fn what_could_never_vouch_is_refused_with_its_reason() {
    let root = Made::root("root");
    let leaf = root.below(params("door-1", -1..30));
    let mut no_signer = authority_params("root", None);
    no_signer.key_usages = vec![KeyUsagePurpose::CrlSign];
    let mut says_no = authority_params("root", None);
    says_no.is_ca = IsCa::ExplicitNoCa;
    let mut expired = authority_params("root", None);
    expired.not_after = params("", -9..-1).not_after;
    let mut later = authority_params("root", None);
    later.not_before = params("", 1..2).not_before;
    let cases = [
        ("no PEM".to_owned(), Refusal::NotPem),
        (String::new(), Refusal::NotPem),
        (format!("{}{}", root.pem, leaf.pem), Refusal::NotOne(2)),
        (
            format!("{}{}", root.pem, root.key.serialize_pem()),
            Refusal::PrivateKey,
        ),
        (root.pem.replace('M', "A"), Refusal::Unreadable),
        (leaf.pem, Refusal::NoAuthority),
        (Made::alone(no_signer).pem, Refusal::NoAuthority),
        (Made::alone(says_no).pem, Refusal::NoAuthority),
    ];
    for (pem, refusal) in cases {
        assert_eq!(read(&pem), Err(refusal), "{pem}");
    }
    let expired = Made::alone(expired);
    assert!(matches!(read(&expired.pem), Err(Refusal::Expired(_))));
    assert!(read(&Made::alone(later).pem).is_ok(), "its time will come");

    let file = format!("# ours\n{}\n# and theirs\n{}", root.pem, expired.pem);
    let all = AuthorityCertificate::all_from_pem(file.as_bytes()).unwrap();
    assert_eq!(all.len(), 2);
    let nothing = AuthorityCertificate::all_from_pem(b"# none yet\n");
    assert_eq!(nothing, Err(Refusal::NotPem));
}

#[test]
fn only_the_key_proves_the_key() {
    const CODE: &str = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";
    let (root, namesake) = (Made::root("root"), Made::root("root"));
    let authority = read(&root.pem).unwrap();
    let check = |pem: &str| authority.check_proof(pem.as_bytes(), CODE, NOW);
    let proof = |by: &Made, code: &str, days| by.below(params(code, days)).pem;
    assert_eq!(check(&proof(&root, CODE, -1..1)), Ok(()));
    assert_eq!(check(&proof(&root, &CODE.to_lowercase(), -1..1)), Ok(()));
    assert_eq!(
        check(&proof(&root, "door-1", -1..1)),
        Err(ProofRefusal::Code)
    );
    assert_eq!(check(&proof(&root, "", -1..1)), Err(ProofRefusal::Code));
    assert_eq!(check(&root.pem), Err(ProofRefusal::Code));
    assert_eq!(
        check(&proof(&namesake, CODE, -1..1)),
        Err(ProofRefusal::Signature)
    );
    let alone = Made::alone(params(CODE, -1..1));
    assert_eq!(check(&alone.pem), Err(ProofRefusal::Signature));
    for days in [-2..-1, 1..2] {
        let late = check(&proof(&root, CODE, days));
        assert!(matches!(late, Err(ProofRefusal::OutOfDate(_))), "{late:?}");
    }
    // Somebody below it has not its key.
    let middle = root.below(authority_params("middle", None));
    assert_eq!(
        check(&proof(&middle, CODE, -1..1)),
        Err(ProofRefusal::Signature)
    );
    assert!(matches!(
        check("x"),
        Err(ProofRefusal::Certificate(Refusal::NotPem))
    ));
}
