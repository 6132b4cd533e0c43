//! Whom the gateway lets in: every kind of credential for every kind of identity, and who is cut when a key goes.

use fanfare_hub::{
    access::{KeyPlace, PolicyRequest, Rights},
    registry::{Precondition, Status, SymmetricKey},
};
use fanfare_server::auth::LocalAuth;
use rmqtt_codec::v3::Connect;

use crate::rig::{
    Client, HOST, KEY, METHODS, MODULE_KEY, OTHER_KEY, Rig, START_SECONDS, connect, token_of,
};

const IN: u8 = 0;
const OUT: u8 = 5;
/// A key that nobody has.
const STRANGE_KEY: &str = "c3RyYW5nZXJzIGtleSwgMTYr";
/// The key of policies made here.
const MADE_KEY: &str = "cG9saWN5IG1hZGUgaGVyZQ==";

/// When tokens ended that are no good any more.
const LONG_AGO: i64 = START_SECONDS - 3_600;

/// The identities of the columns below: a device, a module of it, a disabled device, a module of that.
const IDENTITIES: [&str; 4] = ["door-1", "door-1/lock", "off", "off/lock"];

fn resource(name: &str) -> String {
    match name.split_once('/') {
        Some((device, module)) => format!("{HOST}/devices/{device}/modules/{module}"),
        None => format!("{HOST}/devices/{name}"),
    }
}

/// CONNECT with this for a password.
fn showing(name: &str, password: &str) -> Connect {
    Connect {
        password: Some(password.to_owned().into()),
        ..connect(name)
    }
}

fn by_policy(policy: &str, key: &str) -> String {
    token_of(HOST, key, Some(policy), START_SECONDS + 3_600)
}

async fn with_identities(rig: &Rig) {
    rig.put("off", Precondition::Absent, Status::Disabled, KEY)
        .await;
    for module in ["door-1/lock", "off/lock"] {
        rig.put(module, Precondition::Absent, Status::Enabled, MODULE_KEY)
            .await;
    }
}

async fn put(rig: &Rig, name: &str, rights: Rights) {
    let request = PolicyRequest {
        rights,
        primary: Some(SymmetricKey::new(MADE_KEY)),
        secondary: Some(SymmetricKey::new(OTHER_KEY)),
    };
    let put = rig.hub.policies.put(name, request, Precondition::Any).await;
    put.expect("a policy within its limits");
}

/// Still there: it is answered.
async fn is_served(client: &mut Client) {
    assert_eq!(client.subscribe(&[METHODS]).await.len(), 1);
}

/// What is shown for an identity, and the answers for the four of them.
type Case = (&'static str, Box<dyn Fn(&str) -> String>, [u8; 4]);

fn by_keys() -> Vec<Case> {
    let soon = START_SECONDS + 3_600;
    let own_key = |name: &str| match name.contains('/') {
        true => MODULE_KEY,
        false => KEY,
    };
    let own = move |name: &str, expiry| token_of(&resource(name), own_key(name), None, expiry);
    vec![
        ("no password", Box::new(|_| String::new()), [OUT; 4]),
        ("garbage", Box::new(|_| "let me in".to_owned()), [OUT; 4]),
        (
            "a bearer token",
            Box::new(|_| "Bearer e30.e30.".to_owned()),
            [OUT; 4],
        ),
        (
            "its own key",
            Box::new(move |name| own(name, soon)),
            [IN, IN, OUT, OUT],
        ),
        (
            "its own key, expired",
            Box::new(move |name| own(name, LONG_AGO)),
            [OUT; 4],
        ),
        (
            "its second key",
            Box::new(move |name| token_of(&resource(name), OTHER_KEY, None, soon)),
            [IN, IN, OUT, OUT],
        ),
        (
            "a wrong key",
            Box::new(move |name| token_of(&resource(name), STRANGE_KEY, None, soon)),
            [OUT; 4],
        ),
        (
            "the key of the device, for all below it",
            Box::new(move |name| {
                let device = name.split('/').next().unwrap_or_default();
                token_of(&resource(device), KEY, None, soon)
            }),
            [IN, OUT, OUT, OUT],
        ),
        (
            "its own key for another device",
            Box::new(move |name| token_of(&resource("door-2"), own_key(name), None, soon)),
            [OUT; 4],
        ),
        (
            "its own key for another host",
            Box::new(move |name| {
                let resource = resource(name).replace(HOST, "hub.elsewhere.test");
                token_of(&resource, own_key(name), None, soon)
            }),
            [OUT; 4],
        ),
        (
            "its own key as a policy's",
            Box::new(move |name| token_of(&resource(name), STRANGE_KEY, Some("device"), soon)),
            [OUT; 4],
        ),
    ]
}

fn by_policies() -> Vec<Case> {
    let soon = START_SECONDS + 3_600;
    vec![
        (
            "iothubowner",
            Box::new(|_| by_policy("iothubowner", KEY)),
            [IN, IN, OUT, OUT],
        ),
        (
            "device",
            Box::new(|_| by_policy("device", KEY)),
            [IN, IN, OUT, OUT],
        ),
        (
            "device, second key",
            Box::new(|_| by_policy("device", OTHER_KEY)),
            [IN, IN, OUT, OUT],
        ),
        (
            "device, for this one alone",
            Box::new(move |name| token_of(&resource(name), KEY, Some("device"), soon)),
            [IN, IN, OUT, OUT],
        ),
        (
            "device, for another one",
            Box::new(move |_| token_of(&resource("door-2"), KEY, Some("device"), soon)),
            [OUT; 4],
        ),
        (
            "device, expired",
            Box::new(move |_| token_of(HOST, KEY, Some("device"), LONG_AGO)),
            [OUT; 4],
        ),
        (
            "device, wrong key",
            Box::new(|_| by_policy("device", STRANGE_KEY)),
            [OUT; 4],
        ),
        ("service", Box::new(|_| by_policy("service", KEY)), [OUT; 4]),
        (
            "registryRead",
            Box::new(|_| by_policy("registryRead", KEY)),
            [OUT; 4],
        ),
        (
            "registryReadWrite",
            Box::new(|_| by_policy("registryReadWrite", KEY)),
            [OUT; 4],
        ),
        (
            "RegistryRead alone",
            Box::new(|_| by_policy("only-read", MADE_KEY)),
            [OUT; 4],
        ),
        (
            "RegistryWrite alone",
            Box::new(|_| by_policy("only-write", MADE_KEY)),
            [OUT; 4],
        ),
        (
            "ServiceConnect alone",
            Box::new(|_| by_policy("only-service", MADE_KEY)),
            [OUT; 4],
        ),
        (
            "DeviceConnect alone",
            Box::new(|_| by_policy("only-device", MADE_KEY)),
            [IN, IN, OUT, OUT],
        ),
        (
            "a deleted policy",
            Box::new(|_| by_policy("deleted", MADE_KEY)),
            [OUT; 4],
        ),
        (
            "a key rotated away",
            Box::new(|_| by_policy("rotated", MADE_KEY)),
            [OUT; 4],
        ),
        (
            "the key a rotation left alone",
            Box::new(|_| by_policy("rotated", OTHER_KEY)),
            [IN, IN, OUT, OUT],
        ),
        (
            "a policy that is not there",
            Box::new(|_| by_policy("nobody", KEY)),
            [OUT; 4],
        ),
    ]
}

#[tokio::test]
async fn every_credential_lets_in_whom_the_table_says() {
    let (rig, _folder) = Rig::new().await;
    with_identities(&rig).await;
    for (name, rights) in [
        ("only-read", Rights::REGISTRY_READ),
        ("only-write", Rights::REGISTRY_WRITE),
        ("only-service", Rights::SERVICE_CONNECT),
        ("only-device", Rights::DEVICE_CONNECT),
        ("deleted", Rights::OWNER),
        ("rotated", Rights::OWNER),
    ] {
        put(&rig, name, rights).await;
    }
    let policies = &rig.hub.policies;
    policies
        .delete("deleted", Precondition::Exists)
        .await
        .unwrap();
    let rotated = policies
        .rotate("rotated", KeyPlace::Primary, Precondition::Exists)
        .await;
    rotated.unwrap();
    for (what, shown, answers) in by_keys().into_iter().chain(by_policies()) {
        for (name, answer) in IDENTITIES.into_iter().zip(answers) {
            let (mut client, connack) = rig.knock(showing(name, &shown(name))).await;
            assert_eq!(
                u8::from(connack.return_code),
                answer,
                "{what}, shown for {name}"
            );
            if answer != IN {
                client.ends().await;
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_key_that_goes_cuts_whom_it_let_in_and_nobody_else() {
    let (rig, _folder) = Rig::new().await;
    rig.register("door-3").await;
    put(&rig, "gate", Rights::DEVICE_CONNECT).await;
    let enter = async |name: &str, policy: &str, key: &str| {
        let (mut client, connack) = rig.knock(showing(name, &by_policy(policy, key))).await;
        assert_eq!(u8::from(connack.return_code), IN);
        is_served(&mut client).await;
        client
    };
    let policies = &rig.hub.policies;
    let exists = Precondition::Exists;
    let mut first = enter("door-1", "gate", MADE_KEY).await;
    let mut second = enter("door-2", "gate", OTHER_KEY).await;
    let mut own = rig.connect("door-3", false).await;

    // A swap takes no key away.
    policies
        .rotate("gate", KeyPlace::Swap, exists)
        .await
        .unwrap();
    policies
        .rotate("gate", KeyPlace::Swap, exists)
        .await
        .unwrap();
    for client in [&mut first, &mut second, &mut own] {
        is_served(client).await;
    }
    policies
        .rotate("gate", KeyPlace::Primary, exists)
        .await
        .unwrap();
    first.ends().await;
    for client in [&mut second, &mut own] {
        is_served(client).await;
    }
    // Without its right the policy lets nobody in, and nobody stay.
    put(&rig, "gate", Rights::SERVICE_CONNECT).await;
    second.ends().await;
    let mut third = enter("door-1", "device", KEY).await;
    policies.delete("device", exists).await.unwrap();
    third.ends().await;
    is_served(&mut own).await;
    rig.stop().await;
}

#[tokio::test]
async fn devices_and_modules_may_be_kept_from_using_keys() {
    let on = LocalAuth::default();
    // A device and a module by their own keys, then both by a policy's.
    for (local, answers) in [
        (
            LocalAuth {
                devices: false,
                ..on
            },
            [OUT, IN, OUT, IN],
        ),
        (
            LocalAuth {
                modules: false,
                ..on
            },
            [IN, OUT, IN, OUT],
        ),
        (
            LocalAuth {
                policies: false,
                ..on
            },
            [IN, IN, OUT, OUT],
        ),
    ] {
        let (rig, _folder) = Rig::with_local(local).await;
        with_identities(&rig).await;
        let own = |name: &str| connect(name);
        let by_policy = |name: &str| showing(name, &by_policy("device", KEY));
        let shown = [
            own("door-1"),
            own("door-1/lock"),
            by_policy("door-1"),
            by_policy("door-1/lock"),
        ];
        for (at, (shown, answer)) in shown.into_iter().zip(answers).enumerate() {
            let (_, connack) = rig.knock(shown).await;
            assert_eq!(
                u8::from(connack.return_code),
                answer,
                "{local:?}, case {at}"
            );
        }
        rig.stop().await;
    }
}
