//! Etags in their two spellings, and the `If-Match` header that carries them back.
//!
//! Clients treat etags as opaque; the spellings matter only because samples and tests print them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The etag of a twin: eight bytes, big-endian, in base64. compat: TWIN-2
pub fn twin_etag(counter: u64) -> String {
    STANDARD.encode(counter.to_be_bytes())
}

/// The counter of a twin's etag, or `None` when this hub never printed such an etag.
pub fn parse_twin_etag(etag: &str) -> Option<u64> {
    let bytes: [u8; 8] = STANDARD.decode(etag).ok()?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

/// The etag of a device identity: the decimal counter as text, in base64. compat: REG-6
pub fn identity_etag(counter: u64) -> String {
    STANDARD.encode(counter.to_string())
}

/// The counter of an identity's etag, or `None` when this hub never printed such an etag.
pub fn parse_identity_etag(etag: &str) -> Option<u64> {
    let text = String::from_utf8(STANDARD.decode(etag).ok()?).ok()?;
    let counter = text.parse().ok()?;
    // One spelling per counter: "+1" and "01" are not ours.
    (identity_etag(counter) == etag).then_some(counter)
}

/// What an `If-Match` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// No header: create on PUT, no precondition elsewhere.
    Absent,
    /// `*` or `"*"`: it must exist, in whatever version.
    Any,
    /// It must exist with this etag, here without quotes and `W/`. May be empty, which matches nothing.
    Tag(String),
}

impl IfMatch {
    /// Reads the header's value. SDKs quote everything, the wildcard included; both forms count.
    /// compat: HTTP-3
    pub fn parse(header: Option<&str>) -> Self {
        let Some(value) = header else {
            return IfMatch::Absent;
        };
        match strip(value) {
            "*" => IfMatch::Any,
            tag => IfMatch::Tag(tag.to_owned()),
        }
    }

    /// Whether something that exists with `etag` satisfies the header.
    pub fn allows(&self, etag: &str) -> bool {
        match self {
            IfMatch::Absent | IfMatch::Any => true,
            IfMatch::Tag(tag) => tag == etag,
        }
    }
}

/// An etag without surrounding blanks, `W/` and one pair of quotes.
fn strip(value: &str) -> &str {
    let value = value.trim();
    let value = value.strip_prefix("W/").unwrap_or(value);
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_look_like_the_samples() {
        assert_eq!(twin_etag(1), "AAAAAAAAAAE=");
        assert_eq!(twin_etag(7), "AAAAAAAAAAc=");
        assert_eq!(identity_etag(1), "MQ==");
        assert_eq!(identity_etag(0), "MA==");
    }

    #[test]
    fn etags_read_back() {
        for counter in [0, 1, 255, 1 << 40, u64::MAX] {
            assert_eq!(parse_twin_etag(&twin_etag(counter)), Some(counter));
            assert_eq!(parse_identity_etag(&identity_etag(counter)), Some(counter));
        }
        for stranger in ["", "*", "AAAA=", "MDE=", "KzE=", "eA==", "not base64"] {
            assert_eq!(parse_twin_etag(stranger), None, "{stranger}");
            assert_eq!(parse_identity_etag(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn if_match_is_read_quoted_and_bare() {
        for (header, want) in [
            (None, IfMatch::Absent),
            (Some("*"), IfMatch::Any),
            (Some("\"*\""), IfMatch::Any),
            (Some(" \"*\" "), IfMatch::Any),
            (Some("\"MQ==\""), IfMatch::Tag("MQ==".into())),
            (Some("MQ=="), IfMatch::Tag("MQ==".into())),
            (Some("W/\"MQ==\""), IfMatch::Tag("MQ==".into())),
            (Some(""), IfMatch::Tag(String::new())),
            (Some("\"\""), IfMatch::Tag(String::new())),
            (Some("\""), IfMatch::Tag("\"".into())),
        ] {
            assert_eq!(IfMatch::parse(header), want, "{header:?}");
        }
    }

    #[test]
    fn a_tag_allows_only_itself() {
        assert!(IfMatch::Absent.allows("MQ=="));
        assert!(IfMatch::Any.allows("MQ=="));
        assert!(IfMatch::Tag("MQ==".into()).allows("MQ=="));
        assert!(!IfMatch::Tag("Mg==".into()).allows("MQ=="));
        assert!(!IfMatch::Tag(String::new()).allows("MQ=="));
    }
}
