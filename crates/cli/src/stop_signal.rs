//! Ctrl-C, SIGTERM and a closed terminal: who has something to put away hears them, everybody else ends at once and
//! quietly.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Exit;

/// Whether somebody in this process listens, so that Ctrl-C is theirs.
static IS_HEARD: AtomicBool = AtomicBool::new(false);

/// Hears Ctrl-C, SIGTERM and SIGHUP from its creation on; until then they end the process as usual.
#[derive(Debug)]
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
    /// Absent under `nohup`.
    hangup: Option<Signal>,
}

impl StopSignal {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> std::io::Result<Self> {
        let listening = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match is_hangup_ignored() {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        };
        IS_HEARD.store(true, Ordering::Release);
        Ok(listening)
    }

    /// Waits until the process is told to stop. Cancel-safe.
    pub async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// Whether the process was started to outlive its terminal: to listen would undo that. Known on Linux alone.
fn is_hangup_ignored() -> bool {
    const SIGHUP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGHUP_BIT != 0)
}

/// Ends the process with [`Exit::Interrupted`] at Ctrl-C, unless a [`StopSignal`] listens by then. Call it inside a
/// runtime whose other threads may block: a question that waits for an answer must not keep the process.
pub(crate) fn exit_on_interrupt() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        while interrupt.recv().await.is_some() {
            if !IS_HEARD.load(Ordering::Acquire) {
                // The terminal has written ^C behind what stood there.
                if std::io::stderr().is_terminal() {
                    crate::diagnostic::say("");
                }
                std::process::exit(Exit::Interrupted as i32);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_closed_terminal_is_heard() {
        // Whoever runs this under `nohup` wants the opposite.
        if is_hangup_ignored() {
            return;
        }
        let mut stop = StopSignal::new().unwrap();
        kill_process(getpid(), rustix::process::Signal::HUP).unwrap();
        stop.heard().await;
    }
}
