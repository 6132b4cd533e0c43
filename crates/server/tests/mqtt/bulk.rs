//! What connected devices and modules hear of changes that the registry makes many at a time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use fanfare_hub::{
    bulk::{BulkChange, BulkFailure},
    ids::Etag,
    registry::{
        AuthenticationRequest, IdentityError, IdentityRequest, Precondition, RegistryChange,
        RegistryError, Status, SymmetricKey,
    },
    twin::document::{Object, SectionPatch, TwinPatch},
};
use serde_json::{Value, json};

use crate::rig::{Client, DESIRED, KEY, MODULE_KEY, OTHER_KEY, Rig, id};

fn members(text: &str) -> SectionPatch {
    let members: Object = serde_json::from_str(text).unwrap();
    SectionPatch::Merge(members)
}

fn put(name: &str, precondition: Precondition, key: &str, desired: SectionPatch) -> BulkChange {
    let twin = TwinPatch::new(SectionPatch::Absent, desired).unwrap();
    let request = IdentityRequest {
        id: id(name),
        precondition,
        status: None,
        status_reason: None,
        authentication: AuthenticationRequest::Sas {
            primary: Some(SymmetricKey::new(key)),
            secondary: Some(SymmetricKey::new(OTHER_KEY)),
        },
        edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
        twin: Some(twin),
    };
    BulkChange::Registry(Box::new(RegistryChange::Put(Box::new(request))))
}

async fn hears(client: &mut Client, version: u64, patch: Value) {
    let (topic, body) = client.hear().await;
    let expected = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
    assert_eq!(topic, expected);
    let mut body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["$version"].take(), version);
    body.as_object_mut().unwrap().remove("$version");
    assert_eq!(body, patch);
}

/// compat: REG-49
#[tokio::test]
async fn a_change_of_the_registry_brings_its_desired_properties_at_once() {
    const LOCK: &str = "door-1/lock";
    let (rig, _folder) = Rig::new().await;
    rig.put(LOCK, Precondition::Absent, Status::Enabled, MODULE_KEY)
        .await;
    let mut device = rig.connect("door-1", false).await;
    let mut module = rig.connect(LOCK, false).await;
    let mut other = rig.connect("door-2", false).await;
    for client in [&mut device, &mut module, &mut other] {
        client.subscribe(&[DESIRED]).await;
    }

    let (key, any) = (KEY, Precondition::Any);
    let floor = |floor| members(&format!("{{\"floor\":{floor},\"old\":null}}"));
    let changes = vec![
        put("door-1", any, key, floor(3)),
        put(
            LOCK,
            Precondition::Exists,
            MODULE_KEY,
            members("{\"speed\":7}"),
        ),
        // Refused, so nobody hears of it.
        put(
            "door-2",
            Precondition::Matches(Etag(u64::MAX)),
            key,
            floor(9),
        ),
        put("door-2", any, key, SectionPatch::Absent),
        put("door-1", any, key, floor(4)),
        BulkChange::Twin {
            id: id("door-1"),
            patch: Box::new(TwinPatch::new(SectionPatch::Absent, floor(5)).unwrap()),
            matches: None,
        },
        put("door-1", any, key, SectionPatch::Clear),
        put("door-3", any, key, floor(1)),
    ];
    let mut outcomes = rig.hub.change_all(changes).await.unwrap();
    let refused = outcomes.remove(2);
    assert!(
        matches!(
            refused,
            Err(BulkFailure::Registry(RegistryError::Identity(
                IdentityError::EtagMismatch(_)
            )))
        ),
        "{refused:?}"
    );
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    for (version, floor) in [(2, 3), (3, 4), (4, 5)] {
        hears(&mut device, version, json!({"floor": floor, "old": null})).await;
    }
    hears(&mut device, 5, json!({"floor": null})).await;
    hears(&mut module, 2, json!({"speed": 7})).await;
    for client in [&mut device, &mut module, &mut other] {
        client.hears_nothing().await;
    }
    rig.stop().await;
}
