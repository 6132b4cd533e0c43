//! The stored shapes of configurations: what an owner set, what was counted, what an identity was given.

use std::collections::BTreeMap;

use fanfare_hub::{
    configurations::{
        Applied, Assigned, ConfigurationNumber, ConfigurationResults, ConfigurationSettings,
        ConfigurationStatus, content::SettingPath,
    },
    ids::Etag,
    json::JsonText,
    ports::store::StoreError,
};
use serde::{Deserialize, Serialize};

use crate::record::{corrupt, open_value, seal_value};

const WHAT: &str = "a configuration record";
const WHAT_APPLIED: &str = "a record of applied configurations";
const WHAT_RESULTS: &str = "a record of configuration results";
const VERSION: u8 = 1;
const APPLIED_VERSION: u8 = 1;
const RESULTS_VERSION: u8 = 1;

/// Version 1, in postcard. Never change it: a new shape is a new version.
#[derive(Serialize, Deserialize)]
struct SettingsRecord {
    schema_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    content: Option<String>,
    condition: String,
    priority: u32,
    metrics: BTreeMap<String, String>,
    others: BTreeMap<String, String>,
}

/// Packs what an owner set.
pub(super) fn pack_settings(settings: &ConfigurationSettings) -> Vec<u8> {
    let text = |json: &JsonText| json.as_str().to_owned();
    let others = settings.others.iter();
    seal_value(
        VERSION,
        &SettingsRecord {
            schema_version: settings.schema_version.clone(),
            labels: settings.labels.clone(),
            content: settings.content.as_ref().map(text),
            condition: settings.condition.clone(),
            priority: settings.priority,
            metrics: settings.metrics.clone(),
            others: others
                .map(|(name, json)| (name.clone(), text(json)))
                .collect(),
        },
    )
}

/// The inverse of [`pack_settings`].
pub(super) fn unpack_settings(bytes: &[u8]) -> Result<ConfigurationSettings, StoreError> {
    let record: SettingsRecord = open_value(WHAT, VERSION, bytes)?;
    let json = |text: String| {
        JsonText::parse(text.as_bytes()).ok_or_else(|| corrupt(WHAT, "has a part that is not JSON"))
    };
    let others = record.others.into_iter();
    Ok(ConfigurationSettings {
        schema_version: record.schema_version,
        labels: record.labels,
        content: record.content.map(json).transpose()?,
        condition: record.condition,
        priority: record.priority,
        metrics: record.metrics,
        others: others
            .map(|(name, text)| Ok((name, json(text)?)))
            .collect::<Result<_, StoreError>>()?,
    })
}

/// Version 1, in postcard.
#[derive(Serialize, Deserialize)]
struct AppliedRecord {
    /// Number, version of the content, whether it is applied (else only targeted).
    configurations: Vec<(u64, u64, bool)>,
    paths: Vec<String>,
    is_refused: bool,
}

/// Packs what an identity was given.
pub(super) fn pack_applied(applied: &Applied) -> Vec<u8> {
    let assigned = |assigned: &Assigned| {
        let is_applied = assigned.status == ConfigurationStatus::Applied;
        (assigned.number.0, assigned.content_version.0, is_applied)
    };
    seal_value(
        APPLIED_VERSION,
        &AppliedRecord {
            configurations: applied.configurations.iter().map(assigned).collect(),
            paths: applied.paths.iter().map(ToString::to_string).collect(),
            is_refused: applied.is_refused,
        },
    )
}

/// The inverse of [`pack_applied`].
pub(super) fn unpack_applied(bytes: &[u8]) -> Result<Applied, StoreError> {
    let record: AppliedRecord = open_value(WHAT_APPLIED, APPLIED_VERSION, bytes)?;
    let assigned = |(number, content_version, is_applied)| Assigned {
        number: ConfigurationNumber(number),
        content_version: Etag(content_version),
        status: match is_applied {
            true => ConfigurationStatus::Applied,
            false => ConfigurationStatus::Targeted,
        },
    };
    let paths = record.paths.iter();
    Ok(Applied {
        configurations: record.configurations.into_iter().map(assigned).collect(),
        paths: paths.map(|path| SettingPath::parse(path)).collect(),
        is_refused: record.is_refused,
    })
}

/// Version 1, in postcard.
#[derive(Serialize, Deserialize)]
struct ResultsRecord {
    targeted: u64,
    applied: u64,
    reported_successful: u64,
    reported_failed: u64,
    metrics: BTreeMap<String, u64>,
}

/// Packs what was counted.
pub(super) fn pack_results(results: &ConfigurationResults) -> Vec<u8> {
    seal_value(
        RESULTS_VERSION,
        &ResultsRecord {
            targeted: results.targeted,
            applied: results.applied,
            reported_successful: results.reported_successful,
            reported_failed: results.reported_failed,
            metrics: results.metrics.clone(),
        },
    )
}

/// The inverse of [`pack_results`].
pub(super) fn unpack_results(bytes: &[u8]) -> Result<ConfigurationResults, StoreError> {
    let record: ResultsRecord = open_value(WHAT_RESULTS, RESULTS_VERSION, bytes)?;
    Ok(ConfigurationResults {
        targeted: record.targeted,
        applied: record.applied,
        reported_successful: record.reported_successful,
        reported_failed: record.reported_failed,
        metrics: record.metrics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS_V1: &[u8] = include_bytes!("../../../tests/golden/configuration-v1.bin");
    const APPLIED_V1: &[u8] = include_bytes!("../../../tests/golden/configuration-applied-v1.bin");
    const RESULTS_V1: &[u8] = include_bytes!("../../../tests/golden/configuration-results-v1.bin");

    fn settings() -> ConfigurationSettings {
        let json = |text: &str| JsonText::parse(text.as_bytes()).unwrap();
        ConfigurationSettings {
            schema_version: Some("1.0".into()),
            labels: Some(BTreeMap::from([("größe".into(), "a".into())])),
            content: Some(json(r#"{"deviceContent": {"properties.desired.a":1.50}}"#)),
            condition: "tags.site='b4'".into(),
            priority: 10,
            metrics: BTreeMap::from([("all".into(), "SELECT deviceId FROM devices".into())]),
            others: BTreeMap::from([("note".into(), json("[1, 2]"))]),
        }
    }

    fn applied() -> Applied {
        let assigned = |number, status| Assigned {
            number: ConfigurationNumber(number),
            content_version: Etag(number + 1),
            status,
        };
        Applied {
            configurations: vec![
                assigned(300, ConfigurationStatus::Applied),
                assigned(2, ConfigurationStatus::Targeted),
            ],
            paths: vec![SettingPath::parse("a.b"), SettingPath::parse("größe")],
            is_refused: true,
        }
    }

    fn results() -> ConfigurationResults {
        ConfigurationResults {
            targeted: 1_000_000,
            applied: 999,
            reported_successful: 3,
            reported_failed: 4,
            metrics: BTreeMap::from([("all".into(), 7)]),
        }
    }

    #[test]
    fn version_1_still_loads() {
        assert_eq!(unpack_settings(SETTINGS_V1).unwrap(), settings());
        assert_eq!(unpack_applied(APPLIED_V1).unwrap(), applied());
        assert_eq!(unpack_results(RESULTS_V1).unwrap(), results());
    }

    #[test]
    fn version_1_is_what_is_written() {
        assert_eq!(pack_settings(&settings()), SETTINGS_V1);
        assert_eq!(pack_applied(&applied()), APPLIED_V1);
        assert_eq!(pack_results(&results()), RESULTS_V1);
    }
}
