//! The queries behind the metrics that every configuration has, as its document shows them.

use std::collections::BTreeMap;

use super::{configuration::Configuration, content::Content};
use crate::query::{Condition, Source};

/// Identities that match.
pub const TARGETED: &str = "targetedCount";
/// Identities on which it is applied.
pub const APPLIED: &str = "appliedCount";
/// Edge devices whose agent reported success.
pub const REPORTED_SUCCESSFUL: &str = "reportedSuccessfulCount";
/// Edge devices whose agent reported a failure.
pub const REPORTED_FAILED: &str = "reportedFailedCount";

/// The queries by name. compat: CFG-10
pub fn queries(configuration: &Configuration, content: &Content) -> BTreeMap<&'static str, String> {
    let id = &configuration.id;
    let condition = configuration.settings.condition.trim();
    let applied = |source: &str, more: &str| {
        format!(
            "select deviceId from {source} where {more}configurations.[[{id}]].status = 'Applied'"
        )
    };
    if content.is_for_edge() {
        let agent = applied("devices.modules", "moduleId = '$edgeAgent' and ");
        let reported = |code: &str| {
            format!(
                "{agent} and properties.desired.$version = properties.reported.lastDesiredVersion \
                 and properties.reported.lastDesiredStatus.code {code}"
            )
        };
        let targeted = match condition {
            "" => String::new(),
            "*" => "select deviceId from devices where capabilities.iotEdge = true".to_owned(),
            some => format!(
                "select deviceId from devices where capabilities.iotEdge = true and ({some})"
            ),
        };
        return BTreeMap::from([
            (TARGETED, targeted),
            (REPORTED_SUCCESSFUL, reported("= 200")),
            (REPORTED_FAILED, reported("!= 200")),
            (APPLIED, agent),
        ]);
    }
    let is_of_modules =
        Condition::parse(condition).is_ok_and(|parsed| parsed.source() == Source::Modules);
    let targeted = match condition {
        "" => String::new(),
        "*" => "select deviceId from devices".to_owned(),
        some if is_of_modules => format!("select deviceId, moduleId {some}"),
        some => format!("select deviceId from devices where {some}"),
    };
    let applied = match is_of_modules {
        true => applied("devices.modules", "").replacen("deviceId", "deviceId, moduleId", 1),
        false => applied("devices", ""),
    };
    BTreeMap::from([(TARGETED, targeted), (APPLIED, applied)])
}
