//! The open connections to one hub, and who may use them when.
//!
//! A call while no other is under way has an HTTP/1.1 connection, which serves one call at a time and has no task: the
//! call that uses it drives it, and a call that is dropped half-way takes its connection along. That wakes no other
//! thread and costs half of what HTTP/2 does. Calls that come meanwhile share one HTTP/2 connection, or have more of
//! HTTP/1.1 where the hub offers no other. The task of an HTTP/2 connection, and the small ones that hyper begins for
//! its requests, belong to [`http2`]'s `Tasks`: dropping the last clone of a client drops the set, which ends them all.
//! No connection is used again after [`IDLE_MAX`] without use, well before hubs close theirs.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::body::OneShot;
#[cfg(feature = "http2")]
use super::connect::SharedFailure;
use super::connect::{Connector, Offer};
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
    http1_slots: Arc<Semaphore>,
    /// The right to a connection of one's own beside the shared one.
    #[cfg(feature = "http2")]
    own: Arc<Semaphore>,
    /// Held by the one who opens the shared connection: a thousand first calls must not make a thousand connections
    /// where one serves them all.
    #[cfg(feature = "http2")]
    opening: tokio::sync::Mutex<()>,
    #[cfg(feature = "http2")]
    tasks: Arc<http2::Tasks>,
}

#[derive(Default)]
struct Pool {
    /// HTTP/1.1 connections, the one used last at the end.
    idle: Vec<Http1>,
    #[cfg(feature = "http2")]
    speaks: Speaks,
    #[cfg(feature = "http2")]
    shared: Option<http2::Shared>,
    /// How often no shared connection could be made, and why not the last time.
    #[cfg(feature = "http2")]
    failures: (u64, Option<SharedFailure>),
}

/// What a hub speaks, as far as it is known.
#[cfg(feature = "http2")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Speaks {
    /// Both, unless it turns out otherwise.
    #[default]
    Both,
    Http1Alone,
    Http2Alone,
}

/// A connection in use. Dropping it gives the connection up; [`Connections::put_back`] keeps it.
pub(crate) enum Lease {
    Http1 {
        connection: Http1,
        reused: bool,
        _slot: OwnedSemaphorePermit,
    },
    #[cfg(feature = "http2")]
    Http2(http2::SharedLease),
}

impl Lease {
    async fn new(stream: TlsStream<TcpStream>, slot: OwnedSemaphorePermit) -> Result<Self, Cause> {
        Ok(Self::Http1 {
            connection: Box::pin(http1_of(stream)).await?,
            reused: false,
            _slot: slot,
        })
    }

    fn reused(connection: Http1, slot: OwnedSemaphorePermit) -> Self {
        Self::Http1 {
            connection,
            reused: true,
            _slot: slot,
        }
    }

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
    /// Does `work`, which waits for this connection and nothing else, while the connection moves.
    ///
    /// The network alone wakes the caller. Connection and work would wake each other, who are polled together anyway:
    /// every call would look at the network once more for nothing. So the work's wakes go nowhere, also those of a
    /// spent budget, wherefore it has none.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(unconstrained(work));
        poll_fn(|cx| {
            let mut unwoken = Context::from_waker(Waker::noop());
            if let Poll::Ready(done) = work.as_mut().poll(&mut unwoken) {
                return Poll::Ready(done);
            }
            self.advance(cx);
            work.as_mut().poll(&mut unwoken)
        })
        .await
    }

    /// Whether it can take another request, as far as can be seen from here.
    fn is_usable(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        !self.ended && self.sender.is_ready()
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if !self.ended && Pin::new(&mut self.driver).poll(cx).is_ready() {
            self.ended = true;
        }
    }
}

impl Connections {
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            pool: Mutex::default(),
            http1_slots: Arc::new(Semaphore::new(HTTP1_CONNECTIONS_MAX)),
            #[cfg(feature = "http2")]
            own: Arc::new(Semaphore::new(1)),
            #[cfg(feature = "http2")]
            opening: tokio::sync::Mutex::default(),
            #[cfg(feature = "http2")]
            tasks: Arc::default(),
        }
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection to send one request on; not one that was idle when `fresh`.
    pub(crate) async fn lease(&self, fresh: bool) -> Result<Lease, Cause> {
        if fresh {
            // One that was closed unnoticed is seldom alone.
            let idle = std::mem::take(&mut self.pool().idle);
            drop(idle);
        }
        #[cfg(feature = "http2")]
        if let Some(lease) = self.own_or_shared(fresh).await? {
            return Ok(lease);
        }
        let slot = self.slot().await;
        match self.idle() {
            Some(connection) => Ok(Lease::reused(connection, slot)),
            // The hub may have learnt HTTP/2 since.
            #[cfg(feature = "http2")]
            None => self.either(Some(slot)).await,
            #[cfg(not(feature = "http2"))]
            None => self.http1(slot).await,
        }
    }

    /// Keeps a connection for the next call when its reply has been read to the end.
    pub(crate) fn put_back(&self, lease: Lease) {
        match lease {
            Lease::Http1 { mut connection, .. } => {
                if connection.is_usable() {
                    connection.used = Instant::now();
                    drop(self.keep(connection));
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

    /// A new HTTP/1.1 connection.
    async fn http1(&self, slot: OwnedSemaphorePermit) -> Result<Lease, Cause> {
        let stream = self.connector.connect(Offer::Http1).await?;
        Lease::new(stream, slot).await
    }

    /// The idle HTTP/1.1 connection that was used last: the one most likely alive.
    fn idle(&self) -> Option<Http1> {
        loop {
            let mut connection = self.pool().idle.pop()?;
            if connection.used.elapsed() > IDLE_MAX {
                // Those below it are older still.
                let idle = std::mem::take(&mut self.pool().idle);
                drop(idle);
                return None;
            }
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Puts a connection among the idle ones and takes out those that are too old: after a burst of calls nobody
    /// would come to them again.
    fn keep(&self, connection: Http1) -> Vec<Http1> {
        let mut pool = self.pool();
        let is_stale = |idle: &Http1| connection.used.duration_since(idle.used) > IDLE_MAX;
        let stale = pool.idle.partition_point(is_stale);
        let stale = pool.idle.drain(..stale).collect();
        pool.idle.push(connection);
        stale
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
