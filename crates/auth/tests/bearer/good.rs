//! Tokens that hold: every algorithm, every way in which issuers write claims, and what they grant.

use fanfare_auth::{
    bearer::{AUDIENCE, BearerRefusal},
    testing::{SigningKey, claims},
};
use fanfare_hub::{
    access::{ActionSet, Actor, BuiltInRole, Grants, Principal},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::rig::{NOW_S, READER, Rig, claims_with, issuer, rsa_pem, settings, token};

fn actions(principal: &Principal) -> ActionSet {
    match principal.grants {
        Grants::Actions(actions) => actions,
        Grants::Rights(rights) => panic!("a token gave the rights of a policy: {rights:?}"),
    }
}

#[tokio::test]
async fn every_algorithm_of_an_issuer_holds() {
    let pem = rsa_pem(2_048);
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        .map(|algorithm| SigningKey::rsa("rsa", algorithm, &pem));
    let curves = [
        SigningKey::es256("p256"),
        SigningKey::es384("p384"),
        SigningKey::ed25519("ed"),
    ];
    let published: Vec<_> = rsa.iter().take(1).chain(&curves).collect();
    let issuer = issuer(&published).await;
    let rig = Rig::of(&issuer).await;
    assert_eq!(rig.standing().keys, 4);
    for key in rsa.iter().chain(&curves) {
        let proven = rig.verify(&token(&issuer, key)).await;
        assert!(proven.is_ok(), "{}: {proven:?}", key.algorithm());
        // Without a key id every key of the kind may be meant.
        let nameless = key.mint_with(&json!({}), &claims(issuer.url(), &[READER]));
        let proven = rig.verify(&nameless).await;
        assert!(
            proven.is_ok(),
            "{} without an id: {proven:?}",
            key.algorithm()
        );
    }
    let curve = json!({"alg": "Ed25519", "kid": "ed", "typ": "at+jwt"});
    let proven = curves[2].mint_with(&curve, &claims(issuer.url(), &[READER]));
    assert!(
        rig.verify(&proven).await.is_ok(),
        "the name that says the curve"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_token_says_who_it_is_and_what_it_opens() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let proven = rig.verify(&token(&issuer, &key)).await.unwrap();
    let expected = Principal {
        actor: Actor::Token {
            issuer: issuer.url().into(),
            subject: "somebody".into(),
            app: Some("tool".into()),
        },
        grants: Grants::Actions(BuiltInRole::named(READER).unwrap().actions()),
        until: Timestamp(4_000_000_000_000_000),
    };
    assert_eq!(proven, expected);
    // The second time it is remembered, and proves the same.
    assert_eq!(rig.verify(&token(&issuer, &key)).await.unwrap(), expected);
    let roleless = key.mint(&claims_with(&issuer, "roles", Value::Null));
    let roleless = rig.verify(&roleless).await.unwrap();
    assert!(actions(&roleless).is_empty(), "known, and allowed nothing");
    rig.stop().await;
}

#[tokio::test]
async fn a_token_that_was_verified_is_remembered_until_it_ends() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let ends = key.mint(&claims_with(&issuer, "exp", json!(NOW_S + 60)));
    let seen = || {
        let counts = rig.bearer.counts();
        [&counts.verified, &counts.remembered, &counts.refused].map(|count| count.get())
    };
    assert!(rig.verify(&ends).await.is_ok());
    assert_eq!(seen(), [1, 0, 0]);
    let after = |seconds: i64| Timestamp((NOW_S + seconds) * 1_000_000);
    assert!(rig.bearer.verify(&ends, after(360)).await.is_ok());
    assert_eq!(seen(), [1, 1, 0]);
    let late = rig.bearer.verify(&ends, after(361)).await;
    assert_eq!(late, Err(BearerRefusal::Expired));
    assert_eq!(seen(), [1, 1, 1]);
    rig.stop().await;
}

#[tokio::test]
async fn claims_are_read_as_providers_write_them() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let mut settings = settings(&[issuer.url()]);
    let own = &mut settings.issuers[0];
    own.audiences = vec!["api://fleet".to_owned()];
    own.role_claims = ["roles", "realm_access.roles", "oid"]
        .map(str::to_owned)
        .to_vec();
    let jobs = ActionSet::parse("jobs/*").unwrap();
    own.roles = ["fleet-jobs", "known"]
        .map(|name| (name.to_owned(), jobs))
        .into();
    let rig = Rig::start(settings);
    rig.fetched(issuer.url(), 1).await;
    let reader = BuiltInRole::named(READER).unwrap().actions();
    let base = json!({"iss": issuer.url(), "exp": NOW_S + 600, "aud": AUDIENCE});
    let with = |more: Value| {
        let mut all = base.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    for (shape, claims, subject, app, granted) in [
        (
            "Entra 1.0, an application",
            json!({"ver": "1.0", "appid": "app", "appidacr": "1", "idtyp": "app", "oid": "object",
                "sub": "object", "tid": "tenant", "roles": [READER], "nbf": NOW_S, "iat": NOW_S}),
            "object",
            Some("app"),
            reader,
        ),
        (
            "Entra 1.0, an application known by its object id",
            json!({"ver": "1.0", "appid": "app", "oid": "known", "sub": "known"}),
            "known",
            Some("app"),
            jobs,
        ),
        (
            "Entra 2.0, a user",
            json!({"ver": "2.0", "azp": "app", "azpacr": "0", "oid": "object", "sub": "pair",
                "tid": "tenant", "scp": "Hub.Access", "roles": [READER], "aud": "api://fleet"}),
            "pair",
            Some("app"),
            reader,
        ),
        (
            "Keycloak",
            json!({"azp": "app", "sub": "user", "typ": "Bearer", "scope": "profile email",
                "aud": [AUDIENCE, "account"], "realm_access": {"roles": ["fleet-jobs", "other"]}}),
            "user",
            Some("app"),
            jobs,
        ),
        (
            "client credentials elsewhere",
            json!({"client_id": "app", "sub": "app", "aud": format!("{AUDIENCE}/"),
                "roles": format!("other {READER}"), "exp": NOW_S as f64 + 0.5}),
            "app",
            Some("app"),
            ActionSet::NONE,
        ),
        (
            "nobody's tool",
            json!({"sub": "x", "roles": READER}),
            "x",
            None,
            reader,
        ),
    ] {
        let proven = rig.verify(&key.mint(&with(claims))).await;
        let proven = proven.unwrap_or_else(|refusal| panic!("{shape}: {refusal}"));
        let actor = Actor::Token {
            issuer: issuer.url().into(),
            subject: subject.into(),
            app: app.map(Into::into),
        };
        assert_eq!(proven.actor, actor, "{shape}");
        assert_eq!(actions(&proven), granted, "{shape}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn users_need_a_scope_where_one_is_required_and_applications_do_not() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let mut settings = settings(&[issuer.url()]);
    settings.issuers[0].required_scopes = vec!["Hub.Access".to_owned()];
    let rig = Rig::start(settings);
    rig.fetched(issuer.url(), 1).await;
    let user = |scope: &str| key.mint(&claims_with(&issuer, "scp", json!(scope)));
    assert!(rig.verify(&user("openid Hub.Access")).await.is_ok());
    for wrong in ["openid", "hub.access", ""] {
        let refused = rig.verify(&user(wrong)).await;
        assert_eq!(refused, Err(BearerRefusal::Scope), "{wrong:?}");
    }
    assert!(rig.verify(&token(&issuer, &key)).await.is_ok());
    rig.stop().await;
}

/// What one issuer's settings allow is of no use to another one's tokens, even when both have a key of the same id.
#[tokio::test]
async fn issuers_do_not_speak_for_one_another() {
    let (ours, theirs) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let (first, second) = (issuer(&[&ours]).await, issuer(&[&theirs]).await);
    let mut settings = settings(&[first.url(), second.url()]);
    settings.issuers[0].audiences = vec!["api://first".to_owned()];
    let all = ActionSet::parse("*").unwrap();
    settings.issuers[0].roles = [("own".to_owned(), all)].into();
    let rig = Rig::start(settings);
    rig.fetched(first.url(), 1).await;
    rig.fetched(second.url(), 1).await;
    assert!(rig.verify(&token(&first, &ours)).await.is_ok());
    assert!(rig.verify(&token(&second, &theirs)).await.is_ok());
    for crossed in [token(&first, &theirs), token(&second, &ours)] {
        assert_eq!(rig.verify(&crossed).await, Err(BearerRefusal::Signature));
    }
    let audience = |issuer| claims_with(issuer, "aud", json!("api://first"));
    assert!(rig.verify(&ours.mint(&audience(&first))).await.is_ok());
    let other = rig.verify(&theirs.mint(&audience(&second))).await;
    assert_eq!(other, Err(BearerRefusal::Audience));
    let role = |issuer| claims_with(issuer, "roles", json!(["own"]));
    let granted = rig.verify(&ours.mint(&role(&first))).await.unwrap();
    assert_eq!(actions(&granted), all);
    let nothing = rig.verify(&theirs.mint(&role(&second))).await.unwrap();
    assert!(actions(&nothing).is_empty());
    rig.stop().await;
}
