//! Every number that bounds the MQTT gateway: name, unit, and where it comes from.
//!
//! "Contract" marks a published quota of the protocol; "ours" is our choice.

use std::time::Duration;

use fanfare_hub::limits::READY_AFTER_RESTORE;

use crate::gate::Patience;

/// Bytes of a packet's body until CONNECT is accepted. The codec reserves what a header announces, so this
/// is what a stranger can make the hub allocate. Ours.
pub const PACKET_BYTES_BEFORE_CONNECT: u32 = 4 * 1024;
/// Bytes of a message's payload. Contract.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a packet's body afterwards: a message, the longest topic, its length, a packet id.
pub const PACKET_BYTES_MAX: u32 = MESSAGE_BYTES_MAX as u32 + 65_535 + 2 + 2;
/// Bytes that may wait for a socket that pushes back; a connection that has as many gets no packet
/// more and is cut. With the packet that crosses the line, it is that much more. Ours.
pub const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// From so many waiting bytes on nothing more is read from a device: it should read first. Ours.
pub const BACKLOG_BYTES_PAUSE: usize = BACKLOG_BYTES_MAX / 2;
/// Filters of one session. Contract.
pub const FILTERS_MAX: usize = 5;
/// Seconds of silence that any connection ends after, whatever keep-alive it asked for. Contract.
pub const SILENCE_SECONDS_MAX: u64 = 1_767;
/// Reads of a twin for one GET, when newer desired versions keep overtaking it. Ours.
pub const TWIN_READS_MAX: u32 = 10;
/// How long no connection is accepted after accepting failed (no file handle left). Ours.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the kernel does about devices that are gone: twice the time that mobile networks need to come back. Ours.
pub(crate) const SOCKET: Patience = Patience {
    unacknowledged: Duration::from_secs(120),
    asks: false,
};

/// The limits that an operator or a test may change.
#[derive(Debug, Clone)]
pub struct GatewayLimits {
    /// Time for the TLS handshake and CONNECT together.
    pub sign_in: Duration,
    /// Connections that have not finished signing in; more wait in the kernel's queue. For a gateway with a gate
    /// of its own.
    pub unfinished_connections: usize,
    /// Time from CONNACK to readiness for methods when the filter was restored.
    pub ready_after_restore: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            sign_in: Duration::from_secs(20),
            unfinished_connections: 4_096,
            ready_after_restore: READY_AFTER_RESTORE,
        }
    }
}
