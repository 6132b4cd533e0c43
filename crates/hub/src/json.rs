//! JSON that passes through: checked once, never taken apart.

use std::{fmt, sync::Arc};

/// A JSON text, known to be well formed, kept as its sender wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// Checks the bytes; `None` when they are not one JSON value or nested deeper than 128 levels.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
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
        let deep = "[".repeat(200) + &"]".repeat(200);
        for bad in ["", "{", "1 2", "\u{feff}1", "nul", deep.as_str()] {
            assert_eq!(JsonText::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(JsonText::parse(b"\"\xff\""), None);
    }
}
