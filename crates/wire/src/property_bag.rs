//! Property bags: the `k=v&k2=v2` at the end of a topic.
//!
//! Encoded like a URI, not like a form. A key alone is a null, `k=` is empty text. compat: MQTT-2, MQTT-3

use std::collections::BTreeMap;
use std::fmt;

use crate::percent;

/// The properties of a message. Keys that begin with `$.` are system properties, see [`SystemProperty`];
/// all others are the application's. Sorted by key, so that encoding is the same twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertyBag {
    entries: BTreeMap<String, Option<String>>,
}

impl PropertyBag {
    /// A bag without properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a bag; a leading `?` is skipped, and of a key given twice the last one counts.
    ///
    /// # Errors
    /// [`DecodeBagError`] when a part has no name, or its escapes are broken or not UTF-8.
    pub fn decode(text: &str) -> Result<Self, DecodeBagError> {
        let mut entries = BTreeMap::new();
        let text = text.strip_prefix('?').unwrap_or(text);
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            let name = percent::decode(name).ok_or(DecodeBagError::Escape)?;
            if name.is_empty() {
                return Err(DecodeBagError::NoName);
            }
            let value = value.map(|value| percent::decode(value).ok_or(DecodeBagError::Escape));
            entries.insert(name, value.transpose()?);
        }
        Ok(Self { entries })
    }

    /// The bag as it stands in a topic: everything but letters, digits and `- . _ ~` is encoded, `$.mid`
    /// becomes `%24.mid`. Empty without properties.
    pub fn encode(&self) -> String {
        self.to_string()
    }

    /// Whether there is no property.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many properties there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sets a property; `None` is a null.
    pub fn insert(&mut self, name: impl Into<String>, value: Option<String>) {
        self.entries.insert(name.into(), value);
    }

    /// Sets a system property.
    pub fn insert_system(&mut self, property: SystemProperty, value: impl Into<String>) {
        self.entries
            .insert(property.key().to_owned(), Some(value.into()));
    }

    /// A property's text; `None` when it is absent or null.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.get(name)?.as_deref()
    }

    /// A system property's text; `None` when it is absent or null.
    pub fn system(&self, property: SystemProperty) -> Option<&str> {
        self.text(property.key())
    }

    /// Every property with its value, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The application's properties, sorted by name.
    pub fn application(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.iter().filter(|(name, _)| !name.starts_with("$."))
    }
}

impl fmt::Display for PropertyBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                f.write_str("&")?;
            }
            f.write_str(&percent::encode(name))?;
            if let Some(value) = value {
                write!(f, "={}", percent::encode(value))?;
            }
        }
        Ok(())
    }
}

/// Why a text is not a property bag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeBagError {
    /// A value without a name.
    #[error("a property has no name")]
    NoName,
    /// An escape lacks its digits, or the bytes are not UTF-8.
    #[error("a property is not properly percent-encoded")]
    Escape,
}

macro_rules! system_properties {
    ($($(#[$doc:meta])+ $name:ident = $key:literal,)+) => {
        /// The properties with a meaning of their own, by their short keys.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SystemProperty {
            $($(#[$doc])+ $name,)+
        }

        impl SystemProperty {
            /// All of them.
            pub const ALL: &[SystemProperty] = &[$(SystemProperty::$name),+];

            /// The key in a bag, decoded.
            pub const fn key(self) -> &'static str {
                match self { $(SystemProperty::$name => $key),+ }
            }
        }
    };
}

system_properties! {
    /// The message's id.
    MessageId = "$.mid",
    /// The id it answers.
    CorrelationId = "$.cid",
    /// Who it comes from.
    UserId = "$.uid",
    /// Where it goes.
    To = "$.to",
    /// The type of the body.
    ContentType = "$.ct",
    /// The encoding of the body.
    ContentEncoding = "$.ce",
    /// When it stops being wanted.
    AbsoluteExpiry = "$.exp",
    /// The output of a module.
    OutputName = "$.on",
    /// The interface of a device model.
    InterfaceId = "$.ifid",
    /// The component of a device model.
    Subject = "$.sub",
    /// When it was made.
    CreationTime = "$.ctime",
    /// The device it came from, at the inputs of modules.
    OriginDeviceId = "$.cdid",
    /// The module it came from, at the inputs of modules.
    OriginModuleId = "$.cmid",
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_sdks_send_is_read() {
        let bag = PropertyBag::decode(
            "%24.mid=id%201&%24.cid=cor&%24.ct=application%2Fjson&%24.ce=utf-8&a%20b=c%2Fd%26e",
        )
        .unwrap();
        assert_eq!(bag.system(SystemProperty::MessageId), Some("id 1"));
        assert_eq!(
            bag.system(SystemProperty::ContentType),
            Some("application/json")
        );
        assert_eq!(
            bag.application().collect::<Vec<_>>(),
            [("a b", Some("c/d&e"))]
        );
        assert_eq!(bag.len(), 5);
        assert_eq!(
            PropertyBag::decode("$.mid=x").unwrap().text("$.mid"),
            Some("x")
        );
    }

    #[test]
    fn null_empty_and_absent_stay_apart() {
        let bag = PropertyBag::decode("?a&b=&c=d=e&f=1+1&a&f=2").unwrap();
        let all: Vec<_> = bag.iter().collect();
        assert_eq!(
            all,
            [
                ("a", None),
                ("b", Some("")),
                ("c", Some("d=e")),
                ("f", Some("2"))
            ]
        );
        assert_eq!(bag.encode(), "a&b=&c=d%3De&f=2");
        assert_eq!(PropertyBag::decode("f=1+1").unwrap().text("f"), Some("1+1"));
    }

    #[test]
    fn no_properties_is_no_text() {
        assert!(PropertyBag::decode("").unwrap().is_empty());
        assert!(PropertyBag::decode("?").unwrap().is_empty());
        assert_eq!(PropertyBag::new().encode(), "");
    }

    #[test]
    fn broken_bags_are_refused() {
        for (text, want) in [
            ("=v", DecodeBagError::NoName),
            ("a=1&=v", DecodeBagError::NoName),
            ("a=%", DecodeBagError::Escape),
            ("a=%4x", DecodeBagError::Escape),
            ("%ff=1", DecodeBagError::Escape),
        ] {
            assert_eq!(PropertyBag::decode(text), Err(want), "{text}");
        }
    }

    #[test]
    fn system_properties_are_written_with_an_escaped_dollar() {
        let mut bag = PropertyBag::new();
        bag.insert_system(SystemProperty::To, "/devices/d/messages/deviceBound");
        bag.insert("prop", Some("value".to_owned()));
        assert_eq!(
            bag.encode(),
            "%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&prop=value"
        );
        for property in SystemProperty::ALL {
            assert!(property.key().starts_with("$."));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(
            entries in proptest::collection::btree_map("\\PC{1,12}", proptest::option::of("\\PC{0,12}"), 0..6)
        ) {
            let bag = PropertyBag { entries };
            prop_assert_eq!(PropertyBag::decode(&bag.encode()), Ok(bag));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,60}") {
            let _ = PropertyBag::decode(&text);
        }
    }
}
