//! What a twin holds and how it changes: merged, replaced, reported; versions, metadata, limits. Pure.
//!
//! A change is checked once, when it is made ([`TwinPatch::new`], [`TwinReplacement::new`],
//! [`ReportedPatch::new`]); applying it can then fail only on the size of the merged section. What may
//! stand in a section is decided in [`check`].

mod check;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::check::{check_least_size, check_members, check_size};
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

    /// The metadata of a value that is written as a whole. Elements of arrays have none. compat: TWIN-10
    fn of(value: &Value, stamp: Stamp) -> Self {
        match value {
            Value::Object(members) => Self::of_members(members, stamp),
            _ => Self::leaf(stamp),
        }
    }

    fn of_members(members: &Object, stamp: Stamp) -> Self {
        let child = |(key, value): (&String, &Value)| (key.clone(), Self::of(value, stamp));
        Self {
            children: members.iter().map(child).collect(),
            ..Self::leaf(stamp)
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
    /// Checks keys, levels, strings and integers of both sections.
    pub fn new(tags: SectionPatch, mut desired: SectionPatch) -> Result<Self, TwinError> {
        if let SectionPatch::Merge(members) = &tags {
            check_members(TAGS, members)?;
        }
        if let SectionPatch::Merge(members) = &mut desired {
            drop_stamps(members);
            check_members(DESIRED, members)?;
        }
        Ok(Self { tags, desired })
    }

    /// Refuses a patch that fits no twin, not even an empty one. compat: JOB-37
    pub fn check_fits(&self) -> Result<(), TwinError> {
        for (section, patch, bytes_max) in [
            (TAGS, &self.tags, limits::TWIN_TAGS_BYTES_MAX),
            (DESIRED, &self.desired, limits::TWIN_PROPERTIES_BYTES_MAX),
        ] {
            if let SectionPatch::Merge(members) = patch {
                check_least_size(section, members, bytes_max)?;
            }
        }
        Ok(())
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

/// A checked replacement of whole sections by the service. compat: TWIN-11
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TwinReplacement {
    tags: Option<Object>,
    desired: Option<Object>,
}

impl TwinReplacement {
    /// Checks all limits of the sections that are given; one that is not given stays as it is. A member
    /// that is null is left out, as if a patch had removed it.
    pub fn new(tags: Option<Object>, mut desired: Option<Object>) -> Result<Self, TwinError> {
        let checked = |section, members: Option<Object>, bytes_max| {
            let Some(members) = members else {
                return Ok(None);
            };
            check_members(section, &members)?;
            let members = without_nulls(members);
            check_size(section, &members, bytes_max)?;
            Ok(Some(members))
        };
        desired.iter_mut().for_each(drop_stamps);
        Ok(Self {
            tags: checked(TAGS, tags, limits::TWIN_TAGS_BYTES_MAX)?,
            desired: checked(DESIRED, desired, limits::TWIN_PROPERTIES_BYTES_MAX)?,
        })
    }

    /// The new tags.
    pub fn tags(&self) -> Option<&Object> {
        self.tags.as_ref()
    }

    /// The new desired properties.
    pub fn desired(&self) -> Option<&Object> {
        self.desired.as_ref()
    }
}

/// A checked change by the device.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedPatch(Object);

impl ReportedPatch {
    /// Checks keys, levels, strings and integers. No `$` member may be among them: what a device was told
    /// is no report.
    pub fn new(patch: Object) -> Result<Self, TwinError> {
        check_members(REPORTED, &patch)?;
        Ok(Self(patch))
    }

    /// The members as they came.
    pub fn members(&self) -> &Object {
        &self.0
    }
}

const TAGS: &str = "tags";
const DESIRED: &str = "properties.desired";
const REPORTED: &str = "properties.reported";

/// Leaves out what the hub puts into the desired section when it shows a twin: callers read a whole twin,
/// change a member and send all of it back. compat: TWIN-12
fn drop_stamps(desired: &mut Object) {
    desired.remove("$metadata");
    desired.remove("$version");
}

/// Without members that are null, at any level of objects. Arrays are values: they keep theirs.
fn without_nulls(members: Object) -> Object {
    let kept = |(key, value)| match value {
        Value::Null => None,
        Value::Object(members) => Some((key, Value::Object(without_nulls(members)))),
        other => Some((key, other)),
    };
    members.into_iter().filter_map(kept).collect()
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
        check_size(TAGS, &self.tags, limits::TWIN_TAGS_BYTES_MAX)?;
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
            DESIRED,
            &self.desired.values,
            limits::TWIN_PROPERTIES_BYTES_MAX,
        )?;
        Ok(Some(DesiredChange {
            version: self.desired.version,
            cleared,
        }))
    }

    /// Puts whole sections in place of the ones there are. Every member of a section that is replaced is
    /// written anew, whether its value moved or not. compat: TWIN-11
    pub fn replace(
        &mut self,
        replacement: &TwinReplacement,
        at: Timestamp,
    ) -> Option<DesiredChange> {
        if let Some(tags) = &replacement.tags {
            self.tags.clone_from(tags);
        }
        let change = replacement.desired.as_ref().map(|desired| {
            self.desired.replace(desired.clone(), at);
            DesiredChange {
                version: self.desired.version,
                cleared: None,
            }
        });
        self.version += 1;
        self.etag = Etag(self.etag.0 + 1);
        change
    }

    /// Merges a change by the device; returns the new `$version` of the reported properties.
    pub fn report(&mut self, patch: &ReportedPatch, at: Timestamp) -> Result<u64, TwinError> {
        self.reported.merge(&patch.0, at, false);
        check_size(
            REPORTED,
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

    /// Of the desired section only, which alone stamps versions; gives what was there.
    fn replace(&mut self, values: Object, at: Timestamp) -> Object {
        self.version += 1;
        let stamp = Stamp {
            at,
            version: Some(self.version),
        };
        self.metadata = Metadata::of_members(&values, stamp);
        std::mem::replace(&mut self.values, values)
    }

    fn clear(&mut self, at: Timestamp) -> Vec<String> {
        let before = self.replace(Object::new(), at);
        before.into_iter().map(|(key, _)| key).collect()
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
            whole => {
                values.insert(key.clone(), whole.clone());
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
