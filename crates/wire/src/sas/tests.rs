use proptest::prelude::*;

use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const OTHER: &str = "ZmVkY2JhOTg3NjU0MzIxMA==";
const NOW: i64 = 1_900_000_000;

fn token(resource: &str, policy: Option<&str>) -> SasToken {
    let text = sign(&SasGrant {
        resource,
        key: KEY,
        policy,
        expiry: NOW,
    })
    .unwrap();
    SasToken::parse(&text).unwrap()
}

/// A token whose `sr` and `sig` are spelled by the caller, signed over that spelling.
fn spelled(resource_raw: &str, encode: impl Fn(&str) -> String) -> SasToken {
    let signature = signature_of(KEY, resource_raw, "1900000000").unwrap();
    let signature = encode(&STANDARD.encode(signature));
    let text =
        format!("SharedAccessSignature sr={resource_raw}&sig={signature}&se=1900000000&skn=p");
    SasToken::parse(&text).unwrap()
}

#[test]
fn the_signature_is_the_one_other_implementations_make() {
    // python3: base64(hmac_sha256(b64decode(KEY), b"hub.test\n1900000000"))
    let token = spelled("hub.test", percent::encode);
    assert_eq!(STANDARD.encode(&token.signature), EXPECTED);
}

const EXPECTED: &str = "5qGoAiS4/SwmS4dm700tBHt+IXSnoWVE+pmbKXBP46w=";

#[test]
fn every_sdk_spelling_verifies() {
    let strict = |sig: &str| percent::encode(sig);
    let python = |sig: &str| sig.replace('+', "%2B").replace('=', "%3D");
    let lower = |sig: &str| {
        sig.replace('+', "%2b")
            .replace('/', "%2f")
            .replace('=', "%3d")
    };
    for (resource, encode) in [
        ("localhost:8443", &strict as &dyn Fn(&str) -> String),
        ("localhost%3A8443", &python),
        ("localhost%3a8443", &lower),
        ("LocalHost", &strict),
    ] {
        let token = spelled(resource, encode);
        let check = SasCheck {
            keys: &[OTHER, KEY],
            now: NOW,
            hosts: &["localhost"],
            path: &[],
        };
        assert!(token.verify(&check).is_ok(), "{resource}");
    }
}

#[test]
fn fields_come_in_any_order_and_case() {
    let text = sign(&SasGrant {
        resource: "h",
        key: KEY,
        policy: Some("p q"),
        expiry: NOW,
    });
    let text = text.unwrap();
    let mut fields: Vec<_> = text["SharedAccessSignature ".len()..].split('&').collect();
    fields.reverse();
    let text = format!("SharedAccessSignature {}&x=1", fields.join("&"));
    let token = SasToken::parse(&text.replace("sr=", "SR=").replace("skn=", "sKn=")).unwrap();
    assert_eq!(token.policy.as_deref(), Some("p q"));
    assert!(token.is_signed_by(&[KEY]));
}

#[test]
fn either_key_verifies_and_no_other() {
    let token = token("h", Some("p"));
    assert!(token.is_signed_by(&[KEY, OTHER]));
    assert!(token.is_signed_by(&[OTHER, KEY]));
    assert!(!token.is_signed_by(&[OTHER]));
    assert!(!token.is_signed_by(&[]));
}

#[test]
fn an_empty_key_never_signs() {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
    mac.update(b"h\n1900000000");
    let signature = percent::encode(&STANDARD.encode(mac.finalize().into_bytes()));
    let text = format!("SharedAccessSignature sr=h&sig={signature}&se=1900000000");
    let token = SasToken::parse(&text).unwrap();
    assert!(!token.is_signed_by(&["", "!!"]));
    let grant = SasGrant {
        resource: "h",
        key: "",
        policy: None,
        expiry: 1,
    };
    assert_eq!(sign(&grant), Err(BadKey));
}

#[test]
fn a_token_counts_for_five_more_minutes() {
    let token = token("h", None);
    assert!(!token.is_expired(NOW - 3_600));
    assert!(!token.is_expired(NOW + 300));
    assert!(token.is_expired(NOW + 301));
}

#[test]
fn the_audience_is_a_prefix_by_segments() {
    for (resource, path, want) in [
        ("hub.test", &[][..], true),
        ("HUB.test", &[][..], true),
        ("hub.test:8443", &["devices", "d"][..], true),
        ("hub.test/", &["devices", "d"][..], true),
        ("other.test", &[][..], false),
        ("hub.test.evil", &[][..], false),
        ("hub.test/devices", &["devices", "d"][..], true),
        ("hub.test/devices/d", &["devices", "d"][..], true),
        (
            "hub.test/devices/d",
            &["devices", "d", "modules", "m"][..],
            true,
        ),
        ("hub.test/devices/d", &["devices", "dd"][..], false),
        ("hub.test/devices/d", &["devices", "D"][..], false),
        ("hub.test/devices/d", &[][..], false),
        ("hub.test/devices/d/modules/m", &["devices", "d"][..], false),
        ("hub.test/devices/d#1%", &["devices", "d#1%"][..], true),
        ("", &[][..], false),
    ] {
        let token = SasToken {
            resource_raw: percent::encode(resource),
            signature: Vec::new().into(),
            expiry: 0,
            expiry_raw: "0".to_owned(),
            policy: None,
        };
        assert_eq!(
            token.covers(&["127.0.0.2", "hub.test"], path),
            want,
            "{resource} {path:?}"
        );
    }
}

#[test]
fn a_token_names_its_host() {
    for (resource, host) in [
        ("hub.test", Some("hub.test")),
        ("hub.test%3a8443%2Fdevices%2Fd", Some("hub.test:8443")),
        ("hub.test/devices/d", Some("hub.test")),
        ("%2Fdevices", None),
        ("%ff", None),
    ] {
        let text = format!("SharedAccessSignature sr={resource}&sig=c2Vj&se=1");
        let token = SasToken::parse(&text).unwrap();
        assert_eq!(token.host().as_deref(), host, "{resource}");
    }
}

#[test]
fn hosts_match_without_case_and_port() {
    for (host, want) in [
        ("localhost", true),
        ("LOCALHOST:8443", true),
        ("127.0.0.2:443", true),
        ("[::1]:8883", true),
        ("[::1]", true),
        ("localhost:x", false),
        ("::1", false),
        ("", false),
        (":443", false),
    ] {
        assert_eq!(
            host_matches(host, &["localhost:443", "127.0.0.2", "[::1]"]),
            want,
            "{host}"
        );
    }
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    for (text, want) in [
        ("", ParseSasError::Scheme),
        ("Bearer x", ParseSasError::Scheme),
        (
            "sharedaccesssignature sr=h&sig=AA&se=1",
            ParseSasError::Scheme,
        ),
        ("SharedAccessSignature ", ParseSasError::Missing("sr")),
        (
            "SharedAccessSignature sr=&sig=AA==&se=1",
            ParseSasError::Missing("sr"),
        ),
        (
            "SharedAccessSignature sr=h&se=1",
            ParseSasError::Missing("sig"),
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==",
            ParseSasError::Missing("se"),
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==&se=1&se=2",
            ParseSasError::Repeated,
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==&se=-1",
            ParseSasError::Field("se"),
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==&se=1.5",
            ParseSasError::Field("se"),
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==&se=99999999999999999999",
            ParseSasError::Field("se"),
        ),
        (
            "SharedAccessSignature sr=h&sig=%zz&se=1",
            ParseSasError::Field("sig"),
        ),
        (
            "SharedAccessSignature sr=h&sig=A&se=1",
            ParseSasError::Field("sig"),
        ),
        (
            "SharedAccessSignature sr=h&sig=AA==&se=1&skn=%f",
            ParseSasError::Field("skn"),
        ),
    ] {
        assert_eq!(SasToken::parse(text), Err(want), "{text}");
    }
    let long = format!(
        "SharedAccessSignature sr={}&sig=AA==&se=1",
        "h".repeat(TOKEN_BYTES_MAX)
    );
    assert_eq!(SasToken::parse(&long), Err(ParseSasError::TooLong));
    let long = format!(
        "SharedAccessSignature sr=h&sig=AA==&se=1&skn={}",
        "p".repeat(257)
    );
    assert_eq!(SasToken::parse(&long), Err(ParseSasError::Field("skn")));
}

#[test]
fn debug_shows_no_signature() {
    let token = token("h", Some("p"));
    let printed = format!("{token:?}");
    assert!(
        printed.contains("resource_raw") && !printed.contains("signature"),
        "{printed}"
    );
}

proptest! {
    #[test]
    fn a_signed_token_verifies(
        id in "[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,128}",
        policy in proptest::option::of("[a-zA-Z0-9 &=%]{1,64}"),
        expiry in 0..=i64::MAX,
    ) {
        let resource = format!("hub.test/devices/{id}");
        let grant =
            SasGrant { resource: &resource, key: KEY, policy: policy.as_deref(), expiry };
        let token = SasToken::parse(&sign(&grant).unwrap()).unwrap();
        prop_assert_eq!(&token.policy, &policy);
        let check = SasCheck {
            keys: &[OTHER, KEY],
            now: expiry,
            hosts: &["hub.test"],
            path: &["devices", &id],
        };
        prop_assert_eq!(token.verify(&check), Ok(1));
    }

    #[test]
    fn reading_never_panics(text in "(SharedAccessSignature )?\\PC{0,80}") {
        let _ = SasToken::parse(&text);
    }
}
