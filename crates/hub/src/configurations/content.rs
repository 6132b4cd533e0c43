//! What a configuration writes: its content, read once into settings, one path and one value each.
//!
//! Pure. Objects are taken apart down to scalars, arrays and empty objects, so that two configurations
//! conflict exactly where they would write the same value, and what one wrote can be taken back without
//! touching its neighbours.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::{
    ids::{IdError, ModuleId},
    json::JsonText,
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinDocument, TwinError, TwinPatch},
};

/// The keys from the section of desired properties down to one value. No key holds a `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingPath(Vec<String>);

impl SettingPath {
    /// Reads the printed form; empty for the section itself.
    pub fn parse(text: &str) -> Self {
        match text {
            "" => Self(Vec::new()),
            text => Self(text.split('.').map(str::to_owned).collect()),
        }
    }

    /// The keys, outermost first.
    pub fn keys(&self) -> &[String] {
        &self.0
    }

    /// Whether `other` lies at or below this path.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The paths above it, longest last.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        (1..self.0.len()).map(|length| Self(self.0[..length].to_vec()))
    }

    fn child(&self, key: &str) -> Self {
        let mut keys = self.0.clone();
        keys.push(key.to_owned());
        Self(keys)
    }
}

impl fmt::Display for SettingPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What is written to one kind of twin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Values by path; null takes a value away.
    pub leaves: BTreeMap<SettingPath, Value>,
    /// Whether the whole section was named: then nothing of a lower precedence shows through.
    pub is_whole: bool,
}

impl Settings {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty() && !self.is_whole
    }

    fn parse(member: &str, paths: &Object) -> Result<Self, ContentError> {
        let mut settings = Self::default();
        for (path, value) in paths {
            let wrong = |problem| ContentError::Path {
                member: member.to_owned(),
                path: path.clone(),
                problem,
            };
            let below = path
                .strip_prefix(SECTION)
                .ok_or_else(|| wrong(NOT_DESIRED))?;
            let at = match below.strip_prefix('.') {
                None if below.is_empty() => SettingPath(Vec::new()),
                Some(keys) if !keys.is_empty() => SettingPath::parse(keys),
                _ => return Err(wrong(NOT_DESIRED)),
            };
            match value {
                Value::Object(members) if at.0.is_empty() => {
                    settings.is_whole = true;
                    // What the hub stamps itself comes back from callers that read a whole twin.
                    for (key, value) in members.iter().filter(|(key, _)| !is_stamp(key)) {
                        settings.add(member, at.child(key), value)?;
                    }
                }
                _ if at.0.is_empty() => return Err(wrong("must be an object")),
                _ if is_stamp(&at.0[0]) => return Err(wrong("names what the hub writes itself")),
                value => settings.add(member, at, value)?,
            }
        }
        settings.check(member)?;
        Ok(settings)
    }

    fn add(&mut self, member: &str, at: SettingPath, value: &Value) -> Result<(), ContentError> {
        match value {
            Value::Object(members) if !members.is_empty() => members
                .iter()
                .try_for_each(|(key, value)| self.add(member, at.child(key), value)),
            leaf => match self.leaves.insert(at.clone(), leaf.clone()) {
                None => Ok(()),
                Some(_) => Err(overlap(member, &at)),
            },
        }
    }

    /// No two paths in each other, and a twin that can take it all.
    fn check(&self, member: &str) -> Result<(), ContentError> {
        // Whatever lies below a path follows it at once in their order.
        let mut neighbours = self.leaves.keys().zip(self.leaves.keys().skip(1));
        if let Some((_, below)) = neighbours.find(|(above, below)| above.holds(below)) {
            return Err(overlap(member, below));
        }
        let mut values = Object::new();
        for (path, value) in &self.leaves {
            set(&mut values, path.keys(), value);
        }
        let refused = |source| ContentError::Twin {
            member: member.to_owned(),
            source,
        };
        let patch = TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(values));
        let patch = patch.map_err(refused)?;
        TwinDocument::new(Timestamp::NEVER)
            .patch(&patch, Timestamp::NEVER)
            .map_err(refused)?;
        Ok(())
    }
}

/// Writes a value; whatever stands in its way on the path gives place. An empty object leaves an object
/// as it is.
pub(super) fn set(into: &mut Object, keys: &[String], value: &Value) {
    let Some((key, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        let is_kept = value.is_object() && into.get(key).is_some_and(Value::is_object);
        if !is_kept {
            into.insert(key.clone(), value.clone());
        }
        return;
    }
    let slot = into.entry(key.clone()).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Object::new());
    }
    if let Value::Object(inner) = slot {
        set(inner, rest, value);
    }
}

fn is_stamp(key: &str) -> bool {
    key == "$version" || key == "$metadata"
}

const SECTION: &str = "properties.desired";
const NOT_DESIRED: &str = "must be properties.desired or a path below it";

fn overlap(member: &str, path: &SettingPath) -> ContentError {
    ContentError::Overlap {
        member: member.to_owned(),
        path: path.to_string(),
    }
}

/// The whole content of a configuration. compat: CFG-6
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Content {
    /// For devices.
    pub device: Settings,
    /// For modules that the condition selects.
    pub module: Settings,
    /// For the modules, by name, of edge devices that the condition selects.
    pub modules: BTreeMap<ModuleId, Settings>,
}

impl Content {
    /// Reads the text. Members that it does not know are passed over.
    pub fn parse(text: &JsonText) -> Result<Self, ContentError> {
        let Ok(Value::Object(members)) = serde_json::from_str(text.as_str()) else {
            return Err(not_an_object("content"));
        };
        let part = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(paths)) => Ok(Some(paths)),
            Some(_) => Err(not_an_object(name)),
        };
        let settings = |name: &str| {
            part(name)?.map_or(Ok(Settings::default()), |paths| {
                Settings::parse(name, paths)
            })
        };
        let (device, module) = (settings("deviceContent")?, settings("moduleContent")?);
        let mut modules = BTreeMap::new();
        for (name, paths) in part("modulesContent")?.into_iter().flatten() {
            let member = format!("modulesContent.{name}");
            let id = ModuleId::parse(name).map_err(ContentError::Module)?;
            let Value::Object(paths) = paths else {
                return Err(not_an_object(&member));
            };
            modules.insert(id, Settings::parse(&member, paths)?);
        }
        let is_for_devices = !device.is_empty() || !modules.is_empty();
        if !module.is_empty() && is_for_devices {
            return Err(ContentError::Mixed);
        }
        Ok(Self {
            device,
            module,
            modules,
        })
    }

    /// Whether its condition selects modules.
    pub fn is_for_modules(&self) -> bool {
        !self.module.is_empty()
    }

    /// Whether it is for edge devices alone.
    pub fn is_for_edge(&self) -> bool {
        !self.modules.is_empty() && self.device.is_empty()
    }
}

fn not_an_object(member: &str) -> ContentError {
    ContentError::NotAnObject {
        member: member.to_owned(),
    }
}

/// Why a content cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A part that must be an object is something else.
    #[error("{member} must be an object")]
    NotAnObject {
        /// Which part.
        member: String,
    },
    /// A path that leads nowhere it may.
    #[error("{member}: the path '{path}' {problem}")]
    Path {
        /// In which part.
        member: String,
        /// The path.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A module that cannot be.
    #[error("modulesContent: the {0}")]
    Module(#[source] IdError),
    /// One value is written twice.
    #[error("{member} writes 'properties.desired.{path}' twice")]
    Overlap {
        /// In which part.
        member: String,
        /// Where.
        path: String,
    },
    /// No twin can hold it.
    #[error("{member}: {source}")]
    Twin {
        /// In which part.
        member: String,
        /// Which rule it breaks.
        source: TwinError,
    },
    /// Devices and modules cannot be selected by one condition.
    #[error("moduleContent cannot stand beside deviceContent or modulesContent")]
    Mixed,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(content: Value) -> Result<Content, ContentError> {
        Content::parse(&JsonText::parse(content.to_string().as_bytes()).unwrap())
    }

    fn leaves(settings: &Settings) -> Vec<(String, Value)> {
        let shown = |(path, value): (&SettingPath, &Value)| (path.to_string(), value.clone());
        settings.leaves.iter().map(shown).collect()
    }

    #[test]
    fn objects_are_taken_apart_down_to_their_leaves() {
        let content = parse(json!({"deviceContent": {
            "properties.desired.chiller": {"temp": 38, "fan": {"on": true}, "old": null, "x": {}},
            "properties.desired.rooms": [1, {"a": null}],
        }, "moduleContent": null, "note": 3}))
        .unwrap();
        assert_eq!(
            leaves(&content.device),
            [
                ("chiller.fan.on".to_owned(), json!(true)),
                ("chiller.old".to_owned(), json!(null)),
                ("chiller.temp".to_owned(), json!(38)),
                ("chiller.x".to_owned(), json!({})),
                ("rooms".to_owned(), json!([1, {"a": null}])),
            ]
        );
        assert!(!content.device.is_whole && !content.is_for_modules() && !content.is_for_edge());
    }

    #[test]
    fn edge_content_names_modules_and_may_name_the_whole_section() {
        let content = parse(json!({"modulesContent": {
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0", "modules": {}}},
            "filter": {"properties.desired.rate": 5},
        }}))
        .unwrap();
        assert!(content.is_for_edge());
        let agent = &content.modules[&ModuleId::parse("$edgeAgent").unwrap()];
        assert!(agent.is_whole && agent.leaves.len() == 2);
        assert!(!content.modules[&ModuleId::parse("filter").unwrap()].is_whole);
    }

    #[test]
    fn a_content_outside_the_rules_is_refused_with_its_place() {
        let cases = [
            (json!([]), "content must be an object"),
            (
                json!({"modulesContent": "x"}),
                "modulesContent must be an object",
            ),
            (
                json!({"modulesContent": {"m": 1}}),
                "modulesContent.m must be an object",
            ),
            (
                json!({"modulesContent": {"a b": {}}}),
                "modulesContent: the module id has the character ' '",
            ),
            (
                json!({"deviceContent": {"tags.a": 1}}),
                "deviceContent: the path 'tags.a' must be properties.desired",
            ),
            (
                json!({"deviceContent": {"properties.desiredx": 1}}),
                "deviceContent: the path 'properties.desiredx' must be",
            ),
            (
                json!({"deviceContent": {"properties.desired": 1}}),
                "deviceContent: the path 'properties.desired' must be an object",
            ),
            (
                json!({"deviceContent": {"properties.desired.$version": 1}}),
                "deviceContent: the path 'properties.desired.$version' names",
            ),
            (
                json!({"deviceContent": {"properties.desired.a..b": 1}}),
                "deviceContent: the key \"\" below properties.desired.a is empty",
            ),
            (
                json!({"deviceContent": {"properties.desired.a": {"b": 1}, "properties.desired.a.b": 2}}),
                "deviceContent writes 'properties.desired.a.b' twice",
            ),
            (
                json!({"deviceContent": {"properties.desired.a": 1, "properties.desired.a.b": 2}}),
                "deviceContent writes 'properties.desired.a.b' twice",
            ),
            (
                json!({"deviceContent": {"properties.desired.a": vec!["x".repeat(4_000); 9]}}),
                "deviceContent: properties.desired would have 36001 bytes",
            ),
            (
                json!({"deviceContent": {"properties.desired.a": 1}, "moduleContent": {"properties.desired.a": 1}}),
                "moduleContent cannot stand beside",
            ),
        ];
        for (content, message) in cases {
            let error = parse(content.clone()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{content}: {error}");
        }
    }
}
