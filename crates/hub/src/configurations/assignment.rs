//! Decides what the configurations that match one identity write to its twin, and which patch brings the
//! twin there. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    configuration::{ConfigurationNumber, ConfigurationStatus},
    content::{SettingPath, Settings, set},
};
use crate::{
    ids::Etag,
    twin::document::{Object, SectionPatch, TwinError, TwinPatch},
};

/// One configuration on one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub number: ConfigurationNumber,
    /// With which content.
    pub content_version: Etag,
    /// How far it came.
    pub status: ConfigurationStatus,
}

/// What one identity should have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assignment {
    configurations: Vec<Assigned>,
    leaves: BTreeMap<SettingPath, Value>,
}

/// What one identity was given: remembered beside its twin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The configurations that match, highest precedence first.
    pub configurations: Vec<Assigned>,
    /// What they wrote, in order.
    pub paths: Vec<SettingPath>,
    /// The twin could not take it; it is as it was before, and every pass tries again.
    pub is_refused: bool,
}

impl Assignment {
    /// Lays configurations over each other, highest precedence first. compat: CFG-7
    pub fn of<'a>(
        in_order: impl IntoIterator<Item = (ConfigurationNumber, Etag, &'a Settings)>,
    ) -> Self {
        let mut all = Self::default();
        let mut is_closed = false;
        for (number, content_version, settings) in in_order {
            let mut is_in_force = settings.leaves.is_empty();
            for (path, value) in &settings.leaves {
                if !is_closed && !all.touches(path) {
                    all.leaves.insert(path.clone(), value.clone());
                    is_in_force = true;
                }
            }
            all.configurations.push(Assigned {
                number,
                content_version,
                status: if is_in_force && !is_closed {
                    ConfigurationStatus::Applied
                } else {
                    ConfigurationStatus::Targeted
                },
            });
            is_closed |= settings.is_whole;
        }
        all
    }

    /// The configurations in it, highest precedence first.
    pub fn configurations(&self) -> &[Assigned] {
        &self.configurations
    }

    /// Whether `before` is exactly this, so that nothing has to be done.
    pub fn is_done(&self, before: &Applied) -> bool {
        !before.is_refused && before.configurations == self.configurations
    }

    /// The record of a success; `None` when there is nothing to remember.
    pub fn applied(&self) -> Option<Applied> {
        let is_written = |(_, value): &(&SettingPath, &Value)| !value.is_null();
        let paths = self.leaves.iter().filter(is_written);
        (!self.configurations.is_empty()).then(|| Applied {
            configurations: self.configurations.clone(),
            paths: paths.map(|(path, _)| path.clone()).collect(),
            is_refused: false,
        })
    }

    /// The record of a refusal: what was there before stays written.
    pub fn refused(&self, before: Applied) -> Applied {
        let targeted = |assigned: &Assigned| Assigned {
            status: ConfigurationStatus::Targeted,
            ..*assigned
        };
        Applied {
            configurations: self.configurations.iter().map(targeted).collect(),
            paths: before.paths,
            is_refused: true,
        }
    }

    /// The patch that takes back what only `before` wrote and writes what is missing or different; `None`
    /// when `desired` is right as it is. compat: CFG-8
    pub fn patch(
        &self,
        before: &[SettingPath],
        desired: &Object,
    ) -> Result<Option<TwinPatch>, TwinError> {
        let mut wanted = desired.clone();
        for path in before {
            if !self.touches(path) || self.is_below_an_empty_object(path) {
                take_back(&mut wanted, path.keys());
            }
        }
        for (path, value) in &self.leaves {
            match value {
                Value::Null => remove(&mut wanted, path.keys()),
                value => set(&mut wanted, path.keys(), value),
            }
        }
        difference(desired, &wanted)
            .map(|members| TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(members)))
            .transpose()
    }

    /// Whether an empty object stands above this path. It keeps what is in an object, so what was written
    /// there before does not go by itself.
    fn is_below_an_empty_object(&self, path: &SettingPath) -> bool {
        path.ancestors()
            .any(|above| self.leaves.get(&above).is_some_and(Value::is_object))
    }

    /// Whether a setting stands at, above or below this path.
    fn touches(&self, path: &SettingPath) -> bool {
        let below = self.leaves.range::<SettingPath, _>(path..).next();
        below.is_some_and(|(next, _)| path.holds(next))
            || path
                .ancestors()
                .any(|above| self.leaves.contains_key(&above))
    }
}

/// The patch that makes a section exactly `settings`, or adds them to it. For content that is applied by
/// hand, once. compat: CFG-14
pub fn patch_by_hand(
    settings: &Settings,
    desired: &Object,
) -> Result<Option<TwinPatch>, TwinError> {
    let everything: Vec<_> = match settings.is_whole {
        true => desired.keys().map(|key| SettingPath::parse(key)).collect(),
        false => Vec::new(),
    };
    let mut cleared = desired.clone();
    for path in &everything {
        remove(&mut cleared, path.keys());
    }
    for (path, value) in &settings.leaves {
        match value {
            Value::Null => remove(&mut cleared, path.keys()),
            value => set(&mut cleared, path.keys(), value),
        }
    }
    difference(desired, &cleared)
        .map(|members| TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(members)))
        .transpose()
}

/// Removes a value, and the objects around it that are empty without it. An object that somebody filled
/// where a value stood is theirs.
fn take_back(from: &mut Object, keys: &[String]) {
    let Some((key, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        let is_theirs = from
            .get(key)
            .and_then(Value::as_object)
            .is_some_and(|o| !o.is_empty());
        if !is_theirs {
            from.remove(key);
        }
    } else if let Some(Value::Object(inner)) = from.get_mut(key) {
        let was_empty = inner.is_empty();
        take_back(inner, rest);
        if inner.is_empty() && !was_empty {
            from.remove(key);
        }
    }
}

fn remove(from: &mut Object, keys: &[String]) {
    let Some((key, rest)) = keys.split_first() else {
        return;
    };
    if rest.is_empty() {
        from.remove(key);
    } else if let Some(Value::Object(inner)) = from.get_mut(key) {
        remove(inner, rest);
    }
}

/// The merge patch that leads from one object to the other; `None` when they are equal.
fn difference(from: &Object, to: &Object) -> Option<Object> {
    let mut patch = Object::new();
    for (key, new) in to {
        match (from.get(key), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                if let Some(inner) = difference(old, new) {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (_, new) => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    patch.extend(gone.map(|key| (key.clone(), Value::Null)));
    (!patch.is_empty()).then_some(patch)
}

#[cfg(test)]
mod tests;
