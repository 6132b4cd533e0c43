//! Devices and modules one by one, their keys, their numbers.

use fanfare_cli::fleet::Behaviour;
use fanfare_client::{
    Authentication, AuthenticationType, Capabilities, ConnectionState, Device, Etag, IdentityId,
    IdentityStatus, KeyRenewal, Module,
};
use serde_json::json;

use super::{ADDRESS, assert_refused};
use crate::rig::Rig;

const PRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";
const KEY: &str = "cHJpbWFyeS1rZXktMDAwMQ==";
const OTHER_KEY: &str = "c2Vjb25kYXJ5LWtleS0wMg==";

#[tokio::test]
async fn a_device_is_created_shown_and_changed_for_one_version() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();

    let created = registry.create_device(&Device::new("a#1")).await.unwrap();
    assert_eq!(created.device_id, "a#1");
    assert_eq!(created.status, IdentityStatus::Enabled);
    assert_eq!(
        created.connection_state,
        Some(ConnectionState::Disconnected)
    );
    assert!(created.primary_key().is_some() && created.primary_key() != created.secondary_key());
    assert!(created.generation_id.is_some() && !created.etag.is_empty());
    assert_refused(
        registry.create_device(&Device::new("a#1")).await,
        409,
        "DeviceAlreadyExists",
    );
    assert_refused(
        registry.create_device(&Device::new("a/1")).await,
        400,
        "ArgumentInvalid",
    );

    // What was read goes back whole, for that version only.
    let stolen = created.clone().status(IdentityStatus::Disabled, "stolen");
    let changed = registry
        .update_device(&stolen, created.etag.clone())
        .await
        .unwrap();
    assert_eq!(changed.status, IdentityStatus::Disabled);
    assert_eq!(changed.status_reason.as_deref(), Some("stolen"));
    assert_eq!(changed.primary_key(), created.primary_key());
    assert_ne!(changed.etag, created.etag);
    assert_refused(
        registry.update_device(&stolen, created.etag.clone()).await,
        412,
        "PreconditionFailed",
    );
    assert_refused(
        registry.update_device(&stolen, Etag::default()).await,
        412,
        "PreconditionFailed",
    );
    assert_eq!(registry.get_device("a#1").await.unwrap().etag, changed.etag);

    rig.stop().await;
}

#[tokio::test]
async fn without_an_etag_any_version_is_changed_or_deleted() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let created = registry.create_device(&Device::new("a#1")).await.unwrap();

    let found = created.status(IdentityStatus::Enabled, "found");
    let changed = registry.update_device(&found, None).await.unwrap();
    assert_eq!(changed.status, IdentityStatus::Enabled);
    let absent = Device::new("b");
    assert_refused(
        registry.update_device(&absent, None).await,
        404,
        "DeviceNotFound",
    );
    assert_refused(registry.get_device("b").await, 404, "DeviceNotFound");

    let other = Etag::new("MA==");
    assert_refused(
        registry.delete_device("a#1", other).await,
        412,
        "PreconditionFailed",
    );
    registry.delete_device("a#1", changed.etag).await.unwrap();
    assert_refused(
        registry.delete_device("a#1", None).await,
        404,
        "DeviceNotFound",
    );
    rig.stop().await;
}

#[tokio::test]
async fn every_kind_of_credential_comes_back_as_it_was_sent() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let create = async |id: &str, authentication: Authentication| {
        let device = Device::new(id).authentication(authentication);
        let created = registry.create_device(&device).await.unwrap();
        assert_eq!(
            registry.get_device(id).await.unwrap().authentication,
            created.authentication
        );
        created.authentication.unwrap()
    };
    let keys = create("sas", Authentication::keys(KEY, OTHER_KEY)).await;
    assert_eq!(keys.symmetric_key.primary_key.unwrap().expose(), KEY);
    assert_eq!(
        keys.symmetric_key.secondary_key.unwrap().expose(),
        OTHER_KEY
    );
    let prints = create("print", Authentication::self_signed(PRINT, PRINT)).await;
    assert_eq!(prints.kind, AuthenticationType::SelfSigned);
    let shown = prints.x509_thumbprint.secondary_thumbprint.unwrap();
    assert!(shown.eq_ignore_ascii_case(PRINT), "{shown}");
    let authority = create("ca", Authentication::certificate_authority()).await;
    assert_eq!(authority.kind, AuthenticationType::CertificateAuthority);
    let none = create("none", Authentication::none()).await;
    assert_eq!(none.kind, AuthenticationType::None);

    let short = Device::new("short").authentication(Authentication::keys("c2hvcnQ=", OTHER_KEY));
    assert_refused(registry.create_device(&short).await, 400, "ArgumentInvalid");

    let gateway = Device::new("gateway").capabilities(Capabilities::edge());
    let gateway = registry.create_device(&gateway).await.unwrap();
    let scope = gateway.device_scope.expect("a gateway has a scope");
    let leaf = Device::new("leaf").device_scope(&*scope);
    let leaf = registry.create_device(&leaf).await.unwrap();
    assert!(gateway.capabilities.iot_edge && !leaf.capabilities.iot_edge);
    assert_eq!(leaf.parent_scopes, Some(vec![scope]));
    rig.stop().await;
}

#[tokio::test]
async fn a_module_is_created_changed_shown_and_deleted() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    registry.create_device(&Device::new("d")).await.unwrap();

    let created = registry
        .create_module(&Module::new("d", "m"))
        .await
        .unwrap();
    assert_eq!((&*created.device_id, &*created.module_id), ("d", "m"));
    assert!(created.primary_key().is_some());
    let again = registry.create_module(&Module::new("d", "m")).await;
    assert_refused(again, 409, "ModuleAlreadyExistsOnDevice");
    let nowhere = registry.create_module(&Module::new("x", "m")).await;
    assert_refused(nowhere, 404, "DeviceNotFound");

    let managed = created.clone().managed_by("facility");
    let changed = registry
        .update_module(&managed, created.etag.clone())
        .await
        .unwrap();
    assert_eq!(changed.managed_by.as_deref(), Some("facility"));
    let late = registry.update_module(&managed, created.etag.clone()).await;
    assert_refused(late, 412, "PreconditionFailed");
    let keys = managed.authentication(Authentication::keys(KEY, OTHER_KEY));
    let changed = registry.update_module(&keys, None).await.unwrap();
    assert_eq!(changed.primary_key().unwrap().expose(), KEY);
    let absent = registry.update_module(&Module::new("d", "n"), None).await;
    assert_refused(absent, 404, "ModuleNotFound");

    registry
        .create_module(&Module::new("d", "a"))
        .await
        .unwrap();
    let listed = registry.list_modules("d").await.unwrap();
    let ids: Vec<_> = listed.iter().map(|module| &*module.module_id).collect();
    assert_eq!(ids, ["m", "a"]);
    assert_refused(registry.list_modules("x").await, 404, "DeviceNotFound");
    assert_eq!(
        registry.get_module("d", "m").await.unwrap().etag,
        changed.etag
    );
    assert_refused(registry.get_module("d", "x").await, 404, "ModuleNotFound");

    let late = registry.delete_module("d", "m", created.etag).await;
    assert_refused(late, 412, "PreconditionFailed");
    registry
        .delete_module("d", "m", changed.etag)
        .await
        .unwrap();
    registry.delete_module("d", "a", None).await.unwrap();
    let gone = registry.delete_module("d", "a", None).await;
    assert_refused(gone, 404, "ModuleNotFound");
    rig.stop().await;
}

#[tokio::test]
async fn lists_numbers_and_queues_tell_who_is_there() {
    let rig = Rig::start(ADDRESS).await;
    let owner = rig.owner().await;
    let registry = owner.registry();
    let fleet = rig.devices("on", 2, json!({}), Behaviour::default()).await;
    let lost = Device::new("off").status(IdentityStatus::Disabled, "lost");
    registry.create_device(&lost).await.unwrap();

    let all = registry.list_devices(None).await.unwrap();
    let connected = |device: &&Device| device.connection_state == Some(ConnectionState::Connected);
    assert_eq!((all.len(), all.iter().filter(connected).count()), (3, 2));
    assert_eq!(registry.list_devices(1).await.unwrap().len(), 1);

    let devices = registry.device_statistics().await.unwrap();
    assert_eq!(devices.total_device_count, 3);
    assert_eq!(
        (devices.enabled_device_count, devices.disabled_device_count),
        (2, 1)
    );
    let service = registry.service_statistics().await.unwrap();
    assert_eq!(service.connected_device_count, 2);

    let purged = registry.purge_messages("on-0").await.unwrap();
    assert_eq!(
        (&*purged.device_id, purged.total_messages_purged),
        ("on-0", 0)
    );
    assert_refused(registry.purge_messages("x").await, 404, "DeviceNotFound");

    // A policy may less than another one: whoever reads writes nothing.
    let reader = rig.client("registryRead").await.registry();
    assert_eq!(reader.list_devices(None).await.unwrap().len(), 3);
    let created = reader.create_device(&Device::new("new")).await;
    assert_refused(created, 401, "IotHubUnauthorizedAccess");
    let interrupted = reader.delete_devices(&["on-0"]).await.unwrap_err();
    assert_eq!(interrupted.unanswered, 0..1);
    assert_refused::<()>(Err(interrupted.into()), 401, "IotHubUnauthorizedAccess");
    drop(fleet);
    rig.stop().await;
}

#[tokio::test]
async fn keys_are_renewed_by_the_hub() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    for number in 0..101 {
        let keys = Authentication::keys(KEY, OTHER_KEY);
        let device = Device::new(format!("d-{number}")).authentication(keys);
        registry.create_device(&device).await.unwrap();
    }
    let module = Module::new("d-0", "m").authentication(Authentication::keys(KEY, OTHER_KEY));
    registry.create_module(&module).await.unwrap();
    let bare = Device::new("bare").authentication(Authentication::none());
    registry.create_device(&bare).await.unwrap();

    // Two requests: the refused one is the last item, in the second.
    let mut ids: Vec<_> = (0..101)
        .map(|number| IdentityId::from(format!("d-{number}")))
        .collect();
    ids.push(("d-0", "m").into());
    ids.push("bare".into());
    let outcome = registry
        .regenerate_keys(&ids, KeyRenewal::Swap)
        .await
        .unwrap();
    assert_eq!((outcome.items, outcome.done()), (103, 102));
    assert_eq!(outcome.refusal_of(102).unwrap().code, "InvalidOperation");
    let swapped = registry.get_device("d-100").await.unwrap();
    assert_eq!(swapped.primary_key().unwrap().expose(), OTHER_KEY);
    assert_eq!(swapped.secondary_key().unwrap().expose(), KEY);
    let module = registry.get_module("d-0", "m").await.unwrap();
    assert_eq!(module.primary_key().unwrap().expose(), OTHER_KEY);

    let one = ["d-100".into(), ("d-0", "x").into()];
    let outcome = registry
        .regenerate_keys(&one, KeyRenewal::Primary)
        .await
        .unwrap();
    let refused = outcome.refusal_of(1).unwrap();
    assert_eq!(
        (&*refused.code, refused.number()),
        ("ModuleNotFound", Some(404_010))
    );
    let renewed = registry.get_device("d-100").await.unwrap();
    assert_ne!(renewed.primary_key(), swapped.primary_key());
    assert_eq!(renewed.secondary_key(), swapped.secondary_key());
    registry
        .regenerate_keys(&one[..1], KeyRenewal::Secondary)
        .await
        .unwrap();
    let again = registry.get_device("d-100").await.unwrap();
    assert_eq!(again.primary_key(), renewed.primary_key());
    assert_ne!(again.secondary_key(), renewed.secondary_key());
    rig.stop().await;
}
