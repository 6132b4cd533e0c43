//! Laying over, taking back, and the patches between.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    configurations::content::Content, json::JsonText, time::Timestamp, twin::document::TwinDocument,
};

const T: Timestamp = Timestamp(1_000_000);

fn object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is not an object"),
    }
}

fn settings(paths: Value) -> Settings {
    let content = json!({ "deviceContent": paths }).to_string();
    let content = Content::parse(&JsonText::parse(content.as_bytes()).unwrap());
    content.unwrap().device
}

fn of(in_order: &[(u64, &Settings)]) -> Assignment {
    let numbered = in_order.iter().copied();
    Assignment::of(
        numbered.map(|(number, settings)| (ConfigurationNumber(number), Etag(1), settings)),
    )
}

fn statuses(assignment: &Assignment) -> Vec<&'static str> {
    let all = assignment.configurations().iter();
    all.map(|assigned| assigned.status.as_str()).collect()
}

/// What the twin is after the patch.
fn after(assignment: &Assignment, before: &Applied, desired: &Value) -> Value {
    let desired = object(desired.clone());
    let patch = assignment.patch(&before.paths, &desired).unwrap();
    let mut twin = TwinDocument::new(T);
    twin.desired.values = desired;
    if let Some(patch) = patch {
        twin.patch(&patch, T).unwrap();
    }
    Value::Object(twin.desired.values)
}

#[test]
fn the_higher_precedence_wins_path_by_path() {
    let high = settings(json!({"properties.desired.a.x": 1, "properties.desired.b": 1}));
    let low = settings(json!({"properties.desired.a": {"x": 2, "y": 2}}));
    let lost = settings(json!({"properties.desired.b.c": 3, "properties.desired.a": 3}));
    let nothing = Settings::default();
    let all = of(&[(4, &high), (3, &low), (2, &lost), (1, &nothing)]);
    assert_eq!(
        statuses(&all),
        ["Applied", "Applied", "Targeted", "Applied"]
    );
    assert_eq!(
        after(
            &all,
            &Applied::default(),
            &json!({"own": true, "b": {"c": 0}})
        ),
        json!({"own": true, "a": {"x": 1, "y": 2}, "b": 1})
    );
}

#[test]
fn a_whole_section_hides_whatever_is_lower() {
    let layer = settings(json!({"properties.desired.a": 1}));
    let base = settings(json!({"properties.desired": {"a": 2, "b": 2}}));
    let hidden = settings(json!({"properties.desired.c": 3}));
    let all = of(&[(3, &layer), (2, &base), (1, &hidden)]);
    assert_eq!(statuses(&all), ["Applied", "Applied", "Targeted"]);
    assert_eq!(
        after(&all, &Applied::default(), &json!({})),
        json!({"a": 1, "b": 2})
    );
}

#[test]
fn what_nobody_writes_any_more_goes_and_its_neighbours_stay() {
    let old = of(&[(
        1,
        &settings(
            json!({"properties.desired.a": {"x": 1, "y": {"z": 1}}, "properties.desired.b": 1}),
        ),
    )]);
    let before = old.applied().unwrap();
    let twin = json!({"a": {"x": 1, "y": {"z": 1}}, "b": 1, "c": {}});
    assert_eq!(
        after(&Assignment::default(), &before, &twin),
        json!({"c": {}})
    );
    let touched = json!({"a": {"x": 9, "mine": 1}, "c": {}});
    assert_eq!(
        after(&Assignment::default(), &before, &touched),
        json!({"a": {"mine": 1}, "c": {}})
    );
    let new = of(&[(
        2,
        &settings(json!({"properties.desired.a.x": 5, "properties.desired.b": {"d": 1}})),
    )]);
    assert_eq!(
        after(&new, &before, &twin),
        json!({"a": {"x": 5}, "b": {"d": 1}, "c": {}})
    );
    let emptied = of(&[(3, &settings(json!({"properties.desired.a": {}})))]);
    assert_eq!(
        after(&emptied, &before, &touched),
        json!({"a": {"mine": 1}, "c": {}})
    );
    assert_eq!(after(&emptied, &before, &twin), json!({"a": {}, "c": {}}));
}

#[test]
fn null_takes_away_and_is_not_remembered() {
    let all = of(&[(
        1,
        &settings(json!({"properties.desired.old": null, "properties.desired.a": 1})),
    )]);
    assert_eq!(
        after(&all, &Applied::default(), &json!({"old": 3})),
        json!({"a": 1})
    );
    assert_eq!(all.applied().unwrap().paths, [SettingPath::parse("a")]);
}

#[test]
fn a_twin_that_is_right_is_left_alone() {
    let all = of(&[(
        1,
        &settings(json!({"properties.desired.a": {"x": [1], "y": {}}})),
    )]);
    let right = object(json!({"a": {"x": [1], "y": {"mine": 1}}, "own": 2}));
    assert_eq!(all.patch(&all.applied().unwrap().paths, &right), Ok(None));
    assert!(all.is_done(&all.applied().unwrap()));
    assert!(!all.is_done(&all.refused(Applied::default())));
    assert_eq!(Assignment::default().applied(), None);
}

#[test]
fn by_hand_a_whole_section_is_replaced_and_paths_are_added() {
    let twin = object(json!({"a": 1, "b": {"c": 2}}));
    let patched = |settings: &Settings| {
        let patch = patch_by_hand(settings, &twin).unwrap().unwrap();
        let mut document = TwinDocument::new(T);
        document.desired.values = twin.clone();
        document.patch(&patch, T).unwrap();
        Value::Object(document.desired.values)
    };
    let whole = settings(json!({"properties.desired": {"b": {"d": 1}}}));
    assert_eq!(patched(&whole), json!({"b": {"d": 1}}));
    let path = settings(json!({"properties.desired.b.d": 1}));
    assert_eq!(patched(&path), json!({"a": 1, "b": {"c": 2, "d": 1}}));
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(1)),
        Just(json!("t")),
        Just(json!([1])),
        Just(json!({}))
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[a-c]", inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

fn section() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", tree(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn a_patch_leads_where_it_should_and_then_nothing_is_left(first in section(), second in section(), twin in section()) {
        let first = of(&[(1, &settings(json!({"properties.desired": first})))]);
        let second = of(&[(2, &settings(json!({"properties.desired": second})))]);
        let nothing = Applied::default();
        let before = first.applied().unwrap();
        let twin = after(&first, &nothing, &twin);
        let twin = after(&second, &before, &twin);
        for (path, value) in &second.leaves {
            let at = path.keys().iter().try_fold(&twin, |at, key| at.get(key));
            let is_kept = value.is_object() && at.is_some_and(Value::is_object);
            prop_assert!(at == Some(value) || is_kept, "{} at {}", twin, path);
        }
        let again = second.patch(&second.applied().unwrap().paths, &object(twin.clone()));
        prop_assert_eq!(again, Ok(None));
        let gone = after(&Assignment::default(), &second.applied().unwrap(), &twin);
        for path in second.leaves.keys() {
            let at = path.keys().iter().try_fold(&gone, |at, key| at.get(key));
            let is_filled = at.and_then(Value::as_object).is_some_and(|o| !o.is_empty());
            prop_assert!(at.is_none() || is_filled, "{} in {}", path, gone);
        }
    }

    #[test]
    fn taking_back_restores_a_twin_that_had_nothing_of_it(content in section(), own in section()) {
        let own = json!({ "own": own });
        let all = of(&[(1, &settings(json!({"properties.desired": content})))]);
        let given = after(&all, &Applied::default(), &own);
        prop_assert_eq!(after(&Assignment::default(), &all.applied().unwrap(), &given), own);
    }
}
