//! Configurations: desired properties that the hub gives to whatever matches a condition, now and later.

use std::collections::BTreeMap;

use fanfare_wire::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RegistryClient;
use crate::identity::precondition;
use crate::transport::{Method, Repeat, segment};
use crate::words::null_as_default;
use crate::{Error, Etag};

/// A configuration: what is written to twins, and to whose. Members that only the hub sets are not sent; members this
/// library does not name are in `other`, and are.
///
/// ```
/// use fanfare_client::{Configuration, ConfigurationContent};
/// use serde_json::json;
///
/// let content = ConfigurationContent::device("properties.desired.firmware", json!({"version": "1.4"}));
/// let firmware = Configuration::new("firmware-43", content)
///     .target("tags.building = '43'")
///     .priority(10)
///     .label("owner", "facility")
///     .metric("done", "SELECT deviceId FROM devices WHERE properties.reported.firmware = '1.4'");
/// assert_eq!(firmware.target_condition, "tags.building = '43'");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// 1 to 128 lower-case letters, digits and some marks.
    pub id: String,
    /// The version of the document's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// Names and texts, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// What is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ConfigurationContent>,
    /// To whose twins: the condition of a query, `*` for all, empty for none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub target_condition: String,
    /// When it was created (`createdTimeUtc`). Set by the hub.
    #[serde(
        rename = "createdTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub created_time: Option<Timestamp>,
    /// When it was last changed (`lastUpdatedTimeUtc`). Set by the hub.
    #[serde(
        rename = "lastUpdatedTimeUtc",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub last_updated_time: Option<Timestamp>,
    /// Where two write the same value, the higher one wins; 0 to 2,147,483,647.
    #[serde(default, deserialize_with = "null_as_default")]
    pub priority: u32,
    /// Counts that every configuration has. Set by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_metrics: Option<ConfigurationMetrics>,
    /// Counts that its owner asks for; only the queries are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<ConfigurationMetrics>,
    /// Its version.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Etag::is_empty"
    )]
    pub etag: Etag,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a configuration writes: to devices, to the modules of edge devices, or to modules of other devices.
///
/// ```
/// use fanfare_client::ConfigurationContent;
///
/// let content = ConfigurationContent::device("properties.desired.locked", true);
/// assert_eq!(serde_json::to_string(&content)?, r#"{"deviceContent":{"properties.desired.locked":true}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationContent {
    /// Paths below `properties.desired` of devices, and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_content: Option<Map<String, Value>>,
    /// The same for each module of edge devices, by module id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules_content: Option<Map<String, Value>>,
    /// The same for modules that the target condition selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_content: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ConfigurationContent {
    /// One value at a path of devices, such as `properties.desired.firmware`; more are added to `device_content`.
    ///
    /// ```
    /// let content = fanfare_client::ConfigurationContent::device("properties.desired.ring", 2);
    /// assert_eq!(content.device_content.unwrap()["properties.desired.ring"], 2);
    /// ```
    pub fn device(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            device_content: Some(Map::from_iter([(path.into(), value.into())])),
            ..Self::default()
        }
    }

    /// One value at a path of modules.
    ///
    /// ```
    /// let content = fanfare_client::ConfigurationContent::module("properties.desired.ring", 2);
    /// assert!(content.module_content.is_some());
    /// ```
    pub fn module(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            module_content: Some(Map::from_iter([(path.into(), value.into())])),
            ..Self::default()
        }
    }
}

/// Counts of a configuration.
///
/// ```no_run
/// # fn example(configuration: fanfare_client::Configuration) {
/// if let Some(metrics) = configuration.system_metrics {
///     println!("{:?} devices", metrics.results.get("targetedCount"));
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigurationMetrics {
    /// Name and count.
    #[serde(default, deserialize_with = "null_as_default")]
    pub results: BTreeMap<String, u64>,
    /// Name and query.
    #[serde(default, deserialize_with = "null_as_default")]
    pub queries: BTreeMap<String, String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Configuration {
    /// A configuration for nobody yet.
    ///
    /// ```
    /// use fanfare_client::{Configuration, ConfigurationContent};
    ///
    /// let lock = ConfigurationContent::device("properties.desired.locked", true);
    /// assert_eq!(Configuration::new("lock-all", lock).target_condition, "");
    /// ```
    pub fn new(id: impl Into<String>, content: ConfigurationContent) -> Self {
        Self {
            id: id.into(),
            schema_version: None,
            labels: None,
            content: Some(content),
            target_condition: String::new(),
            created_time: None,
            last_updated_time: None,
            priority: 0,
            system_metrics: None,
            metrics: None,
            etag: Etag::default(),
            other: Map::new(),
        }
    }

    /// The same configuration for whatever matches `condition`.
    ///
    /// ```
    /// # use fanfare_client::{Configuration, ConfigurationContent};
    /// let all = Configuration::new("lock-all", ConfigurationContent::default()).target("*");
    /// assert_eq!(all.target_condition, "*");
    /// ```
    #[must_use]
    pub fn target(mut self, condition: impl Into<String>) -> Self {
        self.target_condition = condition.into();
        self
    }

    /// The same configuration with this priority.
    ///
    /// ```
    /// # use fanfare_client::{Configuration, ConfigurationContent};
    /// let first = Configuration::new("lock-all", ConfigurationContent::default()).priority(10);
    /// assert_eq!(first.priority, 10);
    /// ```
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// The same configuration with one more label.
    ///
    /// ```
    /// # use fanfare_client::{Configuration, ConfigurationContent};
    /// let owned = Configuration::new("lock-all", ConfigurationContent::default()).label("owner", "facility");
    /// assert_eq!(owned.labels.unwrap()["owner"], "facility");
    /// ```
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        let labels = self.labels.get_or_insert_default();
        labels.insert(name.into(), text.into());
        self
    }

    /// The same configuration with one more count, of the rows of `query`.
    ///
    /// ```
    /// # use fanfare_client::{Configuration, ConfigurationContent};
    /// let counted = Configuration::new("lock-all", ConfigurationContent::default())
    ///     .metric("locked", "SELECT deviceId FROM devices WHERE properties.reported.locked = true");
    /// assert_eq!(counted.metrics.unwrap().queries.len(), 1);
    /// ```
    #[must_use]
    pub fn metric(mut self, name: impl Into<String>, query: impl Into<String>) -> Self {
        let metrics = self.metrics.get_or_insert_default();
        metrics.queries.insert(name.into(), query.into());
        self
    }

    /// What of it is sent.
    fn body(&self) -> Result<Value, Error> {
        let mut body = serde_json::to_value(self)
            .map_err(|error| Error::Argument(format!("the configuration is not JSON: {error}")))?;
        if let Value::Object(members) = &mut body {
            members.retain(|name, _| !SET_BY_THE_HUB.contains(&name.as_str()));
        }
        if let Some(Value::Object(metrics)) = body.get_mut("metrics") {
            metrics.remove("results");
        }
        Ok(body)
    }
}

const SET_BY_THE_HUB: [&str; 4] = [
    "createdTimeUtc",
    "lastUpdatedTimeUtc",
    "systemMetrics",
    "etag",
];

/// What is wrong with queries that were tried out; see [`RegistryClient::test_configuration_queries`].
///
/// ```
/// assert!(fanfare_client::QueryFaults::default().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryFaults {
    /// What is wrong with the target condition; empty for nothing.
    #[serde(default, deserialize_with = "null_as_default")]
    pub target_condition_error: String,
    /// What is wrong with each custom metric that is not well, by name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub custom_metric_query_errors: BTreeMap<String, String>,
    /// Everything else the hub says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl QueryFaults {
    /// Whether nothing is wrong.
    ///
    /// ```
    /// assert!(fanfare_client::QueryFaults::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.target_condition_error.is_empty() && self.custom_metric_query_errors.is_empty()
    }
}

impl RegistryClient {
    /// Creates a configuration and returns it as the hub has it.
    ///
    /// # Errors
    /// `ConfigurationAlreadyExists` (409), `InvalidConfigurationTargetCondition` or `ArgumentInvalid` (400) for what
    /// cannot be, `IotHubQuotaExceeded` (403) for one too many, or no reply. It is not repeated once it may have been
    /// done; see [`Error::may_have_been_done`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::{Configuration, ConfigurationContent};
    /// let lock = ConfigurationContent::device("properties.desired.locked", true);
    /// registry.create_configuration(&Configuration::new("lock-all", lock).target("*")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_configuration(
        &self,
        configuration: &Configuration,
    ) -> Result<Configuration, Error> {
        let call = self.hub.call(Method::PUT, path(&configuration.id));
        call.json(&configuration.body()?)
            .repeat(Repeat::Refused)
            .read()
            .await
    }

    /// Changes a configuration to what is given here and returns it. With an etag, only if that is its version still;
    /// with `None`, whatever version it has.
    ///
    /// # Errors
    /// `ConfigurationNotFound` (404), `PreconditionFailed` (412) for another version, those of
    /// [`Self::create_configuration`], or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let lock = registry.get_configuration("lock-all").await?.priority(11);
    /// registry.update_configuration(&lock, lock.etag.clone()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_configuration(
        &self,
        configuration: &Configuration,
        etag: impl Into<Option<Etag>>,
    ) -> Result<Configuration, Error> {
        let (if_match, repeat) = precondition(etag.into());
        let call = self.hub.call(Method::PUT, path(&configuration.id));
        call.json(&configuration.body()?)
            .if_match(if_match)
            .repeat(repeat)
            .read()
            .await
    }

    /// A configuration with its counts.
    ///
    /// # Errors
    /// `ConfigurationNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let lock = registry.get_configuration("lock-all").await?;
    /// println!("{:?}", lock.system_metrics.map(|metrics| metrics.results));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_configuration(&self, id: &str) -> Result<Configuration, Error> {
        self.hub.call(Method::GET, path(id)).read().await
    }

    /// Configurations, as many as asked for; a hub has a hundred at most.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// for configuration in registry.list_configurations(None).await? {
    ///     println!("{} {}", configuration.id, configuration.priority);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_configurations(
        &self,
        max: impl Into<Option<u32>>,
    ) -> Result<Vec<Configuration>, Error> {
        let mut call = self.hub.call(Method::GET, "/configurations");
        if let Some(max) = max.into() {
            call = call.query("top", max.to_string());
        }
        call.read().await
    }

    /// Deletes a configuration; what only it wrote is taken from the twins. With an etag, only if that is its version
    /// still; with `None`, whatever version it has.
    ///
    /// # Errors
    /// `ConfigurationNotFound` (404), `PreconditionFailed` (412) for another version, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// registry.delete_configuration("lock-all", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_configuration(
        &self,
        id: &str,
        etag: impl Into<Option<Etag>>,
    ) -> Result<(), Error> {
        self.hub.delete(path(id), etag.into()).await
    }

    /// Tries out a target condition and queries of custom metrics, by name, without changing anything.
    ///
    /// # Errors
    /// When the hub refuses the call as a whole or gives no reply; what is wrong with a query is in the result.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let faults = registry.test_configuration_queries("tags.building = '43'", &[]).await?;
    /// assert!(faults.is_empty(), "{}", faults.target_condition_error);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn test_configuration_queries(
        &self,
        target_condition: &str,
        metric_queries: &[(&str, &str)],
    ) -> Result<QueryFaults, Error> {
        let queries: BTreeMap<_, _> = metric_queries.iter().copied().collect();
        let body = json!({"targetCondition": target_condition, "customMetricQueries": queries});
        let call = self.hub.call(Method::POST, "/configurations/testQueries");
        call.json(&body).repeat(Repeat::Always).read().await
    }

    /// Writes a content to one device and its modules, once, whatever configurations there are.
    ///
    /// # Errors
    /// `DeviceNotFound` or `ModuleNotFound` (404), `ArgumentInvalid` (400) for a content that cannot be, or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::ConfigurationContent;
    /// let lock = ConfigurationContent::device("properties.desired.locked", true);
    /// registry.apply_configuration_content("door-1", &lock).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply_configuration_content(
        &self,
        device_id: &str,
        content: &ConfigurationContent,
    ) -> Result<(), Error> {
        let path = format!("/devices/{}/applyConfigurationContent", segment(device_id));
        let call = self.hub.call(Method::POST, path);
        call.json(content).repeat(Repeat::Always).done().await
    }
}

fn path(id: &str) -> String {
    format!("/configurations/{}", segment(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_survives_and_what_the_hub_sets_is_not_sent_back() {
        let text = json!({
            "id": "c", "schemaVersion": "1.0", "labels": {"a": "b"}, "priority": 3, "targetCondition": "*",
            "content": {"deviceContent": {"properties.desired.z": 1.5}, "note": 1},
            "createdTimeUtc": "2031-02-03T04:05:06.1230000Z", "lastUpdatedTimeUtc": "2031-02-03T04:05:06.1230000Z",
            "systemMetrics": {"results": {"targetedCount": 2}, "queries": {"targetedCount": "q"}},
            "metrics": {"results": {"m": 1}, "queries": {"m": "q"}}, "etag": "MQ==", "more": [1, 2],
        });
        let configuration: Configuration = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&configuration).unwrap(), text);
        let want = json!({
            "id": "c", "schemaVersion": "1.0", "labels": {"a": "b"}, "priority": 3, "targetCondition": "*",
            "content": {"deviceContent": {"properties.desired.z": 1.5}, "note": 1},
            "metrics": {"queries": {"m": "q"}}, "more": [1, 2],
        });
        assert_eq!(configuration.body().unwrap(), want);
    }
}
