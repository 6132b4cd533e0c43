//! A row answers every path as the contract's JSON of the same twin would.

use std::cell::Cell;

use fanfare_hub::{
    query::JsonDocument,
    registry::{Authentication, IdentitySettings, SymmetricKey},
    twin::document::{Object, ReportedPatch, SectionPatch, TwinPatch},
};
use proptest::prelude::*;
use serde_json::{Value as JsonValue, json};

use super::*;
use crate::embedded::{core::MIGRATIONS, twins::create_row};

const KEY: i64 = (1 << SPACE_SHIFT) + 7;
const T1: Timestamp = Timestamp(1_927_857_906_123_456);
const T2: Timestamp = Timestamp(1_927_857_907_000_000);

const SELECT: &str = concat!(
    "SELECT ",
    identity_columns!(),
    ", ",
    twin_columns!(),
    " FROM identity, twin"
);

/// An identity was given the configurations 300, `Applied`, and 2, `Targeted`.
const APPLIED: &[u8] = include_bytes!("../../../tests/golden/configuration-applied-v1.bin");

/// A connection with one identity and its twin.
fn one_row(
    settings: &IdentitySettings,
    document: &TwinDocument,
    last: Option<Timestamp>,
) -> Connection {
    let db = Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS {
        db.execute_batch(migration).unwrap();
    }
    let enabled = settings.status == Status::Enabled;
    let record = IdentityRecord::new(settings, T1).seal();
    db.execute(
        "INSERT INTO identity VALUES (?1, 'door', 'lock', 5, 17, ?2, ?3)",
        (KEY, enabled, record),
    )
    .unwrap();
    create_row(&db, KEY, document).unwrap();
    db.execute_batch(
        "INSERT INTO configuration VALUES
             (2, 'it''s', 1, 1, 0, 0, x'', NULL), (300, 'cool', 1, 1, 0, 0, x'', NULL)",
    )
    .unwrap();
    db.execute(
        "INSERT INTO configuration_applied VALUES (?1, ?2)",
        (KEY, APPLIED),
    )
    .unwrap();
    if let Some(at) = last {
        db.execute("INSERT INTO activity VALUES (?1, ?2)", (KEY, at.0))
            .unwrap();
    }
    db
}

fn with_row(db: &Connection, look: impl FnOnce(&StoredRow<'_>)) {
    let mut select = db.prepare(SELECT).unwrap();
    let mut rows = select.query([]).unwrap();
    let row = rows.next().unwrap().expect("one row was written");
    look(&StoredRow::new(db, &Vault::plain(), row).unwrap());
}

fn settings(authentication: Authentication) -> IdentitySettings {
    IdentitySettings {
        status: Status::Disabled,
        status_reason: Some("said \"no\"".into()),
        authentication,
        edge: true,
        device_scope: Some("scope".into()),
        parent_scopes: vec!["above".into()],
        managed_by: None,
    }
}

fn sas() -> Authentication {
    Authentication::Sas {
        primary: SymmetricKey::new("AAAA"),
        secondary: SymmetricKey::new("BBBB"),
    }
}

fn object(value: JsonValue) -> Object {
    match value {
        JsonValue::Object(members) => members,
        other => panic!("{other} is not an object"),
    }
}

/// A twin after one patch of each side.
fn twin(tags: Object, desired: Object, reported: Object) -> TwinDocument {
    let mut document = TwinDocument::new(T1);
    let patch = TwinPatch::new(SectionPatch::Merge(tags), SectionPatch::Merge(desired)).unwrap();
    document.patch(&patch, T2).unwrap();
    document
        .report(&ReportedPatch::new(reported).unwrap(), T2)
        .unwrap();
    document
}

fn metadata_json(metadata: &Metadata) -> JsonValue {
    let mut members = json!({ "$lastUpdated": metadata.updated.to_string() });
    if let Some(version) = metadata.version {
        members["$lastUpdatedVersion"] = version.into();
    }
    for (key, child) in &metadata.children {
        members[key] = metadata_json(child);
    }
    members
}

/// The contract's JSON of the row, written down independently of it.
fn contract_json(document: &TwinDocument) -> JsonValue {
    let section = |properties: &Properties| {
        let mut values = JsonValue::Object(properties.values.clone());
        values["$metadata"] = metadata_json(&properties.metadata);
        values["$version"] = properties.version.into();
        values
    };
    json!({
        "deviceId": "door", "moduleId": "lock", "etag": "AAAAAAAAAAI=", "deviceEtag": "MTc=",
        "status": "disabled", "statusReason": "said \"no\"",
        "statusUpdateTime": "2031-02-03T04:05:06.1234560Z",
        "connectionState": "Disconnected", "lastActivityTime": "2031-02-03T04:05:07.0000000Z",
        "cloudToDeviceMessageCount": 0, "authenticationType": "sas",
        "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null },
        "modelId": "", "version": document.version, "capabilities": { "iotEdge": true },
        "deviceScope": "scope", "parentScopes": ["above"],
        "configurations": { "cool": { "status": "Applied" }, "it's": { "status": "Targeted" } },
        "tags": document.tags,
        "properties": {
            "desired": section(&document.desired), "reported": section(&document.reported),
        },
    })
}

const FIELDS: [RootField; 22] = [
    RootField::DeviceId,
    RootField::ModuleId,
    RootField::ManagedBy,
    RootField::Etag,
    RootField::DeviceEtag,
    RootField::Status,
    RootField::StatusReason,
    RootField::StatusUpdateTime,
    RootField::ConnectionState,
    RootField::LastActivityTime,
    RootField::CloudToDeviceMessageCount,
    RootField::AuthenticationType,
    RootField::X509Thumbprint,
    RootField::PrimaryThumbprint,
    RootField::SecondaryThumbprint,
    RootField::ModelId,
    RootField::Version,
    RootField::Capabilities,
    RootField::IotEdge,
    RootField::DeviceScope,
    RootField::ParentScopes,
    RootField::Properties,
];

/// Values as JSON, so that texts and trees compare; `None` is undefined.
fn plain(value: &Value<'_>) -> Option<JsonValue> {
    let mut out = Vec::new();
    value
        .write_json(&mut out)
        .then(|| serde_json::from_slice(&out).expect("values print as JSON"))
}

/// Every path of the document's objects, and some that lead nowhere.
fn paths_below(value: &JsonValue, at: &mut Vec<Box<str>>, out: &mut Vec<Vec<Box<str>>>) {
    out.push(at.clone());
    for nowhere in ["no such key", "0", "$version"] {
        at.push(nowhere.into());
        out.push(at.clone());
        at.pop();
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        at.push(key.as_str().into());
        paths_below(inner, at, out);
        at.pop();
    }
}

fn all_paths(document: &TwinDocument, json: &JsonValue) -> Vec<Path> {
    let mut paths: Vec<Path> = FIELDS.into_iter().map(Path::Field).collect();
    let below = |value: &JsonValue| {
        let mut out = Vec::new();
        paths_below(value, &mut Vec::new(), &mut out);
        out.into_iter().map(Vec::into_boxed_slice)
    };
    paths.extend(
        below(&JsonValue::Object(document.tags.clone())).map(|k| Path::Section(Section::Tags, k)),
    );
    paths.extend(below(&json["configurations"]).map(Path::Configurations));
    for (section, name, properties) in [
        (PropertySection::Desired, "desired", &document.desired),
        (PropertySection::Reported, "reported", &document.reported),
    ] {
        paths.push(Path::Version(section));
        let values = JsonValue::Object(properties.values.clone());
        // `$version` as first key has a path of its own.
        let values =
            below(&values).filter(|keys| keys.first().is_none_or(|key| &**key != "$version"));
        paths.extend(values.map(|keys| Path::Section(section.into(), keys)));
        let metadata = &json["properties"][name]["$metadata"];
        paths.extend(below(metadata).map(|keys| Path::Metadata(section, keys)));
    }
    paths
}

fn check_all_paths(document: &TwinDocument) {
    let db = one_row(&settings(sas()), document, Some(T2));
    let json = contract_json(document);
    with_row(&db, |row| {
        for path in all_paths(document, &json) {
            let expected = plain(&JsonDocument(&json).value(&path));
            assert_eq!(plain(&row.value(&path)), expected, "{path}");
        }
        assert!(row.fault().is_none());
        let twin = row.twin(Keys::Shown).unwrap();
        assert_eq!(&twin.document, document);
        assert_eq!(twin.last_activity, T2);
        assert_eq!(twin.identity.key, row.key());
        assert_eq!(twin.identity.settings, settings(sas()));
        let statuses = twin.configurations.iter();
        let statuses = statuses.map(|(id, status)| (id.as_str(), status.as_str()));
        assert_eq!(
            statuses.collect::<Vec<_>>(),
            [("cool", "Applied"), ("it's", "Targeted")]
        );
    });
}

fn any_json() -> impl Strategy<Value = JsonValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(JsonValue::from),
        (-4_503_599_627_370_496_i64..=4_503_599_627_370_495).prop_map(JsonValue::from),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(JsonValue::from),
        ".{0,12}".prop_map(JsonValue::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(JsonValue::from),
            proptest::collection::btree_map(any_key(), inner, 0..4)
                .prop_map(|members| JsonValue::Object(members.into_iter().collect())),
        ]
    })
}

/// Keys that the contract allows, quotes and backslashes among them.
fn any_key() -> impl Strategy<Value = String> {
    "[a-c\"\\\\/é日😀'-]{1,3}"
}

fn any_object() -> impl Strategy<Value = Object> {
    proptest::collection::btree_map(any_key(), any_json(), 0..4)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn generated_twins_answer_every_path_as_their_json_does(
        tags in any_object(), desired in any_object(), reported in any_object(),
    ) {
        check_all_paths(&twin(tags, desired, reported));
    }
}

#[test]
fn empty_and_nested_sections_answer_every_path_as_their_json_does() {
    check_all_paths(&twin(Object::new(), Object::new(), Object::new()));
    let nested = object(json!({ "a": { "b": { "c": {} } }, "list": [1, { "b": 2 }, "}"] }));
    check_all_paths(&twin(nested.clone(), nested.clone(), nested));
}

#[test]
fn thumbprints_and_missing_settings_are_null_or_undefined() {
    let certificate = Authentication::SelfSigned {
        primary: Some("AB12".into()),
        secondary: None,
    };
    let plain_device = IdentitySettings {
        status: Status::Enabled,
        status_reason: None,
        authentication: certificate,
        edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    };
    let db = one_row(&plain_device, &TwinDocument::new(T1), None);
    let expected = [
        (RootField::Status, Some(json!("enabled"))),
        (RootField::StatusReason, Some(JsonValue::Null)),
        (RootField::AuthenticationType, Some(json!("selfSigned"))),
        (RootField::PrimaryThumbprint, Some(json!("AB12"))),
        (RootField::SecondaryThumbprint, Some(JsonValue::Null)),
        (
            RootField::X509Thumbprint,
            Some(json!({ "primaryThumbprint": "AB12", "secondaryThumbprint": null })),
        ),
        (RootField::IotEdge, Some(json!(false))),
        (RootField::DeviceScope, None),
        (RootField::ParentScopes, None),
        (
            RootField::LastActivityTime,
            Some(json!("0001-01-01T00:00:00Z")),
        ),
    ];
    with_row(&db, |row| {
        for (field, value) in expected {
            assert_eq!(plain(&row.value(&Path::Field(field))), value, "{field:?}");
        }
    });
}

#[test]
fn a_configuration_that_went_shows_no_status() {
    let document = TwinDocument::new(T1);
    let db = one_row(&settings(sas()), &document, None);
    let whole = Path::Configurations(Box::new([]));
    let status = Path::Configurations(Box::new(["cool".into(), "status".into()]));
    let shown = |wanted: [Option<JsonValue>; 2]| {
        with_row(&db, |row| {
            assert_eq!(
                [&whole, &status].map(|path| plain(&row.value(path))),
                wanted
            );
            assert!(row.fault().is_none());
        });
    };
    let remove = |id: &str| {
        db.execute("DELETE FROM configuration WHERE id = ?1", [id])
            .unwrap();
    };
    remove("it's");
    shown([
        Some(json!({ "cool": { "status": "Applied" } })),
        Some(json!("Applied")),
    ]);
    remove("cool");
    shown([None, None]);
}

#[test]
fn what_cannot_be_read_is_a_fault_and_not_an_answer() {
    for column in [
        "identity SET record = x'01'",
        "twin SET metadata = x'0102030405'",
        "configuration_applied SET record = x'01'",
    ] {
        let db = one_row(&settings(sas()), &TwinDocument::new(T1), None);
        db.execute(&format!("UPDATE {column}"), []).unwrap();
        let looked = Cell::new(false);
        with_row(&db, |row| {
            let paths = [
                Path::Field(RootField::StatusReason),
                Path::Metadata(PropertySection::Desired, Box::new([])),
                Path::Configurations(Box::new(["cool".into()])),
            ];
            let answers = paths.map(|path| row.value(&path) == Value::Undefined);
            assert!(answers.contains(&true), "{column}");
            assert!(
                matches!(row.fault(), Some(StoreError::Corrupt(_))),
                "{column}"
            );
            assert!(
                matches!(row.twin(Keys::Shown), Err(StoreError::Corrupt(_))),
                "{column}"
            );
            looked.set(true);
        });
        assert!(looked.get());
    }
    let db = one_row(&settings(sas()), &TwinDocument::new(T1), None);
    db.execute("UPDATE twin SET record = x'01'", []).unwrap();
    let mut select = db.prepare(SELECT).unwrap();
    let mut rows = select.query([]).unwrap();
    let row = rows.next().unwrap().expect("one row was written");
    assert!(matches!(
        StoredRow::new(&db, &Vault::plain(), row),
        Err(StoreError::Corrupt(_))
    ));
}

#[test]
fn keys_keep_space_and_ordinal() {
    for space in [Space::Devices, Space::Modules] {
        for ordinal in [0, 1, u32::MAX] {
            let key = IdentityKey { space, ordinal };
            assert_eq!(identity_key(row_key(key)), key);
            assert!(space_keys(space).contains(&row_key(key)));
        }
    }
}
