//! Decides what a value is: literals of a text and values of a document.

use std::borrow::Cow;

use serde_json::Value as JsonValue;

/// A literal of a query text.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `undefined`
    Undefined,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// A string with its escapes resolved.
    String(Box<str>),
}

/// A value of a document or of an expression, borrowed where possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing there: a missing path, or the result of an operation that has none.
    Undefined,
    /// An explicit JSON null.
    Null,
    /// true or false
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(Cow<'a, str>),
    /// An array. Expressions see only that it is one; projections print it.
    Array(Json<'a>),
    /// An object. Expressions see only that it is one; projections print it.
    Object(Json<'a>),
}

/// A number as the document had it. Expressions compute with IEEE doubles; the split exists so that
/// projections print what was stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Written without fraction and exponent, within 64 bits.
    Integer(i64),
    /// Any other finite number.
    Float(f64),
}

/// An array or object, opaque to expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// Its JSON text, embedded verbatim by projections. Must be one valid JSON value.
    Text(Cow<'a, str>),
    /// A parsed value.
    Tree(&'a JsonValue),
}

impl Number {
    /// The nearest double.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Integer(n) => n as f64,
            Number::Float(n) => n,
        }
    }
}

impl<'a> Value<'a> {
    /// The value of a parsed JSON value.
    pub fn from_json(json: &'a JsonValue) -> Self {
        match json {
            JsonValue::Null => Value::Null,
            JsonValue::Bool(b) => Value::Bool(*b),
            JsonValue::Number(n) => match n.as_i64() {
                Some(n) => Value::Number(Number::Integer(n)),
                None => n.as_f64().map_or(Value::Undefined, Value::number),
            },
            JsonValue::String(s) => Value::String(Cow::Borrowed(s)),
            JsonValue::Array(_) => Value::Array(Json::Tree(json)),
            JsonValue::Object(_) => Value::Object(Json::Tree(json)),
        }
    }

    /// The value of the text of one valid JSON value, white space around it allowed. Arrays and
    /// objects are told by their first byte and not looked into; strings without escapes are
    /// borrowed. `None` if the text is not JSON as far as it was looked at.
    pub fn from_json_text(text: &'a str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        match text.as_bytes().first()? {
            b'{' => Some(Value::Object(Json::Text(Cow::Borrowed(text)))),
            b'[' => Some(Value::Array(Json::Text(Cow::Borrowed(text)))),
            b'"' if !text.contains('\\') => {
                let inner = text[1..].strip_suffix('"')?;
                Some(Value::String(Cow::Borrowed(inner)))
            }
            b'"' => serde_json::from_str(text)
                .ok()
                .map(|s| Value::String(Cow::Owned(s))),
            _ => match serde_json::from_str(text).ok()? {
                JsonValue::Null => Some(Value::Null),
                JsonValue::Bool(b) => Some(Value::Bool(b)),
                JsonValue::Number(n) => Some(match n.as_i64() {
                    Some(n) => Value::Number(Number::Integer(n)),
                    None => n.as_f64().map_or(Value::Undefined, Value::number),
                }),
                _ => None,
            },
        }
    }

    /// A borrowed string.
    pub fn str(text: &'a str) -> Self {
        Value::String(Cow::Borrowed(text))
    }

    /// A number, or undefined if it is not finite: a division by zero, an overflow.
    /// compat: QUERY-21
    pub fn number(n: f64) -> Self {
        if n.is_finite() {
            Value::Number(Number::Float(n))
        } else {
            Value::Undefined
        }
    }

    /// Appends the JSON text of the value to `out`. False, and nothing appended, if undefined.
    pub fn write_json(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Value::Undefined => return false,
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(Number::Integer(n)) => out.extend_from_slice(n.to_string().as_bytes()),
            Value::Number(Number::Float(n)) => {
                serde_json::to_writer(out, n).expect("a number written to memory cannot fail");
            }
            Value::String(s) => write_string(out, s),
            Value::Array(json) | Value::Object(json) => match json {
                Json::Text(text) => out.extend_from_slice(text.as_bytes()),
                Json::Tree(tree) => {
                    serde_json::to_writer(out, tree).expect("a tree written to memory cannot fail");
                }
            },
        }
        true
    }
}

impl<'a> From<&'a Literal> for Value<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Undefined => Value::Undefined,
            Literal::Null => Value::Null,
            Literal::Bool(b) => Value::Bool(*b),
            Literal::Number(n) => Value::number(*n),
            Literal::String(s) => Value::str(s),
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Value::Number(Number::Integer(n))
    }
}

/// Appends a JSON object of the members that `write` writes; one for which it says false is left out.
pub(super) fn write_object<'k, T>(
    out: &mut Vec<u8>,
    members: impl IntoIterator<Item = (&'k str, T)>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> bool,
) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in members {
        let before = out.len();
        if !first {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        if write(value, out) {
            first = false;
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

/// Appends `text` as a JSON string.
fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string written to memory cannot fail");
}
