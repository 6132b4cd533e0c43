//! The one thread that writes the audit log, and the bounded queue before it.
//!
//! Whoever hands in a line waits until it is with the kernel, which a killed process survives; lines that arrive
//! together are one write. What cannot be written waits in memory and goes first once it can; beyond a bound lines are
//! lost, counted, and the log itself says how many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use fanfare_hub::{ports::Clock, time::Timestamp};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    file::{AuditFile, AuditFileError},
    line::Line,
};
use crate::telemetry::COUNTS;

/// Lines that may wait for the thread; whoever has one more waits for a place. Ours.
const QUEUE_LINES: usize = 4_096;
/// Lines that one write takes. Ours.
const BATCH_LINES: usize = 256;
/// Bytes of lines that wait for a file that cannot be written. Ours.
const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The handle of the thread. It ends when the last handle is gone.
pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    is_failing: Arc<AtomicBool>,
}

enum Work {
    /// A line, and whom to tell that it was taken care of.
    Line(Vec<u8>, Option<oneshot::Sender<()>>),
    /// Is the file written again?
    Look(oneshot::Sender<bool>),
    /// Makes safe what was written, elsewhere: the next lines need not wait for the disk.
    Sync(oneshot::Sender<Vec<Arc<std::fs::File>>>),
    /// Nothing comes after this.
    Close(oneshot::Sender<()>),
}

impl Writer {
    pub(super) fn start(file: AuditFile, clock: Arc<dyn Clock>) -> Result<Self, AuditFileError> {
        let (work, queue) = mpsc::channel(QUEUE_LINES);
        let is_failing = Arc::new(AtomicBool::new(false));
        let scribe = Scribe {
            file,
            clock,
            backlog: Vec::new(),
            backlog_lines: 0,
            lost: 0,
            is_failing: is_failing.clone(),
        };
        let name = thread::Builder::new().name("audit".to_owned());
        match name.spawn(move || scribe.run(queue)) {
            Ok(_) => Ok(Self { work, is_failing }),
            Err(error) => Err(AuditFileError::no_thread(error)),
        }
    }

    /// Ends when the line is in the file, or when it waits in memory because it cannot be.
    pub(super) async fn write(&self, line: Vec<u8>) {
        let (done, written) = oneshot::channel();
        if self.work.send(Work::Line(line, Some(done))).await.is_err() {
            return lost(1);
        }
        // The thread tells everyone, and counts what it cannot write.
        let _ = written.await;
    }

    /// The same without an end to wait for.
    pub(super) fn leave(&self, line: Vec<u8>) {
        if self.work.try_send(Work::Line(line, None)).is_err() {
            lost(1);
        }
    }

    /// Whether lines are written; where they were not, tries again.
    pub(super) async fn is_writable(&self) -> bool {
        if !self.is_failing.load(Ordering::Acquire) {
            return true;
        }
        let (tell, is_writable) = oneshot::channel();
        self.work.send(Work::Look(tell)).await.is_ok() && is_writable.await.unwrap_or(false)
    }

    /// Ends when what was written before survives a power cut.
    pub(super) async fn sync(&self) {
        let (tell, files) = oneshot::channel();
        if self.work.send(Work::Sync(tell)).await.is_err() {
            return;
        }
        let Ok(files) = files.await else { return };
        let flush = move || files.iter().try_for_each(|file| file.sync_all());
        let flushed = spawn_blocking(flush).await;
        if let Ok(Err(error)) = flushed {
            tracing::error!(%error, "the audit log cannot be flushed to the disk");
        }
    }

    /// Ends when everything is written and safe.
    pub(super) async fn close(&self) {
        let (tell, closed) = oneshot::channel();
        if self.work.send(Work::Close(tell)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn lost(lines: u64) {
    COUNTS.audit_lost.add(lines);
}

/// The thread's own.
struct Scribe {
    file: AuditFile,
    clock: Arc<dyn Clock>,
    /// Lines that are not in the file yet.
    backlog: Vec<u8>,
    backlog_lines: u64,
    /// Lines that were lost since the log last said so.
    lost: u64,
    is_failing: Arc<AtomicBool>,
}

impl Scribe {
    fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let mut batch = Vec::new();
        let mut closed = None;
        while closed.is_none() && queue.blocking_recv_many(&mut batch, BATCH_LINES) > 0 {
            closed = self.work_off(&mut batch);
        }
        if self.backlog_lines > 0 {
            lost(self.backlog_lines);
            let lines = self.backlog_lines;
            tracing::error!(lines, "lines of the audit log are lost");
        }
        if let Err(error) = self.file.sync() {
            tracing::error!(%error, "the audit log cannot be flushed to the disk");
        }
        drop(queue);
        if let Some(closed) = closed {
            // Whoever closes may have gone.
            let _: Result<(), ()> = closed.send(());
        }
    }

    /// Writes the lines of a batch with one write, then does what else was asked. Tells who closed.
    fn work_off(&mut self, batch: &mut Vec<Work>) -> Option<oneshot::Sender<()>> {
        let mut lines = Vec::new();
        let mut count = 0;
        let (mut written, mut other) = (Vec::new(), Vec::new());
        for work in batch.drain(..) {
            match work {
                Work::Line(line, done) => {
                    lines.extend(line);
                    count += 1;
                    written.extend(done);
                }
                asked => other.push(asked),
            }
        }
        if count > 0 {
            self.take(&lines, count);
        }
        for done in written {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
        let mut closed = None;
        for work in other {
            match work {
                Work::Look(tell) => {
                    self.flush();
                    let _ = tell.send(self.backlog.is_empty());
                }
                Work::Sync(tell) => {
                    self.flush();
                    let _ = tell.send(self.file.take_unsafe());
                }
                Work::Close(tell) => closed = Some(tell),
                Work::Line(..) => {}
            }
        }
        closed
    }

    fn take(&mut self, lines: &[u8], count: u64) {
        if self.backlog.len() + lines.len() > BACKLOG_BYTES_MAX {
            self.flush();
        }
        if !self.backlog.is_empty() && self.backlog.len() + lines.len() > BACKLOG_BYTES_MAX {
            lost(count);
            self.lost += count;
            return;
        }
        self.backlog.extend(lines);
        self.backlog_lines += count;
        self.flush();
    }

    /// Writes what waits; what cannot be written goes on waiting.
    fn flush(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let now = self.clock.now();
        match self.file.append(&self.backlog, now) {
            Ok(()) => {
                COUNTS.audit_written.add(self.backlog_lines);
                self.backlog.clear();
                self.backlog.shrink_to(BACKLOG_KEPT);
                self.backlog_lines = 0;
                self.tell_lost(now);
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "the audit log cannot be written");
                }
            }
        }
    }

    /// Says in the log that lines are missing before this place.
    fn tell_lost(&mut self, now: Timestamp) {
        if self.lost == 0 {
            return;
        }
        let detail = json!({"count": self.lost});
        let line = Line {
            detail: detail.as_object(),
            ..Line::of(now, "audit.lost")
        };
        // Otherwise the next write says it.
        if self.file.append(&line.bytes(), now).is_ok() {
            COUNTS.audit_written.add(1);
            self.lost = 0;
        }
    }
}

/// Bytes of memory that are kept between writes. Ours.
const BACKLOG_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use fanfare_hub::ports::clock::ManualClock;
    use serde_json::Value;

    use super::*;
    use crate::config::AuditConfig;

    #[test]
    fn what_cannot_be_kept_is_counted_in_the_log() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("audit");
        std::fs::write(&folder, "in the way").unwrap();
        let mut scribe = Scribe {
            file: AuditFile::new(folder.clone(), &AuditConfig::default()),
            clock: Arc::new(ManualClock::new(Timestamp(0))),
            backlog: Vec::new(),
            backlog_lines: 0,
            lost: 0,
            is_failing: Arc::default(),
        };
        let line = |text: &str| format!("\"{text}\"\n").into_bytes();
        let long = line(&"x".repeat(BACKLOG_BYTES_MAX / 4));
        for _ in 0..5 {
            scribe.take(&long, 1);
        }
        assert!(scribe.is_failing.load(Ordering::Acquire));
        std::fs::remove_file(&folder).unwrap();
        scribe.take(&line("after"), 1);
        assert!(!scribe.is_failing.load(Ordering::Acquire));
        let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3 + 2);
        assert!(lines[..3].iter().all(Value::is_string));
        let lost = lines
            .iter()
            .filter(|line| line["operation"] == "audit.lost");
        let lost: Vec<_> = lost.map(|line| &line["detail"]["count"]).collect();
        assert_eq!(lost, [2]);
    }
}
