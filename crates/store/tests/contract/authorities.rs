//! Certificate authorities.

use fanfare_hub::{
    authorities::{AuthorityChange, AuthorityEdit, AuthorityName, AuthorityRefused},
    ids::Etag,
    limits::AUTHORITIES_MAX,
    ports::authorities::AuthorityList,
    registry::Precondition,
    time::Timestamp,
};

use super::Scratch;

fn change(name: &str, precondition: Precondition, edit: AuthorityEdit) -> AuthorityChange {
    AuthorityChange {
        name: AuthorityName::parse(name).unwrap(),
        precondition,
        edit,
    }
}

fn put(name: &str, certificate: &[u8]) -> AuthorityChange {
    let edit = AuthorityEdit::Put(certificate.into());
    change(name, Precondition::Any, edit)
}

pub(crate) async fn authorities_are_kept_in_order_of_their_names(mut scratch: Scratch) {
    let store = scratch.store();
    assert_eq!(
        store.authority_list().await.unwrap(),
        AuthorityList::default()
    );
    let at = |seconds: i64| Timestamp(seconds * 1_000_000);
    let make = async |change, seconds| {
        let changed = store.authority_change(change, at(seconds)).await;
        changed.unwrap().unwrap()
    };
    make(put("b", b"two"), 1).await;
    make(put("a", b"one"), 2).await;
    let code = AuthorityEdit::Code("C0DE".into());
    make(change("b", Precondition::Exists, code), 3).await;
    let verify = change("a", Precondition::Matches(Etag(2)), AuthorityEdit::Verify);
    let last = make(verify, 4).await;
    assert_eq!(last.revision, 4);
    let [a, b] = &*last.authorities else {
        panic!("{last:?}");
    };
    assert_eq!((a.name.as_str(), &*a.certificate), ("a", &b"one"[..]));
    assert!(a.is_verified && a.code.is_none());
    assert_eq!((a.created, a.updated, a.etag), (at(2), at(4), Etag(4)));
    assert_eq!((b.name.as_str(), &*b.certificate), ("b", &b"two"[..]));
    assert!(!b.is_verified);
    assert_eq!((b.code.as_deref(), b.etag), (Some("C0DE"), Etag(3)));
    drop(store);
    scratch.reopen();
    assert_eq!(scratch.store().authority_list().await.unwrap(), last);
}

pub(crate) async fn a_refused_change_of_an_authority_changes_nothing(scratch: Scratch) {
    let store = scratch.store();
    for at in 0..AUTHORITIES_MAX {
        let made = store.authority_change(put(&format!("a{at}"), &[at as u8]), Timestamp(0));
        made.await.unwrap().unwrap();
    }
    let before = store.authority_list().await.unwrap();
    let gone = change("a0", Precondition::Matches(Etag(99)), AuthorityEdit::Delete);
    for (change, refused) in [
        (put("more", b"x"), AuthorityRefused::TooMany),
        (gone, AuthorityRefused::EtagMismatch),
    ] {
        let answer = store.authority_change(change, Timestamp(1)).await.unwrap();
        assert_eq!(answer, Err(refused));
        assert_eq!(store.authority_list().await.unwrap(), before);
    }
    // An etag is never used again, also not after the last change was a deletion.
    let delete = change("a0", Precondition::Exists, AuthorityEdit::Delete);
    let after = store.authority_change(delete, Timestamp(2)).await.unwrap();
    let after = after.unwrap();
    assert_eq!(after.authorities.len(), AUTHORITIES_MAX - 1);
    let made = store
        .authority_change(put("a0", b"again"), Timestamp(3))
        .await;
    let made = made.unwrap().unwrap();
    let again = made
        .authorities
        .iter()
        .find(|one| one.name.as_str() == "a0");
    assert!(again.unwrap().etag.0 > after.revision);
}
