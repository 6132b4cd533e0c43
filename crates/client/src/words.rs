//! Words of the contract that a later hub may have more of, and members that may be null.
//!
//! A list must stay readable when one of its documents has a word this library does not know, so every such
//! enum keeps the text.

use serde::{Deserialize, Deserializer};

/// Declares an enum of words as the contract spells them, read in any letter case, with `Unknown` for the rest. Where
/// several words mean the same, `spelled by` a function that knows which of them the contract's own is.
macro_rules! open_words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident $(spelled by $spelling:ident)? {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:expr, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A word that this library does not know, as the hub wrote it.
            Unknown(String),
        }

        impl $name {
            /// The contract's spelling.
            ///
            /// ```
            #[doc = concat!("use fanfare_client::", stringify!($name), ";")]
            ///
            #[doc = concat!("assert_eq!(", stringify!($name), "::from(\"later\").as_str(), \"later\");")]
            /// ```
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                let word = text;
                $( let word = $spelling(text).unwrap_or(word); )?
                $( if word.eq_ignore_ascii_case($word) { return Self::$variant; } )+
                Self::Unknown(text.to_owned())
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // `pad` keeps widths of format strings, for whoever prints a table.
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(input)?;
                Ok(Self::from(&*word))
            }
        }
    };
}

pub(crate) use open_words;

/// Reads null as if the member were absent.
pub(crate) fn null_as_default<'de, T, D>(input: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

/// Reads null as a value of its own, where it says something else than leaving the member out.
pub(crate) fn null_as_value<'de, D>(input: D) -> Result<Option<serde_json::Value>, D::Error>
where
    D: Deserializer<'de>,
{
    serde_json::Value::deserialize(input).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::ConnectionState;

    #[test]
    fn a_word_of_a_newer_hub_is_kept() {
        for (text, want) in [
            ("\"Connected\"", ConnectionState::Connected),
            ("\"connected\"", ConnectionState::Connected),
            ("\"Asleep\"", ConnectionState::Unknown("Asleep".into())),
        ] {
            let read: ConnectionState = serde_json::from_str(text).unwrap();
            assert_eq!(read, want);
        }
        let kept = serde_json::to_string(&ConnectionState::Unknown("Asleep".into())).unwrap();
        assert_eq!(kept, "\"Asleep\"");
    }
}
