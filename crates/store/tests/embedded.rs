//! The embedded store keeps the contract, with its threads and without.

mod contract;
mod journal;

use std::sync::Arc;

use fanfare_store::Embedded;

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

mod threads {
    crate::contract::suite!(crate::with_threads());
}

mod in_line {
    crate::contract::suite!(crate::inline());
}

#[tokio::test]
async fn a_file_can_be_looked_into_while_a_hub_runs_on_it() {
    use contract::{create, device, settings};
    use fanfare_hub::{
        access::{Policy, Rights},
        ports::store::{PolicyStore, Store, StoreError},
        registry::SymmetricKey,
    };

    let folder = tempfile::tempdir().expect("the system's folder is writable");
    let path = folder.path().join("store.db");
    let nothing = Embedded::peek_policies(&path);
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
    };
    let store = Arc::new(Embedded::open(&path).expect("a scratch folder is writable"));
    store.policy_put(vec![policy.clone()]).await.unwrap();
    create(&(store.clone() as Arc<dyn Store>), &["a"]).await;
    let mut running = Some(store);
    for _ in ["while it runs", "after it ended"] {
        assert_eq!(
            Embedded::peek_policies(&path).unwrap(),
            std::slice::from_ref(&policy)
        );
        let identity = Embedded::peek_identity(&path, &device("a")).unwrap();
        assert_eq!(identity.map(|a| a.settings), Some(settings()));
        assert_eq!(Embedded::peek_identity(&path, &device("b")).unwrap(), None);
        drop(running.take());
    }
}
