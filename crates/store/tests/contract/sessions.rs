//! Sessions: what a connect needs, and when a session goes.

use std::sync::Arc;

use fanfare_hub::{
    ports::store::{Connected, Session, Store, StoreError},
    registry::{IdentitySettings, IdentityWrite, Precondition, Status},
};
use roaring::RoaringBitmap;
use serde_json::json;

use super::{Scratch, at, create, delete, device, module, patch, put, written};

fn session(filters: &[&str]) -> Session {
    Session {
        filters: filters
            .iter()
            .map(|&filter| (filter.to_owned(), 1))
            .collect(),
    }
}

async fn stored(store: &Arc<dyn Store>, name: &str) -> Option<Session> {
    store
        .session_open(&device(name))
        .await
        .unwrap()
        .expect("the device was created")
        .session
}

pub(crate) async fn a_sign_in_has_all_in_one(mut scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a"]).await;
    let id = device("a");
    let fresh = store.session_open(&id).await.unwrap().unwrap();
    assert_eq!((fresh.session, fresh.desired_version), (None, 1));
    store
        .twin_patch(&id, patch(json!(null), json!({"x": 1})), None, at(1))
        .await
        .unwrap();
    let filters = session(&["$iothub/methods/POST/#", "devices/a/messages/devicebound/#"]);
    store
        .session_put(keys[0], Some(filters.clone()), at(1))
        .await
        .unwrap();
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let again = store.session_open(&id).await.unwrap().unwrap();
    assert_eq!((again.session, again.desired_version), (Some(filters), 2));
    assert_eq!(Some(again.identity), store.identity_get(&id).await.unwrap());
    assert!(store.session_open(&device("b")).await.unwrap().is_none());
}

pub(crate) async fn a_module_may_connect_while_its_device_may(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b"]).await;
    let id = module("a", "m");
    let made = written(&store, put(&id, Precondition::Absent), at(0)).await;
    for (step, status) in (1..).zip([Status::Disabled, Status::Enabled]) {
        let IdentityWrite::Put {
            id: device,
            precondition,
            made: keys,
            modules,
            twin,
            settings,
        } = put(&device("a"), Precondition::Exists)
        else {
            panic!("this is a put");
        };
        let settings = IdentitySettings { status, ..settings };
        let change = IdentityWrite::Put {
            id: device,
            precondition,
            made: keys,
            modules,
            twin,
            settings,
        };
        written(&store, change, at(step)).await;
        let found = store.session_open(&id).await.unwrap().unwrap();
        assert_eq!(found.device_enabled, status == Status::Enabled);
        assert_eq!(found.identity, made, "the module itself is as it was");
        let found = store.session_open(&super::device("a")).await.unwrap();
        assert_eq!(found.unwrap().device_enabled, status == Status::Enabled);
    }
}

pub(crate) async fn a_session_is_replaced_and_dropped(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a"]).await;
    for kept in [session(&["x/#"]), session(&[]), session(&["y", "z"])] {
        store
            .session_put(keys[0], Some(kept.clone()), at(1))
            .await
            .unwrap();
        assert_eq!(stored(&store, "a").await, Some(kept));
    }
    for _ in 0..2 {
        store.session_put(keys[0], None, at(2)).await.unwrap();
        assert_eq!(stored(&store, "a").await, None);
    }
}

pub(crate) async fn a_session_goes_with_its_identity(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a"]).await;
    store
        .session_put(keys[0], Some(session(&["x"])), at(1))
        .await
        .unwrap();
    written(&store, delete(&device("a"), Precondition::Exists), at(2)).await;
    create(&store, &["a"]).await;
    assert_eq!(stored(&store, "a").await, None);
}

pub(crate) async fn a_gone_identity_gets_no_session(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a", "b"]).await;
    written(&store, delete(&device("a"), Precondition::Exists), at(1)).await;
    for change in [Some(session(&["x"])), None] {
        let (gone, kept) = tokio::join!(
            store.session_put(keys[0], change, at(2)),
            store.session_put(keys[1], Some(session(&["y"])), at(2)),
        );
        assert!(matches!(gone, Err(StoreError::Absent(_))), "{gone:?}");
        kept.unwrap();
    }
    assert_eq!(stored(&store, "b").await, Some(session(&["y"])));
}

pub(crate) async fn unused_sessions_expire(scratch: Scratch) {
    let store = scratch.store();
    let names = ["old", "young", "heard", "quiet", "connected"];
    let mut keys = create(&store, &names).await;
    // Their ordinals are those of "old" and "young", and mean nothing among devices.
    let modules = [module("connected", "gone"), module("old", "connected")];
    for id in &modules {
        let made = written(&store, put(id, Precondition::Absent), at(0)).await;
        keys.push(made.key);
    }
    for (key, used) in keys.iter().zip([1, 10, 1, 1, 1, 1, 1]) {
        store
            .session_put(*key, Some(session(&["x"])), at(used))
            .await
            .unwrap();
    }
    // The sessions of "heard" and "quiet" never changed, but only one of the two was used lately.
    store
        .activity_write(vec![(keys[2], at(10)), (keys[3], at(5))])
        .await
        .unwrap();
    let connected = Connected {
        devices: RoaringBitmap::from_iter([keys[4].ordinal]),
        modules: RoaringBitmap::from_iter([keys[6].ordinal]),
    };
    // "old", "quiet" and one module.
    assert_eq!(
        store
            .session_expire(at(10), connected.clone())
            .await
            .unwrap(),
        3
    );
    let mut left = Vec::new();
    for name in names {
        if stored(&store, name).await.is_some() {
            left.push(name);
        }
    }
    assert_eq!(left, ["young", "heard", "connected"]);
    let [gone, stays] = modules;
    for (id, is_left) in [(gone, false), (stays, true)] {
        let found = store.session_open(&id).await.unwrap().unwrap();
        assert_eq!(found.session.is_some(), is_left, "{id}");
    }
    assert_eq!(store.session_expire(at(10), connected).await.unwrap(), 0);
}
