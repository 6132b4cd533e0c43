//! One request after its rights are proven: path ids, query parameters, headers and the whole body.
//!
//! Everything is bounded before it is read; a body over its route's limit is refused unread.

use std::sync::Arc;

use axum::{
    RequestPartsExt as _,
    extract::{FromRequest, Query, RawPathParams, Request},
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, IF_MATCH},
    },
    response::{IntoResponse as _, Response},
};
use fanfare_hub::{
    Hub,
    access::{Action, Principal},
    ids::{DeviceId, IdentityId, ModuleId},
    time::Timestamp,
};
use fanfare_wire::{
    decode,
    error::ErrorCode,
    etag::IfMatch,
    http::{API_VERSION_PARAMETER, ApiVersion},
    query::{HEADER_CONTINUATION, HEADER_MAX_ITEM_COUNT, PAGE_ITEMS_MAX, page_items},
};
use serde::de::DeserializeOwned;

use super::{
    Rest,
    body::{Received, receive},
    error::Refusal,
};
use crate::{
    audit::{Noted, Trail},
    auth::Unauthorized,
};

/// What the guard found out about a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proven {
    /// How large its body may be, in bytes.
    pub(crate) body_max: usize,
    /// Whether the route belongs to the contract, which has versions.
    pub(crate) versioned: bool,
}

/// A request that may be served.
pub(crate) struct Call {
    principal: Option<Principal>,
    version: Option<ApiVersion>,
    path: Vec<(Arc<str>, String)>,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
    body: Received,
    trail: Option<Trail>,
}

impl FromRequest<Arc<Rest>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<Rest>) -> Result<Self, Response> {
        Self::read(request)
            .await
            .map_err(|refusal| refusal.into_response())
    }
}

impl Call {
    async fn read(request: Request) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let proven = *parts.extensions.get::<Proven>().ok_or(Unauthorized)?;
        let principal = parts.extensions.get::<Principal>().cloned();
        let trail = parts.extensions.get::<Trail>().cloned();
        let parameters = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Refusal::invalid("the query parameters cannot be decoded"))?
            .0;
        let version = parameters
            .iter()
            .find(|(name, _)| name == API_VERSION_PARAMETER)
            .and_then(|(_, text)| ApiVersion::parse(text));
        if proven.versioned && version.is_none() {
            // compat: HTTP-1
            let text = "api-version must be a date such as 2021-04-12";
            return Err(Refusal::new(ErrorCode::InvalidProtocolVersion, text));
        }
        let path = parts
            .extract::<RawPathParams>()
            .await
            .map_err(|_| Refusal::invalid("a part of the path is not percent-encoded UTF-8"))?;
        let mut path: Vec<(Arc<str>, String)> = path
            .iter()
            .map(|(name, text)| (Arc::from(name), text.to_owned()))
            .collect();
        if parts.uri.path() == "/devices/query" {
            // A route of its own, but also where a device of this name is found.
            path.push(("device".into(), "query".to_owned()));
        }
        let headers = parts.headers;
        check_encoding(&headers)?;
        let body = receive(body, proven.body_max).await?;
        Ok(Self {
            principal,
            version,
            path,
            parameters,
            headers,
            body,
            trail,
        })
    }

    /// A part of the path, decoded once.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.optional_part(name).unwrap_or_default()
    }

    fn optional_part(&self, name: &str) -> Option<&str> {
        let found = self.path.iter().find(|(part, _)| &**part == name);
        found.map(|(_, text)| text.as_str())
    }

    /// The device in the path. Text that no device can have is refused as absent when it is only asked
    /// for, as invalid when it is to be created.
    pub(crate) fn device(&self) -> Result<IdentityId, Refusal> {
        let text = self.part("device");
        DeviceId::parse(text)
            .map(IdentityId::device)
            .map_err(|_| Refusal::no_device(text))
    }

    /// The device to be created or changed.
    pub(crate) fn new_device(&self) -> Result<IdentityId, Refusal> {
        let id = DeviceId::parse(self.part("device"));
        id.map(IdentityId::device)
            .map_err(|error| Refusal::invalid(error.to_string()))
    }

    /// The device or module in the path. That it is there, nobody has looked at yet; whoever does asks
    /// [`Call::found`] about the result.
    pub(crate) async fn identity(&self, hub: &Hub) -> Result<IdentityId, Refusal> {
        let device = self.device()?;
        let Some(text) = self.optional_part("module") else {
            return Ok(device);
        };
        let module = ModuleId::parse(text);
        let module = module.map_err(|_| Refusal::no_module(device.device.as_str(), text));
        Ok(IdentityId {
            module: Some(self.found(hub, module).await?),
            ..device
        })
    }

    /// Of a module that was not found, says so of its device where that is missing too: nobody looks at the
    /// device while the module is there. compat: REG-16
    pub(crate) async fn found<T>(
        &self,
        hub: &Hub,
        result: Result<T, impl Into<Refusal>>,
    ) -> Result<T, Refusal> {
        let refusal = match result.map_err(Into::into) {
            Err(refusal) if refusal.code() == ErrorCode::ModuleNotFound => refusal,
            other => return other,
        };
        let device = self.device()?;
        Err(match hub.registry.get(&device).await? {
            Some(_) => refusal,
            None => Refusal::no_identity(&device),
        })
    }

    /// The module to be created or changed.
    pub(crate) fn new_module(&self) -> Result<IdentityId, Refusal> {
        // Text that no module can have is refused as such before anybody is looked for.
        let module = ModuleId::parse(self.part("module"))
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        Ok(IdentityId {
            module: Some(module),
            ..self.device()?
        })
    }

    /// A query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str())
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that must be text if it is there: a page begun elsewhere than asked would mislead.
    fn text_header(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let value = self.headers.get(name).map(|value| value.to_str());
        value
            .transpose()
            .map_err(|_| Refusal::invalid(format!("{name} is not ASCII text")))
    }

    /// The precondition. One that is no text matches nothing, as if no version had ever been called so.
    /// compat: HTTP-19
    pub(crate) fn if_match(&self) -> IfMatch {
        match self.headers.get(IF_MATCH) {
            None => IfMatch::Absent,
            Some(value) => IfMatch::parse(Some(value.to_str().unwrap_or_default())),
        }
    }

    /// How many items the caller wants in a page, and where it begins. compat: HTTP-11, HTTP-12
    pub(crate) fn page(&self) -> Result<(u32, Option<String>), Refusal> {
        let wished = self
            .text_header(HEADER_MAX_ITEM_COUNT)?
            .or_else(|| self.parameter("maxCount"))
            .or_else(|| self.parameter("pageSize"));
        let items = page_items(wished).ok_or_else(|| {
            let text = format!("{HEADER_MAX_ITEM_COUNT} must be a number, 1 to {PAGE_ITEMS_MAX}");
            Refusal::invalid(text)
        })?;
        let continuation = self
            .text_header(HEADER_CONTINUATION)?
            .filter(|token| !token.is_empty());
        Ok((items, continuation.map(str::to_owned)))
    }

    /// The version asked for; the oldest for routes without one.
    pub(crate) fn version(&self) -> ApiVersion {
        self.version.unwrap_or(ApiVersion::CLASSIC_ERRORS_LAST)
    }

    /// Who calls.
    ///
    /// # Errors
    /// Nobody had to prove anything: the route is open.
    pub(crate) fn principal(&self) -> Result<&Principal, Unauthorized> {
        self.principal.as_ref().ok_or(Unauthorized)
    }

    /// Until when the caller's token holds.
    pub(crate) fn until(&self) -> Timestamp {
        let principal = self.principal.as_ref();
        principal.map_or(Timestamp::FAR_FUTURE, |principal| principal.until)
    }

    /// How long the body is.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.bytes.len()
    }

    /// Adds to what the audit log will say of this request: never a secret, a key or a payload.
    pub(crate) fn note(&self, add: impl FnOnce(&mut Noted)) {
        if let Some(trail) = &self.trail {
            trail.note(add);
        }
    }

    /// Reads the body, whatever content type it claims.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        Ok(decode(&self.body.bytes)?)
    }

    /// Refuses unless the caller may do `action`.
    pub(crate) fn require(&self, action: Action) -> Result<(), Unauthorized> {
        if self.principal()?.may(action) {
            Ok(())
        } else {
            Err(Unauthorized)
        }
    }
}

/// Bodies are read as they are: one that says it is compressed is not taken for what it is not.
/// compat: HTTP-17
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain {
        return Ok(());
    }
    let text = "the content encoding is not identity, the hub reads no other";
    Err(Refusal::new(ErrorCode::IncompatibleDataType, text))
}
