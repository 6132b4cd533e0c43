//! Import and export jobs: create, show, list, cancel.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{
    access::Actor,
    ids::JobId,
    transfers::{
        BlobName, ContainerUri, Direction, StorageAuthentication, Transfer, TransferCancelError,
        TransferEnd, TransferError, TransferRequest, TransferState,
    },
};
use fanfare_wire::{
    Secret,
    error::ErrorCode,
    jobs::{JobDocument, JobStatus, JobType},
    transfers::{StorageAuthenticationType, TransferJobDocument, TransferJobRequest, TransferType},
};

use super::{
    Rest,
    call::Call,
    error::Refusal,
    job_document::{extension, time},
    reply,
};
use crate::audit::Noted;

/// `POST /jobs/create`: the job is durable when this answers. compat: XFER-1, XFER-2
pub(super) async fn create(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let creator = call.principal()?.actor.clone();
    let request = requested(creator, call.decode()?)?;
    call.note(|noted| note_places(noted, &request));
    let job = rest.transfers.create(request).await?;
    call.note(|noted| noted.target("job", job.id.as_str()));
    Ok(reply::json(&document(&job)))
}

/// Where identities go or come from, without what opens the places.
fn note_places(noted: &mut Noted, request: &TransferRequest) {
    match &request.direction {
        Direction::Export {
            output, with_keys, ..
        } => {
            noted.detail("type", TransferType::Export.as_str());
            noted.detail("output", output.shown());
            noted.detail("keys", *with_keys);
        }
        Direction::Import { input, output, .. } => {
            noted.detail("type", TransferType::Import.as_str());
            noted.detail("input", input.shown());
            noted.detail("output", output.shown());
        }
    }
}

/// `GET /jobs`: newest first.
pub(super) async fn list(State(rest): State<Arc<Rest>>, _: Call) -> Result<Response, Refusal> {
    let jobs = rest.transfers.list().await?;
    let documents: Vec<_> = jobs.iter().map(document).collect();
    Ok(reply::json(&documents))
}

/// `GET /jobs/{id}`.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let text = call.part("job");
    let job = find(&rest, text).await?;
    let job = job.ok_or_else(|| Refusal::no_job(text))?;
    Ok(reply::json(&document(&job)))
}

/// `DELETE /jobs/{id}`: nothing of the registry changes for it once this has answered.
pub(super) async fn cancel(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let text = call.part("job");
    let id = JobId::parse(text).map_err(|_| Refusal::no_job(text))?;
    let job = rest.transfers.cancel(&id).await?;
    Ok(reply::json(&document(&job)))
}

/// What `GET /jobs/v2/{id}` says of an id that exists only here. compat: JOB-13
pub(super) async fn seen_as_v2(rest: &Rest, id: &str) -> Result<Response, Refusal> {
    let job = find(rest, id).await?;
    let job = job.ok_or_else(|| Refusal::no_job(id))?;
    let seen = JobDocument::minimal(job.id.as_str(), JobType::Unknown, JobStatus::Unknown);
    Ok(reply::json(&seen))
}

/// An id that no job can have is simply not there.
async fn find(rest: &Rest, id: &str) -> Result<Option<Transfer>, Refusal> {
    match JobId::parse(id) {
        Ok(id) => Ok(rest.transfers.get(&id).await?),
        Err(_) => Ok(None),
    }
}

impl From<TransferError> for Refusal {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Container { .. } => Self::invalid(error.to_string()),
            TransferError::TooMany(_) => Self::new(ErrorCode::JobQuotaExceeded, error.to_string()),
            TransferError::Store(source) => source.into(),
        }
    }
}

impl From<TransferCancelError> for Refusal {
    fn from(error: TransferCancelError) -> Self {
        match error {
            TransferCancelError::Absent(id) => Self::no_job(id.as_str()),
            TransferCancelError::TooLate(_) => Self::new(
                ErrorCode::OperationNotAllowedInCurrentState,
                error.to_string(),
            ),
            TransferCancelError::Store(source) => source.into(),
        }
    }
}

/// Turns the body into what the hub does.
fn requested(creator: Actor, request: TransferJobRequest) -> Result<TransferRequest, Refusal> {
    let job_type = request
        .job_type
        .ok_or_else(|| Refusal::missing("type is missing, it must be export or import"))?;
    // compat: XFER-8
    if request
        .identity
        .is_some_and(|identity| identity.user_assigned_identity.is_some())
    {
        return Err(Refusal::invalid(
            "identity.userAssignedIdentity names an identity of another cloud, which the hub cannot take",
        ));
    }
    let uri = |field, uri: Option<Secret>| match uri.filter(|uri| !uri.is_empty()) {
        Some(uri) => Ok(ContainerUri::new(uri.expose())),
        None => Err(Refusal::missing(format!("{field} is missing"))),
    };
    let output = uri("outputBlobContainerUri", request.output_blob_container_uri)?;
    let direction = match job_type {
        TransferType::Export => Direction::Export {
            output,
            blob: blob(
                "outputBlobName",
                request.output_blob_name,
                BlobName::devices,
            )?,
            with_keys: !request.exclude_keys_in_export,
        },
        TransferType::Import => Direction::Import {
            input: uri("inputBlobContainerUri", request.input_blob_container_uri)?,
            blob: blob("inputBlobName", request.input_blob_name, BlobName::devices)?,
            output,
        },
    };
    let configurations = match request.include_configurations {
        false => None,
        true => Some(blob(
            "configurationsBlobName",
            request.configurations_blob_name,
            BlobName::configurations,
        )?),
    };
    let (Direction::Export {
        blob: identities, ..
    }
    | Direction::Import {
        blob: identities, ..
    }) = &direction;
    // compat: XFER-3
    if configurations.as_ref() == Some(identities) {
        return Err(Refusal::invalid(
            "configurationsBlobName names the blob of the identities, it must be another one",
        ));
    }
    Ok(TransferRequest {
        direction,
        authentication: request.storage_authentication_type.map(|way| match way {
            StorageAuthenticationType::KeyBased => StorageAuthentication::Key,
            StorageAuthenticationType::IdentityBased => StorageAuthentication::Identity,
        }),
        configurations,
        creator: Some(creator),
    })
}

fn blob(
    field: &str,
    name: Option<String>,
    otherwise: fn() -> BlobName,
) -> Result<BlobName, Refusal> {
    match name.filter(|name| !name.is_empty()) {
        None => Ok(otherwise()),
        Some(name) => {
            BlobName::parse(&name).map_err(|problem| Refusal::invalid(format!("{field} {problem}")))
        }
    }
}

/// compat: XFER-1, XFER-6
fn document(job: &Transfer) -> TransferJobDocument {
    let (status, ended, failure_reason) = match &job.state {
        TransferState::Waiting => (JobStatus::Enqueued, None, None),
        TransferState::Running => (JobStatus::Running, None, None),
        TransferState::Ended { end, at } => match end {
            TransferEnd::Completed => (JobStatus::Completed, Some(*at), None),
            TransferEnd::Failed(reason) => (JobStatus::Failed, Some(*at), Some(reason.clone())),
            TransferEnd::Cancelled => (JobStatus::Cancelled, Some(*at), None),
        },
    };
    let name = |blob: &BlobName| Some(blob.to_string());
    let mut document = TransferJobDocument {
        job_id: job.id.to_string(),
        start_time_utc: Some(time(job.started.unwrap_or(job.created))),
        end_time_utc: ended.map(time),
        job_type: TransferType::Export,
        status,
        progress: job.percent,
        input_blob_container_uri: None,
        input_blob_name: None,
        output_blob_container_uri: None,
        output_blob_name: None,
        exclude_keys_in_export: None,
        storage_authentication_type: job.request.authentication.map(|way| match way {
            StorageAuthentication::Key => StorageAuthenticationType::KeyBased,
            StorageAuthentication::Identity => StorageAuthenticationType::IdentityBased,
        }),
        include_configurations: job.request.configurations.as_ref().map(|_| true),
        configurations_blob_name: job.request.configurations.as_ref().and_then(name),
        failure_reason,
        fanfare: extension(job.request.creator.as_ref()),
    };
    match &job.request.direction {
        Direction::Export {
            output,
            blob,
            with_keys,
        } => {
            document.output_blob_container_uri = Some(output.shown());
            document.output_blob_name = name(blob);
            document.exclude_keys_in_export = Some(!with_keys);
        }
        Direction::Import {
            input,
            blob,
            output,
        } => {
            document.job_type = TransferType::Import;
            document.input_blob_container_uri = Some(input.shown());
            document.input_blob_name = name(blob);
            document.output_blob_container_uri = Some(output.shown());
        }
    }
    document
}
