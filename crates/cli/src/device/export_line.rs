//! One line of an export, made of a twin as a query shows it and the identity beside it.
//!
//! Members stand in the contract's order, and what the hub says is passed on as it says it: a word of a newer hub
//! survives. compat: XFER-5

use serde::Serialize;
use serde_json::{Value, json};

/// The members, in order. Null ones are left out but for the keys that are not exported.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExportLine<'a> {
    id: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    module_id: &'a Value,
    #[serde(rename = "eTag", skip_serializing_if = "is_null")]
    e_tag: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    status: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    status_reason: &'a Value,
    authentication: Authentication<'a>,
    #[serde(rename = "twinETag", skip_serializing_if = "is_null")]
    twin_etag: &'a Value,
    tags: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    properties: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    capabilities: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    managed_by: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    device_scope: &'a Value,
    #[serde(skip_serializing_if = "is_null")]
    parent_scopes: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Authentication<'a> {
    #[serde(rename = "type")]
    kind: &'a Value,
    symmetric_key: Value,
    x509_thumbprint: Value,
}

fn is_null(value: &Value) -> bool {
    value.is_null()
}

/// The line with its end. Without an identity it has no keys.
pub(super) fn line(twin: &Value, identity: Option<&Value>) -> Vec<u8> {
    let beside = identity.unwrap_or(&Value::Null);
    let (credentials, identity_etag) = (&beside["authentication"], &beside["etag"]);
    let of_twin = (&twin["authenticationType"], &twin["x509Thumbprint"]);
    let or = |first: &'_ Value, second: &'_ Value| match first {
        Value::Null => second.clone(),
        first => first.clone(),
    };
    let keys = &credentials["symmetricKey"];
    let prints = or(&credentials["x509Thumbprint"], of_twin.1);
    let kind = or(&credentials["type"], of_twin.0);
    let e_tag = or(identity_etag, &twin["deviceEtag"]);
    let is_device = twin["moduleId"].is_null();
    let line = ExportLine {
        id: &twin["deviceId"],
        module_id: &twin["moduleId"],
        e_tag: &e_tag,
        status: &twin["status"],
        status_reason: &twin["statusReason"],
        authentication: Authentication {
            kind: &kind,
            symmetric_key: json!({
                "primaryKey": keys["primaryKey"], "secondaryKey": keys["secondaryKey"],
            }),
            x509_thumbprint: json!({
                "primaryThumbprint": prints["primaryThumbprint"],
                "secondaryThumbprint": prints["secondaryThumbprint"],
            }),
        },
        twin_etag: &twin["etag"],
        tags: &twin["tags"],
        properties: &twin["properties"],
        capabilities: if is_device {
            &twin["capabilities"]
        } else {
            &Value::Null
        },
        managed_by: or_identity(&twin["managedBy"], &beside["managedBy"]),
        device_scope: &twin["deviceScope"],
        parent_scopes: &twin["parentScopes"],
    };
    let mut text = serde_json::to_vec(&line).expect("JSON values can be written");
    text.push(b'\n');
    text
}

fn or_identity<'a>(twin: &'a Value, identity: &'a Value) -> &'a Value {
    if twin.is_null() { identity } else { twin }
}

#[cfg(test)]
mod tests {
    use fanfare_wire::registry::BulkItem;

    use super::*;

    fn twin() -> Value {
        json!({
            "deviceId": "d", "etag": "AAAAAAAAAAE=", "deviceEtag": "MQ==", "status": "disabled",
            "statusReason": "lost", "connectionState": "Disconnected", "version": 3,
            "authenticationType": "sas", "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "tags": {"a": 1}, "capabilities": {"iotEdge": false},
            "properties": {"desired": {"b": 2, "$version": 2}, "reported": {"$version": 1}},
        })
    }

    #[test]
    fn a_line_has_the_members_of_the_contract_in_their_order() {
        let identity = json!({
            "deviceId": "d", "etag": "Mg==",
            "authentication": {"type": "sas", "symmetricKey": {"primaryKey": "p", "secondaryKey": "s"}},
        });
        let text = String::from_utf8(line(&twin(), Some(&identity))).unwrap();
        let want = concat!(
            r#"{"id":"d","eTag":"Mg==","status":"disabled","statusReason":"lost","authentication":{"type":"sas","#,
            r#""symmetricKey":{"primaryKey":"p","secondaryKey":"s"},"x509Thumbprint":{"primaryThumbprint":null,"#,
            r#""secondaryThumbprint":null}},"twinETag":"AAAAAAAAAAE=","tags":{"a":1},"properties":"#,
            r#"{"desired":{"$version":2,"b":2},"reported":{"$version":1}},"capabilities":{"iotEdge":false}}"#,
            "\n",
        );
        assert_eq!(text, want);
    }

    #[test]
    fn without_keys_the_kind_and_the_thumbprints_stay() {
        let mut of_module = twin();
        of_module["moduleId"] = json!("m");
        of_module["authenticationType"] = json!("selfSigned");
        of_module["x509Thumbprint"]["primaryThumbprint"] = json!("AB");
        let text = line(&of_module, None);
        let item: BulkItem = fanfare_wire::decode(&text).unwrap();
        let authentication = item.authentication.unwrap();
        assert_eq!(
            authentication
                .x509_thumbprint
                .unwrap()
                .primary_thumbprint
                .unwrap(),
            "AB"
        );
        assert_eq!(authentication.symmetric_key.unwrap().primary_key, None);
        assert_eq!(
            (item.module_id.as_deref(), item.e_tag.as_deref()),
            (Some("m"), Some("MQ=="))
        );
        assert_eq!(item.capabilities, None);
    }
}
