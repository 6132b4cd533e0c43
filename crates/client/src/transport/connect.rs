//! One connection to a hub: name, TCP, the proxy's tunnel, TLS. Every step is bounded by one time limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::HostPort;
use crate::error::{Cause, SetupError};
use crate::{ClientOptions, Error, Proxy};

/// Longest wait for a connection, TLS included; a client's time-out counts when it is shorter.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long an address may take before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Longest reply of a proxy to `CONNECT`, bytes.
const PROXY_HEAD_BYTES_MAX: usize = 8 * 1024;

/// What a connection is offered for; the hub picks one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    #[cfg(feature = "http2")]
    Http2Or1,
}

/// Opens connections to one hub.
pub(crate) struct Connector {
    at: HostPort,
    name: ServerName<'static>,
    /// Offers HTTP/1.1.
    http1: TlsConnector,
    /// Offers HTTP/2 as well.
    #[cfg(feature = "http2")]
    http2: TlsConnector,
    /// `None` when the way to this hub does not lead through one.
    proxy: Option<Proxy>,
    within: Duration,
}

impl Connector {
    pub(crate) fn new(at: HostPort, options: &ClientOptions) -> Result<Self, Error> {
        let name = ServerName::try_from(at.host.clone())
            .map_err(|_| SetupError::Endpoint(format!("https://{at}")))?;
        let mut tls = options.trust.tls_config()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(tls.clone()));
        #[cfg(feature = "http2")]
        let http2 = {
            tls.alpn_protocols.insert(0, b"h2".to_vec());
            TlsConnector::from(Arc::new(tls))
        };
        let proxy = options.proxy.as_ref();
        Ok(Self {
            proxy: proxy.filter(|proxy| proxy.leads_to(&at.host)).cloned(),
            at,
            name,
            http1,
            #[cfg(feature = "http2")]
            http2,
            within: options.timeout.min(CONNECT_WITHIN),
        })
    }

    /// Where connections lead to.
    pub(crate) fn at(&self) -> &HostPort {
        &self.at
    }

    /// A connection on which nothing has been sent but the handshake.
    pub(crate) async fn connect(&self, offer: Offer) -> Result<TlsStream<TcpStream>, Cause> {
        // Boxed: connecting is rare and its state large, and every call would carry it.
        match timeout(self.within, Box::pin(self.opened(offer))).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no connection within {:?}", self.within).into()),
        }
    }

    async fn opened(&self, offer: Offer) -> Result<TlsStream<TcpStream>, Cause> {
        let stream = match &self.proxy {
            None => dial(&self.at).await?,
            Some(proxy) => {
                let mut stream = dial(&proxy.at)
                    .await
                    .map_err(|error| format!("the proxy {}: {error}", proxy.at))?;
                tunnel(&mut stream, &self.at, proxy).await?;
                stream
            }
        };
        stream.set_nodelay(true)?;
        let tls = match offer {
            Offer::Http1 => &self.http1,
            #[cfg(feature = "http2")]
            Offer::Http2Or1 => &self.http2,
        };
        Ok(tls.connect(self.name.clone(), stream).await?)
    }
}

/// Connects to the first address that answers. The next one is tried when one fails or is slow, so that a dead
/// address, often the IPv6 one, costs little. Tries that lose the race end with it.
async fn dial(at: &HostPort) -> io::Result<TcpStream> {
    let found = lookup_host((at.host.as_str(), at.port)).await?;
    let mut addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if let [address] = addresses[..] {
        return TcpStream::connect(address).await;
    }
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut tries = JoinSet::new();
    addresses.reverse();
    loop {
        match addresses.pop() {
            Some(address) => {
                tries.spawn(TcpStream::connect(address));
            }
            None if tries.is_empty() => return Err(error),
            None => {}
        }
        match timeout(HEAD_START, tries.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(refused)))) => error = refused,
            Ok(Some(Err(ended))) => error = io::Error::other(ended),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Asks a proxy for a tunnel.
async fn tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: &HostPort,
    proxy: &Proxy,
) -> Result<(), Cause> {
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(authorization.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head).await?;

    // The hub speaks only after we did, so nothing but the proxy's head can arrive here.
    let mut reply = Vec::with_capacity(512);
    while !reply.ends_with(b"\r\n\r\n") {
        if reply.len() >= PROXY_HEAD_BYTES_MAX || stream.read_buf(&mut reply).await? == 0 {
            return Err(format!("the proxy {} does not speak HTTP", proxy.at).into());
        }
    }
    match tunnel_status(&reply) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(Box::new(ProxyRefused {
            proxy: proxy.at.clone(),
            status,
        })),
        None => Err(format!("the proxy {} does not speak HTTP", proxy.at).into()),
    }
}

fn tunnel_status(reply: &[u8]) -> Option<u16> {
    let line = reply.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// A proxy that does not let us through.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} answered {status}")]
struct ProxyRefused {
    proxy: HostPort,
    status: u16,
}

/// Why somebody else could not connect, for those who waited for that connection.
#[cfg(feature = "http2")]
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(crate) struct SharedFailure {
    /// With all that lay below it.
    text: String,
    is_lasting: bool,
}

#[cfg(feature = "http2")]
impl SharedFailure {
    pub(crate) fn of(cause: &Cause) -> Self {
        let mut text = cause.to_string();
        let mut below = cause.source();
        while let Some(error) = below {
            text = format!("{text}: {error}");
            below = error.source();
        }
        Self {
            text,
            is_lasting: is_lasting(cause),
        }
    }
}

/// Whether a failure to connect will be there again at the next try: a certificate that is not trusted, a proxy that
/// wants another password.
pub(crate) fn is_lasting(cause: &Cause) -> bool {
    #[cfg(feature = "http2")]
    if let Some(shared) = cause.downcast_ref::<SharedFailure>() {
        return shared.is_lasting;
    }
    if let Some(refused) = cause.downcast_ref::<ProxyRefused>() {
        return matches!(refused.status, 400..=499);
    }
    matches!(tls_error(cause), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the hub speaks nothing of what it was offered.
#[cfg(feature = "http2")]
pub(crate) fn speaks_none_of_it(cause: &Cause) -> bool {
    use rustls::AlertDescription::NoApplicationProtocol;
    matches!(
        tls_error(cause),
        Some(rustls::Error::AlertReceived(NoApplicationProtocol))
    )
}

fn tls_error(cause: &Cause) -> Option<&rustls::Error> {
    cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_tunnel_is_read() {
        for (reply, status) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407 \r\nx: y\r\n\r\n", Some(407)),
            ("HTTP/1.1 200\r\n\r\n", Some(200)),
            ("HTTP/2 200\r\n\r\n", None),
            ("SSH-2.0 200\r\n\r\n", None),
            ("HTTP/1.1 ok\r\n\r\n", None),
            ("\r\n\r\n", None),
        ] {
            assert_eq!(tunnel_status(reply.as_bytes()), status, "{reply}");
        }
    }

    /// What a proxy hears that answers so, and what becomes of the tunnel.
    async fn asked(url: &str, answer: &[u8]) -> (String, Result<(), Cause>) {
        let to = HostPort::parse("hub.test:8443", 443).expect("a host");
        let proxy = Proxy::new(url).expect("an address");
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(answer).await.expect("there is room");
        let outcome = tunnel(&mut ours, &to, &proxy).await;
        drop(ours);
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.expect("text");
        (heard, outcome)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_to_the_hub() {
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n";
        let (heard, outcome) = asked("http://p", answer).await;
        outcome.expect("the tunnel stands");
        let head = "CONNECT hub.test:8443 HTTP/1.1\r\nHost: hub.test:8443\r\n";
        assert_eq!(heard, format!("{head}\r\n"));
        let (heard, outcome) = asked("http://u:pw@p", answer).await;
        outcome.expect("the tunnel stands");
        assert_eq!(
            heard,
            format!("{head}Proxy-Authorization: Basic dTpwdw==\r\n\r\n")
        );
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_or_talks_nonsense_is_an_error() {
        let endless = vec![b'x'; 32 * 1024];
        for (answer, text) in [
            (
                &b"HTTP/1.1 407 Who?\r\n\r\n"[..],
                "the proxy p:80 answered 407",
            ),
            (
                b"220 mail.test ESMTP\r\n\r\n",
                "the proxy p:80 does not speak HTTP",
            ),
            (&endless, "the proxy p:80 does not speak HTTP"),
        ] {
            let (_, outcome) = asked("http://p", answer).await;
            assert_eq!(outcome.expect_err("no tunnel").to_string(), text);
        }
    }

    #[test]
    fn what_will_be_there_again_is_told_from_what_may_pass() {
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let proxy = |status| -> Cause {
            let proxy = HostPort::parse("p", 80).expect("a host");
            Box::new(ProxyRefused { proxy, status })
        };
        for (cause, lasting) in [
            (Cause::from(io::Error::other(untrusted)), true),
            (
                Cause::from(io::Error::from(io::ErrorKind::ConnectionRefused)),
                false,
            ),
            (proxy(407), true),
            (proxy(503), false),
            (Cause::from("no connection within 15s"), false),
        ] {
            assert_eq!(is_lasting(&cause), lasting, "{cause}");
            #[cfg(feature = "http2")]
            {
                let shared = Cause::from(SharedFailure::of(&cause));
                assert_eq!(is_lasting(&shared), lasting, "{shared}");
            }
        }
    }
}
