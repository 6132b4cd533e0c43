//! Configurations: documents, what they write to twins, and who is marked as changed.

use std::{collections::BTreeMap, sync::Arc};

use fanfare_hub::{
    configurations::{
        Assignment, Configuration, ConfigurationId, ConfigurationResults, ConfigurationSettings,
        ConfigurationStatus, Content,
    },
    ids::{Etag, IdentityKey, Ordinal, Space, Term},
    json::JsonText,
    limits,
    ports::{
        configurations::{
            AssignmentItem, AssignmentsApplied, ConfigurationPut, ConfigurationRefused,
            ContentRefused,
        },
        store::{Store, StoreError},
    },
    registry::Precondition,
    twin::document::ReportedPatch,
};
use serde_json::{Value, json};

use super::{Scratch, at, create, delete, device, module, object, patch, put, write, written};

fn id(name: &str) -> ConfigurationId {
    ConfigurationId::parse(name).expect("tests use valid ids")
}

fn json_text(value: &Value) -> JsonText {
    JsonText::parse(value.to_string().as_bytes()).expect("it is JSON")
}

fn settings(content: Option<Value>, priority: u32) -> ConfigurationSettings {
    ConfigurationSettings {
        schema_version: Some("1.0".into()),
        labels: Some(BTreeMap::from([("made".into(), "here".into())])),
        content: content.as_ref().map(json_text),
        condition: "tags.site = 'b4'".into(),
        priority,
        metrics: BTreeMap::from([("all".into(), "SELECT deviceId FROM devices".into())]),
        others: BTreeMap::from([("note".into(), json_text(&json!([1])))]),
    }
}

async fn keep(
    store: &Arc<dyn Store>,
    name: &str,
    settings: ConfigurationSettings,
    precondition: Precondition,
) -> Result<Configuration, ConfigurationRefused> {
    let put = ConfigurationPut {
        id: id(name),
        settings,
        precondition,
    };
    store.configuration_put(put, at(1)).await.unwrap()
}

async fn kept(store: &Arc<dyn Store>, name: &str, content: Value, priority: u32) -> Configuration {
    let settings = settings(Some(content), priority);
    keep(store, name, settings, Precondition::Absent)
        .await
        .unwrap()
}

fn floor(floor: u32) -> Value {
    json!({"deviceContent": {"properties.desired.place": {"floor": floor}}})
}

/// What these configurations, highest precedence first, want of a device.
fn wanted(in_order: &[&Configuration]) -> Arc<Assignment> {
    let contents: Vec<_> = in_order
        .iter()
        .map(|c| Content::parse(c.settings.content.as_ref().unwrap()).unwrap())
        .collect();
    let all = in_order.iter().zip(&contents);
    Arc::new(Assignment::of(all.map(|(configuration, content)| {
        (
            configuration.number,
            configuration.content_version,
            &content.device,
        )
    })))
}

async fn assign(
    store: &Arc<dyn Store>,
    ordinals: &[Ordinal],
    wanted: &Arc<Assignment>,
) -> Result<AssignmentsApplied, StoreError> {
    let item = |ordinal: &Ordinal| AssignmentItem {
        ordinal: *ordinal,
        wanted: wanted.clone(),
    };
    let items = ordinals.iter().map(item).collect();
    let term = store.term();
    store
        .configuration_assign(term, Space::Devices, items, at(9))
        .await
}

async fn desired(store: &Arc<dyn Store>, name: &str) -> (Value, u64) {
    let twin = store.twin_get(&device(name)).await.unwrap().unwrap();
    let desired = twin.document.desired;
    (Value::Object(desired.values), desired.version)
}

async fn marked(store: &Arc<dyn Store>) -> Vec<IdentityKey> {
    let marks = store.configuration_dirty(100).await.unwrap();
    marks.into_iter().map(|(key, _)| key).collect()
}

pub(crate) async fn a_configuration_is_created_changed_and_removed(mut scratch: Scratch) {
    let store = scratch.store();
    let first = kept(&store, "b", floor(1), 1).await;
    assert_eq!((first.etag, first.content_version), (Etag(1), Etag(1)));
    assert_eq!((first.created, first.updated), (at(1), at(1)));
    let taken = keep(&store, "b", settings(None, 1), Precondition::Absent).await;
    assert_eq!(taken, Err(ConfigurationRefused::Exists));
    let nobody = keep(&store, "a", settings(None, 1), Precondition::Exists).await;
    assert_eq!(nobody, Err(ConfigurationRefused::Absent));
    let other = keep(
        &store,
        "b",
        settings(None, 1),
        Precondition::Matches(Etag(7)),
    )
    .await;
    assert_eq!(other, Err(ConfigurationRefused::EtagMismatch));

    let same = keep(
        &store,
        "b",
        settings(None, 2),
        Precondition::Matches(Etag(1)),
    )
    .await
    .unwrap();
    assert_eq!(
        (same.etag, same.content_version),
        (Etag(2), Etag(1)),
        "the content stays"
    );
    assert_eq!(same.settings.content, first.settings.content);
    let moved = keep(
        &store,
        "b",
        settings(Some(floor(2)), 2),
        Precondition::Exists,
    )
    .await
    .unwrap();
    assert_eq!((moved.etag, moved.content_version), (Etag(3), Etag(3)));
    let second = kept(&store, "a", floor(1), 1).await;
    assert!(second.number > first.number);
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let listed = store.configuration_list(10).await.unwrap();
    assert_eq!(listed, [second.clone(), moved]);
    let first = store.configuration_list(1).await.unwrap();
    assert_eq!(first, std::slice::from_ref(&second));

    let refused = store
        .configuration_delete(&id("a"), Some(Etag(9)))
        .await
        .unwrap();
    assert_eq!(refused, Err(ConfigurationRefused::EtagMismatch));
    assert_eq!(
        store
            .configuration_delete(&id("a"), Some(Etag(1)))
            .await
            .unwrap(),
        Ok(())
    );
    let again = store.configuration_delete(&id("a"), None).await.unwrap();
    assert_eq!(again, Err(ConfigurationRefused::Absent));
    assert_eq!(store.configuration_get(&id("a")).await.unwrap(), None);
    let anew = kept(&store, "a", floor(1), 1).await;
    assert!(anew.number > second.number, "numbers are never used again");
}

pub(crate) async fn there_are_a_hundred_configurations_at_most(scratch: Scratch) {
    let store = scratch.store();
    for number in 0..limits::CONFIGURATIONS_MAX {
        kept(&store, &format!("c{number}"), floor(1), 1).await;
    }
    let more = keep(&store, "more", settings(None, 1), Precondition::Absent).await;
    assert_eq!(more, Err(ConfigurationRefused::TooMany));
    assert!(
        keep(&store, "c7", settings(None, 2), Precondition::Exists)
            .await
            .is_ok()
    );
}

pub(crate) async fn results_move_no_etag(scratch: Scratch) {
    let store = scratch.store();
    let configuration = kept(&store, "a", floor(1), 1).await;
    assert_eq!(configuration.results, ConfigurationResults::default());
    let results = ConfigurationResults {
        targeted: 3,
        applied: 2,
        metrics: BTreeMap::from([("all".into(), 5)]),
        ..ConfigurationResults::default()
    };
    let both = vec![(configuration.number, results.clone())];
    store.configuration_results_put(both).await.unwrap();
    let after = store.configuration_get(&id("a")).await.unwrap().unwrap();
    assert_eq!(
        after,
        Configuration {
            results,
            ..configuration
        }
    );
}

pub(crate) async fn an_assignment_is_written_and_remembered_in_one(mut scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["d1", "d2"]).await;
    let ordinals: Vec<_> = keys.iter().map(|key| key.ordinal).collect();
    let own = patch(Value::Null, json!({"own": 1}));
    store
        .twin_patch(&device("d1"), own, None, at(1))
        .await
        .unwrap();
    let low = kept(&store, "low", floor(1), 1).await;
    let high = kept(&store, "high", floor(2), 2).await;
    let both = wanted(&[&high, &low]);
    let done = assign(&store, &ordinals, &both).await.unwrap();
    assert_eq!(done.written.iter().map(|w| w.key).collect::<Vec<_>>(), keys);
    assert_eq!(done.written[0].change.version, 3);
    assert_eq!(
        desired(&store, "d1").await,
        (json!({"own": 1, "place": {"floor": 2}}), 3)
    );
    let twin = store.twin_get(&device("d2")).await.unwrap().unwrap();
    let shown = [
        (id("high"), ConfigurationStatus::Applied),
        (id("low"), ConfigurationStatus::Targeted),
    ];
    assert_eq!(twin.configurations, shown);

    let again = assign(&store, &ordinals, &both).await.unwrap();
    assert_eq!(again, AssignmentsApplied::default(), "nothing moves twice");
    let known = store
        .configuration_applied(Space::Devices, None, 10)
        .await
        .unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(known[0].1, both.applied().unwrap());
    let later = store
        .configuration_applied(Space::Devices, Some(ordinals[0]), 10)
        .await
        .unwrap();
    assert_eq!(later[..], known[1..]);
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let to = store.configuration_applied_to(keys.clone()).await.unwrap();
    assert_eq!(
        to.iter().map(|(_, a)| a).collect::<Vec<_>>(),
        [&known[0].1, &known[1].1]
    );

    let nothing = Arc::new(Assignment::default());
    assign(&store, &ordinals, &nothing).await.unwrap();
    assert_eq!(desired(&store, "d1").await, (json!({"own": 1}), 4));
    assert_eq!(
        store
            .configuration_applied(Space::Devices, None, 10)
            .await
            .unwrap(),
        []
    );
    let older = Term(store.term().0.wrapping_sub(1));
    let refused = store
        .configuration_assign(older, Space::Devices, vec![], at(9))
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
}

pub(crate) async fn a_twin_that_cannot_take_it_stays_and_is_told(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["full", "roomy"]).await;
    let large = json!({"own": vec!["x".repeat(4_000); 8]});
    store
        .twin_patch(&device("full"), patch(Value::Null, large), None, at(1))
        .await
        .unwrap();
    let before = desired(&store, "full").await;
    let content = json!({"deviceContent": {"properties.desired.more": "y".repeat(2_000)}});
    let configuration = kept(&store, "a", content, 1).await;
    let ordinals: Vec<_> = keys.iter().map(|key| key.ordinal).collect();
    let done = assign(&store, &ordinals, &wanted(&[&configuration]))
        .await
        .unwrap();
    assert_eq!((done.written.len(), done.refused.len()), (1, 1));
    assert_eq!(done.refused[0].0, ordinals[0]);
    assert_eq!(desired(&store, "full").await, before);
    let twin = store.twin_get(&device("full")).await.unwrap().unwrap();
    assert_eq!(
        twin.configurations,
        [(id("a"), ConfigurationStatus::Targeted)]
    );
    let known = store.configuration_applied_to(vec![keys[0]]).await.unwrap();
    assert!(known[0].1.is_refused);
}

pub(crate) async fn whoever_changes_is_marked_while_there_are_configurations(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["d1", "d2", "d3"]).await;
    assert_eq!(
        marked(&store).await,
        [],
        "nobody reads marks without configurations"
    );
    let configuration = kept(&store, "a", floor(1), 1).await;
    assert_eq!(marked(&store).await, []);
    let tags = || patch(json!({"site": "b4"}), Value::Null);
    store
        .twin_patch(&device("d1"), tags(), None, at(2))
        .await
        .unwrap();
    let report = ReportedPatch::new(object(json!({"fw": 1}))).unwrap();
    store
        .twin_report(&device("d2"), keys[1], report, None, at(2))
        .await
        .unwrap();
    let new = written(&store, put(&device("d4"), Precondition::Absent), at(2)).await;
    let part = written(&store, put(&module("d3", "m"), Precondition::Absent), at(2)).await;
    assert_eq!(marked(&store).await, [keys[0], keys[1], new.key, part.key]);
    written(&store, put(&device("d3"), Precondition::Exists), at(3)).await;
    assert!(marked(&store).await.contains(&keys[2]));

    let marks = store.configuration_dirty(100).await.unwrap();
    store
        .twin_patch(&device("d1"), tags(), None, at(4))
        .await
        .unwrap();
    store.configuration_clean(marks).await.unwrap();
    assert_eq!(
        marked(&store).await,
        [keys[0]],
        "a change made meanwhile stays"
    );
    let both = [keys[0].ordinal, keys[1].ordinal];
    let done = assign(&store, &both, &wanted(&[&configuration]))
        .await
        .unwrap();
    assert_eq!(done.written.len(), 2);
    assert_eq!(
        marked(&store).await,
        [keys[0]],
        "its own writes leave no mark"
    );
    let marks = store.configuration_dirty(100).await.unwrap();
    assert_eq!(marks[0].1, 2, "the stamp counts the changes of others");

    write(&store, delete(&device("d1"), Precondition::Exists), at(5))
        .await
        .unwrap();
    assert_eq!(marked(&store).await, []);
    assert_eq!(
        store.configuration_applied_to(vec![keys[0]]).await.unwrap(),
        []
    );
    store
        .twin_patch(&device("d2"), tags(), None, at(6))
        .await
        .unwrap();
    store
        .configuration_delete(&id("a"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(marked(&store).await, []);
}

pub(crate) async fn a_content_by_hand_is_written_whole_or_not_at_all(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["d"]).await;
    let agent = module("d", "$edgeAgent");
    written(&store, put(&agent, Precondition::Any), at(0)).await;
    let old = patch(Value::Null, json!({"old": 1}));
    store.twin_patch(&agent, old, None, at(1)).await.unwrap();
    let content = json!({
        "deviceContent": {"properties.desired.a": 1},
        "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {}}}},
    });
    let content = Content::parse(&json_text(&content)).unwrap();
    let parts = |module_id| {
        vec![
            (device("d"), content.device.clone()),
            (module_id, content.modules.values().next().unwrap().clone()),
        ]
    };
    let missing = module("d", "missing");
    let refused = store
        .configuration_content_apply(parts(missing.clone()), at(2))
        .await
        .unwrap();
    assert_eq!(refused, Err(ContentRefused::Absent(missing)));
    assert_eq!(desired(&store, "d").await, (json!({}), 1));

    let done = store
        .configuration_content_apply(parts(agent.clone()), at(2))
        .await
        .unwrap();
    assert_eq!(done.unwrap().len(), 2);
    assert_eq!(desired(&store, "d").await, (json!({"a": 1}), 2));
    let twin = store.twin_get(&agent).await.unwrap().unwrap();
    assert_eq!(
        Value::Object(twin.document.desired.values),
        json!({"modules": {}})
    );
    let again = store
        .configuration_content_apply(parts(agent), at(3))
        .await
        .unwrap();
    assert_eq!(again, Ok(vec![]), "what is right already does not move");
}
