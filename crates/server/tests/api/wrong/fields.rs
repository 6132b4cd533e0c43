//! Spoils one member of a body.

use serde_json::{Value, json};

/// The body with the member at a path of names (`a.b`) set.
pub(super) fn with(mut body: Value, path: &str, value: Value) -> Value {
    let mut slot = &mut body;
    for name in path.split('.') {
        slot = &mut slot[name];
    }
    *slot = value;
    body
}

/// The body without a member of its root.
pub(super) fn without(mut body: Value, name: &str) -> Value {
    body.as_object_mut().unwrap().remove(name);
    body
}

/// `levels` objects around a number.
pub(super) fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "k": inner }))
}

/// So many characters of one byte.
pub(super) fn text(characters: usize) -> String {
    "x".repeat(characters)
}

/// Members that count `bytes` by the formula for twins.
pub(super) fn filling(bytes: usize) -> Value {
    let mut members = serde_json::Map::new();
    let mut left = bytes;
    while left > 0 {
        let key = format!("k{:03}", members.len());
        let value = left.saturating_sub(4).min(4_000);
        // What is left over must still hold a key.
        let value = if (1..4).contains(&(left - 4 - value)) {
            value - 4
        } else {
            value
        };
        members.insert(key, text(value).into());
        left -= 4 + value;
    }
    Value::Object(members)
}
