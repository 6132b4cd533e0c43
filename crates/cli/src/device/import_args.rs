//! The arguments of `fanfare device import`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use fanfare_wire::registry::ImportMode;

use crate::hub::HubArgs;
use crate::output::OutputArgs;
use crate::time_arg;

/// Arguments of `fanfare device import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// One change a line, as exports write them (`-`: standard input).
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// What to do with lines that do not say it in importMode.
    #[arg(long, default_value = "createOrUpdate", value_parser = mode_parser(), ignore_case = true)]
    pub(super) mode: ImportMode,
    /// Where to write what went wrong, line by line [default: FILE.errors.jsonl].
    #[arg(long, value_name = "FILE")]
    pub(super) errors: Option<PathBuf>,
    /// Look at every line without a hub, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Begin at the first line, even if an earlier import of the file was cut.
    #[arg(long)]
    pub(super) restart: bool,
    /// Calls under way at once, a hundred lines each.
    #[arg(long, value_name = "CALLS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(super) in_flight: u8,
    /// How long to wait for a hub that has gone away meanwhile.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time_arg::duration)]
    pub(super) wait_for_hub: Duration,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
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
}
