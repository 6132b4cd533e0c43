//! Every kind of credential that somebody may come with, made on a running hub.

use fanfare_wire::sas::{SasGrant, sign};
use serde_json::{Value, json};

use super::tokens::{self, Issuer};
use crate::harness::{ADDRESS, Hub};

/// What somebody comes with, and what it should open.
pub(super) struct Credential {
    /// For the message of a failed cell.
    pub(super) name: String,
    /// The `Authorization` header, if there is one.
    pub(super) authorization: Option<String>,
    /// What it proves.
    pub(super) proves: Proves,
}

/// What a credential proves.
#[derive(Clone, Copy)]
pub(super) enum Proves {
    /// Nothing at all.
    Nothing,
    /// These rights, the implied ones written out.
    Rights(&'static [&'static str]),
    /// These rights, but only below this path.
    RightsBelow(&'static str, &'static [&'static str]),
    /// The roles of these letters.
    Roles(&'static str),
}

/// A moment that tokens of these tests outlive.
const FAR: i64 = 4_000_000_000;
/// A key that nobody has.
const STRANGE_KEY: &str = "c3RyYW5nZXJzIGtleSwgMTYr";

const READ: &[&str] = &["RegistryRead"];
const WRITE: &[&str] = &["RegistryRead", "RegistryWrite"];
const SERVICE: &[&str] = &["ServiceConnect"];
const DEVICE: &[&str] = &["DeviceConnect"];
const OWNER: &[&str] = &[
    "RegistryRead",
    "RegistryWrite",
    "ServiceConnect",
    "DeviceConnect",
];

/// Policies that are made for the test, with what they are given and what that proves.
const MADE: [(&str, &[&str], &[&str]); 6] = [
    ("only-read", &["RegistryRead"], READ),
    ("only-write", &["RegistryWrite"], WRITE),
    ("only-service", &["ServiceConnect"], SERVICE),
    ("only-device", &["DeviceConnect"], DEVICE),
    (
        "all-but-device",
        &["RegistryWrite", "ServiceConnect"],
        &["RegistryRead", "RegistryWrite", "ServiceConnect"],
    ),
    (
        "all-but-write",
        &["RegistryRead", "ServiceConnect", "DeviceConnect"],
        &["RegistryRead", "ServiceConnect", "DeviceConnect"],
    ),
];

fn token(resource: &str, key: &str, policy: Option<&str>, expiry: i64) -> String {
    let grant = SasGrant {
        resource,
        key,
        policy,
        expiry,
    };
    sign(&grant).unwrap()
}

pub(super) fn nothing(name: &str, authorization: &str) -> Credential {
    Credential {
        name: name.to_owned(),
        authorization: Some(authorization.to_owned()),
        proves: Proves::Nothing,
    }
}

/// All of them.
pub(super) async fn all(hub: &Hub, issuer: &Issuer) -> Vec<Credential> {
    let mut all = vec![Credential {
        name: "nothing at all".to_owned(),
        authorization: None,
        proves: Proves::Nothing,
    }];
    all.extend(malformed());
    all.extend(policies(hub).await);
    all.extend(spoiled(hub));
    all.extend(identities(hub).await);
    all.extend(revoked(hub).await);
    all.extend(tokens::all(issuer));
    all
}

fn malformed() -> Vec<Credential> {
    let jwt = "Bearer eyJhbGciOiJub25lIn0.eyJyb2xlcyI6WyJGYW5mYXJlIE93bmVyIl19.";
    vec![
        nothing("an empty header", ""),
        nothing("garbage", "let me in"),
        nothing("a password", "Basic aW90aHVib3duZXI6c2VjcmV0"),
        nothing("a bearer token that is none", "Bearer x"),
        nothing("a bearer token that nobody signed", jwt),
        nothing("a scheme without a token", "SharedAccessSignature "),
        nothing(
            "a signature of nothing",
            "SharedAccessSignature sr=x&sig=eA%3D%3D&se=1&skn=service",
        ),
    ]
}

/// Policies that hold, with both of their keys.
async fn policies(hub: &Hub) -> Vec<Credential> {
    for (name, rights, _) in MADE {
        let path = format!("/fanfare/v1/policies/{name}");
        hub.done("PUT", &path, json!({"rights": rights})).await;
    }
    let defaults = [
        ("iothubowner", OWNER),
        ("service", SERVICE),
        ("device", DEVICE),
        ("registryRead", READ),
        ("registryReadWrite", WRITE),
    ];
    let made = MADE.map(|(name, _, proves)| (name, proves));
    let mut all = Vec::new();
    for (name, proves) in defaults.into_iter().chain(made) {
        let policy = hub.node.policy(name).unwrap();
        for (place, key) in [("primary", policy.primary), ("secondary", policy.secondary)] {
            all.push(Credential {
                name: format!("policy {name} by its {place} key"),
                authorization: Some(token(ADDRESS, key.expose(), Some(name), FAR)),
                proves: Proves::Rights(proves),
            });
        }
    }
    all
}

/// Tokens of the owner's policy with one thing wrong, and one that is good for less.
fn spoiled(hub: &Hub) -> Vec<Credential> {
    let owner = hub.node.policy("iothubowner").unwrap();
    let key = owner.primary.expose();
    let name = Some("iothubowner");
    let good = token(ADDRESS, key, name, FAR);
    let below = format!("{ADDRESS}/devices");
    vec![
        nothing(
            "an expired token",
            &token(ADDRESS, key, name, 1_000_000_000),
        ),
        nothing("a wrong key", &token(ADDRESS, STRANGE_KEY, name, FAR)),
        nothing(
            "another policy's key",
            &token(ADDRESS, key, Some("service"), FAR),
        ),
        nothing(
            "a policy that is not there",
            &token(ADDRESS, key, Some("nobody"), FAR),
        ),
        nothing(
            "a policy's name in other letters",
            &token(ADDRESS, key, Some("IotHubOwner"), FAR),
        ),
        nothing("a token without a policy", &token(ADDRESS, key, None, FAR)),
        nothing(
            "a token for another host",
            &token("hub.elsewhere.test", key, name, FAR),
        ),
        nothing(
            "a token for another path",
            &token(&format!("{ADDRESS}/nowhere"), key, name, FAR),
        ),
        nothing(
            "a changed expiry",
            &good.replace("se=4000000000", "se=4000000001"),
        ),
        nothing(
            "a changed policy",
            &good.replace("skn=iothubowner", "skn=service"),
        ),
        nothing(
            "an expiry that is no number",
            &good.replace("se=4000000000", "se=never"),
        ),
        nothing("a token twice over", &format!("{good}&skn=iothubowner")),
        Credential {
            name: "the owner's token for /devices alone".to_owned(),
            authorization: Some(token(&below, key, name, FAR)),
            proves: Proves::RightsBelow("/devices", OWNER),
        },
    ]
}

/// Keys of devices and modules open nothing here, however they are dressed up.
async fn identities(hub: &Hub) -> Vec<Credential> {
    let key = |document: Value| {
        let key = &document["authentication"]["symmetricKey"]["primaryKey"];
        key.as_str().unwrap().to_owned()
    };
    let enabled = key(hub.done("PUT", "/devices/keyed", json!({})).await);
    let disabled = json!({"status": "disabled"});
    let disabled = key(hub.done("PUT", "/devices/disabled", disabled).await);
    let module = key(hub
        .done("PUT", "/devices/keyed/modules/lock", json!({}))
        .await);
    let of = |path: &str| format!("{ADDRESS}/devices/{path}");
    let device = Some("device");
    vec![
        nothing("a device's key", &token(&of("keyed"), &enabled, None, FAR)),
        nothing(
            "a device's key for the whole hub",
            &token(ADDRESS, &enabled, None, FAR),
        ),
        nothing(
            "a device's key as a policy's",
            &token(ADDRESS, &enabled, device, FAR),
        ),
        nothing(
            "a module's key",
            &token(&of("keyed/modules/lock"), &module, None, FAR),
        ),
        nothing(
            "a disabled device's key",
            &token(&of("disabled"), &disabled, None, FAR),
        ),
    ]
}

/// What was good once.
async fn revoked(hub: &Hub) -> Vec<Credential> {
    let all = json!({"rights": OWNER});
    let mut revoked = Vec::new();
    for name in ["deleted", "rotated", "replaced"] {
        let path = format!("/fanfare/v1/policies/{name}");
        hub.done("PUT", &path, all.clone()).await;
        let policy = hub.node.policy(name).unwrap();
        let of = |key: &str| token(ADDRESS, key, Some(name), FAR);
        match name {
            "deleted" => {
                hub.done("DELETE", &path, Value::Null).await;
                let token = of(policy.primary.expose());
                revoked.push(nothing("a deleted policy's key", &token));
            }
            "rotated" => {
                let rotate = format!("{path}/rotate");
                hub.done("POST", &rotate, json!({"key": "primary"})).await;
                let token = of(policy.primary.expose());
                revoked.push(nothing("a key that was rotated away", &token));
                revoked.push(Credential {
                    name: "the key that a rotation left alone".to_owned(),
                    authorization: Some(of(policy.secondary.expose())),
                    proves: Proves::Rights(OWNER),
                });
            }
            _ => {
                let lowered = json!({"rights": ["DeviceConnect"], "primaryKey": STRANGE_KEY});
                hub.done("PUT", &path, lowered).await;
                let token = of(policy.primary.expose());
                revoked.push(nothing("a key that was replaced", &token));
                revoked.push(Credential {
                    name: "a policy that lost its rights".to_owned(),
                    authorization: Some(of(policy.secondary.expose())),
                    proves: Proves::Rights(DEVICE),
                });
            }
        }
    }
    revoked
}
