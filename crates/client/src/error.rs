//! Why a call failed, told apart by what the caller can do about it.
//!
//! Every error of a call names the request (never its credential) and says whether the hub may have done what was
//! asked. How a failure of the network or a status becomes one of these is [`crate::transport`]'s decision.

use std::fmt;
use std::time::Duration;

use fanfare_wire::Timestamp;
use fanfare_wire::error::{ErrorCode, ErrorReport};
use http::Method;

use crate::CredentialError;
use crate::transport::connect::is_lasting;

/// What lies below an error.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
///
/// [`Error::status`], [`Error::code`] and [`Error::number`] are what the contract says about a refusal:
///
/// ```no_run
/// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
/// match jobs.get_job("j-17").await {
///     Err(error) if error.code() == Some("JobNotFound") => println!("never scheduled"),
///     other => println!("{}", other?.status),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client cannot be made from what it was given. Nothing was sent; mend the settings.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An argument cannot be put into a request. Nothing was sent; mend the argument.
    #[error("{0}")]
    Argument(String),
    /// The ready-made shared access signature has ended. Nothing was sent; get a new one.
    #[error("the shared access signature expired at {at}")]
    SignatureExpired {
        /// Its `se`.
        at: Timestamp,
    },
    /// The [`crate::TokenCredential`] gave no token. Nothing was sent.
    #[error("no token for the hub")]
    Credential(#[source] CredentialError),
    /// No connection to the hub was made. Nothing was sent.
    #[error("{host} cannot be reached")]
    Unreachable {
        /// Host and port that were tried.
        host: String,
        /// What was to be sent.
        request: Box<RequestLine>,
        /// Whether an earlier try of the same call may have been done all the same.
        may_have_been_done: bool,
        /// The name is unknown, the port closed, the certificate not trusted, ...
        #[source]
        source: Cause,
    },
    /// The request was sent, or may have been, and no whole reply came: cut, or too slow.
    #[error("no reply to {request}")]
    NoReply {
        /// What was sent.
        request: Box<RequestLine>,
        /// Whether the hub may have done what was asked.
        may_have_been_done: bool,
        /// How the reply was lost.
        #[source]
        source: Cause,
    },
    /// The hub said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// There is a reply, but not what the contract promises. What was asked may have been done.
    #[error("the reply to {request} cannot be read")]
    Reply {
        /// What was sent.
        request: Box<RequestLine>,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
}

impl Error {
    /// HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// The contract's name of a refusal, for example `JobNotFound`; `None` when the hub gave none.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.refusal()?.code.as_deref()
    }

    /// The contract's number of a refusal, for example 404002; `None` when the hub gave none.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.refusal()?.number
    }

    /// The hub's words about a refusal.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.message.as_str())
    }

    /// What to quote when asking the operator of the hub about a refusal.
    #[must_use]
    pub fn tracking_id(&self) -> Option<&str> {
        self.refusal()?.tracking_id.as_deref()
    }

    /// All the hub said, when it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same call may succeed later with nothing mended: the hub was not reached, overloaded, or at fault.
    /// A certificate that is not trusted will not be trusted later; neither will a proxy's password be right.
    #[must_use]
    pub fn can_retry_help(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Argument(_) | Self::SignatureExpired { .. } => false,
            Self::Reply { .. } => false,
            Self::Unreachable { source, .. } => !is_lasting(source),
            Self::Credential(_) | Self::NoReply { .. } => true,
            Self::Refused(refusal) => {
                refusal.status == 429 || leaves_open_whether_it_was_done(refusal.status)
            }
        }
    }

    /// Whether the hub may have done what was asked although the call failed.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Argument(_) => false,
            Self::SignatureExpired { .. } | Self::Credential(_) => false,
            Self::Unreachable {
                may_have_been_done, ..
            }
            | Self::NoReply {
                may_have_been_done, ..
            } => *may_have_been_done,
            Self::Refused(refusal) => refusal.may_have_been_done,
            Self::Reply { .. } => true,
        }
    }

    /// Method and path that were sent, or were to be.
    #[must_use]
    pub fn request(&self) -> Option<&RequestLine> {
        match self {
            Self::Unreachable { request, .. }
            | Self::NoReply { request, .. }
            | Self::Reply { request, .. } => Some(request),
            Self::Refused(refusal) => Some(&refusal.request),
            _ => None,
        }
    }

    /// Whether the hub says that there is no such thing, or not what it would be on. Any other 404 is of a box on the
    /// way.
    pub(crate) fn is_of_absence(&self) -> bool {
        let names = [
            ErrorCode::DeviceNotFound,
            ErrorCode::ModuleNotFound,
            ErrorCode::ConfigurationNotFound,
            ErrorCode::PolicyNotFound,
            ErrorCode::AuthorityNotFound,
        ];
        let code = self.code();
        self.status() == Some(404) && names.iter().any(|name| code == Some(name.name()))
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The connection string cannot be used.
    #[error("the connection string is not valid: {0}")]
    ConnectionString(String),
    /// The endpoint is not `https://HOST[:PORT]`.
    #[error("'{0}' is not an endpoint such as https://hub.example.com")]
    Endpoint(String),
    /// The key cannot sign.
    #[error("the shared access key cannot sign: {0}")]
    Key(String),
    /// The text is not a shared access signature of a hub.
    #[error("the shared access signature is not valid: {0}")]
    Signature(String),
    /// The certificates given to trust cannot be used.
    #[error("the CA certificate cannot be used: {0}")]
    Trust(String),
    /// The proxy is not `http://[USER:PASSWORD@]HOST:PORT`. The text is not repeated: it may hold a password.
    #[error("the proxy is not valid: {0}")]
    Proxy(String),
    /// An option cannot be put into requests.
    #[error("the option {0} is not valid")]
    Option(&'static str),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] Cause),
}

/// What a hub said when it refused.
///
/// ```no_run
/// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
/// if let Err(fanfare_client::Error::Refused(refusal)) = jobs.cancel_job("j-17").await {
///     println!("{} answered {}: {}", refusal.request, refusal.status, refusal.message);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The contract's name, for example `JobNotFound`.
    pub code: Option<String>,
    /// The contract's number, for example 404002.
    pub number: Option<u32>,
    /// The hub's words; the first words of the body when that has no form of the contract.
    pub message: String,
    /// What to quote when asking the operator.
    pub tracking_id: Option<String>,
    /// How long the hub asked to wait.
    pub retry_after: Option<Duration>,
    /// What was sent.
    pub request: RequestLine,
    /// Whether the hub may have done what was asked, in this try or an earlier one.
    pub may_have_been_done: bool,
}

impl Refusal {
    /// Reads a refusal, in whichever form the hub wrote it.
    pub(crate) fn read(
        request: RequestLine,
        status: u16,
        code_header: Option<&str>,
        body: &[u8],
    ) -> Self {
        let report = ErrorReport::parse(body).unwrap_or_else(|| ErrorReport {
            text: first_words(body),
            ..ErrorReport::default()
        });
        let code = code_header.map(str::to_owned).or(report.name);
        let known = code.as_deref().and_then(ErrorCode::from_name);
        Self {
            status,
            number: report.number.or(known.map(ErrorCode::number)),
            code,
            message: report.text,
            tracking_id: report.tracking_id,
            retry_after: None,
            request,
            may_have_been_done: leaves_open_whether_it_was_done(status),
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, self.message.as_str()) {
            (Some(code), "") => f.write_str(code)?,
            (Some(code), message) => write!(f, "{code}: {message}")?,
            (None, "") => f.write_str("refused")?,
            (None, message) => f.write_str(message)?,
        }
        write!(f, " (status {})", self.status)
    }
}

/// Statuses that say nothing about whether the request was carried out: a time-out or a fault, perhaps of a proxy.
pub(crate) fn leaves_open_whether_it_was_done(status: u16) -> bool {
    matches!(status, 408 | 500 | 502 | 503 | 504)
}

/// What a body that is none of the contract's says, cut short; a proxy's page must not fill a log.
fn first_words(body: &[u8]) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    let start = &body[..body.len().min(4 * SHOWN_CHARS_MAX)];
    let words = String::from_utf8_lossy(start);
    let line: Vec<&str> = words.split_whitespace().collect();
    line.join(" ").chars().take(SHOWN_CHARS_MAX).collect()
}

/// Method and path of a request, as `GET /jobs/v2/j-17`; neither host nor credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    method: Method,
    path: String,
}

impl RequestLine {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { method, path }
    }

    /// For example `PUT`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Path as sent, with its percent-encoding, without `api-version`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code_header: Option<&str>, body: &[u8]) -> Error {
        let request = RequestLine::new(Method::GET, "/jobs/v2/j-1");
        Error::Refused(Box::new(Refusal::read(request, status, code_header, body)))
    }

    #[test]
    fn both_forms_of_a_refusal_are_read() {
        let classic = br#"{"Message":"ErrorCode:JobNotFound;job j-1 does not exist","ExceptionMessage":"Tracking ID:00ff-G:1-TimeStamp:02/03/2031 04:05:06"}"#;
        let error = refusal(404, None, classic);
        assert_eq!(
            (error.status(), error.code(), error.number()),
            (Some(404), Some("JobNotFound"), Some(404_002))
        );
        assert_eq!(
            error.to_string(),
            "JobNotFound: job j-1 does not exist (status 404)"
        );
        assert_eq!(
            error.tracking_id(),
            Some("00ff-G:1-TimeStamp:02/03/2031 04:05:06")
        );
        assert_eq!(
            error.request().map(ToString::to_string).as_deref(),
            Some("GET /jobs/v2/j-1")
        );

        let nested = br#"{"Message":"{\"errorCode\":404103,\"message\":\"Timed out waiting for device to connect.\"}","ExceptionMessage":""}"#;
        let error = refusal(404, Some("DeviceNotOnline"), nested);
        assert_eq!(error.code(), Some("DeviceNotOnline"));
        assert_eq!(refusal(404, None, nested).code(), Some("DeviceNotOnline"));
    }

    #[test]
    fn a_stranger_s_page_is_cut_short() {
        let page = format!("<html>\n\n<h1>Bad   gateway</h1>{}", "x".repeat(5_000));
        let error = refusal(502, None, page.as_bytes());
        assert_eq!((error.status(), error.code()), (Some(502), None));
        let message = error.message().expect("a refusal has words");
        assert!(
            message.starts_with("<html> <h1>Bad gateway</h1>xxx"),
            "{message}"
        );
        assert_eq!(message.chars().count(), 200);
        assert_eq!(refusal(503, None, b"").to_string(), "refused (status 503)");
    }

    #[test]
    fn statuses_tell_whether_to_try_again_and_whether_it_may_be_done() {
        for (status, can_retry_help, may_have_been_done) in [
            (400, false, false),
            (401, false, false),
            (404, false, false),
            (408, true, true),
            (409, false, false),
            (412, false, false),
            (429, true, false),
            (500, true, true),
            (501, false, false),
            (502, true, true),
            (503, true, true),
            (504, true, true),
        ] {
            let error = refusal(status, None, b"");
            assert_eq!(error.can_retry_help(), can_retry_help, "{status}");
            assert_eq!(error.may_have_been_done(), may_have_been_done, "{status}");
        }
    }
}
