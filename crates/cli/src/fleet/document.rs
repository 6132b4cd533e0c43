//! The desired document as a device puts it together from what the hub sends.

use serde_json::{Value, json};

/// Leaves out `$version` and whatever else is not the document's own.
pub(super) fn strip_version(document: &mut Value) {
    if let Some(members) = document.as_object_mut() {
        members.retain(|key, _| !key.starts_with('$'));
    }
}

/// Merges a patch as twins do: objects merge, `null` removes, the rest replaces.
pub(super) fn merge(document: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    for (key, value) in members {
        if value.is_null() {
            document
                .as_object_mut()
                .expect("made an object above")
                .remove(&key);
        } else {
            merge(&mut document[key], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges_as_twins_do() {
        let mut document = json!({"a": {"b": 1, "c": 2}, "list": [1]});
        merge(
            &mut document,
            json!({"a": {"b": null, "d": {"e": 1}}, "list": [2, 3]}),
        );
        assert_eq!(
            document,
            json!({"a": {"c": 2, "d": {"e": 1}}, "list": [2, 3]})
        );
    }
}
