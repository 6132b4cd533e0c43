//! Configurations: create, change, show, remove, try out, and apply by hand.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use fanfare_hub::{
    configurations::{
        Configuration, ConfigurationId, ConfigurationSettings, Content, system_metrics,
    },
    ids::Etag,
    json::JsonText,
    limits,
    ports::transfers::ConfigurationChange,
    registry::Precondition,
};
use fanfare_wire::{
    RawValue,
    configurations::{
        ConfigurationDocument, ConfigurationMetrics, ConfigurationRequest, ContentRequest,
        TestQueriesRequest, TestQueriesResult, UnknownMembers,
    },
    error::ErrorCode,
    etag::{IfMatch, parse_identity_etag},
    registry::ImportMode,
    transfers::ConfigurationMode,
};

use super::{Rest, call::Call, error::Refusal, job_document::time, reply};

/// `PUT /configurations/{id}`: creates without `If-Match`, changes with it. compat: CFG-2
pub(super) async fn put(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = ConfigurationId::parse(call.part("configuration"));
    let id = id.map_err(|error| Refusal::invalid(error.to_string()))?;
    let request: ConfigurationRequest = call.decode()?;
    if let Some(other) = request.id.as_deref().filter(|other| *other != id.as_str()) {
        return Err(Refusal::invalid(format!(
            "id is {other} but the path names {id}"
        )));
    }
    let UnknownMembers(others) = call.decode()?;
    let precondition = match call.if_match() {
        IfMatch::Absent => Precondition::Absent,
        IfMatch::Any => Precondition::Exists,
        IfMatch::Tag(tag) => Precondition::Matches(etag(&tag)),
    };
    let settings = settings(request, others)?;
    let configuration = rest
        .hub
        .configurations
        .put(id, settings, precondition)
        .await?;
    Ok(reply::json(&document(configuration)?))
}

/// `GET /configurations/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = known_id(&call)?;
    let configuration = rest.hub.configurations.get(&id).await?;
    let configuration = configuration.ok_or_else(|| absent(id.as_str()))?;
    Ok(reply::json(&document(configuration)?))
}

/// `GET /configurations`: the first `top` in order of their ids, all there may be by default.
/// compat: CFG-3
pub(super) async fn list(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    const MOST: u32 = limits::CONFIGURATIONS_MAX;
    let top = call.parameter("top").and_then(|text| text.parse().ok());
    let top = top.filter(|top| (1..=MOST).contains(top)).unwrap_or(MOST);
    let configurations = rest.hub.configurations.list(top).await?;
    let documents: Result<Vec<_>, _> = configurations.into_iter().map(document).collect();
    Ok(reply::json(&documents?))
}

/// `DELETE /configurations/{id}`. compat: CFG-3
pub(super) async fn delete(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let matches = match call.if_match() {
        IfMatch::Absent | IfMatch::Any => None,
        IfMatch::Tag(tag) => Some(etag(&tag)),
    };
    let id = known_id(&call)?;
    rest.hub.configurations.delete(id, matches).await?;
    Ok(reply::nothing())
}

/// `POST /configurations/testQueries`. compat: CFG-13
pub(super) async fn test_queries(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let request: TestQueriesRequest = call.decode()?;
    let trial = rest
        .hub
        .configurations
        .try_out(&request.target_condition, &request.custom_metric_queries);
    Ok(reply::json(&TestQueriesResult {
        target_condition_error: trial.condition.unwrap_or_default(),
        custom_metric_query_errors: trial.metrics,
    }))
}

/// `POST /devices/{id}/applyConfigurationContent`. compat: CFG-14
pub(super) async fn apply(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.device()?;
    let request: ContentRequest = call.decode()?;
    let text = request
        .content()
        .ok_or_else(|| Refusal::missing("the body must be a content"))?;
    rest.hub
        .configurations
        .apply(id.device, &json_text("content", &text)?)
        .await?;
    Ok(reply::nothing())
}

/// What the line of an import asks for. compat: XFER-10
pub(super) fn change(
    id: ConfigurationId,
    line: &ConfigurationMode,
    request: ConfigurationRequest,
    others: BTreeMap<String, Box<RawValue>>,
) -> Result<ConfigurationChange, Refusal> {
    let given = line.etag.as_deref();
    let matches = match line.import_mode {
        ImportMode::UpdateIfMatchETag | ImportMode::DeleteIfMatchETag => {
            let tag = given.ok_or_else(|| Refusal::missing("etag is missing"))?;
            (tag != "*").then(|| etag(tag))
        }
        _ => None,
    };
    let precondition = match line.import_mode {
        ImportMode::Create => Precondition::Absent,
        ImportMode::CreateOrUpdate => Precondition::Any,
        ImportMode::CreateOrUpdateIfMatchETag => match given {
            Some("*") => Precondition::Any,
            tag => Precondition::AbsentOrMatches(tag.map_or(Etag(u64::MAX), etag)),
        },
        ImportMode::Update => Precondition::Exists,
        ImportMode::UpdateIfMatchETag => {
            matches.map_or(Precondition::Exists, Precondition::Matches)
        }
        ImportMode::Delete | ImportMode::DeleteIfMatchETag => {
            return Ok(ConfigurationChange::Delete { id, matches });
        }
        ImportMode::UpdateTwin | ImportMode::UpdateTwinIfMatchETag => {
            return Err(Refusal::invalid(
                "importMode is one for twins, configurations have none",
            ));
        }
    };
    Ok(ConfigurationChange::Put {
        id,
        settings: Box::new(settings(request, others)?),
        precondition,
    })
}

fn settings(
    request: ConfigurationRequest,
    others: BTreeMap<String, Box<RawValue>>,
) -> Result<ConfigurationSettings, Refusal> {
    let priority = request.priority.unwrap_or_default();
    let priority = u32::try_from(priority)
        .ok()
        .filter(|priority| *priority <= PRIORITY_MAX)
        .ok_or_else(|| Refusal::invalid(format!("priority must be 0 to {PRIORITY_MAX}")))?;
    let content = request.content.map(|raw| json_text("content", raw.get()));
    let others = others
        .iter()
        .map(|(name, raw)| Ok((name.clone(), json_text(name, raw.get())?)));
    Ok(ConfigurationSettings {
        schema_version: request.schema_version,
        labels: request.labels,
        content: content.transpose()?,
        condition: request.target_condition,
        priority,
        metrics: request.metrics.queries,
        others: others.collect::<Result<_, Refusal>>()?,
    })
}

/// The largest number of the contract's integer type.
const PRIORITY_MAX: u32 = i32::MAX as u32;
/// The shape's version where its owner names none. compat: CFG-5
const SCHEMA_VERSION: &str = "1.0";

/// Part of a body that was read as JSON already, so that only its depth can be wrong.
fn json_text(member: &str, text: &str) -> Result<JsonText, Refusal> {
    let json = JsonText::parse(text.as_bytes());
    json.ok_or_else(|| {
        let levels = limits::JSON_DEPTH_MAX;
        Refusal::invalid(format!(
            "{member} may be nested {levels} levels deep at most"
        ))
    })
}

/// compat: CFG-5
pub(super) fn document(configuration: Configuration) -> Result<ConfigurationDocument, Refusal> {
    let text = configuration.settings.content.as_ref();
    let content = text.map_or(Ok(Content::default()), Content::parse);
    let queries = system_metrics::queries(&configuration, &content.unwrap_or_default());
    let results = &configuration.results;
    let counted = |name: &&'static str| match *name {
        system_metrics::TARGETED => results.targeted,
        system_metrics::APPLIED => results.applied,
        system_metrics::REPORTED_SUCCESSFUL => results.reported_successful,
        _ => results.reported_failed,
    };
    let system_metrics = ConfigurationMetrics {
        results: queries
            .keys()
            .map(|name| ((*name).to_owned(), counted(name)))
            .collect(),
        queries: queries
            .into_iter()
            .map(|(name, query)| (name.to_owned(), query))
            .collect(),
    };
    let settings = configuration.settings;
    let custom = settings.metrics.keys();
    let counts = custom.filter_map(|name| Some((name.clone(), *results.metrics.get(name)?)));
    let others = settings.others.iter();
    Ok(ConfigurationDocument {
        id: configuration.id.to_string(),
        schema_version: settings
            .schema_version
            .unwrap_or_else(|| SCHEMA_VERSION.to_owned()),
        labels: settings.labels,
        content: settings.content.as_ref().map(raw).transpose()?,
        target_condition: settings.condition,
        created_time_utc: time(configuration.created),
        last_updated_time_utc: time(configuration.updated),
        priority: settings.priority,
        system_metrics,
        metrics: ConfigurationMetrics {
            results: counts.collect(),
            queries: settings.metrics.clone(),
        },
        etag: configuration.etag.identity_text(),
        others: others
            .map(|(name, text)| Ok((name.clone(), raw(text)?)))
            .collect::<Result<_, Refusal>>()?,
    })
}

fn raw(text: &JsonText) -> Result<Box<RawValue>, Refusal> {
    let unreadable = "a stored document cannot be read";
    RawValue::from_string(text.as_str().to_owned())
        .map_err(|_| Refusal::new(ErrorCode::ServerError, unreadable))
}

/// An id that no configuration can have is simply not there.
fn known_id(call: &Call) -> Result<ConfigurationId, Refusal> {
    let text = call.part("configuration");
    ConfigurationId::parse(text).map_err(|_| absent(text))
}

fn absent(id: &str) -> Refusal {
    let text = format!("configuration {id} does not exist");
    Refusal::new(ErrorCode::ConfigurationNotFound, text)
}

fn etag(text: &str) -> Etag {
    Etag(parse_identity_etag(text).unwrap_or(u64::MAX))
}
