//! Direct methods: the call, and the checks that a job's call shares with it.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::{ids::MethodName, json::JsonText, limits, method::MethodCall};
use fanfare_wire::{
    RawValue,
    error::ErrorCode,
    method::{MethodRequest, MethodResponse},
};

use super::{Rest, call::Call, error::Refusal, reply};

/// `POST /twins/{id}/methods`: waits for the device's answer. compat: METHOD-3
pub(super) async fn invoke(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = call.identity(&rest.hub).await?;
    let request: MethodRequest = call.decode()?;
    let name = name(&request)?;
    call.note(|noted| noted.detail("method", name.as_str()));
    let method = MethodCall {
        name,
        payload: payload(&request)?,
        response_seconds: response_seconds(&request)?,
        connect_seconds: connect_seconds(&request)?.unwrap_or(0),
    };
    let answered = rest.hub.methods.invoke(&id, method).await;
    let answer = answered.map_err(|error| Refusal::method(&error, call.version()));
    let answer = call.found(&rest.hub, answer).await?;
    call.note(|noted| noted.detail("answer", answer.status));
    let raw = |text: JsonText| RawValue::from_string(text.as_str().to_owned());
    let payload = answer.payload.map(raw).transpose().map_err(|_| {
        Refusal::new(
            ErrorCode::GenericBadGateway,
            "the answer of the device cannot be passed on",
        )
    })?;
    Ok(reply::json(&MethodResponse {
        status: i64::from(answer.status),
        payload,
    }))
}

/// compat: METHOD-1
pub(super) fn name(request: &MethodRequest) -> Result<MethodName, Refusal> {
    let text = request
        .method_name
        .as_deref()
        .filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refusal::missing("methodName is missing"))?;
    MethodName::parse(text).map_err(|error| Refusal::invalid(format!("methodName: {error}")))
}

/// compat: METHOD-4, METHOD-5
pub(super) fn payload(request: &MethodRequest) -> Result<JsonText, Refusal> {
    let Some(payload) = &request.payload else {
        return Ok(JsonText::null());
    };
    let bytes = payload.get().len();
    if bytes > limits::METHOD_PAYLOAD_BYTES_MAX {
        let max = limits::METHOD_PAYLOAD_BYTES_MAX;
        return Err(Refusal::invalid(format!(
            "payload has {bytes} bytes, at most {max} are allowed"
        )));
    }
    JsonText::parse(payload.get().as_bytes())
        .ok_or_else(|| Refusal::invalid("payload must be JSON of at most 128 levels"))
}

pub(super) fn response_seconds(request: &MethodRequest) -> Result<u32, Refusal> {
    let range = limits::METHOD_RESPONSE_SECONDS;
    let Some(seconds) = request.response_timeout_in_seconds else {
        return Ok(limits::METHOD_RESPONSE_SECONDS_DEFAULT);
    };
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| range.contains(seconds))
        .ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            let text = format!("responseTimeoutInSeconds is {seconds}, must be {from} to {to}");
            Refusal::invalid(text)
        })
}

pub(super) fn connect_seconds(request: &MethodRequest) -> Result<Option<u32>, Refusal> {
    let max = limits::METHOD_CONNECT_SECONDS_MAX;
    let Some(seconds) = request.connect_timeout_in_seconds else {
        return Ok(None);
    };
    let checked = u32::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= max);
    checked.map(Some).ok_or_else(|| {
        Refusal::invalid(format!(
            "connectTimeoutInSeconds is {seconds}, must be 0 to {max}"
        ))
    })
}
