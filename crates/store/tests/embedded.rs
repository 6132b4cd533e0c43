//! The embedded store keeps the contract, with its threads and without.

mod contract;
mod journal;

use std::sync::Arc;

use fanfare_store::{
    Embedded,
    vault::{KEY_BYTES, MasterKey, Vault},
};

use contract::Scratch;

fn with_threads() -> Scratch {
    Scratch::new(|folder| {
        let store = Embedded::open(&folder.join("store.db")).expect("a scratch folder is writable");
        Arc::new(store)
    })
}

fn inline() -> Scratch {
    Scratch::new(|folder| {
        let path = folder.join("store.db");
        Arc::new(Embedded::open_inline(&path).expect("a scratch folder is writable"))
    })
}

fn encrypted() -> Scratch {
    Scratch::new(|folder| {
        let path = folder.join("store.db");
        let key = MasterKey::File([7; KEY_BYTES].into());
        let (vault, _) =
            Embedded::encrypt_keys(&path, &key, &mut |_| {}).expect("the key is always the same");
        Arc::new(Embedded::open_inline_with(&path, vault).expect("a scratch folder is writable"))
    })
}

mod threads {
    crate::contract::suite!(crate::with_threads());
}

mod in_line {
    crate::contract::suite!(crate::inline());
}

mod with_encrypted_keys {
    crate::contract::suite!(crate::encrypted());
}

#[tokio::test]
async fn a_file_can_be_looked_into_while_a_hub_runs_on_it() {
    use contract::{create, device, settings};
    use fanfare_hub::{
        access::{Policy, Rights},
        ids::Etag,
        ports::store::{PolicyStore, Store, StoreError},
        registry::SymmetricKey,
    };

    let folder = tempfile::tempdir().expect("the system's folder is writable");
    let path = folder.path().join("store.db");
    let nothing = Embedded::peek_policies(&path, &Vault::plain());
    assert!(
        matches!(nothing, Err(StoreError::Unavailable(_))),
        "{nothing:?}"
    );
    assert!(!path.exists(), "looking creates nothing");

    let policy = Policy {
        name: "service".into(),
        rights: Rights::SERVICE_CONNECT,
        primary: SymmetricKey::new("YQ=="),
        secondary: SymmetricKey::new("Yg=="),
        etag: Etag(0),
    };
    let store = Arc::new(Embedded::open(&path).expect("a scratch folder is writable"));
    store.policy_seed(vec![policy.clone()]).await.unwrap();
    create(&(store.clone() as Arc<dyn Store>), &["a"]).await;
    let mut running = Some(store);
    for _ in ["while it runs", "after it ended"] {
        assert_eq!(
            Embedded::peek_policies(&path, &Vault::plain()).unwrap(),
            std::slice::from_ref(&policy)
        );
        let identity = Embedded::peek_identity(&path, &Vault::plain(), &device("a")).unwrap();
        assert_eq!(identity.map(|a| a.settings), Some(settings()));
        assert_eq!(
            Embedded::peek_identity(&path, &Vault::plain(), &device("b")).unwrap(),
            None
        );
        drop(running.take());
    }
}

#[tokio::test]
async fn what_goes_with_deleted_devices_fills_no_transaction_beyond_measure() {
    use contract::{at, create, delete, device, module, put};
    use fanfare_hub::{
        limits,
        ports::store::{RegistryStore, Store},
        registry::{IdentityWritten, Precondition},
    };

    let folder = tempfile::tempdir().expect("the system's folder is writable");
    let store = Embedded::open_inline(&folder.path().join("store.db"));
    let store = Arc::new(store.expect("a scratch folder is writable"));
    let names: Vec<_> = (0..10).map(|n| format!("d{n}")).collect();
    let many: Vec<_> = names.iter().map(String::as_str).collect();
    create(&(store.clone() as Arc<dyn Store>), &many).await;
    for name in &names {
        let puts = (0..limits::DEVICE_MODULES_MAX)
            .map(|n| put(&module(name, &format!("m{n}")), Precondition::Absent));
        store.identity_write(puts.collect(), at(0)).await.unwrap();
    }
    let deletes = |names: &[String]| {
        let ids = names.iter().map(|name| device(name));
        ids.map(|id| delete(&id, Precondition::Exists)).collect()
    };
    let before = store.commits();
    // A module is three rows: of its own, its twin, and what is left of its name.
    let gone = store.identity_write(deletes(&names), at(1)).await.unwrap();
    assert_eq!(store.commits() - before, 2, "about 1,000 rows each");
    for (result, name) in gone.into_iter().zip(&names) {
        let Ok(IdentityWritten::Deleted { identity, modules }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(identity.id, device(name), "in the order asked for");
        assert_eq!(modules.len(), limits::DEVICE_MODULES_MAX);
    }
    assert_eq!(store.identity_count().await.unwrap().total, 0);
    create(&(store.clone() as Arc<dyn Store>), &many).await;
    let before = store.commits();
    store.identity_write(deletes(&names), at(2)).await.unwrap();
    assert_eq!(store.commits() - before, 1);
}

#[tokio::test]
async fn a_scan_of_named_devices_waits_for_no_long_one() {
    use contract::{create, device};
    use fanfare_hub::{
        ids::Space,
        ports::store::{IdentityRow, IdentityScan, Store},
    };
    use std::{
        ops::ControlFlow,
        sync::{Mutex, mpsc},
    };

    let folder = tempfile::tempdir().expect("the system's folder is writable");
    let store = Embedded::open(&folder.path().join("store.db"));
    let store: Arc<dyn Store> = Arc::new(store.expect("a scratch folder is writable"));
    create(&store, &["a", "b"]).await;
    let scan = |devices| IdentityScan {
        space: Space::Devices,
        after: None,
        devices,
    };
    // As many long scans as there may be, each held at its first row.
    let mut long = Vec::new();
    for _ in 0..2 {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let (mut begun, wait) = (Some(begun), Mutex::new(wait));
        let visit = move |_: &dyn IdentityRow| {
            if let Some(begun) = begun.take() {
                begun.send(()).expect("the test waits for it");
                // An error: the test is over.
                let _ = wait.lock().expect("nobody else has it").recv();
            }
            ControlFlow::Continue(())
        };
        let (store, scan) = (store.clone(), scan(None));
        let scanning =
            tokio::spawn(async move { store.identity_scan(scan, Box::new(visit)).await });
        has_begun.await.expect("the scan begins");
        long.push((scanning, go_on));
    }
    let (found, seen) = mpsc::channel();
    let visit = move |row: &dyn IdentityRow| {
        found.send(row.key()).expect("the test waits for it");
        ControlFlow::Continue(())
    };
    let named = scan(Some(vec![device("b").device]));
    store.identity_scan(named, Box::new(visit)).await.unwrap();
    assert_eq!(seen.iter().count(), 1);
    for (scanning, go_on) in long {
        assert!(!scanning.is_finished());
        drop(go_on);
        scanning.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_scan_that_panics_takes_no_reader_along() {
    use contract::create;
    use fanfare_hub::{
        ids::Space,
        ports::store::{IdentityRow, IdentityScan, Store, StoreError},
    };

    let folder = tempfile::tempdir().expect("the system's folder is writable");
    let store = Embedded::open(&folder.path().join("store.db"));
    let store: Arc<dyn Store> = Arc::new(store.expect("a scratch folder is writable"));
    create(&store, &["a"]).await;
    // More often than there are readers and places for scans.
    for _ in 0..8 {
        let scan = IdentityScan {
            space: Space::Devices,
            after: None,
            devices: None,
        };
        let visit = |_: &dyn IdentityRow| panic!("a fault in whoever looks");
        let scanned = store.identity_scan(scan, Box::new(visit)).await;
        assert!(
            matches!(scanned, Err(StoreError::Unavailable(_))),
            "{scanned:?}"
        );
    }
    assert_eq!(store.identity_count().await.unwrap().total, 1);
}
