//! What can go wrong between a client and its hub, one request at a time.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use tokio::sync::Notify;

/// What happens to one request. A script of these is used up from the front, one for each request that arrives.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing: the hub answers.
    Pass,
    /// The TCP connection is accepted, the TLS handshake never answered. Needs a new connection.
    HangHandshake,
    /// The TCP connection is accepted and closed. Needs a new connection.
    CutHandshake,
    /// The connection is closed when the head of the request is there. The hub hears nothing.
    CutBefore,
    /// The request is read and nothing ever follows. The hub hears nothing.
    NeverAnswer,
    /// The hub answers, the connection is closed in place of the reply.
    CutAfter,
    /// The hub answers, the reply never arrives.
    LoseReply,
    /// The hub answers, the reply goes out when this is notified.
    Late(Arc<Notify>),
    /// The hub answers, the connection is closed in the middle of the reply's body.
    CutBody,
    /// The hub answers with a stream; the connection is closed after this many pieces of it.
    CutStream(usize),
    /// The hub answers with a stream; after this many pieces of it nothing follows, though the connection stands.
    StallStream(usize),
    /// The hub answers, and the connection is wound down in the protocol's own way (GOAWAY in HTTP/2).
    WindDown,
    /// An HTTP/2 stream is reset with this reason. The hub hears nothing.
    Reset(h2::Reason),
    /// The proxy answers in the hub's place. The hub hears nothing.
    Answer(Answer),
    /// The proxy writes these bytes as they are and closes. The hub hears nothing.
    Raw(Bytes),
    /// The proxy answers 200 with JSON text that does not end. The hub hears nothing.
    Endless,
}

/// An answer the hub never gave.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(hyper::header::HeaderName, String)>,
    pub(crate) body: Bytes,
}

impl Fault {
    /// Whether it happens before there is a request.
    pub(crate) fn is_before_http(&self) -> bool {
        matches!(self, Self::HangHandshake | Self::CutHandshake)
    }

    /// A refusal in the contract's form.
    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        let body =
            format!(r#"{{"Message":"ErrorCode:{code};asked by the test","ExceptionMessage":""}}"#);
        Self::answer(status, "application/json; charset=utf-8", body)
    }

    /// 429 with a `Retry-After` where given.
    pub(crate) fn throttled(retry_after: Option<String>) -> Self {
        let Self::Answer(mut answer) = Self::refusal(429, "ThrottlingException") else {
            unreachable!("a refusal is an answer")
        };
        answer
            .headers
            .extend(retry_after.map(|value| (RETRY_AFTER, value)));
        Self::Answer(answer)
    }

    /// 503 as a hub that starts gives it.
    pub(crate) fn unavailable() -> Self {
        Self::refusal(503, "ServiceUnavailable")
    }

    /// 502 with a page, as something in front of the hub gives it.
    pub(crate) fn bad_gateway() -> Self {
        Self::answer(502, "text/html", "<html><h1>502 Bad Gateway</h1></html>")
    }

    /// 401 as for a token that has ended.
    pub(crate) fn unauthorized() -> Self {
        Self::refusal(401, "IotHubUnauthorizedAccess")
    }

    /// 200 with a body that says JSON and is none.
    pub(crate) fn garbage_json() -> Self {
        Self::answer(200, "application/json; charset=utf-8", r#"{"jobId": "#)
    }

    /// 200 with this JSON text.
    pub(crate) fn json(text: &'static str) -> Self {
        Self::answer(200, "application/json; charset=utf-8", text)
    }

    /// 307 to another place.
    pub(crate) fn redirect(to: &str) -> Self {
        Self::Answer(Answer {
            status: StatusCode::TEMPORARY_REDIRECT,
            headers: vec![(LOCATION, to.to_owned())],
            body: Bytes::new(),
        })
    }

    /// Bytes that are not HTTP.
    pub(crate) fn garbage() -> Self {
        Self::Raw(Bytes::from_static(
            b"220 mail.example.com ESMTP ready\r\n\r\n",
        ))
    }

    /// A reply that promises more than comes.
    pub(crate) fn body_too_short() -> Self {
        let text =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{}";
        Self::Raw(Bytes::from_static(text))
    }

    /// A reply whose length is no number.
    pub(crate) fn length_not_a_number() -> Self {
        let text =
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: many\r\n\r\n{}";
        Self::Raw(Bytes::from_static(text))
    }

    fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::Answer(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: vec![(CONTENT_TYPE, content_type.to_owned())],
            body: body.into(),
        })
    }
}
