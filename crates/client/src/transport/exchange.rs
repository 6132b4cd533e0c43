//! One try of one request: a connection, the request on it, the head of the reply, and the body as it comes.
//!
//! What matters most here is the border between a request that was certainly not sent and one that may have been:
//! [`Fault::Unsent`] is the promise that the hub did nothing.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
#[cfg(feature = "http2")]
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};

use super::body::OneShot;
use super::connect::Connector;
use super::connections::{Connections, Lease};
use crate::error::{Cause, SetupError};
use crate::{ClientOptions, Error};

/// The way to one hub: its connections and what its requests are addressed with.
pub(crate) struct Route {
    connections: Connections,
    /// What HTTP/1.1 says in `Host` and HTTP/2 in the address.
    host: HeaderValue,
    #[cfg(feature = "http2")]
    authority: Authority,
}

/// What one try sends.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a PathAndQuery,
    /// Called once for each connection that is tried.
    pub(crate) headers: &'a (dyn Fn() -> HeaderMap + Sync),
    pub(crate) body: Option<Bytes>,
}

/// Why a try brought no reply.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The hub certainly did nothing.
    Unsent(Cause),
    /// The hub may have done what was asked.
    Lost(Cause),
    /// There is a reply, but not one of the contract.
    Unreadable(Cause),
}

/// How far a try came, for whoever cuts it off.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Whether the request went, or began to go, over a connection.
    pub(crate) sent: bool,
    shared: Option<u64>,
}

/// A reply whose body has not been read.
pub(crate) struct Arrived {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    lease: Lease,
}

impl Route {
    pub(crate) fn new(connector: Connector) -> Result<Self, Error> {
        let authority = connector.at().authority();
        let invalid = || SetupError::Endpoint(format!("https://{authority}"));
        Ok(Self {
            host: HeaderValue::from_str(&authority).map_err(|_| invalid())?,
            #[cfg(feature = "http2")]
            authority: Authority::try_from(authority.as_str()).map_err(|_| invalid())?,
            connections: Connections::new(connector),
        })
    }

    /// The way to the hub at `endpoint`.
    pub(crate) fn to(endpoint: &str, options: &ClientOptions) -> Result<Self, Error> {
        let at = super::endpoint::HostPort::of_endpoint(endpoint, options.port)?;
        Self::new(Connector::new(at, options)?)
    }

    /// Host and port.
    pub(crate) fn at(&self) -> String {
        self.connections.connector().at().to_string()
    }

    /// Host alone, as signatures write it.
    pub(crate) fn name(&self) -> String {
        self.connections.connector().at().name()
    }

    /// Sends a request and waits for the head of its reply. A connection that turns out to have been closed before
    /// anything was sent on it is replaced by a new one, once.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        trace: &mut Trace,
    ) -> Result<Arrived, Fault> {
        let mut lease = self.connections.lease(false).await.map_err(Fault::Unsent)?;
        let mut may_be_replaced = lease.is_reused();
        loop {
            let request = self.request(&outgoing, &lease);
            trace.sent = true;
            trace.shared = lease.shared_number();
            let fault = match sent(&mut lease, request).await {
                Ok(reply) => {
                    let (head, body) = reply.into_parts();
                    return Ok(Arrived {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        body,
                        lease,
                    });
                }
                Err(fault) => fault,
            };
            self.give_up(trace);
            if !matches!(fault, Fault::Unsent(_)) || !std::mem::take(&mut may_be_replaced) {
                return Err(fault);
            }
            trace.sent = false;
            drop(lease);
            lease = self.connections.lease(true).await.map_err(Fault::Unsent)?;
        }
    }

    /// Keeps the connection of a reply that has been read to its end.
    pub(crate) fn finish(&self, arrived: Arrived) {
        self.connections.put_back(arrived.lease);
    }

    /// Leaves the connection of a try that failed: the next one must not meet the same silence.
    pub(crate) fn give_up(&self, trace: &Trace) {
        if let Some(number) = trace.shared {
            self.connections.forget(number);
        }
    }

    fn request(&self, outgoing: &Outgoing<'_>, lease: &Lease) -> Request<OneShot> {
        let mut headers = (outgoing.headers)();
        let mut address = http::uri::Parts::default();
        address.path_and_query = Some(outgoing.target.clone());
        match lease {
            Lease::Http1 { .. } => {
                headers.insert(HOST, self.host.clone());
            }
            #[cfg(feature = "http2")]
            Lease::Http2(_) => {
                address.scheme = Some(Scheme::HTTPS);
                address.authority = Some(self.authority.clone());
            }
        }
        let mut request = Request::new(OneShot::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = Uri::from_parts(address).expect("scheme and authority come together");
        *request.headers_mut() = headers;
        request
    }
}

async fn sent(lease: &mut Lease, request: Request<OneShot>) -> Result<Response<Incoming>, Fault> {
    let outcome = match lease {
        Lease::Http1 { connection, .. } => {
            let reply = connection.sender.try_send_request(request);
            connection.drive(reply).await
        }
        #[cfg(feature = "http2")]
        Lease::Http2(lease) => lease.sender.try_send_request(request).await,
    };
    outcome.map_err(|mut error| {
        let untouched = error.take_message().is_some();
        let error = error.into_error();
        if untouched || is_turned_away(&error) {
            Fault::Unsent(error.into())
        } else {
            Fault::Lost(error.into())
        }
    })
}

/// Whether the hub said that it did not look at the request: a refused stream, or one above the last it took when it
/// said goodbye (RFC 9113, 6.8 and 8.7).
#[cfg(feature = "http2")]
fn is_turned_away(error: &hyper::Error) -> bool {
    let Some(error) = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .filter(|error| error.is_remote())
    else {
        return false;
    };
    let goodbye = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    goodbye || refused
}

#[cfg(not(feature = "http2"))]
fn is_turned_away(_: &hyper::Error) -> bool {
    false
}

impl Arrived {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let Self { body, lease, .. } = self;
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = match lease {
            Lease::Http1 { connection, .. } => connection.drive(next).await,
            #[cfg(feature = "http2")]
            Lease::Http2(_) => next.await,
        };
        match frame {
            None => Ok(None),
            // Trailers say nothing here; an empty piece in their place is passed over by whoever reads on.
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(Fault::Lost(error.into())),
        }
    }

    /// The whole body. One longer than `bytes_max` is an error, and is not read on.
    pub(crate) async fn whole(&mut self, bytes_max: usize) -> Result<Bytes, Fault> {
        let too_long = || Fault::Unreadable(format!("it is longer than {bytes_max} bytes").into());
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(too_long());
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let mut whole = Vec::with_capacity(first.len() + second.len());
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > bytes_max {
                return Err(too_long());
            }
            whole.extend_from_slice(&piece);
            next = self.chunk().await?;
        }
        Ok(whole.into())
    }

    /// The body's beginning, as much as fits in `bytes_max`, and whether that is all of it.
    pub(crate) async fn beginning(&mut self, bytes_max: usize) -> Result<(Bytes, bool), Fault> {
        let mut start = Vec::new();
        while let Some(piece) = self.chunk().await? {
            let room = bytes_max - start.len();
            start.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                return Ok((start.into(), false));
            }
        }
        Ok((start.into(), true))
    }
}
