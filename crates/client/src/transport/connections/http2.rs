//! The shared HTTP/2 connection: who has to share, its pings and its tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::{Connections, IDLE_MAX, Lease, Speaks};
use crate::error::Cause;
use crate::transport::body::OneShot;
use crate::transport::connect::{Offer, SharedFailure, speaks_none_of_it};

/// While calls wait, the hub is asked this often whether it is there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A hub that does not answer a ping for this long is gone, and the calls that wait for it fail.
const PING_WITHIN: Duration = Duration::from_secs(10);
/// Longest head of a reply, bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// The connection that all calls share.
pub(super) struct Shared {
    pub(super) number: u64,
    pub(super) used: Instant,
    sender: http2::SendRequest<OneShot>,
    /// As many strong references as there are leases, and one.
    users: Arc<()>,
}

/// The right to send one request on a shared connection.
pub(crate) struct SharedLease {
    pub(crate) sender: http2::SendRequest<OneShot>,
    pub(super) number: u64,
    pub(super) reused: bool,
    _user: Arc<()>,
}

impl Shared {
    /// While calls wait, pings watch the connection; else only its age tells.
    pub(super) fn is_usable(&self) -> bool {
        let watched = Arc::strong_count(&self.users) > 1;
        !self.sender.is_closed() && (watched || self.used.elapsed() <= IDLE_MAX)
    }

    pub(super) fn lease(&self, reused: bool) -> SharedLease {
        SharedLease {
            sender: self.sender.clone(),
            number: self.number,
            reused,
            _user: Arc::clone(&self.users),
        }
    }
}

impl Connections {
    /// A connection to a hub that may speak HTTP/2; `None` when it speaks HTTP/1.1 alone.
    pub(super) async fn own_or_shared(&self, fresh: bool) -> Result<Option<Lease>, Cause> {
        if self.pool().speaks == Speaks::Http1Alone {
            return Ok(None);
        }
        if let Ok(right) = Arc::clone(&self.own).try_acquire_owned()
            && let Some(lease) = self.own(right, fresh).await?
        {
            return Ok(Some(lease));
        }
        if let Some(lease) = self.shared() {
            return Ok(Some(Lease::Http2(lease)));
        }
        let failures_before = self.pool().failures.0;
        let _turn = self.opening.lock().await;
        // Whoever had the turn before has brought one, or a reason that is ours as well: a hundred calls must not wait
        // for a silent address one after the other.
        if let Some(lease) = self.shared() {
            return Ok(Some(Lease::Http2(lease)));
        }
        {
            let pool = self.pool();
            if pool.speaks == Speaks::Http1Alone {
                return Ok(None);
            }
            if let (failures, Some(failure)) = &pool.failures
                && *failures > failures_before
            {
                return Err(failure.clone().into());
            }
        }
        let opened = self.either(None).await;
        if let Err(cause) = &opened {
            let failures = &mut self.pool().failures;
            *failures = (failures.0 + 1, Some(SharedFailure::of(cause)));
        }
        opened.map(Some)
    }

    /// The connection of a call while no other is under way; `None` when the hub has none for it.
    async fn own(&self, right: OwnedSemaphorePermit, fresh: bool) -> Result<Option<Lease>, Cause> {
        if let Some(connection) = self.idle() {
            return Ok(Some(Lease::reused(connection, right)));
        }
        // One that is open costs less than a handshake.
        if !fresh && let Some(lease) = self.shared() {
            return Ok(Some(Lease::Http2(lease)));
        }
        if self.pool().speaks == Speaks::Http2Alone {
            return Ok(None);
        }
        match self.http1(right).await {
            Err(cause) if speaks_none_of_it(&cause) => {
                self.pool().speaks = Speaks::Http2Alone;
                Ok(None)
            }
            lease => lease.map(Some),
        }
    }

    /// A new connection of what the hub chooses: one to share, or one of HTTP/1.1.
    pub(super) async fn either(&self, slot: Option<OwnedSemaphorePermit>) -> Result<Lease, Cause> {
        let stream = self.connector.connect(Offer::Http2Or1).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let shared = Box::pin(open(stream, &self.tasks)).await?;
            let lease = shared.lease(false);
            let mut pool = self.pool();
            pool.shared = Some(shared);
            if pool.speaks == Speaks::Http1Alone {
                pool.speaks = Speaks::Both;
            }
            return Ok(Lease::Http2(lease));
        }
        self.pool().speaks = Speaks::Http1Alone;
        let slot = match slot {
            Some(slot) => slot,
            None => self.slot().await,
        };
        Lease::new(stream, slot).await
    }

    fn shared(&self) -> Option<SharedLease> {
        let mut pool = self.pool();
        let usable = pool.shared.as_ref().is_some_and(Shared::is_usable);
        if !usable {
            pool.shared = None;
        }
        let shared = pool.shared.as_mut()?;
        shared.used = Instant::now();
        Some(shared.lease(true))
    }
}

/// Makes a shared connection of a fresh stream.
async fn open(stream: TlsStream<TcpStream>, tasks: &Arc<Tasks>) -> Result<Shared, Cause> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (sender, connection) = http2::Builder::new(Spawner(Arc::downgrade(tasks)))
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .max_header_list_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    tasks.spawn(async move {
        // Why it ended is in the reply of every call that was under way.
        let _ = connection.await;
    });
    Ok(Shared {
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        used: Instant::now(),
        sender,
        users: Arc::default(),
    })
}

/// The tasks of all shared connections of one client. Dropping it ends them.
#[derive(Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// Begins hyper's tasks among ours. Weak: the tasks hold it, and must not keep their own set alive.
#[derive(Clone)]
struct Spawner(Weak<Tasks>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.spawn(task);
        }
    }
}
