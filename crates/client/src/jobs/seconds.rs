//! Durations that the wire writes as whole seconds: numbers, or text from clients that send numbers as text.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

/// Whole seconds, rounded up: nobody gets less time than was asked for.
pub(crate) fn whole(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

pub(crate) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    output: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => output.serialize_u64(whole(*duration)),
        None => output.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<Duration>, D::Error> {
    struct Seconds;

    impl<'de> Visitor<'de> for Seconds {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of seconds, 0 or more")
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
            Ok(Some(Duration::from_secs(seconds)))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
            u64::try_from(seconds)
                .map(|seconds| Some(Duration::from_secs(seconds)))
                .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Self::Value, E> {
            Duration::try_from_secs_f64(seconds)
                .map(Some)
                .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            match text.trim().parse::<u64>() {
                Ok(seconds) => self.visit_u64(seconds),
                Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
            input.deserialize_any(self)
        }
    }

    input.deserialize_any(Seconds)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Probe {
        #[serde(default, with = "super", skip_serializing_if = "Option::is_none")]
        window: Option<Duration>,
    }

    #[test]
    fn numbers_text_and_null_are_read() {
        for (json, want) in [
            ("{}", None),
            (r#"{"window":null}"#, None),
            (r#"{"window":300}"#, Some(300)),
            (r#"{"window":"300"}"#, Some(300)),
            (r#"{"window":300.0}"#, Some(300)),
        ] {
            let probe: Probe = serde_json::from_str(json).unwrap();
            assert_eq!(probe.window, want.map(Duration::from_secs), "{json}");
        }
        for json in [
            r#"{"window":-1}"#,
            r#"{"window":"soon"}"#,
            r#"{"window":true}"#,
            r#"{"window":1e300}"#,
        ] {
            assert!(serde_json::from_str::<Probe>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn fractions_are_rounded_up() {
        let json = |window| serde_json::to_string(&Probe { window }).unwrap();
        assert_eq!(json(Some(Duration::from_millis(1_001))), r#"{"window":2}"#);
        assert_eq!(json(Some(Duration::from_secs(2))), r#"{"window":2}"#);
        assert_eq!(json(None), "{}");
    }
}
