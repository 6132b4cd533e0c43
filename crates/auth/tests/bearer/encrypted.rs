//! Issuers behind TLS, as all are that are not on the hub's own machine: who vouches for their servers counts.

use std::{path::PathBuf, sync::Arc};

use fanfare_auth::{
    bearer::{BearerRefusal, IssuerSettings},
    testing::{Reply, SigningKey, TestIssuer, claims},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::rig::{READER, Rig, issuer, json_reply, settings};

/// An issuer's TLS in front of its server. Ends when it is dropped.
struct Front {
    url: String,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

/// An authority: what it signs with, and its certificate in PEM.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

impl Front {
    /// In front of `behind`, with a certificate for `name`.
    async fn of(behind: &TestIssuer, name: &str) -> Self {
        let (authority, ca) = authority();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
        let other = folder.path().join("other.pem");
        std::fs::write(other, self::authority().1).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(crate::rig::ADDRESS).await.unwrap();
        let url = format!("https://{}/fleet", listener.local_addr().unwrap());
        let behind = behind.url().to_owned();
        let address = behind.trim_start_matches("http://").split('/').next();
        let address = address.unwrap().to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, address) = (tls.clone(), address.clone());
                served.spawn(async move {
                    let (Ok(mut peer), Ok(mut server)) =
                        (tls.accept(stream).await, TcpStream::connect(address).await)
                    else {
                        // Whoever does not trust it goes away.
                        return;
                    };
                    // How it ended shows in what was fetched.
                    let _ = copy_bidirectional(&mut peer, &mut server).await;
                });
            }
        });
        Self {
            url,
            folder,
            _tasks: tasks,
        }
    }

    /// A hub that trusts the authorities in this file.
    fn hub(&self, ca_file: &str) -> Rig {
        let mut settings = settings(&[]);
        settings.issuers = vec![IssuerSettings {
            ca_file: Some(PathBuf::from(self.folder.path()).join(ca_file)),
            ..IssuerSettings::new(self.url.clone())
        }];
        Rig::start(settings)
    }

    /// Answers under the name of the front; `keys` is where the keys are said to be.
    fn say(&self, behind: &TestIssuer, keys: &str) {
        let document = json!({"issuer": self.url, "jwks_uri": keys});
        behind.answer(move |path| match path.ends_with("/keys") {
            true => Reply::Honest,
            false => json_reply(&document),
        });
    }
}

#[tokio::test]
async fn authorities_of_the_settings_vouch_for_an_issuer_and_no_others() {
    let key = SigningKey::es256("k");
    let behind = issuer(&[&key]).await;
    let front = Front::of(&behind, "127.0.0.110").await;
    front.say(&behind, &format!("{}/keys", front.url));
    let token = key.mint(&claims(&front.url, &[READER]));

    let rig = front.hub("ca.pem");
    rig.fetched(&front.url, 1).await;
    assert_eq!(rig.fetches(), (1, 0));
    assert!(rig.verify(&token).await.is_ok());
    rig.stop().await;

    let before = *behind.requests().borrow();
    let rig = front.hub("other.pem");
    rig.fetched(&front.url, 1).await;
    assert_eq!(rig.fetches(), (0, 1));
    assert_eq!(rig.verify(&token).await, Err(BearerRefusal::NoKeys));
    assert_eq!(*behind.requests().borrow(), before, "nothing was said");
    rig.stop().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_another_server() {
    let key = SigningKey::es256("k");
    let behind = issuer(&[&key]).await;
    let front = Front::of(&behind, "issuer.test").await;
    front.say(&behind, &format!("{}/keys", front.url));
    let rig = front.hub("ca.pem");
    rig.fetched(&front.url, 1).await;
    assert_eq!(rig.fetches(), (0, 1));
    rig.stop().await;
}

/// Whoever listens on the way from an encrypted document to open keys could put their own there.
#[tokio::test]
async fn an_encrypted_issuer_has_no_open_keys() {
    let key = SigningKey::es256("k");
    let behind = issuer(&[&key]).await;
    let front = Front::of(&behind, "127.0.0.110").await;
    front.say(&behind, &format!("{}/keys", behind.url()));
    let rig = front.hub("ca.pem");
    rig.fetched(&front.url, 1).await;
    assert_eq!(rig.fetches(), (0, 1));
    assert_eq!(
        *behind.requests().borrow(),
        1,
        "the keys were not asked for"
    );
    rig.stop().await;
}
