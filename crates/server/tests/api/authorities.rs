//! Certificate authorities over the service API: uploaded, proven, replaced, deleted; and those of files.

use std::{fs, sync::Arc};

use fanfare_hub::presence::Admission;
use fanfare_server::{Config, Node};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::harness::{Hub, Reply, flags};

const ALL: &str = "/fanfare/v1/authorities";
const OURS: &str = "/fanfare/v1/authorities/ours";

/// An authority with its key; it counts from 1975 to 4096.
struct Made {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> Made {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Made { params, key, pem }
}

impl Made {
    fn below(&self, name: &str) -> String {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().unwrap();
        params(name).signed_by(&key, &issuer).unwrap().pem()
    }

    fn body(&self) -> Value {
        json!({"certificate": self.pem})
    }
}

async fn under(hub: &Hub, method: &str, header: (&str, &str), body: &Value) -> Reply {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    hub.send("iothubowner", method, OURS, &[header], &body)
        .await
}

async fn proven(hub: &Hub, path: &str, by: &Made) -> Value {
    let code = hub.done("POST", &format!("{path}/code"), Value::Null).await;
    let code = code["verificationCode"].as_str().unwrap();
    let proof = json!({"certificate": by.below(code)});
    hub.done("POST", &format!("{path}/verify"), proof).await
}

#[tokio::test]
async fn an_authority_is_uploaded_proven_shown_and_deleted() {
    let hub = Hub::start().await;
    let ours = authority("Acme devices");
    let made = hub.done("PUT", OURS, ours.body()).await;
    assert_eq!(made["name"], "ours");
    assert_eq!(made["subject"], "CN=Acme devices");
    assert_eq!(made["isVerified"], false);
    assert_eq!(made["certificate"], ours.pem.replace("\r\n", "\n"));
    assert_eq!(made["thumbprint"].as_str().unwrap().len(), 40);
    assert_eq!(made["thumbprintSha256"].as_str().unwrap().len(), 64);
    assert_eq!(made["expiry"], "4096-01-01T00:00:00.0000000Z");
    assert_eq!(hub.done("GET", OURS, Value::Null).await, made);
    assert!(hub.node.hub().authorities.trusted().is_empty());

    let verified = proven(&hub, OURS, &ours).await;
    assert_eq!(verified["isVerified"], true);
    assert_eq!(verified["created"], made["created"]);
    assert_ne!(verified["etag"], made["etag"]);
    assert_eq!(hub.node.hub().authorities.trusted().len(), 1);
    let listed = hub.done("GET", ALL, Value::Null).await;
    let members = |one: &Value| {
        let members = one.as_object().unwrap().keys();
        members.cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        members(&listed[0]),
        "created etag expiry isVerified name subject thumbprint thumbprintSha256 updated"
    );

    hub.done("DELETE", OURS, Value::Null).await;
    assert_eq!(
        hub.ask("GET", OURS, Value::Null).await.code(),
        "AuthorityNotFound"
    );
    assert!(hub.node.hub().authorities.trusted().is_empty());
    hub.stop().await;
}

#[tokio::test]
async fn nothing_but_the_key_proves_the_key() {
    let hub = Hub::start().await;
    let (ours, namesake) = (authority("root"), authority("root"));
    let verify = format!("{OURS}/verify");
    hub.done("PUT", OURS, ours.body()).await;
    let early = hub.ask("POST", &verify, ours.body()).await;
    assert_eq!(
        (early.status.as_u16(), early.code().as_str()),
        (400, "InvalidOperation")
    );
    let code = async || {
        let made = hub.done("POST", &format!("{OURS}/code"), Value::Null).await;
        made["verificationCode"].as_str().unwrap().to_owned()
    };
    let (stale, code) = (code().await, code().await);
    assert_ne!(stale, code);
    assert!(code.len() == 48 && code.bytes().all(|digit| digit.is_ascii_hexdigit()));
    for wrong in [
        ours.below(&stale),
        ours.below("root"),
        namesake.below(&code),
        ours.pem.clone(),
        "no certificate".to_owned(),
    ] {
        let refused = hub
            .ask("POST", &verify, json!({"certificate": wrong}))
            .await;
        assert_eq!(refused.code(), "ArgumentInvalid", "{wrong}");
    }
    assert!(hub.node.hub().authorities.trusted().is_empty());
    // A code belongs to the certificate it was made for.
    hub.done("PUT", OURS, namesake.body()).await;
    let refused = hub.ask(
        "POST",
        &verify,
        json!({"certificate": namesake.below(&code)}),
    );
    assert_eq!(refused.await.code(), "InvalidOperation");
    hub.stop().await;
}

#[tokio::test]
async fn two_operators_do_not_undo_each_others_work() {
    let hub = Hub::start().await;
    let (ours, other) = (authority("ours"), authority("other"));
    let made = under(&hub, "PUT", ("if-none-match", "*"), &ours.body()).await;
    let etag = made.json()["etag"].as_str().unwrap().to_owned();
    let taken = under(&hub, "PUT", ("if-none-match", "*"), &ours.body()).await;
    assert_eq!(
        (taken.status.as_u16(), taken.code().as_str()),
        (409, "AuthorityAlreadyExists")
    );
    let verified = proven(&hub, OURS, &ours).await;
    for (method, body) in [("PUT", other.body()), ("DELETE", Value::Null)] {
        let late = under(&hub, method, ("if-match", &etag), &body).await;
        assert_eq!(late.code(), "PreconditionFailed", "{method}");
    }
    // Uploaded again it stays what it was; another certificate has to be proven anew.
    let etag = verified["etag"].as_str().unwrap();
    let again = under(&hub, "PUT", ("if-match", etag), &ours.body()).await;
    assert_eq!(again.json()["isVerified"], true);
    let twice = format!("{ALL}/twice");
    let twice = hub.ask("PUT", &twice, ours.body()).await;
    assert_eq!(twice.code(), "AuthorityAlreadyExists", "{twice:?}");
    let changed = hub.done("PUT", OURS, other.body()).await;
    assert_eq!(changed["isVerified"], false);
    hub.stop().await;
}

#[tokio::test]
async fn what_can_never_vouch_is_refused() {
    let hub = Hub::start().await;
    let ours = authority("ours");
    let with_key = format!("{}{}", ours.pem, ours.key.serialize_pem());
    for wrong in [
        json!({}),
        json!({"certificate": 7}),
        json!({"certificate": ""}),
        json!({"certificate": ours.below("door-1")}),
        json!({"certificate": with_key}),
        json!({"name": "theirs", "certificate": ours.pem}),
    ] {
        let refused = hub.ask("PUT", OURS, wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("PRIVATE KEY"));
    }
    let odd = format!("{ALL}/no%20name");
    assert_eq!(hub.ask("PUT", &odd, ours.body()).await.status, 400);
    assert_eq!(hub.ask("GET", &odd, Value::Null).await.status, 404);
    for at in 0..25 {
        hub.done("PUT", &format!("{ALL}/a{at}"), authority("one").body())
            .await;
    }
    let full = hub.ask("PUT", OURS, ours.body()).await;
    assert_eq!(
        (full.status.as_u16(), full.code().as_str()),
        (403, "IotHubQuotaExceeded")
    );
    hub.stop().await;
}

#[tokio::test]
async fn what_is_proven_stays_so_and_files_need_no_proof() {
    let hub = Hub::start().await;
    let (ours, file) = (authority("ours"), authority("file"));
    hub.done("PUT", OURS, ours.body()).await;
    proven(&hub, OURS, &ours).await;
    let folder = hub.stop().await;
    let path = folder.path().join("device-ca.pem");
    fs::write(
        &path,
        format!("# ours\n{}{}", file.pem, authority("more").pem),
    )
    .unwrap();
    let named = path.clone();
    let hub = Hub::with(folder, |flags| flags.device_ca_file = vec![named]).await;
    let trusted = hub.node.hub().authorities.trusted();
    assert_eq!(trusted.len(), 3);
    let listed = hub.done("GET", ALL, Value::Null).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "files are not uploads");
    let vouched = |thumbprint| {
        let admission = Admission::Authority { thumbprint };
        hub.node.hub().authorities.admit(&admission)
    };
    assert!(trusted.iter().all(|known| vouched(known.thumbprint)));
    assert!(!vouched([0; 32]));
    hub.done("DELETE", OURS, Value::Null).await;
    assert_eq!(
        trusted
            .iter()
            .filter(|known| vouched(known.thumbprint))
            .count(),
        2
    );

    let folder = hub.stop().await;
    for (content, problem) in [
        (
            Some(Arc::from(file.below("door-1").as_str())),
            "is no authority",
        ),
        (Some(Arc::from("nothing")), "is no certificate"),
        (None, "cannot be read"),
    ] {
        let content: Option<Arc<str>> = content;
        match content {
            Some(text) => fs::write(&path, &*text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let mut flags = flags(&folder);
        flags.device_ca_file = vec![path.clone()];
        let config = Config::from_layers(flags, []).unwrap();
        let refused = Node::start(&config).await.err().unwrap().to_string();
        assert!(refused.contains(problem), "{refused}");
        assert!(refused.contains("device-ca.pem"), "{refused}");
    }
}
