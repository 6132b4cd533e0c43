//! Bytes of one connection, plain or over TLS: how they are read without a buffer per connection, and how
//! anybody may write without waiting.
//!
//! Reading goes through one buffer per thread. Writing tries the socket at once; what it does not take waits
//! in a bounded backlog that nothing overtakes and that the connection's own task flushes. Over TLS
//! encrypting and writing happen in one call, under the caller's lock, or records would leave out of order.
//! Knows no MQTT beyond handing plaintext to the packet reader.

use std::{
    cell::RefCell,
    io::{self, BufRead, IoSlice, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use rustls::{ServerConfig, ServerConnection, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::TlsAcceptor;

use super::{codec::PacketReader, limits};

/// Bytes read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Takes a connection, with its TLS handshake if there is one to make.
pub(super) async fn accept(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<(Incoming, Outgoing)> {
    let Some(config) = tls else {
        return Ok(parts(stream, None, PacketReader::new()));
    };
    let acceptor = TlsAcceptor::from(config);
    // What waits for the socket is bounded by the backlog, so rustls must take all it is given.
    let handshake = acceptor.accept_with(stream, |session| session.set_buffer_limit(None));
    let (stream, mut session) = handshake.await?.into_inner();
    let mut packets = PacketReader::new();
    // The first packet may have come with the last message of the handshake.
    let is_open = drain(&mut session, &mut packets)?;
    let (mut incoming, mut outgoing) = parts(stream, Some(Box::new(session)), packets);
    incoming.is_open = is_open;
    outgoing.write_records()?;
    Ok((incoming, outgoing))
}

fn parts(
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    packets: PacketReader,
) -> (Incoming, Outgoing) {
    let (read, write) = stream.into_split();
    let outgoing = Outgoing {
        socket: Some(write),
        tls,
        backlog: BytesMut::new(),
    };
    (
        Incoming {
            socket: read,
            packets,
            is_open: true,
        },
        outgoing,
    )
}

/// The reading side; belongs to the connection's task.
pub(super) struct Incoming {
    socket: OwnedReadHalf,
    /// What was read, as packets.
    pub(super) packets: PacketReader,
    /// Whether the device may still say something.
    is_open: bool,
}

impl Incoming {
    /// Waits for bytes and passes them through `open` (see [`Outgoing::open`]) to the packet reader. The
    /// end of the connection is an error of the kind `UnexpectedEof`.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        open: impl FnOnce(&[u8], &mut PacketReader) -> io::Result<bool>,
    ) -> Poll<io::Result<()>> {
        if !self.is_open {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut filled = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut filled))?;
            if filled.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.is_open = open(filled.filled(), &mut self.packets)?;
            Poll::Ready(Ok(()))
        })
    }
}

/// Why a packet was not taken. None of it left.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The connection is over.
    #[error("the connection is over")]
    Closed,
    /// The device does not read.
    #[error("the device reads too slowly")]
    TooSlow,
    /// The socket or TLS failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

/// The writing side; shared by everybody who has something to say, behind a lock.
pub(super) struct Outgoing {
    /// None when the connection is over.
    socket: Option<OwnedWriteHalf>,
    tls: Option<Box<ServerConnection>>,
    /// What the socket did not take, as it will leave.
    backlog: BytesMut,
}

impl Outgoing {
    /// Sends one packet given in pieces: now, or behind what waits already.
    ///
    /// # Errors
    /// [`SendError`]; nothing of the packet will leave then, and the connection should end.
    pub(super) fn send(&mut self, parts: &[&[u8]]) -> Result<(), SendError> {
        let Some(socket) = &self.socket else {
            return Err(SendError::Closed);
        };
        if self.backlog.len() >= limits::BACKLOG_BYTES_MAX {
            return Err(SendError::TooSlow);
        }
        if let Some(tls) = &mut self.tls {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            let taken = write_all_vectored(&mut tls.writer(), parts)?;
            debug_assert_eq!(taken, length, "the TLS buffer has no limit");
            return Ok(self.write_records()?);
        }
        write_through(socket, &mut self.backlog, parts)?;
        Ok(())
    }

    /// Turns bytes of the wire into plaintext for the packet reader; false when the device has said that
    /// nothing more will come.
    pub(super) fn open(&mut self, wire: &[u8], packets: &mut PacketReader) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            packets.feed(wire);
            return Ok(true);
        };
        let mut wire = wire;
        let mut is_open = true;
        while !wire.is_empty() && is_open {
            tls.read_tls(&mut wire)?;
            if let Err(error) = tls.process_new_packets() {
                // The alert that says why may still leave.
                let _ = self.write_records();
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            is_open = drain(tls, packets)?;
        }
        self.write_records()?;
        Ok(is_open)
    }

    /// Writes what waits; ready when nothing waits any more.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(()));
        };
        while !self.backlog.is_empty() {
            ready!(socket.as_ref().poll_write_ready(cx))?;
            match socket.try_write(&self.backlog) {
                Ok(written) => self.backlog.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.backlog = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// The certificates that the device sent in the handshake, its own first, or in the one that this connection
    /// resumes; none without TLS.
    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let sent = self.tls.as_ref().and_then(|tls| tls.peer_certificates());
        sent.map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Bytes that wait.
    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.len()
    }

    /// Ends the connection; what waits is dropped.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.tls = None;
        self.backlog = BytesMut::new();
    }

    /// Hands over the records that rustls has ready.
    fn write_records(&mut self) -> io::Result<()> {
        let (Some(tls), Some(socket)) = (&mut self.tls, &self.socket) else {
            return Ok(());
        };
        let mut sink = Sink {
            socket,
            backlog: &mut self.backlog,
        };
        while tls.wants_write() {
            tls.write_tls(&mut sink)?;
        }
        Ok(())
    }
}

/// Moves decrypted bytes to the packet reader; false at the end of the stream.
fn drain(tls: &mut ServerConnection, packets: &mut PacketReader) -> io::Result<bool> {
    let mut reader = tls.reader();
    loop {
        let bytes = match reader.fill_buf() {
            Ok([]) => return Ok(false),
            Ok(bytes) => {
                packets.feed(bytes);
                bytes.len()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        reader.consume(bytes);
    }
}

/// Where rustls writes records: takes everything.
struct Sink<'a> {
    socket: &'a OwnedWriteHalf,
    backlog: &'a mut BytesMut,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_through(self.socket, self.backlog, &[bytes])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pieces of a packet at most, see [`super::codec::CallRequest`].
const PARTS_MAX: usize = 3;

fn slices<'a>(parts: &[&'a [u8]]) -> [IoSlice<'a>; PARTS_MAX] {
    std::array::from_fn(|at| IoSlice::new(parts.get(at).copied().unwrap_or_default()))
}

fn write_all_vectored(writer: &mut impl Write, parts: &[&[u8]]) -> io::Result<usize> {
    writer.write_vectored(&slices(parts)[..parts.len()])
}

/// Writes to the socket what it takes, unless something waits; the rest waits too. Returns the length of
/// all parts.
fn write_through(
    socket: &OwnedWriteHalf,
    backlog: &mut BytesMut,
    parts: &[&[u8]],
) -> io::Result<usize> {
    let mut written = 0;
    if backlog.is_empty() {
        let attempt = match parts {
            [one] => socket.try_write(one),
            _ => socket.try_write_vectored(&slices(parts)[..parts.len()]),
        };
        written = match attempt {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
    }
    let mut length = 0;
    for part in parts {
        let skipped = written.saturating_sub(length).min(part.len());
        backlog.extend_from_slice(&part[skipped..]);
        length += part.len();
    }
    Ok(length)
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
