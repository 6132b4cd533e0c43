//! Direct methods: the request, also inside a job, and the answer.
//!
//! Payloads are JSON text that the hub passes on as written.

use serde::{Deserialize, Serialize};

use crate::{RawValue, field, json};

/// A method call, as `POST /twins/{id}/methods` and as a job's `cloudToDeviceMethod`. Unknown members are
/// ignored, null means absent, numbers may be text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodRequest {
    /// Which method; the caller of this crate checks that it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_name: Option<String>,
    /// What the device is given; `None` for absent or null. Python's "nothing" arrives as an empty string and
    /// stays one. compat: METHOD-5
    #[serde(default, deserialize_with = "json::payload")]
    pub payload: Option<Box<RawValue>>,
    /// How long the device may take to answer; the CLI sends it as text. compat: METHOD-2
    #[serde(
        default,
        deserialize_with = "field::whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub response_timeout_in_seconds: Option<u64>,
    /// How long to wait for the device to connect.
    #[serde(
        default,
        deserialize_with = "field::whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout_in_seconds: Option<u64>,
}

/// A device's answer. The HTTP status is 200 whatever `status` says. compat: METHOD-3
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodResponse {
    /// The device's own status: any integer.
    pub status: i64,
    /// The device's payload; an empty answer is null. compat: METHOD-3
    #[serde(default, deserialize_with = "json::payload")]
    pub payload: Option<Box<RawValue>>,
}

/// Largest payload of a request or an answer, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1_024;

/// Turns bytes into a payload: JSON text as it is, no bytes at all into `None`. Also the null that some
/// devices send for "nothing" is `None`.
///
/// # Errors
/// [`PayloadError`] when the bytes are not one JSON value, too many, or nested deeper than
/// [`crate::DEPTH_MAX`].
pub fn payload_from_bytes(bytes: &[u8]) -> Result<Option<Box<RawValue>>, PayloadError> {
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(PayloadError::TooLarge);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let payload =
        json::payload(&mut input).map_err(|fault| PayloadError::Json(fault.to_string()))?;
    input
        .end()
        .map_err(|fault| PayloadError::Json(fault.to_string()))?;
    Ok(payload)
}

/// Why bytes are not a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// More than [`PAYLOAD_BYTES_MAX`] bytes.
    #[error("the payload is larger than {PAYLOAD_BYTES_MAX} bytes")]
    TooLarge,
    /// Not one JSON value, or nested too deep.
    #[error("the payload is not usable JSON: {0}")]
    Json(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    fn payload_text(body: &str) -> Option<String> {
        let request: MethodRequest = decode(body.as_bytes()).unwrap();
        request.payload.map(|raw| raw.get().to_owned())
    }

    #[test]
    fn the_forms_of_both_sdks_are_read() {
        let node = br#"{"methodName":"m","responseTimeoutInSeconds":30,"connectTimeoutInSeconds":0,"payload":null,"timeoutInSeconds":9}"#;
        let request: MethodRequest = decode(node).unwrap();
        assert_eq!(request.method_name.as_deref(), Some("m"));
        assert_eq!(request.response_timeout_in_seconds, Some(30));
        assert_eq!(request.connect_timeout_in_seconds, Some(0));
        assert!(request.payload.is_none());

        let cli =
            br#"{"methodName":"m","responseTimeoutInSeconds":"30","connectTimeoutInSeconds":null}"#;
        let request: MethodRequest = decode(cli).unwrap();
        assert_eq!(request.response_timeout_in_seconds, Some(30));
        assert_eq!(request.connect_timeout_in_seconds, None);
    }

    #[test]
    fn payloads_are_kept_as_they_were_written() {
        for (body, want) in [
            (r#"{"methodName":"m"}"#, None),
            (r#"{"payload":null}"#, None),
            (r#"{"payload":""}"#, Some(r#""""#)),
            (r#"{"payload":0}"#, Some("0")),
            (r#"{"payload":false}"#, Some("false")),
            (
                r#"{"payload": {"b": 1.50, "a":[ ]} }"#,
                Some(r#"{"b": 1.50, "a":[ ]}"#),
            ),
            (
                r#"{"payload":12345678901234567890123}"#,
                Some("12345678901234567890123"),
            ),
        ] {
            assert_eq!(payload_text(body).as_deref(), want, "{body}");
        }
    }

    #[test]
    fn an_echo_has_a_payload_even_when_it_is_null() {
        let request: MethodRequest = decode(br#"{"methodName":"m"}"#).unwrap();
        let echo = serde_json::to_string(&request).unwrap();
        assert_eq!(echo, r#"{"methodName":"m","payload":null}"#);
    }

    #[test]
    fn answers_print_and_read_back() {
        let answer = MethodResponse {
            status: 404,
            payload: payload_from_bytes(br#"{"ok":false}"#).unwrap(),
        };
        let json = serde_json::to_string(&answer).unwrap();
        assert_eq!(json, r#"{"status":404,"payload":{"ok":false}}"#);
        let read: MethodResponse = decode(json.as_bytes()).unwrap();
        assert_eq!(
            (read.status, read.payload.unwrap().get()),
            (404, r#"{"ok":false}"#)
        );
        let empty = MethodResponse {
            status: 200,
            payload: None,
        };
        assert_eq!(
            serde_json::to_string(&empty).unwrap(),
            r#"{"status":200,"payload":null}"#
        );
    }

    #[test]
    fn device_bytes_become_payloads() {
        let text =
            |bytes: &[u8]| payload_from_bytes(bytes).map(|raw| raw.map(|raw| raw.get().to_owned()));
        assert_eq!(text(b""), Ok(None));
        assert_eq!(text(b" "), Ok(None));
        assert_eq!(text(b"null"), Ok(None));
        assert_eq!(text(b" [1] "), Ok(Some("[1]".to_owned())));
        assert_eq!(
            text(&vec![b'1'; PAYLOAD_BYTES_MAX + 1]),
            Err(PayloadError::TooLarge)
        );
        for bytes in [&b"{"[..], b"1 2", b"\xff", b"{'a':1}"] {
            assert!(
                matches!(text(bytes), Err(PayloadError::Json(_))),
                "{bytes:?}"
            );
        }
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        assert!(payload_from_bytes(deep.as_bytes()).is_err());
    }
}
