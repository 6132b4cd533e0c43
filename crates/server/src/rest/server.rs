//! Serves accepted HTTPS connections: a place at the gate, handshake, bounds before parsing, a graceful end.
//!
//! A connection is a stranger until the head of its first request is whole; strangers have little time and may
//! have to make room for others. Whoever fails to prove who it is too often is not locked out: it is answered, and
//! its connection ends.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderValue, Response, StatusCode, Version, header::CONNECTION},
};
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    linger::{self, Lent},
    progress::Progress,
};
use crate::{
    gate::{Gate, Patience, Source, TURN_WITHIN, Turn, Visit, prepare},
    shutdown::CONNECTIONS_WITHIN,
    telemetry::{COUNTS, ConnectionCount, FrontEnd, TurnedAway},
};

/// Time a peer has to finish the TLS handshake. Ours.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Time a peer has after it to send the head of its first request. Ours.
const FIRST_HEAD_WITHIN: Duration = Duration::from_secs(15);
/// Time a peer has to send the head of its next request, idle time included. Ours.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// Bytes of a request's head, its path included. Ours; a token of the longest ids fits in it four times.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request. Ours.
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection. Ours.
const STREAMS_MAX: u32 = 100;
/// Bytes of one request's body that may arrive before somebody reads them, on HTTP/2. Ours.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same of one connection. Ours.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of one answer that may wait for its reader, on HTTP/2. Ours.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that were reset before anybody looked at them, on one connection; one more ends it. Ours.
const RESETS_MAX: usize = 20;
/// Streams the hub has to reset for a fault of the peer, on one connection; one more ends it. Ours.
const FAULTS_MAX: usize = 64;
/// Silence of an HTTP/2 connection after which it is asked whether it is there, and how long it may think. Ours.
const PING_AFTER: Duration = Duration::from_secs(60);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// What the kernel does about peers that are gone. Ours.
const SOCKET: Patience = Patience {
    unacknowledged: Duration::from_secs(60),
    asks: true,
};
/// Pause after the system refused to hand out a connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a request came from; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// Serves a listener until `stop` says true, then lets replies under way end.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    gate: Arc<Gate>,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &gate) => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(visit) = gate.lobby(FrontEnd::Https).enter(peer.ip()) else {
            tracing::debug!(%peer, "an address has too many connections");
            continue;
        };
        let guest = Guest {
            visit,
            gate: gate.clone(),
            peer,
            stop: stop.clone(),
        };
        connections.spawn(guest.serve(stream, acceptor.clone(), router.clone()));
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(CONNECTIONS_WITHIN, all).await.is_err() {
        tracing::info!(
            connections = connections.len(),
            "cut connections with replies under way"
        );
        connections.shutdown().await;
    }
}

/// Takes a connection from the kernel when there is a place for it.
async fn accept(listener: &TcpListener, gate: &Gate) -> std::io::Result<(TcpStream, SocketAddr)> {
    gate.lobby(FrontEnd::Https).vacancy().await;
    listener.accept().await
}

/// One connection's way through the gate.
struct Guest {
    visit: Visit,
    gate: Arc<Gate>,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
}

type Encrypted = TlsStream<Progress<TcpStream>>;

impl Guest {
    async fn serve(mut self, stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
        let _count = ConnectionCount::https();
        let peer = self.peer;
        if prepare(&stream, SOCKET).is_err() {
            return;
        }
        let Some((stream, turn)) = self.handshake(stream, acceptor).await else {
            return;
        };
        let talk = Arc::new(Talk {
            gate: self.gate.clone(),
            source: self.visit.source(),
            is_asked: AtomicBool::new(false),
            asked: Notify::new(),
            enough: Notify::new(),
        });
        let service = ForPeer {
            router: TowerToHyperService::new(router),
            peer: PeerAddress(peer),
            talk: talk.clone(),
        };
        self.answer(stream, service, &talk, turn).await;
    }

    async fn handshake(
        &mut self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
    ) -> Option<(Encrypted, Option<Turn>)> {
        let Self {
            visit, gate, stop, ..
        } = self;
        let turn = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return None,
            turn = timeout(HANDSHAKE_WITHIN, gate.turn(visit)) => turn,
        };
        let Ok(turn) = turn else {
            COUNTS.turned_away(FrontEnd::Https, TurnedAway::Slow);
            return None;
        };
        let within = match &turn {
            Some(_) => TURN_WITHIN,
            None => HANDSHAKE_WITHIN,
        };
        let handshake = timeout(within, acceptor.accept(Progress::new(stream)));
        let peer = self.peer;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => None,
            () = visit.displaced() => {
                tracing::debug!(%peer, "a connection made room for others during its handshake");
                None
            }
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => Some((stream, turn)),
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "a TLS handshake failed");
                    None
                }
                Err(_) => {
                    COUNTS.turned_away(FrontEnd::Https, TurnedAway::Slow);
                    tracing::debug!(%peer, "a TLS handshake took too long");
                    None
                }
            },
        }
    }

    async fn answer(
        &mut self,
        stream: Encrypted,
        service: ForPeer,
        talk: &Talk,
        turn: Option<Turn>,
    ) {
        let peer = self.peer;
        let builder = builder();
        let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut too_late = std::pin::pin!(sleep(FIRST_HEAD_WITHIN));
        let mut turn = turn;
        let (mut is_stranger, mut is_ending) = (true, false);
        let ended = loop {
            tokio::select! {
                biased;
                ended = served.as_mut() => break ended,
                () = talk.asked.notified(), if is_stranger => {
                    is_stranger = false;
                    turn.take();
                    self.visit.settle();
                }
                () = self.visit.displaced(), if is_stranger => {
                    return tracing::debug!(%peer, "a connection without a request made room for others");
                }
                () = too_late.as_mut(), if is_stranger => {
                    COUNTS.turned_away(FrontEnd::Https, TurnedAway::Slow);
                    return tracing::debug!(%peer, "a first request took too long");
                }
                () = talk.enough.notified(), if !is_ending => {
                    is_ending = true;
                    served.as_mut().graceful_shutdown();
                }
                _ = self.stop.wait_for(|stop| *stop), if !is_ending => {
                    is_ending = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error, "an HTTP connection ended with an error");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// What a connection's requests tell the task that serves it.
struct Talk {
    gate: Arc<Gate>,
    source: Source,
    is_asked: AtomicBool,
    /// The head of the first request is here.
    asked: Notify,
    /// It has failed too often: nothing more on this connection.
    enough: Notify,
}

impl Talk {
    fn heard(&self) {
        if !self.is_asked.swap(true, Ordering::Relaxed) {
            self.asked.notify_one();
        }
    }

    /// Looks at an answer before it leaves.
    fn answered<B>(&self, version: Version, answer: &mut Response<B>) {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return;
        }
        self.gate.failed(self.source);
        if !self.gate.is_suspect(self.source) {
            return;
        }
        COUNTS.turned_away(FrontEnd::Https, TurnedAway::Suspect);
        if version < Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, CLOSE);
        }
        self.enough.notify_one();
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The routes, as one peer's connection reaches them.
#[derive(Clone)]
struct ForPeer {
    router: TowerToHyperService<Router>,
    peer: PeerAddress,
    talk: Arc<Talk>,
}

type Routed = TowerToHyperService<Router>;

impl Service<Request<Incoming>> for ForPeer {
    type Response = <Routed as Service<Request<Lent<Incoming>>>>::Response;
    type Error = <Routed as Service<Request<Lent<Incoming>>>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.talk.heard();
        let version = request.version();
        request.extensions_mut().insert(self.peer);
        let (request, left) = linger::lend(request);
        let answer = self.router.call(request);
        let talk = self.talk.clone();
        Box::pin(async move {
            let mut answer = answer.await?;
            if let Some(left) = left {
                left.discard().await;
            }
            talk.answered(version, &mut answer);
            Ok(answer)
        })
    }
}
