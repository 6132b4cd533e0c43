//! `fanfare device export`: a hub's registry as newline-JSON, over the public API alone.
//!
//! Pages through the twins and asks for the identities beside them, which hold the keys; modules follow their
//! device. What is written goes to `FILE.partial` and takes the name of FILE when it is whole. A checkpoint beside
//! it says up to where it is durable, so that a cut export goes on behind the last page that is on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fanfare_client::{Error, HubClient};
use serde_json::{Value, json};

use super::checkpoint::{self, ExportCheckpoint};
use super::export_reader::Reader;
use super::progress::{Progress, Step};
use super::select::{self, Select};
use crate::diagnostic;
use crate::failure::{Exit, Failure};
use crate::hub::{HubArgs, addressed};
use crate::job::figures::{count, counted, took};
use crate::output::{self, Column, Format, OutputArgs};
use crate::stop_signal::StopSignal;

/// Arguments of `fanfare device export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Where to write, one device or module a line (`-`: standard output).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which devices: what would follow WHERE in a query. Their modules go along.
    #[arg(long, value_name = "WHERE")]
    condition: Option<String>,
    /// Leave the keys out; a hub that imports such lines makes new ones.
    #[arg(long)]
    no_keys: bool,
    /// Replace FILE if it is there.
    #[arg(long)]
    overwrite: bool,
    /// Begin anew, even if an earlier export to the file was cut.
    #[arg(long)]
    restart: bool,
    /// Requests for identities under way at once.
    #[arg(long, value_name = "CALLS", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Twins of one page. With keys each takes a request more, and what was not durable is done again after a cut.
const PAGE_ITEMS: u32 = 1_000;
const PAGE_ITEMS_WITH_KEYS: u32 = 250;
/// Between two checkpoints. Ours.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// Runs `fanfare device export`.
pub(super) async fn run(args: ExportArgs) -> Result<(), Failure> {
    let hub = args.hub.client()?;
    let place = (args.file != Path::new("-")).then(|| Place::of(&args.file));
    let endpoint = addressed()
        .map(|hub| hub.endpoint.clone())
        .unwrap_or_default();
    let begin = ExportCheckpoint::new(&endpoint, args.condition.as_deref(), !args.no_keys);
    if let Some(place) = &place {
        place.refuse_existing(&args)?;
    }
    // A condition that the hub cannot use is refused here, before there is a file.
    let whole = devices(&hub, args.condition.as_deref()).await?;
    let (sink, checkpoint) = match &place {
        None => (Sink::stdout(), begin),
        Some(place) => place.open(begin, &args)?,
    };
    let progress = Progress::new("export", Some(whole), step(&checkpoint));
    if checkpoint.bytes > 0 {
        let lines = counted(checkpoint.lines, "line");
        progress.say(&format!(
            "Going on behind {lines} that an earlier export has written."
        ));
    }
    let mut export = Export {
        reader: Reader {
            hub,
            with_keys: !args.no_keys,
            in_flight: usize::from(args.in_flight),
        },
        condition: args.condition.clone(),
        checkpoint,
        kept: Instant::now(),
        place,
        sink,
        progress,
    };
    let ended = export.pages().await;
    export.end(ended, &args)
}

/// Where an export is written.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    partial: PathBuf,
    checkpoint: PathBuf,
}

impl Place {
    fn of(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            partial: checkpoint::path_beside(file, ".partial"),
            checkpoint: checkpoint::path_beside(file, ".export"),
        }
    }

    fn refuse_existing(&self, args: &ExportArgs) -> Result<(), Failure> {
        if self.file.exists() && !args.overwrite {
            let title = format!("{} is there already", self.file.display());
            return Err(Failure::usage(title).try_this("--overwrite to replace it"));
        }
        Ok(())
    }

    /// Opens the partial file at its last durable byte, or anew.
    fn open(
        &self,
        begin: ExportCheckpoint,
        args: &ExportArgs,
    ) -> Result<(Sink, ExportCheckpoint), Failure> {
        let checkpoint = match args.restart {
            true => begin,
            false => self.resumed(begin)?,
        };
        let unwritable = |error: io::Error| {
            let title = format!("{} cannot be written", self.partial.display());
            Failure::usage(title).because(error)
        };
        let file = open_private(&self.partial).map_err(unwritable)?;
        if file.metadata().map_err(unwritable)?.len() < checkpoint.bytes {
            let title = format!(
                "{} is shorter than its checkpoint says",
                self.partial.display()
            );
            return Err(Failure::usage(title).try_this("--restart to begin the export anew"));
        }
        file.set_len(checkpoint.bytes).map_err(unwritable)?;
        Ok((Sink::file(file), checkpoint))
    }

    fn resumed(&self, begin: ExportCheckpoint) -> Result<ExportCheckpoint, Failure> {
        let shown = self.checkpoint.display();
        let found: Option<ExportCheckpoint> =
            checkpoint::load(&self.checkpoint).map_err(|error| {
                Failure::usage(format!("{shown} is not a checkpoint that can be read"))
                    .because(error)
                    .try_this("--restart to begin the export anew")
            })?;
        let Some(found) = found else {
            return Ok(begin);
        };
        match found.differs(&begin) {
            None => Ok(found),
            Some(why) => Err(
                Failure::usage(format!("the checkpoint {shown} cannot be used"))
                    .because(why)
                    .try_this("--restart to begin the export anew"),
            ),
        }
    }
}

/// Nobody but its owner reads a file with keys.
fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Where lines go.
enum Sink {
    File(BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl Sink {
    fn file(file: File) -> Self {
        Self::File(BufWriter::with_capacity(256 * 1024, file))
    }

    fn stdout() -> Self {
        Self::Stdout(BufWriter::new(io::stdout()))
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(text),
            Self::Stdout(out) => out.write_all(text),
        }
    }

    /// What was written is durable, or with whoever reads standard output.
    fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.flush()?;
                file.get_ref().sync_data()
            }
            Self::Stdout(out) => out.flush(),
        }
    }
}

/// How many devices there will be.
async fn devices(hub: &HubClient, condition: Option<&str>) -> Result<u64, Failure> {
    match condition {
        None => Ok(hub.registry().device_statistics().await?.total_device_count),
        Some(condition) => select::counted(hub, condition).await,
    }
}

/// One run of an export.
struct Export {
    reader: Reader,
    condition: Option<String>,
    checkpoint: ExportCheckpoint,
    kept: Instant,
    place: Option<Place>,
    sink: Sink,
    progress: Progress,
}

/// How a run ended that did not fail.
enum Ended {
    AtTheEnd,
    Stopped,
}

impl Export {
    async fn pages(&mut self) -> Result<Ended, Failure> {
        let mut stop = StopSignal::new()?;
        let condition = self.condition.clone();
        let select = Select::new("*", "devices", condition.as_deref());
        let items = match self.reader.with_keys {
            true => PAGE_ITEMS_WITH_KEYS,
            false => PAGE_ITEMS,
        };
        let rows = self
            .reader
            .hub
            .queries()
            .query::<Value>(select.text())
            .page_items(items);
        let mut pages = match &self.checkpoint.continuation {
            None => rows.pages(),
            Some(token) => rows.resume(token.as_str()).pages(),
        };
        loop {
            let read = async {
                let Some(page) = pages.try_next().await? else {
                    return Ok(None);
                };
                let lines = self.reader.lines(page.items).await?;
                Ok(Some((lines, page.continuation)))
            };
            let read: Result<_, Error> = tokio::select! {
                biased;
                () = stop.heard() => return Ok(Ended::Stopped),
                read = read => read,
            };
            let Some(((lines, gone), continuation)) =
                read.map_err(|error| select.failure(error))?
            else {
                return Ok(Ended::AtTheEnd);
            };
            self.write(&lines, gone)?;
            // Lines and token belong together: between the two nobody may stop.
            if continuation.is_none() {
                return Ok(Ended::AtTheEnd);
            }
            self.checkpoint.continuation = continuation;
            if self.kept.elapsed() >= CHECKPOINT_EVERY {
                self.keep()?;
            }
        }
    }

    fn write(&mut self, lines: &[Vec<u8>], gone: u64) -> Result<(), Failure> {
        for line in lines {
            self.sink
                .write(line)
                .map_err(|error| self.unwritable(error))?;
            self.checkpoint.bytes += line.len() as u64;
        }
        self.checkpoint.lines += lines.len() as u64;
        self.checkpoint.gone += gone;
        self.progress.show(step(&self.checkpoint));
        Ok(())
    }

    /// Makes the file durable, then the checkpoint that says so.
    fn keep(&mut self) -> Result<(), Failure> {
        self.sink.sync().map_err(|error| self.unwritable(error))?;
        if let Some(place) = &self.place {
            checkpoint::save(&place.checkpoint, &self.checkpoint)
                .map_err(|error| unusable(&place.checkpoint, &error))?;
        }
        self.kept = Instant::now();
        Ok(())
    }

    fn unwritable(&self, error: io::Error) -> Failure {
        match &self.place {
            Some(place) => unusable(&place.partial, &error),
            None => error.into(),
        }
    }

    fn end(mut self, ended: Result<Ended, Failure>, args: &ExportArgs) -> Result<(), Failure> {
        let again = "run the same command again; it goes on where it was";
        if !matches!(ended, Ok(Ended::AtTheEnd)) {
            self.leave()?;
        }
        match ended {
            Ok(Ended::AtTheEnd) => {
                self.sink.sync().map_err(|error| self.unwritable(error))?;
                if let Some(place) = &self.place {
                    fs::rename(&place.partial, &place.file)
                        .map_err(|error| unusable(&place.file, &error))?;
                    checkpoint::remove(&place.checkpoint)
                        .map_err(|error| unusable(&place.checkpoint, &error))?;
                }
                self.report(args)
            }
            Ok(Ended::Stopped) if self.place.is_some() => {
                let lines = counted(self.checkpoint.lines, "line");
                drop(self.progress);
                diagnostic::say(&format!("Stopped behind {lines}. To finish, {again}."));
                Err(Failure::silent(Exit::Interrupted))
            }
            Ok(Ended::Stopped) => Err(Failure::silent(Exit::Interrupted)),
            Err(failure) if self.place.is_some() && self.checkpoint.continuation.is_some() => {
                Err(failure.try_this(again))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Leaves behind what the next run goes on with; nothing, when there is not a single page.
    fn leave(&mut self) -> Result<(), Failure> {
        if self.checkpoint.continuation.is_some() {
            return self.keep();
        }
        if let Some(place) = &self.place {
            fs::remove_file(&place.partial).map_err(|error| unusable(&place.partial, &error))?;
        }
        Ok(())
    }

    fn report(self, args: &ExportArgs) -> Result<(), Failure> {
        let took = took(self.progress.elapsed());
        drop(self.progress);
        let ExportCheckpoint { lines, gone, .. } = self.checkpoint;
        let Some(place) = self.place else {
            return Ok(());
        };
        if args.output.format != Format::Table {
            let result = json!({
                "file": place.file.display().to_string(),
                "lines": lines,
                "gone": gone,
                "keys": !args.no_keys,
            });
            let columns = ["file", "lines", "gone", "keys"].map(Column::new).into();
            return output::show_one(&args.output, columns, &result);
        }
        let file = place.file.display();
        let mut text = format!("Exported {} to {file} in {took}", counted(lines, "line"));
        if gone > 0 {
            text.push_str(&format!("; {} were deleted meanwhile", count(gone)));
        }
        text.push('.');
        output::line(&text)?;
        if !args.no_keys {
            diagnostic::say("The file holds keys: who reads it can be every device in it.");
        }
        Ok(())
    }
}

fn step(checkpoint: &ExportCheckpoint) -> Step {
    Step {
        lines: checkpoint.lines,
        // Modules are lines too; the bar is at its end before the last ones are written.
        part: checkpoint.lines,
        failed: 0,
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::not_done(format!("{} cannot be used", path.display())).because(error)
}
