//! What is asked of every accepted socket: small packets at once, and an end for peers that are not there.

use std::{io, time::Duration};

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// How long a peer may leave what was sent to it unacknowledged, or its window shut, before the kernel ends
/// the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// That time.
    pub(crate) unacknowledged: Duration,
    /// Whether the kernel asks idle peers if they are there. Devices say so themselves, at their own pace:
    /// asking would wake those that sleep to save their battery.
    pub(crate) asks: bool,
}

/// Silence after which the kernel asks, and the pause between two questions. Ours.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Questions without an answer after which the peer is gone. Ours.
const QUESTIONS: u32 = 4;

/// Prepares a socket.
///
/// # Errors
/// The peer is gone already.
pub(crate) fn prepare(stream: &TcpStream, patience: Patience) -> io::Result<()> {
    // Packets and replies are small and somebody waits for each.
    stream.set_nodelay(true)?;
    let millis = u32::try_from(patience.unacknowledged.as_millis()).unwrap_or(u32::MAX);
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, millis)?;
    #[cfg(not(target_os = "linux"))]
    let _ = millis;
    if patience.asks {
        sockopt::set_socket_keepalive(stream, true)?;
        sockopt::set_tcp_keepidle(stream, ASK_AFTER)?;
        sockopt::set_tcp_keepintvl(stream, ASK_AGAIN)?;
        sockopt::set_tcp_keepcnt(stream, QUESTIONS)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_has_what_was_asked_of_it() {
        let listener = TcpListener::bind("127.0.0.97:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for asks in [true, false] {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (stream, _) = accepted.unwrap();
            let unacknowledged = Duration::from_secs(60);
            prepare(
                &stream,
                Patience {
                    unacknowledged,
                    asks,
                },
            )
            .unwrap();
            assert!(stream.nodelay().unwrap());
            assert_eq!(sockopt::socket_keepalive(&stream).unwrap(), asks);
            #[cfg(target_os = "linux")]
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
            drop(client);
        }
    }
}
