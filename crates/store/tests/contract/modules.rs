//! Modules: how many, whose, and what a change of their device does to them.

use std::sync::Arc;

use fanfare_hub::{
    ids::{DeviceId, IdentityId, ModuleId, Space},
    limits,
    ports::store::{IdentityScan, Store},
    query::{Path, RootField, Value},
    registry::{
        Authentication, IdentityError, IdentitySettings, IdentityWrite, IdentityWritten, Made,
        OwnModule, Precondition, Status, SymmetricKey, scope,
    },
};

use super::{Scratch, at, create, delete, device, module, put, settings, write, written};

/// A put of these settings over whatever is there.
fn put_settings(id: &IdentityId, settings: IdentitySettings) -> IdentityWrite {
    IdentityWrite::Put {
        id: id.clone(),
        settings,
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    }
}

fn keys(primary: &str, secondary: &str) -> Authentication {
    Authentication::Sas {
        primary: SymmetricKey::new(primary),
        secondary: SymmetricKey::new(secondary),
    }
}

/// A put of an edge device, whose own modules would get these keys.
fn put_edge(name: &str, keys_of_modules: &Authentication) -> IdentityWrite {
    let own = |id: &str| OwnModule {
        id: ModuleId::parse(id).expect("a valid id"),
        settings: IdentitySettings {
            authentication: keys_of_modules.clone(),
            managed_by: Some("iotEdge".to_owned()),
            ..settings()
        },
    };
    IdentityWrite::Put {
        id: device(name),
        settings: IdentitySettings {
            edge: true,
            ..settings()
        },
        made: Made::default(),
        modules: vec![own("$edgeAgent"), own("$edgeHub")],
        precondition: Precondition::Any,
        twin: None,
    }
}

async fn fill(store: &Arc<dyn Store>, name: &str, modules: usize) {
    let puts = (0..modules).map(|n| put(&module(name, &format!("m{n}")), Precondition::Absent));
    let results = store.identity_write(puts.collect(), at(0)).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

pub(crate) async fn a_device_has_at_most_fifty_modules(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "b"]).await;
    fill(&store, "a", limits::DEVICE_MODULES_MAX).await;
    let one_more = module("a", "one-more");
    let results = store
        .identity_write(
            vec![
                put(&one_more, Precondition::Absent),
                put(&module("a", "m7"), Precondition::Exists),
                put(&module("b", "m"), Precondition::Absent),
                delete(&module("a", "m7"), Precondition::Exists),
                put(&one_more, Precondition::Any),
                put(&module("a", "m7"), Precondition::Absent),
            ],
            at(1),
        )
        .await
        .unwrap();
    let too_many = IdentityError::TooManyModules(DeviceId::parse("a").expect("a valid id"));
    let refused: Vec<_> = results.into_iter().map(Result::err).collect();
    assert_eq!(
        refused,
        [
            Some(too_many.clone()),
            None,
            None,
            None,
            None,
            Some(too_many)
        ]
    );
}

pub(crate) async fn an_edge_device_owns_its_two_modules(mut scratch: Scratch) {
    let store = scratch.store();
    let (agent, edge_hub) = (module("gate", "$edgeAgent"), module("gate", "$edgeHub"));
    let first = keys("Zmlyc3Q=", "MQ==");
    let gate = written(&store, put_edge("gate", &first), at(0)).await;
    let expected = scope::edge_scope(&gate.id.device, gate.generation);
    assert_eq!(gate.settings.device_scope, Some(expected));
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    for id in [&agent, &edge_hub] {
        let made = store.identity_get(id).await.unwrap().unwrap();
        assert_eq!(made.settings.authentication, first);
        assert_eq!(made.settings.managed_by.as_deref(), Some("iotEdge"));
        assert!(store.twin_get(id).await.unwrap().is_some());
        let refused = write(&store, delete(id, Precondition::Exists), at(1)).await;
        assert_eq!(refused, Err(IdentityError::EdgeModule(id.clone())));
    }

    // What is there stays as it is; what went while the device was none comes back.
    written(&store, put(&device("gate"), Precondition::Any), at(2)).await;
    written(&store, delete(&agent, Precondition::Exists), at(2)).await;
    let second = keys("c2Vjb25k", "Mg==");
    let again = written(&store, put_edge("gate", &second), at(3)).await;
    assert_eq!(again.key, gate.key);
    for (id, keys) in [(&agent, &second), (&edge_hub, &first)] {
        let found = store.identity_get(id).await.unwrap().unwrap();
        assert_eq!(found.settings.authentication, *keys, "{id}");
    }
}

pub(crate) async fn a_full_device_does_not_become_an_edge_device(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["gate"]).await;
    fill(&store, "gate", limits::DEVICE_MODULES_MAX - 1).await;
    let before = store.identity_get(&device("gate")).await.unwrap();
    let refused = write(&store, put_edge("gate", &keys("MQ==", "Mg==")), at(1)).await;
    assert!(
        matches!(refused, Err(IdentityError::TooManyModules(_))),
        "{refused:?}"
    );
    assert_eq!(store.identity_get(&device("gate")).await.unwrap(), before);
    let agent = store.identity_get(&module("gate", "$edgeAgent")).await;
    assert_eq!(agent.unwrap(), None);

    written(
        &store,
        delete(&module("gate", "m0"), Precondition::Exists),
        at(2),
    )
    .await;
    written(&store, put_edge("gate", &keys("MQ==", "Mg==")), at(3)).await;
}

pub(crate) async fn whoever_loses_a_device_is_named(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "ab"]).await;
    let mut modules = Vec::new();
    for name in ["n", "m"] {
        let made = written(&store, put(&module("a", name), Precondition::Absent), at(0)).await;
        modules.push(made.key);
    }
    written(&store, put(&module("ab", "m"), Precondition::Absent), at(0)).await;
    let with_status = |status| {
        let settings = IdentitySettings {
            status,
            ..settings()
        };
        put_settings(&device("a"), settings)
    };
    for (status, named) in [
        (Status::Enabled, &[][..]),
        (Status::Disabled, &modules),
        // The answer to the first may have been lost.
        (Status::Disabled, &modules),
        (Status::Enabled, &[]),
    ] {
        let done = write(&store, with_status(status), at(1)).await.unwrap();
        let IdentityWritten::Put { shut_out, .. } = done else {
            panic!("a put answers with the entry");
        };
        assert_eq!(shut_out, named, "{status:?}");
    }
    let gone = write(&store, delete(&device("a"), Precondition::Exists), at(2)).await;
    let Ok(IdentityWritten::Deleted {
        modules: with_it, ..
    }) = gone
    else {
        panic!("{gone:?}");
    };
    assert_eq!(with_it, modules);
}

pub(crate) async fn an_etag_of_a_name_is_never_seen_again(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    for id in [device("b"), module("a", "m")] {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let made = written(&store, put(&id, Precondition::Absent), at(0)).await;
            seen.push(made.etag);
            for _ in 0..3 {
                let changed = written(&store, put(&id, Precondition::Exists), at(1)).await;
                seen.push(changed.etag);
            }
            written(&store, delete(&id, Precondition::Exists), at(2)).await;
        }
        assert!(seen.is_sorted(), "{seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), 12);
        written(&store, put(&id, Precondition::Absent), at(3)).await;
        for etag in seen {
            let late = write(&store, delete(&id, Precondition::Matches(etag)), at(4)).await;
            assert_eq!(late, Err(IdentityError::EtagMismatch(id.clone())));
        }
    }
}

pub(crate) async fn keys_that_nobody_named_stay_as_the_writer_finds_them(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    let with_keys = |authentication, primary, secondary| IdentityWrite::Put {
        id: id.clone(),
        settings: IdentitySettings {
            authentication,
            ..settings()
        },
        made: Made {
            primary,
            secondary,
            status: false,
        },
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    };
    let steps = [
        // A new entry, or one without keys, takes what was made for it.
        (keys("p1", "s1"), true, true, keys("p1", "s1")),
        (keys("p2", "s2"), true, true, keys("p1", "s1")),
        (keys("p3", "s3"), false, true, keys("p3", "s1")),
        (keys("p4", "s4"), true, false, keys("p3", "s4")),
        (
            Authentication::CertificateAuthority,
            false,
            false,
            Authentication::CertificateAuthority,
        ),
        (keys("p5", "s5"), true, true, keys("p5", "s5")),
    ];
    // One batch: each sees what the one before has left, which no caller could have read.
    let writes = steps
        .iter()
        .map(|(asked, primary, secondary, _)| with_keys(asked.clone(), *primary, *secondary));
    let results = store.identity_write(writes.collect(), at(1)).await.unwrap();
    for (result, (.., expected)) in results.into_iter().zip(steps) {
        let Ok(IdentityWritten::Put { identity, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(identity.settings.authentication, expected);
    }
}

pub(crate) async fn a_status_that_nobody_named_stays_as_the_writer_finds_it(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    let id = module("a", "m");
    let put = |status, reason: Option<&str>, is_named: bool| IdentityWrite::Put {
        id: id.clone(),
        settings: IdentitySettings {
            status,
            status_reason: reason.map(str::to_owned),
            ..settings()
        },
        made: Made {
            status: !is_named,
            ..Made::default()
        },
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    };
    let (on, off) = (Status::Enabled, Status::Disabled);
    // What is written: its status, its reason, whether the caller named the status; what is there then.
    let steps = [
        (on, None, false, (on, None)),
        (off, Some("broken"), true, (off, Some("broken"))),
        (on, None, false, (off, Some("broken"))),
        (on, Some("lost"), false, (off, Some("lost"))),
        (on, None, true, (on, None)),
    ];
    for (second, (status, reason, is_named, expected)) in (1..).zip(steps) {
        let now = written(&store, put(status, reason, is_named), at(second)).await;
        let reason = now.settings.status_reason.as_deref();
        assert_eq!((now.settings.status, reason), expected);
    }
}

pub(crate) async fn a_leaf_moves_below_edge_devices_only(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["plain"]).await;
    let own = keys("MQ==", "Mg==");
    let one = written(&store, put_edge("gate-1", &own), at(0)).await;
    let two = written(&store, put_edge("gate-2", &own), at(0)).await;
    let scope_of = |scope: &Option<String>| scope.clone().expect("edge devices have one");
    let (one, two) = (
        scope_of(&one.settings.device_scope),
        scope_of(&two.settings.device_scope),
    );
    let leaf = device("leaf");
    let below = |scope: &str| {
        let settings = IdentitySettings {
            device_scope: Some(scope.to_owned()),
            ..settings()
        };
        put_settings(&leaf, settings)
    };
    for scope in [&one, &two, &one] {
        let leaf = written(&store, below(scope), at(1)).await.settings;
        assert_eq!(leaf.device_scope.as_ref(), Some(scope));
        assert_eq!(leaf.parent_scopes, [scope.as_str()]);
    }
    let plain = store.identity_get(&device("plain")).await.unwrap().unwrap();
    let of_plain = scope::edge_scope(&plain.id.device, plain.generation);
    let outdated = format!("{two}1");
    for bogus in ["bogus", of_plain.as_str(), outdated.as_str()] {
        let refused = write(&store, below(bogus), at(2)).await;
        assert_eq!(refused, Err(IdentityError::ScopeFixed(leaf.clone())));
    }
    let alone = written(&store, below(""), at(3)).await.settings;
    assert_eq!(
        (alone.device_scope, alone.parent_scopes),
        (None, Vec::new())
    );
}

pub(crate) async fn rows_of_modules_say_who_looks_after_them(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a"]).await;
    for (name, managed_by) in [("m", Some("depot")), ("n", None)] {
        let settings = IdentitySettings {
            managed_by: managed_by.map(str::to_owned),
            ..settings()
        };
        written(&store, put_settings(&module("a", name), settings), at(0)).await;
    }
    let found = Arc::new(std::sync::Mutex::new(Vec::new()));
    let rows = found.clone();
    let scan = IdentityScan {
        space: Space::Modules,
        after: None,
        devices: None,
    };
    store
        .identity_scan(
            scan,
            Box::new(move |row| {
                let text = |field| match row.value(&Path::Field(field)) {
                    Value::String(text) => Some(text.to_string()),
                    Value::Undefined => None,
                    other => panic!("{other:?}"),
                };
                let line = [RootField::ModuleId, RootField::ManagedBy].map(text);
                rows.lock().unwrap().push(line);
                std::ops::ControlFlow::Continue(())
            }),
        )
        .await
        .unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        *found.lock().unwrap(),
        [[text("m"), text("depot")], [text("n"), None]]
    );
}
