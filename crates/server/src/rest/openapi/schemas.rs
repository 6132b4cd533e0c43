//! The shapes that the document names. Requests are described as the hub reads them, with the leniencies of
//! the contract; answers as it writes them.

use serde_json::{Map, Value, json};

/// Every shape by name.
pub(super) fn all() -> Value {
    let groups = [
        ids(),
        shared(),
        jobs(),
        identities(),
        keys(),
        bulk(),
        twins(),
        configurations(),
        transfers(),
        policies(),
        authorities(),
    ];
    let mut all = Map::new();
    for group in groups {
        let Value::Object(shapes) = group else {
            unreachable!("each group is an object of shapes")
        };
        all.extend(shapes);
    }
    Value::Object(all)
}

/// The shape of a variable part of a path.
pub(super) fn id_of(part: &str) -> &'static str {
    match part {
        "device" | "module" => "IdentityId",
        "configuration" => "ConfigurationId",
        "policy" => "PolicyName",
        "authority" => "AuthorityName",
        _ => "JobId",
    }
}

/// A body that does something on a hub with the device `door-1`.
pub(super) fn example(body: &str) -> Option<Value> {
    let device =
        json!({"id": "door-2", "importMode": "createOrUpdate", "tags": {"building": "43"}});
    Some(match body {
        "JobRequest" => json!({
            "type": "scheduleUpdateTwin", "queryCondition": "tags.building = '43'",
            "updateTwin": {"properties": {"desired": {"floor": 3}}}, "maxExecutionTimeInSeconds": 60,
        }),
        "QueryRequest" => json!({"query": "SELECT * FROM devices"}),
        "MethodRequest" => {
            json!({"methodName": "lock", "payload": null, "responseTimeoutInSeconds": 5})
        }
        "TwinRequest" => {
            json!({"tags": {"building": "43"}, "properties": {"desired": {"floor": 3}}})
        }
        "DeviceRequest" => json!({"status": "enabled"}),
        "ModuleRequest" => json!({"managedBy": "facilities"}),
        "[BulkItem]" => json!([device]),
        "RegenerateKeysRequest" => {
            json!({"policyKey": "secondaryKey", "devices": [{"id": "door-1"}]})
        }
        "ConfigurationRequest" => json!({
            "targetCondition": "tags.building = '43'", "priority": 10, "labels": {"by": "facilities"},
            "content": {"deviceContent": {"properties.desired.light": {"level": 3}}},
            "metrics": {"queries": {"floor": "SELECT deviceId FROM devices WHERE properties.desired.floor = 3"}},
        }),
        "PolicyRequest" => json!({"rights": ["RegistryRead", "ServiceConnect"]}),
        "AuthorityRequest" => json!({"certificate": EXAMPLE_AUTHORITY}),
        "RotateRequest" => json!({"key": "secondary"}),
        "TransferJobRequest" => {
            json!({"type": "export", "outputBlobContainerUri": "file:monday"})
        }
        "TestQueriesRequest" => {
            json!({"targetCondition": "tags.building = '43'", "customMetricQueries": {}})
        }
        "ConfigurationContent" => {
            json!({"deviceContent": {"properties.desired.light": {"level": 3}}})
        }
        _ => return None,
    })
}

/// Ours. Keys are base64 of 16 to 64 bytes.
fn policies() -> Value {
    let right =
        json!({"enum": ["RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"]});
    let rights = json!({"type": "array", "items": right});
    let name = json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"});
    json!({
        "PolicyName": name,
        "Star": {"const": "*"},
        "PolicyListed": record(&["name", "rights", "etag"], json!({
            "name": text(), "rights": rights, "etag": text(),
        })),
        "Policy": record(&["name", "rights", "etag", "primaryKey", "secondaryKey"], json!({
            "name": text(), "rights": rights, "etag": text(),
            "primaryKey": text(), "secondaryKey": text(),
        })),
        "PolicyRequest": record(&["rights"], json!({
            "name": optional_text(),
            "rights": {"type": "array", "items": right, "minItems": 1},
            "primaryKey": optional_text(),
            "secondaryKey": optional_text(),
        })),
        "RotateRequest": record(&["key"], json!({
            "key": {"enum": ["primary", "secondary", "swap"]},
        })),
    })
}

/// Ours. Certificates are PEM.
fn authorities() -> Value {
    let listed = json!({
        "name": text(), "subject": text(), "thumbprint": text(), "thumbprintSha256": text(),
        "expiry": time(), "isVerified": {"type": "boolean"}, "created": time(), "updated": time(),
        "etag": text(),
    });
    let mut whole = listed.clone();
    whole["certificate"] = text();
    let mut with_code = whole.clone();
    with_code["verificationCode"] = json!({"type": "string", "pattern": "^[0-9A-F]{48}$"});
    let required = |members: &Value| {
        let members = members.as_object().into_iter().flatten();
        json!(members.map(|(name, _)| name).collect::<Vec<_>>())
    };
    let full = |members: Value| json!({"type": "object", "required": required(&members), "properties": members});
    json!({
        "AuthorityName": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "AuthorityListed": full(listed),
        "Authority": full(whole),
        "AuthorityWithCode": full(with_code),
        "AuthorityRequest": record(&["certificate"], json!({
            "name": optional_text(), "certificate": text(),
        })),
    })
}

/// An authority whose key nobody has.
const EXAMPLE_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBizCCATGgAwIBAgIUMttP+DUOxuX6fv0NhYhYaBg1EtQwCgYIKoZIzj0EAwIw\n\
GjEYMBYGA1UEAwwPRXhhbXBsZSBkZXZpY2VzMCAXDTI2MTEyNDAyNTMwMFoYDzIx\n\
MjYxMDMxMDI1MzAwWjAaMRgwFgYDVQQDDA9FeGFtcGxlIGRldmljZXMwWTATBgcq\n\
hkjOPQIBBggqhkjOPQMBBwNCAASeA7f88hM0VUZ/ycU6dhDrEq4Wn+4pKktMJr5u\n\
xuOTwHAgy9Sg58veA6lxkizqf7Vx09D6NuOlKYRd1ktYaCf5o1MwUTAdBgNVHQ4E\n\
FgQUuj4vofRvgms/rlaFbLQJV+EmaJ4wHwYDVR0jBBgwFoAUuj4vofRvgms/rlaF\n\
bLQJV+EmaJ4wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA5XN5\n\
zIiV4f9F591vxPGtiFTJ1tnM2Xg3kS1t78AT7QgCIB3amyGzus7mS1QGv0BmHRxp\n\
nERW3rFOQFKOPRlq8YYw\n\
-----END CERTIFICATE-----\n";

fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The shape, or null, which means absent.
fn or_null(shape: Value) -> Value {
    json!({"anyOf": [shape, {"type": "null"}]})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn optional_text() -> Value {
    json!({"type": ["string", "null"]})
}

/// A whole number, as a number or as digits.
fn whole(min: u64, max: u64) -> Value {
    json!({"anyOf": [
        {"type": "integer", "minimum": min, "maximum": max},
        {"type": "string", "pattern": "^[0-9]+$"},
        {"type": "null"},
    ]})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// RFC 3339 in UTC with up to seven digits of a second.
fn time() -> Value {
    json!({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,7})?Z$"})
}

/// A point in time as it may be sent.
fn sent_time() -> Value {
    json!({"type": ["string", "null"], "format": "date-time"})
}

/// An object that holds at least these members.
fn record(required: &[&str], members: Value) -> Value {
    json!({"type": "object", "required": required, "properties": members})
}

fn ids() -> Value {
    json!({
        "IdentityId": {"type": "string", "pattern": r"^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$",
                       "examples": ["door-1", "lock"]},
        "ConfigurationId": {"type": "string", "pattern": r"^[a-z0-9\-:+%_*!']{1,128}$", "examples": ["lights"]},
        "JobId": {"type": "string", "pattern": r"^[A-Za-z0-9\-_.:]{1,64}$", "examples": ["tonight"]},
        "Etag": {"type": "string", "examples": ["*"]},
        "PageSize": {"type": "integer"},
        "Continuation": {"type": "string"},
        "JobTypeFilter": {"enum": ["", "scheduleDeviceMethod", "scheduleUpdateTwin"]},
        "JobStatusFilter": {
            "enum": ["", "enqueued", "queued", "scheduled", "running", "completed", "failed", "cancelled", "canceled",
                     "finished", "pending"],
        },
    })
}

fn shared() -> Value {
    json!({
        "Error": record(&["Message", "ExceptionMessage"], json!({
            "Message": {"type": "string",
                        "description": "ErrorCode:{name};{text}, or a JSON text for devices out of reach."},
            "ExceptionMessage": {"type": "string", "description": "Tracking ID:{id}-TimeStamp:{time}"},
            "errorCode": {"type": "integer", "minimum": 400_000, "maximum": 599_999},
        })),
        "Health": record(&["status"], json!({"status": text()})),
        "QueryRequest": record(&["query"], json!({"query": text()})),
        "DeviceStatistics": record(
            &["totalDeviceCount", "enabledDeviceCount", "disabledDeviceCount"],
            json!({"totalDeviceCount": count(), "enabledDeviceCount": count(), "disabledDeviceCount": count()}),
        ),
        "ServiceStatistics": record(&["connectedDeviceCount"], json!({"connectedDeviceCount": count()})),
        "MethodRequest": record(&["methodName"], json!({
            "methodName": {"type": "string", "minLength": 1, "maxLength": 100},
            "payload": {},
            "responseTimeoutInSeconds": whole(5, 300),
            "connectTimeoutInSeconds": whole(0, 300),
        })),
        "MethodAnswer": record(&["status", "payload"], json!({"status": {"type": "integer"}, "payload": {}})),
    })
}

fn jobs() -> Value {
    let method = json!({"allOf": [of("MethodRequest")]});
    json!({
        "JobRequest": record(&["type", "queryCondition"], json!({
            "jobId": {"type": ["string", "number", "null"]},
            "type": {"enum": ["scheduleDeviceMethod", "scheduleUpdateTwin"]},
            "queryCondition": {"type": "string", "minLength": 1, "examples": ["*", "tags.building = '43'"]},
            "startTime": sent_time(),
            "maxExecutionTimeInSeconds": whole(0, 2_147_483_647),
            "cloudToDeviceMethod": or_null(method),
            "updateTwin": or_null(of("TwinRequest")),
        })),
        "Job": record(&["jobId", "type", "status"], json!({
            "jobId": of("JobId"),
            "type": {"enum": ["scheduleDeviceMethod", "scheduleUpdateTwin", "unknown"]},
            "status": {"enum": ["unknown", "queued", "scheduled", "running", "completed", "failed", "cancelled"]},
            "queryCondition": text(),
            "createdTime": time(),
            "startTime": time(),
            "endTime": time(),
            "maxExecutionTimeInSeconds": count(),
            "cloudToDeviceMethod": {"type": "object"},
            "updateTwin": {"type": "object"},
            "failureReason": text(),
            "statusMessage": text(),
            "deviceJobStatistics": of("JobStatistics"),
            "fanfare": {"type": "object"},
        })),
        "JobStatistics": record(
            &["deviceCount", "failedCount", "succeededCount", "runningCount", "pendingCount"],
            json!({
                "deviceCount": count(), "failedCount": count(), "succeededCount": count(), "runningCount": count(),
                "pendingCount": count(), "canceledCount": count(),
            }),
        ),
    })
}

fn identities() -> Value {
    let device = with_common(json!({
        "status": {"enum": ["enabled", "disabled"]},
        "statusReason": optional_text(),
        "statusUpdatedTime": time(),
        "capabilities": record(&["iotEdge"], json!({"iotEdge": {"type": "boolean"}})),
        "deviceScope": text(),
        "parentScopes": {"type": "array", "items": text()},
    }));
    let module = with_common(json!({"moduleId": of("IdentityId"), "managedBy": optional_text()}));
    let always = [
        "deviceId",
        "generationId",
        "etag",
        "connectionState",
        "authentication",
    ];
    json!({
        "Device": record(&[&always[..], &["status"]].concat(), device),
        "Module": record(&[&always[..], &["moduleId"]].concat(), module),
        "DeviceRequest": record(&[], json!({
            "deviceId": optional_text(),
            "status": {"enum": ["enabled", "disabled", "Enabled", "Disabled", null]},
            "statusReason": {"type": ["string", "null"], "maxLength": 128},
            "authentication": or_null(of("AuthenticationRequest")),
            "capabilities": or_null(record(&[], json!({"iotEdge": {"type": ["boolean", "null"]}}))),
            "deviceScope": optional_text(),
            "parentScopes": {"type": ["array", "null"], "items": text()},
        })),
        "ModuleRequest": record(&[], json!({
            "moduleId": optional_text(),
            "deviceId": optional_text(),
            "managedBy": optional_text(),
            "authentication": or_null(of("AuthenticationRequest")),
        })),
        "AuthenticationRequest": record(&[], json!({
            "type": {"enum": ["sas", "selfSigned", "certificateAuthority", "none", "Sas", "SelfSigned",
                              "CertificateAuthority", "None", null]},
            "symmetricKey": or_null(record(&[], json!({"primaryKey": optional_text(), "secondaryKey": optional_text()}))),
            "x509Thumbprint": or_null(of("Thumbprints")),
        })),
        "Authentication": record(&["type", "symmetricKey", "x509Thumbprint"], json!({
            "type": {"enum": ["sas", "selfSigned", "certificateAuthority", "none"]},
            "symmetricKey": record(&["primaryKey", "secondaryKey"],
                                   json!({"primaryKey": optional_text(), "secondaryKey": optional_text()})),
            "x509Thumbprint": of("Thumbprints"),
        })),
        "Thumbprints": record(&[], json!({"primaryThumbprint": optional_text(), "secondaryThumbprint": optional_text()})),
    })
}

fn keys() -> Value {
    json!({
        "PurgeResult": record(&["totalMessagesPurged", "deviceId"], json!({
            "totalMessagesPurged": count(), "deviceId": of("IdentityId"), "moduleId": {"type": "null"},
        })),
        "RegenerateKeysRequest": record(&["policyKey", "devices"], json!({
            "policyKey": {"enum": ["primaryKey", "secondaryKey", "swap"]},
            "devices": {"type": "array", "minItems": 1, "maxItems": 100,
                        "items": record(&["id"], json!({"id": text(), "moduleId": optional_text()}))},
        })),
        "RegenerateKeysResult": record(&["policyKey", "errors"], json!({
            "policyKey": {"enum": ["primaryKey", "secondaryKey", "swap"]},
            "errors": {"type": "array", "items": of("BulkError")},
        })),
    })
}

/// These members, and what devices and modules have in common.
fn with_common(mut members: Value) -> Value {
    members["deviceId"] = of("IdentityId");
    members["generationId"] = text();
    members["etag"] = text();
    members["connectionState"] = json!({"enum": ["Connected", "Disconnected"]});
    members["connectionStateUpdatedTime"] = time();
    members["lastActivityTime"] = time();
    members["cloudToDeviceMessageCount"] = count();
    members["authentication"] = of("Authentication");
    members
}

fn bulk() -> Value {
    let section = json!({"type": ["object", "null"]});
    json!({
        "BulkItem": record(&["id"], json!({
            "id": text(),
            "moduleId": optional_text(),
            "eTag": optional_text(),
            "etag": optional_text(),
            "importMode": {"type": ["string", "null"]},
            "status": {"enum": ["enabled", "disabled", "Enabled", "Disabled", null]},
            "statusReason": optional_text(),
            "authentication": or_null(of("AuthenticationRequest")),
            "twinETag": optional_text(),
            "tags": section,
            "properties": or_null(record(&[], json!({"desired": section}))),
            "capabilities": or_null(record(&[], json!({"iotEdge": {"type": ["boolean", "null"]}}))),
            "managedBy": optional_text(),
            "deviceScope": optional_text(),
            "parentScopes": {"type": ["array", "null"], "items": text()},
        })),
        "BulkResult": record(&["isSuccessful", "errors", "warnings"], json!({
            "isSuccessful": {"type": "boolean"},
            "errors": {"type": "array", "items": of("BulkError")},
            "warnings": {"type": "array"},
        })),
        // What failed, one by one; or that the call as a whole could not be read.
        "BulkRefusal": {"anyOf": [of("BulkResult"), of("Error")]},
        "BulkError": record(&["deviceId", "errorCode", "errorStatus"], json!({
            "deviceId": text(),
            "moduleId": optional_text(),
            "errorCode": {"type": ["string", "integer"]},
            "errorStatus": text(),
            "operation": text(),
        })),
    })
}

fn twins() -> Value {
    let section = json!({"type": ["object", "null"]});
    json!({
        "TwinRequest": record(&[], json!({
            "tags": section,
            "properties": or_null(record(&[], json!({"desired": section}))),
        })),
        "Twin": record(&["deviceId", "etag", "version", "properties"], json!({
            "deviceId": of("IdentityId"),
            "moduleId": of("IdentityId"),
            "etag": text(),
            "deviceEtag": text(),
            "status": {"enum": ["enabled", "disabled"]},
            "statusReason": text(),
            "statusUpdateTime": time(),
            "connectionState": {"enum": ["Connected", "Disconnected"]},
            "lastActivityTime": time(),
            "cloudToDeviceMessageCount": count(),
            "authenticationType": {"enum": ["sas", "selfSigned", "certificateAuthority", "none"]},
            "x509Thumbprint": of("Thumbprints"),
            "modelId": text(),
            "version": count(),
            "tags": {"type": "object"},
            "properties": record(&["desired", "reported"], json!({
                "desired": record(&["$metadata", "$version"], json!({"$version": count()})),
                "reported": record(&["$metadata", "$version"], json!({"$version": count()})),
            })),
            "capabilities": {"type": "object"},
            "deviceScope": text(),
            "parentScopes": {"type": "array", "items": text()},
        })),
    })
}

fn configurations() -> Value {
    let texts = json!({"type": ["object", "null"], "additionalProperties": text()});
    json!({
        // What an object of properties is written to; read when it is applied.
        "ConfigurationContent": record(&[], json!({
            "deviceContent": {},
            "modulesContent": {},
            "moduleContent": {},
        })),
        "ConfigurationRequest": record(&[], json!({
            "id": optional_text(),
            "schemaVersion": optional_text(),
            "labels": texts,
            "content": or_null(of("ConfigurationContent")),
            "targetCondition": optional_text(),
            "priority": whole(0, 2_147_483_647),
            "metrics": or_null(record(&[], json!({"queries": texts}))),
        })),
        "Configuration": record(&["id", "etag", "priority", "createdTimeUtc"], json!({
            "id": text(),
            "schemaVersion": text(),
            "etag": text(),
            "labels": texts,
            "content": or_null(of("ConfigurationContent")),
            "targetCondition": text(),
            "priority": count(),
            "metrics": of("ConfigurationMetrics"),
            "systemMetrics": of("ConfigurationMetrics"),
            "createdTimeUtc": time(),
            "lastUpdatedTimeUtc": time(),
        })),
        "ConfigurationMetrics": record(&["results", "queries"], json!({
            "results": {"type": "object", "additionalProperties": count()},
            "queries": {"type": "object", "additionalProperties": text()},
        })),
        "TestQueriesRequest": record(&[], json!({
            "targetCondition": optional_text(),
            "customMetricQueries": texts,
        })),
        "TestQueriesResult": record(&["targetConditionError", "customMetricQueryErrors"], json!({
            "targetConditionError": text(),
            "customMetricQueryErrors": {"type": "object", "additionalProperties": text()},
        })),
    })
}

fn transfers() -> Value {
    let storage = json!({"enum": ["keyBased", "identityBased"]});
    json!({
        "TransferJobRequest": record(&[], json!({
            "type": {"type": ["string", "null"]},
            "inputBlobContainerUri": optional_text(),
            "outputBlobContainerUri": optional_text(),
            "inputBlobName": optional_text(),
            "outputBlobName": optional_text(),
            "excludeKeysInExport": {"type": ["boolean", "null"]},
            "storageAuthenticationType": {"type": ["string", "null"]},
            "includeConfigurations": {"type": ["boolean", "null"]},
            "configurationsBlobName": optional_text(),
        })),
        "TransferJob": record(&["jobId", "type", "status", "progress"], json!({
            "jobId": text(),
            "startTimeUtc": time(),
            "endTimeUtc": time(),
            "type": {"enum": ["export", "import"]},
            "status": {"enum": ["enqueued", "running", "completed", "failed", "cancelled"]},
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "inputBlobContainerUri": text(),
            "inputBlobName": text(),
            "outputBlobContainerUri": text(),
            "outputBlobName": text(),
            "excludeKeysInExport": {"type": "boolean"},
            "storageAuthenticationType": storage,
            "includeConfigurations": {"type": "boolean"},
            "configurationsBlobName": text(),
            "failureReason": text(),
            "fanfare": {"type": "object"},
        })),
    })
}
