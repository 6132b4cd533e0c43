//! Twins: the document as the service sees it, and the patch that changes it.
//!
//! Merging, versions and metadata are the hub's; this file only says which member stands where.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
/// `properties.reported`) is no instruction and is ignored. compat: TWIN-3
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "PatchShape", into = "PatchShape")]
pub struct TwinPatchRequest {
    /// Merge into the tags, empty them (null) or leave them (absent). compat: TWIN-5
    pub tags: Field<Map<String, Value>>,
    /// The same for the desired properties.
    pub desired: Field<Map<String, Value>>,
}

/// The patch with the nesting it has on the wire.
#[derive(Clone, Serialize, Deserialize)]
struct PatchShape {
    #[serde(default, skip_serializing_if = "Field::is_absent")]
    tags: Field<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<PatchProperties>,
}

#[derive(Clone, Serialize, Deserialize)]
struct PatchProperties {
    #[serde(default, skip_serializing_if = "Field::is_absent")]
    desired: Field<Map<String, Value>>,
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
