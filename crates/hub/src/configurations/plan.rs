//! All configurations of a hub, parsed once for a pass: who matches what, and what that comes to.
//!
//! Pure. Precedence is decided here: the higher priority first, among equals the one created later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    assignment::Assignment,
    condition::{parse_condition, parse_metric},
    configuration::{Configuration, ConfigurationNumber},
    content::{Content, Settings},
    system_metrics,
};
use crate::{
    ids::{Etag, ModuleId, Space},
    query::{Condition, Document, Path, Query, RootField, Source, Value},
};

/// The configurations that match one identity, one bit each, in order of precedence.
pub(super) type Mask = u128;

/// What matches, and the module it is for.
type Combination = (Mask, Option<ModuleId>);

/// Everything a pass needs to know.
pub(super) struct Plan {
    entries: Vec<Entry>,
    metrics: Vec<Metric>,
    /// Fleets have few different combinations, so each is laid over once.
    made: Mutex<HashMap<Combination, Arc<Assignment>>>,
}

struct Entry {
    number: ConfigurationNumber,
    content_version: Etag,
    condition: Option<Condition>,
    content: Content,
}

/// A query whose rows are counted.
pub(super) struct Metric {
    /// Whose.
    pub(super) number: ConfigurationNumber,
    /// Which.
    pub(super) kind: MetricKind,
    query: Query,
}

/// Where a count belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetricKind {
    /// A custom metric of this name.
    Custom(String),
    ReportedSuccessful,
    ReportedFailed,
}

/// Combinations that are remembered.
const MADE_MAX: usize = 1_024;

impl Plan {
    /// Of all configurations there are, at most as many as a [`Mask`] has bits.
    pub(super) fn new(configurations: &[Configuration]) -> Self {
        debug_assert!(
            configurations.len() <= Mask::BITS as usize,
            "there are at most 100"
        );
        let mut ordered: Vec<_> = configurations.iter().collect();
        ordered.sort_by_key(|c| std::cmp::Reverse((c.settings.priority, c.number)));
        let entries: Vec<_> = ordered
            .iter()
            .map(|configuration| entry(configuration))
            .collect();
        let metrics = ordered
            .iter()
            .zip(&entries)
            .flat_map(|(configuration, entry)| metrics(configuration, &entry.content))
            .collect();
        Self {
            entries,
            metrics,
            made: Mutex::default(),
        }
    }

    /// Whether there is no configuration at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many configurations there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Which configuration a bit stands for.
    pub(super) fn number(&self, place: usize) -> ConfigurationNumber {
        self.entries[place].number
    }

    /// The bit of a configuration.
    pub(super) fn place(&self, number: ConfigurationNumber) -> Option<usize> {
        self.entries.iter().position(|entry| entry.number == number)
    }

    /// Whether its count of modules is one of their devices.
    pub(super) fn counts_devices(&self, place: usize) -> bool {
        !self.entries[place].content.modules.is_empty()
    }

    /// Whether any configuration can match or write identities of this space.
    pub(super) fn reaches(&self, space: Space) -> bool {
        let reaches = |entry: &Entry| match (&entry.condition, space) {
            (None, _) => false,
            (Some(condition), _) if is_of(condition.source(), space) => true,
            (Some(_), _) => space == Space::Modules && !entry.content.modules.is_empty(),
        };
        self.entries.iter().any(reaches)
    }

    /// Whether anything is written to modules because of their device.
    pub(super) fn has_modules_by_device(&self) -> bool {
        let has = |entry: &Entry| entry.condition.is_some() && !entry.content.modules.is_empty();
        self.entries.iter().any(has)
    }

    /// The configurations whose condition selects this identity.
    pub(super) fn matches(&self, space: Space, document: &impl Document) -> Mask {
        let mut is_edge = None;
        let mut is_edge = || *is_edge.get_or_insert_with(|| is_true(document, RootField::IotEdge));
        let mut mask = 0;
        for (place, entry) in self.entries.iter().enumerate() {
            let Some(condition) = entry.condition.as_ref() else {
                continue;
            };
            if is_of(condition.source(), space)
                && condition.matches(document)
                && (!entry.content.is_for_edge() || is_edge())
            {
                mask |= 1 << place;
            }
        }
        mask
    }

    /// What a device should have.
    pub(super) fn for_device(&self, matched: Mask) -> Arc<Assignment> {
        self.made(matched, None, |entry| {
            (!entry.content.is_for_edge()).then_some(&entry.content.device)
        })
    }

    /// What a module should have: `own` match itself, `device` its edge device.
    pub(super) fn for_module(&self, module: &ModuleId, own: Mask, device: Mask) -> Arc<Assignment> {
        self.made(own | device, Some(module), |entry| {
            match entry.condition.as_ref().map(Condition::source) {
                Some(Source::Modules) => Some(&entry.content.module),
                _ => entry.content.modules.get(module),
            }
        })
    }

    fn made<'s>(
        &'s self,
        mask: Mask,
        module: Option<&ModuleId>,
        settings: impl Fn(&'s Entry) -> Option<&'s Settings>,
    ) -> Arc<Assignment> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (mask, module.cloned());
        if let Some(known) = made.get(&key) {
            return known.clone();
        }
        let in_order = self.entries.iter().enumerate();
        let matching = in_order.filter(|(place, _)| mask & (1 << place) != 0);
        let assignment = Arc::new(Assignment::of(matching.filter_map(|(_, entry)| {
            Some((entry.number, entry.content_version, settings(entry)?))
        })));
        if made.len() >= MADE_MAX {
            made.clear();
        }
        made.insert(key, assignment.clone());
        assignment
    }

    /// Which metrics are counted over a space; their places in [`Plan::metric`].
    pub(super) fn metrics_of(&self, space: Space) -> Vec<usize> {
        let all = self.metrics.iter().enumerate();
        all.filter(|(_, metric)| is_of(metric.query.source(), space))
            .map(|(place, _)| place)
            .collect()
    }

    /// One metric.
    pub(super) fn metric(&self, place: usize) -> &Metric {
        &self.metrics[place]
    }

    /// How many metrics there are.
    pub(super) fn metric_count(&self) -> usize {
        self.metrics.len()
    }
}

impl Metric {
    /// Whether a row counts.
    pub(super) fn counts(&self, document: &impl Document) -> bool {
        self.query.matches(document)
    }

    /// The count as the query would show it.
    pub(super) fn shown(&self, rows: u64) -> u64 {
        self.query.top().map_or(rows, |top| rows.min(top))
    }
}

fn entry(configuration: &Configuration) -> Entry {
    let settings = &configuration.settings;
    let content = settings.content.as_ref();
    let content = content.map_or(Ok(Content::default()), Content::parse);
    let parsed =
        content
            .map_err(|error| error.to_string())
            .and_then(
                |content| match parse_condition(&settings.condition, &content) {
                    Ok(condition) => Ok((content, condition)),
                    Err(error) => Err(error.to_string()),
                },
            );
    // It was readable when it was accepted.
    let (content, condition) = parsed.unwrap_or_else(|error| {
        tracing::error!(configuration.id = %configuration.id, %error, "a stored configuration cannot be read and selects nothing");
        Default::default()
    });
    Entry {
        number: configuration.number,
        content_version: configuration.content_version,
        condition,
        content,
    }
}

fn metrics(configuration: &Configuration, content: &Content) -> Vec<Metric> {
    let metric = |kind, text: &str| {
        Some(Metric {
            number: configuration.number,
            kind,
            query: parse_metric(text).ok()?,
        })
    };
    let custom = configuration.settings.metrics.iter();
    let mut all: Vec<_> = custom
        .filter_map(|(name, text)| metric(MetricKind::Custom(name.clone()), text))
        .collect();
    for (name, text) in system_metrics::queries(configuration, content) {
        all.extend(match name {
            system_metrics::REPORTED_SUCCESSFUL => metric(MetricKind::ReportedSuccessful, &text),
            system_metrics::REPORTED_FAILED => metric(MetricKind::ReportedFailed, &text),
            _ => None,
        });
    }
    all
}

fn is_of(source: Source, space: Space) -> bool {
    matches!(
        (source, space),
        (Source::Devices, Space::Devices) | (Source::Modules, Space::Modules)
    )
}

fn is_true(document: &impl Document, field: RootField) -> bool {
    document.value(&Path::Field(field)) == Value::Bool(true)
}
