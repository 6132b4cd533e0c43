//! A bearer token as a stranger sends it, header and claims as a careless issuer writes them, and a key set as a lying
//! issuer serves it: reading never panics, nobody is let in whom the issuer did not sign for, and who is let in said so.
//!
//! The first byte says what the rest is: `T` a token, `S` and `O` a header and, after a line's end, claims, signed by the
//! issuer or by another one with the same key id, `K` a key set.
#![no_main]

use std::{
    future::{Future, ready},
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use fanfare_auth::{
    bearer::{AUDIENCE, Bearer, BearerRefusal, IssuerSettings, TokenSettings},
    testing::{SigningKey, claims},
};
use fanfare_hub::{
    access::{Actor, Grants, Principal},
    ports::{Clock, Entropy},
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const ISSUER: &str = "http://127.0.0.11:1/fleet";
const NOW: Timestamp = Timestamp(1_750_000_000_000_000);

/// Time stands still, and nobody waits.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn sleep_until(&self, _: Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(ready(()))
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

static ISSUERS: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("k"));
static STRANGERS: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("k"));
static BEARER: LazyLock<Bearer> = LazyLock::new(|| {
    let bearer = fresh();
    assert!(bearer.hand_keys(json!({"keys": [ISSUERS.jwk()]}).to_string().as_bytes()));
    bearer
});
/// Knows what a lying issuer served last.
static LIED_TO: LazyLock<Bearer> = LazyLock::new(fresh);

fn fresh() -> Bearer {
    let settings = TokenSettings {
        issuers: vec![IssuerSettings::new(ISSUER)],
        ..TokenSettings::default()
    };
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(Still), Arc::new(Still));
    let (bearer, _) = Bearer::start(settings, &clock, &entropy).expect("the settings are good");
    bearer
}

/// Nothing in here waits, so one look is enough.
fn verify(bearer: &Bearer, token: &str) -> Result<Principal, BearerRefusal> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(bearer.verify(token, NOW)).poll(&mut context) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => panic!("a token is waited for"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        if *kind == b'K' {
            assert!(!LIED_TO.hand_keys(rest), "a key set is text");
        }
        return;
    };
    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    match kind {
        b'T' => assert!(verify(&BEARER, text).is_err(), "a signature was guessed"),
        b'S' => check_signed(header, claims),
        b'O' => {
            let token = STRANGERS.sign(header, claims);
            assert!(verify(&BEARER, &token).is_err(), "a stranger got in");
        }
        b'K' => check_keys(rest),
        _ => {}
    }
});

/// What the issuer signed counts only if it says everything that it must.
fn check_signed(header: &str, claimed: &str) {
    let Ok(principal) = verify(&BEARER, &ISSUERS.sign(header, claimed)) else {
        return;
    };
    let header: Value = serde_json::from_str(header).expect("it was read");
    let claimed: Value = serde_json::from_str(claimed).expect("it was read");
    assert_eq!(header["alg"], "ES256");
    assert!(header.get("crit").is_none());
    assert_eq!(claimed["iss"], ISSUER);
    let is_ours = |one: &Value| one.as_str().map(|one| one.trim_end_matches('/')) == Some(AUDIENCE);
    let audiences = claimed["aud"].as_array();
    assert!(audiences.map_or_else(|| is_ours(&claimed["aud"]), |all| all.iter().any(is_ours)));
    assert!(claimed["exp"].as_f64().expect("a number") >= 1_750_000_000.0 - 301.0);
    let Actor::Token { subject, .. } = &principal.actor else {
        panic!("{principal:?} has no token");
    };
    let named = [&claimed["sub"], &claimed["oid"]];
    assert!(named.iter().any(|name| name.as_str() == Some(subject)));
    let Grants::Actions(actions) = &principal.grants else {
        panic!("a token gave the rights of a policy");
    };
    if claimed.get("roles").is_none() {
        assert!(actions.is_empty(), "granted without a role: {actions}");
    }
}

/// A key set without the issuer's key lets none of its tokens in.
fn check_keys(key_set: &[u8]) {
    let is_used = LIED_TO.hand_keys(key_set);
    let token = ISSUERS.mint(&claims(ISSUER, &["IoT Hub Data Reader"]));
    assert!(verify(&LIED_TO, &token).is_err(), "used: {is_used}");
}
