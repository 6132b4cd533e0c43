//! JSON that passes through: checked once, never taken apart.

use std::{fmt, sync::Arc};

use crate::limits;

/// A JSON text, known to be well formed, kept as its sender wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Checks the bytes; `None` when they are not one JSON value or nested deeper than 128 levels.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
        if depth(text) > limits::JSON_DEPTH_MAX {
            return None;
        }
        Some(Self(text.trim_ascii().into()))
    }

    /// The text `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The deepest nesting of a well-formed text. What skips values does not count it.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

impl fmt::Debug for JsonText {
    /// Shows the length only: payloads do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_json_values_pass() {
        for good in ["null", " {\"a\":[1,2]} ", "0", "\"\"", "1e400"] {
            assert_eq!(
                JsonText::parse(good.as_bytes()).map(|t| t.as_str().to_owned()),
                Some(good.trim().to_owned())
            );
        }
        let brackets = format!("\"{}\\\"[\"", "[".repeat(200));
        assert!(
            JsonText::parse(brackets.as_bytes()).is_some(),
            "brackets in a string"
        );
        let just = "[".repeat(128) + &"]".repeat(128);
        assert!(JsonText::parse(just.as_bytes()).is_some());
        let deep = "[".repeat(129) + &"]".repeat(129);
        assert_eq!(JsonText::parse(deep.as_bytes()), None);
        let deep = "[".repeat(200) + &"]".repeat(200);
        for bad in ["", "{", "1 2", "\u{feff}1", "nul", deep.as_str()] {
            assert_eq!(JsonText::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(JsonText::parse(b"\"\xff\""), None);
    }
}
