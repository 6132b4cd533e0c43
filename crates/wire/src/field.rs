//! How members of a request may be spelled: absent, null, or a value; numbers as numbers or as text.
//!
//! SDKs disagree on all of these (a missing key, a null and an empty object are three different patches, the
//! CLI sends numbers as strings), so the leniencies have one home.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A member that may be missing, null or present. In a patch the three mean: leave it, clear it, merge it.
/// compat: TWIN-5
///
/// Use with `#[serde(default, skip_serializing_if = "Field::is_absent")]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// The key was not there.
    #[default]
    Absent,
    /// The key was there with `null`.
    Null,
    /// The key was there with a value.
    Value(T),
}

impl<T> Field<T> {
    /// Whether the key was not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// The same state over a reference.
    pub fn as_ref(&self) -> Field<&T> {
        match self {
            Field::Absent => Field::Absent,
            Field::Null => Field::Null,
            Field::Value(value) => Field::Value(value),
        }
    }

    /// The value, when there is one; null and absent are both `None`.
    pub fn value(self) -> Option<T> {
        match self {
            Field::Value(value) => Some(value),
            Field::Absent | Field::Null => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(match Option::<T>::deserialize(input)? {
            Some(value) => Field::Value(value),
            None => Field::Null,
        })
    }
}

impl<T: Serialize> Serialize for Field<T> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Value(value) => value.serialize(output),
            Field::Absent | Field::Null => output.serialize_none(),
        }
    }
}

/// A whole number, 0 or more; numeric text and whole floats count, null is `None`. compat: HTTP-9
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    struct WholeNumber;

    impl<'de> Visitor<'de> for WholeNumber {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number, 0 or more")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            u64::try_from(number)
                .map(Some)
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            // Beyond 2^53 a float no longer says which integer was meant.
            if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) {
                return Ok(Some(number as u64));
            }
            Err(E::invalid_value(de::Unexpected::Float(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            // Digits only: Rust's own parser would also take a leading plus sign.
            if text.bytes().all(|byte| byte.is_ascii_digit())
                && let Ok(number) = text.parse()
            {
                return Ok(Some(number));
            }
            Err(E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    input.deserialize_any(WholeNumber)
}

/// An id that may arrive as text or as a JSON number (Node passes on what its caller gave); null is `None`.
/// compat: JOB-1
pub(crate) fn id_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    struct IdText;

    impl<'de> Visitor<'de> for IdText {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an id as text or number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
            Ok(Some(text))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            Ok(Some(number.to_string()))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    input.deserialize_any(IdText)
}

/// A member whose null means the same as its absence: the type's default.
pub(crate) fn null_as_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Probe {
        #[serde(default, skip_serializing_if = "Field::is_absent")]
        part: Field<u8>,
        #[serde(default, deserialize_with = "whole_number", skip_serializing)]
        number: Option<u64>,
        #[serde(default, deserialize_with = "id_text", skip_serializing)]
        id: Option<String>,
    }

    fn probe(json: &str) -> Result<Probe, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn absent_null_and_value_stay_apart_both_ways() {
        for (json, want) in [
            ("{}", Field::Absent),
            (r#"{"part":null}"#, Field::Null),
            (r#"{"part":3}"#, Field::Value(3)),
        ] {
            let read = probe(json).unwrap();
            assert_eq!(read.part, want);
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
    }

    #[test]
    fn whole_numbers_come_as_numbers_or_text() {
        for (json, want) in [
            ("{}", None),
            (r#"{"number":null}"#, None),
            (r#"{"number":30}"#, Some(30)),
            (r#"{"number":"30"}"#, Some(30)),
            (r#"{"number":30.0}"#, Some(30)),
        ] {
            assert_eq!(probe(json).unwrap().number, want, "{json}");
        }
        for json in [
            r#"{"number":-1}"#,
            r#"{"number":1.5}"#,
            r#"{"number":"-1"}"#,
            r#"{"number":"+1"}"#,
            r#"{"number":""}"#,
            r#"{"number":"soon"}"#,
            r#"{"number":true}"#,
            r#"{"number":[1]}"#,
            r#"{"number":1e300}"#,
        ] {
            assert!(probe(json).is_err(), "{json}");
        }
    }

    #[test]
    fn ids_come_as_text_or_number() {
        for (json, want) in [
            (r#"{"id":"j-1"}"#, Some("j-1")),
            (r#"{"id":7}"#, Some("7")),
            (r#"{"id":-7}"#, Some("-7")),
            (r#"{"id":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(probe(json).unwrap().id.as_deref(), want, "{json}");
        }
        assert!(probe(r#"{"id":{}}"#).is_err());
    }
}
