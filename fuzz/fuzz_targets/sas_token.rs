//! A shared access signature as a stranger sends it: reading it never panics, and what nobody signed is never
//! let in; one that is signed is read back as it was made.
#![no_main]

use fanfare_wire::sas::{SasCheck, SasGrant, SasToken, sign};
use libfuzzer_sys::fuzz_target;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

fuzz_target!(|input: (&str, &str, i64, bool)| {
    let (text, policy, expiry, is_whole) = input;
    let check = SasCheck {
        keys: &[KEY],
        now: 0,
        hosts: &["hub.test", "127.0.0.1", "::1"],
        path: &["devices", "door-1"],
    };
    let guessed = match is_whole {
        true => SasToken::parse(text),
        false => SasToken::parse(&format!("SharedAccessSignature {text}")),
    };
    if let Ok(token) = guessed {
        assert!(token.verify(&check).is_err(), "a signature was guessed");
        let _ = (token.host(), token.expires_at(), token.is_expired(i64::MAX));
    }
    let grant = SasGrant {
        resource: text,
        key: KEY,
        policy: Some(policy),
        expiry,
    };
    let Ok(signed) = sign(&grant) else { return };
    if let Ok(token) = SasToken::parse(&signed) {
        assert!(token.is_signed_by(&[KEY]), "{signed}");
        assert_eq!(token.expiry, expiry, "{signed}");
        let _ = token.verify(&check);
    }
});
