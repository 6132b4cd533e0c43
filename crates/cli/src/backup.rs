//! `fanfare backup` and `fanfare restore`: a hub's folder to a backup, while it runs, and back again.
//!
//! Progress goes to standard error, when that is a terminal; what was done goes to standard output.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::{
    keys::{self, KeyArgs},
    serve,
};

/// Arguments of `fanfare backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The hub's data folder; the hub may be running.
    #[arg(long, value_name = "DIR", default_value = "./fanfare-data")]
    data_dir: PathBuf,
    /// The folder that becomes the backup; must not exist. It holds secrets.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// How the result is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Arguments of `fanfare restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The new data folder; must not exist or be empty.
    #[arg(long, value_name = "DIR", default_value = "./fanfare-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// How the result is printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Makes a backup and says what is in it.
pub(crate) fn backup(args: BackupArgs) -> anyhow::Result<()> {
    // A backup needs no key; naming one asks whether it is the one that the backup will need.
    keys::check(&args.data_dir, &args.key)?;
    let bar = bar("backup");
    let done = serve::backup(&args.data_dir, &args.to, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let done = done?;
    let to = std::path::absolute(&args.to)?;
    match args.output {
        Output::Json => say_json(json!({
            "backup": to, "created": done.created, "bytes": done.bytes, "files": done.files,
            "storeFormat": done.store_format, "term": done.term, "keyId": done.key_id,
        })),
        Output::Text => say(&format!(
            "Backup of {} bytes in {} files, as of {}:\n  {}\n{}\n",
            done.bytes,
            done.files,
            done.created,
            to.display(),
            advice(done.key_id.as_deref())
        )),
    }
}

/// Makes a data folder of a backup and says what to do next.
pub(crate) fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let bar = bar("restore");
    let done = serve::restore(&args.from, &args.data_dir, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let done = done?;
    keys::check(&args.data_dir, &args.key)?;
    let mut detail = Map::new();
    detail.insert("asOf".to_owned(), json!(done.created));
    serve::note(&args.data_dir, "hub.restore", detail);
    let folder = std::path::absolute(&args.data_dir)?;
    match args.output {
        Output::Json => say_json(json!({
            "dataDir": folder, "created": done.created, "bytes": done.bytes, "files": done.files,
            "storeFormat": done.store_format, "term": done.term, "keyId": done.key_id,
        })),
        Output::Text => say(&format!(
            "Restored the hub as of {} into\n  {}\nNext: fanfare serve --data-dir {} with the settings it had.\n",
            done.created,
            folder.display(),
            folder.display()
        )),
    }
}

/// How to keep a backup.
fn advice(key_id: Option<&str>) -> String {
    match key_id {
        None => "It holds keys: keep it as you keep the data folder.".to_owned(),
        Some(id) => {
            format!("Its keys are encrypted; whoever restores it needs the master key {id}.")
        }
    }
}

/// Hidden unless standard error is a terminal.
fn bar(what: &'static str) -> ProgressBar {
    let style = "{msg} {wide_bar} {bytes}/{total_bytes}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(what)
}

fn say_json(value: Value) -> anyhow::Result<()> {
    say(&format!("{value}\n"))
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
