//! Shared access policies.

use fanfare_hub::{
    access::{DEFAULT_POLICIES, Policy, PolicyChange, PolicyEdit, PolicyRefused, Rights, Rotation},
    ids::Etag,
    limits::{POLICIES_MAX, POLICIES_SERVICE_CONNECT_MAX},
    ports::store::PolicyList,
    registry::{Precondition, SymmetricKey},
};

use super::Scratch;

fn policy((name, rights): (&str, Rights)) -> Policy {
    Policy {
        name: name.into(),
        rights,
        primary: SymmetricKey::new("Zmlyc3Q="),
        secondary: SymmetricKey::new("c2Vjb25k"),
        etag: Etag(0),
    }
}

fn defaults() -> Vec<Policy> {
    DEFAULT_POLICIES.map(policy).into()
}

fn put(name: &str, rights: Rights, precondition: Precondition) -> PolicyChange {
    PolicyChange {
        name: name.into(),
        precondition,
        edit: PolicyEdit::Put {
            rights,
            primary: None,
            secondary: None,
            made: ["bmV3", "bmV3ZXI="].map(SymmetricKey::new),
        },
    }
}

fn edit(name: &str, edit: PolicyEdit) -> PolicyChange {
    PolicyChange {
        name: name.into(),
        precondition: Precondition::Exists,
        edit,
    }
}

fn named<'a>(list: &'a PolicyList, name: &str) -> Option<&'a Policy> {
    list.policies.iter().find(|policy| &*policy.name == name)
}

pub(crate) async fn policies_are_kept_and_replaced(mut scratch: Scratch) {
    let store = scratch.store();
    assert_eq!(store.policy_list().await.unwrap(), PolicyList::default());
    let seeded = store.policy_seed(defaults()).await.unwrap();
    let mut expected = defaults();
    expected.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(*seeded.policies, *expected);
    let again = store
        .policy_seed(vec![policy(("other", Rights::NONE))])
        .await;
    assert_eq!(again.unwrap(), seeded, "only an empty store is seeded");

    let lowered = put(
        "service",
        Rights::REGISTRY_READ,
        Precondition::Matches(Etag(0)),
    );
    let lowered = store.policy_change(lowered).await.unwrap().unwrap();
    let made = put("made", Rights::NONE, Precondition::Absent);
    let made = store.policy_change(made).await.unwrap().unwrap();
    let swap = edit("device", PolicyEdit::Rotate(Rotation::Swap));
    let swapped = store.policy_change(swap).await.unwrap().unwrap();
    let gone = edit("registryRead", PolicyEdit::Delete);
    let gone = store.policy_change(gone).await.unwrap().unwrap();
    let revisions = [&seeded, &lowered, &made, &swapped, &gone].map(|list| list.revision);
    assert!(
        revisions.is_sorted_by(|one, next| one < next),
        "{revisions:?}"
    );
    drop(store);

    scratch.reopen();
    let list = scratch.store().policy_list().await.unwrap();
    assert_eq!(list, gone);
    let service = named(&list, "service").unwrap();
    assert_eq!(service.rights, Rights::REGISTRY_READ);
    assert_eq!(
        service.primary.expose(),
        "Zmlyc3Q=",
        "a key that nobody named stays"
    );
    assert_eq!(service.etag, Etag(lowered.revision));
    assert_eq!(named(&list, "made").unwrap().secondary.expose(), "bmV3ZXI=");
    assert_eq!(named(&list, "device").unwrap().primary.expose(), "c2Vjb25k");
    assert_eq!(named(&list, "registryRead"), None);
}

pub(crate) async fn a_refused_change_of_policies_changes_nothing(scratch: Scratch) {
    let store = scratch.store();
    let seeded = store.policy_seed(defaults()).await.unwrap();
    for (change, refused) in [
        (
            put("service", Rights::NONE, Precondition::Absent),
            PolicyRefused::Exists,
        ),
        (
            put("nobody", Rights::NONE, Precondition::Exists),
            PolicyRefused::Absent,
        ),
        (
            put("service", Rights::NONE, Precondition::Matches(Etag(7))),
            PolicyRefused::EtagMismatch,
        ),
        (edit("nobody", PolicyEdit::Delete), PolicyRefused::Absent),
        (
            edit("iothubowner", PolicyEdit::Delete),
            PolicyRefused::LastOwner,
        ),
        (
            put("iothubowner", Rights::SERVICE_CONNECT, Precondition::Any),
            PolicyRefused::LastOwner,
        ),
    ] {
        let outcome = store.policy_change(change.clone()).await.unwrap();
        assert_eq!(outcome, Err(refused), "{change:?}");
    }
    assert_eq!(store.policy_list().await.unwrap(), seeded);
}

/// Everybody asks for a place at once, while there are fewer places than askers: the writer lets in as many as
/// there may be, whatever the order.
pub(crate) async fn the_writer_holds_the_limits_of_policies(scratch: Scratch) {
    let store = scratch.store();
    store.policy_seed(defaults()).await.unwrap();
    let askers = (0..POLICIES_MAX).map(|at| {
        let store = store.clone();
        tokio::spawn(async move {
            let rights = Rights::SERVICE_CONNECT;
            let put = put(&format!("p{at}"), rights, Precondition::Absent);
            store.policy_change(put).await.unwrap().err()
        })
    });
    let askers: Vec<_> = askers.collect();
    let mut refused = Vec::new();
    for asker in askers {
        refused.extend(asker.await.unwrap());
    }
    // iothubowner and service have it already.
    let places = POLICIES_SERVICE_CONNECT_MAX - 2;
    let expected = vec![PolicyRefused::TooManyServiceConnect; POLICIES_MAX - places];
    assert_eq!(refused, expected);
    let there = store.policy_list().await.unwrap().policies.len();
    for at in there..POLICIES_MAX {
        let put = put(
            &format!("q{at}"),
            Rights::REGISTRY_READ,
            Precondition::Absent,
        );
        store.policy_change(put).await.unwrap().unwrap();
    }
    let one_more = put("one-more", Rights::REGISTRY_READ, Precondition::Absent);
    let one_more = store.policy_change(one_more).await.unwrap();
    assert_eq!(one_more, Err(PolicyRefused::TooMany));
    assert_eq!(
        store.policy_list().await.unwrap().policies.len(),
        POLICIES_MAX
    );
}

/// Two operators read the same version; the second to write learns that somebody was faster.
pub(crate) async fn of_two_changes_of_one_version_one_is_made(scratch: Scratch) {
    let store = scratch.store();
    store.policy_seed(defaults()).await.unwrap();
    let put = |rights| put("service", rights, Precondition::Matches(Etag(0)));
    let (one, other) = tokio::join!(
        store.policy_change(put(Rights::REGISTRY_READ)),
        store.policy_change(put(Rights::DEVICE_CONNECT)),
    );
    let outcomes = [one.unwrap(), other.unwrap()];
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(made, 1, "{outcomes:?}");
    assert!(outcomes.contains(&Err(PolicyRefused::EtagMismatch)));
}
