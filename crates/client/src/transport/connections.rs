//! The open connections to one hub, and who may use them when.
//!
//! An HTTP/2 connection is shared by all calls. Its task, and the small ones that hyper begins for its requests, belong
//! to [`Tasks`]: dropping the last clone of a client drops the set, which ends them all. An HTTP/1.1 connection serves
//! one call at a time and has no task: the call that uses it drives it, and a call that is dropped half-way takes its
//! connection along. Neither is used again after [`IDLE_MAX`] without use, well before hubs close theirs.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::body::OneShot;
use super::connect::Connector;
use crate::error::Cause;

/// A connection that was not used for this long may have been closed by the hub or a box on the way, unnoticed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Most HTTP/1.1 connections to one hub; further calls wait for one.
const HTTP1_CONNECTIONS_MAX: usize = 256;
/// Longest head of an HTTP/1.1 reply, bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

type Io = TokioIo<TlsStream<TcpStream>>;

/// The connections to one hub.
pub(crate) struct Connections {
    connector: Connector,
    pool: Mutex<Pool>,
    /// Held by the one who connects until it is known that the hub speaks HTTP/1.1 alone: a thousand first calls
    /// must not make a thousand connections where one serves them all.
    opening: tokio::sync::Mutex<()>,
    http1_slots: Arc<Semaphore>,
    #[cfg(feature = "http2")]
    tasks: Arc<http2::Tasks>,
}

#[derive(Default)]
struct Pool {
    http1_alone: bool,
    idle: Vec<Http1>,
    #[cfg(feature = "http2")]
    shared: Option<http2::Shared>,
}

/// A connection in use. Dropping it gives the connection up; [`Connections::put_back`] keeps it.
pub(crate) enum Lease {
    Http1 {
        connection: Http1,
        reused: bool,
        _slot: OwnedSemaphorePermit,
    },
    #[cfg(feature = "http2")]
    Http2(http2::Lease),
}

impl Lease {
    /// Whether it has served before, so that the hub may have closed it meanwhile.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1 { reused, .. } => *reused,
            #[cfg(feature = "http2")]
            Self::Http2(lease) => lease.reused,
        }
    }

    /// Which of the shared connections it is; HTTP/1.1 connections are not shared.
    pub(crate) fn shared_number(&self) -> Option<u64> {
        match self {
            Self::Http1 { .. } => None,
            #[cfg(feature = "http2")]
            Self::Http2(lease) => Some(lease.number),
        }
    }
}

/// An HTTP/1.1 connection and what drives it.
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<OneShot>,
    driver: Box<http1::Connection<Io, OneShot>>,
    ended: bool,
    used: Instant,
}

impl Http1 {
    /// Does `work` while the connection moves.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !self.ended && Pin::new(&mut self.driver).poll(cx).is_ready() {
                self.ended = true;
            }
            // What the connection has just received, or its end, is what the work waits for.
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it can take another request, as far as can be seen from here.
    async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            if !self.ended && Pin::new(&mut self.driver).poll(cx).is_ready() {
                self.ended = true;
            }
            Poll::Ready(!self.ended && self.sender.is_ready())
        })
        .await
    }
}

impl Connections {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            pool: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            http1_slots: Arc::new(Semaphore::new(HTTP1_CONNECTIONS_MAX)),
            #[cfg(feature = "http2")]
            tasks: Arc::default(),
        }
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection to send one request on; a new one when `fresh`.
    pub(crate) async fn lease(&self, fresh: bool) -> Result<Lease, Cause> {
        if fresh {
            // One that was closed unnoticed is seldom alone.
            let idle = std::mem::take(&mut self.pool().idle);
            drop(idle);
        }
        #[cfg(feature = "http2")]
        if let Some(lease) = self.shared() {
            return Ok(Lease::Http2(lease));
        }
        if self.pool().http1_alone {
            return self.http1().await;
        }
        let turn = self.opening.lock().await;
        #[cfg(feature = "http2")]
        if let Some(lease) = self.shared() {
            return Ok(Lease::Http2(lease));
        }
        if self.pool().http1_alone {
            drop(turn);
            return self.http1().await;
        }
        let stream = self.connector.connect().await?;
        #[cfg(feature = "http2")]
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let shared = Box::pin(http2::open(stream, &self.tasks)).await?;
            let lease = shared.lease(false);
            self.pool().shared = Some(shared);
            return Ok(Lease::Http2(lease));
        }
        self.pool().http1_alone = true;
        let slot = self.slot().await;
        Ok(Lease::Http1 {
            connection: Box::pin(http1_of(stream)).await?,
            reused: false,
            _slot: slot,
        })
    }

    /// Keeps a connection for the next call when its reply has been read to the end.
    pub(crate) async fn put_back(&self, lease: Lease) {
        match lease {
            Lease::Http1 { mut connection, .. } => {
                if connection.is_usable().await {
                    connection.used = Instant::now();
                    self.pool().idle.push(connection);
                }
            }
            #[cfg(feature = "http2")]
            Lease::Http2(lease) => {
                if let Some(shared) = &mut self.pool().shared
                    && shared.number == lease.number
                {
                    shared.used = Instant::now();
                }
            }
        }
    }

    /// Begins no further request on a shared connection that did not answer; those under way may end on it.
    pub(crate) fn forget(&self, number: u64) {
        #[cfg(feature = "http2")]
        {
            let mut pool = self.pool();
            pool.shared = pool.shared.take().filter(|shared| shared.number != number);
        }
        #[cfg(not(feature = "http2"))]
        let _ = number;
    }

    async fn http1(&self) -> Result<Lease, Cause> {
        let slot = self.slot().await;
        // The one used last is the one most likely alive; those below it are older still.
        loop {
            let Some(mut connection) = self.pool().idle.pop() else {
                break;
            };
            if connection.used.elapsed() > IDLE_MAX {
                let idle = std::mem::take(&mut self.pool().idle);
                drop(idle);
                break;
            }
            if connection.is_usable().await {
                return Ok(Lease::Http1 {
                    connection,
                    reused: true,
                    _slot: slot,
                });
            }
        }
        let stream = self.connector.connect().await?;
        #[cfg(feature = "http2")]
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            // The hub has learnt HTTP/2 since.
            let shared = Box::pin(http2::open(stream, &self.tasks)).await?;
            let lease = shared.lease(false);
            let mut pool = self.pool();
            pool.http1_alone = false;
            pool.shared = Some(shared);
            return Ok(Lease::Http2(lease));
        }
        Ok(Lease::Http1 {
            connection: Box::pin(http1_of(stream)).await?,
            reused: false,
            _slot: slot,
        })
    }

    #[cfg(feature = "http2")]
    fn shared(&self) -> Option<http2::Lease> {
        let mut pool = self.pool();
        let usable = pool.shared.as_ref().is_some_and(http2::Shared::is_usable);
        if !usable {
            pool.shared = None;
        }
        let shared = pool.shared.as_mut()?;
        shared.used = Instant::now();
        Some(shared.lease(true))
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        let slots = Arc::clone(&self.http1_slots);
        slots
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore")
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn http1_of(stream: TlsStream<TcpStream>) -> Result<Http1, Cause> {
    let (sender, driver) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    Ok(Http1 {
        sender,
        driver: Box::new(driver),
        ended: false,
        used: Instant::now(),
    })
}

#[cfg(feature = "http2")]
pub(crate) mod http2;
