//! What a twin holds and how a patch changes it: merge, versions, metadata, limits. Pure.
//!
//! A patch is checked once, when it is made ([`TwinPatch::new`], [`ReportedPatch::new`]); applying it
//! can then fail only on the size of the merged section.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{ids::Etag, limits, time::Timestamp};

/// A JSON object.
pub type Object = Map<String, Value>;

/// The document beside an identity.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinDocument {
    /// Set by the service, hidden from the device.
    pub tags: Object,
    /// Set by the service, read by the device.
    pub desired: Properties,
    /// Set by the device.
    pub reported: Properties,
    /// Moves with every change of any section.
    pub version: u64,
    /// Moves with every change by the service.
    pub etag: Etag,
}

/// One versioned section of a twin.
#[derive(Debug, Clone, PartialEq)]
pub struct Properties {
    /// The values, without `$` members.
    pub values: Object,
    /// When each was last written.
    pub metadata: Metadata,
    /// `$version`: starts at 1, plus 1 for every accepted change.
    pub version: u64,
}

/// When a value, or anything below it, was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `$lastUpdated`.
    pub updated: Timestamp,
    /// `$lastUpdatedVersion`; desired properties only.
    pub version: Option<u64>,
    /// One entry for every member of an object value.
    pub children: BTreeMap<String, Metadata>,
}

impl Metadata {
    fn leaf(stamp: Stamp) -> Self {
        Self {
            updated: stamp.at,
            version: stamp.version,
            children: BTreeMap::new(),
        }
    }

    fn touch(&mut self, stamp: Stamp) {
        self.updated = stamp.at;
        self.version = stamp.version;
    }
}

#[derive(Clone, Copy)]
struct Stamp {
    at: Timestamp,
    version: Option<u64>,
}

/// What a patch does to one section.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum SectionPatch {
    /// Nothing.
    #[default]
    Absent,
    /// `null`: every member goes.
    Clear,
    /// Members are merged; `null` removes one.
    Merge(Object),
}

impl SectionPatch {
    /// Whether the section is left alone.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A checked change by the service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TwinPatch {
    tags: SectionPatch,
    desired: SectionPatch,
}

impl TwinPatch {
    /// Checks keys, depths, strings and integers of both sections.
    pub fn new(tags: SectionPatch, desired: SectionPatch) -> Result<Self, TwinError> {
        check_section("tags", &tags)?;
        check_section("properties.desired", &desired)?;
        Ok(Self { tags, desired })
    }

    /// The change of the tags.
    pub fn tags(&self) -> &SectionPatch {
        &self.tags
    }

    /// The change of the desired properties.
    pub fn desired(&self) -> &SectionPatch {
        &self.desired
    }
}

/// A checked change by the device.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedPatch(Object);

impl ReportedPatch {
    /// Checks keys, depths, strings and integers.
    pub fn new(patch: Object) -> Result<Self, TwinError> {
        check_object("properties.reported", &patch, 1)?;
        Ok(Self(patch))
    }

    /// The members as they came.
    pub fn members(&self) -> &Object {
        &self.0
    }
}

/// Why a twin cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TwinError {
    /// A key that the contract refuses.
    #[error("the key {key:?} below {path} {problem}")]
    Key {
        /// Where it stands.
        path: String,
        /// The key, shortened for people.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A string value that is too long.
    #[error("the string at {path} has {bytes} bytes, at most {max} are allowed")]
    StringTooLong {
        /// Where it stands.
        path: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An integer outside the contract's range.
    #[error("the number at {path} is outside -4503599627370496 to 4503599627370495")]
    Integer {
        /// Where it stands.
        path: String,
    },
    /// Too many levels.
    #[error("{path} is nested deeper than {max} levels")]
    TooDeep {
        /// Where the limit is crossed.
        path: String,
        /// The limit.
        max: usize,
    },
    /// The merged section is too large.
    #[error("{section} would have {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// `tags`, `properties.desired` or `properties.reported`.
        section: &'static str,
        /// Size after the merge, by the contract's formula.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// How the desired properties changed, for the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredChange {
    /// The new `$version`.
    pub version: u64,
    /// After a clear: the keys that went, which the device must hear one by one. compat: TWIN-7
    pub cleared: Option<Vec<String>>,
}

impl TwinDocument {
    /// The twin of an identity just created. compat: TWIN-1
    pub fn new(at: Timestamp) -> Self {
        let empty = |version| Properties {
            values: Object::new(),
            metadata: Metadata::leaf(Stamp { at, version }),
            version: 1,
        };
        Self {
            tags: Object::new(),
            desired: empty(Some(1)),
            reported: empty(None),
            version: 1,
            etag: Etag(1),
        }
    }

    /// Merges a change by the service. Unchanged values still move the versions. On an error `self`
    /// may be half merged: throw it away.
    pub fn patch(
        &mut self,
        patch: &TwinPatch,
        at: Timestamp,
    ) -> Result<Option<DesiredChange>, TwinError> {
        match &patch.tags {
            SectionPatch::Absent => {}
            SectionPatch::Clear => self.tags.clear(),
            SectionPatch::Merge(members) => merge_values(&mut self.tags, members),
        }
        check_size("tags", &self.tags, limits::TWIN_TAGS_BYTES_MAX)?;
        let change = self.patch_desired(&patch.desired, at)?;
        self.version += 1;
        self.etag = Etag(self.etag.0 + 1);
        Ok(change)
    }

    fn patch_desired(
        &mut self,
        patch: &SectionPatch,
        at: Timestamp,
    ) -> Result<Option<DesiredChange>, TwinError> {
        let cleared = match patch {
            SectionPatch::Absent => return Ok(None),
            SectionPatch::Clear => Some(self.desired.clear(at)),
            SectionPatch::Merge(members) => {
                self.desired.merge(members, at, true);
                None
            }
        };
        check_size(
            "properties.desired",
            &self.desired.values,
            limits::TWIN_PROPERTIES_BYTES_MAX,
        )?;
        Ok(Some(DesiredChange {
            version: self.desired.version,
            cleared,
        }))
    }

    /// Merges a change by the device; returns the new `$version` of the reported properties.
    pub fn report(&mut self, patch: &ReportedPatch, at: Timestamp) -> Result<u64, TwinError> {
        self.reported.merge(&patch.0, at, false);
        check_size(
            "properties.reported",
            &self.reported.values,
            limits::TWIN_PROPERTIES_BYTES_MAX,
        )?;
        self.version += 1;
        Ok(self.reported.version)
    }
}

impl Properties {
    fn merge(&mut self, patch: &Object, at: Timestamp, stamps_versions: bool) {
        self.version += 1;
        let stamp = Stamp {
            at,
            version: stamps_versions.then_some(self.version),
        };
        merge_object(&mut self.values, &mut self.metadata, patch, stamp);
    }

    fn clear(&mut self, at: Timestamp) -> Vec<String> {
        self.version += 1;
        self.metadata = Metadata::leaf(Stamp {
            at,
            version: Some(self.version),
        });
        std::mem::take(&mut self.values)
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }
}

fn merge_object(values: &mut Object, metadata: &mut Metadata, patch: &Object, stamp: Stamp) {
    metadata.touch(stamp);
    for (key, new) in patch {
        match new {
            Value::Null => {
                values.remove(key);
                metadata.children.remove(key);
            }
            Value::Object(members) => {
                let below = metadata
                    .children
                    .entry(key.clone())
                    .or_insert_with(|| Metadata::leaf(stamp));
                let slot = values.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Object::new());
                    below.children.clear();
                }
                if let Value::Object(inner) = slot {
                    merge_object(inner, below, members, stamp);
                }
            }
            scalar => {
                values.insert(key.clone(), scalar.clone());
                metadata.children.insert(key.clone(), Metadata::leaf(stamp));
            }
        }
    }
}

fn merge_values(values: &mut Object, patch: &Object) {
    for (key, new) in patch {
        match new {
            Value::Null => {
                values.remove(key);
            }
            Value::Object(members) => {
                let slot = values.entry(key.clone()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Object::new());
                }
                if let Value::Object(inner) = slot {
                    merge_values(inner, members);
                }
            }
            scalar => {
                values.insert(key.clone(), scalar.clone());
            }
        }
    }
}

fn check_section(section: &'static str, patch: &SectionPatch) -> Result<(), TwinError> {
    match patch {
        SectionPatch::Merge(members) => check_object(section, members, 1),
        SectionPatch::Absent | SectionPatch::Clear => Ok(()),
    }
}

fn check_object(path: &str, members: &Object, depth: usize) -> Result<(), TwinError> {
    check_depth(path, depth)?;
    for (key, value) in members {
        if let Some(problem) = key_problem(key) {
            let key = key.chars().take(64).collect();
            return Err(TwinError::Key {
                path: path.to_owned(),
                key,
                problem,
            });
        }
        check_value(&format!("{path}.{key}"), value, depth)?;
    }
    Ok(())
}

fn check_value(path: &str, value: &Value, depth: usize) -> Result<(), TwinError> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::String(text) if text.len() > limits::TWIN_STRING_BYTES_MAX => {
            Err(TwinError::StringTooLong {
                path: path.to_owned(),
                bytes: text.len(),
                max: limits::TWIN_STRING_BYTES_MAX,
            })
        }
        Value::String(_) => Ok(()),
        Value::Number(number) => {
            let fits = match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => limits::TWIN_INTEGERS.contains(&integer),
                (None, Some(_)) => false,
                (None, None) => true,
            };
            if fits {
                Ok(())
            } else {
                Err(TwinError::Integer {
                    path: path.to_owned(),
                })
            }
        }
        Value::Array(elements) => {
            check_depth(path, depth + 1)?;
            elements
                .iter()
                .try_for_each(|element| check_value(path, element, depth + 1))
        }
        Value::Object(members) => check_object(path, members, depth + 1),
    }
}

fn check_depth(path: &str, depth: usize) -> Result<(), TwinError> {
    if depth > limits::TWIN_DEPTH_MAX {
        return Err(TwinError::TooDeep {
            path: path.to_owned(),
            max: limits::TWIN_DEPTH_MAX,
        });
    }
    Ok(())
}

fn key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("is empty")
    } else if key.len() > limits::TWIN_KEY_BYTES_MAX {
        Some("is longer than 1024 bytes")
    } else if key.chars().any(char::is_control) {
        Some("has a control character")
    } else if key.contains(['.', '$', ' ']) {
        Some("has a '.', '$' or space")
    } else {
        None
    }
}

fn check_size(section: &'static str, members: &Object, max: usize) -> Result<(), TwinError> {
    let bytes = object_size(members);
    if bytes > max {
        return Err(TwinError::TooLarge {
            section,
            bytes,
            max,
        });
    }
    Ok(())
}

/// The contract's size formula. compat: TWIN-9
fn object_size(members: &Object) -> usize {
    members
        .iter()
        .map(|(key, value)| key.len() + value_size(value))
        .sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text
            .chars()
            .filter(|c| !c.is_control())
            .map(char::len_utf8)
            .sum(),
        Value::Array(elements) => elements.iter().map(value_size).sum(),
        Value::Object(members) => object_size(members),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const T1: Timestamp = Timestamp(1_000_000);
    const T2: Timestamp = Timestamp(2_000_000);

    fn object(value: Value) -> Object {
        match value {
            Value::Object(members) => members,
            other => panic!("not an object: {other}"),
        }
    }

    fn desired(value: Value) -> TwinPatch {
        TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(object(value))).unwrap()
    }

    #[test]
    fn objects_merge_arrays_replace_and_nulls_remove() {
        let cases = [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"x": null}}),
                json!({"a": {"y": 2}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!({"a": 1}), json!({"a": {"b": null}}), json!({"a": {}})),
            (json!({"a": {"b": 1}}), json!({"a": 5}), json!({"a": 5})),
            (json!({"a": 1}), json!({"zz": null}), json!({"a": 1})),
        ];
        for (first, second, merged) in cases {
            let mut twin = TwinDocument::new(T1);
            twin.patch(&desired(first), T1).unwrap();
            twin.patch(&desired(second), T1).unwrap();
            assert_eq!(Value::Object(twin.desired.values), merged);
        }
    }

    #[test]
    fn a_patch_that_changes_nothing_still_moves_every_version() {
        let mut twin = TwinDocument::new(T1);
        let change = twin.patch(&desired(json!({})), T2).unwrap();
        assert_eq!(
            change,
            Some(DesiredChange {
                version: 2,
                cleared: None
            })
        );
        assert_eq!((twin.version, twin.etag), (2, Etag(2)));
        let tags = TwinPatch::new(SectionPatch::Merge(Object::new()), SectionPatch::Absent);
        assert_eq!(twin.patch(&tags.unwrap(), T2).unwrap(), None);
        assert_eq!(
            (twin.desired.version, twin.version, twin.etag),
            (2, 3, Etag(3))
        );
    }

    #[test]
    fn a_report_moves_the_version_but_not_the_etag() {
        let mut twin = TwinDocument::new(T1);
        let patch = ReportedPatch::new(object(json!({"fw": "1.2", "old": null}))).unwrap();
        assert_eq!(twin.report(&patch, T2).unwrap(), 2);
        assert_eq!((twin.version, twin.etag), (2, Etag(1)));
        assert_eq!(twin.reported.metadata.children["fw"].updated, T2);
        assert_eq!(twin.reported.metadata.version, None);
    }

    #[test]
    fn metadata_follows_the_tree() {
        let mut twin = TwinDocument::new(T1);
        twin.patch(&desired(json!({"a": {"x": 1, "y": 2}, "b": 3})), T1)
            .unwrap();
        twin.patch(&desired(json!({"a": {"x": 9}})), T2).unwrap();
        let metadata = &twin.desired.metadata;
        assert_eq!((metadata.updated, metadata.version), (T2, Some(3)));
        assert_eq!(metadata.children["a"].updated, T2);
        assert_eq!(metadata.children["a"].children["x"].version, Some(3));
        assert_eq!(metadata.children["a"].children["y"].version, Some(2));
        assert_eq!(metadata.children["b"].updated, T1);
        twin.patch(&desired(json!({"a": null})), T2).unwrap();
        assert!(!twin.desired.metadata.children.contains_key("a"));
    }

    #[test]
    fn clearing_names_what_went() {
        let mut twin = TwinDocument::new(T1);
        twin.patch(&desired(json!({"a": 1, "b": 2})), T1).unwrap();
        let clear = TwinPatch::new(SectionPatch::Absent, SectionPatch::Clear).unwrap();
        let change = twin.patch(&clear, T2).unwrap().unwrap();
        assert_eq!(change.cleared, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((change.version, twin.desired.values.len()), (3, 0));
    }

    #[test]
    fn a_patch_outside_the_rules_is_refused_with_its_place() {
        let deep = (0..10).fold(json!(1), |inner, _| json!({ "k": inner }));
        let cases = [
            (
                json!({"a.b": 1}),
                "the key \"a.b\" below tags has a '.', '$' or space",
            ),
            (
                json!({"$version": 1}),
                "the key \"$version\" below tags has a '.', '$' or space",
            ),
            (json!({"a": {"": 1}}), "the key \"\" below tags.a is empty"),
            (
                json!({"\u{7}": 1}),
                "the key \"\\u{7}\" below tags has a control character",
            ),
            (
                json!({"a": {"b": "x".repeat(4097)}}),
                "the string at tags.a.b has 4097 bytes, at most 4096 are allowed",
            ),
            (
                json!({"a": 4_503_599_627_370_496_i64}),
                "the number at tags.a is outside -4503599627370496 to 4503599627370495",
            ),
            (
                json!({ "k": deep }),
                "tags.k.k.k.k.k.k.k.k.k.k is nested deeper than 10 levels",
            ),
        ];
        for (patch, message) in cases {
            let error = TwinPatch::new(SectionPatch::Merge(object(patch)), SectionPatch::Absent)
                .unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let just_deep_enough = (0..9).fold(json!(1), |inner, _| json!({ "k": inner }));
        let patch = SectionPatch::Merge(object(json!({ "k": just_deep_enough })));
        assert!(TwinPatch::new(patch, SectionPatch::Absent).is_ok());
    }

    #[test]
    fn the_merged_size_counts_not_the_patch() {
        let mut twin = TwinDocument::new(T1);
        let chunk = |key: &str| desired(json!({ key: ["y".repeat(4000), "y".repeat(4000)] }));
        for key in ["a", "b", "c", "d"] {
            twin.patch(&chunk(key), T1).unwrap();
        }
        let error = twin.patch(&chunk("e"), T1).unwrap_err();
        assert_eq!(
            error,
            TwinError::TooLarge {
                section: "properties.desired",
                bytes: 40_005,
                max: 32_768
            }
        );
    }
}
