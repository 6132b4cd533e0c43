//! No secret is ever written down: not in the log at its most talkative, not in an error, nor in what operators
//! read, nor, where keys are encrypted, anywhere in the data folder.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use fanfare_server::{Flags, vault};
use fanfare_wire::sas::{SasGrant, sign};
use hyper::Request;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{ADDRESS, Hub, PATIENCE, Reply};

const FIRST: &str = "Zmlyc3Qga2V5IG9mIHRoZSBkZXZpY2Ugb2Ygc2VjcmV0cw==";
const SECOND: &str = "c2Vjb25kIGtleSBvZiB0aGUgZGV2aWNlIG9mIHNlY3JldHM=";
const OF_POLICY: &str = "a2V5IG9mIGEgcG9saWN5IHRoYXQgaXMgc2VjcmV0IGFzIHdlbGw=";
/// Not base64, so a request with it is refused.
const NO_KEY: &str = "this-is-not-base64-but-somebody-thinks-it-is-a-key!";
const STRANGE: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzb21lYm9keSBzZWNyZXQifQ.c2lnbmF0dXJlLW9mLWE";

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter("trace")
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .init();
        log
    }

    fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

/// What must occur nowhere, each with its name.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn add(&mut self, name: &str, text: &str) {
        assert!(text.len() > 15, "{name} would be found by chance");
        self.0.push((name.to_owned(), text.to_owned()));
    }

    /// A token, and its signature as it is and decoded.
    fn add_token(&mut self, name: &str, token: &str) {
        let signature = token.split_once("sig=").unwrap().1;
        let signature = signature.split_once('&').unwrap().0;
        self.add(name, token);
        self.add(name, signature);
        let plain = signature.replace("%2B", "+").replace("%2F", "/");
        self.add(name, plain.trim_end_matches("%3D"));
    }

    fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let lies_in = |secret: &str| {
            text.windows(secret.len())
                .any(|window| window == secret.as_bytes())
        };
        let found = self.0.iter().filter(|(_, secret)| lies_in(secret));
        found.map(|(name, _)| &**name).collect()
    }

    fn check(&self, place: &str, text: &[u8]) {
        let found = self.found_in(text);
        assert!(found.is_empty(), "{place} holds {found:?}");
    }
}

fn device_token(device: &str, key: &str) -> String {
    let grant = SasGrant {
        resource: &format!("{ADDRESS}/devices/{device}"),
        key,
        policy: None,
        expiry: 4_000_000_000,
    };
    sign(&grant).unwrap()
}

/// Whether a device is let in over MQTT: the return code of CONNACK.
async fn mqtt_sign_in(hub: &Hub, device: &str, token: &str) -> u8 {
    let field = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    let user = format!("{ADDRESS}/{device}/?api-version=2021-04-12");
    let body = [
        field("MQTT"),
        // Version 4; user, password and a clean session; half a minute.
        vec![4, 0b1100_0010, 0, 30],
        field(device),
        field(&user),
        field(token),
    ]
    .concat();
    let mut packet = vec![0x10];
    let mut left = body.len();
    while left >= 128 {
        packet.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    packet.push(u8::try_from(left).unwrap());
    packet.extend(body);
    let exchange = async {
        let address = hub.node.addresses().mqtt_plain[0];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&packet).await.unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).await.unwrap();
        connack[3]
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap()
}

async fn with_authorization(hub: &Hub, value: &str) -> Reply {
    let request = Request::builder()
        .uri("/devices/keeper?api-version=2021-04-12")
        .header("host", ADDRESS)
        .header("authorization", value)
        .body(Default::default())
        .unwrap();
    hub.raw(request).await
}

fn device(id: &str, first: &str, second: &str) -> Value {
    let keys = json!({"primaryKey": first, "secondaryKey": second});
    json!({"deviceId": id, "authentication": {"type": "sas", "symmetricKey": keys}})
}

fn check_folder(secrets: &Secrets, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => check_folder(secrets, &path),
            false => secrets.check(&path.display().to_string(), &fs::read(&path).unwrap()),
        }
    }
}

#[tokio::test]
async fn no_secret_is_written_down() {
    let log = Log::begin();
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("hub.key");
    vault::generate(&key_file).unwrap();
    let mut secrets = Secrets::default();
    secrets.add(
        "the master key",
        fs::read_to_string(&key_file).unwrap().trim(),
    );
    let settings = |flags: &mut Flags| {
        flags.key_file = Some(key_file);
        flags.mqtt_plain_port = Some(0);
    };
    let hub = Hub::with(folder, settings).await;
    for (name, text) in [
        ("the first key", FIRST),
        ("the second key", SECOND),
        ("a policy's key", OF_POLICY),
        ("no key", NO_KEY),
        ("a bearer token", STRANGE),
    ] {
        secrets.add(name, text);
    }
    for policy in ["iothubowner", "service", "device", "registryRead"] {
        let kept = hub.node.policy(policy).unwrap();
        secrets.add(policy, kept.primary.expose());
        secrets.add(policy, kept.secondary.expose());
        secrets.add_token(policy, &hub.token(policy));
    }

    // Keys go in and out.
    hub.done("PUT", "/devices/keeper", device("keeper", FIRST, SECOND))
        .await;
    let shown = hub.done("GET", "/devices/keeper", Value::Null).await;
    assert_eq!(shown["authentication"]["symmetricKey"]["primaryKey"], FIRST);
    hub.done("GET", "/devices", Value::Null).await;
    let query = json!({"query": "SELECT * FROM devices"});
    let rows = hub.done("POST", "/devices/query", query).await;
    secrets.check("a query's rows", rows.to_string().as_bytes());
    let bulk = json!([{"id": "other", "importMode": "create",
        "authentication": {"symmetricKey": {"primaryKey": SECOND, "secondaryKey": FIRST}}}]);
    hub.done("POST", "/devices", bulk).await;
    let rights = json!({"rights": ["ServiceConnect"], "primaryKey": OF_POLICY,
        "secondaryKey": SECOND});
    hub.done("PUT", "/fanfare/v1/policies/secretive", rights)
        .await;
    let policy = hub
        .done("GET", "/fanfare/v1/policies/secretive", Value::Null)
        .await;
    assert_eq!(policy["primaryKey"], OF_POLICY);
    let swap = json!({"key": "swap"});
    hub.done("POST", "/fanfare/v1/policies/secretive/rotate", swap)
        .await;
    let list = hub.done("GET", "/fanfare/v1/policies", Value::Null).await;
    secrets.check("the list of policies", list.to_string().as_bytes());

    // What is refused does not come back.
    for (path, body) in [
        ("/devices/wrong", device("wrong", NO_KEY, FIRST)),
        (
            "/devices/keeper",
            json!({"deviceId": "keeper", "authentication": NO_KEY}),
        ),
        (
            "/fanfare/v1/policies/wrong",
            json!({"rights": ["Everything"], "primaryKey": OF_POLICY}),
        ),
        (
            "/fanfare/v1/policies/wrong",
            json!({"rights": ["ServiceConnect"], "primaryKey": NO_KEY}),
        ),
    ] {
        let refused = hub.ask("PUT", path, body).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
        secrets.check(path, &refused.body);
    }
    let wrong_key = device_token("keeper", OF_POLICY);
    secrets.add_token("a token of another key", &wrong_key);
    let bearer = format!("Bearer {STRANGE}");
    for value in [
        &*wrong_key,
        &bearer,
        FIRST,
        &wrong_key[..wrong_key.len() - 20],
    ] {
        let refused = with_authorization(&hub, value).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        secrets.check("a refusal", &refused.body);
    }
    let own = device_token("keeper", FIRST);
    secrets.add_token("a device's token", &own);
    assert_eq!(mqtt_sign_in(&hub, "keeper", &own).await, 0);
    assert_eq!(mqtt_sign_in(&hub, "keeper", &wrong_key).await, 5);
    assert_eq!(mqtt_sign_in(&hub, "keeper", FIRST).await, 5);
    assert_eq!(mqtt_sign_in(&hub, "nobody", &own).await, 5);

    for path in ["/fanfare/v1/metrics", "/fanfare/v1/openapi.json"] {
        let page = hub.ask("GET", path, Value::Null).await;
        assert!(page.status.is_success(), "{path}: {page:?}");
        secrets.check(path, &page.body);
    }
    let folder = hub.stop().await;
    check_folder(&secrets, &folder.path().join("data"));
    let text = log.text();
    assert!(
        text.contains("TRACE") && text.contains("keeper"),
        "the log is there"
    );
    secrets.check("the log", text.as_bytes());
}
