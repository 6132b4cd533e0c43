//! What a call is addressed to, a device or a module, and the etag that guards a change of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::transport::{IfMatch, Repeat, segment};

/// A device, or one of its modules. Calls take whatever turns into one: `"door-1"` is a device,
/// `("door-1", "lock")` the module `lock` on it.
///
/// ```
/// use fanfare_client::IdentityId;
///
/// assert_eq!(IdentityId::from("door-1"), IdentityId::device("door-1"));
/// assert_eq!(IdentityId::from(("door-1", "lock")), IdentityId::module("door-1", "lock"));
/// assert_eq!(IdentityId::module("door-1", "lock").to_string(), "door-1/lock");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityId {
    /// The device.
    pub device_id: String,
    /// The module on it; `None` for the device itself.
    pub module_id: Option<String>,
}

impl IdentityId {
    /// A device.
    ///
    /// ```
    /// assert_eq!(fanfare_client::IdentityId::device("door-1").module_id, None);
    /// ```
    pub fn device(device_id: impl Into<String>) -> Self {
        Self {
            device_id: device_id.into(),
            module_id: None,
        }
    }

    /// A module on a device.
    ///
    /// ```
    /// let lock = fanfare_client::IdentityId::module("door-1", "lock");
    /// assert_eq!(lock.module_id.as_deref(), Some("lock"));
    /// ```
    pub fn module(device_id: impl Into<String>, module_id: impl Into<String>) -> Self {
        Self {
            device_id: device_id.into(),
            module_id: Some(module_id.into()),
        }
    }

    /// Its path below `root`, for example `/twins/door-1/modules/lock`.
    pub(crate) fn path(&self, root: &str) -> String {
        let device = segment(&self.device_id);
        match &self.module_id {
            None => format!("/{root}/{device}"),
            Some(module) => format!("/{root}/{device}/modules/{}", segment(module)),
        }
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module_id {
            None => f.pad(&self.device_id),
            Some(module) => f.pad(&format!("{}/{module}", self.device_id)),
        }
    }
}

impl From<&str> for IdentityId {
    fn from(device_id: &str) -> Self {
        Self::device(device_id)
    }
}

impl From<String> for IdentityId {
    fn from(device_id: String) -> Self {
        Self::device(device_id)
    }
}

impl From<&String> for IdentityId {
    fn from(device_id: &String) -> Self {
        Self::device(device_id)
    }
}

impl From<&IdentityId> for IdentityId {
    fn from(id: &IdentityId) -> Self {
        id.clone()
    }
}

impl<D: Into<String>, M: Into<String>> From<(D, M)> for IdentityId {
    fn from((device_id, module_id): (D, M)) -> Self {
        Self::module(device_id, module_id)
    }
}

/// The version of an identity, a twin or a configuration, as its document carries it. Given to a change, it is the
/// version the change is meant for: another one is refused with `PreconditionFailed` (412) and nothing changes.
/// `None` and [`Etag::any`] change whatever version is there.
///
/// ```
/// use fanfare_client::Etag;
///
/// let etag = Etag::new("AAAAAAAAAAE=");
/// assert_eq!(etag.as_str(), "AAAAAAAAAAE=");
/// assert_eq!(Etag::new("W/\"MQ==\""), Etag::new("MQ=="));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Etag(String);

impl Etag {
    /// An etag as a document or an `ETag` header writes it; quotes and `W/` are taken off.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Etag::new("\"MQ==\"").to_string(), "MQ==");
    /// ```
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let bare = text.strip_prefix("W/").unwrap_or(&text);
        let quoted = bare
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match quoted.unwrap_or(bare) {
            same if same.len() == text.len() => Self(text),
            bare => Self(bare.to_owned()),
        }
    }

    /// Any version, `*`.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Etag::any().as_str(), "*");
    /// ```
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The text, without quotes.
    ///
    /// ```
    /// assert_eq!(fanfare_client::Etag::new("MQ==").as_str(), "MQ==");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the document had none.
    ///
    /// ```
    /// assert!(fanfare_client::Etag::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Etag {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Etag {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Etag> for String {
    fn from(etag: Etag) -> Self {
        etag.0
    }
}

/// The precondition of a change of something that exists, and whether such a change may be repeated: one that
/// compares versions would, if done before, meet its own.
pub(crate) fn precondition(etag: Option<Etag>) -> (IfMatch, Repeat) {
    match etag {
        None => (IfMatch::Any, Repeat::Always),
        Some(Etag(text)) if text == "*" => (IfMatch::Any, Repeat::Always),
        Some(Etag(text)) => (IfMatch::Etag(text), Repeat::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_paths_of_encoded_segments() {
        let device = IdentityId::from("d#1/x");
        assert_eq!(device.path("devices"), "/devices/d%231%2Fx");
        let module = IdentityId::from(("d 1", "m"));
        assert_eq!(module.path("twins"), "/twins/d%201/modules/m");
    }

    #[test]
    fn only_changes_of_any_version_are_repeated() {
        for (etag, want, repeat) in [
            (None, IfMatch::Any, Repeat::Always),
            (Some(Etag::any()), IfMatch::Any, Repeat::Always),
            (Some("\"*\"".into()), IfMatch::Any, Repeat::Always),
            (
                Some("MQ==".into()),
                IfMatch::Etag("MQ==".to_owned()),
                Repeat::Refused,
            ),
            // A document without an etag never becomes a change of any version by accident.
            (
                Some(Etag::default()),
                IfMatch::Etag(String::new()),
                Repeat::Refused,
            ),
        ] {
            assert_eq!(precondition(etag.clone()), (want, repeat), "{etag:?}");
        }
    }
}
