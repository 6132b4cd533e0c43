//! Configurations: desired properties for every identity that a condition selects, kept so for as long as
//! the configuration stands.
//!
//! [`Configurations`] decides what may be stored. What is stored takes effect in [`reconcile`], a loop that
//! compares what each identity should have ([`assignment`]) with what it was given before; losing every
//! signal to it costs latency only. What a content means is in [`content`].

pub mod assignment;
pub mod condition;
pub mod configuration;
pub mod content;
mod plan;
pub mod reconcile;
pub mod system_metrics;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Notify;

pub use self::{
    assignment::{Applied, Assigned, Assignment},
    configuration::{
        Configuration, ConfigurationId, ConfigurationNumber, ConfigurationResults,
        ConfigurationSettings, ConfigurationStatus,
    },
    content::{Content, ContentError},
    reconcile::Reconciler,
};
use self::{
    condition::{ConditionError, MetricError, parse_condition, parse_metric},
    content::Settings,
};
use crate::{
    ids::{DeviceId, Etag, IdentityId},
    json::JsonText,
    limits,
    ports::{
        Clock, Store, StoreError,
        configurations::{ConfigurationPut, ConfigurationRefused, ContentRefused},
    },
    registry::Precondition,
    twin::{PatchText, Twins, document::TwinError},
};

/// Tells the reconciler that a configuration changed. Clones share one state.
#[derive(Clone, Default)]
pub struct ConfigurationSignal(Arc<Notify>);

impl ConfigurationSignal {
    fn changed(&self) {
        self.0.notify_one();
    }

    async fn wait(&self) {
        self.0.notified().await;
    }
}

/// Why a configuration was not stored or removed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigurationError {
    /// It is there already.
    #[error("configuration {0} already exists")]
    Exists(ConfigurationId),
    /// It is not there.
    #[error("configuration {0} does not exist")]
    Absent(ConfigurationId),
    /// It is there in another version.
    #[error("configuration {0} has another etag")]
    EtagMismatch(ConfigurationId),
    /// There are as many as there may be.
    #[error("there are {0} configurations, which is the most a hub keeps")]
    TooMany(u32),
    /// Its content cannot be.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Its condition cannot be.
    #[error("targetCondition: {0}")]
    Condition(#[source] ConditionError),
    /// A custom metric cannot be.
    #[error("metrics.queries.{name}: {source}")]
    Metric {
        /// Its name.
        name: String,
        /// What is wrong with its query.
        source: MetricError,
    },
    /// A field is not what it may be.
    #[error("{field} {problem}")]
    Invalid {
        /// Its name in the contract.
        field: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The store failed.
    #[error("the configuration could not be stored")]
    Store(#[from] StoreError),
}

/// Why a content was not applied by hand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApplyError {
    /// A device or module it is for is not there.
    #[error("{0} is not registered")]
    Absent(IdentityId),
    /// It is not a content for one device.
    #[error("{0}")]
    Content(#[from] ContentError),
    /// It says nothing, or something for modules that a condition selects.
    #[error(
        "the content must have modulesContent or deviceContent, and nothing else applies to one device"
    )]
    NothingForIt,
    /// A twin cannot take it.
    #[error("the twin of {id} cannot be so: {source}")]
    Twin {
        /// Whose.
        id: IdentityId,
        /// What it breaks.
        source: TwinError,
    },
    /// The store failed.
    #[error("the content could not be applied")]
    Store(#[from] StoreError),
}

/// What is wrong with a condition and with queries that somebody tries out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryTrial {
    /// About the condition.
    pub condition: Option<QueryTrialError>,
    /// About each metric that is not well.
    pub metrics: BTreeMap<String, String>,
}

/// A text for people.
pub type QueryTrialError = String;

/// Configurations of a hub.
pub struct Configurations {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    twins: Arc<Twins>,
    signal: ConfigurationSignal,
}

impl Configurations {
    /// Over a store, a clock, the twins it writes by hand, and the way to the reconciler.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        twins: Arc<Twins>,
        signal: ConfigurationSignal,
    ) -> Self {
        Self {
            store,
            clock,
            twins,
            signal,
        }
    }

    /// Creates or changes one. Without a content a change keeps the one there is. When this returns it is
    /// durable; twins follow soon. compat: CFG-2
    pub async fn put(
        &self,
        id: ConfigurationId,
        settings: ConfigurationSettings,
        precondition: Precondition,
    ) -> Result<Configuration, ConfigurationError> {
        check_sizes(&settings)?;
        for (name, query) in &settings.metrics {
            parse_metric(query).map_err(|source| ConfigurationError::Metric {
                name: name.clone(),
                source,
            })?;
        }
        let kept = match &settings.content {
            Some(_) => None,
            None => self.store.configuration_get(&id).await?,
        };
        let text = settings.content.as_ref();
        let text = text.or(kept
            .as_ref()
            .and_then(|kept| kept.settings.content.as_ref()));
        let content = text.map_or(Ok(Content::default()), Content::parse)?;
        parse_condition(&settings.condition, &content).map_err(ConfigurationError::Condition)?;
        let put = ConfigurationPut {
            id: id.clone(),
            settings,
            precondition,
        };
        let written = self.store.configuration_put(put, self.clock.now()).await?;
        let configuration = written.map_err(|refused| refusal(refused, id))?;
        self.signal.changed();
        Ok(configuration)
    }

    /// One of them.
    pub async fn get(&self, id: &ConfigurationId) -> Result<Option<Configuration>, StoreError> {
        self.store.configuration_get(id).await
    }

    /// The first `limit` in order of their ids.
    pub async fn list(&self, limit: u32) -> Result<Vec<Configuration>, StoreError> {
        let limit = limit.min(limits::CONFIGURATIONS_MAX);
        self.store.configuration_list(limit).await
    }

    /// Removes one; what it wrote is taken back soon. compat: CFG-3
    pub async fn delete(
        &self,
        id: ConfigurationId,
        matches: Option<Etag>,
    ) -> Result<(), ConfigurationError> {
        let deleted = self.store.configuration_delete(&id, matches).await?;
        deleted.map_err(|refused| refusal(refused, id))?;
        self.signal.changed();
        Ok(())
    }

    /// Whether a condition and queries could stand in a configuration. compat: CFG-13
    pub fn try_out(&self, condition: &str, metrics: &BTreeMap<String, String>) -> QueryTrial {
        let faulty = |(name, query): (&String, &String)| {
            let error = parse_metric(query).err()?;
            Some((name.clone(), error.to_string()))
        };
        let condition = parse_condition(condition, &Content::default());
        QueryTrial {
            condition: condition.err().map(|error| error.to_string()),
            metrics: metrics.iter().filter_map(faulty).collect(),
        }
    }

    /// Writes a content to one device and its modules, once, all or nothing, and tells whoever is
    /// connected. The modules must exist. compat: CFG-14
    pub async fn apply(&self, device: DeviceId, content: &JsonText) -> Result<(), ApplyError> {
        let content = Content::parse(content)?;
        if content.is_for_modules() || content == Content::default() {
            return Err(ApplyError::NothingForIt);
        }
        let module = |(module, settings)| {
            let id = IdentityId {
                device: device.clone(),
                module: Some(module),
            };
            (id, settings)
        };
        let mut parts: Vec<(IdentityId, Settings)> =
            vec![(IdentityId::device(device.clone()), content.device)];
        parts.extend(content.modules.into_iter().map(module));
        let done = self
            .store
            .configuration_content_apply(parts, self.clock.now())
            .await?;
        let changes = done.map_err(|refused| match refused {
            ContentRefused::Absent(id) => ApplyError::Absent(id),
            ContentRefused::Twin { id, source } => ApplyError::Twin { id, source },
        })?;
        for written in changes {
            let notice = PatchText::new(&written.patch).notice(&written.change);
            self.twins.tell(written.key, &notice).await;
        }
        Ok(())
    }
}

fn refusal(refused: ConfigurationRefused, id: ConfigurationId) -> ConfigurationError {
    match refused {
        ConfigurationRefused::Exists => ConfigurationError::Exists(id),
        ConfigurationRefused::Absent => ConfigurationError::Absent(id),
        ConfigurationRefused::EtagMismatch => ConfigurationError::EtagMismatch(id),
        ConfigurationRefused::TooMany => ConfigurationError::TooMany(limits::CONFIGURATIONS_MAX),
    }
}

fn check_sizes(settings: &ConfigurationSettings) -> Result<(), ConfigurationError> {
    let invalid = |field, problem: String| Err(ConfigurationError::Invalid { field, problem });
    let max = limits::CONFIGURATION_CONDITION_BYTES_MAX;
    if settings.condition.len() > max {
        return invalid("targetCondition", format!("has more than {max} bytes"));
    }
    let max = limits::CONFIGURATION_METRICS_MAX;
    if settings.metrics.len() > max {
        return invalid("metrics.queries", format!("has more than {max} members"));
    }
    let max = limits::CONFIGURATION_NAME_BYTES_MAX;
    let is_named = |name: &String| !name.is_empty() && name.len() <= max;
    if !settings.metrics.keys().all(is_named) {
        return invalid(
            "metrics.queries",
            format!("has a name that is empty or longer than {max} bytes"),
        );
    }
    let max = limits::CONFIGURATION_CONDITION_BYTES_MAX;
    if settings.metrics.values().any(|query| query.len() > max) {
        return invalid(
            "metrics.queries",
            format!("has a query of more than {max} bytes"),
        );
    }
    Ok(())
}
