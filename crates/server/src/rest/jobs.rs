//! Jobs: schedule, show, cancel, list. Import and export jobs are in [`super::transfers`].
//!
//! The documents are made in [`super::job_document`].

use std::sync::Arc;

use axum::{extract::State, http::header::USER_AGENT, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fanfare_hub::{
    access::Actor,
    ids::{JobId, JobNumber, MethodName},
    jobs::{
        JobRequest,
        job::{Job, JobState, MethodOperation, Operation, TwinOperation},
    },
    json::JsonText,
    limits,
    ports::store::{JobFilter, JobStatusFilter, OperationKind},
    time::Timestamp,
};
use fanfare_wire::{
    error::ErrorCode,
    jobs::{
        JobDocument, JobList, JobStatus, JobType, ScheduleRequest, UpdateTwin, list_needs_envelope,
    },
    method::MethodRequest,
    query::ItemType,
};
use tokio::{runtime::Handle, task::spawn_blocking};

use super::{
    Rest,
    call::Call,
    error::Refusal,
    job_document::{self, Echo},
    methods, reply, transfers, twins,
};
use crate::audit::Noted;

/// `PUT /jobs/v2/{id}`: the job is durable when this answers. compat: JOB-4
pub(super) async fn schedule(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    if call.body_bytes() <= limits::PROMPT_TEXT_BYTES {
        return accept(rest, call).await;
    }
    // Reading a very long condition takes seconds, which the threads of the network must not spend.
    let runtime = Handle::current();
    let accepted = spawn_blocking(move || runtime.block_on(accept(rest, call))).await;
    accepted.unwrap_or_else(|error| {
        tracing::error!(%error, "a job could not be read");
        Err(Refusal::new(
            ErrorCode::ServerError,
            "the job could not be read",
        ))
    })
}

async fn accept(rest: Arc<Rest>, call: Call) -> Result<Response, Refusal> {
    let id = JobId::parse(call.part("job")).map_err(|error| Refusal::invalid(error.to_string()))?;
    let creator = call.principal()?.actor.clone();
    let request = requested(id, creator.clone(), call.decode()?)?;
    call.note(|noted| note_job(noted, &request));
    let job = rest.hub.jobs.schedule(request).await?;
    if job.creator.as_ref() != Some(&creator) {
        // The job is another's, who asked for the same a moment ago.
        call.note(|noted| noted.detail("repeated", true));
    }
    if job.state != JobState::Waiting {
        // A repetition of a request whose job has come further.
        return document(&rest, &job);
    }
    let job_type = job_document::job_type(&job);
    let accepted = JobDocument::minimal(job.id.as_str(), job_type, JobStatus::Queued);
    Ok(reply::json(&accepted))
}

fn note_job(noted: &mut Noted, request: &JobRequest) {
    match &request.operation {
        Operation::Method(method) => {
            noted.detail("type", JobType::ScheduleDeviceMethod.as_str());
            noted.detail("method", method.name.as_str());
        }
        Operation::Twin(_) => noted.detail("type", JobType::ScheduleUpdateTwin.as_str()),
    }
    noted.detail("condition", &*request.condition);
}

/// `GET /jobs/v2/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = known_id(&call)?;
    match rest.hub.jobs.get(&id).await? {
        Some(job) => document(&rest, &job),
        None => transfers::seen_as_v2(&rest, id.as_str()).await,
    }
}

/// `POST /jobs/v2/{id}/cancel`: nothing new starts once this has answered.
pub(super) async fn cancel(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = known_id(&call)?;
    let job = rest.hub.jobs.cancel(&id).await?;
    document(&rest, &job)
}

/// `GET /jobs/v2/query`: newest first. compat: JOB-8
pub(super) async fn list(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let mut filter = filter(&call)?;
    let (items, continuation) = call.page()?;
    if let Some(token) = continuation {
        filter.before =
            Some(parse_place(&token).ok_or_else(|| {
                Refusal::invalid("the continuation token is not one of this list")
            })?);
    }
    let agent = call.header(USER_AGENT.as_str()).unwrap_or_default();
    if rest.hub.profile.python_job_list && list_needs_envelope(agent) {
        let jobs = everything(&rest, filter).await?;
        let list = JobList::Envelope(listed(&rest, &jobs)?);
        let body = serde_json::to_vec(&list).expect("job lists can be written");
        return Ok(reply::page(body, ItemType::JobResponse, None));
    }
    let jobs = rest.hub.jobs.list(filter.clone(), items).await?;
    let place = next_place(&rest, filter, &jobs, items).await?;
    let list = JobList::Array(listed(&rest, &jobs)?);
    let body = serde_json::to_vec(&list).expect("job lists can be written");
    Ok(reply::page(body, ItemType::JobResponse, place.as_deref()))
}

/// Jobs that one answer to Python's SDK holds, which cannot ask for a second page. Ours.
const ENVELOPE_JOBS_MAX: usize = 10_000;

fn document(rest: &Rest, job: &Job) -> Result<Response, Refusal> {
    let document = job_document::document(job, rest.hub.jobs.is_scheduled(job), Echo::One)?;
    Ok(reply::json(&document))
}

fn listed(rest: &Rest, jobs: &[Job]) -> Result<Vec<JobDocument>, Refusal> {
    let of = |job| job_document::document(job, rest.hub.jobs.is_scheduled(job), Echo::List);
    jobs.iter().map(of).collect()
}

async fn everything(rest: &Rest, mut filter: JobFilter) -> Result<Vec<Job>, Refusal> {
    let mut jobs = Vec::new();
    while jobs.len() < ENVELOPE_JOBS_MAX {
        let page = rest
            .hub
            .jobs
            .list(filter.clone(), limits::QUERY_PAGE_ITEMS_MAX)
            .await?;
        let Some(last) = page.last() else { break };
        filter.before = Some(last.number);
        jobs.extend(page);
    }
    Ok(jobs)
}

/// The token of the next page, only if there is one: Node asks for as long as it sees a token.
async fn next_place(
    rest: &Rest,
    mut filter: JobFilter,
    page: &[Job],
    items: u32,
) -> Result<Option<String>, Refusal> {
    let Some(last) = page.last().filter(|_| page.len() >= items as usize) else {
        return Ok(None);
    };
    filter.before = Some(last.number);
    let is_more = !rest.hub.jobs.list(filter, 1).await?.is_empty();
    Ok(is_more.then(|| URL_SAFE_NO_PAD.encode(last.number.0.to_be_bytes())))
}

fn parse_place(token: &str) -> Option<JobNumber> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    Some(JobNumber(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// An id that no job can have is simply not there.
pub(super) fn known_id(call: &Call) -> Result<JobId, Refusal> {
    let text = call.part("job");
    JobId::parse(text).map_err(|_| Refusal::no_job(text))
}

/// compat: JOB-7
fn filter(call: &Call) -> Result<JobFilter, Refusal> {
    let given = |name| call.parameter(name).filter(|text| !text.is_empty());
    let operation = match given("jobType") {
        None => None,
        Some(text) => match JobType::parse(text) {
            Some(JobType::ScheduleDeviceMethod) => Some(OperationKind::Method),
            Some(JobType::ScheduleUpdateTwin) => Some(OperationKind::Twin),
            Some(JobType::Unknown) | None => {
                let text = "jobType must be scheduleDeviceMethod or scheduleUpdateTwin";
                return Err(Refusal::invalid(text));
            }
        },
    };
    let status = match given("jobStatus") {
        None => None,
        Some(text) => Some(status_filter(text)?),
    };
    Ok(JobFilter {
        operation,
        status,
        before: None,
    })
}

fn status_filter(text: &str) -> Result<JobStatusFilter, Refusal> {
    Ok(match JobStatus::parse(text) {
        Some(JobStatus::Queued | JobStatus::Enqueued) => JobStatusFilter::Queued,
        Some(JobStatus::Scheduled) => JobStatusFilter::Scheduled,
        Some(JobStatus::Running) => JobStatusFilter::Running,
        Some(JobStatus::Completed) => JobStatusFilter::Completed,
        Some(JobStatus::Failed) => JobStatusFilter::Failed,
        Some(JobStatus::Cancelled) => JobStatusFilter::Cancelled,
        Some(JobStatus::Unknown) | None => {
            return Err(Refusal::invalid(
                "jobStatus must be queued, scheduled, running, completed, failed or cancelled",
            ));
        }
    })
}

/// Turns the body into what the hub schedules.
fn requested(id: JobId, creator: Actor, request: ScheduleRequest) -> Result<JobRequest, Refusal> {
    if let Some(other) = request.job_id.filter(|other| other != id.as_str()) {
        return Err(Refusal::invalid(format!(
            "jobId is {other} but the path names {id}"
        )));
    }
    let name = request
        .job_type
        .ok_or_else(|| Refusal::missing("type is missing"))?;
    let operation = match JobType::parse(&name) {
        Some(JobType::ScheduleDeviceMethod) => {
            let method = request
                .cloud_to_device_method
                .ok_or_else(|| Refusal::missing("cloudToDeviceMethod is missing"))?;
            Operation::Method(method_operation(&method)?)
        }
        Some(JobType::ScheduleUpdateTwin) => {
            let update = request
                .update_twin
                .ok_or_else(|| Refusal::missing("updateTwin is missing"))?;
            Operation::Twin(twin_operation(&update)?)
        }
        // compat: JOB-2
        Some(JobType::Unknown) | None => {
            let text = "type must be scheduleDeviceMethod or scheduleUpdateTwin";
            return Err(Refusal::new(ErrorCode::GenericBadRequest, text));
        }
    };
    let condition = request
        .query_condition
        .filter(|text| !text.trim().is_empty());
    let condition = condition
        .ok_or_else(|| Refusal::missing("queryCondition is missing, * selects every device"))?;
    Ok(JobRequest {
        id,
        condition: condition.into(),
        operation,
        start: request.start_time.map(|at| Timestamp(at.as_micros())),
        window_seconds: window(request.max_execution_time_in_seconds),
        creator: Some(creator),
    })
}

/// compat: JOB-3
fn window(seconds: Option<u64>) -> u32 {
    match seconds {
        None | Some(0) => limits::JOB_WINDOW_SECONDS_DEFAULT,
        // What does not fit is over the hub's limit, which refuses it.
        Some(seconds) => u32::try_from(seconds).unwrap_or(u32::MAX),
    }
}

fn method_operation(method: &MethodRequest) -> Result<MethodOperation, Refusal> {
    let within = |problem: Refusal| {
        Refusal::new(
            problem.code(),
            format!("cloudToDeviceMethod.{}", problem.text()),
        )
    };
    let name: MethodName = methods::name(method).map_err(within)?;
    let payload: JsonText = methods::payload(method).map_err(within)?;
    let response_seconds = methods::response_seconds(method).map_err(within)?;
    let connect_seconds = methods::connect_seconds(method).map_err(within)?;
    Ok(MethodOperation {
        name,
        payload,
        response_seconds,
        connect_seconds,
    })
}

/// compat: JOB-10
fn twin_operation(update: &UpdateTwin) -> Result<TwinOperation, Refusal> {
    if !matches!(update.etag(), None | Some("*" | "\"*\"")) {
        let text = "updateTwin.etag must be *, a job changes every twin whatever its version";
        return Err(Refusal::new(ErrorCode::PreconditionFailed, text));
    }
    let patch = twins::checked(update.patch())
        .map_err(|error| Refusal::invalid(format!("updateTwin: {error}")))?;
    let echo = serde_json::to_vec(update.members()).expect("JSON objects can be written");
    let echo = JsonText::parse(&echo)
        .ok_or_else(|| Refusal::invalid("updateTwin is nested too deeply"))?;
    Ok(TwinOperation { patch, echo })
}
