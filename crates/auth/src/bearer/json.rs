//! JSON of strangers, bounded: no member twice, no deep nesting, not too many values.
//!
//! Two readers of a token that has a member twice may each see another one; the safe answer to such a token is no.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How much of a document is read before it is refused.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Objects and arrays inside each other.
    pub(super) depth: u8,
    /// Values in all, members and elements alike.
    pub(super) values: u32,
}

/// Reads one object and nothing after it. `None` when it is anything else, or out of bounds.
pub(super) fn object(bytes: &[u8], bounds: Bounds) -> Option<Map<String, Value>> {
    let left = Cell::new(bounds.values);
    let strict = Strict {
        depth: bounds.depth,
        left: &left,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = strict.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: u8,
    left: &'a Cell<u32>,
}

impl Strict<'_> {
    /// One more value, one level deeper.
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth, ..self })
    }

    fn counted<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or_else(|| E::custom("too many values"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.counted()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(inner)? {
            all.push(element);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        depth: 3,
        values: 8,
    };

    #[test]
    fn an_object_is_read_as_it_stands() {
        let text = br#" {"a": [1, -2, 2.5, true, null], "b": "x"} "#;
        let read = object(text, BOUNDS).map(Value::Object);
        assert_eq!(read, Some(json!({"a": [1, -2, 2.5, true, null], "b": "x"})));
    }

    #[test]
    fn what_is_no_bounded_object_is_refused() {
        for wrong in [
            "",
            "[]",
            "\"x\"",
            "{",
            "{} {}",
            "{\"a\": 1, \"a\": 1}",
            "{\"a\": 1, \"\\u0061\": 2}",
            "{\"a\": {\"b\": 1, \"b\": 1}}",
            "{\"a\": [[[1]]]}",
            "{\"a\": [1, 2, 3, 4, 5, 6, 7]}",
            "{\"a\": NaN}",
            "{\"a\": 1e999}",
        ] {
            assert_eq!(object(wrong.as_bytes(), BOUNDS), None, "{wrong}");
        }
        assert_eq!(object(b"{\"a\": \"\xff\"}", BOUNDS), None);
    }
}
