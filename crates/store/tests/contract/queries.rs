//! Scans of identities.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use fanfare_hub::{
    ids::{DeviceId, IdentityId, Ordinal, Space},
    ports::store::{IdentityRow, IdentityScan, Keys, Store},
    query::{Path, PropertySection, RootField, Section, Value},
    registry::Precondition,
};
use serde_json::json;

use super::{Scratch, at, create, delete, device, module, patch, put, written};

fn everyone() -> IdentityScan {
    IdentityScan {
        space: Space::Devices,
        after: None,
        devices: None,
    }
}

fn named(names: &[&str]) -> IdentityScan {
    let ids = names
        .iter()
        .map(|name| DeviceId::parse(name).expect("tests use valid names"));
    IdentityScan {
        devices: Some(ids.collect()),
        ..everyone()
    }
}

/// What `look` says of each row, until it says nothing.
async fn seen<T: Send + 'static>(
    store: &Arc<dyn Store>,
    scan: IdentityScan,
    mut look: impl FnMut(&dyn IdentityRow) -> Option<T> + Send + 'static,
) -> Vec<T> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    let visit = move |row: &dyn IdentityRow| match look(row) {
        Some(value) => {
            into.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(value);
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    };
    store.identity_scan(scan, Box::new(visit)).await.unwrap();
    std::mem::take(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

fn name(row: &dyn IdentityRow) -> Option<IdentityId> {
    row.twin(Keys::Shown).ok().map(|twin| twin.identity.id)
}

async fn names(store: &Arc<dyn Store>, scan: IdentityScan) -> Vec<String> {
    seen(store, scan, name)
        .await
        .iter()
        .map(IdentityId::to_string)
        .collect()
}

pub(crate) async fn a_scan_shows_everyone_in_order(mut scratch: Scratch) {
    let store = scratch.store();
    assert!(names(&store, everyone()).await.is_empty());
    create(&store, &["c", "a", "b"]).await;
    written(&store, delete(&device("a"), Precondition::Exists), at(1)).await;
    create(&store, &["a"]).await;
    drop(store);
    scratch.reopen();
    assert_eq!(names(&scratch.store(), everyone()).await, ["c", "b", "a"]);
}

pub(crate) async fn a_scan_goes_on_after_an_ordinal(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a", "b", "c"]).await;
    for (index, expected) in [(0, &["b", "c"][..]), (1, &["c"]), (2, &[])] {
        let after = Some(keys[index].ordinal);
        assert_eq!(
            names(
                &store,
                IdentityScan {
                    after,
                    ..everyone()
                }
            )
            .await,
            expected
        );
        let all = named(&["c", "b", "a"]);
        assert_eq!(names(&store, IdentityScan { after, ..all }).await, expected);
    }
    let after = Some(Ordinal::MAX);
    assert!(
        names(
            &store,
            IdentityScan {
                after,
                ..everyone()
            }
        )
        .await
        .is_empty()
    );
}

pub(crate) async fn a_scan_ends_when_the_visitor_breaks(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b", "c"]).await;
    for scan in [everyone(), named(&["a", "b", "c"])] {
        let mut left = 2;
        let seen = seen(&store, scan, move |row| {
            left -= 1;
            (left >= 0).then(|| name(row))
        });
        assert_eq!(seen.await.len(), 2);
    }
}

pub(crate) async fn a_scan_of_named_devices_shows_these_alone(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b", "c"]).await;
    written(&store, put(&module("b", "m"), Precondition::Absent), at(0)).await;
    assert_eq!(
        names(&store, named(&["c", "unknown", "a", "c"])).await,
        ["a", "c"]
    );
    assert!(names(&store, named(&[])).await.is_empty());
}

pub(crate) async fn devices_and_modules_are_scanned_apart(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b"]).await;
    for id in [module("b", "x"), module("a", "y"), module("a", "z")] {
        written(&store, put(&id, Precondition::Absent), at(0)).await;
    }
    let modules = IdentityScan {
        space: Space::Modules,
        ..everyone()
    };
    assert_eq!(names(&store, modules).await, ["b/x", "a/y", "a/z"]);
    let of_a = IdentityScan {
        space: Space::Modules,
        ..named(&["a"])
    };
    assert_eq!(names(&store, of_a).await, ["a/y", "a/z"]);
    assert_eq!(names(&store, everyone()).await, ["a", "b"]);
}

pub(crate) async fn rows_answer_paths_and_decode_whole(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a"]).await;
    let id = device("a");
    let change = patch(json!({"place": {"floor": 3}}), json!({"on": true}));
    store.twin_patch(&id, change, None, at(1)).await.unwrap();
    store.activity_write(vec![(keys[0], at(2))]).await.unwrap();
    let expected = store.twin_get(&id).await.unwrap().unwrap();
    let rows = seen(&store, everyone(), |row| {
        let keys = |steps: &[&str]| steps.iter().map(|&step| step.into()).collect();
        let floor = Path::Section(Section::Tags, keys(&["place", "floor"]));
        assert_eq!(row.value(&floor), Value::from(3));
        let on = Path::Section(Section::Desired, keys(&["on"]));
        assert_eq!(row.value(&on), Value::Bool(true));
        assert_eq!(
            row.value(&Path::Version(PropertySection::Desired)),
            Value::from(2)
        );
        let at = Path::Metadata(PropertySection::Desired, keys(&["on", "$lastUpdated"]));
        assert_eq!(row.value(&at), Value::str("2031-02-03T04:05:07.0000000Z"));
        let heard = Path::Field(RootField::LastActivityTime);
        assert_eq!(
            row.value(&heard),
            Value::str("2031-02-03T04:05:08.0000000Z")
        );
        let nowhere = Path::Section(Section::Reported, keys(&["on"]));
        assert_eq!(row.value(&nowhere), Value::Undefined);
        Some((row.key(), row.twin(Keys::Shown).expect("the row is whole")))
    });
    assert_eq!(rows.await, [(keys[0], expected)]);
}

pub(crate) async fn a_scan_sees_one_moment(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b"]).await;
    let both = || IdentityScan {
        devices: None,
        ..everyone()
    };
    let tag = |row: &dyn IdentityRow| {
        row.twin(Keys::Shown)
            .ok()
            .map(|twin| twin.document.tags.get("round").cloned())
    };
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..100 {
                for name in ["a", "b"] {
                    let change = patch(json!({ "round": round }), json!(null));
                    store
                        .twin_patch(&device(name), change, None, at(round))
                        .await
                        .unwrap();
                }
            }
        })
    };
    // "a" is always patched first, so no moment shows "b" ahead of it.
    while !writer.is_finished() {
        let rounds = seen(&store, both(), tag).await;
        let number = |n: usize| {
            rounds[n]
                .as_ref()
                .map_or(-1, |tag| tag.as_i64().unwrap_or(-1))
        };
        assert!(
            number(0) == number(1) || number(0) == number(1) + 1,
            "{rounds:?}"
        );
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
