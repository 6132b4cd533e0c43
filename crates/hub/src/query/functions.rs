//! Decides which functions there are and what they yield.
//!
//! The union of what the original service has for twin queries and for routing conditions, every
//! name with or without its underscores. A wrong type yields undefined, never an error.
//! compat: QUERY-17

use std::borrow::Cow;

use super::limits::BUILT_STRING_BYTES_MAX;
use super::value::{Number, Value};

/// A function of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Magnitude of a number.
    Abs,
    /// The number a string spells; a number as it is.
    AsNumber,
    /// The next whole number up.
    Ceiling,
    /// Strings joined.
    Concat,
    /// Whether the second string is within the first.
    Contains,
    /// Whether the first string ends with the second.
    EndsWith,
    /// e to the power of a number.
    Exp,
    /// The next whole number down.
    Floor,
    /// Place of the second string in the first, in characters from 0, or -1.
    IndexOf,
    /// Whether it is an array.
    IsArray,
    /// Whether it is a boolean.
    IsBool,
    /// Whether it is there, an explicit null included.
    IsDefined,
    /// Whether it is an explicit null.
    IsNull,
    /// Whether it is a number.
    IsNumber,
    /// Whether it is an object.
    IsObject,
    /// Whether it is a string, boolean, number or null.
    IsPrimitive,
    /// Whether it is a string.
    IsString,
    /// Characters of a string (Unicode scalar values).
    Length,
    /// A string in lower case.
    Lower,
    /// The first number to the power of the second.
    Power,
    /// -1, 0 or 1.
    Sign,
    /// Square root.
    Sqrt,
    /// A number times itself.
    Square,
    /// Whether the first string starts with the second.
    StartsWith,
    /// Part of a string: start from 0, then perhaps a length, in characters.
    Substring,
    /// A string in upper case.
    Upper,
}

struct Entry {
    name: &'static str,
    function: Function,
    least: usize,
    most: usize,
}

const fn entry(name: &'static str, function: Function, least: usize, most: usize) -> Entry {
    Entry {
        name,
        function,
        least,
        most,
    }
}

const TABLE: [Entry; 26] = [
    entry("ABS", Function::Abs, 1, 1),
    entry("AS_NUMBER", Function::AsNumber, 1, 1),
    entry("CEILING", Function::Ceiling, 1, 1),
    entry("CONCAT", Function::Concat, 1, usize::MAX),
    entry("CONTAINS", Function::Contains, 2, 2),
    entry("ENDS_WITH", Function::EndsWith, 2, 2),
    entry("EXP", Function::Exp, 1, 1),
    entry("FLOOR", Function::Floor, 1, 1),
    entry("INDEX_OF", Function::IndexOf, 2, 2),
    entry("IS_ARRAY", Function::IsArray, 1, 1),
    entry("IS_BOOL", Function::IsBool, 1, 1),
    entry("IS_DEFINED", Function::IsDefined, 1, 1),
    entry("IS_NULL", Function::IsNull, 1, 1),
    entry("IS_NUMBER", Function::IsNumber, 1, 1),
    entry("IS_OBJECT", Function::IsObject, 1, 1),
    entry("IS_PRIMITIVE", Function::IsPrimitive, 1, 1),
    entry("IS_STRING", Function::IsString, 1, 1),
    entry("LENGTH", Function::Length, 1, 1),
    entry("LOWER", Function::Lower, 1, 1),
    entry("POWER", Function::Power, 2, 2),
    entry("SIGN", Function::Sign, 1, 1),
    entry("SQRT", Function::Sqrt, 1, 1),
    entry("SQUARE", Function::Square, 1, 1),
    entry("STARTS_WITH", Function::StartsWith, 2, 2),
    entry("SUBSTRING", Function::Substring, 2, 3),
    entry("UPPER", Function::Upper, 1, 1),
];

impl Function {
    /// The function of that name, in any case, with or without underscores.
    pub(super) fn named(name: &str) -> Option<Self> {
        let bare = |name: &str| name.replace('_', "");
        let matches = |entry: &&Entry| {
            entry.name.eq_ignore_ascii_case(name) || bare(entry.name).eq_ignore_ascii_case(name)
        };
        TABLE.iter().find(matches).map(|entry| entry.function)
    }

    /// The canonical name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The least and the most arguments it takes.
    pub(super) fn arity(self) -> (usize, usize) {
        (self.entry().least, self.entry().most)
    }

    fn entry(self) -> &'static Entry {
        let entry = TABLE.iter().find(|entry| entry.function == self);
        entry.expect("every function is in the table")
    }

    /// The result for as many arguments as [`Self::arity`] allows.
    pub(super) fn apply<'a>(self, arguments: &[Value<'a>]) -> Value<'a> {
        let first = &arguments[0];
        match self {
            Function::IsArray => Value::Bool(matches!(first, Value::Array(_))),
            Function::IsBool => Value::Bool(matches!(first, Value::Bool(_))),
            Function::IsDefined => Value::Bool(!matches!(first, Value::Undefined)),
            Function::IsNull => Value::Bool(matches!(first, Value::Null)),
            Function::IsNumber => Value::Bool(matches!(first, Value::Number(_))),
            Function::IsObject => Value::Bool(matches!(first, Value::Object(_))),
            Function::IsPrimitive => Value::Bool(!matches!(
                first,
                Value::Undefined | Value::Array(_) | Value::Object(_)
            )),
            Function::IsString => Value::Bool(matches!(first, Value::String(_))),
            _ => self.compute(arguments).unwrap_or(Value::Undefined),
        }
    }

    /// The functions that want types; `None` if they do not get them.
    fn compute<'a>(self, arguments: &[Value<'a>]) -> Option<Value<'a>> {
        let text = |n: usize| match &arguments[n] {
            Value::String(s) => Some(s),
            _ => None,
        };
        let number = |n: usize| match &arguments[n] {
            Value::Number(n) => Some(n.as_f64()),
            _ => None,
        };
        Some(match self {
            Function::Abs => Value::number(number(0)?.abs()),
            Function::Ceiling => Value::number(number(0)?.ceil()),
            Function::Exp => Value::number(number(0)?.exp()),
            Function::Floor => Value::number(number(0)?.floor()),
            Function::Power => Value::number(number(0)?.powf(number(1)?)),
            Function::Sign => match number(0)? {
                0.0 => Value::from(0),
                n => Value::number(n.signum()),
            },
            Function::Sqrt => Value::number(number(0)?.sqrt()),
            Function::Square => Value::number(number(0)? * number(0)?),
            Function::AsNumber => match &arguments[0] {
                Value::Number(n) => Value::Number(*n),
                _ => parse_number(text(0)?)?,
            },
            Function::Contains => Value::Bool(text(0)?.contains(&**text(1)?)),
            Function::EndsWith => Value::Bool(text(0)?.ends_with(&**text(1)?)),
            Function::StartsWith => Value::Bool(text(0)?.starts_with(&**text(1)?)),
            Function::IndexOf => {
                let text0 = text(0)?;
                let place = text0
                    .find(&**text(1)?)
                    .map(|at| text0[..at].chars().count());
                Value::from(place.map_or(-1, |n| n as i64))
            }
            Function::Length => Value::from(text(0)?.chars().count() as i64),
            Function::Lower => Value::String(Cow::Owned(text(0)?.to_lowercase())),
            Function::Upper => Value::String(Cow::Owned(text(0)?.to_uppercase())),
            Function::Substring => {
                let start = whole(number(1)?)?;
                let length = if arguments.len() > 2 {
                    whole(number(2)?)?
                } else {
                    usize::MAX
                };
                Value::String(substring(text(0)?, start, length))
            }
            Function::Concat => concat(arguments)?,
            Function::IsArray
            | Function::IsBool
            | Function::IsDefined
            | Function::IsNull
            | Function::IsNumber
            | Function::IsObject
            | Function::IsPrimitive
            | Function::IsString => return None,
        })
    }
}

fn concat<'a>(arguments: &[Value<'a>]) -> Option<Value<'a>> {
    let mut joined = String::new();
    for argument in arguments {
        let Value::String(piece) = argument else {
            return None;
        };
        if joined.len() + piece.len() > BUILT_STRING_BYTES_MAX {
            return None;
        }
        joined.push_str(piece);
    }
    Some(Value::String(Cow::Owned(joined)))
}

/// A decimal number with nothing around it; no words such as `inf`.
fn parse_number<'a>(text: &str) -> Option<Value<'a>> {
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(numeric) {
        return None;
    }
    if let Ok(n) = text.parse::<i64>() {
        return Some(Value::Number(Number::Integer(n)));
    }
    text.parse().ok().map(Value::number)
}

/// A whole number from 0; numbers past any string's length are as good as the largest.
fn whole(n: f64) -> Option<usize> {
    (n >= 0.0 && n.fract() == 0.0).then_some(n as usize)
}

fn substring<'a>(text: &Cow<'a, str>, start: usize, length: usize) -> Cow<'a, str> {
    let place = |text: &str, n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let from = place(text, start);
    let to = from + place(&text[from..], length);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_owned()),
    }
}
