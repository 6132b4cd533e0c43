//! Shared access policies: the documents of `/fanfare/v1/policies`. Ours, but in the contract's words for rights.

use serde::{Deserialize, Serialize};

use crate::{Secret, field};

/// A policy. Lists show it without its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDocument {
    /// Its name, as in `SharedAccessKeyName`.
    pub name: String,
    /// `RegistryRead`, `RegistryWrite`, `ServiceConnect`, `DeviceConnect`. compat: AUTH-10
    pub rights: Vec<String>,
    /// Its etag, without quotes.
    #[serde(default)]
    pub etag: String,
    /// The first key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Secret>,
    /// The second key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<Secret>,
}

/// The body of `PUT /fanfare/v1/policies/{policy}`. Read-only members are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRequest {
    /// The policy; the path decides, this may only agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it grants, at least one; `RegistryWrite` brings `RegistryRead` along.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub rights: Vec<String>,
    /// The first key, base64 of 16 to 64 bytes; absent or empty keeps it, or has one made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Secret>,
    /// The second key, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<Secret>,
}

/// The body of `POST /fanfare/v1/policies/{policy}/rotate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateRequest {
    /// Which key.
    pub key: RotatedKey,
}

/// Which key of a policy gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotatedKey {
    /// A new first key.
    Primary,
    /// A new second key.
    Secondary,
    /// They change places.
    Swap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_policy_has_no_members_for_keys() {
        let listed = PolicyDocument {
            name: "service".to_owned(),
            rights: vec!["ServiceConnect".to_owned()],
            etag: "MQ==".to_owned(),
            primary_key: None,
            secondary_key: None,
        };
        let text = serde_json::to_string(&listed).unwrap();
        let expected = r#"{"name":"service","rights":["ServiceConnect"],"etag":"MQ=="}"#;
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_str::<PolicyDocument>(&text).unwrap(),
            listed
        );
    }

    #[test]
    fn keys_are_read_and_never_printed() {
        let body = r#"{"rights":["RegistryWrite"],"primaryKey":"c2VjcmV0","etag":"MQ=="}"#;
        let request: PolicyRequest = crate::decode(body.as_bytes()).unwrap();
        let key = request.primary_key.as_ref().map(Secret::expose);
        assert_eq!(key, Some("c2VjcmV0"));
        assert!(!format!("{request:?}").contains("c2VjcmV0"));
    }
}
