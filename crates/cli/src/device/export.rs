//! `fanfare device export`: a hub's registry as newline-JSON, over the public API alone.
//!
//! Pages through the twins and asks for the identities beside them, which hold the keys; modules follow their
//! device. What is written goes to `FILE.partial` and takes the name of FILE when it is whole. A checkpoint beside
//! it says up to where it is durable, so that a cut export goes on behind the last page that is on the disk.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use fanfare_client::{Error, HubClient};
use serde_json::{Value, json};

use super::checkpoint::{self, ExportCheckpoint};
use super::export_reader::Reader;
use super::patience::Patience;
use super::progress::{Progress, Step};
use super::select::{self, Select};
use crate::failure::{Exit, Failure};
use crate::hub::{HubArgs, addressed};
use crate::job::figures::{count, counted, took};
use crate::output::{self, Column, Format, OutputArgs};
use crate::stop_signal::StopSignal;
use crate::{diagnostic, time_arg};

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
    /// How long to wait for a hub that has gone away meanwhile.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time_arg::duration)]
    wait_for_hub: Duration,
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
        patience: Patience::new(args.wait_for_hub),
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
        let file = self.claim()?;
        let found = self.begin(&file, begin, args);
        if found.is_err() && file.metadata().is_ok_and(|found| found.len() == 0) {
            // Nothing was in it, and nothing will be.
            let _ = fs::remove_file(&self.partial);
        }
        Ok((Sink::file(file), found?))
    }

    /// The partial file, for this export and for its owner alone.
    fn claim(&self) -> Result<File, Failure> {
        let file = open_private(&self.partial).map_err(|error| self.unwritable(error))?;
        let running = || {
            let title = format!("another export to {} is running", self.file.display());
            Failure::usage(title)
        };
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(running());
        }
        // One that has ended just now has given the file its own name.
        let own = file.metadata().map_err(|error| self.unwritable(error))?;
        match fs::metadata(&self.partial) {
            Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => Ok(file),
            _ => Err(running()),
        }
    }

    /// Where the export begins; the file ends there.
    fn begin(
        &self,
        file: &File,
        begin: ExportCheckpoint,
        args: &ExportArgs,
    ) -> Result<ExportCheckpoint, Failure> {
        self.refuse_existing(args)?;
        let bytes = file
            .metadata()
            .map_err(|error| self.unwritable(error))?
            .len();
        let checkpoint = match args.restart {
            true => begin,
            false => match self.resumed(begin.clone())? {
                // Its file is gone: left of an export that has come to its end, or was given up.
                _ if bytes == 0 => begin,
                found => found,
            },
        };
        if bytes < checkpoint.bytes {
            let title = format!(
                "{} is shorter than its checkpoint says",
                self.partial.display()
            );
            return Err(Failure::usage(title).try_this("--restart to begin the export anew"));
        }
        if checkpoint.continuation.is_none() {
            // One of an export before, with the bytes of this one, would be taken for true.
            checkpoint::remove(&self.checkpoint)
                .map_err(|error| unusable(&self.checkpoint, &error))?;
        }
        file.set_len(checkpoint.bytes)
            .map_err(|error| self.unwritable(error))?;
        Ok(checkpoint)
    }

    fn unwritable(&self, error: io::Error) -> Failure {
        Failure::usage(format!("{} cannot be written", self.partial.display())).because(error)
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

/// Nobody but its owner reads a file with keys, also if it was there before.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
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
    patience: Patience,
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
                let asked = self.patience.keep_trying(async || pages.try_next().await);
                let Some(page) = asked.await? else {
                    return Ok(None);
                };
                let asked = async || self.reader.lines(&page.items).await;
                let (lines, gone) = self.patience.keep_trying(asked).await?;
                Ok(Some((lines, gone, page.continuation)))
            };
            let read: Result<_, Error> = tokio::select! {
                biased;
                () = stop.heard() => return Ok(Ended::Stopped),
                read = read => read,
            };
            let read = read.map_err(|error| select.failure(error))?;
            let Some((lines, gone, continuation)) = read else {
                return Ok(Ended::AtTheEnd);
            };
            let is_last = continuation.is_none();
            self.write(&lines, gone, continuation)?;
            if is_last {
                return Ok(Ended::AtTheEnd);
            }
            if self.kept.elapsed() >= CHECKPOINT_EVERY {
                self.keep()?;
            }
        }
    }

    /// Writes a page. The checkpoint knows all of it or, when it cannot be written, nothing.
    fn write(
        &mut self,
        lines: &[Vec<u8>],
        gone: u64,
        continuation: Option<String>,
    ) -> Result<(), Failure> {
        let page = lines.concat();
        self.sink
            .write(&page)
            .map_err(|error| self.unwritable(error))?;
        self.checkpoint.bytes += page.len() as u64;
        self.checkpoint.lines += lines.len() as u64;
        self.checkpoint.gone += gone;
        self.checkpoint.continuation = continuation;
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
        let left = match &ended {
            Ok(Ended::AtTheEnd) => Ok(()),
            _ => self.leave(),
        };
        let has_checkpoint = (self.place.as_ref()).is_some_and(|place| place.checkpoint.exists());
        match ended {
            Ok(Ended::AtTheEnd) => {
                self.finish(args)?;
                self.report(args)
            }
            Ok(Ended::Stopped) => {
                left?;
                let lines = counted(self.checkpoint.lines, "line");
                drop(self.progress);
                if has_checkpoint {
                    diagnostic::say(&format!("Stopped behind {lines}. To finish, {again}."));
                }
                Err(Failure::silent(Exit::Interrupted))
            }
            // An older checkpoint is as good as the one that could not be written.
            Err(failure) if has_checkpoint => Err(failure.try_this(again)),
            Err(failure) => Err(failure),
        }
    }

    /// Gives the file its name once it is whole and durable.
    fn finish(&mut self, args: &ExportArgs) -> Result<(), Failure> {
        self.sink.sync().map_err(|error| self.unwritable(error))?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        // It may have come meanwhile.
        place.refuse_existing(args)?;
        fs::rename(&place.partial, &place.file).map_err(|error| unusable(&place.file, &error))?;
        checkpoint::remove(&place.checkpoint).map_err(|error| unusable(&place.checkpoint, &error))
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
