//! Twins: the document as the service sees it, and the requests that change it.
//!
//! Merging, versions and metadata are the hub's; this file only says which member stands where. It also
//! sees to it that a section arrives as it was written: numbers are never rounded on the way in.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::configurations::ConfigurationState;
use crate::registry::Thumbprints;
use crate::registry::{AuthenticationType, Capabilities, ConnectionState, IdentityStatus};
use crate::{Field, Timestamp, field};

/// A twin in the service's eyes: GET, the answer to PATCH and PUT, and a row of `FROM devices`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TwinDocument {
    /// The device.
    pub device_id: String,
    /// The module, in twins of modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Who looks after the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The twin's etag.
    pub etag: String,
    /// The identity's etag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_etag: Option<String>,
    /// Enabled or disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IdentityStatus>,
    /// Why it has that status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When the status changed. Not `statusUpdatedTime`, which is the identity's. compat: TWIN-4
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_update_time: Option<Timestamp>,
    /// Whether the device is connected now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<ConnectionState>,
    /// When the device last said something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Timestamp>,
    /// Messages waiting for the device.
    #[serde(default)]
    pub cloud_to_device_message_count: u32,
    /// How the device proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_type: Option<AuthenticationType>,
    /// The certificates' thumbprints, nulls when there are none.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub x509_thumbprint: Thumbprints,
    /// The model the device announced; empty when none.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub model_id: String,
    /// Counts every change of tags, desired and reported.
    #[serde(default)]
    pub version: u64,
    /// The tags.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub tags: Map<String, Value>,
    /// Desired and reported.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub properties: TwinProperties,
    /// What the device can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The edge scope the device belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
    /// The configurations that match it, by id; left out when there are none. compat: CFG-9
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, ConfigurationState>,
}

/// The two property sections, each with `$metadata` and `$version` inside. Without `$metadata` it is also the
/// body of a device's twin GET over MQTT.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TwinProperties {
    /// Set by the service.
    #[serde(default)]
    pub desired: Map<String, Value>,
    /// Set by the device.
    #[serde(default)]
    pub reported: Map<String, Value>,
}

/// The body of PATCH and PUT `/twins/{id}`. Whatever else the body holds (`etag`, `deviceId`,
/// `properties.reported`) is no instruction and is ignored. compat: TWIN-3, TWIN-11
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "PatchShape", into = "PatchShape")]
pub struct TwinPatchRequest {
    /// PATCH merges into the tags, PUT overwrites them; both empty them (null) or leave them (absent).
    /// compat: TWIN-5, TWIN-11
    pub tags: Field<Map<String, Value>>,
    /// The same for the desired properties.
    pub desired: Field<Map<String, Value>>,
}

/// The patch with the nesting it has on the wire.
#[derive(Clone, Serialize, Deserialize)]
struct PatchShape {
    #[serde(
        default,
        deserialize_with = "section",
        skip_serializing_if = "Field::is_absent"
    )]
    tags: Field<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<PatchProperties>,
}

#[derive(Clone, Serialize, Deserialize)]
struct PatchProperties {
    #[serde(
        default,
        deserialize_with = "section",
        skip_serializing_if = "Field::is_absent"
    )]
    desired: Field<Map<String, Value>>,
}

/// What a device sends to have its reported properties patched: one object, not null.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct ReportedPatchRequest {
    /// Merge into the reported properties.
    #[serde(deserialize_with = "members")]
    pub reported: Map<String, Value>,
}

/// A section of a twin in a request: absent, null or an object whose numbers fit. compat: TWIN-16
pub(crate) fn section<'de, D>(input: D) -> Result<Field<Map<String, Value>>, D::Error>
where
    D: Deserializer<'de>,
{
    match Option::<Box<RawValue>>::deserialize(input)? {
        None => Ok(Field::Null),
        Some(raw) => object(raw.get())
            .map(Field::Value)
            .map_err(D::Error::custom),
    }
}

fn members<'de, D: Deserializer<'de>>(input: D) -> Result<Map<String, Value>, D::Error> {
    let raw = Box::<RawValue>::deserialize(input)?;
    object(raw.get()).map_err(D::Error::custom)
}

/// The parser turns an integer beyond 64 bits into the nearest double, which is another number: such a
/// text is refused before. compat: TWIN-16
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    if let Some(number) = oversized_integer(text) {
        let shown: String = number.chars().take(NUMBER_CHARS_SHOWN).collect();
        return Err(format!(
            "the number {shown} is outside -4503599627370496 to 4503599627370495"
        ));
    }
    serde_json::from_str(text).map_err(|fault| fault.to_string())
}

const NUMBER_CHARS_SHOWN: usize = 40;

/// The first integer of a well-formed JSON text that 64 bits cannot hold.
fn oversized_integer(json: &str) -> Option<&str> {
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            string_length(rest)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c));
            end.unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        let is_integer = !token.contains(['"', '.', 'e', 'E']);
        if is_integer && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
            return Some(token);
        }
        rest = after;
    }
    None
}

/// Bytes of the string that a well-formed JSON text begins with, quotes included.
fn string_length(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

impl From<PatchShape> for TwinPatchRequest {
    fn from(shape: PatchShape) -> Self {
        let desired = shape.properties.map(|properties| properties.desired);
        Self {
            tags: shape.tags,
            desired: desired.unwrap_or_default(),
        }
    }
}

impl From<TwinPatchRequest> for PatchShape {
    fn from(patch: TwinPatchRequest) -> Self {
        let desired = patch.desired;
        let properties = (!desired.is_absent()).then_some(PatchProperties { desired });
        Self {
            tags: patch.tags,
            properties,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_patch_tells_absent_null_and_present_apart() {
        for (body, tags, desired) in [
            (json!({}), Field::Absent, Field::Absent),
            (json!({"tags": null}), Field::Null, Field::Absent),
            (json!({"tags": {}}), Field::Value(Map::new()), Field::Absent),
            (
                json!({"tags": {"a": null}}),
                Field::Value(object(json!({"a": null}))),
                Field::Absent,
            ),
            (json!({"properties": null}), Field::Absent, Field::Absent),
            (json!({"properties": {}}), Field::Absent, Field::Absent),
            (
                json!({"properties": {"desired": null}}),
                Field::Absent,
                Field::Null,
            ),
            (
                json!({"properties": {"desired": {"t": [1]}}}),
                Field::Absent,
                Field::Value(object(json!({"t": [1]}))),
            ),
        ] {
            let patch: TwinPatchRequest = decode(body.to_string().as_bytes()).unwrap();
            assert_eq!(patch, TwinPatchRequest { tags, desired }, "{body}");
        }
    }

    #[test]
    fn a_patch_ignores_what_is_no_instruction() {
        let body = br#"{"deviceId":"d","etag":"*","$version":3,"properties":{"reported":{"r":1}}}"#;
        assert_eq!(
            decode::<TwinPatchRequest>(body).unwrap(),
            TwinPatchRequest::default()
        );
    }

    #[test]
    fn a_patch_is_made_of_objects() {
        for body in [
            r#"{"tags":[]}"#,
            r#"{"properties":{"desired":3}}"#,
            r#"{"properties":[3]}"#,
            "3",
        ] {
            assert!(
                decode::<TwinPatchRequest>(body.as_bytes()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn integers_are_never_rounded() {
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000000000000000000000000000000000",
            "1e400",
        ] {
            for body in [
                format!(r#"{{"tags":{{"a":{number}}}}}"#),
                format!(
                    r#"{{"properties":{{"desired":{{"\\\"0":"\\","a":[{{"b":[{number}]}}]}}}}}}"#
                ),
            ] {
                let fault = decode::<TwinPatchRequest>(body.as_bytes()).unwrap_err();
                assert_eq!(fault.code().name(), "ArgumentInvalid", "{body}: {fault}");
            }
            let report = format!(r#"{{"a":{number}}}"#);
            assert!(decode::<ReportedPatchRequest>(report.as_bytes()).is_err());
        }
        for number in [
            "18446744073709551615",
            "1e300",
            "1E+20",
            "100000000000000000000.0",
            "-0",
        ] {
            let body = format!(
                r#"{{"tags":{{"99999999999999999999":{number},"s":"99999999999999999999"}}}}"#
            );
            let patch: TwinPatchRequest = decode(body.as_bytes()).unwrap();
            let Field::Value(tags) = patch.tags else {
                panic!("{body}")
            };
            let kept: f64 = number.parse().unwrap();
            assert_eq!(tags["99999999999999999999"].as_f64(), Some(kept));
        }
    }

    #[test]
    fn a_report_is_one_object() {
        let report: ReportedPatchRequest = decode(br#" {"a": {"b": null}} "#).unwrap();
        assert_eq!(report.reported, object(json!({"a": {"b": null}})));
        for body in ["null", "[]", "3", "\"a\"", "", "{", "{}{}"] {
            assert!(
                decode::<ReportedPatchRequest>(body.as_bytes()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_patch_is_sent_as_it_was_read() {
        for body in [
            r#"{}"#,
            r#"{"tags":null}"#,
            r#"{"tags":{"a":null},"properties":{"desired":null}}"#,
            r#"{"properties":{"desired":{"a":{"b":1}}}}"#,
        ] {
            let patch: TwinPatchRequest = decode(body.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&patch).unwrap(), body);
        }
    }

    #[test]
    fn a_twin_has_the_contracts_members() {
        let twin = TwinDocument {
            device_id: "d1".into(),
            module_id: None,
            managed_by: None,
            etag: "AAAAAAAAAAE=".into(),
            device_etag: Some("MQ==".into()),
            status: Some(IdentityStatus::Enabled),
            status_reason: None,
            status_update_time: Some(Timestamp::NEVER),
            connection_state: Some(ConnectionState::Disconnected),
            last_activity_time: Some(Timestamp::NEVER),
            cloud_to_device_message_count: 0,
            authentication_type: Some(AuthenticationType::Sas),
            x509_thumbprint: Thumbprints::default(),
            model_id: String::new(),
            version: 2,
            tags: object(json!({"site": "b4"})),
            properties: TwinProperties {
                desired: object(json!({"$version": 1})),
                reported: object(json!({"$version": 1})),
            },
            capabilities: Some(Capabilities { iot_edge: false }),
            device_scope: None,
            parent_scopes: None,
            configurations: BTreeMap::new(),
        };
        let json = serde_json::to_value(&twin).unwrap();
        assert_eq!(
            json,
            json!({
                "deviceId": "d1", "etag": "AAAAAAAAAAE=", "deviceEtag": "MQ==",
                "status": "enabled", "statusUpdateTime": "0001-01-01T00:00:00Z",
                "connectionState": "Disconnected", "lastActivityTime": "0001-01-01T00:00:00Z",
                "cloudToDeviceMessageCount": 0, "authenticationType": "sas",
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
                "modelId": "", "version": 2, "tags": {"site": "b4"},
                "properties": {"desired": {"$version": 1}, "reported": {"$version": 1}},
                "capabilities": {"iotEdge": false},
            })
        );
        assert_eq!(serde_json::from_value::<TwinDocument>(json).unwrap(), twin);
    }

    #[test]
    fn a_minimal_twin_is_readable() {
        let twin: TwinDocument =
            decode(br#"{"deviceId":"d","etag":"x","x509Thumbprint":null,"tags":null}"#).unwrap();
        assert!(twin.tags.is_empty());
        assert_eq!(twin.status, None);
    }
}
