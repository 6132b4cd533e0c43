//! Configurations: kept, changed, tried out, applied by hand.

use fanfare_client::{Configuration, ConfigurationContent, Device, Etag};
use serde_json::json;

use super::{ADDRESS, assert_refused};
use crate::rig::Rig;

#[tokio::test]
async fn a_configuration_is_created_shown_and_changed() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let content = ConfigurationContent::device("properties.desired.lock", json!({"on": true}));
    let mut lock = Configuration::new("lock-all", content)
        .target("tags.building = '43'")
        .priority(7)
        .label("owner", "facility")
        .metric(
            "locked",
            "SELECT deviceId FROM devices WHERE properties.reported.lock = true",
        );
    lock.other
        .insert("ticket".to_owned(), json!([1, {"a": null}]));

    let created = registry.create_configuration(&lock).await.unwrap();
    assert_eq!(
        (created.priority, &*created.target_condition),
        (7, "tags.building = '43'")
    );
    assert_eq!(created.content, lock.content);
    assert_eq!(created.other, lock.other);
    let again = registry.create_configuration(&lock).await;
    assert_refused(again, 409, "ConfigurationAlreadyExists");
    let wrong = lock.clone().target("tags.building =");
    let wrong = Configuration {
        id: "wrong".to_owned(),
        ..wrong
    };
    let refused = registry.create_configuration(&wrong).await;
    assert_refused(refused, 400, "InvalidConfigurationTargetCondition");

    // What was read goes back whole: counts and times are the hub's and stay at home.
    let read = registry.get_configuration("lock-all").await.unwrap();
    assert!(read.system_metrics.is_some() && read.created_time.is_some());
    let changed = read.clone().priority(8);
    let changed = registry
        .update_configuration(&changed, read.etag.clone())
        .await
        .unwrap();
    assert_eq!((changed.priority, &changed.other), (8, &lock.other));
    let late = registry
        .update_configuration(&changed, read.etag.clone())
        .await;
    assert_refused(late, 412, "PreconditionFailed");
    let any = registry
        .update_configuration(&changed.clone().priority(9), None)
        .await
        .unwrap();
    assert_eq!(any.priority, 9);
    let absent = Configuration::new("absent", ConfigurationContent::default());
    let absent = registry.update_configuration(&absent, None).await;
    assert_refused(absent, 404, "ConfigurationNotFound");

    rig.stop().await;
}

#[tokio::test]
async fn configurations_are_listed_and_deleted() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    for id in ["lock-all", "a-first"] {
        let empty = Configuration::new(id, ConfigurationContent::default());
        registry.create_configuration(&empty).await.unwrap();
    }
    let read = registry.get_configuration("lock-all").await.unwrap();
    let any = registry.update_configuration(&read, None).await.unwrap();
    let listed = registry.list_configurations(None).await.unwrap();
    let ids: Vec<_> = listed
        .iter()
        .map(|configuration| &*configuration.id)
        .collect();
    assert_eq!(ids, ["a-first", "lock-all"]);
    assert_eq!(registry.list_configurations(1).await.unwrap().len(), 1);

    let stale = registry.delete_configuration("lock-all", read.etag).await;
    assert_refused(stale, 412, "PreconditionFailed");
    registry
        .delete_configuration("lock-all", any.etag)
        .await
        .unwrap();
    registry
        .delete_configuration("a-first", Etag::any())
        .await
        .unwrap();
    let gone = registry.delete_configuration("lock-all", None).await;
    assert_refused(gone, 404, "ConfigurationNotFound");
    let gone = registry.get_configuration("lock-all").await;
    assert_refused(gone, 404, "ConfigurationNotFound");
    rig.stop().await;
}

#[tokio::test]
async fn queries_are_tried_out_and_a_content_is_applied_by_hand() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let registry = hub.registry();
    let metric = ("m", "SELECT deviceId FROM devices WHERE tags.a = 1");
    let faults = registry
        .test_configuration_queries("tags.a = 1", &[metric])
        .await
        .unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    let metrics = [metric, ("broken", "SELECT FROM")];
    let faults = registry
        .test_configuration_queries("tags.a =", &metrics)
        .await
        .unwrap();
    assert!(!faults.is_empty() && !faults.target_condition_error.is_empty());
    let wrong: Vec<_> = faults.custom_metric_query_errors.keys().collect();
    assert_eq!(wrong, ["broken"]);

    registry.create_device(&Device::new("d")).await.unwrap();
    let content = ConfigurationContent::device("properties.desired.lock", json!({"on": true}));
    registry
        .apply_configuration_content("d", &content)
        .await
        .unwrap();
    let twin = hub.twins().get("d").await.unwrap();
    assert_eq!(twin.properties.desired["lock"], json!({"on": true}));
    let nobody = registry.apply_configuration_content("x", &content).await;
    assert_refused(nobody, 404, "DeviceNotFound");
    let nothing = ConfigurationContent::device("tags.a", 1);
    let refused = registry.apply_configuration_content("d", &nothing).await;
    assert_refused(refused, 400, "ArgumentInvalid");
    rig.stop().await;
}
