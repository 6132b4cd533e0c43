//! Keys that change while the hub runs, and issuers that fail while it has their keys.

use std::time::Duration;

use fanfare_auth::{
    bearer::BearerRefusal,
    testing::{Reply, SigningKey, claims},
};
use fanfare_hub::ports::Clock as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::rig::{READER, Rig, claims_with, issuer, settings, token};

/// How long keys count when their issuer does not say.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// The shortest time between two fetches that tokens asked for.
const ASKED_AFTER: Duration = Duration::from_secs(30);
/// The longest wait for the next try.
const RETRY_LAST: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn down() -> Reply {
    Reply::http("503 Service Unavailable", "", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_key_costs_one_fetch_however_many_come_with_it() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let issuer = issuer(&[&old]).await;
    let rig = Rig::of(&issuer).await;
    rig.clock.advance(ASKED_AFTER);
    issuer.publish(&[&old, &new]);
    let mut callers = JoinSet::new();
    for caller in 0..64 {
        let claims = claims_with(&issuer, "sub", json!(format!("caller {caller}")));
        let (bearer, now) = (rig.bearer.clone(), rig.clock.now());
        let token = new.mint(&claims);
        callers.spawn(async move { bearer.verify(&token, now).await });
    }
    for verified in callers.join_all().await {
        assert!(verified.is_ok(), "{verified:?}");
    }
    assert_eq!(rig.fetches(), (2, 0));
    // Two documents each.
    assert_eq!(*issuer.requests().borrow(), 4);
    assert!(rig.verify(&token(&issuer, &old)).await.is_ok());
    rig.stop().await;
}

#[tokio::test]
async fn strangers_with_keys_of_their_own_cost_the_issuer_next_to_nothing() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    for round in 1..=3 {
        for stranger in 0..100 {
            let stranger = SigningKey::es256(&format!("{round} {stranger}"));
            let refused = rig.verify(&token(&issuer, &stranger)).await;
            assert_eq!(refused, Err(BearerRefusal::UnknownKey));
        }
        assert_eq!(rig.fetches(), (round, 0), "one for each half minute");
        rig.clock.advance(ASKED_AFTER);
    }
    rig.stop().await;
}

#[tokio::test]
async fn another_key_under_the_same_id_is_fetched_as_any_other() {
    let (old, new) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let issuer = issuer(&[&old]).await;
    let rig = Rig::of(&issuer).await;
    assert!(rig.verify(&token(&issuer, &old)).await.is_ok());
    issuer.publish(&[&new]);
    let early = rig.verify(&token(&issuer, &new)).await;
    assert_eq!(
        early,
        Err(BearerRefusal::Signature),
        "it was asked just now"
    );
    rig.clock.advance(ASKED_AFTER);
    assert!(rig.verify(&token(&issuer, &new)).await.is_ok());
    let gone = rig.verify(&token(&issuer, &old)).await;
    assert_eq!(gone, Err(BearerRefusal::Signature), "remembered no more");
    assert_eq!(rig.fetches(), (2, 0));
    rig.stop().await;
}

#[tokio::test]
async fn a_withdrawn_key_ends_what_was_remembered() {
    let (kept, withdrawn) = (SigningKey::es256("a"), SigningKey::es256("b"));
    let issuer = issuer(&[&kept, &withdrawn]).await;
    let rig = Rig::of(&issuer).await;
    let (good, bad) = (token(&issuer, &kept), token(&issuer, &withdrawn));
    for token in [&good, &bad] {
        assert!(rig.verify(token).await.is_ok());
    }
    issuer.publish(&[&kept]);
    // The hub cannot know yet.
    assert!(rig.verify(&bad).await.is_ok());
    rig.next_fetch(LIFETIME).await;
    assert_eq!(rig.fetches(), (2, 0));
    assert_eq!(rig.verify(&bad).await, Err(BearerRefusal::UnknownKey));
    assert!(rig.verify(&good).await.is_ok());
    let counts = rig.bearer.counts();
    assert_eq!((counts.verified.get(), counts.remembered.get()), (2, 2));
    rig.stop().await;
}

#[tokio::test]
async fn the_last_keys_go_on_counting_while_the_issuer_is_down_and_then_end() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let began = rig.clock.now();
    let remembered = token(&issuer, &key);
    assert!(rig.verify(&remembered).await.is_ok());
    issuer.answer(|_| down());
    rig.next_fetch(LIFETIME).await;
    assert_eq!(rig.fetches().0, 1);
    let last = LIFETIME + DAY - Duration::from_secs(1);
    rig.clock.advance_to(began + last);
    let fresh = |name: &str| key.mint(&claims_with(&issuer, "sub", json!(name)));
    assert!(rig.verify(&remembered).await.is_ok());
    assert!(rig.verify(&fresh("one")).await.is_ok());
    assert_eq!(rig.standing().keys, 1);
    rig.clock.advance_to(began + LIFETIME + DAY);
    for over in [remembered.clone(), fresh("one"), fresh("two")] {
        assert_eq!(rig.verify(&over).await, Err(BearerRefusal::NoKeys));
    }
    let standing = rig.standing();
    assert_eq!((standing.keys, standing.keys_since), (0, None));
    issuer.be_honest();
    while rig.standing().keys == 0 {
        rig.next_fetch(RETRY_LAST).await;
    }
    assert!(rig.verify(&remembered).await.is_ok());
    rig.stop().await;
}

#[tokio::test]
async fn stale_keys_can_be_ruled_out() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let mut settings = settings(&[issuer.url()]);
    settings.stale_for = Duration::ZERO;
    let rig = Rig::start(settings);
    rig.fetched(issuer.url(), 1).await;
    issuer.answer(|_| down());
    let token = token(&issuer, &key);
    let now = rig.clock.now();
    let late = now + LIFETIME;
    let just = now + (LIFETIME - Duration::from_micros(1));
    assert!(rig.bearer.verify(&token, just).await.is_ok());
    let over = rig.bearer.verify(&token, late).await;
    assert_eq!(over, Err(BearerRefusal::NoKeys));
    rig.stop().await;
}

/// A lie takes nothing away that an honest answer brought, and adds nothing to it.
#[tokio::test]
async fn a_lie_changes_nothing_about_the_last_keys() {
    let (key, strange) = (SigningKey::es256("k"), SigningKey::es256("s"));
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let other =
        json!({"issuer": "https://evil.test", "jwks_uri": format!("{}/keys", issuer.url())});
    issuer.publish(&[&strange]);
    issuer.answer(move |path| match path.ends_with("/keys") {
        true => Reply::Honest,
        false => crate::rig::json_reply(&other),
    });
    rig.next_fetch(LIFETIME).await;
    assert_eq!(rig.fetches(), (1, 1));
    assert!(rig.verify(&token(&issuer, &key)).await.is_ok());
    let stranger = rig.verify(&token(&issuer, &strange)).await;
    assert_eq!(stranger, Err(BearerRefusal::UnknownKey));
    rig.stop().await;
}

#[tokio::test]
async fn a_failing_issuer_is_asked_ever_more_seldom() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    issuer.answer(|_| down());
    let rig = Rig::start(settings(&[issuer.url()]));
    rig.fetched(issuer.url(), 1).await;
    let waits = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    for (place, wait) in (2..).zip(waits) {
        rig.clock.advance(Duration::from_secs(wait));
        rig.fetched(issuer.url(), place).await;
    }
    // One request for each: the first document never came.
    assert_eq!(*issuer.requests().borrow(), 12);
    issuer.be_honest();
    // A token asks at once, however long the next wait would be.
    rig.clock.advance(ASKED_AFTER);
    assert!(rig.verify(&token(&issuer, &key)).await.is_ok());
    assert_eq!(rig.fetches(), (1, 12));
    rig.stop().await;
}

#[tokio::test]
async fn issuers_say_how_long_their_keys_count_within_reason() {
    let key = SigningKey::es256("k");
    for (header, lifetime) in [
        ("cache-control: max-age=7200\r\n", 7_200),
        ("cache-control: no-store\r\n", 300),
        ("cache-control: max-age=31536000\r\n", 86_400),
        ("", 3_600),
    ] {
        let issuer = issuer(&[&key]).await;
        let keys = json!({"keys": [key.jwk()]}).to_string();
        issuer.answer(move |path| match path.ends_with("/keys") {
            true => Reply::http("200 OK", header, &keys),
            false => Reply::Honest,
        });
        let mut settings = settings(&[issuer.url()]);
        settings.stale_for = Duration::ZERO;
        let rig = Rig::start(settings);
        rig.fetched(issuer.url(), 1).await;
        let began = rig.clock.now();
        let standing = |seconds| {
            let at = began + Duration::from_secs(seconds);
            rig.bearer.standings(at).remove(0).keys
        };
        assert_eq!(standing(lifetime - 1), 1, "{header}");
        assert_eq!(standing(lifetime), 0, "{header}");
        // They are fetched anew before: at four fifths with these dice.
        rig.next_fetch(Duration::from_secs(lifetime * 4 / 5 + 1))
            .await;
        assert_eq!(rig.fetches(), (2, 0), "{header}");
        assert_eq!(standing(lifetime), 1, "{header}");
        let token = key.mint(&claims(issuer.url(), &[READER]));
        assert!(rig.verify(&token).await.is_ok());
        rig.stop().await;
    }
}
