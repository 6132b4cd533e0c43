//! Devices that show a certificate: who gets in, what cuts them, and what a resumed TLS session is worth.
//!
//! The hub's clock stands still, so that certificates end when a test wants it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{sync::Arc, time::Duration};

use fanfare_auth::certificate::{AnyCertificate, thumbprints};
use fanfare_hub::{
    Hub,
    authorities::{Authority, AuthorityName},
    ids::IdentityId,
    ports::{Clock, Entropy},
    registry::{
        AuthenticationRequest, IdentityRequest, KeyRenewal, Precondition, Status, SymmetricKey,
    },
    time::Timestamp,
};
use fanfare_server::{
    auth::Access,
    mqtt::{self, Gateway},
};
use fanfare_store::Embedded;
use futures_util::future::{BoxFuture, pending};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rmqtt_codec::v3::{Connect, Packet};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use crate::rig::{Client, HOST, KEY, OTHER_KEY, START, START_SECONDS, connect, id, soon, token_of};

const ADDRESS: &str = "127.0.0.93";

/// It is always [`START`].
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        START
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A certificate with its key and what it was made of.
struct Made {
    der: CertificateDer<'static>,
    key: KeyPair,
    params: CertificateParams,
}

/// A name and the seconds around [`START`] in which a certificate counts.
fn params(name: &str, seconds: std::ops::Range<i64>) -> CertificateParams {
    let at = |seconds| OffsetDateTime::from_unix_timestamp(START_SECONDS + seconds).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(seconds.start);
    params.not_after = at(seconds.end);
    params
}

const HOUR: i64 = 3_600;

fn made(name: &str) -> Made {
    Made::alone(params(name, -HOUR..HOUR))
}

fn authority(name: &str) -> Made {
    let mut params = params(name, -HOUR..10 * HOUR);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Made::alone(params)
}

impl Made {
    fn alone(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, key, params }
    }

    fn below(&self, name: &str) -> Self {
        let params = params(name, -HOUR..HOUR);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).unwrap().der().clone();
        Self { der, key, params }
    }

    fn thumbprint(&self) -> String {
        thumbprints(&self.der).sha1_hex()
    }

    fn by_thumbprint(&self) -> AuthenticationRequest {
        self_signed(Some(self), None)
    }
}

fn self_signed(primary: Option<&Made>, secondary: Option<&Made>) -> AuthenticationRequest {
    AuthenticationRequest::SelfSigned {
        primary: primary.map(Made::thumbprint),
        secondary: secondary.map(|made| thumbprints(&made.der).sha256_hex().to_lowercase()),
    }
}

fn sas() -> AuthenticationRequest {
    AuthenticationRequest::Sas {
        primary: Some(SymmetricKey::new(KEY)),
        secondary: Some(SymmetricKey::new(OTHER_KEY)),
    }
}

const BY_AUTHORITY: AuthenticationRequest = AuthenticationRequest::CertificateAuthority;

/// A hub whose gateway asks for certificates.
struct Rig {
    hub: Arc<Hub>,
    address: std::net::SocketAddr,
    server: CertificateDer<'static>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(&folder.path().join("hub.db")).unwrap());
        let history = Duration::from_secs(3_600);
        let (hub, _) = Hub::new(store, Arc::new(Still), Arc::new(Zeros), history);
        hub.policies.load().await.unwrap();
        hub.authorities.load(Vec::new()).await.unwrap();
        let access = Access::new(vec![HOST.to_owned()], hub.policies.clone());
        let access = access.with_authorities(hub.authorities.clone());
        let gateway = Arc::new(Gateway::new(hub.clone(), Arc::new(access)));
        let server = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyCertificate::new()))
            .with_single_cert(vec![server.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((ADDRESS, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(mqtt::serve(listener, Some(Arc::new(tls)), gateway, stopped));
        Self {
            hub,
            address,
            server: server.cert.der().clone(),
            stop,
            serving,
            _folder: folder,
        }
    }

    async fn put(&self, name: &str, authentication: AuthenticationRequest) -> IdentityId {
        self.put_with(name, authentication, Status::Enabled).await
    }

    async fn put_with(
        &self,
        name: &str,
        authentication: AuthenticationRequest,
        status: Status,
    ) -> IdentityId {
        let request = IdentityRequest {
            id: id(name),
            precondition: Precondition::Any,
            status: Some(status),
            status_reason: None,
            authentication,
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
            twin: None,
        };
        self.hub.registry.put(request).await.unwrap().id
    }

    async fn upload(&self, name: &str, authority: &Made) -> Authority {
        let name = AuthorityName::parse(name).unwrap();
        let der = Arc::from(&*authority.der);
        let put = self.hub.authorities.put(name, der, Precondition::Any);
        put.await.unwrap()
    }

    /// Uploads it and takes a proof for given.
    async fn trust(&self, name: &str, authority: &Made) {
        let uploaded = self.upload(name, authority).await;
        self.hub.authorities.verify(&uploaded).await.unwrap();
    }

    fn tls(&self, chain: &[&Made], version: &'static SupportedProtocolVersion) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match chain.first() {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
                let chain = chain.iter().map(|made| made.der.clone()).collect();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }

    /// Signs in; the code of CONNACK.
    async fn knock(&self, tls: &TlsConnector, connect: Connect) -> (Client, u8) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = tls.connect(HOST.try_into().unwrap(), stream);
        let stream = soon("TLS", stream).await.unwrap();
        let mut client = Client::over(Box::new(stream));
        client.send(connect.into()).await;
        match client.receive().await {
            Packet::ConnectAck(connack) => (client, connack.return_code.into()),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// Signs `name` in with certificates alone.
    async fn show(&self, name: &str, chain: &[&Made]) -> (Client, u8) {
        self.knock(&self.tls(chain, &TLS13), without_token(name))
            .await
    }

    async fn get_in(&self, name: &str, chain: &[&Made]) -> Client {
        let (client, code) = self.show(name, chain).await;
        assert_eq!(code, 0, "{name}");
        client
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        soon("the gateway's end", self.serving).await.unwrap();
    }
}

fn without_token(name: &str) -> Connect {
    Connect {
        password: None,
        ..connect(name)
    }
}

#[tokio::test]
async fn a_certificate_lets_in_whose_it_is() {
    let rig = Rig::new().await;
    let (own, next, other) = (made("x"), made("y"), made("z"));
    let expired = Made::alone(params("door-1", -HOUR..-1));
    rig.put("door-1", self_signed(Some(&own), Some(&next)))
        .await;
    rig.put("late", expired.by_thumbprint()).await;
    rig.put("keys", sas()).await;
    rig.put("nothing", AuthenticationRequest::None).await;
    rig.put("empty", self_signed(None, None)).await;
    rig.put_with("off", own.by_thumbprint(), Status::Disabled)
        .await;
    let cases: [(u8, &str, &[&Made]); 12] = [
        (0, "door-1", &[&own]),
        (0, "door-1", &[&next]),
        (0, "door-1", &[&own, &other]),
        (5, "door-1", &[&other]),
        (5, "door-1", &[&other, &own]),
        (5, "door-1", &[]),
        (5, "late", &[&expired]),
        (5, "keys", &[&own]),
        (5, "nothing", &[&own]),
        (5, "empty", &[&own]),
        (5, "off", &[&own]),
        (5, "nobody", &[&own]),
    ];
    for version in [&TLS12, &TLS13] {
        for (at, (code, name, chain)) in cases.iter().enumerate() {
            let tls = rig.tls(chain, version);
            let (mut client, seen) = rig.knock(&tls, without_token(name)).await;
            assert_eq!(seen, *code, "case {at} {version:?}");
            match code {
                0 => client.hears_nothing().await,
                _ => client.ends().await,
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn whoever_shows_both_means_the_token() {
    let rig = Rig::new().await;
    let (own, other) = (made("x"), made("y"));
    rig.put("keys", sas()).await;
    rig.put("door-1", own.by_thumbprint()).await;
    let token = |name: &str, key| {
        let resource = format!("{HOST}/devices/{name}");
        let token = token_of(&resource, key, None, START_SECONDS + HOUR);
        Connect {
            password: Some(token.into()),
            ..connect(name)
        }
    };
    let empty = Connect {
        password: Some("".into()),
        ..connect("door-1")
    };
    for (code, chain, connect) in [
        (0, &other, token("keys", KEY)),
        (5, &other, token("keys", "c29tZSBvdGhlciBrZXk=")),
        (5, &own, token("door-1", KEY)),
        (5, &own, empty),
    ] {
        let text = format!("{connect:?}");
        let (_, seen) = rig.knock(&rig.tls(&[chain], &TLS13), connect).await;
        assert_eq!(seen, code, "{text}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_authority_lets_in_whom_it_names_once_it_is_proven() {
    let rig = Rig::new().await;
    let (root, stranger) = (authority("root"), authority("root"));
    let mut middle = root.below("middle");
    middle.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::from_params(&root.params, &root.key);
    let signed = middle.params.signed_by(&middle.key, &issuer).unwrap();
    middle.der = signed.der().clone();
    for name in ["door-1", "door-1/lock", "door-2"] {
        rig.put(name, BY_AUTHORITY).await;
    }
    rig.put_with("off", sas(), Status::Disabled).await;
    rig.put("off/lock", BY_AUTHORITY).await;
    let door = root.below("door-1");
    assert_eq!(rig.show("door-1", &[&door]).await.1, 5, "nobody is trusted");
    let uploaded = rig.upload("ours", &root).await;
    assert_eq!(rig.show("door-1", &[&door]).await.1, 5, "nothing is proven");
    rig.hub.authorities.verify(&uploaded).await.unwrap();
    // The very same was refused a moment ago; and so is what comes again with those above it.
    let under = middle.below("door-2");
    for (code, name, chain) in [
        (0, "door-1", &[&door][..]),
        (0, "door-1/lock", &[&root.below("door-1/lock")]),
        (5, "door-2", &[&under]),
        (0, "door-2", &[&under, &middle]),
        (0, "door-2", &[&middle.below("door-2"), &middle, &root]),
        (5, "door-2", &[&door]),
        (5, "door-1/lock", &[&door]),
        (5, "door-1", &[&root.below("door-1/lock")]),
        (5, "door-1", &[&stranger.below("door-1"), &stranger]),
        (5, "door-1", &[&made("door-1")]),
        (5, "off/lock", &[&root.below("off/lock")]),
    ] {
        assert_eq!(
            rig.show(name, chain).await.1,
            code,
            "{name} {}",
            chain.len()
        );
    }
    rig.stop().await;
}

/// A certificate is renewed in three steps, and the device is there all the time.
#[tokio::test]
async fn a_thumbprint_is_renewed_while_its_device_is_connected() {
    let rig = Rig::new().await;
    let (old, new) = (made("old"), made("new"));
    rig.put("door-1", old.by_thumbprint()).await;
    let mut before = rig.get_in("door-1", &[&old]).await;
    rig.put("door-1", self_signed(Some(&old), Some(&new))).await;
    before.hears_nothing().await;
    // The same certificate by its other hash, in the other place.
    rig.put("door-1", self_signed(Some(&new), Some(&old))).await;
    before.hears_nothing().await;
    let mut after = rig.get_in("door-1", &[&new]).await;
    before.ends().await;
    rig.put("door-1", self_signed(Some(&new), None)).await;
    after.hears_nothing().await;
    assert_eq!(rig.show("door-1", &[&old]).await.1, 5);
    rig.put("door-1", self_signed(Some(&old), None)).await;
    after.ends().await;
    rig.stop().await;
}

/// Keys likewise: a connection lasts as long as the key that let it in.
#[tokio::test]
async fn a_key_is_renewed_while_its_device_is_connected() {
    let rig = Rig::new().await;
    rig.put("keys", sas()).await;
    let resource = format!("{HOST}/devices/keys");
    let with = |key| Connect {
        password: Some(token_of(&resource, key, None, START_SECONDS + HOUR).into()),
        ..connect("keys")
    };
    let tls = rig.tls(&[], &TLS13);
    let (mut client, code) = rig.knock(&tls, with(OTHER_KEY)).await;
    assert_eq!(code, 0);
    let renew = async |renewal| {
        let ids = [id("keys")];
        let renewed = rig.hub.registry.renew_keys(&ids, renewal).await.unwrap();
        assert!(renewed.iter().all(Result::is_ok), "{renewed:?}");
    };
    renew(KeyRenewal::Primary).await;
    client.hears_nothing().await;
    renew(KeyRenewal::Swap).await;
    client.hears_nothing().await;
    renew(KeyRenewal::Primary).await;
    client.ends().await;
    assert_eq!(rig.knock(&tls, with(OTHER_KEY)).await.1, 5);
    rig.stop().await;
}

#[tokio::test]
async fn another_kind_of_proof_another_status_or_no_entry_cut() {
    let rig = Rig::new().await;
    let root = authority("root");
    rig.trust("ours", &root).await;
    let door = root.below("door-1");
    let by_thumbprint = || door.by_thumbprint();
    for at in 0..5 {
        rig.put("door-1", by_thumbprint()).await;
        let mut client = rig.get_in("door-1", &[&door]).await;
        let registry = &rig.hub.registry;
        match at {
            0 => rig.put("door-1", BY_AUTHORITY).await,
            1 => rig.put("door-1", sas()).await,
            2 => rig.put("door-1", AuthenticationRequest::None).await,
            3 => {
                rig.put_with("door-1", by_thumbprint(), Status::Disabled)
                    .await
            }
            _ => {
                let deleted = registry.delete(id("door-1"), Precondition::Exists);
                deleted.await.unwrap();
                id("door-1")
            }
        };
        client.ends().await;
    }
    // And back: a key's connection does not outlive a change to certificates.
    rig.put("door-1", sas()).await;
    let tls = rig.tls(&[], &TLS13);
    let (mut client, code) = rig.knock(&tls, connect("door-1")).await;
    assert_eq!(code, 0);
    rig.put("door-1", BY_AUTHORITY).await;
    client.ends().await;
    // One of an authority does not outlive a change to thumbprints, though its certificate be named.
    let mut client = rig.get_in("door-1", &[&door]).await;
    rig.put("door-1", by_thumbprint()).await;
    client.ends().await;
    rig.stop().await;
}

#[tokio::test]
async fn whoever_an_authority_let_in_goes_with_it_and_nobody_else() {
    let rig = Rig::new().await;
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    rig.trust("ours", &ours).await;
    rig.trust("theirs", &theirs).await;
    for name in ["door-1", "door-1/lock", "door-2"] {
        rig.put(name, BY_AUTHORITY).await;
    }
    let mut door = rig.get_in("door-1", &[&ours.below("door-1")]).await;
    let mut lock = rig
        .get_in("door-1/lock", &[&ours.below("door-1/lock")])
        .await;
    let mut other = rig.get_in("door-2", &[&theirs.below("door-2")]).await;
    let name = |text| AuthorityName::parse(text).unwrap();
    let authorities = &rig.hub.authorities;
    // A new code takes nothing from anybody, and neither does the same certificate again.
    authorities
        .make_code(name("ours"), Precondition::Any)
        .await
        .unwrap();
    rig.upload("ours", &ours).await;
    door.hears_nothing().await;
    let deleted = authorities.delete(name("ours"), Precondition::Exists);
    deleted.await.unwrap();
    door.ends().await;
    lock.ends().await;
    other.hears_nothing().await;
    assert_eq!(rig.show("door-1", &[&ours.below("door-1")]).await.1, 5);
    // Another certificate under its name is another authority, and not proven.
    rig.upload("theirs", &authority("theirs")).await;
    other.ends().await;
    // Those of the operator's files come and go likewise.
    let file: Arc<[u8]> = Arc::from(&*ours.der);
    authorities.load(vec![file]).await.unwrap();
    let mut door = rig.get_in("door-1", &[&ours.below("door-1")]).await;
    authorities.load(Vec::new()).await.unwrap();
    door.ends().await;
    rig.stop().await;
}

/// The clock stands still half a second before the certificate's end; the connection does not wait for it.
#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let rig = Rig::new().await;
    let short = Made::alone(params("door-1", -HOUR..1));
    rig.put("door-1", short.by_thumbprint()).await;
    rig.get_in("door-1", &[&short]).await.ends().await;
    rig.stop().await;
}

/// A session that is resumed shows no certificate again, but the hub knows which it was, and looks at it anew.
#[tokio::test]
async fn a_resumed_session_proves_what_its_certificate_proves_now() {
    for version in [&TLS12, &TLS13] {
        let rig = Rig::new().await;
        let (first, second) = (made("door-1"), made("door-2"));
        rig.put("door-1", first.by_thumbprint()).await;
        rig.put("door-2", second.by_thumbprint()).await;
        let (one, two) = (rig.tls(&[&first], version), rig.tls(&[&second], version));
        for _ in 0..3 {
            for (tls, name, code) in [
                (&one, "door-1", 0),
                (&two, "door-2", 0),
                (&one, "door-2", 5),
                (&two, "door-1", 5),
            ] {
                let (mut client, seen) = rig.knock(tls, without_token(name)).await;
                assert_eq!(seen, code, "{name} {version:?}");
                if code == 0 {
                    client.hears_nothing().await;
                }
            }
        }
        rig.put("door-1", second.by_thumbprint()).await;
        let (_, code) = rig.knock(&one, without_token("door-1")).await;
        assert_eq!(code, 5, "{version:?}");
        rig.stop().await;
    }
}
