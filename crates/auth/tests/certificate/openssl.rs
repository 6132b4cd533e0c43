//! The same with what `openssl` makes when people type what they find in guides.

use std::{fs, path::Path, process::Command};

use fanfare_auth::certificate::{
    AuthorityCertificate, AuthorityRefusal, CertificateRefusal, DeviceCertificates, thumbprints,
};
use fanfare_hub::{authorities::TrustedCertificate, registry::Authentication, time::Timestamp};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use crate::{
    handshake::{sender, server, shake},
    rig::{Answer, by_thumbprint, identity, with},
};

/// A folder in which `openssl` works, without a configuration of the machine's.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, line: &str) {
        let run = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "openssl {line}\n{errors}");
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(self.path(name)).unwrap()
    }

    fn pem(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// An hour after `ca.pem` was made: what was made right after it counts then.
    fn now(&self) -> Timestamp {
        let authority = AuthorityCertificate::read(&self.certificate("ca.pem")).unwrap();
        Timestamp(authority.validity.from.0 + 3_600 * 1_000_000)
    }

    fn make_authority(&self) {
        self.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 3650 -subj /CN=Acme");
    }

    /// Whether `door-1` gets in below `ca.pem`.
    fn below(&self, chain: &[&str]) -> Answer {
        let authority: &[u8] = &self.certificate("ca.pem");
        let trusted = [TrustedCertificate::new(authority.into())].into();
        let chain: Vec<_> = chain.iter().map(|name| self.certificate(name)).collect();
        let identity = identity(None, Authentication::CertificateAuthority);
        DeviceCertificates::default().admit(&chain, &identity, &trusted, self.now())
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn self_signed_certificates_of_every_key_get_in_by_thumbprint() {
    let desk = Desk::new();
    desk.make_authority();
    let server = server();
    for (at, key) in [
        "-newkey rsa:2048",
        "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1",
        "-newkey ec -pkeyopt ec_paramgen_curve:secp384r1",
        "-newkey ed25519",
    ]
    .iter()
    .enumerate()
    {
        let (file, key_file) = (format!("{at}.pem"), format!("{at}.key"));
        desk.openssl(&format!(
            "req -x509 {key} -nodes -keyout {key_file} -out {file} -days 30 -subj /CN=door-1"
        ));
        let made = desk.certificate(&file);
        let named = by_thumbprint(Some(&thumbprints(&made).sha1_hex()), None);
        let answer = with(named, std::slice::from_ref(&made), desk.now());
        assert!(answer.is_ok(), "{key} {answer:?}");
        for version in [&TLS12, &TLS13] {
            let client = sender(version, std::slice::from_ref(&made), desk.key(&key_file));
            let shaken = shake(&server, &client);
            assert!(shaken.is_ok(), "{key} {version:?} {shaken:?}");
        }
    }
}

#[test]
fn the_thumbprint_is_the_one_that_openssl_prints() {
    let desk = Desk::new();
    desk.make_authority();
    for hash in ["sha1", "sha256"] {
        let run = Command::new("openssl")
            .args(["x509", "-in", "ca.pem", "-noout", "-fingerprint"])
            .arg(format!("-{hash}"))
            .current_dir(desk.0.path())
            .output()
            .unwrap();
        let printed = String::from_utf8(run.stdout).unwrap();
        let (_, digits) = printed.trim().split_once('=').unwrap();
        let seen = thumbprints(&desk.certificate("ca.pem"));
        assert!(seen.include(&digits.replace(':', "")), "{printed}");
    }
}

#[test]
fn a_chain_of_openssl_gets_in() {
    let desk = Desk::new();
    desk.make_authority();
    write(
        &desk.path("ca.ext"),
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n",
    );
    write(
        &desk.path("leaf.ext"),
        "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
    );
    desk.openssl("req -newkey rsa:2048 -nodes -keyout mid.key -out mid.csr -subj /CN=Mid");
    desk.openssl("x509 -req -in mid.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile ca.ext -out mid.pem");
    desk.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key -out leaf.csr -subj /CN=door-1");
    desk.openssl("x509 -req -in leaf.csr -CA mid.pem -CAkey mid.key -CAcreateserial -days 30 -extfile leaf.ext -out leaf.pem");
    assert!(desk.below(&["leaf.pem", "mid.pem"]).is_ok());
    assert_eq!(
        desk.below(&["leaf.pem"]),
        Err(CertificateRefusal::UnknownIssuer)
    );
}

/// Older versions of `openssl x509 -req` make version 1 of what has no extensions: no chain library reads it.
#[test]
fn a_certificate_without_extensions_gets_in_directly_below_its_authority() {
    let desk = Desk::new();
    desk.make_authority();
    desk.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout no.key -out no.pem -days 30 -subj /CN=Acme",
    );
    desk.openssl("req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=door-1");
    desk.openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out leaf.pem",
    );
    desk.openssl(
        "x509 -req -in leaf.csr -CA no.pem -CAkey no.key -CAcreateserial -days 30 -out no-leaf.pem",
    );
    let answer = desk.below(&["leaf.pem"]);
    assert!(answer.is_ok(), "{answer:?}");
    let forged = desk.below(&["no-leaf.pem"]);
    assert!(forged.is_err(), "{forged:?}");
    let server = server();
    for version in [&TLS12, &TLS13] {
        let chain = [desk.certificate("leaf.pem")];
        assert!(shake(&server, &sender(version, &chain, desk.key("leaf.key"))).is_ok());
    }
}

#[test]
fn a_name_that_is_given_twice_is_nobodys() {
    let desk = Desk::new();
    desk.make_authority();
    desk.openssl(
        "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=door-1/CN=door-2",
    );
    desk.openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out leaf.pem",
    );
    let answer = desk.below(&["leaf.pem"]);
    assert!(
        matches!(answer, Err(CertificateRefusal::CommonName { .. })),
        "{answer:?}"
    );
}

/// The proof as the contract's own guide makes it.
#[test]
fn a_proof_of_openssl_is_one() {
    const CODE: &str = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";
    let desk = Desk::new();
    desk.make_authority();
    desk.openssl(&format!(
        "req -newkey rsa:2048 -nodes -keyout proof.key -out proof.csr -subj /CN={CODE}"
    ));
    desk.openssl(
        "x509 -req -in proof.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out proof.pem",
    );
    let authority = AuthorityCertificate::from_pem(&desk.pem("ca.pem"), desk.now()).unwrap();
    assert_eq!(
        authority.check_proof(&desk.pem("proof.pem"), CODE, desk.now()),
        Ok(())
    );
}

#[test]
fn keys_that_cannot_be_checked_are_refused_where_a_person_reads_it() {
    let desk = Desk::new();
    desk.make_authority();
    for (at, key) in [
        "-newkey rsa:1024",
        "-newkey ec -pkeyopt ec_paramgen_curve:secp521r1",
    ]
    .iter()
    .enumerate()
    {
        let file = format!("{at}.pem");
        desk.openssl(&format!(
            "req -x509 {key} -nodes -keyout {at}.key -out {file} -days 30 -subj /CN=Weak"
        ));
        let read = AuthorityCertificate::from_pem(&desk.pem(&file), desk.now());
        assert_eq!(read, Err(AuthorityRefusal::Key), "{key}");
    }
}
