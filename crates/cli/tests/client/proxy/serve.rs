//! One connection of the proxy: how it is accepted, served, and ended by a fault.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Content, Fault, Recorded, Shared};

/// A request to `/record/NAME` is not passed on: what follows belongs to the call NAME.
const LABEL_PATH: &str = "/record/";
/// Time that bytes get to leave before the connection is cut behind them.
const LEAVE: Duration = Duration::from_millis(20);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type ServeError = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            Some(ended) = connections.join_next() => ended.expect("no task of the proxy dies"),
            accepted = listener.accept() => {
                let (tcp, _) = accepted.expect("the listener stands");
                shared.state().connections += 1;
                shared.open.send_modify(|open| *open += 1);
                let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                connections.spawn(async move {
                    connection(tcp, &acceptor, &shared).await;
                    shared.open.send_modify(|open| *open -= 1);
                });
            }
        }
    }
    // Each connection has heard of the stop itself.
    while let Some(ended) = connections.join_next().await {
        ended.expect("no task of the proxy dies");
    }
}

/// How a request tells its connection to end.
struct Cut {
    now: CancellationToken,
    wind_down: CancellationToken,
    last_words: Mutex<Option<Bytes>>,
}

async fn connection(mut tcp: TcpStream, acceptor: &TlsAcceptor, shared: &Arc<Shared>) {
    match shared.fault_before_http() {
        Some(Fault::CutHandshake) => return,
        Some(_) => return hang(&mut tcp, shared).await,
        None => {}
    }
    // A client that gives up during the handshake is its own affair.
    let Ok(mut tls) = acceptor.accept(tcp).await else {
        return;
    };
    let cut = Arc::new(Cut {
        now: CancellationToken::new(),
        wind_down: CancellationToken::new(),
        last_words: Mutex::new(None),
    });
    let is_two = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = {
        let (shared, cut) = (Arc::clone(shared), Arc::clone(&cut));
        hyper::service::service_fn(move |request| {
            answer(Arc::clone(&shared), Arc::clone(&cut), request)
        })
    };
    {
        let io = TokioIo::new(&mut tls);
        tokio::select! {
            biased;
            () = cut.now.cancelled() => {}
            () = shared.stop.cancelled() => {}
            () = serve(io, is_two, service, &cut) => {}
        }
    }
    if cut.wind_down.is_cancelled() {
        // A socket that is closed with something unread takes along what the client has not read yet.
        let _ = tls.shutdown().await;
        let mut unread = tokio::io::sink();
        tokio::select! {
            () = shared.stop.cancelled() => {}
            _ = tokio::io::copy(&mut tls, &mut unread) => {}
        }
    }
    let words = cut
        .last_words
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(words) = words {
        // The client may have left already.
        let _ = tls.write_all(&words).await;
        let _ = tls.shutdown().await;
    }
}

async fn serve<I, S>(io: I, is_two: bool, service: S, cut: &Cut)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = ServeError>,
    S::Future: Send + 'static,
{
    // How a connection ends is the client's choice, or the script's.
    if is_two {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            biased;
            () = cut.wind_down.cancelled() => {}
            _ = serving.as_mut() => return,
        }
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    } else {
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            biased;
            () = cut.wind_down.cancelled() => {}
            _ = serving.as_mut() => return,
        }
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
}

/// Holds a connection until the other side lets go.
async fn hang(tcp: &mut TcpStream, shared: &Shared) {
    let mut sink = [0; 1024];
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            read = tcp.read(&mut sink) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// One request: keep a record, then do what the script says.
async fn answer(
    shared: Arc<Shared>,
    cut: Arc<Cut>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ServeError> {
    let (head, body) = request.into_parts();
    if let Some(name) = head.uri.path().strip_prefix(LABEL_PATH) {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        shared.state().label = name.into_owned();
        return Ok(plain(StatusCode::NO_CONTENT, Bytes::new()));
    }
    let fault = shared.next_fault(head.uri.path());
    if let Fault::CutBefore = fault {
        shared.saw(&head, Content::Unread);
        return cut.now().await;
    }
    let body = body.collect().await?.to_bytes();
    shared.saw(&head, Content::read(&body));
    match fault {
        Fault::NeverAnswer => std::future::pending().await,
        Fault::Answer(answer) => {
            let mut reply = plain(answer.status, answer.body);
            for (name, value) in answer.headers {
                reply.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok(reply)
        }
        Fault::Endless => Ok(endless()),
        Fault::Reset(reason) => Err(h2::Error::from(reason).into()),
        Fault::Raw(bytes) => {
            cut.say(bytes);
            cut.now().await
        }
        Fault::CutBefore | Fault::HangHandshake | Fault::CutHandshake => {
            unreachable!("{fault:?} is over before the request is read")
        }
        after => {
            let reply = shared.pass_on(&cut, head, body).await?;
            on_the_way_back(after, cut, reply).await
        }
    }
}

/// What becomes of a reply that the hub has given.
async fn on_the_way_back(
    fault: Fault,
    cut: Arc<Cut>,
    reply: Response<Body>,
) -> Result<Response<Body>, ServeError> {
    match fault {
        Fault::WindDown => {
            cut.wind_down.cancel();
            // How HTTP/1.1 says it; HTTP/2 leaves it out and says GOAWAY.
            let mut reply = reply;
            let close = HeaderValue::from_static("close");
            reply.headers_mut().insert(CONNECTION, close);
            return Ok(reply);
        }
        Fault::CutStream(pieces) => {
            return Ok(reply.map(|body| ended_after(body, pieces, Some(cut))));
        }
        Fault::StallStream(pieces) => {
            return Ok(reply.map(|body| ended_after(body, pieces, None)));
        }
        Fault::CutAfter | Fault::LoseReply | Fault::Late(_) | Fault::CutBody => {
            let (head, body) = reply.into_parts();
            // All of it: then the hub has certainly done it.
            let all = body.collect().await?.to_bytes();
            match fault {
                Fault::LoseReply => std::future::pending().await,
                Fault::Late(released) => released.notified().await,
                Fault::CutBody if !all.is_empty() => {
                    let half = all.slice(..all.len() / 2);
                    let mut reply = Response::from_parts(head, cut_behind(cut, half));
                    reply.headers_mut().insert(CONTENT_LENGTH, all.len().into());
                    return Ok(reply);
                }
                _ => return cut.now().await,
            }
            let body = Full::new(all).map_err(|never: Infallible| match never {});
            return Ok(Response::from_parts(head, body.boxed_unsync()));
        }
        _ => {}
    }
    Ok(reply)
}

impl Shared {
    /// The hub's own reply. A hub that is not there is a connection that is cut.
    async fn pass_on(
        &self,
        cut: &Cut,
        head: Parts,
        body: Bytes,
    ) -> Result<Response<Body>, ServeError> {
        let hub = {
            let mut state = self.state();
            let recorded = Recorded::of(state.label.clone(), &head, Content::read(&body));
            state.passed_on.push(recorded);
            state.hub.clone()
        };
        match hub.ask(head, body).await {
            Ok(reply) => Ok(reply.map(|body| body.map_err(std::io::Error::other).boxed_unsync())),
            Err(_) => cut.now().await,
        }
    }
}

impl Cut {
    /// What is written when the connection has ended otherwise.
    fn say(&self, bytes: Bytes) {
        let mut words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *words = Some(bytes);
    }

    /// Ends the connection, and with it whoever asked.
    async fn now<T>(&self) -> T {
        self.now.cancel();
        std::future::pending().await
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never: Infallible| match never {});
    let mut reply = Response::new(body.boxed_unsync());
    *reply.status_mut() = status;
    reply
}

/// A body of which `bytes` arrive and the rest does not.
fn cut_behind(cut: Arc<Cut>, bytes: Bytes) -> Body {
    let frames = futures_util::stream::unfold(Some(bytes), move |bytes| {
        let cut = Arc::clone(&cut);
        async move {
            match bytes {
                Some(bytes) => Some((Ok(Frame::data(bytes)), None)),
                None => {
                    tokio::time::sleep(LEAVE).await;
                    cut.now().await
                }
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A body that goes on as the hub sends it until `pieces` have arrived. Then the connection is cut, or nothing
/// follows though it stands.
fn ended_after(body: Body, pieces: usize, cut: Option<Arc<Cut>>) -> Body {
    let frames = futures_util::stream::unfold((body, pieces), move |(mut body, left)| {
        let cut = cut.clone();
        async move {
            if left > 0 {
                let frame = body.frame().await?;
                return Some((frame, (body, left - 1)));
            }
            tokio::time::sleep(LEAVE).await;
            match cut {
                Some(cut) => cut.now().await,
                None => std::future::pending().await,
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// JSON text without an end: an array that goes on.
fn endless() -> Response<Body> {
    const PIECE: usize = 64 * 1024;
    let frames = futures_util::stream::unfold(true, |is_first| async move {
        let mut piece = vec![b' '; PIECE];
        if is_first {
            piece[0] = b'[';
        }
        // Anything that never waits would starve the proxy's other tasks.
        tokio::task::yield_now().await;
        Some((Ok(Frame::data(Bytes::from(piece))), false))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    let json = "application/json; charset=utf-8".parse().unwrap();
    reply
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    reply
}
