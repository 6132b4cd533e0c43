//! Ctrl-C and SIGTERM: who has something to put away hears them, everybody else ends at once and quietly.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Exit;

/// Whether somebody in this process listens, so that Ctrl-C is theirs.
static IS_HEARD: AtomicBool = AtomicBool::new(false);

/// Hears Ctrl-C and SIGTERM from its creation on; until then they end the process as usual.
#[derive(Debug)]
pub struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
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
        };
        IS_HEARD.store(true, Ordering::Release);
        Ok(listening)
    }

    /// Waits until the process is told to stop. Cancel-safe.
    pub async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends the process with [`Exit::Interrupted`] at Ctrl-C, unless a [`StopSignal`] listens by then. Call it inside a
/// runtime whose other threads may block: a question that waits for an answer must not keep the process.
pub(crate) fn exit_on_interrupt() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        while interrupt.recv().await.is_some() {
            if !IS_HEARD.load(Ordering::Acquire) {
                std::process::exit(Exit::Interrupted as i32);
            }
        }
    });
    Ok(())
}
