//! The audit log: who asked for which change of what, from where, and what came of it.
//!
//! One JSON object a line, appended to a file before the answer leaves. [`operations`] says which routes change
//! something and what that is called; [`trail`] gathers what is known of one request; [`line`](self::line) is how it
//! is written down, [`writer`] the one thread that does, [`file`](self::file) where. Refusals of strangers are
//! summed up first ([`refusals`]), so that nobody can fill the disk. No secret, key or payload is ever noted.

mod file;
mod line;
mod operations;
mod refusals;
mod trail;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fanfare_hub::{ports::Clock, time::Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

pub use self::file::AuditFileError;
use self::{
    file::AuditFile,
    line::Line,
    refusals::{Refusals, Refused},
    writer::Writer,
};
pub(crate) use self::{
    line::created_by,
    operations::operation_of,
    trail::{Audited, Noted, Trail, audited, while_recorded},
};
use crate::{
    clock::SystemClock,
    config::{AuditConfig, AuditMode},
};

/// The folder of the audit log, in the data folder.
const FOLDER: &str = "audit";
/// How often what was written is made safe against a power cut. Ours.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How many of those pass before refusals are summed up. Ours.
const REFUSALS_EVERY: u32 = 60;

/// The audit log of a node; does nothing when it is off.
pub struct AuditLog {
    clock: Arc<dyn Clock>,
    is_required: bool,
    writer: Option<Writer>,
    refusals: Mutex<Refusals>,
}

impl AuditLog {
    /// Opens it.
    ///
    /// # Errors
    /// The file cannot be written, and nothing may be changed without it.
    pub(crate) fn open(
        data_dir: &Path,
        config: &AuditConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, AuditFileError> {
        let is_required = config.mode == AuditMode::Required;
        let writer = match config.mode {
            AuditMode::Off => None,
            AuditMode::Required | AuditMode::BestEffort => {
                let mut file = AuditFile::new(data_dir.join(FOLDER), config);
                match file.ready() {
                    Err(error) if is_required => return Err(error),
                    Err(error) => tracing::error!(%error, "the audit log cannot be written"),
                    Ok(()) => {}
                }
                Some(Writer::start(file, clock.clone())?)
            }
        };
        Ok(Arc::new(Self {
            clock,
            is_required,
            writer,
            refusals: Mutex::default(),
        }))
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Whether nothing may be changed without it.
    pub(crate) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Notes that the node serves, and what it was told.
    pub(crate) async fn started(&self, settings: &BTreeMap<String, Value>) {
        let mut detail = Map::new();
        detail.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        detail.insert("settings".to_owned(), json!(settings));
        self.node("hub.start", detail).await;
    }

    /// Notes that the node ends; nothing can be noted after it.
    pub(crate) async fn stopped(&self) {
        self.write_refusals().await;
        self.node("hub.stop", Map::new()).await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    async fn node(&self, operation: &str, detail: Map<String, Value>) {
        self.write(&Line {
            detail: Some(&detail),
            ..Line::of(self.now(), operation)
        })
        .await;
    }

    /// Makes safe what was written, and sums up refusals, until `stop` says true.
    pub(crate) async fn keep(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut rounds = 0_u32;
        let mut pause = tokio::time::interval(SYNC_EVERY);
        pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                _ = pause.tick() => {}
            }
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(REFUSALS_EVERY) {
                self.write_refusals().await;
            }
            if let Some(writer) = &self.writer {
                writer.sync().await;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn write(&self, line: &Line<'_>) {
        if let Some(writer) = &self.writer {
            writer.write(line.bytes()).await;
        }
    }

    /// As [`Self::write`] for those who cannot wait: whether it is written, nobody hears.
    fn leave(&self, line: &Line<'_>) {
        if let Some(writer) = &self.writer {
            writer.leave(line.bytes());
        }
    }

    /// Whether a line could be written now.
    async fn is_writable(&self) -> bool {
        match &self.writer {
            Some(writer) => writer.is_writable().await,
            None => true,
        }
    }

    fn refused(&self, refused: Refused, operation: &'static str) {
        let now = self.now();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.add(refused, operation, now);
    }

    async fn write_refusals(&self) {
        let refusals =
            std::mem::take(&mut *self.refusals.lock().unwrap_or_else(PoisonError::into_inner));
        for summed in refusals.into_sums() {
            let operation = "request.refused";
            let line = Line {
                actor: summed.refused.actor.as_ref(),
                peer: summed.refused.address.map(|address| address.to_string()),
                detail: Some(&summed.detail()),
                status: Some(401),
                error: Some("IotHubUnauthorizedAccess"),
                ..Line::of(self.now(), operation)
            };
            self.write(&line).await;
        }
    }
}

/// Notes in the audit log of a data folder what a command did to it while no hub ran on it. Makes the log if there
/// is none: whether the folder's hub keeps one, the folder does not tell.
///
/// # Errors
/// The file cannot be written.
pub fn note_offline(
    data_dir: &Path,
    operation: &str,
    detail: Map<String, Value>,
) -> Result<(), AuditFileError> {
    let now = SystemClock.now();
    let mut file = AuditFile::new(data_dir.join(FOLDER), &AuditConfig::default());
    let line = Line {
        detail: Some(&detail),
        ..Line::of(now, operation)
    };
    file.append(&line.bytes(), now)?;
    file.sync()
}
