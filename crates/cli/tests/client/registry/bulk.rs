//! Bulk calls: every mode, what becomes of each item, and an end in the middle.

use fanfare_client::{
    BulkItem, BulkOutcome, Device, Etag, IdentityStatus, ImportMode, Module, RegistryClient,
};
use serde_json::{Value, json};

use super::ADDRESS;
use crate::rig::Rig;

/// A device with keys of the hub's making, done with `mode`.
fn of(id: &str, mode: ImportMode) -> BulkItem {
    BulkItem::from(Device::new(id)).mode(mode)
}

/// Places and codes of what was refused.
fn refusals(outcome: &BulkOutcome) -> Vec<(Option<usize>, &str)> {
    let refused = outcome.refused.iter();
    refused.map(|item| (item.index, &*item.code)).collect()
}

#[tokio::test]
async fn modes_refuse_what_is_or_is_not_there_item_by_item() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let registry = hub.registry();
    registry.create_device(&Device::new("there")).await.unwrap();
    let outcome = registry
        .bulk(&[
            of("new-1", ImportMode::Create)
                .tags(json!({"ring": 1}))
                .desired(json!({"on": true})),
            of("there", ImportMode::Create),
            of("new-2", ImportMode::CreateOrUpdate),
            of("absent", ImportMode::Update),
            BulkItem::delete("absent-too", None),
            BulkItem::from(Module::new("new-1", "m")),
        ])
        .await
        .unwrap();
    let want = [
        (Some(1), "DeviceAlreadyExists"),
        (Some(3), "DeviceNotFound"),
        (Some(4), "DeviceNotFound"),
    ];
    assert_eq!(refusals(&outcome), want);
    assert_eq!((outcome.items, outcome.done()), (6, 3));
    assert!(!outcome.refused[0].text.is_empty());
    assert_eq!(outcome.refused[2].operation.as_deref(), Some("delete"));
    let twin = hub.twins().get("new-1").await.unwrap();
    assert_eq!(twin.tags, json!({"ring": 1}));
    assert_eq!(twin.properties.desired["on"], true);
    registry.get_module("new-1", "m").await.unwrap();

    rig.stop().await;
}

#[tokio::test]
async fn modes_that_compare_versions_refuse_others() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let registry = hub.registry();
    let devices = ["there", "new-1", "new-2"].map(Device::new);
    assert!(
        registry
            .create_devices(&devices)
            .await
            .unwrap()
            .is_all_done()
    );
    registry
        .create_module(&Module::new("new-1", "m"))
        .await
        .unwrap();
    let etag = registry.get_device("there").await.unwrap().etag;
    let twin = hub.twins().get("new-1").await.unwrap();
    let with = |item: BulkItem, etag: &Etag| BulkItem {
        etag: Some(etag.clone()),
        ..item
    };
    let stale = Etag::new("MA==");

    let outcome = registry
        .bulk(&[
            with(of("there", ImportMode::UpdateIfMatchETag), &stale),
            with(of("new-2", ImportMode::CreateOrUpdateIfMatchETag), &stale),
            BulkItem::delete("new-1", stale.clone()),
            BulkItem::twin(("new-1", "m"), stale.clone()).tags(json!({"ring": 9})),
            of("new-3", ImportMode::CreateOrUpdateIfMatchETag),
        ])
        .await
        .unwrap();
    let lost = "PreconditionFailed";
    let want = [
        (Some(0), lost),
        (Some(1), lost),
        (Some(2), lost),
        (Some(3), lost),
    ];
    assert_eq!(refusals(&outcome), want);

    let outcome = registry
        .bulk(&[
            with(of("there", ImportMode::UpdateIfMatchETag), &etag).tags(json!({"ring": 2})),
            BulkItem::twin("new-1", twin.etag).tags(json!({"floor": 3})),
            BulkItem::twin("new-2", None).desired(json!({"on": false})),
            BulkItem::delete("new-3", None),
        ])
        .await
        .unwrap();
    assert!(outcome.is_all_done(), "{:?}", outcome.refused);
    let tags = async |id: &str| hub.twins().get(id).await.unwrap().tags;
    assert_eq!(tags("there").await, json!({"ring": 2}));
    assert_eq!(tags("new-1").await, json!({"floor": 3}));
    assert_eq!(
        registry
            .device_statistics()
            .await
            .unwrap()
            .total_device_count,
        3
    );
    rig.stop().await;
}

#[tokio::test]
async fn devices_are_created_changed_and_deleted_by_the_hundred() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let devices: Vec<_> = (0..250)
        .map(|number| Device::new(format!("d-{number}")))
        .collect();
    registry.create_device(&devices[220]).await.unwrap();

    let outcome = registry.create_devices(&devices).await.unwrap();
    assert_eq!(refusals(&outcome), [(Some(220), "DeviceAlreadyExists")]);
    assert_eq!((outcome.items, outcome.done()), (250, 249));
    assert_eq!(outcome.refused[0].id.to_string(), "d-220");

    let read = [get(&registry, 0).await, get(&registry, 1).await];
    let disabled = read
        .clone()
        .map(|device| device.status(IdentityStatus::Disabled, "night"));
    assert!(
        registry
            .update_devices(&disabled[..1])
            .await
            .unwrap()
            .is_all_done()
    );
    // Its etag is no longer the one that was read; without any etag nothing is the same.
    let outcome = registry
        .update_devices_if_unchanged(&disabled)
        .await
        .unwrap();
    assert_eq!(refusals(&outcome), [(Some(0), "PreconditionFailed")]);
    let outcome = registry
        .update_devices_if_unchanged(&devices[2..3])
        .await
        .unwrap();
    assert_eq!(refusals(&outcome), [(Some(0), "PreconditionFailed")]);
    assert_eq!(get(&registry, 1).await.status, IdentityStatus::Disabled);

    let outcome = registry.delete_devices_if_unchanged(&read).await.unwrap();
    assert_eq!(refusals(&outcome).len(), 2);
    let fresh = [get(&registry, 0).await, get(&registry, 1).await];
    assert!(
        registry
            .delete_devices_if_unchanged(&fresh)
            .await
            .unwrap()
            .is_all_done()
    );
    let ids: Vec<_> = devices.iter().map(|device| &device.device_id).collect();
    let outcome = registry.delete_devices(&ids).await.unwrap();
    let gone = "DeviceNotFound";
    assert_eq!(refusals(&outcome), [(Some(0), gone), (Some(1), gone)]);
    assert_eq!(
        registry
            .device_statistics()
            .await
            .unwrap()
            .total_device_count,
        0
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_fails_in_the_middle_tells_what_is_left() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let mut items: Vec<_> = (0..250)
        .map(|number| BulkItem::from(Device::new(format!("d-{number}"))).mode(ImportMode::Create))
        .collect();
    // Tags that are no object make the hub refuse the request that has them as a whole.
    items[150].tags = Some(Value::from("none"));
    items[3] = items[2].clone();

    let interrupted = registry.bulk(&items).await.unwrap_err();
    let twice = "DeviceDefinedMultipleTimes";
    assert_eq!(
        refusals(&interrupted.outcome),
        [(Some(2), twice), (Some(3), twice)]
    );
    assert_eq!(
        (interrupted.outcome.items, interrupted.outcome.done()),
        (100, 98)
    );
    assert_eq!(
        (interrupted.unanswered.clone(), interrupted.unsent()),
        (100..200, 200..250)
    );
    assert!(!interrupted.source.may_have_been_done());
    assert_eq!(interrupted.source.code(), Some("ArgumentInvalid"));
    assert_eq!(
        registry
            .device_statistics()
            .await
            .unwrap()
            .total_device_count,
        98
    );

    // Whoever mends the item goes on where it ended.
    items[150].tags = None;
    let rest = registry
        .bulk(&items[interrupted.unanswered.start..])
        .await
        .unwrap();
    assert!(rest.is_all_done(), "{:?}", rest.refused);
    assert_eq!(
        registry
            .device_statistics()
            .await
            .unwrap()
            .total_device_count,
        248
    );
    let nothing = registry.bulk(&[]).await.unwrap();
    assert_eq!(nothing, BulkOutcome::default());
    rig.stop().await;
}

async fn get(registry: &RegistryClient, number: usize) -> Device {
    registry.get_device(&format!("d-{number}")).await.unwrap()
}
