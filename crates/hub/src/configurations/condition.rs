//! Target conditions and metric queries: texts of the query language that fit what they are for.

use super::content::Content;
use crate::query::{Condition, Query, QueryError, Source};

/// Why a target condition cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is no condition.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It selects devices for what is written to modules.
    #[error(
        "a configuration with moduleContent needs a condition that begins with FROM devices.modules WHERE"
    )]
    Devices,
    /// It selects modules for what is written to devices.
    #[error("FROM devices.modules selects modules, but the content is for devices")]
    Modules,
}

/// Reads a target condition; `None` for an empty one, which selects nothing. compat: CFG-4
pub fn parse_condition(text: &str, content: &Content) -> Result<Option<Condition>, ConditionError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let condition = Condition::parse(text)?;
    let is_of_modules = condition.source() == Source::Modules;
    match (content.is_for_modules(), is_of_modules) {
        (true, false) => Err(ConditionError::Devices),
        (false, true) if *content != Content::default() => Err(ConditionError::Modules),
        _ => Ok(Some(condition)),
    }
}

/// Why a metric cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// It is no query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It reads jobs.
    #[error("a metric reads devices or devices.modules")]
    Jobs,
}

/// Reads a metric's query. compat: CFG-11
pub fn parse_metric(text: &str) -> Result<Query, MetricError> {
    let query = Query::parse(text)?;
    match query.source() {
        Source::Devices | Source::Modules => Ok(query),
        _ => Err(MetricError::Jobs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_and_condition_must_agree() {
        let parse = |text: &str| crate::json::JsonText::parse(text.as_bytes()).unwrap();
        let devices = Content::parse(&parse(r#"{"deviceContent":{"properties.desired.a":1}}"#));
        let modules = Content::parse(&parse(r#"{"moduleContent":{"properties.desired.a":1}}"#));
        let (devices, modules) = (devices.unwrap(), modules.unwrap());
        let of_modules = "FROM devices.modules WHERE tags.a = 1";
        assert_eq!(parse_condition(" ", &modules), Ok(None));
        for text in ["*", "configurations.[[a]].status = 'Applied'"] {
            assert!(parse_condition(text, &devices).is_ok(), "{text}");
        }
        assert!(parse_condition(of_modules, &modules).is_ok());
        assert_eq!(parse_condition("*", &modules), Err(ConditionError::Devices));
        assert_eq!(
            parse_condition(of_modules, &devices),
            Err(ConditionError::Modules)
        );
        assert!(matches!(
            parse_condition("tags.a =", &devices),
            Err(ConditionError::Query(_))
        ));
        assert_eq!(
            parse_metric("SELECT * FROM devices.jobs"),
            Err(MetricError::Jobs)
        );
    }
}
