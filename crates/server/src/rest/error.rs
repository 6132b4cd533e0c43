//! The one place where the hub's errors become an HTTP status and an error code.
//!
//! A [`Refusal`] says what to answer; [`written`] puts it on the wire with a tracking id and the time. Texts
//! are for the caller: they name the field, what is wrong and what is allowed, and never a secret.

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use fanfare_hub::{
    configurations::{ApplyError, ConfigurationError},
    ids::IdentityId,
    jobs::{CancelError, ScheduleError, watch::WatchError},
    method::MethodError,
    ports::{StoreError, store::TwinWriteError},
    queries::PageError,
    registry::{IdentityError, RegistryError},
    time::Timestamp,
};
use fanfare_wire::{
    DecodeError,
    error::{ErrorBody, ErrorCode, Tracking},
    http::{ApiVersion, CONTENT_TYPE_JSON, HEADER_ERROR_CODE},
};
use uuid::Uuid;

use crate::auth::Unauthorized;

/// An answer that says no.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    code: ErrorCode,
    text: String,
    form: Form,
}

/// How the body is spelled.
#[derive(Debug, Clone, Copy)]
enum Form {
    Classic,
    /// For devices that cannot be reached, on newer versions; with the connect time-out that ran out.
    Nested(Option<u64>),
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            form: Form::Classic,
        }
    }

    /// A field has a wrong value.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::ArgumentInvalid, text)
    }

    /// A field is missing.
    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::ArgumentNull, text)
    }

    pub(crate) fn no_device(id: &str) -> Self {
        Self::new(
            ErrorCode::DeviceNotFound,
            format!("device {id} is not registered"),
        )
    }

    pub(crate) fn no_job(id: &str) -> Self {
        Self::new(ErrorCode::JobNotFound, format!("job {id} does not exist"))
    }

    pub(crate) fn no_module(device: &str, module: &str) -> Self {
        let text = format!("module {module} is not registered on device {device}");
        Self::new(ErrorCode::ModuleNotFound, text)
    }

    /// A device or module that is not there; the module's device is.
    pub(crate) fn no_identity(id: &IdentityId) -> Self {
        match &id.module {
            None => Self::no_device(id.device.as_str()),
            Some(module) => Self::no_module(id.device.as_str(), module.as_str()),
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A failed method call. Devices out of reach have a body form of their own, except on the oldest
    /// version. compat: HTTP-7
    pub(crate) fn method(error: &MethodError, version: ApiVersion) -> Self {
        let nested = |code, text: &str, connect_seconds| {
            let is_old = version <= ApiVersion::CLASSIC_ERRORS_LAST;
            let form = if is_old {
                Form::Classic
            } else {
                Form::Nested(connect_seconds)
            };
            Self {
                code,
                text: text.to_owned(),
                form,
            }
        };
        match error {
            MethodError::Absent(id) => Self::no_identity(id),
            MethodError::NotOnline { waited, .. } => nested(
                ErrorCode::DeviceNotOnline,
                "Timed out waiting for device to connect.",
                Some(waited.as_secs()),
            ),
            MethodError::TimedOut(_) => nested(
                ErrorCode::GatewayTimeout,
                "Timed out waiting for the response from device.",
                None,
            ),
            MethodError::Garbled(_) => Self::new(ErrorCode::GenericBadGateway, error.to_string()),
            MethodError::TooMany => Self::new(ErrorCode::ThrottlingException, error.to_string()),
            MethodError::Closing => Self::new(ErrorCode::ServiceUnavailable, error.to_string()),
            MethodError::Store(source) => source.clone().into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) | StoreError::Conflict => {
                tracing::error!(%error, "the store could not serve a request");
                let text = "the hub's store is not available at the moment";
                Self::new(ErrorCode::ServiceUnavailable, text)
            }
            StoreError::Absent(_) | StoreError::Corrupt(_) => {
                tracing::error!(%error, "the store could not serve a request");
                Self::new(ErrorCode::ServerError, "the hub's store failed")
            }
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Unauthorized> for Refusal {
    fn from(_: Unauthorized) -> Self {
        Self::new(ErrorCode::IotHubUnauthorizedAccess, "Unauthorized")
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let code = match &error {
            IdentityError::Exists(id) if id.module.is_some() => {
                ErrorCode::ModuleAlreadyExistsOnDevice
            }
            IdentityError::Exists(_) => ErrorCode::DeviceAlreadyExists,
            IdentityError::Absent(id) => return Self::no_identity(id),
            IdentityError::EtagMismatch(_) => ErrorCode::PreconditionFailed,
            IdentityError::ScopeFixed(_) => ErrorCode::ArgumentInvalid,
            IdentityError::TooManyModules(_) => ErrorCode::TooManyModulesOnDevice,
            IdentityError::EdgeModule(_) => ErrorCode::InvalidOperation,
            IdentityError::Twin { source, .. } => return Self::invalid(source.to_string()),
        };
        Self::new(code, error.to_string())
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Invalid { .. } => Self::invalid(error.to_string()),
            RegistryError::Identity(error) => error.into(),
            RegistryError::NoKeys(_) => Self::new(ErrorCode::InvalidOperation, error.to_string()),
            RegistryError::Store(error) => error.into(),
        }
    }
}

impl From<TwinWriteError> for Refusal {
    fn from(error: TwinWriteError) -> Self {
        match error {
            TwinWriteError::Absent(id) => Self::no_identity(&id),
            TwinWriteError::EtagMismatch(_) => {
                Self::new(ErrorCode::PreconditionFailed, error.to_string())
            }
            TwinWriteError::Twin(error) => Self::invalid(error.to_string()),
            TwinWriteError::Store(error) => error.into(),
        }
    }
}

impl From<ConfigurationError> for Refusal {
    fn from(error: ConfigurationError) -> Self {
        use ConfigurationError as E;
        let code = match &error {
            E::Exists(_) => ErrorCode::ConfigurationAlreadyExists,
            E::Absent(_) => ErrorCode::ConfigurationNotFound,
            E::EtagMismatch(_) => ErrorCode::PreconditionFailed,
            E::TooMany(_) => ErrorCode::IotHubQuotaExceeded,
            E::Condition(_) => ErrorCode::InvalidConfigurationTargetCondition,
            E::Content(_) | E::Metric { .. } | E::Invalid { .. } => ErrorCode::ArgumentInvalid,
            E::Store(source) => return source.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        match &error {
            ApplyError::Absent(id) => Self::no_identity(id),
            ApplyError::Store(source) => source.clone().into(),
            ApplyError::Content(_) | ApplyError::NothingForIt | ApplyError::Twin { .. } => {
                Self::invalid(error.to_string())
            }
        }
    }
}

impl From<PageError> for Refusal {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Query(error) => Self::invalid(error.to_string()),
            PageError::Continuation | PageError::TooMuch(_) => Self::invalid(error.to_string()),
            PageError::Store(error) => error.into(),
        }
    }
}

impl From<ScheduleError> for Refusal {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Condition(error) => Self::invalid(format!("queryCondition: {error}")),
            // compat: JOB-52
            ScheduleError::ConditionTooLong { .. } => {
                Self::new(ErrorCode::PreconditionFailed, error.to_string())
            }
            ScheduleError::Window => Self::invalid(error.to_string()),
            // compat: JOB-50
            ScheduleError::TooManyActive(_) => Self::new(
                ErrorCode::ThrottlingMaxActiveJobCountExceeded,
                error.to_string(),
            ),
            ScheduleError::IdTaken(_) => Self::new(ErrorCode::JobAlreadyExists, error.to_string()),
            ScheduleError::Store { source, .. } => source.into(),
        }
    }
}

impl From<CancelError> for Refusal {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Absent(id) => Self::no_job(id.as_str()),
            CancelError::TooLate(error) => Self::new(
                ErrorCode::OperationNotAllowedInCurrentState,
                error.to_string(),
            ),
            CancelError::Store { source, .. } => source.into(),
        }
    }
}

impl From<WatchError> for Refusal {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Absent(id) => Self::no_job(id.as_str()),
            // compat: JOB-61
            WatchError::TooMany { .. } => {
                Self::new(ErrorCode::ThrottlingException, error.to_string())
            }
            WatchError::Store(error) => error.into(),
        }
    }
}

impl IntoResponse for Refusal {
    /// The status alone; [`written`] adds the body, since it knows the time.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status())
            .expect("every code of the table begins with an HTTP status");
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The tracking id of a refusal, in the extensions of its answer.
#[derive(Debug, Clone)]
pub(crate) struct TrackingId(pub(crate) String);

/// Gives a refusal its body, its headers and a tracking id; other answers pass. compat: HTTP-6
pub(crate) fn written(mut response: Response, now: Timestamp) -> Response {
    let Some(refusal) = response.extensions_mut().remove::<Refusal>() else {
        return response;
    };
    let tracking = Tracking {
        id: Uuid::new_v4().as_u128(),
        at: fanfare_wire::Timestamp::from_micros(now.0),
    };
    if refusal.code.status() >= 500 {
        let id = tracking.text();
        tracing::warn!(error.code = refusal.code.name(), tracking.id = %id, "{}", refusal.text);
    }
    let body = match refusal.form {
        Form::Classic => ErrorBody::classic(refusal.code, &refusal.text, tracking),
        Form::Nested(seconds) => ErrorBody::nested(refusal.code, &refusal.text, seconds, tracking),
    };
    *response.body_mut() = Body::from(body.to_json());
    response
        .extensions_mut()
        .insert(TrackingId(tracking.text()));
    let is_throttled = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    if is_throttled {
        // Whoever refused may know better when to come again.
        let soonest = HeaderValue::from_static("1");
        headers.entry(RETRY_AFTER).or_insert(soonest);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_JSON));
    headers.insert(
        HEADER_ERROR_CODE,
        HeaderValue::from_static(refusal.code.name()),
    );
    response
}
