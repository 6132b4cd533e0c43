//! What a token claims about itself: whether it is for this hub, holds now, and whose it is.
//!
//! The time is an argument. Nothing here has looked at a signature; whoever asks does.

use std::sync::Arc;

use fanfare_hub::time::Timestamp;
use serde_json::{Map, Value};

use super::{BearerRefusal, settings::AUDIENCE};

/// How far the clocks of issuer and hub may be apart. compat: AUTH-23
const SKEW_S: i64 = 300;
/// Characters of a subject or an application in logs and documents.
const NAME_CHARS_MAX: usize = 256;

/// What a token must say.
pub(super) struct Expected<'a> {
    /// In `iss`, exactly.
    pub(super) issuer: &'a str,
    /// In `aud`, any of these, besides the contract's.
    pub(super) audiences: &'a [String],
    pub(super) now: Timestamp,
}

/// Whose a token is, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) subject: Arc<str>,
    pub(super) app: Option<Arc<str>>,
    /// Seconds since 1970.
    pub(super) expires: i64,
}

impl Claimed {
    /// The moment after which nobody may rely on it.
    pub(super) fn until(&self) -> Timestamp {
        Timestamp(self.expires.saturating_mul(1_000_000)).min(Timestamp::FAR_FUTURE)
    }
}

/// Whether a token that ends at `until` still counts. compat: AUTH-23
pub(super) fn counts(until: Timestamp, now: Timestamp) -> bool {
    now.0 <= until.0.saturating_add(SKEW_S * 1_000_000)
}

/// Checks everything that a token says about itself.
pub(super) fn check(
    claims: &Map<String, Value>,
    expected: &Expected<'_>,
) -> Result<Claimed, BearerRefusal> {
    if issuer(claims) != Some(expected.issuer) {
        return Err(BearerRefusal::Issuer);
    }
    if !is_for(claims.get("aud"), expected.audiences) {
        return Err(BearerRefusal::Audience);
    }
    let expires = seconds(claims, "exp")?.ok_or(BearerRefusal::NoExpiry)?;
    let now_s = expected.now.0.div_euclid(1_000_000);
    if now_s > expires.saturating_add(SKEW_S) {
        return Err(BearerRefusal::Expired);
    }
    let begins = [seconds(claims, "nbf")?, seconds(claims, "iat")?];
    if begins
        .into_iter()
        .flatten()
        .any(|begin| begin > now_s + SKEW_S)
    {
        return Err(BearerRefusal::NotYet);
    }
    if claims.contains_key("cnf") {
        // Its holder should have to prove that they have a key, which a bearer does not. compat: AUTH-21
        return Err(BearerRefusal::Bound);
    }
    let subject = name(claims, &["sub", "oid"])?.ok_or(BearerRefusal::NoSubject)?;
    let app = name(claims, &["appid", "azp", "client_id"])?;
    Ok(Claimed {
        subject,
        app,
        expires,
    })
}

/// Who says that they issued it.
pub(super) fn issuer(claims: &Map<String, Value>) -> Option<&str> {
    claims.get("iss").and_then(Value::as_str)
}

/// compat: AUTH-22
fn is_for(audience: Option<&Value>, audiences: &[String]) -> bool {
    let is_ours = |one: &Value| {
        one.as_str().is_some_and(|one| {
            one.strip_suffix('/').unwrap_or(one) == AUDIENCE
                || audiences.iter().any(|known| known == one)
        })
    };
    match audience {
        Some(Value::Array(all)) => all.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}

/// A moment in seconds; fractions are dropped.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, BearerRefusal> {
    const LAST: i64 = Timestamp::FAR_FUTURE.0 / 1_000_000;
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // Everything in this range is a whole number's distance from an i64.
        (0.0..1e12).contains(&number).then_some(number as i64)
    });
    match whole {
        Some(seconds) if (0..=LAST).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(BearerRefusal::Moment),
    }
}

/// The first of some claims that is there. It goes into logs and job documents, so it must be a plain, short text.
/// compat: AUTH-29
fn name(claims: &Map<String, Value>, names: &[&str]) -> Result<Option<Arc<str>>, BearerRefusal> {
    let Some(found) = names.iter().find_map(|name| claims.get(*name)) else {
        return Ok(None);
    };
    let is_plain = |text: &&str| {
        (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let text = found.as_str().filter(is_plain);
    text.map(|text| Some(text.into()))
        .ok_or(BearerRefusal::Name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_S: i64 = 2_000_000_000;
    const ISSUER: &str = "https://issuer.test/a";

    fn good() -> Value {
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "exp": NOW_S + 600,
            "nbf": NOW_S, "iat": NOW_S, "azp": "tool",
        })
    }

    fn read(claims: Value) -> Result<Claimed, BearerRefusal> {
        let expected = Expected {
            issuer: ISSUER,
            audiences: &["api://fleet".to_owned()],
            now: Timestamp(NOW_S * 1_000_000),
        };
        check(claims.as_object().unwrap(), &expected)
    }

    fn with(name: &str, value: Value) -> Result<Claimed, BearerRefusal> {
        let mut claims = good();
        claims[name] = value;
        read(claims)
    }

    fn without(name: &str) -> Result<Claimed, BearerRefusal> {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        read(claims)
    }

    #[test]
    fn a_token_is_of_its_issuer_exactly() {
        assert!(read(good()).is_ok());
        for other in [
            "https://issuer.test/a/",
            "https://issuer.test",
            "https://ISSUER.test/a",
            "http://issuer.test/a",
        ] {
            assert_eq!(with("iss", json!(other)), Err(BearerRefusal::Issuer));
        }
        assert_eq!(with("iss", json!([ISSUER])), Err(BearerRefusal::Issuer));
        assert_eq!(without("iss"), Err(BearerRefusal::Issuer));
    }

    #[test]
    fn a_token_is_for_this_hub() {
        for ours in [
            json!("https://iothubs.azure.net"),
            json!("https://iothubs.azure.net/"),
            json!("api://fleet"),
            json!(["https://elsewhere.test", "api://fleet"]),
        ] {
            assert!(with("aud", ours.clone()).is_ok(), "{ours}");
        }
        for other in [
            json!("https://iothubs.azure.net//"),
            json!("https://iothubs.azure.net/x"),
            json!("https://iothubs.azure.us"),
            json!("api://fleet/"),
            json!("api://fleet api://other"),
            json!([]),
            json!([["api://fleet"]]),
            json!({"api://fleet": true}),
            json!(null),
        ] {
            assert_eq!(
                with("aud", other.clone()),
                Err(BearerRefusal::Audience),
                "{other}"
            );
        }
        assert_eq!(without("aud"), Err(BearerRefusal::Audience));
    }

    #[test]
    fn a_token_holds_from_its_begin_to_its_end_and_five_minutes_around() {
        for (name, offset, expected) in [
            ("exp", -300, None),
            ("exp", -301, Some(BearerRefusal::Expired)),
            ("nbf", 300, None),
            ("nbf", 301, Some(BearerRefusal::NotYet)),
            ("iat", 300, None),
            ("iat", 301, Some(BearerRefusal::NotYet)),
        ] {
            let refused = with(name, json!(NOW_S + offset)).err();
            assert_eq!(refused, expected, "{name} {offset}");
        }
        assert_eq!(without("exp"), Err(BearerRefusal::NoExpiry));
        assert!(without("nbf").is_ok() && without("iat").is_ok());
        let half = with("exp", json!(NOW_S as f64 + 0.5)).unwrap();
        assert_eq!(half.expires, NOW_S);
        for odd in [
            json!("2000000000"),
            json!(-1),
            json!(1e30),
            json!(null),
            json!(u64::MAX),
        ] {
            for name in ["exp", "nbf", "iat"] {
                assert_eq!(with(name, odd.clone()), Err(BearerRefusal::Moment), "{odd}");
            }
        }
        let now = Timestamp(NOW_S * 1_000_000);
        assert!(counts(Timestamp((NOW_S - 300) * 1_000_000), now));
        assert!(!counts(Timestamp((NOW_S - 301) * 1_000_000), now));
    }

    #[test]
    fn a_token_says_whose_it_is() {
        let of = |claims: Value| {
            let claimed = read(claims).unwrap();
            (
                claimed.subject.to_string(),
                claimed.app.map(|app| app.to_string()),
            )
        };
        let names = |subject: &str, app: &str| (subject.to_owned(), Some(app.to_owned()));
        assert_eq!(of(good()), names("somebody", "tool"));
        let mut entra = good();
        entra["appid"] = json!("app");
        entra["oid"] = json!("object");
        assert_eq!(of(entra.clone()), names("somebody", "app"));
        entra.as_object_mut().unwrap().remove("sub");
        assert_eq!(of(entra), names("object", "app"));
        assert_eq!(without("azp").unwrap().app, None);
        assert_eq!(without("sub"), Err(BearerRefusal::NoSubject));
        for odd in [
            json!(""),
            json!(7),
            json!("a\nb"),
            json!("x".repeat(257)),
            json!(null),
        ] {
            assert_eq!(with("sub", odd.clone()), Err(BearerRefusal::Name), "{odd}");
            assert_eq!(with("azp", odd.clone()), Err(BearerRefusal::Name), "{odd}");
        }
        let bound = with("cnf", json!({"jkt": "x"}));
        assert_eq!(bound, Err(BearerRefusal::Bound));
    }
}
