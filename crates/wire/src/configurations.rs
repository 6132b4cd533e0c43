//! Configurations: the document as its owner sends it and gets it back, and what goes around it.
//!
//! The content is kept as text, byte for byte; so is every member that the contract does not know. What
//! only the hub may set (times, counts, etag) is passed over when it is sent.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Timestamp, field, json, twin};

/// The body of `PUT /configurations/{id}`. compat: CFG-2
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationRequest {
    /// Repeats the path, or is left out.
    #[serde(default)]
    pub id: Option<String>,
    /// The version of the document's shape.
    #[serde(default)]
    pub schema_version: Option<String>,
    /// Names and texts.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// What is written to twins, as it was written.
    #[serde(default, deserialize_with = "content")]
    pub content: Option<Box<RawValue>>,
    /// Which identities it is for.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub target_condition: String,
    /// The higher one wins.
    #[serde(default, deserialize_with = "field::whole_number")]
    pub priority: Option<u64>,
    /// Custom metrics; only the queries are read.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub metrics: MetricQueries,
}

/// The part of `metrics` that its owner sets.
#[derive(Debug, Default, Deserialize)]
pub struct MetricQueries {
    /// Name and query.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub queries: BTreeMap<String, String>,
}

/// The members of a request that the contract does not know, as they were written.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<String, Box<RawValue>>")]
pub struct UnknownMembers(pub BTreeMap<String, Box<RawValue>>);

const KNOWN: [&str; 12] = [
    "id",
    "schemaVersion",
    "labels",
    "content",
    "contentType",
    "targetCondition",
    "createdTimeUtc",
    "lastUpdatedTimeUtc",
    "priority",
    "systemMetrics",
    "metrics",
    "etag",
];

impl From<BTreeMap<String, Box<RawValue>>> for UnknownMembers {
    fn from(mut members: BTreeMap<String, Box<RawValue>>) -> Self {
        members.retain(|name, _| !KNOWN.contains(&name.as_str()));
        Self(members)
    }
}

/// A content kept as text: an object, not too deep, without numbers that reading would round.
fn content<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let raw = json::payload(input)?;
    if let Some(raw) = &raw {
        twin::section(&mut serde_json::Deserializer::from_str(raw.get()))
            .map_err(D::Error::custom)?;
    }
    Ok(raw)
}

/// The body of `POST /devices/{id}/applyConfigurationContent`: a content, bare or as the member of that
/// name. compat: CFG-14
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct ContentRequest {
    #[serde(deserialize_with = "content")]
    body: Option<Box<RawValue>>,
}

impl ContentRequest {
    /// The content, as it was written; `None` for null.
    pub fn content(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Wrapped {
            content: Box<RawValue>,
        }
        let body = self.body.as_ref()?.get();
        let wrapped = serde_json::from_str::<Wrapped>(body);
        Some(wrapped.map_or_else(
            |_| body.to_owned(),
            |wrapped| wrapped.content.get().to_owned(),
        ))
    }
}

/// Counts and the queries behind them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationMetrics {
    /// Name and count.
    pub results: BTreeMap<String, u64>,
    /// Name and query.
    pub queries: BTreeMap<String, String>,
}

/// A configuration as the service shows it. compat: CFG-5
#[derive(Debug)]
pub struct ConfigurationDocument {
    /// Its name.
    pub id: String,
    /// The version of the document's shape.
    pub schema_version: String,
    /// Names and texts.
    pub labels: Option<BTreeMap<String, String>>,
    /// As it was sent.
    pub content: Option<Box<RawValue>>,
    /// As it was sent.
    pub target_condition: String,
    /// When it was created.
    pub created_time_utc: Timestamp,
    /// When it was last changed.
    pub last_updated_time_utc: Timestamp,
    /// The higher one wins.
    pub priority: u32,
    /// Counts that every configuration has.
    pub system_metrics: ConfigurationMetrics,
    /// Counts that its owner asked for.
    pub metrics: ConfigurationMetrics,
    /// Moves with every change.
    pub etag: String,
    /// Members that the contract does not know, as they were sent.
    pub others: BTreeMap<String, Box<RawValue>>,
}

impl Serialize for ConfigurationDocument {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let mut map = output.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("schemaVersion", &self.schema_version)?;
        map.serialize_entry("labels", &self.labels)?;
        map.serialize_entry("content", &self.content)?;
        map.serialize_entry("targetCondition", &self.target_condition)?;
        map.serialize_entry("createdTimeUtc", &self.created_time_utc)?;
        map.serialize_entry("lastUpdatedTimeUtc", &self.last_updated_time_utc)?;
        map.serialize_entry("priority", &self.priority)?;
        map.serialize_entry("systemMetrics", &self.system_metrics)?;
        map.serialize_entry("metrics", &self.metrics)?;
        map.serialize_entry("etag", &self.etag)?;
        for (name, value) in &self.others {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The body of `POST /configurations/testQueries`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestQueriesRequest {
    /// A target condition.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub target_condition: String,
    /// Name and query.
    #[serde(default, deserialize_with = "field::null_as_default")]
    pub custom_metric_queries: BTreeMap<String, String>,
}

/// The answer to it: empty where nothing is wrong. compat: CFG-13
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestQueriesResult {
    /// What is wrong with the condition.
    pub target_condition_error: String,
    /// What is wrong with each query that is not well.
    pub custom_metric_query_errors: BTreeMap<String, String>,
}

/// A configuration in a twin. compat: CFG-9
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationState {
    /// `Applied` or `Targeted`.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn a_content_stays_as_it_was_written() {
        let body = br#"{"id":"a","content":{ "deviceContent" :{"properties.desired.z":1.50,"properties.desired.a":null} },
            "priority":"7","labels":null,"metrics":{"results":{"x":1},"queries":null},"etag":"*","note":[1, 2]}"#;
        let request: ConfigurationRequest = decode(body).unwrap();
        let text = request.content.unwrap();
        assert_eq!(
            text.get(),
            r#"{ "deviceContent" :{"properties.desired.z":1.50,"properties.desired.a":null} }"#
        );
        assert_eq!((request.priority, request.labels), (Some(7), None));
        assert!(request.metrics.queries.is_empty() && request.target_condition.is_empty());
        let UnknownMembers(others) = decode(body).unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|(name, raw)| (name.as_str(), raw.get()))
            .collect();
        assert_eq!(others, [("note", "[1, 2]")]);
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (body, member) in [
            (r#"{"content":"text"}"#, "content"),
            (r#"{"content":{"a":99999999999999999999}}"#, "content"),
            (r#"{"priority":-1}"#, "priority"),
            (r#"{"priority":"high"}"#, "priority"),
            (r#"{"labels":{"a":1}}"#, "labels.a"),
            (r#"{"targetCondition":1}"#, "targetCondition"),
            (r#"{"metrics":{"queries":{"a":1}}}"#, "metrics.queries.a"),
            ("[]", "body"),
        ] {
            let error = decode::<ConfigurationRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(error.code().name(), "ArgumentInvalid", "{body}");
            assert!(error.to_string().starts_with(member), "{body}: {error}");
        }
    }

    #[test]
    fn a_content_by_hand_may_be_wrapped() {
        for body in [
            r#"{"modulesContent":{"m":{}}}"#,
            r#"{"content":{"modulesContent":{"m":{}}}}"#,
        ] {
            let request: ContentRequest = decode(body.as_bytes()).unwrap();
            assert_eq!(request.content().unwrap(), r#"{"modulesContent":{"m":{}}}"#);
        }
        let null: ContentRequest = decode(b"null").unwrap();
        assert_eq!(null.content(), None);
    }

    #[test]
    fn a_document_prints_with_its_content_and_unknown_members_untouched() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let document = ConfigurationDocument {
            id: "a".into(),
            schema_version: "1.0".into(),
            labels: None,
            content: Some(raw(r#"{ "z":1.50 }"#)),
            target_condition: "*".into(),
            created_time_utc: Timestamp::from_micros(0),
            last_updated_time_utc: Timestamp::from_micros(0),
            priority: 3,
            system_metrics: ConfigurationMetrics::default(),
            metrics: ConfigurationMetrics::default(),
            etag: "MQ==".into(),
            others: BTreeMap::from([("note".to_owned(), raw("[1, 2]"))]),
        };
        let text = serde_json::to_string(&document).unwrap();
        let start = r#"{"id":"a","schemaVersion":"1.0","labels":null,"content":{ "z":1.50 },"targetCondition":"*","#;
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with(r#""etag":"MQ==","note":[1, 2]}"#), "{text}");
    }
}
