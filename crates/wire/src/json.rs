//! Reads request bodies so that a refusal names the member at fault, and keeps payload depth in bounds.
//!
//! A body is refused in one of two ways: it is not JSON ([`ErrorCode::IotHubFormatError`]) or a member has
//! the wrong shape ([`ErrorCode::ArgumentInvalid`]).

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::error::ErrorCode;
use crate::strict::Strict;

/// Deepest nesting of arrays and objects that a payload may have. Same as the parser's own limit, which
/// does not see inside payloads that are kept as text.
pub const DEPTH_MAX: usize = 128;

/// Reads a body of one JSON value.
///
/// # Errors
/// [`DecodeError`], with the code to answer and a text that names the member.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let mut input = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Strict(&mut input)).map_err(|fault| {
        let path = fault.path().to_string();
        DecodeError::new(&path, fault.inner())
    })?;
    input.end().map_err(|fault| DecodeError::new(".", &fault))?;
    Ok(value)
}

/// Why a body was refused. The text may be shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON, or not one whole value.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// A member has the wrong type or value.
    #[error("{member}: {reason}")]
    Member {
        /// Path from the root, such as `cloudToDeviceMethod.methodName`; `body` for the root itself.
        member: String,
        /// What is wrong, and where in the text.
        reason: String,
    },
}

impl DecodeError {
    fn new(path: &str, fault: &serde_json::Error) -> Self {
        match fault.classify() {
            Category::Data => DecodeError::Member {
                member: if path == "." {
                    "body".to_owned()
                } else {
                    path.to_owned()
                },
                reason: without_text(&fault.to_string()),
            },
            Category::Syntax | Category::Eof | Category::Io => {
                DecodeError::Syntax(fault.to_string())
            }
        }
    }

    /// The error code that answers this fault.
    pub fn code(&self) -> ErrorCode {
        match self {
            DecodeError::Syntax(_) => ErrorCode::IotHubFormatError,
            DecodeError::Member { .. } => ErrorCode::ArgumentInvalid,
        }
    }
}

/// What is wrong without the text that was there: it may be a key in the wrong place, and refusals are logged.
/// The parser shows it as `string "..."`, escaped.
fn without_text(reason: &str) -> String {
    const BEGIN: &str = "string \"";
    let Some(begin) = reason.find(BEGIN) else {
        return reason.to_owned();
    };
    let (before, text) = reason.split_at(begin + BEGIN.len());
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    // Without an end all of it may be the text.
    let after = end.map_or("", |end| &text[end + 1..]);
    format!("{}{after}", &before[..begin + "string".len()])
}

/// A payload kept as text; null is `None`. The parser skips over kept text without counting its depth, so
/// it is counted here. compat: METHOD-4
pub(crate) fn payload<'de, D>(input: D) -> Result<Option<Box<RawValue>>, D::Error>
where
    D: Deserializer<'de>,
{
    let raw = Option::<Box<RawValue>>::deserialize(input)?;
    if let Some(raw) = &raw
        && depth(raw.get()) > DEPTH_MAX
    {
        return Err(D::Error::custom(format!(
            "a payload may be nested {DEPTH_MAX} levels deep at most"
        )));
    }
    Ok(raw)
}

/// Deepest nesting in a text that is known to be valid JSON.
fn depth(json: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0_usize);
    let mut in_string = false;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default, deserialize_with = "payload")]
        payload: Option<Box<RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        name: String,
    }

    #[test]
    fn text_in_the_wrong_place_is_not_repeated() {
        for body in [
            r#"{"inner":"my key"}"#,
            r#"{"inner":"my \" key \\"}"#,
            r#"{"payload":1,"inner":"my key, expected"}"#,
        ] {
            let text = decode::<Outer>(body.as_bytes()).unwrap_err().to_string();
            assert!(
                text.starts_with("inner: invalid type: string, expected struct Inner at line 1"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_member_is_named_with_its_path() {
        let fault = decode::<Outer>(br#"{"inner":{"name":3}}"#).unwrap_err();
        assert_eq!(fault.code(), ErrorCode::ArgumentInvalid);
        let text = fault.to_string();
        assert!(text.starts_with("inner.name: invalid type"), "{text}");
        assert!(
            decode::<Outer>(br#"{"inner":{"name":"n"}}"#)
                .unwrap()
                .inner
                .unwrap()
                .name
                == "n"
        );
    }

    #[test]
    fn text_that_is_not_json_is_a_format_error() {
        for body in ["", "{", "{}{}", "{'a':1}", "nul"] {
            let fault = decode::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(
                fault.code(),
                ErrorCode::IotHubFormatError,
                "{body}: {fault}"
            );
        }
    }

    #[test]
    fn the_root_is_called_body() {
        let fault = decode::<Outer>(b"3").unwrap_err();
        assert!(fault.to_string().starts_with("body: "), "{fault}");
    }

    #[test]
    fn payloads_have_a_greatest_depth() {
        let nested = |levels: usize| {
            format!(
                r#"{{"payload":{}{}}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        assert!(
            decode::<Outer>(nested(DEPTH_MAX).as_bytes())
                .unwrap()
                .payload
                .is_some()
        );
        assert!(decode::<Outer>(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(decode::<Outer>(nested(200_000).as_bytes()).is_err());
    }

    #[test]
    fn parsed_values_keep_the_parsers_own_depth_limit() {
        let body = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(decode::<serde_json::Value>(body.as_bytes()).is_err());
    }

    #[test]
    fn brackets_inside_strings_are_not_depth() {
        assert_eq!(depth(r#"{"a":"[[[\"[[","b":[1,[2]]}"#), 3);
        assert_eq!(depth("3"), 0);
    }
}
