//! Issuers that are down, that never answer, and that lie.

use std::time::Duration;

use fanfare_auth::{
    bearer::{Bearer, BearerRefusal, IssuerSettings, TokenStartError},
    testing::{Reply, SigningKey, TestIssuer},
};
use fanfare_hub::ports::Clock as _;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::rig::{Rig, issuer, json_reply, settings, token};

/// The longest wait for the next try.
const RETRY_LAST: Duration = Duration::from_secs(300);
/// How long a caller waits for keys.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Callers that wait at once.
const WAITERS_MAX: usize = 256;
/// A port that the system gives to nobody who does not ask for it, on an address that nobody else has.
const LATE: &str = "127.0.0.111:18443";
const CONFIGURATION: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn an_issuer_may_come_after_the_hub() {
    let key = SigningKey::es256("k");
    let url = format!("http://{LATE}/fleet");
    let rig = Rig::start(settings(&[&url]));
    rig.fetched(&url, 1).await;
    assert_eq!(rig.fetches(), (0, 1), "nobody is there");
    let early = key.mint(&fanfare_auth::testing::claims(&url, &[]));
    assert_eq!(rig.verify(&early).await, Err(BearerRefusal::NoKeys));
    let issuer = TestIssuer::start(LATE).await;
    issuer.publish(&[&key]);
    rig.next_fetch(RETRY_LAST).await;
    assert_eq!(rig.fetches(), (1, 1));
    assert!(rig.verify(&early).await.is_ok());
    rig.stop().await;
}

#[tokio::test]
async fn one_that_never_answers_keeps_nobody_else_waiting() {
    let key = SigningKey::es256("k");
    let (silent, good) = (issuer(&[&key]).await, issuer(&[&key]).await);
    silent.answer(|_| Reply::Silence);
    let rig = Rig::start(settings(&[silent.url(), good.url()]));
    rig.fetched(good.url(), 1).await;
    let now = rig.clock.now();
    let mut callers = JoinSet::new();
    for _ in 0..WAITERS_MAX + 44 {
        let (bearer, token) = (rig.bearer.clone(), token(&silent, &key));
        callers.spawn(async move { bearer.verify(&token, now).await });
    }
    let mut refused = async |count: usize| {
        for _ in 0..count {
            let ended = timeout(Duration::from_secs(60), callers.join_next()).await;
            let ended = ended.unwrap().unwrap().unwrap();
            assert_eq!(ended, Err(BearerRefusal::NoKeys));
        }
    };
    // More than may wait are refused while the clock stands.
    refused(44).await;
    assert!(rig.verify(&token(&good, &key)).await.is_ok());
    rig.clock.advance(WAIT_MAX);
    refused(WAITERS_MAX).await;
    assert_eq!(rig.fetches(), (0, 0), "the fetch is still under way");
    rig.stop().await;
}

#[tokio::test]
async fn a_fetch_that_takes_too_long_is_given_up() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    issuer.answer(|_| Reply::Silence);
    let mut settings = settings(&[issuer.url()]);
    settings.fetch_within = Duration::from_millis(50);
    let rig = Rig::start(settings);
    rig.fetched(issuer.url(), 1).await;
    assert_eq!(rig.fetches(), (0, 1));
    rig.stop().await;
}

/// What an issuer, or somebody in its place, may serve: for its discovery document, or for its keys.
enum Lie {
    Discovery(Reply),
    Keys(Reply),
}

fn text(text: &str) -> Reply {
    Reply::http("200 OK", "content-type: application/json\r\n", text)
}

fn moved(to: &str) -> Reply {
    Reply::http("302 Found", &format!("location: {to}\r\n"), "")
}

/// Longer than any document may be, and good otherwise.
fn giant(key: &SigningKey) -> Reply {
    json_reply(&json!({"x": "x".repeat(300_000), "keys": [key.jwk()]}))
}

fn discoveries(honest: &str, elsewhere: &str, key: &SigningKey) -> Vec<(&'static str, Lie)> {
    use Lie::Discovery;
    let discovery = |more: Value| {
        let mut document = json!({"issuer": honest, "jwks_uri": format!("{honest}/keys")});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Discovery(json_reply(&document))
    };
    let twice = format!(
        r#"{{"issuer":"https://evil.test","issuer":"{honest}","jwks_uri":"{honest}/keys"}}"#
    );
    vec![
        ("another issuer", discovery(json!({"issuer": elsewhere}))),
        (
            "an issuer with a slash",
            discovery(json!({"issuer": format!("{honest}/")})),
        ),
        ("no issuer", discovery(json!({"issuer": null}))),
        ("two issuers", Discovery(text(&twice))),
        ("no keys anywhere", discovery(json!({"jwks_uri": null}))),
        (
            "keys in a file",
            discovery(json!({"jwks_uri": "file:///etc/passwd"})),
        ),
        (
            "keys on an open line",
            discovery(json!({"jwks_uri": "http://192.0.2.1/keys"})),
        ),
        ("keys nowhere", discovery(json!({"jwks_uri": "keys"}))),
        ("a giant discovery document", Discovery(giant(key))),
        ("no JSON", Discovery(text("<html>"))),
        ("a list", Discovery(text("[]"))),
        (
            "not found",
            Discovery(Reply::http("404 Not Found", "", "{}")),
        ),
        (
            "no content",
            Discovery(Reply::http("204 No Content", "", "")),
        ),
        (
            "no HTTP",
            Discovery(Reply::Bytes(b"SSH-2.0-x\r\n".to_vec())),
        ),
        ("nothing", Discovery(Reply::Bytes(Vec::new()))),
        (
            "a document elsewhere",
            Discovery(moved(&format!("{elsewhere}{CONFIGURATION}"))),
        ),
    ]
}

fn key_sets(honest: &str, elsewhere: &str, key: &SigningKey) -> Vec<(&'static str, Lie)> {
    use Lie::Keys;
    let keys = |keys: Value| Keys(json_reply(&json!({"keys": keys})));
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let mut private = key.jwk();
    private["d"] = json!("AQAB");
    let oct = json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"});
    vec![
        ("keys elsewhere", Keys(moved(&format!("{elsewhere}/keys")))),
        ("keys in a circle", Keys(moved(&format!("{honest}/keys")))),
        ("giant keys", Keys(giant(key))),
        (
            "half of the keys",
            Keys(Reply::Bytes(
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(),
            )),
        ),
        ("no JSON for keys", Keys(text("keys"))),
        ("deep keys", Keys(text(&deep))),
        (
            "an error for keys",
            Keys(Reply::http("500 Internal Server Error", "", "{}")),
        ),
        ("no keys", keys(json!([]))),
        ("one key, not a list", keys(key.jwk())),
        ("too many keys", keys(json!(vec![key.jwk(); 101]))),
        ("a private key", keys(json!([private]))),
        ("a shared secret", keys(json!([oct]))),
        (
            "keys for something else",
            keys(json!([{"kty": "EC", "crv": "P-521"}, 7, null])),
        ),
    ]
}

#[tokio::test]
async fn what_a_lying_issuer_serves_is_not_used() {
    let key = SigningKey::es256("k");
    let (liar, elsewhere) = (issuer(&[&key]).await, issuer(&[&key]).await);
    liar.answer(|_| Reply::http("404 Not Found", "", ""));
    let rig = Rig::start(settings(&[liar.url()]));
    rig.fetched(liar.url(), 1).await;
    let token = token(&liar, &key);
    let mut failed = 1;
    let mut lies = discoveries(liar.url(), elsewhere.url(), &key);
    lies.extend(key_sets(liar.url(), elsewhere.url(), &key));
    for (name, lie) in lies {
        match lie {
            Lie::Discovery(reply) => liar.answer(by_suffix(CONFIGURATION, reply)),
            Lie::Keys(reply) => liar.answer(by_suffix("/keys", reply)),
        }
        rig.next_fetch(RETRY_LAST).await;
        failed += 1;
        assert_eq!(rig.fetches(), (0, failed), "{name}");
        assert_eq!(
            rig.verify(&token).await,
            Err(BearerRefusal::NoKeys),
            "{name}"
        );
    }
    assert_eq!(*elsewhere.requests().borrow(), 0, "nobody else was asked");
    liar.be_honest();
    rig.next_fetch(RETRY_LAST).await;
    assert!(rig.verify(&token).await.is_ok());
    rig.stop().await;
}

/// One path is answered with this, the others honestly.
fn by_suffix(suffix: &'static str, reply: Reply) -> impl Fn(&str) -> Reply + Send + 'static {
    move |path| match path.ends_with(suffix) {
        true => match &reply {
            Reply::Bytes(bytes) => Reply::Bytes(bytes.clone()),
            Reply::Honest | Reply::Silence => panic!("that is no lie"),
        },
        false => Reply::Honest,
    }
}

#[tokio::test]
async fn an_issuer_may_send_to_another_place_of_its_own() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let moved = format!("location: {}/keys\r\n", issuer.url());
    let document = json!({"issuer": issuer.url(), "jwks_uri": format!("{}/older", issuer.url())});
    issuer.answer(move |path| match path {
        "/fleet/older" => Reply::http("307 Temporary Redirect", &moved, ""),
        path if path.ends_with(CONFIGURATION) => json_reply(&document),
        _ => Reply::Honest,
    });
    let rig = Rig::of(&issuer).await;
    assert_eq!(rig.fetches(), (1, 0));
    assert!(rig.verify(&token(&issuer, &key)).await.is_ok());
    rig.stop().await;
}

/// The keys may be on another server, as Entra's are; what is said there is not asked for a second time.
#[tokio::test]
async fn the_keys_may_be_where_the_issuer_says() {
    let key = SigningKey::es256("k");
    let (issuer, keys) = (issuer(&[]).await, issuer(&[&key]).await);
    let document = json!({"issuer": issuer.url(), "jwks_uri": format!("{}/keys", keys.url())});
    issuer.answer(move |_| json_reply(&document));
    let rig = Rig::of(&issuer).await;
    assert!(rig.verify(&token(&issuer, &key)).await.is_ok());
    assert_eq!(*keys.requests().borrow(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn what_can_never_work_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let rig = Rig::start(settings(&[]));
    for ca_file in [
        folder.path().join("nowhere.pem"),
        file("empty.pem", ""),
        file("text.pem", "no certificate"),
        file(
            "broken.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let mut settings = settings(&[]);
        settings.issuers = vec![IssuerSettings {
            ca_file: Some(ca_file.clone()),
            ..IssuerSettings::new("https://issuer.test")
        }];
        let started = Bearer::start(settings, &(rig.clock.clone() as _), &rig.entropy());
        let refused = started.err();
        let is_told =
            matches!(&refused, Some(TokenStartError::CaFile { file, .. }) if *file == ca_file);
        assert!(is_told, "{ca_file:?}: {refused:?}");
    }
    rig.stop().await;
}
