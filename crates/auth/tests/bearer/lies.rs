//! Tokens that do not hold, each with one thing wrong, and why they are refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fanfare_auth::{
    bearer::BearerRefusal::{self, *},
    testing::{SigningKey, claims, encoded},
};
use ring::hmac;
use serde_json::{Value, json};

use crate::rig::{NOW_S, READER, Rig, claims_with, issuer, rsa_pem, token};

type Refused = (&'static str, String, BearerRefusal);

#[tokio::test]
async fn claims_that_are_not_for_this_hub_now_are_refused() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let other_path = format!("{}/", issuer.url());
    for (name, value, refusal) in [
        ("exp", json!(NOW_S - 301), Expired),
        ("exp", json!(0), Expired),
        ("exp", Value::Null, NoExpiry),
        ("exp", json!("4000000000"), Moment),
        ("exp", json!(-1), Moment),
        ("exp", json!(1e300), Moment),
        ("exp", json!(u64::MAX), Moment),
        ("exp", json!(i64::MAX), Moment),
        ("nbf", json!(NOW_S + 301), NotYet),
        ("iat", json!(NOW_S + 301), NotYet),
        ("nbf", json!(true), Moment),
        ("aud", json!("https://management.azure.com"), Audience),
        (
            "aud",
            json!("https://iothubs.azure.net.evil.test"),
            Audience,
        ),
        ("aud", json!("HTTPS://IOTHUBS.AZURE.NET"), Audience),
        ("aud", json!(["api://other", 7]), Audience),
        ("aud", json!([]), Audience),
        ("aud", Value::Null, Audience),
        ("iss", json!("https://issuer.evil.test"), Issuer),
        ("iss", json!(other_path), Issuer),
        ("iss", json!([issuer.url()]), Issuer),
        ("iss", Value::Null, Issuer),
        ("sub", Value::Null, NoSubject),
        ("sub", json!("a\nline"), Name),
        ("azp", json!({"app": 1}), Name),
        ("cnf", json!({"jkt": "x"}), Bound),
    ] {
        let token = key.mint(&claims_with(&issuer, name, value.clone()));
        assert_eq!(rig.verify(&token).await, Err(refusal), "{name} {value}");
    }
    assert_eq!(rig.fetches(), (1, 0), "none of them made the hub ask");
    rig.stop().await;
}

/// What a header may say about the key. `tempter` is where a stranger's is.
fn about_keys(
    key: &SigningKey,
    strange: &SigningKey,
    tempter: &str,
    claims: &Value,
) -> Vec<Refused> {
    let by = |key: &SigningKey, header: Value| key.mint_with(&header, claims);
    let keys_of_stranger = format!("{tempter}/keys");
    vec![
        ("no such key", by(key, json!({"kid": "K"})), UnknownKey),
        ("an odd id", by(key, json!({"kid": 7})), NoToken),
        ("null for an id", by(key, json!({"kid": null})), NoToken),
        (
            "a giant id",
            by(key, json!({"kid": "k".repeat(513)})),
            NoToken,
        ),
        (
            "another key under this id",
            by(strange, json!({"kid": "k"})),
            Signature,
        ),
        ("another key, no id", by(strange, json!({})), Signature),
        (
            "its key with it",
            by(strange, json!({"kid": "k", "jwk": strange.jwk()})),
            Signature,
        ),
        (
            "where its key is",
            by(strange, json!({"kid": "k", "jku": keys_of_stranger})),
            Signature,
        ),
        (
            "where its certificate is",
            by(
                strange,
                json!({"kid": "k", "x5u": keys_of_stranger, "x5c": ["AA"]}),
            ),
            Signature,
        ),
    ]
}

/// What a header may say about the token.
fn about_tokens(key: &SigningKey, claims: &Value) -> Vec<Refused> {
    let by = |header: Value| key.mint_with(&header, claims);
    vec![
        (
            "an extension",
            by(json!({"kid": "k", "crit": ["exp"], "exp": 1})),
            Critical,
        ),
        (
            "no extension",
            by(json!({"kid": "k", "crit": []})),
            Critical,
        ),
        (
            "a body that is not encoded",
            by(json!({"kid": "k", "crit": ["b64"], "b64": false})),
            Critical,
        ),
        (
            "a proof of possession",
            by(json!({"kid": "k", "typ": "dpop+jwt"})),
            Kind,
        ),
        (
            "a logout",
            by(json!({"kid": "k", "typ": "application/logout+jwt"})),
            Kind,
        ),
        (
            "an odd type",
            by(json!({"kid": "k", "typ": ["JWT"]})),
            NoToken,
        ),
        (
            "another curve",
            by(json!({"kid": "k", "alg": "ES384"})),
            UnknownKey,
        ),
        (
            "another kind of key",
            by(json!({"kid": "k", "alg": "RS256"})),
            UnknownKey,
        ),
        (
            "in small letters",
            by(json!({"kid": "k", "alg": "es256"})),
            Algorithm,
        ),
        (
            "an encrypted token's",
            by(json!({"kid": "k", "alg": "dir", "enc": "A256GCM"})),
            Algorithm,
        ),
        ("no text", by(json!({"kid": "k", "alg": 1})), Algorithm),
        ("null", by(json!({"kid": "k", "alg": null})), Algorithm),
    ]
}

#[tokio::test]
async fn headers_that_ask_for_something_else_are_refused() {
    let (key, strange) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let honest = issuer(&[&key]).await;
    let tempter = issuer(&[&strange]).await;
    let rig = Rig::of(&honest).await;
    let claims = claims(honest.url(), &[READER]);
    let mut table = about_keys(&key, &strange, tempter.url(), &claims);
    table.extend(about_tokens(&key, &claims));
    for (lie, token, refusal) in table {
        assert_eq!(rig.verify(&token).await, Err(refusal), "{lie}: {token}");
    }
    assert_eq!(*tempter.requests().borrow(), 0, "nobody was tempted");
    assert_eq!(rig.fetches(), (1, 0));
    rig.stop().await;
}

#[tokio::test]
async fn what_nobody_signed_is_refused() {
    let pem = rsa_pem(2_048);
    let key = SigningKey::rsa("r", "RS256", &pem);
    let honest = issuer(&[&key]).await;
    let rig = Rig::of(&honest).await;
    let claims = claims(honest.url(), &["Fanfare Owner"]).to_string();
    let good = token(&honest, &key);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut table: Vec<Refused> = Vec::new();
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = encoded(&json!({"alg": name, "kid": "r"}).to_string());
        let body = encoded(&claims);
        table.push(("without a signature", format!("{header}.{body}."), NoToken));
        table.push(("without its dot", format!("{header}.{body}"), NoToken));
        let with_any = format!("{header}.{body}.{signature}");
        table.push(("no algorithm", with_any, Algorithm));
    }
    // What everybody knows of the key, in each form that a careless library takes for a shared secret.
    let jwk = key.jwk();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let texts = [
        jwk.to_string(),
        jwk["n"].as_str().unwrap().to_owned(),
        pem,
        String::new(),
    ];
    let known = texts.into_iter().map(String::into_bytes).chain([modulus]);
    for secret in known {
        for (name, rule) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = encoded(&json!({"alg": name, "kid": "r"}).to_string());
            let text = format!("{header}.{}", encoded(&claims));
            let tag = hmac::sign(&hmac::Key::new(rule, &secret), text.as_bytes());
            let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag));
            table.push(("a public key for a secret", token, Algorithm));
        }
    }
    let (header, body) = signed.split_once('.').unwrap();
    let changed = encoded(&claims);
    let zeros = encoded(&"\0".repeat(256));
    table.extend([
        (
            "other claims",
            format!("{header}.{changed}.{signature}"),
            Signature,
        ),
        (
            "zeros for a signature",
            format!("{signed}.{zeros}"),
            Signature,
        ),
        ("a short signature", format!("{signed}.AAAA"), Signature),
        ("padding", format!("{good}="), NoToken),
        (
            "another alphabet",
            format!("{header}.{body}.{}", "+/".repeat(8)),
            NoToken,
        ),
        ("a fourth part", format!("{good}.AAAA"), NoToken),
        ("five parts", format!("{good}.AAAA.AAAA"), NoToken),
        ("a space", format!(" {good}"), NoToken),
        ("a line's end", format!("{good}\n"), NoToken),
        ("dots", "..".to_owned(), NoToken),
        ("nothing", String::new(), NoToken),
    ]);
    for (lie, token, refusal) in table {
        assert_eq!(rig.verify(&token).await, Err(refusal), "{lie}: {token}");
    }
    assert!(rig.verify(&good).await.is_ok());
    rig.stop().await;
}

/// Two readers of such a token might each see something else in it, or none ever come to its end.
#[tokio::test]
async fn what_can_be_read_in_two_ways_or_never_ends_is_refused() {
    let key = SigningKey::es256("k");
    let issuer = issuer(&[&key]).await;
    let rig = Rig::of(&issuer).await;
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let good = claims(issuer.url(), &[READER]).to_string();
    let plus = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
    let deep = format!("\"x\":{}{}", "[".repeat(100), "]".repeat(100));
    let wide = format!("\"x\":[{}0]", "0,".repeat(2_000));
    let long = format!("\"x\":\"{}\"", "x".repeat(20_000));
    assert!(rig.verify(&key.sign(header, &good)).await.is_ok());
    for (lie, token, refusal) in [
        (
            "a role twice",
            key.sign(header, &plus("\"roles\":[]")),
            NoToken,
        ),
        (
            "an end twice",
            key.sign(header, &plus("\"exp\":1")),
            NoToken,
        ),
        (
            "the same letter twice",
            key.sign(header, &plus("\"\\u0065xp\":1")),
            NoToken,
        ),
        (
            "two algorithms",
            key.sign(r#"{"alg":"none","alg":"ES256","kid":"k"}"#, &good),
            NoToken,
        ),
        ("deep claims", key.sign(header, &plus(&deep)), NoToken),
        ("many claims", key.sign(header, &plus(&wide)), NoToken),
        ("giant claims", key.sign(header, &plus(&long)), TooLong),
        (
            "more than claims",
            key.sign(header, &format!("{good}{good}")),
            NoToken,
        ),
        (
            "a list of claims",
            key.sign(header, &format!("[{good}]")),
            NoToken,
        ),
        ("a text of claims", key.sign(header, "\"claims\""), NoToken),
        ("no claims", key.sign(header, "{}"), Issuer),
        (
            "a deep header",
            key.sign(&format!(r#"{{"alg":"ES256","kid":"k",{deep}}}"#), &good),
            NoToken,
        ),
        ("no header", key.sign("{}", &good), Algorithm),
        ("a header that is none", key.sign("ES256", &good), NoToken),
    ] {
        assert_eq!(rig.verify(&token).await, Err(refusal), "{lie}");
    }
    rig.stop().await;
}

/// A key is used for what it says it is for, whatever a token says.
#[tokio::test]
async fn keys_are_used_for_what_they_are_for() {
    let pem = rsa_pem(2_048);
    let named = |id, algorithm| SigningKey::rsa(id, algorithm, &pem);
    let with = |id, members: Value| {
        let mut jwk = named(id, "RS256").jwk();
        jwk.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        jwk
    };
    let honest = issuer(&[]).await;
    honest.publish_all(vec![
        with("only-rs256", json!({"alg": "RS256"})),
        with("for-secrets", json!({"use": "enc"})),
        with("for-wrapping", json!({"key_ops": ["wrapKey"]})),
        with("private", json!({"d": "AQAB"})),
        json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"}),
        // 1,024 bits.
        with("small", json!({"n": URL_SAFE_NO_PAD.encode([0xc1; 128])})),
    ]);
    let rig = Rig::of(&honest).await;
    assert_eq!(rig.standing().keys, 1);
    assert!(
        rig.verify(&token(&honest, &named("only-rs256", "RS256")))
            .await
            .is_ok()
    );
    for other in [
        named("only-rs256", "PS256"),
        named("only-rs256", "RS512"),
        named("for-secrets", "RS256"),
        named("for-wrapping", "RS256"),
        named("private", "RS256"),
        named("shared", "RS256"),
        named("small", "RS256"),
    ] {
        let token = token(&honest, &other);
        assert_eq!(rig.verify(&token).await, Err(UnknownKey), "{token}");
    }
    rig.stop().await;
}
