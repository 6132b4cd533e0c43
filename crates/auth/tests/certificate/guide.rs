//! What the operator's guide tells people to type, typed.

use std::{fs, path::Path, process::Command};

use fanfare_auth::certificate::{AuthorityCertificate, DeviceCertificates, thumbprints};
use fanfare_hub::{
    authorities::TrustedCertificate,
    ids::{DeviceId, IdentityId},
    registry::{Authentication, Identity},
    time::Timestamp,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::rig::{by_thumbprint, identity, with};

const CODE: &str = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";

/// The blocks of commands of the section on certificates, in order.
fn commands() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/access.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## Devices' certificates").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_guide_says_makes_devices_that_get_in() {
    let desk = tempfile::tempdir().unwrap();
    let run = Command::new("sh")
        .args(["-e", "-c", &commands()])
        .env("CODE", CODE)
        .current_dir(desk.path())
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let chain = |name: &str| -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(desk.path().join(name)).unwrap();
        all.map(Result::unwrap).collect()
    };
    let root = AuthorityCertificate::read(&chain("root.pem")[0]).unwrap();
    let now = Timestamp(root.validity.from.0 + 3_600 * 1_000_000);

    let own = chain("door-1.pem");
    let seen = thumbprints(&own[0]).sha256_hex();
    let printed = String::from_utf8_lossy(&run.stdout).replace(':', "");
    assert!(printed.contains(&seen), "{printed}");
    assert!(with(by_thumbprint(Some(&seen), None), &own, now).is_ok());

    let door = Identity {
        id: IdentityId::device(DeviceId::parse("door-2").unwrap()),
        ..identity(None, Authentication::CertificateAuthority)
    };
    for trusted in ["root.pem", "plant.pem"] {
        let trusted: &[u8] = &chain(trusted)[0];
        let trusted = [TrustedCertificate::new(trusted.into())].into();
        let admitted =
            DeviceCertificates::default().admit(&chain("door-2-chain.pem"), &door, &trusted, now);
        assert!(admitted.is_ok(), "{admitted:?}");
    }
    let proof = fs::read(desk.path().join("proof.pem")).unwrap();
    assert_eq!(root.check_proof(&proof, CODE, now), Ok(()));
}
