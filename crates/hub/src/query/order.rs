//! Decides in which order values stand, and spells it in bytes.
//!
//! One total order over everything a path can yield: undefined, null, false, true, numbers, strings,
//! arrays, objects. Numbers order as doubles, strings by their UTF-8, arrays item by item, objects as
//! the list of their members in the order of names. compat: QUERY-27
//!
//! [`Ranking`] writes what a row is ordered by as bytes that compare as the values do. No spelling is
//! the beginning of another, so spellings can be strung together and turned around for DESC. A long
//! one is cut and ends in its digest: places in the order then stay exact and small enough for a
//! header, and values that agree so far keep an order of their own. compat: QUERY-28

use serde_json::Value as JsonValue;
use sha2::{Digest, Sha256};

pub use super::ast::Direction;
use super::limits::RANK_BYTES_MAX;
use super::path::Path;
use super::value::{Json, Number, Value};

/// One item of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// What decides.
    pub by: OrderBy,
    /// Which end comes first.
    pub direction: Direction,
}

/// What rows, or groups, are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderBy {
    /// A value of the row, or of the group's key.
    Path(Path),
    /// An aggregate of the group, as its place in [`super::Groups::aggregates`].
    Aggregate(usize),
}

/// The whole order of a result: ORDER BY, then, for groups, the rest of their key.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    keys: Box<[OrderKey]>,
    /// Bytes of one value's spelling before it is cut.
    value_bytes_max: usize,
}

impl Ranking {
    pub(super) fn new(order: &[OrderKey], group_keys: &[Path]) -> Self {
        let mut keys = order.to_vec();
        for path in group_keys {
            let by = OrderBy::Path(path.clone());
            if keys.iter().all(|key| key.by != by) {
                let direction = Direction::Ascending;
                keys.push(OrderKey { by, direction });
            }
        }
        Self {
            value_bytes_max: RANK_BYTES_MAX / keys.len().max(1),
            keys: keys.into(),
        }
    }

    /// Whether a group's place is known only once all of its rows were seen.
    pub fn is_by_aggregate(&self) -> bool {
        let by_aggregate = |key: &OrderKey| matches!(key.by, OrderBy::Aggregate(_));
        self.keys.iter().any(by_aggregate)
    }

    /// Appends the rank of whatever has these values: bytes that order as the result does.
    pub fn write<'v>(&self, mut value_of: impl FnMut(&OrderBy) -> Value<'v>, out: &mut Vec<u8>) {
        for key in &self.keys {
            write_rank(&value_of(&key.by), key.direction, self.value_bytes_max, out);
        }
    }
}

/// Appends the spelling of `value`, cut beyond `bytes_max` bytes.
pub(super) fn write_rank(
    value: &Value<'_>,
    direction: Direction,
    bytes_max: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    spell(value, out);
    if out.len() - start > bytes_max {
        let digest = Sha256::digest(&out[start..]);
        out.truncate(start + bytes_max);
        out.extend_from_slice(&digest);
    }
    if direction == Direction::Descending {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// Ends arrays and objects; below every first byte of a value.
const END: u8 = 0;
const UNDEFINED: u8 = 1;
const NULL: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NUMBER: u8 = 5;
const STRING: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

fn spell(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Undefined => out.push(UNDEFINED),
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(n) => spell_number(*n, out),
        Value::String(text) => spell_string(text, out),
        Value::Array(json) | Value::Object(json) => match json {
            Json::Tree(tree) => spell_tree(tree, out),
            Json::Text(text) => match serde_json::from_str(text) {
                Ok(tree) => spell_tree(&tree, out),
                // The answer of a device, with what is around it, may be nested deeper than can be parsed.
                Err(_) => {
                    out.push(match value {
                        Value::Array(_) => ARRAY,
                        _ => OBJECT,
                    });
                    spell_string(text, out);
                    out.push(END);
                }
            },
        },
    }
}

fn spell_tree(tree: &JsonValue, out: &mut Vec<u8>) {
    match tree {
        JsonValue::Array(items) => {
            out.push(ARRAY);
            for item in items {
                spell_tree(item, out);
            }
            out.push(END);
        }
        JsonValue::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(OBJECT);
            for (name, member) in members {
                spell_string(name, out);
                spell_tree(member, out);
            }
            out.push(END);
        }
        plain => spell(&Value::from_json(plain), out),
    }
}

/// Doubles as unsigned numbers in the same order; both zeroes are one.
fn spell_number(number: Number, out: &mut Vec<u8>) {
    const SIGN: u64 = 1 << 63;
    let bits = (number.as_f64() + 0.0).to_bits();
    let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    out.push(NUMBER);
    out.extend_from_slice(&ordered.to_be_bytes());
}

/// The end is two bytes that come before whatever a longer string has there.
fn spell_string(text: &str, out: &mut Vec<u8>) {
    out.push(STRING);
    for (n, part) in text.split('\0').enumerate() {
        if n > 0 {
            out.extend_from_slice(&[0, u8::MAX]);
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(&[0, 1]);
}
