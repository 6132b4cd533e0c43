use serde_json::json;

use super::*;
use crate::decode;

const NODE_CREATE: &[u8] = br#"{"deviceId":"d1","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}}"#;

fn authentication(json: serde_json::Value) -> AuthenticationRequest {
    serde_json::from_value(json).unwrap()
}

#[test]
fn empty_keys_mean_generate() {
    let request: DeviceIdentityRequest = decode(NODE_CREATE).unwrap();
    assert_eq!(request.authentication.unwrap().keys(), (None, None));
    for json in [
        json!({}),
        json!({"symmetricKey": {}}),
        json!({"symmetricKey": null}),
        json!({"symmetricKey": {"primaryKey": null}}),
    ] {
        assert_eq!(authentication(json).keys(), (None, None));
    }
    let given = authentication(json!({"symmetricKey": {"primaryKey": "a2V5", "secondaryKey": ""}}));
    assert_eq!(given.keys(), (Some(&Secret::new("a2V5")), None));
}

#[test]
fn the_kind_is_stated_or_follows_from_what_is_there() {
    use AuthenticationType as Kind;
    for (json, want) in [
        (json!({}), Kind::Sas),
        (json!({"type": null}), Kind::Sas),
        (json!({"symmetricKey": {"primaryKey": "k"}}), Kind::Sas),
        (
            json!({"x509Thumbprint": {"primaryThumbprint": "AB"}}),
            Kind::SelfSigned,
        ),
        (
            json!({"x509Thumbprint": {"secondaryThumbprint": "AB"}}),
            Kind::SelfSigned,
        ),
        (
            json!({"x509Thumbprint": {"primaryThumbprint": "", "secondaryThumbprint": null}}),
            Kind::Sas,
        ),
        (
            json!({"type": "certificateAuthority"}),
            Kind::CertificateAuthority,
        ),
        (json!({"type": "selfSigned"}), Kind::SelfSigned),
        (json!({"type": "none"}), Kind::None),
        (
            json!({"type": "sas", "x509Thumbprint": {"primaryThumbprint": "AB"}}),
            Kind::Sas,
        ),
    ] {
        assert_eq!(authentication(json.clone()).kind(), want, "{json}");
    }
}

#[test]
fn a_request_ignores_etag_nulls_and_what_the_hub_writes() {
    let body = br#"{"deviceId":"d1","etag":"*","generationId":"1","connectionState":"Connected","status":null,
        "statusReason":null,"authentication":null,"capabilities":null,"deviceScope":null,"parentScopes":null,
        "lastActivityTime":"0001-01-01T00:00:00","newer":{"x":1}}"#;
    let request: DeviceIdentityRequest = decode(body).unwrap();
    let want = DeviceIdentityRequest {
        device_id: Some("d1".into()),
        ..Default::default()
    };
    assert_eq!(request, want);
}

#[test]
fn wrong_values_are_refused_by_member() {
    let fault = decode::<DeviceIdentityRequest>(br#"{"status":"paused"}"#).unwrap_err();
    assert!(fault.to_string().starts_with("status: "), "{fault}");
    let fault = decode::<DeviceIdentityRequest>(br#"{"authentication":{"type":"x"}}"#).unwrap_err();
    assert!(
        fault.to_string().starts_with("authentication.type: "),
        "{fault}"
    );
}

#[test]
fn an_identity_has_the_contracts_members() {
    let identity = DeviceIdentity {
        device_id: "d1".into(),
        generation_id: "638".into(),
        etag: "MQ==".into(),
        connection_state: ConnectionState::Disconnected,
        status: IdentityStatus::Enabled,
        status_reason: None,
        connection_state_updated_time: Timestamp::NEVER,
        status_updated_time: Timestamp::NEVER,
        last_activity_time: Timestamp::NEVER,
        cloud_to_device_message_count: 0,
        authentication: Authentication {
            authentication_type: AuthenticationType::Sas,
            symmetric_key: SymmetricKey {
                primary_key: Some("a2V5MQ==".into()),
                secondary_key: Some("a2V5Mg==".into()),
            },
            x509_thumbprint: Thumbprints::default(),
        },
        capabilities: Capabilities::default(),
        device_scope: None,
        parent_scopes: None,
    };
    let json = serde_json::to_value(&identity).unwrap();
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(
        json,
        json!({
            "deviceId": "d1", "generationId": "638", "etag": "MQ==", "connectionState": "Disconnected",
            "status": "enabled", "statusReason": null, "connectionStateUpdatedTime": never,
            "statusUpdatedTime": never, "lastActivityTime": never, "cloudToDeviceMessageCount": 0,
            "authentication": {
                "type": "sas",
                "symmetricKey": {"primaryKey": "a2V5MQ==", "secondaryKey": "a2V5Mg=="},
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            },
            "capabilities": {"iotEdge": false},
        })
    );
    // An identity that was read goes back as a request unchanged.
    let request: DeviceIdentityRequest = decode(json.to_string().as_bytes()).unwrap();
    assert_eq!(
        request.authentication.unwrap().keys().0,
        Some(&Secret::new("a2V5MQ=="))
    );
    assert_eq!(
        serde_json::from_value::<DeviceIdentity>(json).unwrap(),
        identity
    );
    assert!(!format!("{identity:?}").contains("a2V5"));
}

#[test]
fn import_modes_come_in_any_case() {
    for (text, want) in [
        ("create", ImportMode::Create),
        ("Update", ImportMode::Update),
        ("UpdateIfMatchETag", ImportMode::UpdateIfMatchETag),
        ("createorupdate", ImportMode::CreateOrUpdate),
        (
            "CreateOrUpdateIfMatchETag",
            ImportMode::CreateOrUpdateIfMatchETag,
        ),
        ("Delete", ImportMode::Delete),
        ("deleteIfMatchETag", ImportMode::DeleteIfMatchETag),
        ("updateTwin", ImportMode::UpdateTwin),
        ("updateTwinIfMatchETag", ImportMode::UpdateTwinIfMatchETag),
    ] {
        let body = json!({"id": "d", "importMode": text}).to_string();
        assert_eq!(
            decode::<BulkItem>(body.as_bytes()).unwrap().import_mode,
            want,
            "{text}"
        );
    }
    for body in [r#"{"id":"d"}"#, r#"{"id":"d","importMode":null}"#] {
        let item: BulkItem = decode(body.as_bytes()).unwrap();
        assert_eq!(item.import_mode, ImportMode::CreateOrUpdate);
    }
    let fault = decode::<Vec<BulkItem>>(br#"[{"id":"d"},{"id":"e","importMode":"merge"}]"#);
    assert!(
        fault
            .unwrap_err()
            .to_string()
            .starts_with("[1].importMode: ")
    );
}

#[test]
fn bulk_items_take_both_spellings_of_the_etag() {
    for (body, want) in [
        (r#"{"id":"d"}"#, None),
        (r#"{"id":"d","eTag":"MQ=="}"#, Some("MQ==")),
        (r#"{"id":"d","etag":"MQ=="}"#, Some("MQ==")),
        (r#"{"id":"d","etag":"\"MQ==\""}"#, Some("MQ==")),
        (r#"{"id":"d","eTag":"MQ==","etag":"Mg=="}"#, Some("MQ==")),
    ] {
        let item: BulkItem = decode(body.as_bytes()).unwrap();
        assert_eq!(item.identity_etag(), want, "{body}");
    }
}

#[test]
fn bulk_items_bring_twins() {
    let body = br#"{"id":"d","twinETag":"x","tags":{"a":1},"properties":{"desired":{"t":5}},"status":"disabled"}"#;
    let item: BulkItem = decode(body).unwrap();
    assert_eq!(item.status, Some(IdentityStatus::Disabled));
    assert_eq!(item.tags.value().unwrap()["a"], 1);
    assert_eq!(item.properties.unwrap().desired.value().unwrap()["t"], 5);
    assert!(decode::<BulkItem>(br#"{"deviceId":"d"}"#).is_err());
}

#[test]
fn bulk_results_say_what_failed() {
    let good = serde_json::to_string(&BulkResult::new(Vec::new())).unwrap();
    assert_eq!(good, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#);
    let failed = BulkResult::new(vec![BulkError {
        device_id: "d".into(),
        module_id: None,
        error_code: "DeviceAlreadyExists".into(),
        error_status: "it exists".into(),
        operation: Some("create".into()),
    }]);
    assert_eq!(
        serde_json::to_string(&failed).unwrap(),
        r#"{"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":"DeviceAlreadyExists","errorStatus":"it exists","operation":"create"}],"warnings":[]}"#
    );
}

#[test]
fn small_documents_have_the_contracts_members() {
    let devices = DeviceStatistics {
        total_device_count: 3,
        enabled_device_count: 2,
        disabled_device_count: 1,
    };
    assert_eq!(
        serde_json::to_string(&devices).unwrap(),
        r#"{"totalDeviceCount":3,"enabledDeviceCount":2,"disabledDeviceCount":1}"#
    );
    let service = ServiceStatistics {
        connected_device_count: 1,
    };
    assert_eq!(
        serde_json::to_string(&service).unwrap(),
        r#"{"connectedDeviceCount":1}"#
    );
    let purge = PurgeResult {
        total_messages_purged: 0,
        device_id: "d".into(),
        module_id: None,
    };
    assert_eq!(
        serde_json::to_string(&purge).unwrap(),
        r#"{"totalMessagesPurged":0,"deviceId":"d","moduleId":null}"#
    );
}

#[test]
fn key_renewal_is_read_and_answered() {
    let body = br#"{"policyKey":"secondaryKey","devices":[{"id":"d"}]}"#;
    let request: RegenerateKeysRequest = decode(body).unwrap();
    assert_eq!(
        (request.policy_key, request.devices[0].id.as_str()),
        (PolicyKey::SecondaryKey, "d")
    );
    let result = RegenerateKeysResult {
        policy_key: PolicyKey::Swap,
        errors: Vec::new(),
    };
    assert_eq!(
        serde_json::to_string(&result).unwrap(),
        r#"{"policyKey":"swap","errors":[]}"#
    );
}
