//! Why a call failed, told apart by what the caller can do about it.

use fanfare_wire::error::ErrorReport;

/// Why a call failed.
///
/// [`Error::status`] and [`Error::code`] are what the contract says about a refusal:
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
    /// The connection string cannot be used.
    #[error("the connection string is not valid: {0}")]
    ConnectionString(String),
    /// The endpoint is not `https://HOST[:PORT]`.
    #[error("'{0}' is not an endpoint such as https://hub.example.com")]
    Endpoint(String),
    /// The key cannot sign.
    #[error("the shared access key cannot sign: {0}")]
    Key(String),
    /// The certificate given to trust cannot be used.
    #[error("the CA certificate cannot be used: {0}")]
    Trust(String),
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// No reply: not reachable, cut, or too slow. A call that changes something may have been done.
    #[error("no reply from the hub")]
    Transport(#[from] reqwest::Error),
    /// The hub said no.
    #[error("{code}: {message} (status {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The contract's name, for example `JobNotFound`.
        code: String,
        /// The hub's words.
        message: String,
        /// What to quote when asking the operator, when the hub gave one.
        tracking_id: Option<String>,
    },
    /// The reply is not what the contract promises.
    #[error("the reply cannot be read")]
    Reply(#[source] serde_json::Error),
}

impl Error {
    /// HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The contract's name of a refusal, for example `JobNotFound`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Reads a refusal, in whichever form the hub wrote it.
    pub(crate) fn refused(status: u16, code_header: Option<&str>, body: &[u8]) -> Self {
        let report = ErrorReport::parse(body).unwrap_or_default();
        let code = code_header.map(str::to_owned).or(report.name);
        Self::Refused {
            status,
            code: code.unwrap_or_else(|| "Unknown".to_owned()),
            message: report.text,
            tracking_id: report.tracking_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_refusal_are_read() {
        let classic = br#"{"Message":"ErrorCode:JobNotFound;job j-1 does not exist","ExceptionMessage":"Tracking ID:00ff-G:1-TimeStamp:02/03/2031 04:05:06"}"#;
        let error = Error::refused(404, None, classic);
        assert_eq!(
            (error.status(), error.code()),
            (Some(404), Some("JobNotFound"))
        );
        assert_eq!(
            error.to_string(),
            "JobNotFound: job j-1 does not exist (status 404)"
        );

        let nested = br#"{"Message":"{\"errorCode\":404103,\"message\":\"Timed out waiting for device to connect.\"}","ExceptionMessage":""}"#;
        let error = Error::refused(404, Some("DeviceNotOnline"), nested);
        assert_eq!(error.code(), Some("DeviceNotOnline"));
        assert_eq!(
            Error::refused(404, None, nested).code(),
            Some("DeviceNotOnline")
        );

        let error = Error::refused(502, None, b"<html>");
        assert_eq!((error.status(), error.code()), (Some(502), Some("Unknown")));
    }
}
