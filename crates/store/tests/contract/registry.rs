//! Identities: preconditions, batches, deletion, counts.

use fanfare_hub::{
    ids::{Etag, IdentityKey, JobId, Space},
    jobs::job::{JobPlan, Operation, TwinOperation},
    json::JsonText,
    ports::store::{AcceptRules, IdentityCount, JobInserted},
    registry::{
        Authentication, IdentityError, IdentitySettings, IdentityWrite, IdentityWritten, Made,
        Precondition, Status,
    },
    time::Timestamp,
};
use serde_json::json;

use super::{
    Scratch, at, create, delete, device, module, object, patch, put, settings, write, written,
};

pub(crate) async fn preconditions_decide_who_may_create_and_change(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    for precondition in [Precondition::Exists, Precondition::Matches(Etag(1))] {
        let refused = write(&store, put(&id, precondition), at(0)).await;
        assert_eq!(refused, Err(IdentityError::Absent(id.clone())));
        let refused = write(&store, delete(&id, precondition), at(0)).await;
        assert_eq!(refused, Err(IdentityError::Absent(id.clone())));
    }
    assert_eq!(store.identity_get(&id).await.unwrap(), None);

    let made = written(&store, put(&id, Precondition::Absent), at(0)).await;
    assert_eq!(
        (made.etag, made.status_updated),
        (Etag(1), Timestamp::NEVER)
    );
    let refused = write(&store, put(&id, Precondition::Absent), at(0)).await;
    assert_eq!(refused, Err(IdentityError::Exists(id.clone())));
    let refused = write(&store, put(&id, Precondition::Matches(Etag(2))), at(0)).await;
    assert_eq!(refused, Err(IdentityError::EtagMismatch(id.clone())));
    let other = Precondition::AbsentOrMatches(Etag(2));
    let refused = write(&store, put(&id, other), at(0)).await;
    assert_eq!(refused, Err(IdentityError::EtagMismatch(id.clone())));
    let refused = write(&store, delete(&id, Precondition::Matches(Etag(2))), at(0)).await;
    assert_eq!(refused, Err(IdentityError::EtagMismatch(id.clone())));
    assert_eq!(store.identity_get(&id).await.unwrap(), Some(made.clone()));

    for (precondition, etag) in [
        (Precondition::Matches(Etag(1)), 2),
        (Precondition::Exists, 3),
        (Precondition::Any, 4),
    ] {
        let before = store.identity_get(&id).await.unwrap().map(Box::new);
        let changed = write(&store, put(&id, precondition), at(1)).await.unwrap();
        let IdentityWritten::Put {
            identity,
            before: told,
            ..
        } = changed
        else {
            panic!("a put answers with the entry");
        };
        assert_eq!((identity.etag, identity.key), (Etag(etag), made.key));
        assert_eq!(identity.generation, made.generation);
        assert_eq!(told, before);
    }
    let gone = write(&store, delete(&id, Precondition::Matches(Etag(4))), at(2))
        .await
        .unwrap();
    assert!(
        matches!(gone, IdentityWritten::Deleted { identity: entry, .. } if entry.etag == Etag(4))
    );
    assert_eq!(store.identity_get(&id).await.unwrap(), None);
    assert!(store.twin_get(&id).await.unwrap().is_none());

    written(&store, put(&id, Precondition::Any), at(3)).await;
    let gone = write(&store, delete(&id, Precondition::Any), at(3)).await;
    assert!(gone.is_ok());
}

pub(crate) async fn one_item_of_a_batch_fails_alone(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["taken"]).await;
    let ids = ["one", "taken", "two"].map(device);
    let writes = ids.iter().map(|id| put(id, Precondition::Absent)).collect();
    let results = store.identity_write(writes, at(1)).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(IdentityError::Exists(device("taken"))));
    assert!(results[2].is_ok());
    for id in ids {
        assert!(store.identity_get(&id).await.unwrap().is_some(), "{id}");
    }
    assert!(
        store
            .identity_write(Vec::new(), at(1))
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn later_items_of_a_batch_see_earlier_ones(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    let writes = vec![
        put(&id, Precondition::Absent),
        put(&id, Precondition::Absent),
        put(&id, Precondition::Matches(Etag(1))),
        delete(&id, Precondition::Matches(Etag(2))),
        put(&id, Precondition::Absent),
    ];
    let results = store.identity_write(writes, at(0)).await.unwrap();
    let succeeded: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(succeeded, [true, false, true, true, true]);
    assert_eq!(
        store.identity_get(&id).await.unwrap().map(|a| a.etag),
        Some(Etag(3))
    );
}

pub(crate) async fn a_name_used_again_is_another_identity(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    let first = written(&store, put(&id, Precondition::Absent), at(0)).await;
    store
        .twin_patch(&id, patch(json!({"t": 1}), json!(null)), None, at(0))
        .await
        .unwrap();
    store
        .activity_write(vec![(first.key, at(1))])
        .await
        .unwrap();
    written(&store, delete(&id, Precondition::Exists), at(1)).await;
    let second = written(&store, put(&id, Precondition::Absent), at(2)).await;
    assert!(second.key > first.key);
    assert!(second.generation > first.generation);
    let twin = store.twin_get(&id).await.unwrap().unwrap();
    assert_eq!(
        (twin.document.tags, twin.last_activity),
        (object(json!({})), Timestamp::NEVER)
    );
    let names = store
        .identity_names(vec![first.key, second.key])
        .await
        .unwrap();
    assert_eq!(names, [(first.key, id.clone()), (second.key, id)]);
}

pub(crate) async fn deleting_a_device_takes_its_modules(scratch: Scratch) {
    let store = scratch.store();
    create(&store, &["a", "ab"]).await;
    let ids = [module("a", "m"), module("a", "n"), module("ab", "m")];
    let mut keys = Vec::new();
    for id in &ids {
        keys.push(
            written(&store, put(id, Precondition::Absent), at(0))
                .await
                .key,
        );
    }
    assert!(keys.iter().all(|key| key.space == Space::Modules));
    written(&store, delete(&device("a"), Precondition::Exists), at(1)).await;
    for (id, is_left) in ids.iter().zip([false, false, true]) {
        assert_eq!(
            store.identity_get(id).await.unwrap().is_some(),
            is_left,
            "{id}"
        );
        assert_eq!(store.twin_get(id).await.unwrap().is_some(), is_left, "{id}");
    }
    let deleted = store.identity_deleted(Space::Modules).await.unwrap();
    assert_eq!(
        deleted.iter().collect::<Vec<_>>(),
        [keys[0].ordinal, keys[1].ordinal]
    );
    assert_eq!(
        store.identity_deleted(Space::Devices).await.unwrap().len(),
        1
    );

    written(&store, delete(&ids[2], Precondition::Exists), at(2)).await;
    assert!(store.identity_get(&device("ab")).await.unwrap().is_some());
}

pub(crate) async fn a_module_needs_its_device(scratch: Scratch) {
    let store = scratch.store();
    let refused = write(&store, put(&module("a", "m"), Precondition::Absent), at(0)).await;
    assert_eq!(refused, Err(IdentityError::Absent(device("a"))));
    assert_eq!(store.identity_get(&module("a", "m")).await.unwrap(), None);
}

pub(crate) async fn deleted_identities_keep_their_names_until_forgotten(mut scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["a", "b", "c"]).await;
    for name in ["a", "c"] {
        written(&store, delete(&device(name), Precondition::Exists), at(1)).await;
    }
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    let deleted = store.identity_deleted(Space::Devices).await.unwrap();
    assert_eq!(
        deleted.iter().collect::<Vec<_>>(),
        [keys[0].ordinal, keys[2].ordinal]
    );
    let unknown = IdentityKey {
        space: Space::Devices,
        ordinal: 4_000_000_000,
    };
    let names = store
        .identity_names(vec![keys[2], unknown, keys[1], keys[0]])
        .await
        .unwrap();
    let expected = [
        (keys[2], device("c")),
        (keys[1], device("b")),
        (keys[0], device("a")),
    ];
    assert_eq!(names, expected);

    // No job is there that could name them.
    store.identity_forget().await.unwrap();
    assert!(
        store
            .identity_deleted(Space::Devices)
            .await
            .unwrap()
            .is_empty()
    );
    let names = store.identity_names(keys.clone()).await.unwrap();
    assert_eq!(names, [(keys[1], device("b"))]);
}

pub(crate) async fn a_job_keeps_whoever_was_deleted_after_it_came(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["before", "after", "stays"]).await;
    written(
        &store,
        delete(&device("before"), Precondition::Exists),
        at(1),
    )
    .await;
    let plan = JobPlan {
        condition: "*".into(),
        space: Space::Devices,
        operation: Operation::Twin(TwinOperation {
            patch: patch(json!({"t": 1}), json!(null)),
            echo: JsonText::null(),
        }),
        start: None,
        window_seconds: 60,
    };
    let job = JobId::parse("j").expect("a valid id");
    let inserted = store
        .job_insert(job, plan, None, at(2), AcceptRules::default())
        .await
        .unwrap();
    assert!(matches!(inserted, JobInserted::Accepted(_)));
    written(
        &store,
        delete(&device("after"), Precondition::Exists),
        at(3),
    )
    .await;
    store.identity_forget().await.unwrap();
    let deleted = store.identity_deleted(Space::Devices).await.unwrap();
    assert_eq!(deleted.iter().collect::<Vec<_>>(), [keys[1].ordinal]);
    assert_eq!(store.identity_names(keys.clone()).await.unwrap().len(), 2);
}

pub(crate) async fn the_status_time_moves_with_the_status_alone(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    create(&store, &["a"]).await;
    let with = |status, reason: &str| IdentityWrite::Put {
        id: device("a"),
        settings: IdentitySettings {
            status,
            status_reason: Some(reason.into()),
            ..settings()
        },
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Exists,
        twin: None,
    };
    let steps = [
        (Status::Enabled, Timestamp::NEVER),
        (Status::Disabled, at(2)),
        (Status::Disabled, at(2)),
        (Status::Enabled, at(4)),
    ];
    for (step, (status, expected)) in (1..).zip(steps) {
        let changed = written(&store, with(status, &step.to_string()), at(step)).await;
        assert_eq!(changed.status_updated, expected, "step {step}");
        assert_eq!(changed.settings.status_reason, Some(step.to_string()));
        assert_eq!(store.identity_get(&id).await.unwrap(), Some(changed));
    }
}

pub(crate) async fn a_scope_once_set_stays(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    let with = |scope: Option<&str>, parents: &[&str]| IdentityWrite::Put {
        id: device("a"),
        settings: IdentitySettings {
            device_scope: scope.map(str::to_owned),
            parent_scopes: parents.iter().map(|&parent| parent.to_owned()).collect(),
            ..settings()
        },
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    };
    written(&store, with(None, &[]), at(0)).await;
    written(&store, with(Some("s"), &["p"]), at(1)).await;
    let refused = write(&store, with(Some("other"), &[]), at(2)).await;
    assert_eq!(refused, Err(IdentityError::ScopeFixed(id.clone())));
    for same in [with(None, &[]), with(Some("s"), &[])] {
        let kept = written(&store, same, at(3)).await.settings;
        assert_eq!(kept.device_scope.as_deref(), Some("s"));
        assert_eq!(kept.parent_scopes, ["p"]);
    }
    let kept = store.identity_get(&id).await.unwrap().unwrap();
    assert_eq!(
        (kept.etag, kept.settings.device_scope.as_deref()),
        (Etag(4), Some("s"))
    );
}

fn put_with_twin(name: &str, twin: fanfare_hub::twin::document::TwinPatch) -> IdentityWrite {
    IdentityWrite::Put {
        id: device(name),
        settings: settings(),
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: Some(twin),
    }
}

pub(crate) async fn a_first_twin_content_belongs_to_the_creation(scratch: Scratch) {
    let store = scratch.store();
    let id = device("a");
    written(
        &store,
        put_with_twin("a", patch(json!({"t": 1}), json!({"d": 2}))),
        at(0),
    )
    .await;
    let twin = store.twin_get(&id).await.unwrap().unwrap().document;
    assert_eq!((twin.version, twin.etag), (1, Etag(1)));
    assert_eq!((twin.desired.version, twin.reported.version), (1, 1));
    assert_eq!(
        (twin.tags, twin.desired.values),
        (object(json!({"t": 1})), object(json!({"d": 2})))
    );
    assert_eq!(twin.desired.metadata.children["d"].version, Some(1));

    let tags_only = written(
        &store,
        put_with_twin("b", patch(json!({"t": 1}), json!(null))),
        at(0),
    );
    tags_only.await;
    let twin = store
        .twin_get(&device("b"))
        .await
        .unwrap()
        .unwrap()
        .document;
    assert_eq!((twin.version, twin.desired.version), (1, 1));

    let changed = put_with_twin("a", patch(json!({"t": null}), json!({"e": 3})));
    written(&store, changed, at(1)).await;
    let twin = store.twin_get(&id).await.unwrap().unwrap().document;
    assert_eq!(
        (twin.version, twin.etag, twin.desired.version),
        (2, Etag(2), 2)
    );
    assert_eq!(twin.desired.values, object(json!({"d": 2, "e": 3})));
    assert!(twin.tags.is_empty());
}

/// compat: REG-49
pub(crate) async fn a_change_of_an_entry_says_what_the_device_must_hear(scratch: Scratch) {
    let store = scratch.store();
    let desired_one = || patch(json!(null), json!({"d": 1}));
    let tags_only = patch(json!({"t": 1}), json!(null));
    for (twin, version) in [
        // Of a new one nobody can be connected.
        (desired_one(), None),
        (desired_one(), Some(2)),
        (tags_only, None),
        (desired_one(), Some(3)),
    ] {
        let changed = write(&store, put_with_twin("a", twin.clone()), at(0)).await;
        let Ok(IdentityWritten::Put { desired, .. }) = changed else {
            panic!("{changed:?}");
        };
        let told = desired.map(|told| (told.patch, told.change.version, told.change.cleared));
        assert_eq!(told, version.map(|version| (twin, version, None)));
    }
    let changed = write(&store, put(&device("a"), Precondition::Any), at(0)).await;
    assert!(
        matches!(changed, Ok(IdentityWritten::Put { desired: None, .. })),
        "{changed:?}"
    );
}

pub(crate) async fn a_refused_twin_change_refuses_the_entry(scratch: Scratch) {
    let store = scratch.store();
    let chunk = "x".repeat(4_000);
    let too_large = || patch(json!({"a": chunk, "b": chunk, "c": chunk}), json!(null));
    let refused = write(&store, put_with_twin("a", too_large()), at(0)).await;
    assert!(
        matches!(refused, Err(IdentityError::Twin { .. })),
        "{refused:?}"
    );
    assert_eq!(store.identity_get(&device("a")).await.unwrap(), None);

    create(&store, &["a"]).await;
    let refused = write(&store, put_with_twin("a", too_large()), at(0)).await;
    assert!(
        matches!(refused, Err(IdentityError::Twin { .. })),
        "{refused:?}"
    );
    let twin = store.twin_get(&device("a")).await.unwrap().unwrap();
    assert_eq!((twin.identity.etag, twin.document.etag), (Etag(1), Etag(1)));
}

pub(crate) async fn lists_go_in_order_of_creation(scratch: Scratch) {
    let store = scratch.store();
    let keys = create(&store, &["c", "a", "b"]).await;
    written(&store, put(&module("a", "m"), Precondition::Absent), at(0)).await;
    store.activity_write(vec![(keys[1], at(5))]).await.unwrap();
    let expected = [
        ("c", Timestamp::NEVER),
        ("a", at(5)),
        ("b", Timestamp::NEVER),
    ]
    .map(|(name, heard)| (name.to_owned(), heard));
    let list = async |limit| {
        let identities = store.identity_list(limit).await.unwrap();
        identities
            .into_iter()
            .map(|(identity, heard)| (identity.id.to_string(), heard))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(1_000).await, expected);
    assert_eq!(list(2).await, expected[..2]);
    assert!(list(0).await.is_empty());
}

pub(crate) async fn counts_follow_every_change(mut scratch: Scratch) {
    let store = scratch.store();
    assert_eq!(
        store.identity_count().await.unwrap(),
        IdentityCount {
            total: 0,
            enabled: 0
        }
    );
    create(&store, &["a", "b", "c"]).await;
    written(&store, put(&module("a", "m"), Precondition::Absent), at(0)).await;
    let disable = IdentityWrite::Put {
        id: device("b"),
        settings: IdentitySettings {
            status: Status::Disabled,
            ..settings()
        },
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Exists,
        twin: None,
    };
    for _ in 0..2 {
        written(&store, disable.clone(), at(1)).await;
        let count = store.identity_count().await.unwrap();
        assert_eq!(
            count,
            IdentityCount {
                total: 3,
                enabled: 2
            }
        );
    }
    written(&store, delete(&device("a"), Precondition::Exists), at(2)).await;
    drop(store);
    scratch.reopen();
    let store = scratch.store();
    assert_eq!(
        store.identity_count().await.unwrap(),
        IdentityCount {
            total: 2,
            enabled: 1
        }
    );
    written(&store, delete(&device("b"), Precondition::Exists), at(3)).await;
    assert_eq!(
        store.identity_count().await.unwrap(),
        IdentityCount {
            total: 1,
            enabled: 1
        }
    );
}

pub(crate) async fn settings_of_every_kind_survive_a_reopening(mut scratch: Scratch) {
    let store = scratch.store();
    let kinds = [
        settings().authentication,
        Authentication::SelfSigned {
            primary: None,
            secondary: Some("CD34".into()),
        },
        Authentication::CertificateAuthority,
        Authentication::None,
    ];
    let mut expected = Vec::new();
    for (number, authentication) in kinds.into_iter().enumerate() {
        let item = IdentityWrite::Put {
            id: device(&format!("d{number}")),
            settings: IdentitySettings {
                authentication,
                edge: number == 2,
                status_reason: Some("why not; drop table".into()),
                ..settings()
            },
            made: Made::default(),
            modules: Vec::new(),
            precondition: Precondition::Absent,
            twin: None,
        };
        expected.push(written(&store, item, at(0)).await);
    }
    drop(store);
    scratch.reopen();
    let listed = scratch.store().identity_list(10).await.unwrap();
    let listed: Vec<_> = listed.into_iter().map(|(identity, _)| identity).collect();
    assert_eq!(listed, expected);
}
