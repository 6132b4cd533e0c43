//! Reads objects from objects only.
//!
//! What serde derives for a struct also takes an array of its members in order, so that `[]` would pass for
//! a body whose members may all be missing. [`Strict`] stands between the parser and the shapes and lets an
//! array be an array. A name from a list (a status, a mode) it takes from text only. compat: HTTP-15

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

/// A deserializer, a visitor, a seed or an access, with everything below it made strict as well.
pub(crate) struct Strict<T>(pub(crate) T);

macro_rules! deserialize_as_any {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Strict(visitor))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    deserialize_as_any! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_unit deserialize_identifier
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_bytes(Strict(visitor))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_byte_buf(Strict(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Strict(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Strict(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Strict(visitor))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(Strict(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, Strict(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0
            .deserialize_tuple_struct(name, length, Strict(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    /// Here is the point of it all.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Name(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }
}

macro_rules! visit_the_same {
    ($($method:ident $type:ty,)+) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit_the_same! {
        visit_bool bool,
        visit_i64 i64,
        visit_i128 i128,
        visit_u64 u64,
        visit_u128 u128,
        visit_f64 f64,
        visit_str &str,
        visit_borrowed_str &'de str,
        visit_string String,
        visit_bytes &[u8],
        visit_borrowed_bytes &'de [u8],
        visit_byte_buf Vec<u8>,
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(members))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

/// Keys are text in any case; only values have anything below.
impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(input))
    }
}

/// Makes a name of a text, for a visitor that waits for one.
struct Name<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        let name: StrDeserializer<'_, E> = name.into_deserializer();
        self.0.visit_enum(name)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, name: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use crate::{decode, error::ErrorCode};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        text: Option<String>,
        inner: Option<Box<Outer>>,
        list: Vec<Outer>,
        map: BTreeMap<String, Outer>,
        kind: Kind,
        pair: (u8, i16),
        any: Value,
        number: Option<f64>,
        wrapped: Wrapped,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        #[default]
        First,
        Second,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Wrapped(Option<Box<Outer>>);

    #[derive(Debug, Deserialize)]
    struct Raw {
        raw: Box<RawValue>,
    }

    #[test]
    fn an_array_is_no_object_however_deep() {
        for (body, member) in [
            ("[]", "body"),
            (r#"{"inner":[]}"#, "inner"),
            (r#"{"inner":{"inner":["x"]}}"#, "inner.inner"),
            (r#"{"list":[{},[]]}"#, "list[1]"),
            (r#"{"map":{"a":{"inner":[]}}}"#, "map.a.inner"),
            (r#"{"wrapped":[]}"#, "wrapped"),
        ] {
            let fault = decode::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(fault.code(), ErrorCode::ArgumentInvalid, "{body}: {fault}");
            assert!(
                fault.to_string().starts_with(&format!("{member}: ")),
                "{body}: {fault}"
            );
        }
    }

    #[test]
    fn a_name_is_text() {
        for body in [
            "true",
            "3",
            "{}",
            r#"{"second":null}"#,
            "[]",
            "null",
            r#""third""#,
        ] {
            let body = format!(r#"{{"kind":{body}}}"#);
            let fault = decode::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(fault.code(), ErrorCode::ArgumentInvalid, "{body}: {fault}");
        }
        let body = br#"{"kind":"second"}"#;
        assert_eq!(decode::<Outer>(body).unwrap().kind, Kind::Second);
    }

    #[test]
    fn everything_else_is_read_as_before() {
        for body in [
            "{}",
            r#"{"text":"a\u00fc\"b","inner":{"inner":null,"kind":"first"},"unknown":[{"x":[]}]}"#,
            r#"{"list":[{},{"text":null}],"map":{"a":{},"b":{"number":1e3}},"pair":[1,-2]}"#,
            r#"{"any":{"a":[1,2.5,-3,"x",null,true,{"b":{}}]},"number":7,"wrapped":{"text":"t"}}"#,
            r#"{"wrapped":null,"any":18446744073709551615}"#,
        ] {
            let lenient: Outer = serde_json::from_str(body).unwrap();
            assert_eq!(decode::<Outer>(body.as_bytes()).unwrap(), lenient, "{body}");
        }
        let body = r#"{"raw": {"b": 1.50, "a":[ ]} }"#;
        let read: Raw = decode(body.as_bytes()).unwrap();
        assert_eq!(read.raw.get(), r#"{"b": 1.50, "a":[ ]}"#);
    }
}
