//! Generated histories of one twin, compared with independent statements of the same rules.

use proptest::prelude::*;
use serde_json::json;

use super::{check::object_size, *};

/// Keys are few, so that changes meet what is there.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_i64..9).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no other numbers", |number| number.is_finite())
            .prop_map(Value::from),
        "[a-c\u{7}\u{85}ü😀]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn members() -> impl Strategy<Value = Object> {
    proptest::collection::btree_map("[a-d]", value(), 0..4)
        .prop_map(|members| members.into_iter().collect())
}

#[derive(Debug, Clone)]
enum Change {
    Patch(SectionPatch, SectionPatch),
    Replace(Option<Object>, Option<Object>),
    Report(Object),
}

fn change() -> impl Strategy<Value = Change> {
    let section = || {
        prop_oneof![
            1 => Just(SectionPatch::Absent),
            1 => Just(SectionPatch::Clear),
            6 => members().prop_map(SectionPatch::Merge),
        ]
    };
    let whole = || proptest::option::of(members());
    prop_oneof![
        3 => (section(), section()).prop_map(|(tags, desired)| Change::Patch(tags, desired)),
        1 => (whole(), whole()).prop_map(|(tags, desired)| Change::Replace(tags, desired)),
        2 => members().prop_map(Change::Report),
    ]
}

fn apply(twin: &mut TwinDocument, change: &Change, at: Timestamp) {
    match change.clone() {
        Change::Patch(tags, desired) => {
            let patch = TwinPatch::new(tags, desired).expect("generated keys are allowed");
            twin.patch(&patch, at).expect("generated values are small");
        }
        Change::Replace(tags, desired) => {
            let replacement = TwinReplacement::new(tags, desired);
            twin.replace(&replacement.expect("generated values are small"), at);
        }
        Change::Report(members) => {
            let patch = ReportedPatch::new(members).expect("generated keys are allowed");
            twin.report(&patch, at).expect("generated values are small");
        }
    }
}

/// RFC 7396, section 2, word by word; written over whole values, not sections.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = match target {
        Value::Object(members) => members,
        _ => Object::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let before = target.remove(name).unwrap_or(Value::Null);
            target.insert(name.clone(), merged(before, value));
        }
    }
    Value::Object(target)
}

/// What a section holds after a change of it. A replacement is a merge into nothing.
fn section_after(before: &Object, change: &SectionPatch) -> Object {
    let value = match change {
        SectionPatch::Absent => return before.clone(),
        SectionPatch::Clear => json!({}),
        SectionPatch::Merge(members) => merged(
            Value::Object(before.clone()),
            &Value::Object(members.clone()),
        ),
    };
    match value {
        Value::Object(members) => members,
        other => panic!("a section became {other}"),
    }
}

fn replaced(before: &Object, with: &Option<Object>) -> Object {
    match with {
        None => before.clone(),
        Some(members) => section_after(&Object::new(), &SectionPatch::Merge(members.clone())),
    }
}

/// One entry of metadata for every member of every object, and none besides.
fn assert_mirrors(metadata: &Metadata, value: Option<&Object>, path: &str) {
    let nothing = Object::new();
    let members = value.unwrap_or(&nothing);
    let (stamped, there): (Vec<_>, Vec<_>) =
        (metadata.children.keys().collect(), members.keys().collect());
    assert_eq!(stamped, there, "{path}");
    for (key, below) in &metadata.children {
        assert_mirrors(below, members[key].as_object(), &format!("{path}.{key}"));
    }
}

/// A parent was written at least as late as whatever is below it, and nothing is of the future.
fn assert_stamps(metadata: &Metadata, parent: &Metadata, has_versions: bool) {
    assert!(metadata.updated <= parent.updated);
    assert_eq!(metadata.version.is_some(), has_versions);
    assert!(metadata.version <= parent.version);
    for below in metadata.children.values() {
        assert_stamps(below, metadata, has_versions);
    }
}

/// Whatever lies at the paths of a patch was stamped now, whatever lies beside them was not.
fn assert_touched(before: Option<&Metadata>, after: &Metadata, patch: &Object, at: Timestamp) {
    assert_eq!(after.updated, at);
    for (key, now) in &after.children {
        let earlier = before.and_then(|before| before.children.get(key));
        match patch.get(key) {
            Some(Value::Object(below)) => assert_touched(earlier, now, below, at),
            Some(_) => assert_eq!(now.updated, at),
            None => assert_eq!(Some(now), earlier),
        }
    }
}

/// The size again, from the text: walked with a list of what is left, no recursion.
fn size_by_hand(members: &Object) -> usize {
    let visible = |text: &str| {
        let hidden: usize = text
            .chars()
            .filter(|c| matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'))
            .map(char::len_utf8)
            .sum();
        text.len() - hidden
    };
    let mut bytes = 0;
    let mut left: Vec<Value> = vec![Value::Object(members.clone())];
    while let Some(value) = left.pop() {
        match value {
            Value::Null => {}
            Value::Bool(_) => bytes += 4,
            Value::Number(_) => bytes += 8,
            Value::String(text) => bytes += visible(&text),
            Value::Array(elements) => left.extend(elements),
            Value::Object(members) => {
                for (key, value) in members {
                    bytes += key.len();
                    left.push(value);
                }
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn whatever_happens_metadata_mirrors_the_values(
        changes in proptest::collection::vec(change(), 1..12),
    ) {
        let mut twin = TwinDocument::new(Timestamp(0));
        for (at, change) in (1..).map(Timestamp).zip(&changes) {
            let before = twin.clone();
            apply(&mut twin, change, at);
            for (section, name, has_versions) in [
                (&twin.desired, "desired", true),
                (&twin.reported, "reported", false),
            ] {
                assert_mirrors(&section.metadata, Some(&section.values), name);
                assert_stamps(&section.metadata, &section.metadata, has_versions);
            }
            assert_eq!(twin.version, before.version + 1);
            if twin.desired.version == before.desired.version {
                assert_eq!(twin.desired, before.desired);
            } else {
                assert_eq!(twin.desired.version, before.desired.version + 1);
                assert_eq!(twin.desired.metadata.version, Some(twin.desired.version));
                assert_eq!(twin.desired.metadata.updated, at);
            }
        }
    }

    #[test]
    fn a_merge_is_the_one_of_rfc_7396(
        changes in proptest::collection::vec(change(), 1..8),
    ) {
        let mut twin = TwinDocument::new(Timestamp(0));
        for (at, change) in (1..).map(Timestamp).zip(&changes) {
            let before = twin.clone();
            apply(&mut twin, change, at);
            let (tags, desired, reported) = match change {
                Change::Patch(tags, desired) => (
                    section_after(&before.tags, tags),
                    section_after(&before.desired.values, desired),
                    before.reported.values.clone(),
                ),
                Change::Replace(tags, desired) => (
                    replaced(&before.tags, tags),
                    replaced(&before.desired.values, desired),
                    before.reported.values.clone(),
                ),
                Change::Report(members) => (
                    before.tags.clone(),
                    before.desired.values.clone(),
                    section_after(
                        &before.reported.values,
                        &SectionPatch::Merge(members.clone()),
                    ),
                ),
            };
            assert_eq!(
                (&twin.tags, &twin.desired.values, &twin.reported.values),
                (&tags, &desired, &reported)
            );
        }
    }

    #[test]
    fn a_patch_stamps_what_it_names_and_nothing_else(first in members(), patch in members()) {
        let mut twin = TwinDocument::new(Timestamp(0));
        apply(&mut twin, &Change::Report(first), Timestamp(1));
        let before = twin.reported.metadata.clone();
        apply(&mut twin, &Change::Report(patch.clone()), Timestamp(2));
        assert_touched(Some(&before), &twin.reported.metadata, &patch, Timestamp(2));
    }

    #[test]
    fn the_size_is_what_a_second_way_of_counting_finds(members in members()) {
        assert_eq!(object_size(&members), size_by_hand(&members));
    }
}
