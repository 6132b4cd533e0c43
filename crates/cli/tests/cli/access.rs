//! `fanfare policy`, `sas` and `authority`: who may come in, and what people get wrong about it.

use std::fs;

use fanfare_client::{ClientOptions, Device, HubClient, Trust};
use fanfare_wire::sas::SasToken;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::rig::{Ran, Scene};

const ADDRESS: &str = "127.0.0.101";

/// A client that signs in with this text.
fn client(scene: &Scene, signature: &str) -> HubClient {
    let ca = fs::read(scene.options().data_dir.join("ca.pem")).unwrap();
    let options = ClientOptions {
        port: Some(scene.options().https_port),
        trust: Trust::Only(ca),
        ..ClientOptions::default()
    };
    HubClient::from_shared_access_signature(signature, options).unwrap()
}

#[test]
fn policies_are_created_shown_and_deleted() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    let create = ["policy", "create", "night-shift", "--rights"];
    run(&[&create[..], &["registry-read,ServiceConnect"]].concat())
        .snapshot("policy-create")
        .exits(0);
    run(&[&create[..], &["device-connect"]].concat())
        .snapshot("policy-create-again")
        .exits(4);
    run(&["policy", "create", "x", "--rights", "registry-read,root"])
        .snapshot("policy-create-unknown-right")
        .exits(2);
    run(&["policy", "create", "x"])
        .snapshot("policy-create-no-rights")
        .exits(2);
    run(&["policy", "list"]).snapshot("policy-list").exits(0);
    run(&["policy", "list", "-o", "jsonl"])
        .snapshot("policy-list-jsonl")
        .exits(0);
    run(&["policy", "show", "night-shift"])
        .snapshot("policy-show")
        .exits(0);
    let shown = run(&["policy", "show", "night-shift", "--show-keys"]);
    shown.snapshot("policy-show-keys").exits(0);
    let plain = run(&["policy", "show", "night-shift", "-o", "json"]);
    assert!(plain.exits(0).json().get("primaryKey").is_none());
    run(&["policy", "show", "day-shift"])
        .snapshot("policy-show-absent")
        .exits(4);
    run(&[
        "policy",
        "list",
        "--data-dir",
        "data",
        "--policy",
        "service",
    ])
    .snapshot("policy-list-no-right")
    .exits(4);
    run(&["policy", "delete", "night-shift"])
        .snapshot("policy-delete-unasked")
        .exits(2);
    run(&["policy", "delete", "night-shift", "--yes"])
        .snapshot("policy-delete")
        .exits(0);
    run(&["policy", "delete", "night-shift", "--yes"])
        .snapshot("policy-delete-absent")
        .exits(4);
    run(&["policy", "delete", "iothubowner", "--yes"])
        .snapshot("policy-delete-last-owner")
        .exits(4);
}

#[test]
fn a_rotation_has_two_steps_and_locks_nobody_out() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    let keys = |name: &str| {
        let shown = run(&["policy", "show", name, "--show-keys", "-o", "json"]);
        let shown = shown.exits(0).json();
        [shown["primaryKey"].clone(), shown["secondaryKey"].clone()]
    };
    let before = keys("service");
    run(&["policy", "rotate", "service", "--key", "secondary"])
        .snapshot("policy-rotate-secondary")
        .exits(0);
    let half = keys("service");
    assert!(half[0] == before[0] && half[1] != before[1]);
    run(&["policy", "rotate", "service", "--key", "primary"])
        .snapshot("policy-rotate-primary")
        .exits(0);
    let both = keys("service");
    assert!(both[0] != half[0] && both[1] == half[1]);
    run(&["policy", "rotate", "service", "--key", "swap"])
        .snapshot("policy-rotate-swap")
        .exits(0);
    let swapped = keys("service");
    assert_eq!([&swapped[1], &swapped[0]], [&both[0], &both[1]]);
    run(&["policy", "rotate", "service"])
        .snapshot("policy-rotate-no-key")
        .exits(2);

    run(&["policy", "rotate", "iothubowner", "--key", "primary"])
        .snapshot("policy-rotate-own-key")
        .exits(2);
    let own = ["policy", "rotate", "iothubowner", "--key", "primary"];
    let rotated = run(&[&own[..], &["--show-keys", "-o", "json"]].concat());
    let string = rotated.exits(0).json()["connectionString"].clone();
    let list = ["policy", "list"];
    run(&list).exits(4);
    let string = [("IOTHUB_CONNECTION_STRING", string.as_str().unwrap())];
    scene.fanfare_with(&list, "", &string).exits(0);
}

/// The one line that a token is.
fn token(ran: &Ran) -> String {
    let out = ran.exits(0).stdout.strip_suffix('\n').expect("a line");
    assert!(!out.contains('\n') && ran.stderr.is_empty(), "{ran:?}");
    out.to_owned()
}

#[test]
fn a_signature_is_made_from_whatever_has_the_key() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| token(&scene.fanfare(args));
    let policy = |text: &str| SasToken::parse(text).unwrap().policy;
    // From the string in use, from the hub, from the folder.
    let own = run(&["sas", "--ttl", "15m"]);
    assert_eq!(policy(&own).as_deref(), Some("iothubowner"));
    let asked = run(&["sas", "--policy", "registryRead"]);
    let folder = run(&["sas", "--data-dir", "data", "--policy", "registryRead"]);
    for text in [&own, &asked, &folder] {
        let registry = client(&scene, text).registry();
        scene.wait(registry.device_statistics()).unwrap();
    }
    let limited = client(&scene, &asked).policies();
    let refused = scene.wait(limited.list()).unwrap_err();
    assert_eq!(refused.status(), Some(401));

    let registry = scene.client().registry();
    let door = scene.wait(registry.create_device(&Device::new("door-1")));
    let key = door.unwrap().primary_key().unwrap().expose().to_owned();
    let resource = format!("{ADDRESS}/devices/door-1");
    for more in [&[][..], &["--data-dir", "data"]] {
        let text = run(&[&["sas", "--device", "door-1"], more].concat());
        let read = SasToken::parse(&text).unwrap();
        assert!(read.policy.is_none() && read.is_signed_by(&[&key]));
        assert!(read.covers(&[ADDRESS], &["devices", "door-1"]) && !read.covers(&[ADDRESS], &[]));
    }
    let string = format!("HostName={ADDRESS};DeviceId=door-1;SharedAccessKey={key}");
    let own = [("IOTHUB_CONNECTION_STRING", string.as_str())];
    let text = token(&scene.fanfare_with(&["sas"], "", &own));
    assert!(SasToken::parse(&text).unwrap().is_signed_by(&[&key]));
    let gateway = ["sas", "--device", "door-1", "--policy", "device"];
    assert_eq!(policy(&run(&gateway)).as_deref(), Some("device"));
    let uri = run(&["sas", "--uri", &format!("https://{resource}")]);
    assert!(
        SasToken::parse(&uri)
            .unwrap()
            .covers(&[ADDRESS], &["devices", "door-1"])
    );

    let told = |args: &[&str], name: &str, code: i32| {
        scene.fanfare(args).snapshot(name).exits(code);
    };
    told(&["sas", "--policy", "absent"], "sas-absent-policy", 4);
    told(
        &["sas", "--data-dir", "data", "--policy", "absent"],
        "sas-absent-in-folder",
        2,
    );
    told(&["sas", "--ttl", "0"], "sas-no-time", 2);
    told(&["sas", "--uri", "/devices/door-1"], "sas-no-host", 2);
    told(&["sas", "--module", "lock"], "sas-module-alone", 2);
    let other = scene.fanfare_with(&["sas", "--device", "door-2"], "", &own);
    other.snapshot("sas-other-device").exits(2);
    let service = token(&scene.fanfare(&["sas", "--policy", "service"]));
    let string = format!("HostName={};SharedAccessSignature={service}", scene.host());
    let signature = [("IOTHUB_CONNECTION_STRING", string.as_str())];
    scene
        .fanfare_with(&["sas"], "", &signature)
        .snapshot("sas-of-a-signature")
        .exits(2);
    scene
        .fanfare_with(&["sas", "--policy", "device"], "", &signature)
        .snapshot("sas-no-right")
        .exits(4);
}

#[test]
fn an_authority_is_uploaded_proven_and_deleted() {
    let scene = Scene::start(ADDRESS);
    let run = |args: &[&str]| scene.fanfare(args);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Acme devices");
    let acme = params.self_signed(&key).unwrap();
    let write = |name: &str, text: &str| fs::write(scene.folder().join(name), text).unwrap();
    write("acme.pem", &acme.pem());
    write("acme.key", &key.serialize_pem());

    run(&["authority", "list"])
        .snapshot("authority-list-none")
        .exits(0);
    run(&["authority", "add", "acme", "acme.key"])
        .snapshot("authority-add-key")
        .exits(2);
    run(&["authority", "add", "acme", "acme.pem"])
        .snapshot("authority-add")
        .exits(0);
    run(&["authority", "add", "acme", "acme.pem"])
        .snapshot("authority-add-again")
        .exits(4);
    run(&["authority", "verify", "acme", "acme.pem"])
        .snapshot("authority-verify-no-code")
        .exits(4);
    let code = run(&["authority", "code", "acme"]);
    let code = code.exits(0).stdout.trim_end().to_owned();
    assert!(code.len() == 48 && code.bytes().all(|byte| byte.is_ascii_hexdigit()));
    run(&["authority", "verify", "acme", "acme.pem"])
        .snapshot("authority-verify-no-proof")
        .exits(4);
    let mut proof = CertificateParams::default();
    proof.distinguished_name.push(DnType::CommonName, &*code);
    let issuer = Issuer::from_params(&params, &key);
    let proof = proof.signed_by(&KeyPair::generate().unwrap(), &issuer);
    write("proof.pem", &proof.unwrap().pem());
    run(&["authority", "verify", "acme", "proof.pem"])
        .snapshot("authority-verify")
        .exits(0);
    run(&["authority", "list"])
        .snapshot("authority-list")
        .exits(0);
    let pem = run(&["authority", "show", "acme", "--certificate"]);
    assert_eq!(
        pem.exits(0).stdout.replace("\r\n", "\n").trim(),
        acme.pem().replace("\r\n", "\n").trim()
    );
    run(&["authority", "show", "other"])
        .snapshot("authority-show-absent")
        .exits(4);
    run(&["authority", "delete", "acme"])
        .snapshot("authority-delete-unasked")
        .exits(2);
    run(&["authority", "delete", "acme", "--yes"])
        .snapshot("authority-delete")
        .exits(0);
}
