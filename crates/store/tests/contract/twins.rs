//! Twins: merges, versions, etags, limits, and many writers at once.

use std::sync::Arc;

use fanfare_hub::{
    ids::{Etag, IdentityKey, Space},
    ports::store::{Store, Twin, TwinWriteError},
    registry::{Authentication, Precondition, SymmetricKey},
    time::Timestamp,
    twin::document::{
        ReportedPatch, SectionPatch, TwinDocument, TwinError, TwinPatch, TwinReplacement,
    },
};
use serde_json::{Value, json};

use super::{Scratch, at, create, delete, device, object, patch, written};

/// As a change of a twin answers: nobody shows its identity's keys.
fn without_keys(mut twin: Twin) -> Twin {
    let authentication = &mut twin.identity.settings.authentication;
    assert!(
        matches!(authentication, Authentication::Sas { primary, .. } if !primary.expose().is_empty())
    );
    *authentication = Authentication::Sas {
        primary: SymmetricKey::withheld(),
        secondary: SymmetricKey::withheld(),
    };
    twin
}

async fn twin(store: &Arc<dyn Store>, name: &str) -> Twin {
    store
        .twin_get(&device(name))
        .await
        .unwrap()
        .expect("the device was created")
}

fn report(members: Value) -> ReportedPatch {
    ReportedPatch::new(object(members)).expect("tests use valid patches")
}

fn desired(members: Value) -> TwinPatch {
    patch(json!(null), members)
}

pub(crate) async fn a_new_twin_is_empty_and_in_version_1(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a"]).await;
    let twin = twin(&store, "a").await;
    assert_eq!(twin.document, TwinDocument::new(at(0)));
    assert_eq!(twin.identity.key, keys[0]);
    assert_eq!(twin.last_activity, Timestamp::NEVER);
}

pub(crate) async fn a_patch_moves_versions_and_etag(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let id = device("a");
    let mut expected = TwinDocument::new(at(0));
    let steps = [
        patch(
            json!({"building": "43"}),
            json!({"floor": 3, "deep": {"er": [1, 2]}}),
        ),
        patch(json!({"room": 1}), json!(null)),
        desired(json!({"floor": null})),
        patch(json!(null), json!(null)),
    ];
    for (step, change) in (1..).zip(steps) {
        let told = expected.patch(&change, at(step)).unwrap();
        let patched = store.twin_patch(&id, change, None, at(step)).await.unwrap();
        assert_eq!(
            (&patched.twin.document, patched.desired),
            (&expected, told),
            "step {step}"
        );
        assert_eq!(without_keys(twin(&store, "a").await), patched.twin);
    }
    assert_eq!(
        (expected.etag, expected.version, expected.desired.version),
        (Etag(5), 5, 3)
    );
}

pub(crate) async fn an_etag_guards_a_patch(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let id = device("a");
    let first = store
        .twin_patch(&id, desired(json!({"x": 1})), Some(Etag(1)), at(1))
        .await;
    assert_eq!(first.unwrap().twin.document.etag, Etag(2));
    let second = store
        .twin_patch(&id, desired(json!({"x": 2})), Some(Etag(1)), at(2))
        .await;
    assert!(matches!(second, Err(TwinWriteError::EtagMismatch(name)) if name == id));
    assert_eq!(
        twin(&store, "a").await.document.desired.values,
        object(json!({"x": 1}))
    );
}

pub(crate) async fn a_refused_patch_changes_nothing(scratch: Scratch) {
    let store = scratch.store();
    let key = create(&store, &["a"]).await[0];
    let id = device("a");
    let chunk = "x".repeat(4_000);
    store
        .twin_patch(&id, patch(json!({"a": chunk}), json!(null)), None, at(1))
        .await
        .unwrap();
    let before = twin(&store, "a").await;
    // The desired half alone would fit.
    let too_large = patch(json!({"b": chunk, "c": chunk}), json!({"d": 1}));
    let refused = store.twin_patch(&id, too_large, None, at(2)).await;
    let Err(TwinWriteError::Twin(TwinError::TooLarge { section, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(section, "tags");
    assert_eq!(twin(&store, "a").await, before);

    let members: serde_json::Map<_, _> = (0..9)
        .map(|n| (format!("k{n}"), Value::from(chunk.clone())))
        .collect();
    let refused = store
        .twin_report(&id, key, report(Value::Object(members)), None, at(3))
        .await;
    assert!(matches!(
        refused,
        Err(TwinWriteError::Twin(TwinError::TooLarge { .. }))
    ));
    assert_eq!(twin(&store, "a").await, before);
}

pub(crate) async fn clearing_names_the_keys_that_went(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let id = device("a");
    let filled = patch(json!({"t": 1}), json!({"x": 1, "y": {"z": 2}}));
    store.twin_patch(&id, filled, None, at(1)).await.unwrap();
    let clear = TwinPatch::new(SectionPatch::Clear, SectionPatch::Clear).unwrap();
    let patched = store.twin_patch(&id, clear, None, at(2)).await.unwrap();
    let change = patched.desired.unwrap();
    assert_eq!(change.version, 3);
    let mut cleared = change.cleared.unwrap();
    cleared.sort();
    assert_eq!(cleared, ["x", "y"]);
    let document = twin(&store, "a").await.document;
    assert!(document.tags.is_empty() && document.desired.values.is_empty());
    assert!(document.desired.metadata.children.is_empty());
}

/// A replacement of both sections; `null` leaves one alone.
fn replacement(tags: Value, desired: Value) -> TwinReplacement {
    let section = |value: Value| (!value.is_null()).then(|| object(value));
    TwinReplacement::new(section(tags), section(desired)).expect("tests use valid replacements")
}

pub(crate) async fn a_replacement_leaves_nothing_of_what_was(mut scratch: Scratch) {
    let store = scratch.store();
    let key = create(&store, &["a"]).await[0];
    let id = device("a");
    let mut expected = TwinDocument::new(at(0));
    let filled = patch(
        json!({"t": 1}),
        json!({"x": 1, "y": {"z": 2, "gone": [1, null]}}),
    );
    expected.patch(&filled, at(1)).unwrap();
    store.twin_patch(&id, filled, None, at(1)).await.unwrap();
    expected.report(&report(json!({"r": 1})), at(2)).unwrap();
    store
        .twin_report(&id, key, report(json!({"r": 1})), None, at(2))
        .await
        .unwrap();
    let steps = [
        replacement(json!(null), json!({"y": {"z": 2}, "new": {"n": null}})),
        replacement(json!({"s": [{"n": null}]}), json!(null)),
        replacement(json!({}), json!({})),
        replacement(json!(null), json!(null)),
    ];
    for (step, change) in (3..).zip(steps) {
        let told = expected.replace(&change, at(step));
        let known = twin(&store, "a").await.document.etag;
        let replaced = store
            .twin_replace(&id, change, Some(known), at(step))
            .await
            .unwrap();
        assert_eq!(
            (&replaced.twin.document, replaced.desired),
            (&expected, told),
            "step {step}"
        );
        assert_eq!(without_keys(twin(&store, "a").await), replaced.twin);
    }
    assert_eq!(
        (expected.etag, expected.version, expected.desired.version),
        (Etag(6), 7, 4)
    );
    drop(store);
    scratch.reopen();
    assert_eq!(twin(&scratch.store(), "a").await.document, expected);
}

pub(crate) async fn an_etag_guards_a_replacement(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let before = twin(&store, "a").await;
    let change = || replacement(json!({"t": 1}), json!({"x": 1}));
    let stale = store
        .twin_replace(&device("a"), change(), Some(Etag(2)), at(1))
        .await;
    assert!(matches!(stale, Err(TwinWriteError::EtagMismatch(name)) if name == device("a")));
    assert_eq!(twin(&store, "a").await, before);
    let unknown = store
        .twin_replace(&device("b"), change(), None, at(1))
        .await;
    assert!(matches!(unknown, Err(TwinWriteError::Absent(name)) if name == device("b")));
}

pub(crate) async fn a_report_moves_the_reported_version_alone(scratch: Scratch) {
    let store = scratch.store();
    let key = create(&store, &["a"]).await[0];
    let id = device("a");
    let mut expected = TwinDocument::new(at(0));
    let both = patch(json!({"t": 1}), json!({"d": 1}));
    expected.patch(&both, at(1)).unwrap();
    store.twin_patch(&id, both, None, at(1)).await.unwrap();
    for (step, members) in (2..).zip([json!({"r": {"s": 1}}), json!({"r": {"t": 2}}), json!({})]) {
        let version = expected.report(&report(members.clone()), at(step)).unwrap();
        let told = store
            .twin_report(&id, key, report(members), None, at(step))
            .await
            .unwrap();
        assert_eq!(told, version);
    }
    let document = twin(&store, "a").await.document;
    assert_eq!(document, expected);
    assert_eq!((document.etag, document.desired.version), (Etag(2), 2));
    assert_eq!((document.version, document.reported.version), (5, 4));
}

pub(crate) async fn a_report_on_another_version_is_refused(scratch: Scratch) {
    let store = scratch.store();
    let key = create(&store, &["a"]).await[0];
    let id = device("a");
    assert_eq!(
        store
            .twin_report(&id, key, report(json!({"r": 1})), Some(1), at(1))
            .await
            .unwrap(),
        2
    );
    let refused = store
        .twin_report(&id, key, report(json!({"r": 2})), Some(1), at(2))
        .await;
    assert!(matches!(refused, Err(TwinWriteError::EtagMismatch(_))));
    assert_eq!(
        twin(&store, "a").await.document.reported.values,
        object(json!({"r": 1}))
    );
}

pub(crate) async fn a_report_reaches_no_later_identity_of_the_name(scratch: Scratch) {
    let store = scratch.store();
    let old = create(&store, &["a"]).await[0];
    let id = device("a");
    written(&store, delete(&id, Precondition::Exists), at(1)).await;
    let new = create(&store, &["a"]).await[0];
    for base in [None, Some(1)] {
        let late = store
            .twin_report(&id, old, report(json!({"r": 1})), base, at(2))
            .await;
        assert!(matches!(late, Err(TwinWriteError::Absent(name)) if name == id));
    }
    assert_eq!(twin(&store, "a").await.document, TwinDocument::new(at(0)));
    let own = store
        .twin_report(&id, new, report(json!({"r": 2})), Some(1), at(3))
        .await;
    assert_eq!(own.unwrap(), 2);
}

pub(crate) async fn unknown_names_have_no_twin(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    assert!(store.twin_get(&id).await.unwrap().is_none());
    let patched = store
        .twin_patch(&id, desired(json!({"x": 1})), None, at(0))
        .await;
    assert!(matches!(patched, Err(TwinWriteError::Absent(name)) if name == id));
    let key = IdentityKey {
        space: Space::Devices,
        ordinal: 1,
    };
    let reported = store
        .twin_report(&id, key, report(json!({"x": 1})), None, at(0))
        .await;
    assert!(matches!(reported, Err(TwinWriteError::Absent(name)) if name == id));
}

pub(crate) async fn many_tasks_patch_one_twin_and_nothing_is_lost(scratch: Scratch) {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 20;
    let store = scratch.store();
    let whose = create(&store, &["a", "b"]).await[0];
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let key = format!("t{task}");
                    let id = device("a");
                    let members = json!({ key.clone(): round });
                    if task % 2 == 0 {
                        let patched = store.twin_patch(&id, desired(members), None, at(1)).await;
                        let twin = patched.unwrap().twin;
                        assert_eq!(twin.document.desired.values[&key], json!(round));
                    } else {
                        store
                            .twin_report(&id, whose, report(members), None, at(1))
                            .await
                            .unwrap();
                    }
                    // A refusal in between spoils nobody else's transaction.
                    let (other, nothing) = (device("b"), desired(json!({})));
                    let stale = store
                        .twin_patch(&other, nothing, Some(Etag(9)), at(1))
                        .await;
                    assert!(matches!(stale, Err(TwinWriteError::EtagMismatch(_))));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let document = twin(&store, "a").await.document;
    let half = TASKS / 2 * ROUNDS;
    assert_eq!(
        (document.version, document.etag),
        (1 + 2 * half, Etag(1 + half))
    );
    assert_eq!(
        (document.desired.version, document.reported.version),
        (1 + half, 1 + half)
    );
    for task in 0..TASKS {
        let section = if task % 2 == 0 {
            &document.desired
        } else {
            &document.reported
        };
        assert_eq!(section.values[&format!("t{task}")], json!(ROUNDS - 1));
    }
}

pub(crate) async fn a_patch_is_seen_by_the_next_read(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    for round in 0..50 {
        let change = desired(json!({ "round": round }));
        store
            .twin_patch(&device("a"), change, None, at(round))
            .await
            .unwrap();
        assert_eq!(
            twin(&store, "a").await.document.desired.values["round"],
            json!(round)
        );
    }
}

pub(crate) async fn desired_versions_come_by_key(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a", "b"]).await;
    store
        .twin_patch(&device("b"), desired(json!({"x": 1})), None, at(1))
        .await
        .unwrap();
    let unknown = IdentityKey {
        space: Space::Modules,
        ordinal: keys[0].ordinal,
    };
    let versions = store
        .twin_desired_versions(vec![keys[1], unknown, keys[0]])
        .await
        .unwrap();
    assert_eq!(versions, [(keys[1], 2), (keys[0], 1)]);
}

pub(crate) async fn numbers_and_metadata_survive_many_patches(mut scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let id = device("a");
    // Doubles that a careless parser moves by one unit in the last place.
    let numbers = json!([
        31.245_270_191_439_438,
        1.797_693_134_862_315_7e308,
        5e-324,
        0.1,
        -0.0,
        3.0,
        1e21,
        4_503_599_627_370_495_i64,
        -4_503_599_627_370_496_i64,
    ]);
    let mut expected = TwinDocument::new(at(0));
    let first = patch(
        json!({"n": numbers}),
        json!({"n": numbers, "größe\"x\"": {"n": 0.3}}),
    );
    expected.patch(&first, at(1)).unwrap();
    store.twin_patch(&id, first, None, at(1)).await.unwrap();
    for step in 2..20 {
        let change = patch(json!({ "step": step }), json!({ "step": { "at": step } }));
        expected.patch(&change, at(step)).unwrap();
        store.twin_patch(&id, change, None, at(step)).await.unwrap();
    }
    drop(store);
    scratch.reopen();
    assert_eq!(twin(&scratch.store(), "a").await.document, expected);
}

pub(crate) async fn last_activity_moves_no_etag_and_never_back(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a", "b"]).await;
    let unknown = IdentityKey {
        space: Space::Devices,
        ordinal: 4_000_000_000,
    };
    store
        .activity_write(vec![(unknown, at(9)), (keys[0], at(5))])
        .await
        .unwrap();
    store.activity_write(vec![(keys[0], at(3))]).await.unwrap();
    store.activity_write(Vec::new()).await.unwrap();
    let heard = twin(&store, "a").await;
    assert_eq!(heard.last_activity, at(5));
    assert_eq!(
        (heard.identity.etag, heard.document.etag),
        (Etag(1), Etag(1))
    );
    assert_eq!(twin(&store, "b").await.last_activity, Timestamp::NEVER);
}
