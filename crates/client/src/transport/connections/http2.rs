//! The shared HTTP/2 connection, its pings and its tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::IDLE_MAX;
use crate::error::Cause;
use crate::transport::body::OneShot;

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
pub(crate) struct Lease {
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

    pub(super) fn lease(&self, reused: bool) -> Lease {
        Lease {
            sender: self.sender.clone(),
            number: self.number,
            reused,
            _user: Arc::clone(&self.users),
        }
    }
}

/// Makes a shared connection of a fresh stream.
pub(super) async fn open(
    stream: TlsStream<TcpStream>,
    tasks: &Arc<Tasks>,
) -> Result<Shared, Cause> {
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
