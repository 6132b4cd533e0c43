//! What a refusal looks like: the table of error codes and the bodies that carry them.
//!
//! The service API has two body forms, the devices' MQTT topics a third. Which one a route answers is the
//! front end's decision; how each is spelled is decided here. Tracking ids and times are arguments.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident = $number:literal,)+) => {
        /// A code of the contract's table: name, number, and by the number the HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code of the table, in the order of their numbers.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),+];

            /// The name, as in `ErrorCode:DeviceNotFound;...` and in the header `iothub-errorcode`.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name)),+ }
            }

            /// The six-digit number.
            pub const fn number(self) -> u32 {
                match self { $(ErrorCode::$name => $number),+ }
            }
        }
    };
}

error_codes! {
    /// The request makes no sense in a way no other code names.
    GenericBadRequest = 400000,
    /// The API version is missing or not a date.
    InvalidProtocolVersion = 400001,
    /// The operation does not fit what it is asked of.
    InvalidOperation = 400003,
    /// An argument has a wrong value.
    ArgumentInvalid = 400004,
    /// An argument is missing.
    ArgumentNull = 400005,
    /// The body is not valid JSON.
    IotHubFormatError = 400006,
    /// One bulk call names a device twice.
    DeviceDefinedMultipleTimes = 400011,
    /// A bulk call failed in part.
    BulkRegistryOperationFailure = 400013,
    /// A newer connection of the same identity took over.
    ConnectionForcefullyClosedOnNewConnection = 400027,
    /// The target condition of a configuration does not parse.
    InvalidConfigurationTargetCondition = 400401,
    /// No or bad credentials, or a right is missing; which one is not told.
    IotHubUnauthorizedAccess = 401002,
    /// A token is malformed or has expired.
    IotHubUnauthorized = 401003,
    /// A quota of the hub is used up.
    IotHubQuotaExceeded = 403002,
    /// Too many import or export jobs at once.
    JobQuotaExceeded = 403003,
    /// The device's queue of messages is full.
    DeviceMaximumQueueDepthExceeded = 403004,
    /// The hub does not offer this operation.
    OperationNotAvailableInCurrentTier = 403010,
    /// The device is disabled.
    DeviceDisabled = 403012,
    /// Too many method calls to one device at once.
    DeviceMaximumInflightMethodExceeded = 403800,
    /// No such device, or it is disabled.
    DeviceNotFound = 404001,
    /// No such job.
    JobNotFound = 404002,
    /// No such module.
    ModuleNotFound = 404010,
    /// The device is not connected or does not take methods.
    DeviceNotOnline = 404103,
    /// A connection ended from the other side.
    ConnectionClosedRemotely = 404104,
    /// No such configuration.
    ConfigurationNotFound = 404301,
    /// No such shared access policy. Ours.
    PolicyNotFound = 404801,
    /// No such certificate authority. Ours.
    AuthorityNotFound = 404802,
    /// The path does not know this verb.
    GenericMethodNotAllowed = 405000,
    /// A job cannot be cancelled in its state.
    OperationNotAllowedInCurrentState = 405102,
    /// The device id is taken.
    DeviceAlreadyExists = 409001,
    /// A newer link took over.
    LinkCreationConflict = 409002,
    /// The device job is there already.
    DeviceJobAlreadyExists = 409103,
    /// The job id is taken.
    JobAlreadyExists = 409104,
    /// The module id is taken on this device.
    ModuleAlreadyExistsOnDevice = 409301,
    /// The configuration id is taken.
    ConfigurationAlreadyExists = 409401,
    /// The policy's name is taken. Ours.
    PolicyAlreadyExists = 409801,
    /// The authority's name is taken, or its certificate is there under another. Ours.
    AuthorityAlreadyExists = 409802,
    /// The etag does not match.
    PreconditionFailed = 412001,
    /// The lock on a message has run out.
    DeviceMessageLockLost = 412002,
    /// A device job found its device not ready before the deadline; used in rows only.
    JobRunPreconditionFailed = 412003,
    /// The body is too large.
    MessageTooLarge = 413001,
    /// Too many devices in one call, or in the hub.
    TooManyDevices = 413002,
    /// Too many modules on one device.
    TooManyModulesOnDevice = 413003,
    /// The content has a type the hub does not read.
    IncompatibleDataType = 415101,
    /// Too many requests.
    ThrottlingException = 429001,
    /// Too many requests are waiting already.
    ThrottleBacklogLimitExceeded = 429002,
    /// A request waited too long for its turn.
    ThrottlingBacklogTimeout = 429003,
    /// Too many jobs at once.
    ThrottlingMaxActiveJobCountExceeded = 429004,
    /// A fault of the hub.
    ServerError = 500001,
    /// The hub took too long.
    GenericTimeout = 500008,
    /// The device's answer cannot be passed on.
    GenericBadGateway = 502000,
    /// The hub is starting, stopping or overloaded.
    ServiceUnavailable = 503001,
    /// The device did not answer in time.
    GatewayTimeout = 504101,
}

impl ErrorCode {
    /// The HTTP status: the number's first three digits.
    pub const fn status(self) -> u16 {
        (self.number() / 1_000) as u16
    }

    /// The code of that name, or `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The code of that number, or `None`.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.number() == number)
    }
}

/// What lets an operator find one refusal again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// Random; printed as 32 hex digits.
    pub id: u128,
    /// When the request was refused.
    pub at: Timestamp,
}

impl Tracking {
    /// `<32 hex>-G:1-TimeStamp:MM/dd/yyyy HH:mm:ss`. compat: HTTP-6
    pub fn text(self) -> String {
        format!("{:032x}-G:1-TimeStamp:{}", self.id, self.at.tracking_form())
    }
}

/// The body of a refused request of the service API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    #[serde(rename = "Message")]
    message: String,
    #[serde(rename = "ExceptionMessage")]
    exception_message: String,
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    error_code: Option<u32>,
}

impl ErrorBody {
    /// The classic form, `ErrorCode:<Name>;<text>`, and the number for the Java SDK.
    /// compat: HTTP-6, HTTP-8
    pub fn classic(code: ErrorCode, text: &str, tracking: Tracking) -> Self {
        Self {
            message: format!("ErrorCode:{};{}", code.name(), shown_text(code, text)),
            exception_message: format!("Tracking ID:{}", tracking.text()),
            error_code: Some(code.number()),
        }
    }

    /// The form of newer versions for devices that cannot be reached: `Message` is itself a JSON text.
    /// `connect_seconds` is the connect time-out of the call and belongs to
    /// [`ErrorCode::DeviceNotOnline`] only. compat: HTTP-7
    pub fn nested(
        code: ErrorCode,
        text: &str,
        connect_seconds: Option<u64>,
        tracking: Tracking,
    ) -> Self {
        let inner = NestedMessage {
            error_code: code.number(),
            tracking_id: tracking.text(),
            message: shown_text(code, text),
            info: NestedInfo {
                timeout: connect_seconds.map(clock_form),
            },
            timestamp_utc: tracking.at,
        };
        Self {
            message: to_json(&inner),
            exception_message: String::new(),
            error_code: None,
        }
    }

    /// The body's bytes.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

/// The body on `$iothub/twin/res/{status}` when a twin operation of a device is refused. It must be there:
/// a Node device crashes on an empty one and decides by `errorCode`. compat: MQTT-8
pub fn device_error_body(code: ErrorCode, text: &str, tracking: Tracking) -> String {
    to_json(&DeviceError {
        error_code: code.number(),
        tracking_id: tracking.text(),
        message: shown_text(code, text),
        timestamp_utc: tracking.at,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NestedMessage {
    error_code: u32,
    tracking_id: String,
    message: String,
    info: NestedInfo,
    timestamp_utc: Timestamp,
}

#[derive(Serialize)]
struct NestedInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceError {
    error_code: u32,
    tracking_id: String,
    message: String,
    timestamp_utc: Timestamp,
}

/// The text as it may stand in a body: Node cuts at a second semicolon and drops an empty part.
/// compat: HTTP-6
fn shown_text(code: ErrorCode, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        code.name().to_owned()
    } else {
        text.replace(';', ",")
    }
}

/// Seconds as `hh:mm:ss`.
fn clock_form(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn to_json<T: Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("error bodies hold text and numbers only")
}

/// What a client can learn from an error body, whichever form it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorReport {
    /// The code's name, when the body or the table tells it.
    pub name: Option<String>,
    /// The code's number, when the body or the table tells it.
    pub number: Option<u32>,
    /// The text for a person.
    pub text: String,
    /// The tracking id with its time.
    pub tracking_id: Option<String>,
}

impl ErrorReport {
    /// Reads a body of any of the three forms; `None` when it is none of them.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let members: ReadBody = serde_json::from_slice(body).ok()?;
        let report = match &members.upper_message {
            Some(message) => Self::from_service(&members, message),
            None => Self::from_inner(&members)?,
        };
        Some(report.completed())
    }

    /// The code, when it is one of the table.
    pub fn code(&self) -> Option<ErrorCode> {
        self.number
            .and_then(ErrorCode::from_number)
            .or_else(|| self.name.as_deref().and_then(ErrorCode::from_name))
    }

    fn from_service(members: &ReadBody, message: &str) -> Self {
        if let Ok(inner) = serde_json::from_str::<ReadBody>(message)
            && let Some(report) = Self::from_inner(&inner)
        {
            return report;
        }
        let (name, text) = match message
            .strip_prefix("ErrorCode:")
            .and_then(|m| m.split_once(';'))
        {
            Some((name, text)) => (Some(name.to_owned()), text),
            None => (None, message),
        };
        let tracking_id = members
            .exception_message
            .as_deref()
            .and_then(|text| text.strip_prefix("Tracking ID:"))
            .map(str::to_owned);
        Self {
            name,
            number: members.error_code,
            text: text.to_owned(),
            tracking_id,
        }
    }

    fn from_inner(members: &ReadBody) -> Option<Self> {
        Some(Self {
            name: None,
            number: Some(members.error_code?),
            text: members.lower_message.clone().unwrap_or_default(),
            tracking_id: members.tracking_id.clone(),
        })
    }

    /// Fills in the name from the number, or the number from the name.
    fn completed(mut self) -> Self {
        if let Some(code) = self.code() {
            self.name.get_or_insert_with(|| code.name().to_owned());
            self.number.get_or_insert(code.number());
        }
        self
    }
}

#[derive(Deserialize)]
struct ReadBody {
    #[serde(rename = "Message", default)]
    upper_message: Option<String>,
    #[serde(rename = "ExceptionMessage", default)]
    exception_message: Option<String>,
    #[serde(rename = "errorCode", default)]
    error_code: Option<u32>,
    #[serde(rename = "message", default)]
    lower_message: Option<String>,
    #[serde(rename = "trackingId", default)]
    tracking_id: Option<String>,
}

#[cfg(test)]
mod tests;
