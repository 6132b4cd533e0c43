//! Decides what may stand in a section: keys, levels, strings, integers, and the size of it all. Pure.
//!
//! Levels are counted below the section: its own members are on none, the members of an object or array
//! among them are on the first. compat: TWIN-13

use serde_json::Value;

use super::{Object, TwinError};
use crate::limits;

/// Checks everything but the size, which is a matter of the merged section.
pub(super) fn check_members(section: &str, members: &Object) -> Result<(), TwinError> {
    check_object(section, members, 0)
}

fn check_object(path: &str, members: &Object, level: usize) -> Result<(), TwinError> {
    check_level(path, level)?;
    for (key, value) in members {
        if let Some(problem) = key_problem(key) {
            return Err(TwinError::Key {
                path: path.to_owned(),
                key: shown(key),
                problem,
            });
        }
        check_value(&format!("{path}.{}", shown(key)), value, level)?;
    }
    Ok(())
}

fn check_value(path: &str, value: &Value, level: usize) -> Result<(), TwinError> {
    match value {
        Value::String(text) if text.len() > limits::TWIN_STRING_BYTES_MAX => {
            Err(TwinError::StringTooLong {
                path: path.to_owned(),
                bytes: text.len(),
                max: limits::TWIN_STRING_BYTES_MAX,
            })
        }
        Value::Number(number) if !is_in_range(number) => Err(TwinError::Integer {
            path: path.to_owned(),
        }),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_) => Ok(()),
        Value::Array(elements) => {
            check_level(path, level + 1)?;
            elements
                .iter()
                .try_for_each(|element| check_value(path, element, level + 1))
        }
        Value::Object(members) => check_object(path, members, level + 1),
    }
}

/// The range is for integers; a number with a fraction or an exponent is a double and has a double's
/// range. Integers too large for 64 bits do not come this far. compat: TWIN-16
fn is_in_range(number: &serde_json::Number) -> bool {
    match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => limits::TWIN_INTEGERS.contains(&integer),
        (None, Some(_)) => false,
        (None, None) => true,
    }
}

fn check_level(path: &str, level: usize) -> Result<(), TwinError> {
    if level > limits::TWIN_DEPTH_MAX {
        return Err(TwinError::TooDeep {
            path: path.to_owned(),
            max: limits::TWIN_DEPTH_MAX,
        });
    }
    Ok(())
}

/// compat: TWIN-14
fn key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.len() > limits::TWIN_KEY_BYTES_MAX {
        Some("is longer than 1024 bytes")
    } else if key.chars().any(char::is_control) {
        Some("has a control character")
    } else if key.contains(['.', '$', ' ']) {
        Some("has a '.', '$' or space")
    } else {
        None
    }
}

/// A key as far as an error repeats it.
fn shown(key: &str) -> String {
    key.chars().take(KEY_CHARS_SHOWN).collect()
}

const KEY_CHARS_SHOWN: usize = 64;

/// Refuses a section that is too large as a whole.
pub(super) fn check_size(
    section: &'static str,
    members: &Object,
    max: usize,
) -> Result<(), TwinError> {
    check_bytes(section, object_size(members), max)
}

/// Refuses a patch that makes every section too large, whatever is there already.
pub(super) fn check_least_size(
    section: &'static str,
    patch: &Object,
    max: usize,
) -> Result<(), TwinError> {
    check_bytes(section, least_size(patch), max)
}

fn check_bytes(section: &'static str, bytes: usize, max: usize) -> Result<(), TwinError> {
    if bytes > max {
        return Err(TwinError::TooLarge {
            section,
            bytes,
            max,
        });
    }
    Ok(())
}

/// The size of what a patch leaves behind at least: members that are null leave nothing.
fn least_size(patch: &Object) -> usize {
    let left = |(key, value): (&String, &Value)| match value {
        Value::Null => 0,
        Value::Object(members) => key.len() + least_size(members),
        other => key.len() + value_size(other),
    };
    patch.iter().map(left).sum()
}

/// The contract's size formula; names of members count, elements of arrays as values. compat: TWIN-9
pub(super) fn object_size(members: &Object) -> usize {
    members
        .iter()
        .map(|(key, value)| key.len() + value_size(value))
        .sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text
            .chars()
            .filter(|c| !c.is_control())
            .map(char::len_utf8)
            .sum(),
        Value::Array(elements) => elements.iter().map(value_size).sum(),
        Value::Object(members) => object_size(members),
    }
}
