//! Keeps keys and signatures out of logs: text that only shows itself when asked by name.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A key, signature or token. `Debug` prints `***`; there is no `Display`. On the wire it is plain text. Its
/// memory is zeroed when it goes, and comparing two takes the same time whatever they are.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps text that must not be printed by accident.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Never put it in a log line or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all; an empty key means "generate one". compat: REG-1
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_text() {
        let printed = format!("{:?}", Some(Secret::new("c2VjcmV0")));
        assert_eq!(printed, "Some(***)");
    }

    #[test]
    fn json_carries_the_text() {
        let json = serde_json::to_string(&Secret::new("k")).unwrap();
        assert_eq!(json, "\"k\"");
        assert_eq!(serde_json::from_str::<Secret>(&json).unwrap().expose(), "k");
    }
}
