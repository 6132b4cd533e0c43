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

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use fanfare_client::RegistryClient;
use fanfare_wire::registry::ImportMode;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::call::{Caller, Settled};
use super::checkpoint::{self, FileMark, ImportCheckpoint};
use super::chunk::{CHUNK_ITEMS_MAX, Chunk};
use super::dry_run;
use super::errors_file::{ErrorsFile, LineError};
use super::progress::{Progress, Step};
use super::source::{Source, lock, read_ahead};
use crate::failure::{Exit, Failure};
use crate::hub::{HubArgs, addressed};
use crate::job::figures::{count, counted, took};
use crate::output::{self, Column, Format, OutputArgs};
use crate::stop_signal::StopSignal;
use crate::{diagnostic, time_arg};

/// Arguments of `fanfare device import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// One change a line, as exports write them (`-`: standard input).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to do with lines that do not say it in importMode.
    #[arg(long, default_value = "createOrUpdate", value_parser = mode_parser(), ignore_case = true)]
    mode: ImportMode,
    /// Where to write what went wrong, line by line [default: FILE.errors.jsonl].
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Look at every line without a hub, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Begin at the first line, even if an earlier import of the file was cut.
    #[arg(long)]
    restart: bool,
    /// Calls under way at once, a hundred lines each.
    #[arg(long, value_name = "CALLS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    in_flight: u8,
    /// How long to wait for a hub that has gone away meanwhile.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time_arg::duration)]
    wait_for_hub: Duration,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

fn mode_parser() -> impl clap::builder::TypedValueParser<Value = ImportMode> {
    let words = PossibleValuesParser::new([
        "create",
        "update",
        "updateIfMatchETag",
        "createOrUpdate",
        "createOrUpdateIfMatchETag",
        "delete",
        "deleteIfMatchETag",
        "updateTwin",
        "updateTwinIfMatchETag",
    ]);
    words.map(|word| ImportMode::parse(&word).expect("the words are those of the modes"))
}

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
    /// Held as long as the import runs: two of one file would mix up their checkpoints.
    _lock: Option<File>,
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
        let lock = source.path.as_deref().map(lock).transpose()?;
        let hub = addressed()
            .map(|hub| hub.endpoint.clone())
            .unwrap_or_default();
        let mark = match &source.path {
            Some(path) => FileMark::of(path).map_err(|error| unusable(path, &error))?,
            None => FileMark::of_a_stream(),
        };
        let whole = source.path.as_ref().map(|_| mark.bytes);
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
        let errors = ErrorsFile::open(&errors_path, checkpoint.errors_bytes)
            .map_err(|error| unusable(&errors_path, &error))?;
        let progress = Progress::new("import", whole, step(&checkpoint));
        if checkpoint.lines > 0 {
            let line = count(checkpoint.lines + 1);
            progress.say(&format!(
                "Going on with line {line}, where an earlier import was cut."
            ));
        }
        Ok(Self {
            caller: Caller::new(registry, args.wait_for_hub),
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
            _lock: lock,
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
                () = stop.heard(), if !is_stopped => is_stopped = true,
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
        let checkpoint = &mut self.checkpoint;
        checkpoint.lines = settled.end.lines;
        checkpoint.bytes = settled.end.bytes;
        checkpoint.changed += settled.changed;
        checkpoint.found_done += settled.found_done;
        checkpoint.failed += settled.errors.len() as u64;
        for error in settled.errors {
            self.errors
                .push(&error)
                .map_err(|error| unusable(&self.errors_path, &error))?;
            if self.first_errors.len() < ERRORS_TOLD {
                self.first_errors.push(error);
            }
        }
        self.progress.show(step(&self.checkpoint));
        if self.kept.elapsed() >= CHECKPOINT_EVERY {
            self.keep()?;
        }
        Ok(())
    }

    /// Writes the checkpoint; what it says of the errors is durable before it.
    fn keep(&mut self) -> Result<(), Failure> {
        let synced = self.errors.sync();
        self.checkpoint.errors_bytes =
            synced.map_err(|error| unusable(&self.errors_path, &error))?;
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
                if let Some(path) = &self.kept_at {
                    checkpoint::remove(path).map_err(|error| unusable(path, &error))?;
                }
                self.report(args)
            }
        }
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
    fn the_modes_are_all_there_in_any_case() {
        let command = ImportArgs::augment_args(clap::Command::new("import"));
        for (word, mode) in [
            ("create", ImportMode::Create),
            ("UPDATETWIN", ImportMode::UpdateTwin),
            ("deleteIfMatchETag", ImportMode::DeleteIfMatchETag),
        ] {
            let matches = command
                .clone()
                .try_get_matches_from(["import", "f", "--mode", word])
                .unwrap();
            assert_eq!(matches.get_one::<ImportMode>("mode"), Some(&mode));
        }
    }

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
