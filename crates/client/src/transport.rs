//! One call to the hub: what is sent, how often, and what becomes of the reply.
//!
//! [`Call`] is what the clients of this crate build; how one try travels is [`exchange`]'s, whether another one
//! follows is [`crate::retry`]'s decision. No call can hang: each try, its body included, is bounded by the client's
//! time-out or by [`Call::wait`], the number of tries and the pauses between them by the retry policy. No peer can
//! fill memory: see [`BODY_BYTES_MAX`] and [`REFUSAL_BYTES_MAX`]. Nothing follows a redirect, so that the credential
//! goes to the hub alone, and no reply is asked for or read compressed.

pub(crate) mod body;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod endpoint;
pub(crate) mod exchange;
mod reply;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_wire::http::{API_VERSION_PARAMETER, CONTENT_TYPE_JSON};
pub(crate) use http::Method;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use self::exchange::{Arrived, Fault, Outgoing, Trace};
pub use self::reply::Page;
pub(crate) use self::reply::{OpenReply, Reply};
use crate::Error;
use crate::error::{RequestLine, leaves_open_whether_it_was_done};
use crate::hub::Shared;
pub(crate) use crate::retry::Repeat;
use crate::retry::{Ended, retry_after};

/// Longest body of a reply, bytes. A page of a thousand twins at their largest has less.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Longest body of a refusal that is read, bytes; the rest is not looked at.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What may stand unencoded in a path segment or a query parameter.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A request in the making. Begin with [`crate::HubClient::call`], end with one of `read`, `done`, `reply`, `open`. A GET
/// is repeated freely, all else only when the hub certainly did nothing, unless [`Call::repeat`] says otherwise.
#[must_use = "nothing is sent before one of the ends"]
pub(crate) struct Call<'a> {
    hub: &'a Shared,
    method: Method,
    path: String,
    /// `&name=value`, encoded, after `api-version`.
    query: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    repeat: Repeat,
    wait: Duration,
    also: Option<u16>,
    /// An argument that cannot be sent.
    fault: Option<Error>,
}

/// The precondition of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// The thing must exist, in whatever version (`*`).
    Any,
    /// The thing must have this etag, given without quotes, as documents carry it.
    Etag(String),
}

impl<'a> Call<'a> {
    pub(crate) fn new(hub: &'a Shared, method: Method, path: String) -> Self {
        let repeat = if method == Method::GET {
            Repeat::Always
        } else {
            Repeat::Refused
        };
        Self {
            hub,
            method,
            path,
            query: String::new(),
            headers: HeaderMap::new(),
            body: None,
            repeat,
            wait: Duration::ZERO,
            also: None,
            fault: None,
        }
    }

    /// Whether doing it twice is the same as doing it once.
    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Adds a query parameter; the value is encoded here.
    pub(crate) fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.query.push('&');
        self.query.push_str(name);
        self.query.push('=');
        self.query
            .extend(utf8_percent_encode(value.as_ref(), SEGMENT));
        self
    }

    /// Adds a header; `name` is in lower case.
    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(value.as_ref()) {
            Ok(value) => {
                self.headers.insert(HeaderName::from_static(name), value);
            }
            Err(_) => self.fault = Some(Error::Argument(format!("{name} cannot be sent as given"))),
        }
        self
    }

    /// Sets the precondition; the etag is quoted here, the wildcard as well. compat: HTTP-3
    pub(crate) fn if_match(self, if_match: IfMatch) -> Self {
        match if_match {
            IfMatch::Any => self.header("if-match", "\"*\""),
            IfMatch::Etag(etag) => self.header("if-match", format!("\"{etag}\"")),
        }
    }

    /// Sets the precondition that there is no such thing yet.
    pub(crate) fn if_none_match(self) -> Self {
        self.header("if-none-match", "*")
    }

    /// Sends a body.
    pub(crate) fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body = Some(bytes.into()),
            Err(error) => self.fault = Some(Error::Argument(format!("not JSON: {error}"))),
        }
        self
    }

    /// Bounds one try by this in place of the client's time-out, where the hub may take long; never shortens it.
    pub(crate) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Takes a reply with this status as one that is not a refusal.
    pub(crate) fn also(mut self, status: u16) -> Self {
        self.also = Some(status);
        self
    }

    /// Sends it and reads the reply's JSON.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.reply().await?.read()
    }

    /// Sends it; the reply says no more than that it was done. A page of a box on the way, which answers 200 to
    /// whatever it is asked, is none.
    pub(crate) async fn done(self) -> Result<(), Error> {
        let reply = self.reply().await?;
        if reply.body.is_empty() {
            return Ok(());
        }
        reply.read::<serde::de::IgnoredAny>().map(drop)
    }

    /// Sends it and hands out the whole reply.
    pub(crate) async fn reply(self) -> Result<Reply, Error> {
        let (arrived, may_have_been_done, request) = self.until_answered(Reading::Whole).await?;
        Ok(Reply {
            status: arrived.status,
            headers: arrived.headers,
            body: arrived.body,
            may_have_been_done,
            request,
        })
    }

    /// Sends it and hands out the reply once its head is there. The body may go on for ever, as an event stream does,
    /// but no longer than `silence_max` may pass between two pieces.
    pub(crate) async fn open(self, silence_max: Duration) -> Result<OpenReply, Error> {
        let (answer, _, request) = self.until_answered(Reading::Head).await?;
        let open = answer
            .open
            .expect("a reply of which the head was asked for is open");
        Ok(OpenReply::new(open, request, silence_max))
    }

    /// Tries until there is a reply that is not a refusal, or no further try is allowed.
    async fn until_answered(
        mut self,
        reading: Reading,
    ) -> Result<(Answer, bool, RequestLine), Error> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let target = self.target()?;
        let request_id = self.hub.request_id();
        let began = Instant::now();
        let mut authorization = self.hub.authorizer.header().await?;
        let mut token_renewed = false;
        let mut tries = 1;
        let mut may_have_been_done = false;
        loop {
            let headers = || self.headers(&authorization, &request_id);
            let end = match self.one_try(&target, &headers, reading).await {
                Ok(answer) if answer.status < 300 || self.also == Some(answer.status) => {
                    let line = RequestLine::new(self.method, self.path);
                    return Ok((answer, may_have_been_done, line));
                }
                Ok(refusal) => TryEnd::of_refusal(refusal),
                Err(fault) => TryEnd::of_fault(fault),
            };
            may_have_been_done |= end.may_have_been_done();
            if end.ended == Ended::Status(401) && !token_renewed {
                token_renewed = true;
                match self.hub.authorizer.header_after(&authorization).await {
                    Ok(Some(renewed)) => {
                        authorization = renewed;
                        continue;
                    }
                    Ok(None) => {}
                    // The refusal carries what an earlier try leaves open.
                    Err(_) if may_have_been_done => {}
                    Err(error) => return Err(error),
                }
            }
            let pause = self
                .repeat
                .allows(end.ended)
                .then(|| {
                    let retry = &self.hub.retry;
                    retry.pause(tries, began.elapsed(), end.retry_after, self.hub.chance())
                })
                .flatten();
            let Some(pause) = pause else {
                return Err(end.into_error(&self, may_have_been_done));
            };
            sleep(pause).await;
            tries += 1;
            // A credential that ends meanwhile must not hide why the call failed.
            match self.hub.authorizer.header().await {
                Ok(header) => authorization = header,
                Err(_) => return Err(end.into_error(&self, may_have_been_done)),
            }
        }
    }

    /// Sends it once, within the time that one try has, and reads the reply as far as asked.
    async fn one_try(
        &self,
        target: &PathAndQuery,
        headers: &(dyn Fn() -> HeaderMap + Sync),
        reading: Reading,
    ) -> Result<Answer, Fault> {
        let route = &self.hub.route;
        let within = self.hub.timeout.max(self.wait);
        let mut trace = Trace::default();
        let outgoing = Outgoing {
            method: &self.method,
            target,
            headers,
            body: self.body.clone(),
        };
        let work = async {
            let mut arrived = route.send(outgoing, &mut trace).await?;
            let status = arrived.status;
            if status >= 300 && self.also != Some(status) {
                let headers = std::mem::take(&mut arrived.headers);
                let (body, whole) = arrived.beginning(REFUSAL_BYTES_MAX).await?;
                if whole {
                    route.finish(arrived);
                }
                return Ok(Answer::of(status, headers, body));
            }
            if let Reading::Head = reading {
                let headers = arrived.headers.clone();
                let answer = Answer::of(status, headers, Bytes::new());
                let open = Some(Box::new(arrived));
                return Ok(Answer { open, ..answer });
            }
            let headers = std::mem::take(&mut arrived.headers);
            let body = arrived.whole(BODY_BYTES_MAX).await?;
            route.finish(arrived);
            Ok(Answer::of(status, headers, body))
        };
        // Boxed: a try is large, and every future above it would carry it more than once.
        let outcome = match timeout(within, Box::pin(work)).await {
            Ok(outcome) => outcome,
            Err(_) if trace.sent => Err(Fault::Lost(format!("nothing within {within:?}").into())),
            Err(_) => Err(Fault::Unsent(
                format!("no connection within {within:?}").into(),
            )),
        };
        if outcome.is_err() {
            route.give_up(&trace);
        }
        outcome
    }

    fn target(&self) -> Result<PathAndQuery, Error> {
        let (path, version) = (&*self.path, &*self.hub.api_version);
        // Whatever lies between takes dots out of paths, encoded or not, and a path without its last segment is that
        // of something else: deleting the module `..` would delete its device.
        if path
            .split('/')
            .skip(1)
            .any(|part| matches!(part, "" | "." | ".."))
        {
            let why = "an id cannot be empty, '.' or '..'";
            return Err(Error::Argument(format!("{why}: {path} is another path")));
        }
        let parts = [path, "?", API_VERSION_PARAMETER, "=", version, &self.query];
        let text = parts.concat();
        PathAndQuery::from_maybe_shared(Bytes::from(text))
            .map_err(|_| Error::Argument(format!("'{path}' cannot be sent as a path")))
    }

    fn headers(&self, authorization: &HeaderValue, request_id: &HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(AUTHORIZATION, authorization.clone());
        headers.insert(USER_AGENT, self.hub.user_agent.clone());
        headers.insert(REQUEST_ID, request_id.clone());
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_JSON));
        } else if self.method != Method::GET && self.method != Method::DELETE {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        headers
    }

    fn line(&self) -> RequestLine {
        RequestLine::new(self.method.clone(), self.path.as_str())
    }
}

/// As the Node SDK calls it: what an operator finds one call by.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// How much of a reply a try reads.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Whole,
    Head,
}

/// A reply, as far as it was read.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// The rest of it, when its head alone was asked for.
    open: Option<Box<Arrived>>,
}

impl Answer {
    fn of(status: u16, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers,
            body,
            open: None,
        }
    }
}

/// How a try failed: what the decision about the next one needs, and what the error will say.
struct TryEnd {
    ended: Ended,
    retry_after: Option<Duration>,
    what: What,
}

enum What {
    Refusal(Answer),
    Fault(Fault),
}

impl TryEnd {
    fn of_refusal(answer: Answer) -> Self {
        let asked = reply::text_header(&answer.headers, RETRY_AFTER.as_str());
        Self {
            ended: Ended::Status(answer.status),
            retry_after: asked.and_then(|text| retry_after(text, now())),
            what: What::Refusal(answer),
        }
    }

    fn of_fault(fault: Fault) -> Self {
        let ended = match &fault {
            Fault::Unsent(cause) => Ended::Unsent {
                lasting: connect::is_lasting(cause),
            },
            Fault::Lost(_) => Ended::Lost,
            // A hub that breaks the contract breaks it again.
            Fault::Unreadable(_) => Ended::Status(200),
        };
        Self {
            ended,
            retry_after: None,
            what: What::Fault(fault),
        }
    }

    fn may_have_been_done(&self) -> bool {
        match &self.what {
            What::Refusal(answer) => leaves_open_whether_it_was_done(answer.status),
            What::Fault(Fault::Unsent(_)) => false,
            What::Fault(Fault::Lost(_) | Fault::Unreadable(_)) => true,
        }
    }

    /// The error of the last try; `may_have_been_done` speaks of all of them.
    fn into_error(self, call: &Call<'_>, may_have_been_done: bool) -> Error {
        let request = Box::new(call.line());
        match self.what {
            What::Refusal(Answer {
                status,
                headers,
                body,
                ..
            }) => reply::refused(*request, status, &headers, &body, |refusal| {
                refusal.retry_after = self.retry_after;
                refusal.may_have_been_done = may_have_been_done;
            }),
            What::Fault(Fault::Unsent(source)) => Error::Unreachable {
                host: call.hub.route.at(),
                request,
                may_have_been_done,
                source,
            },
            What::Fault(Fault::Lost(source)) => Error::NoReply {
                request,
                may_have_been_done,
                source,
            },
            What::Fault(Fault::Unreadable(source)) => Error::Reply { request, source },
        }
    }
}

/// Percent-encodes one segment of a path. Empty ones and those of dots stay as they are, and are not sent.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a client has no clock but the system's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_encoded_as_one_segment() {
        assert_eq!(segment("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(segment("job 1/x#?"), "job%201%2Fx%23%3F");
    }

    #[cfg(feature = "platform-verifier")]
    #[tokio::test]
    async fn an_id_that_would_lead_elsewhere_is_not_sent() {
        let text = "HostName=hub.test;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0";
        let hub = crate::HubClient::from_connection_string(text, crate::ClientOptions::default());
        let hub = hub.expect("a good string");
        let registry = hub.registry();
        for id in ["", ".", ".."] {
            for outcome in [
                registry.delete_device(id, None).await,
                registry.delete_module("d", id, None).await,
                registry.delete_module(id, "m", None).await,
                hub.jobs().get_job(id).await.map(drop),
                registry.transfer_job(id).await.map(drop),
            ] {
                let error = outcome.expect_err("refused");
                assert!(matches!(error, Error::Argument(_)), "{id}: {error}");
            }
        }
        assert!(hub.call(Method::GET, "/devices/...").target().is_ok());
    }
}
