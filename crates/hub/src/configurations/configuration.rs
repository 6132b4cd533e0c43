//! What a configuration is: its name, what its owner sets, and what the hub counts for it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    ids::{self, Etag, IdError},
    json::JsonText,
    limits,
    time::Timestamp,
};

const CHARACTERS: &str = "lower-case ASCII letters, digits and - + % _ * ! '";

/// A configuration's name: 1 to 128 lower-case letters, digits and `-+%_*!'`. compat: CFG-1
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigurationId(Arc<str>);

impl ConfigurationId {
    /// Parses the text; the error says which character or length is wrong.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let max = limits::CONFIGURATION_ID_CHARS_MAX;
        ids::checked("configuration id", text, max, CHARACTERS, |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || "-+%_*!'".contains(c)
        })
        .map(Self)
    }

    /// The id as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfigurationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConfigurationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A configuration's place in the order of creation: never used again, not even for the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigurationNumber(pub u64);

/// What a configuration's owner sets. Parts that the hub does not read are kept as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationSettings {
    /// The version of the document's shape, as its owner calls it.
    pub schema_version: Option<String>,
    /// Names and texts, for people.
    pub labels: Option<BTreeMap<String, String>>,
    /// What is written to twins, byte for byte; see [`super::content`].
    pub content: Option<JsonText>,
    /// Which identities it is for; empty for none.
    pub condition: String,
    /// The higher one wins where two write the same path.
    pub priority: u32,
    /// Custom metrics: name and query.
    pub metrics: BTreeMap<String, String>,
    /// Members that the contract does not know: name and JSON.
    pub others: BTreeMap<String, JsonText>,
}

/// A configuration as one read saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Its name.
    pub id: ConfigurationId,
    /// Its place in the order of creation.
    pub number: ConfigurationNumber,
    /// Moves with every change.
    pub etag: Etag,
    /// The etag with which its content last changed.
    pub content_version: Etag,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// What its owner set.
    pub settings: ConfigurationSettings,
    /// What the last whole pass counted.
    pub results: ConfigurationResults,
}

/// What a pass over all identities counted for one configuration. compat: CFG-12
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigurationResults {
    /// Identities that match the condition.
    pub targeted: u64,
    /// Those on which it is applied.
    pub applied: u64,
    /// Edge devices whose agent reported success with it.
    pub reported_successful: u64,
    /// Edge devices whose agent reported a failure with it.
    pub reported_failed: u64,
    /// Rows of each custom metric's query.
    pub metrics: BTreeMap<String, u64>,
}

/// How far a configuration came on one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigurationStatus {
    /// At least one of its settings is in force, or it has none.
    Applied,
    /// It matches, but others of higher precedence write all it would, or the twin cannot take it.
    Targeted,
}

impl ConfigurationStatus {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Targeted => "Targeted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case() {
        for good in ["a", "chiller-4000x", "x+%_*!'9", &"c".repeat(128)] {
            assert!(ConfigurationId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "a.b", "a/b", "ä", &"c".repeat(129)] {
            assert!(ConfigurationId::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            ConfigurationId::parse("aB").map_err(|error| error.to_string()),
            Err(format!(
                "configuration id has the character 'B' at position 2, allowed are {CHARACTERS}"
            ))
        );
    }
}
