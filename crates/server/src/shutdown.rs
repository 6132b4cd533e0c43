//! When a node ends: the signals that ask for it, and how long each step of the end may take.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// How long a stopping node waits for the job engine, which itself awaits answers for 8 s.
pub const ENGINE_WITHIN: Duration = Duration::from_millis(8_500);
/// How long replies under way may take after that before their connections are cut.
pub const CONNECTIONS_WITHIN: Duration = Duration::from_millis(800);

/// Ends when the process is asked to end: SIGTERM, or SIGINT from a terminal.
///
/// # Errors
/// When the system does not let us listen for signals.
pub async fn requested() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
