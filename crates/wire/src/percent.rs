//! Percent-encoding as URIs do it: `+` is a plus, a space is `%20`, and a broken escape is an error.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes all but letters, digits and `- . _ ~`.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes once. `None` when an escape lacks its two hex digits or the bytes are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decoding_is_for_uris_not_forms() {
        for (text, want) in [
            ("a%20b", Some("a b")),
            ("a+b", Some("a+b")),
            ("%2f%2F", Some("//")),
            ("%c3%A9", Some("\u{e9}")),
            ("%252F", Some("%2F")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%ff", None),
            ("%4\u{e9}", None),
        ] {
            assert_eq!(decode(text).as_deref(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in ".*") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }
    }
}
