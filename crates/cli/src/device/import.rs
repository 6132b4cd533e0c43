//! `fanfare device import`: a file of newline-JSON into a hub's registry, over the public API alone.
//!
//! Decides in which order things happen: a thread reads and cuts the file ([`super::chunk`]), a few calls are under
//! way at once ([`super::call`]), their ends are acknowledged in the order of the file, and the checkpoint beside
//! the file follows them. So a cut import goes on where it was: no line is lost, and those that were under way are
//! told again, which is harmless for every mode that says what is to be so and is looked through for the others.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fanfare_client::RegistryClient;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::call::{Caller, Settled};
use super::checkpoint::{self, FileMark, ImportCheckpoint};
use super::chunk::{CHUNK_ITEMS_MAX, Chunk};
use super::dry_run;
use super::errors_file::{ErrorsFile, LineError};
pub(super) use super::import_args::ImportArgs;
use super::patience::Patience;
use super::progress::{Progress, Step};
use super::source::{Source, read_ahead};
use crate::diagnostic;
use crate::failure::{Exit, Failure};
use crate::hub::addressed;
use crate::job::figures::{count, counted, took};
use crate::output::{self, Column, Format};
use crate::stop_signal::StopSignal;

/// Between two checkpoints. Ours: what is gone over again after a cut is what this time does.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(200);
/// How far ahead of what is done a checkpoint lets lines be sent, so that not every call needs one.
const SENT_AHEAD_LINES: u64 = 10 * CHUNK_ITEMS_MAX as u64;
/// Failed lines that are told in so many words.
const ERRORS_TOLD: usize = 5;

/// Runs `fanfare device import`.
pub(super) async fn run(args: ImportArgs) -> Result<(), Failure> {
    let source = Source::open(&args.file)?;
    if args.dry_run {
        return dry_run::run(source.input, &source.name, args.mode, &args.output);
    }
    let registry = args.hub.client()?.registry();
    let mut import = Import::prepare(&args, &source, registry)?;
    let chunks = read_ahead(source.positioned(import.checkpoint.place())?, args.mode);
    let done = import.run(chunks, usize::from(args.in_flight)).await;
    import.end(done, &args)
}

/// One run of an import.
struct Import {
    caller: Caller,
    checkpoint: ImportCheckpoint,
    /// Where the checkpoint is; a pipe has none, for nobody can go back in it.
    kept_at: Option<PathBuf>,
    kept: Instant,
    errors: ErrorsFile,
    errors_path: PathBuf,
    first_errors: Vec<LineError>,
    progress: Progress,
    name: String,
    began_at_line: u64,
    /// Up to this line an earlier run may have been.
    doubtful_lines: u64,
    /// The file, unless it is a pipe; locked as long as the import runs: two of one file would mix up their
    /// checkpoints.
    file: Option<File>,
}

/// How a run ended that did not fail.
enum Ended {
    AtTheEnd,
    Stopped,
}

impl Import {
    fn prepare(
        args: &ImportArgs,
        source: &Source,
        registry: RegistryClient,
    ) -> Result<Self, Failure> {
        let file = source.path.as_ref().map(|_| source.lock()).transpose()?;
        let hub = addressed()
            .map(|hub| hub.endpoint.clone())
            .unwrap_or_default();
        let mark = match &file {
            Some(file) => FileMark::of(file)?,
            None => FileMark::of_a_stream(),
        };
        let whole = file.as_ref().map(|_| mark.bytes);
        let begin = ImportCheckpoint::new(&hub, args.mode.as_str(), mark);
        let kept_at = source
            .path
            .as_deref()
            .map(|path| checkpoint::path_beside(path, ".import"));
        let checkpoint = match &kept_at {
            Some(path) if !args.restart => resumed(path, begin)?,
            _ => begin,
        };
        let errors_path = args.errors.clone().unwrap_or_else(|| match &source.path {
            Some(path) => checkpoint::path_beside(path, ".errors.jsonl"),
            None => PathBuf::from("import.errors.jsonl"),
        });
        let unfit = || Failure::usage(format!("{} cannot be written to", errors_path.display()));
        if source.is_at(&errors_path) {
            return Err(unfit().because("it is the file that is imported"));
        }
        let errors = ErrorsFile::open(&errors_path, checkpoint.errors_bytes)
            .map_err(|error| unfit().because(error))?;
        let progress = Progress::new("import", whole, step(&checkpoint));
        if checkpoint.lines > 0 {
            let line = count(checkpoint.lines + 1);
            progress.say(&format!(
                "Going on with line {line}, where an earlier import was cut."
            ));
        }
        Ok(Self {
            caller: Caller::new(registry, Patience::new(args.wait_for_hub)),
            began_at_line: checkpoint.lines,
            doubtful_lines: checkpoint.sent_lines_max,
            checkpoint,
            kept_at,
            kept: Instant::now(),
            errors,
            errors_path,
            first_errors: Vec::new(),
            progress,
            name: source.name.clone(),
            file,
        })
    }

    /// Sends chunks, several at once, and acknowledges them in order.
    async fn run(
        &mut self,
        mut chunks: mpsc::Receiver<io::Result<Chunk>>,
        in_flight_max: usize,
    ) -> Result<Ended, Failure> {
        let mut stop = StopSignal::new()?;
        let mut under_way: FuturesOrdered<BoxFuture<'static, Result<Settled, Failure>>> =
            FuturesOrdered::new();
        let mut devices: VecDeque<HashSet<String>> = VecDeque::new();
        let mut waiting: Option<Chunk> = None;
        let (mut is_read, mut is_stopped) = (false, false);
        loop {
            while under_way.len() < in_flight_max && !is_stopped {
                let named = match &waiting {
                    Some(chunk) => chunk.devices(),
                    None => break,
                };
                if devices.iter().any(|others| !others.is_disjoint(&named)) {
                    break;
                }
                let Some(chunk) = waiting.take() else { break };
                self.before_sending(&chunk)?;
                devices.push_back(named);
                under_way.push_back(Box::pin(
                    self.caller.clone().settle(chunk, self.doubtful_lines),
                ));
                waiting = chunks
                    .try_recv()
                    .ok()
                    .transpose()
                    .map_err(|error| self.unreadable(&error))?;
            }
            let wants_more = waiting.is_none() && !is_read && !is_stopped;
            if under_way.is_empty() && !wants_more {
                break;
            }
            tokio::select! {
                biased;
                // The second time, what is under way is not waited for: it may be a hub that has gone away.
                () = stop.heard() => match is_stopped {
                    true => return Ok(Ended::Stopped),
                    false => {
                        is_stopped = true;
                        self.progress.say("Stopping when the calls under way have ended; Ctrl-C once more leaves them.");
                    }
                },
                Some(settled) = under_way.next(), if !under_way.is_empty() => {
                    devices.pop_front();
                    self.acknowledge(settled?)?;
                }
                chunk = chunks.recv(), if wants_more => match chunk {
                    Some(chunk) => waiting = Some(chunk.map_err(|error| self.unreadable(&error))?),
                    None => is_read = true,
                },
            }
        }
        Ok(if is_stopped {
            Ended::Stopped
        } else {
            Ended::AtTheEnd
        })
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::not_done(format!("{} cannot be read", self.name)).because(error)
    }

    /// No line is sent that the checkpoint on the disk calls unsent.
    fn before_sending(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        if chunk.end.lines > self.checkpoint.sent_lines_max {
            self.checkpoint.sent_lines_max = chunk.end.lines + SENT_AHEAD_LINES;
            self.keep()?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, settled: Settled) -> Result<(), Failure> {
        self.errors
            .push(&settled.errors)
            .map_err(|error| unusable(&self.errors_path, &error))?;
        let checkpoint = &mut self.checkpoint;
        checkpoint.errors_bytes = self.errors.bytes();
        checkpoint.lines = settled.end.lines;
        checkpoint.bytes = settled.end.bytes;
        checkpoint.changed += settled.changed;
        checkpoint.found_done += settled.found_done;
        checkpoint.failed += settled.errors.len() as u64;
        let told = ERRORS_TOLD.saturating_sub(self.first_errors.len());
        self.first_errors
            .extend(settled.errors.into_iter().take(told));
        self.progress.show(step(&self.checkpoint));
        if self.kept.elapsed() >= CHECKPOINT_EVERY {
            self.keep()?;
        }
        Ok(())
    }

    /// Writes the checkpoint; what it says of the errors is durable before it.
    fn keep(&mut self) -> Result<(), Failure> {
        self.errors
            .sync()
            .map_err(|error| unusable(&self.errors_path, &error))?;
        if let Some(path) = &self.kept_at {
            checkpoint::save(path, &self.checkpoint).map_err(|error| unusable(path, &error))?;
        }
        self.kept = Instant::now();
        Ok(())
    }

    /// Says how it ended; a run that did not come to the end leaves its checkpoint.
    fn end(mut self, ended: Result<Ended, Failure>, args: &ImportArgs) -> Result<(), Failure> {
        let kept = self.keep();
        let line = count(self.checkpoint.lines + 1);
        let again = match self.kept_at {
            // What the last checkpoint says is true still, and less.
            Some(_) if kept.is_err() => "run the same command again".to_owned(),
            Some(_) => format!("run the same command again; it goes on with line {line}"),
            None => format!("everything before line {line} is done; import the rest from there"),
        };
        match ended {
            Err(failure) if self.checkpoint.lines > 0 => Err(failure.try_this(again)),
            // Nothing was done at all: there is nothing to go on with.
            Err(failure) if self.is_untouched(&failure) => match &self.kept_at {
                Some(path) => checkpoint::remove(path)
                    .map_err(|error| unusable(path, &error))
                    .and(Err(failure)),
                None => Err(failure),
            },
            Err(failure) => Err(failure),
            Ok(Ended::Stopped) => {
                kept?;
                drop(self.progress);
                diagnostic::say(&format!(
                    "Stopped before line {line} of {}. To finish, {again}.",
                    self.name
                ));
                Err(Failure::silent(Exit::Interrupted))
            }
            Ok(Ended::AtTheEnd) => {
                kept?;
                self.refuse_changed()?;
                if let Some(path) = &self.kept_at {
                    checkpoint::remove(path).map_err(|error| unusable(path, &error))?;
                }
                self.report(args)
            }
        }
    }

    /// A file that somebody else writes into was read neither as it was nor as it is.
    fn refuse_changed(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if FileMark::of(file)? == self.checkpoint.file {
            return Ok(());
        }
        let title = format!("{} has changed while it was imported", self.name);
        Err(Failure::not_done(title)
            .because("some of its lines may not have been read as they are now")
            .try_this("--restart to import it as it is now"))
    }

    /// Whether no line can have reached the hub, now or in an earlier run.
    fn is_untouched(&self, failure: &Failure) -> bool {
        let error = failure.client_error();
        self.doubtful_lines == 0 && error.is_some_and(|error| !error.may_have_been_done())
    }

    fn report(self, args: &ImportArgs) -> Result<(), Failure> {
        let ImportCheckpoint {
            lines,
            changed,
            found_done,
            failed,
            ..
        } = self.checkpoint;
        let took = took(self.progress.elapsed());
        drop(self.progress);
        let errors_file = (failed > 0).then(|| self.errors_path.display().to_string());
        if args.output.format == Format::Table {
            let mut text = format!(
                "Imported {} of {} in {took}",
                counted(changed, "change"),
                self.name
            );
            if found_done > 0 {
                text.push_str(&format!(
                    "; {} had been made before the earlier import was cut",
                    count(found_done)
                ));
            }
            text.push('.');
            output::line(&text)?;
        } else {
            let result = json!({
                "file": self.name,
                "lines": lines,
                "changed": changed,
                "foundDone": found_done,
                "failed": failed,
                "errors": errors_file,
                "beganAtLine": self.began_at_line + 1,
            });
            output::show_one(&args.output, columns(), &result)?;
        }
        let Some(errors_file) = errors_file else {
            return Ok(());
        };
        let are = if failed == 1 {
            "line was"
        } else {
            "lines were"
        };
        let title = format!("{} {are} not imported", count(failed));
        let mut failure = Failure::not_done(title);
        for error in &self.first_errors {
            failure = failure.because(told(error));
        }
        Err(failure.try_this(format!(
            "{errors_file} says what is wrong with each of them"
        )))
    }
}

fn columns() -> Vec<Column> {
    let names = [
        "file",
        "lines",
        "changed",
        "foundDone",
        "failed",
        "errors",
        "beganAtLine",
    ];
    names.map(Column::new).into()
}

fn told(error: &LineError) -> String {
    let id = match (&error.device_id, &error.module_id) {
        (Some(device), Some(module)) => format!(" ({device}/{module})"),
        (Some(device), None) => format!(" ({device})"),
        (None, _) => String::new(),
    };
    let place = match error.column {
        Some(column) => format!("line {}, column {column}", count(error.line)),
        None => format!("line {}", count(error.line)),
    };
    format!("{place}{id}: {}: {}", error.error_code, error.error_status)
}

fn step(checkpoint: &ImportCheckpoint) -> Step {
    Step {
        lines: checkpoint.lines,
        part: checkpoint.bytes,
        failed: checkpoint.failed,
    }
}

/// The checkpoint of a cut import of this very file, or the beginning.
fn resumed(path: &Path, begin: ImportCheckpoint) -> Result<ImportCheckpoint, Failure> {
    let found: Option<ImportCheckpoint> = checkpoint::load(path).map_err(|error| {
        Failure::usage(format!(
            "{} is not a checkpoint that can be read",
            path.display()
        ))
        .because(error)
        .try_this("--restart to import the file from its first line")
    })?;
    let Some(found) = found else {
        return Ok(begin);
    };
    match found.differs(&begin) {
        None => Ok(found),
        Some(why) => Err(Failure::usage(format!(
            "the checkpoint {} cannot be used",
            path.display()
        ))
        .because(why)
        .try_this("--restart to import the file from its first line")),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::not_done(format!("{} cannot be used", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_does_not_fit_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.txt.import");
        let begin = || ImportCheckpoint::new("h", "create", FileMark::of_a_stream());
        assert_eq!(resumed(&path, begin()).unwrap(), begin());
        let far = ImportCheckpoint {
            lines: 7,
            ..begin()
        };
        checkpoint::save(&path, &far).unwrap();
        assert_eq!(resumed(&path, begin()).unwrap(), far);
        let elsewhere = ImportCheckpoint::new("g", "create", FileMark::of_a_stream());
        let refused = diagnostic::plain(&resumed(&path, elsewhere).unwrap_err());
        assert!(refused.contains("the hub h"), "{refused}");
        assert!(refused.contains("--restart"), "{refused}");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(resumed(&path, begin()).unwrap_err().exit(), Exit::Usage);
    }
}
