//! What a hub answered: whole, page by page, or piece by piece.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fanfare_wire::http::HEADER_ERROR_CODE;
use http::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::exchange::{Arrived, Fault};
use crate::Error;
use crate::error::{Cause, Refusal, RequestLine};

/// One page of a list, and the token that asks for the next one.
///
/// ```no_run
/// # async fn example(queries: fanfare_client::QueryClient) -> Result<(), fanfare_client::Error> {
/// let mut pages = queries.twins("SELECT * FROM devices").pages();
/// while let Some(page) = pages.try_next().await? {
///     println!("{} twins, then {:?}", page.items.len(), page.continuation);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the hub's order; may be empty though others follow.
    pub items: Vec<T>,
    /// Asks for the next page; `None` after the last.
    pub continuation: Option<String>,
}

/// A reply that was not a refusal.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether an earlier try of the same call may have been done.
    pub(crate) may_have_been_done: bool,
    pub(super) request: RequestLine,
}

impl Reply {
    /// Reads the body as JSON.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(error.into()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, when it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text_header(&self.headers, name)
    }

    /// The refusal in a reply that [`super::Call::also`] let pass.
    pub(crate) fn into_refusal(self) -> Error {
        let may_have_been_done = self.may_have_been_done;
        refused(
            self.request,
            self.status,
            &self.headers,
            &self.body,
            |refusal| {
                refusal.may_have_been_done |= may_have_been_done;
            },
        )
    }

    /// The error for a body that is not what the contract promises.
    pub(crate) fn unreadable(&self, source: Cause) -> Error {
        Error::Reply {
            request: Box::new(self.request.clone()),
            source,
        }
    }
}

/// A reply whose body is read piece by piece, for as long as the hub sends. Dropping it ends the request.
pub(crate) struct OpenReply {
    arrived: Box<Arrived>,
    request: RequestLine,
    silence_max: Duration,
}

impl OpenReply {
    pub(super) fn new(arrived: Box<Arrived>, request: RequestLine, silence_max: Duration) -> Self {
        Self {
            arrived,
            request,
            silence_max,
        }
    }

    /// The next piece; `None` at the end. Fails when the hub is silent for longer than allowed.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let source = match timeout(self.silence_max, self.arrived.chunk()).await {
            Ok(Ok(piece)) => return Ok(piece),
            Ok(Err(Fault::Lost(source) | Fault::Unsent(source) | Fault::Unreadable(source))) => {
                source
            }
            Err(_) => format!("nothing within {:?}", self.silence_max).into(),
        };
        Err(Error::NoReply {
            request: Box::new(self.request.clone()),
            may_have_been_done: true,
            source,
        })
    }
}

impl fmt::Debug for OpenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReply")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// The error of a refusal, after `amend` has put in what the body does not say.
pub(super) fn refused(
    request: RequestLine,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    amend: impl FnOnce(&mut Refusal),
) -> Error {
    let code = text_header(headers, HEADER_ERROR_CODE);
    let mut refusal = Refusal::read(request, status, code, body);
    amend(&mut refusal);
    Error::Refused(Box::new(refusal))
}

pub(super) fn text_header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
