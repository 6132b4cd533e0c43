//! Looks at the values of a line without a hub, for `--dry-run`: what Fanfare would refuse, it names.
//!
//! An import itself leaves this to the hub, whose rules count and may be others. Nothing is looked up, so whether
//! a device is there, and whether a merged twin still fits, only the hub can say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::Field;
use fanfare_wire::registry::{AuthenticationRequest, AuthenticationType, BulkItem, ImportMode};
use serde_json::{Map, Value};

use crate::id_list::{ID_CHARS_MAX, bad_character};

/// Every fault of a change, each with the member it is in.
pub(super) fn faults(item: &BulkItem) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(id_fault("id", &item.id));
    faults.extend(
        item.module_id
            .as_ref()
            .and_then(|id| id_fault("moduleId", id)),
    );
    faults.extend(length_fault(
        "statusReason",
        item.status_reason.as_ref(),
        REASON_CHARS_MAX,
    ));
    faults.extend(length_fault(
        "managedBy",
        item.managed_by.as_ref(),
        REASON_CHARS_MAX,
    ));
    faults.extend(length_fault(
        "deviceScope",
        item.device_scope.as_ref(),
        SCOPE_CHARS_MAX,
    ));
    faults.extend(etag_fault(item));
    if let Some(authentication) = &item.authentication {
        faults.extend(credential_faults(authentication));
    }
    if let Field::Value(tags) = &item.tags {
        faults.extend(section_fault("tags", tags, TAGS_BYTES_MAX));
    }
    let desired = item.properties.as_ref().map(|both| &both.desired);
    if let Some(Field::Value(desired)) = desired {
        faults.extend(section_fault(
            "properties.desired",
            desired,
            DESIRED_BYTES_MAX,
        ));
    }
    faults
}

/// Characters of a status reason, and of a module's `managedBy`. compat: REG-41
const REASON_CHARS_MAX: usize = 128;
/// Characters of a scope. compat: REG-48
const SCOPE_CHARS_MAX: usize = 256;
/// Bytes of keys. compat: REG-41
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Bytes of a twin's tags and of its desired properties. compat: TWIN-9
const TAGS_BYTES_MAX: usize = 8 * 1024;
const DESIRED_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a key and of a string in a twin. compat: TWIN-14
const TWIN_KEY_BYTES_MAX: usize = 1_024;
const TWIN_STRING_BYTES_MAX: usize = 4 * 1024;
/// Levels below a section. compat: TWIN-13
const TWIN_DEPTH_MAX: usize = 10;
/// Integers of a twin. compat: TWIN-16
const TWIN_INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;

/// What is wrong with the id of a device or module.
pub(super) fn id_fault(member: &str, id: &str) -> Option<String> {
    if id.is_empty() {
        return Some(format!("{member} is empty"));
    }
    if let Some((at, bad)) = bad_character(id) {
        let at = at + 1;
        return Some(format!(
            "{member} has the character {bad:?} at position {at}, allowed are ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
        ));
    }
    length_fault(member, Some(&id.to_owned()), ID_CHARS_MAX)
}

fn length_fault(member: &str, text: Option<&String>, max: usize) -> Option<String> {
    let length = text?.chars().count();
    (length > max).then(|| format!("{member} has {length} characters, at most {max} are allowed"))
}

/// compat: REG-46
fn etag_fault(item: &BulkItem) -> Option<String> {
    let (member, is_there) = match item.import_mode {
        ImportMode::UpdateIfMatchETag | ImportMode::DeleteIfMatchETag => {
            ("eTag", item.identity_etag().is_some())
        }
        ImportMode::UpdateTwinIfMatchETag => ("twinETag", item.twin_etag.is_some()),
        _ => return None,
    };
    (!is_there).then(|| {
        format!(
            "{member} is missing, which {} needs",
            item.import_mode.as_str()
        )
    })
}

fn credential_faults(authentication: &AuthenticationRequest) -> Vec<String> {
    match authentication.kind() {
        AuthenticationType::Sas => {
            let (primary, secondary) = authentication.keys();
            let both = [("primaryKey", primary), ("secondaryKey", secondary)];
            let given = both
                .into_iter()
                .filter_map(|(name, key)| Some((name, key?)));
            given
                .filter_map(|(name, key)| {
                    let problem = key_problem(key.expose())?;
                    Some(format!("authentication.symmetricKey.{name} {problem}"))
                })
                .collect()
        }
        AuthenticationType::SelfSigned => {
            let both = authentication.x509_thumbprint.clone().unwrap_or_default();
            let named = [
                ("primaryThumbprint", both.primary_thumbprint),
                ("secondaryThumbprint", both.secondary_thumbprint),
            ];
            let wrong = named.into_iter().filter(|(_, text)| {
                let text = text.as_deref().unwrap_or_default();
                !text.is_empty() && !is_thumbprint(text)
            });
            wrong
                .map(|(name, _)| {
                    format!(
                        "authentication.x509Thumbprint.{name} must have 40 or 64 hexadecimal digits"
                    )
                })
                .collect()
        }
        AuthenticationType::CertificateAuthority | AuthenticationType::None => Vec::new(),
    }
}

/// What is wrong with a key; the key is not repeated.
pub(super) fn key_problem(key: &str) -> Option<&'static str> {
    match STANDARD.decode(key) {
        Err(_) => Some("is not base64"),
        Ok(bytes) if !KEY_BYTES.contains(&bytes.len()) => Some("must have 16 to 64 bytes"),
        Ok(_) => None,
    }
}

/// Whether a text is the SHA-1 or SHA-256 thumbprint of a certificate.
pub(super) fn is_thumbprint(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn section_fault(path: &str, members: &Map<String, Value>, bytes_max: usize) -> Option<String> {
    if let Some(fault) = object_fault(path, members, 0) {
        return Some(fault);
    }
    let bytes = object_size(members);
    (bytes > bytes_max)
        .then(|| format!("{path} has {bytes} bytes, at most {bytes_max} are allowed"))
}

fn object_fault(path: &str, members: &Map<String, Value>, level: usize) -> Option<String> {
    if level > TWIN_DEPTH_MAX {
        return Some(format!(
            "{path} is nested deeper than {TWIN_DEPTH_MAX} levels"
        ));
    }
    members.iter().find_map(|(key, value)| {
        let shown: String = key.chars().take(64).collect();
        match key_of_twin_problem(key) {
            Some(problem) => Some(format!("the key {shown:?} below {path} {problem}")),
            None => value_fault(&format!("{path}.{shown}"), value, level),
        }
    })
}

/// compat: TWIN-14
fn key_of_twin_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.len() > TWIN_KEY_BYTES_MAX {
        Some("is longer than 1024 bytes")
    } else if key.chars().any(char::is_control) {
        Some("has a control character")
    } else if key.contains(['.', '$', ' ']) {
        Some("has a '.', '$' or space")
    } else {
        None
    }
}

fn value_fault(path: &str, value: &Value, level: usize) -> Option<String> {
    match value {
        Value::String(text) if text.len() > TWIN_STRING_BYTES_MAX => {
            let bytes = text.len();
            Some(format!(
                "the string at {path} has {bytes} bytes, at most {TWIN_STRING_BYTES_MAX} are allowed"
            ))
        }
        Value::Number(number) => {
            let is_integer = number.is_i64() || number.is_u64();
            let fits = number.as_i64().is_some_and(|n| TWIN_INTEGERS.contains(&n));
            (is_integer && !fits).then(|| {
                format!("the number at {path} is outside -4503599627370496 to 4503599627370495")
            })
        }
        Value::Array(_) if level + 1 > TWIN_DEPTH_MAX => Some(format!(
            "{path} is nested deeper than {TWIN_DEPTH_MAX} levels"
        )),
        Value::Array(elements) => {
            let mut found = elements
                .iter()
                .map(|value| value_fault(path, value, level + 1));
            found.find_map(|fault| fault)
        }
        Value::Object(members) => object_fault(path, members, level + 1),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// The contract's size formula. compat: TWIN-9
fn object_size(members: &Map<String, Value>) -> usize {
    let size = |(key, value): (&String, &Value)| match value {
        // Null removes a member, and leaves nothing of its name either.
        Value::Null => 0,
        value => key.len() + value_size(value),
    };
    members.iter().map(size).sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => {
            let counted = text.chars().filter(|c| !c.is_control());
            counted.map(char::len_utf8).sum()
        }
        Value::Array(elements) => elements.iter().map(value_size).sum(),
        Value::Object(members) => object_size(members),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(item: Value) -> Vec<String> {
        faults(&serde_json::from_value(item).unwrap())
    }

    #[test]
    fn a_line_of_an_export_is_fine() {
        let line = json!({
            "id": "d-1", "eTag": "MQ==", "status": "enabled", "twinETag": "AAAAAAAAAAE=",
            "authentication": {"type": "sas", "symmetricKey": {
                "primaryKey": STANDARD.encode([1; 32]), "secondaryKey": STANDARD.encode([2; 32])},
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null}},
            "tags": {"site": {"floor": 3}}, "capabilities": {"iotEdge": false},
            "properties": {"desired": {"a": [1, 2.5], "$metadata": {}, "$version": 3}},
        });
        assert_eq!(told(line), [""; 0]);
    }

    #[test]
    fn what_the_hub_would_refuse_is_named() {
        let deep = (0..12).fold(json!(1), |below, _| json!({"a": below}));
        for (item, want) in [
            (json!({"id": ""}), "id is empty"),
            (
                json!({"id": "a/b"}),
                "id has the character '/' at position 2",
            ),
            (json!({"id": "x".repeat(129)}), "id has 129 characters"),
            (
                json!({"id": "d", "moduleId": "a b"}),
                "moduleId has the character ' '",
            ),
            (
                json!({"id": "d", "statusReason": "x".repeat(129)}),
                "statusReason has 129",
            ),
            (
                json!({"id": "d", "importMode": "deleteIfMatchETag"}),
                "eTag is missing",
            ),
            (
                json!({"id": "d", "importMode": "updateTwinIfMatchETag"}),
                "twinETag is missing",
            ),
            (
                json!({"id": "d", "authentication": {"symmetricKey": {"primaryKey": "no key!"}}}),
                "authentication.symmetricKey.primaryKey is not base64",
            ),
            (
                json!({"id": "d", "authentication": {"symmetricKey": {"secondaryKey": "c2hvcnQ="}}}),
                "authentication.symmetricKey.secondaryKey must have 16 to 64 bytes",
            ),
            (
                json!({"id": "d", "authentication": {"x509Thumbprint": {"primaryThumbprint": "00"}}}),
                "authentication.x509Thumbprint.primaryThumbprint must have",
            ),
            (
                json!({"id": "d", "tags": {"a.b": 1}}),
                "the key \"a.b\" below tags has a '.'",
            ),
            (
                json!({"id": "d", "tags": {"a": "x".repeat(4_097)}}),
                "the string at tags.a has 4097",
            ),
            (
                json!({"id": "d", "tags": {"a": 4_503_599_627_370_496_u64}}),
                "the number at tags.a",
            ),
            (
                json!({"id": "d", "tags": deep}),
                "is nested deeper than 10 levels",
            ),
            (
                json!({"id": "d", "properties": {"desired": (0..9)
                    .map(|n| (n.to_string(), json!("x".repeat(4_000)))).collect::<Map<_, _>>()}}),
                "properties.desired has 36009 bytes, at most 32768",
            ),
        ] {
            let found = told(item);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(want), "{found:?}");
        }
    }
}
