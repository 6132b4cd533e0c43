//! Reads a blob line by line and does what each line says, in order; a bad line is logged and left.
//!
//! Lines go to the registry in batches, each a commit or a few. Running the whole blob a second time is
//! harmless but for lines that say `create` or name an etag: what the first run did makes them fail, and the
//! log says so. compat: XFER-7

use bytes::Bytes;
use futures_util::future::join;
use tokio::sync::mpsc;

use super::{
    BlobName, ContainerUri, Transfer,
    lines::{Line, Lines},
    runner::{Interrupted, Progress, TransferRunner},
};
use crate::{
    configurations::ConfigurationError,
    limits,
    ports::{
        TransferLines,
        blobs::{BlobError, BlobReader, BlobWriter},
        transfers::{ConfigurationChange, LineChange, LineFailure, LineFault, LineName, LinePlace},
    },
};

pub(super) async fn run(
    runner: &TransferRunner,
    job: &Transfer,
    input: &ContainerUri,
    blob: &BlobName,
    output: &ContainerUri,
) -> Result<(), Interrupted> {
    let errors = BlobName::errors();
    let log = runner.parts.blobs.create(output, &errors);
    let mut import = Import {
        runner,
        job,
        input,
        log: log.await?,
        progress: Progress::new(runner, job),
    };
    import.identities(blob).await?;
    if let Some(blob) = &job.request.configurations {
        import.configurations(blob).await?;
    }
    import.log.finish().await?;
    Ok(())
}

/// One line of a batch.
struct Entry {
    line: u64,
    read: Result<LineChange, LineFault>,
}

/// Lines that are made together.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
    /// Bytes of the blob that were cut into lines before.
    done: u64,
}

impl Batch {
    fn add(&mut self, line: u64, text: Line, reader: &dyn TransferLines) {
        let read = match text {
            Line::Text(text) => {
                self.bytes += text.len();
                reader.read(&text)
            }
            Line::TooLong => Err(too_long()),
        };
        self.entries.push(Entry { line, read });
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= limits::TRANSFER_BATCH_LINES
            || self.bytes >= limits::TRANSFER_PAGE_BYTES
    }
}

/// Reads a blob in batches, a few ahead of whoever takes them; ends when nobody takes any more.
async fn read_batches(
    mut blob: Box<dyn BlobReader>,
    reader: &dyn TransferLines,
    batches: mpsc::Sender<Batch>,
) -> Result<(), BlobError> {
    let mut lines = Lines::default();
    let mut batch = Batch::default();
    let (mut done, mut is_ended) = (0, false);
    while !is_ended {
        let mut bytes = 0;
        match blob.next().await? {
            Some(piece) => {
                bytes = piece.len() as u64;
                lines.push(piece);
            }
            None => {
                lines.end();
                is_ended = true;
            }
        }
        while let Some((line, text)) = lines.next() {
            batch.add(line, text, reader);
            if batch.is_full() {
                batch.done = done;
                if batches.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
        done += bytes;
    }
    batch.done = done;
    // Whoever does not take it has an error of their own to tell.
    let _ = batches.send(batch).await;
    Ok(())
}

struct Import<'a> {
    runner: &'a TransferRunner,
    job: &'a Transfer,
    input: &'a ContainerUri,
    log: Box<dyn BlobWriter>,
    progress: Progress<'a>,
}

impl Import<'_> {
    /// Lines are read while the store is busy with those before them.
    async fn identities(&mut self, blob: &BlobName) -> Result<(), Interrupted> {
        let parts = &self.runner.parts;
        let reader = parts.blobs.open(self.input, blob).await?;
        let total = reader.bytes();
        let (sender, mut batches) = mpsc::channel::<Batch>(1);
        let read = read_batches(reader, &*parts.lines, sender);
        // Owns its end, so that a failure here ends the reading too.
        let make = async move {
            while let Some(batch) = batches.recv().await {
                let done = batch.done;
                self.make(blob, batch).await?;
                self.progress.reach(done, total).await?;
            }
            Ok(())
        };
        // A failure to read on waits for the batches that were read before it.
        let (read, made) = join(read, make).await;
        made.and(read.map_err(Interrupted::from))
    }

    /// Makes the changes of a batch and logs what failed, in the order of the lines.
    async fn make(&mut self, blob: &BlobName, batch: Batch) -> Result<(), Interrupted> {
        let mut changes = Vec::with_capacity(batch.entries.len());
        let mut read = Vec::with_capacity(batch.entries.len());
        for entry in batch.entries {
            read.push((
                entry.line,
                entry.read.map(|line| {
                    changes.push(line.change);
                    line.named
                }),
            ));
        }
        let parts = &self.runner.parts;
        let outcomes = {
            let _gate = self.runner.changing(self.job).await;
            parts.hub.change_all(changes).await?
        };
        let mut outcomes = outcomes.into_iter();
        let mut log = Vec::new();
        for (line, read) in read {
            let fault = match read {
                Err(fault) => Some(fault),
                Ok(named) => {
                    let outcome = outcomes.next().expect("one outcome for each change");
                    let failure = outcome.err().map(LineFailure::Bulk);
                    failure.map(|failure| parts.lines.explain(named, failure))
                }
            };
            if let Some(fault) = fault {
                parts.lines.log(&LinePlace { blob, line }, fault, &mut log);
            }
        }
        if !log.is_empty() {
            self.log.write(Bytes::from(log)).await?;
        }
        Ok(())
    }

    /// Configurations are few: each is a write of its own.
    async fn configurations(&mut self, blob: &BlobName) -> Result<(), Interrupted> {
        let mut reader = self.runner.parts.blobs.open(self.input, blob).await?;
        let mut lines = Lines::default();
        let mut is_ended = false;
        while !is_ended {
            match reader.next().await? {
                Some(piece) => lines.push(piece),
                None => {
                    lines.end();
                    is_ended = true;
                }
            }
            while let Some((line, text)) = lines.next() {
                let Some(fault) = self.configuration(text).await? else {
                    continue;
                };
                let mut log = Vec::new();
                let place = LinePlace { blob, line };
                self.runner.parts.lines.log(&place, fault, &mut log);
                self.log.write(Bytes::from(log)).await?;
            }
        }
        Ok(())
    }

    /// Makes one configuration so; what is wrong with its line, if anything is.
    async fn configuration(&mut self, line: Line) -> Result<Option<LineFault>, Interrupted> {
        let parts = &self.runner.parts;
        let read = match line {
            Line::Text(text) => parts.lines.read_configuration(&text),
            Line::TooLong => Err(too_long()),
        };
        let change = match read {
            Ok(change) => change,
            Err(fault) => return Ok(Some(fault)),
        };
        let _gate = self.runner.changing(self.job).await;
        let configurations = &parts.hub.configurations;
        let (id, changed) = match change {
            ConfigurationChange::Put {
                id,
                settings,
                precondition,
            } => {
                let put = configurations.put(id.clone(), *settings, precondition);
                (id, put.await.map(drop))
            }
            ConfigurationChange::Delete { id, matches } => {
                (id.clone(), configurations.delete(id, matches).await)
            }
        };
        match changed {
            Ok(()) => Ok(None),
            Err(ConfigurationError::Store(error)) => Err(error.into()),
            Err(error) => {
                let named = LineName::Configuration(id.to_string());
                let failure = LineFailure::Configuration(error);
                Ok(Some(parts.lines.explain(named, failure)))
            }
        }
    }
}

fn too_long() -> LineFault {
    let max = limits::TRANSFER_LINE_BYTES_MAX;
    LineFault {
        named: None,
        code: None,
        problem: format!("the line has more than {max} bytes"),
    }
}
