//! Configurations reach twins, keep them so, and give them up, whoever dies meanwhile.

use std::{collections::BTreeMap, time::Duration};

use fanfare_hub::{
    configurations::{
        Configuration, ConfigurationId, ConfigurationResults, ConfigurationSettings,
        ConfigurationStatus,
    },
    json::JsonText,
    limits,
    registry::Precondition,
    twin::document::{SectionPatch, TwinPatch},
};
use serde_json::{Value, json};

use crate::rig::{self, Disk, Kind, Rig, T0, device, names, second};

crate::on_both! {
    a_configuration_reaches_whoever_matches_now_and_later
    the_higher_priority_holds_until_it_goes
    whoever_stops_matching_gives_up_what_it_was_given
    a_restart_goes_on_and_nothing_is_written_twice
    nothing_moves_while_nothing_changes
    a_twin_changed_by_hand_stays_until_its_configurations_change
    metrics_count_rows
    jobs_and_configurations_go_where_another_is_applied
    a_condition_that_undoes_itself_rests
}

fn id(name: &str) -> ConfigurationId {
    ConfigurationId::parse(name).expect("tests use valid ids")
}

fn settings(content: &Value, condition: &str, priority: u32) -> ConfigurationSettings {
    let content = JsonText::parse(content.to_string().as_bytes()).expect("it is JSON");
    ConfigurationSettings {
        schema_version: None,
        labels: None,
        content: Some(content),
        condition: condition.to_owned(),
        priority,
        metrics: BTreeMap::new(),
        others: BTreeMap::new(),
    }
}

fn floor(floor: u32) -> Value {
    json!({"deviceContent": {"properties.desired.place": {"floor": floor}}})
}

const SITE: &str = "tags.site = 'b4'";

async fn put(rig: &Rig, name: &str, settings: ConfigurationSettings) -> Configuration {
    let put = rig
        .hub
        .configurations
        .put(id(name), settings, Precondition::Any);
    put.await.expect("nothing speaks against it")
}

async fn delete(rig: &Rig, name: &str) {
    let deleted = rig.hub.configurations.delete(id(name), None).await;
    deleted.expect("it is there");
}

async fn patch(rig: &Rig, name: &str, tags: Value, desired: Value) {
    let section = |value: Value| match value {
        Value::Object(members) => SectionPatch::Merge(members),
        _ => SectionPatch::Absent,
    };
    let patch = TwinPatch::new(section(tags), section(desired)).expect("it keeps the rules");
    let patched = rig.hub.twins.patch(&device(name), patch, None).await;
    patched.expect("nothing speaks against it");
}

async fn at_site(rig: &Rig, names: &[&str]) {
    rig.create(names).await;
    for name in names {
        patch(rig, name, json!({"site": "b4"}), Value::Null).await;
    }
}

async fn desired(rig: &Rig, name: &str) -> (Value, u64) {
    let view = rig.hub.twins.get(&device(name)).await;
    let desired = view
        .expect("the store works")
        .expect("it exists")
        .twin
        .document
        .desired;
    (Value::Object(desired.values), desired.version)
}

/// Waits for `found`, moving the clock from one look of the reconciler to the next.
async fn eventually(rig: &Rig, what: &str, mut found: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        for _ in 0..SETTLES {
            if found().await {
                return;
            }
            rig.settle_some(1).await;
        }
        rig.clock.advance(limits::CONFIGURATIONS_LOOK_EVERY);
    }
    panic!("waited in vain: {what}");
}

/// Looks of the reconciler after which a test has waited in vain: some more than lie between whole passes.
const LOOKS_MAX: usize = 60;
/// Turns of everything else between two of them: a store with threads does not wait for the clock.
const SETTLES: usize = 200;

async fn holds(rig: &Rig, name: &str, wanted: &Value) {
    let what = format!("{wanted} on {name}");
    eventually(rig, &what, async || desired(rig, name).await.0 == *wanted).await;
}

async fn counted(rig: &Rig, name: &str, wanted: impl Fn(&ConfigurationResults) -> bool) {
    eventually(rig, &format!("the counts of {name}"), async || {
        let found = rig.hub.configurations.get(&id(name)).await;
        let found = found.expect("the store works");
        found.is_some_and(|found| wanted(&found.results))
    })
    .await;
}

/// Lets the next whole pass come, and go.
async fn a_whole_pass(rig: &Rig) {
    for _ in 0..3 {
        rig.settle().await;
        rig.clock.advance(limits::CONFIGURATIONS_WHOLE_EVERY);
    }
    rig.settle().await;
}

async fn a_configuration_reaches_whoever_matches_now_and_later(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a", "b"]).await;
    rig.create(&["elsewhere"]).await;
    let link = rig.attach("a", false, Some(1));
    put(&rig, "cool", settings(&floor(3), SITE, 1)).await;
    let wanted = json!({"place": {"floor": 3}});
    holds(&rig, "a", &wanted).await;
    holds(&rig, "b", &wanted).await;
    eventually(&rig, "the notice", async || link.notices() == [(2, false)]).await;
    counted(&rig, "cool", |r| (r.targeted, r.applied) == (2, 2)).await;

    at_site(&rig, &["late"]).await;
    holds(&rig, "late", &wanted).await;
    assert_eq!(desired(&rig, "elsewhere").await, (json!({}), 1));
    let view = rig.hub.twins.get(&device("late")).await;
    let twin = view.expect("the store works").expect("it exists").twin;
    assert_eq!(
        twin.configurations,
        [(id("cool"), ConfigurationStatus::Applied)]
    );
}

async fn the_higher_priority_holds_until_it_goes(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a"]).await;
    put(&rig, "low", settings(&floor(1), SITE, 1)).await;
    holds(&rig, "a", &json!({"place": {"floor": 1}})).await;
    put(&rig, "high", settings(&floor(2), SITE, 2)).await;
    holds(&rig, "a", &json!({"place": {"floor": 2}})).await;
    counted(&rig, "low", |r| (r.targeted, r.applied) == (1, 0)).await;
    counted(&rig, "high", |r| (r.targeted, r.applied) == (1, 1)).await;
    let changed = json!({"deviceContent": {"properties.desired.other": true}});
    put(&rig, "high", settings(&changed, SITE, 2)).await;
    holds(&rig, "a", &json!({"place": {"floor": 1}, "other": true})).await;
    put(&rig, "high", settings(&changed, "", 2)).await;
    holds(&rig, "a", &json!({"place": {"floor": 1}})).await;
    delete(&rig, "low").await;
    delete(&rig, "high").await;
    holds(&rig, "a", &json!({})).await;
}

async fn whoever_stops_matching_gives_up_what_it_was_given(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a", "b"]).await;
    patch(&rig, "a", Value::Null, json!({"own": 1})).await;
    put(&rig, "cool", settings(&floor(3), SITE, 1)).await;
    holds(&rig, "a", &json!({"own": 1, "place": {"floor": 3}})).await;
    patch(&rig, "a", json!({"site": "moved"}), Value::Null).await;
    holds(&rig, "a", &json!({"own": 1})).await;
    assert_eq!(desired(&rig, "b").await.0, json!({"place": {"floor": 3}}));
}

async fn a_restart_goes_on_and_nothing_is_written_twice(disk: &Disk) {
    let fleet = names(2_500);
    let fleet: Vec<&str> = fleet.iter().map(String::as_str).collect();
    let rig = disk.start(T0);
    rig.create(&fleet).await;
    put(&rig, "cool", settings(&floor(3), "*", 1)).await;
    if disk.kind == Kind::Inline {
        // The first page is written, the second is lost with the process.
        rig.store.crash_after(1);
    }
    rig.settle_some(3).await;
    rig.crash().await;
    let rig = disk.start(second(60));
    rig.create(&fleet[2_499..]).await;
    counted(&rig, "cool", |r| (r.targeted, r.applied) == (2_500, 2_500)).await;
    for name in [fleet[0], fleet[999], fleet[1_000], fleet[2_499]] {
        assert_eq!(
            desired(&rig, name).await,
            (json!({"place": {"floor": 3}}), 2),
            "{name}"
        );
    }
}

async fn nothing_moves_while_nothing_changes(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a", "b"]).await;
    put(&rig, "cool", settings(&floor(3), SITE, 1)).await;
    counted(&rig, "cool", |r| r.applied == 2).await;
    let view = async |name| {
        let view = rig.hub.twins.get(&device(name)).await;
        let document = view
            .expect("the store works")
            .expect("it exists")
            .twin
            .document;
        (document.etag, document.version, document.desired)
    };
    let before = (view("a").await, view("b").await);
    let configuration = rig.hub.configurations.get(&id("cool")).await;
    a_whole_pass(&rig).await;
    assert_eq!((view("a").await, view("b").await), before);
    // Another label, another priority: what is written stays the same.
    let mut relabelled = settings(&floor(3), SITE, 1);
    relabelled.labels = Some(BTreeMap::from([("a".into(), "b".into())]));
    relabelled.priority = 7;
    let after = put(&rig, "cool", relabelled).await;
    assert_eq!(
        Some(after.content_version),
        configuration
            .expect("the store works")
            .map(|c| c.content_version)
    );
    a_whole_pass(&rig).await;
    assert_eq!((view("a").await, view("b").await), before);
}

async fn a_twin_changed_by_hand_stays_until_its_configurations_change(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a"]).await;
    put(&rig, "cool", settings(&floor(3), SITE, 1)).await;
    holds(&rig, "a", &json!({"place": {"floor": 3}})).await;
    patch(&rig, "a", Value::Null, json!({"place": {"floor": 9}})).await;
    a_whole_pass(&rig).await;
    assert_eq!(desired(&rig, "a").await.0, json!({"place": {"floor": 9}}));
    let other = json!({"deviceContent": {"properties.desired.place": {"floor": 3, "room": 1}}});
    put(&rig, "cool", settings(&other, SITE, 1)).await;
    holds(&rig, "a", &json!({"place": {"floor": 3, "room": 1}})).await;
}

async fn metrics_count_rows(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a", "b"]).await;
    rig.create(&["c"]).await;
    let mut counting = settings(&floor(3), SITE, 1);
    let applied = "SELECT deviceId FROM devices WHERE configurations.[[cool]].status = 'Applied'";
    counting.metrics = BTreeMap::from([
        ("all".to_owned(), "SELECT deviceId FROM devices".to_owned()),
        ("applied".to_owned(), applied.to_owned()),
        (
            "first".to_owned(),
            "SELECT TOP 1 deviceId FROM devices".to_owned(),
        ),
        (
            "modules".to_owned(),
            "SELECT moduleId FROM devices.modules".to_owned(),
        ),
    ]);
    put(&rig, "cool", counting).await;
    let wanted = [("all", 3), ("applied", 2), ("first", 1), ("modules", 0)];
    let wanted: BTreeMap<String, u64> = wanted
        .into_iter()
        .map(|(name, rows)| (name.to_owned(), rows))
        .collect();
    counted(&rig, "cool", |r| r.metrics == wanted).await;
}

async fn jobs_and_configurations_go_where_another_is_applied(disk: &Disk) {
    let rig = disk.start(T0);
    at_site(&rig, &["a", "b"]).await;
    rig.create(&["c"]).await;
    put(&rig, "cool", settings(&floor(3), SITE, 1)).await;
    counted(&rig, "cool", |r| r.applied == 2).await;
    let applied = "configurations.[[cool]].status = 'Applied'";
    rig.schedule("job", applied, rig::floor(7)).await;
    assert_eq!(rig.ended("job").await.counts(), (2, 0, 0));
    assert!(rig.rows("job").await.keys().eq(["a", "b"]));

    let more = json!({"deviceContent": {"properties.desired.other": true}});
    put(&rig, "after", settings(&more, applied, 1)).await;
    counted(&rig, "after", |r| (r.targeted, r.applied) == (2, 2)).await;
    let wanted = json!({"place": {"floor": 3}, "floor": 7, "other": true});
    assert_eq!(desired(&rig, "a").await.0, wanted);
    assert_eq!(desired(&rig, "c").await.0, json!({}));
}

async fn a_condition_that_undoes_itself_rests(disk: &Disk) {
    let rig = disk.start(T0);
    rig.create(&["a"]).await;
    // The pass of the start is over, so that the one of the change is the only one.
    rig.settle().await;
    let condition = "NOT IS_DEFINED(properties.desired.place)";
    put(&rig, "odd", settings(&floor(3), condition, 1)).await;
    holds(&rig, "a", &json!({"place": {"floor": 3}})).await;
    for _ in 0..5 {
        rig.clock.advance(Duration::from_secs(3));
        rig.settle().await;
    }
    assert_eq!(
        desired(&rig, "a").await.1,
        2,
        "its own write calls for no short pass"
    );
    rig.clock.advance(limits::CONFIGURATIONS_WHOLE_EVERY);
    holds(&rig, "a", &json!({})).await;
}
