//! What a store must offer to be queried, and the plainest way to offer it.

use serde_json::Value as JsonValue;

use super::path::Path;
use super::value::Value;

/// A row that can be asked for values: a twin or a job row, in whatever shape it is kept.
///
/// An implementation answers each path from its own bytes and builds no tree per row. A path that
/// leads nowhere, or through something that is not an object, is [`Value::Undefined`].
pub trait Document {
    /// The value at `path`, borrowed where possible.
    fn value(&self, path: &Path) -> Value<'_>;
}

/// A document as the contract shows it: the JSON of a twin, or of a row of `devices.jobs`.
#[derive(Debug, Clone, Copy)]
pub struct JsonDocument<'a>(pub &'a JsonValue);

impl Document for JsonDocument<'_> {
    fn value(&self, path: &Path) -> Value<'_> {
        let mut at = self.0;
        for step in path.steps() {
            match at.get(step) {
                Some(inner) => at = inner,
                None => return Value::Undefined,
            }
        }
        Value::from_json(at)
    }
}
