//! What a proof is worth to [`Access`], asked directly: for what no request can be made to show.

use fanfare_hub::{
    access::{Actor, Grants, Rights},
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, ModuleId, Space},
    presence::{Admission, KeyMark},
    registry::{Authentication, Identity, IdentitySettings, Status, SymmetricKey},
    time::Timestamp,
};
use fanfare_server::auth::{Access, DeviceProof, LocalAuth, Unauthorized};
use fanfare_wire::sas::{SasGrant, sign};

use crate::harness::Hub;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const OTHER: &str = "ZmVkY2JhOTg3NjU0MzIxMA==";
const NOW: Timestamp = Timestamp(1_900_000_000_000_000);
/// The end of the tokens made here, with the allowance for clocks.
const UNTIL: Timestamp = Timestamp(1_900_000_300_000_000);

fn access(hub: &Hub) -> Access {
    let policies = hub.node.hub().policies.clone();
    Access::new(vec!["hub.test".to_owned()], policies)
}

fn identity(module: Option<&str>, status: Status, authentication: Authentication) -> Identity {
    let device = IdentityId::device(DeviceId::parse("door-1").unwrap());
    Identity {
        id: IdentityId {
            module: module.map(|module| ModuleId::parse(module).unwrap()),
            ..device
        },
        key: IdentityKey {
            space: Space::Devices,
            ordinal: 1,
        },
        generation: Generation(1),
        etag: Etag(1),
        settings: IdentitySettings {
            status,
            status_reason: None,
            authentication,
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
        },
        status_updated: Timestamp::NEVER,
    }
}

fn with_keys() -> Authentication {
    Authentication::Sas {
        primary: SymmetricKey::new(KEY),
        secondary: SymmetricKey::new(OTHER),
    }
}

fn token(resource: &str, key: &str, policy: Option<&str>) -> String {
    sign(&SasGrant {
        resource,
        key,
        policy,
        expiry: 1_900_000_000,
    })
    .unwrap()
}

#[tokio::test]
async fn a_service_token_proves_the_rights_of_its_policy_until_it_ends() {
    let hub = Hub::start().await;
    let access = access(&hub);
    let policy = hub.node.policy("registryRead").unwrap();
    for key in [policy.primary.expose(), policy.secondary.expose()] {
        let token = token("HUB.test:8443", key, Some("registryRead"));
        let verify = async |now| {
            access
                .verify_service(&token, &["jobs", "v2", "j"], now)
                .await
        };
        let proven = verify(NOW).await.unwrap();
        assert_eq!(proven.actor, Actor::Policy("registryRead".into()));
        assert_eq!(proven.grants, Grants::Rights(Rights::REGISTRY_READ));
        assert_eq!(proven.until, UNTIL);
        assert!(verify(UNTIL).await.is_ok());
        let late = UNTIL + std::time::Duration::from_secs(1);
        assert_eq!(verify(late).await, Err(Unauthorized));
    }
    let narrow = token(
        "hub.test/jobs",
        policy.primary.expose(),
        Some("registryRead"),
    );
    assert!(
        access
            .verify_service(&narrow, &["jobs", "v2", "j"], NOW)
            .await
            .is_ok()
    );
    let other = access.verify_service(&narrow, &["devices"], NOW).await;
    assert_eq!(other, Err(Unauthorized));
    hub.stop().await;
}

#[tokio::test]
async fn a_device_signs_with_its_keys_or_a_policy_that_may_connect() {
    let hub = Hub::start().await;
    let access = access(&hub);
    let [policy, service] = ["device", "service"].map(|name| hub.node.policy(name).unwrap());
    let device = identity(None, Status::Enabled, with_keys());
    let verify = |token: &str| access.verify_device(&DeviceProof::Token(token), &device, NOW);
    let own = |key| Admission::OwnKey {
        key: KeyMark::of(key),
    };
    let by_policy = |key: &SymmetricKey| Admission::Policy {
        name: "device".into(),
        key: KeyMark::of(key.expose()),
    };
    for (resource, key, skn, admission) in [
        ("hub.test/devices/door-1", KEY, None, own(KEY)),
        ("hub.test/devices/door-1", OTHER, None, own(OTHER)),
        (
            "hub.test",
            policy.primary.expose(),
            Some("device"),
            by_policy(&policy.primary),
        ),
        (
            "hub.test/devices",
            policy.secondary.expose(),
            Some("device"),
            by_policy(&policy.secondary),
        ),
    ] {
        let admitted = verify(&token(resource, key, skn)).unwrap();
        assert_eq!(
            (admitted.until, admitted.admission),
            (UNTIL, admission),
            "{resource}"
        );
    }
    for refused in [
        token("hub.test/devices/door-2", KEY, None),
        token(
            "hub.test/devices/door-1",
            service.primary.expose(),
            Some("service"),
        ),
        token("hub.test/devices/door-1", KEY, Some("device")),
        token("hub.test/devices/door-1", KEY, Some("nobody")),
        token("hub.test/devices/door-1", policy.primary.expose(), None),
        "x".to_owned(),
    ] {
        assert_eq!(verify(&refused), Err(Unauthorized), "{refused}");
    }
    let nothing = access.verify_device(&DeviceProof::Nothing, &device, NOW);
    assert_eq!(nothing, Err(Unauthorized));
    hub.stop().await;
}

#[tokio::test]
async fn a_disabled_device_or_one_without_keys_stays_out() {
    let hub = Hub::start().await;
    let access = access(&hub);
    let policy = hub.node.policy("device").unwrap();
    let own = token("hub.test/devices/door-1", KEY, None);
    let by_policy = token("hub.test", policy.primary.expose(), Some("device"));
    let verify = |token: &str, identity: &Identity| {
        access
            .verify_device(&DeviceProof::Token(token), identity, NOW)
            .is_ok()
    };
    let disabled = identity(None, Status::Disabled, with_keys());
    assert!(!verify(&own, &disabled));
    assert!(!verify(&by_policy, &disabled));
    let keyless = identity(None, Status::Enabled, Authentication::None);
    assert!(!verify(&own, &keyless));
    assert!(verify(&by_policy, &keyless));
    hub.stop().await;
}

#[tokio::test]
async fn local_tokens_are_switched_off_one_kind_at_a_time() {
    let hub = Hub::start().await;
    let on = LocalAuth::default();
    let device = identity(None, Status::Enabled, with_keys());
    let module = identity(Some("lock"), Status::Enabled, with_keys());
    let policy = hub.node.policy("iothubowner").unwrap();
    let own_device = token("hub.test/devices/door-1", KEY, None);
    let own_module = token("hub.test/devices/door-1/modules/lock", KEY, None);
    let by_policy = token("hub.test", policy.primary.expose(), Some("iothubowner"));
    // The service API; a device and a module by their own keys; both by a policy's.
    for (local, expected) in [
        (on, [true, true, true, true, true]),
        (
            LocalAuth {
                policies: false,
                ..on
            },
            [false, true, true, false, false],
        ),
        (
            LocalAuth {
                devices: false,
                ..on
            },
            [true, false, true, false, true],
        ),
        (
            LocalAuth {
                modules: false,
                ..on
            },
            [true, true, false, true, false],
        ),
    ] {
        let access = access(&hub).with_local(local);
        let verify = |token: &str, identity: &Identity| {
            access
                .verify_device(&DeviceProof::Token(token), identity, NOW)
                .is_ok()
        };
        let seen = [
            access
                .verify_service(&by_policy, &["devices"], NOW)
                .await
                .is_ok(),
            verify(&own_device, &device),
            verify(&own_module, &module),
            verify(&by_policy, &device),
            verify(&by_policy, &module),
        ];
        assert_eq!(seen, expected, "{local:?}");
    }
    hub.stop().await;
}
