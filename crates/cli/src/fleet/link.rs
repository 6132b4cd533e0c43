//! One socket to the hub, plain or TLS, with the MQTT codec on it.
//!
//! A connection at rest owns next to nothing: bytes are read into one buffer per thread, and only what is not a
//! whole packet yet stays with the connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::BytesMut;
use rmqtt_codec::v3::{Codec, Packet};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{Decoder, Encoder};

use super::target::FleetTarget;

/// Largest packet a device takes, bytes: a method payload of 128 KiB or a twin of 64 KiB with room for its topic.
const PACKET_MAX: u32 = 512 * 1024;
/// Bytes read at once, per thread.
const READ_BUFFER: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into());
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket to the hub and the packets on it.
pub(super) struct Link {
    stream: Stream,
    codec: Codec,
    inbox: BytesMut,
}

impl Link {
    /// Connects TCP, then TLS where the target asks for it.
    pub(super) async fn open(target: &FleetTarget) -> io::Result<Self> {
        let tcp = TcpStream::connect(target.address).await?;
        tcp.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Stream::Plain(tcp),
            Some((config, name)) => {
                Stream::Tls(Box::new(Self::handshake(config, name, tcp).await?))
            }
        };
        Ok(Self {
            stream,
            codec: Codec::new(PACKET_MAX),
            inbox: BytesMut::new(),
        })
    }

    /// Apart and boxed: the handshake's state is large and short-lived.
    fn handshake<'a>(
        config: &'a Arc<rustls::ClientConfig>,
        name: &'a ServerName<'static>,
        tcp: TcpStream,
    ) -> Pin<Box<dyn Future<Output = io::Result<TlsStream<TcpStream>>> + Send + 'a>> {
        Box::pin(async move {
            TlsConnector::from(Arc::clone(config))
                .connect(name.clone(), tcp)
                .await
        })
    }

    /// The next whole packet among the bytes read so far.
    pub(super) fn packet(&mut self) -> io::Result<Option<Packet>> {
        let decoded = self
            .codec
            .decode(&mut self.inbox)
            .map_err(io::Error::other)?;
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        Ok(decoded.map(|(packet, _)| packet))
    }

    /// Waits for bytes. Cancel-safe. An end of the stream is an error: the hub owes a device its connection.
    pub(super) async fn read(&mut self) -> io::Result<()> {
        let Self { stream, inbox, .. } = self;
        let read = poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(match stream {
                    Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, &mut buffer),
                    Stream::Tls(tls) => Pin::new(tls).poll_read(context, &mut buffer),
                })?;
                inbox.extend_from_slice(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            })
        })
        .await?;
        if read == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    /// Writes the packets as one run of bytes and empties the list.
    pub(super) async fn write(&mut self, packets: &mut Vec<Packet>) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for packet in packets.drain(..) {
            self.codec
                .encode(packet, &mut bytes)
                .map_err(io::Error::other)?;
        }
        match &mut self.stream {
            Stream::Plain(tcp) => Self::write_all(tcp, &bytes).await,
            Stream::Tls(tls) => Self::write_all(tls.as_mut(), &bytes).await,
        }
    }

    async fn write_all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes).await?;
        stream.flush().await
    }
}
