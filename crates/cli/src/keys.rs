//! `fanfare keys`: keys at rest of a data folder; all but `generate` and `status` need its hub stopped.
//!
//! Progress goes to standard error, when that is a terminal; what was done goes to standard output.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::serve::{
    self,
    vault::{self, KeySource, KeyState, KeyStatus, KeysConverted, StoreKeys},
};

/// Where the master key of a data folder is. Each may be an environment variable.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeyArgs {
    /// The key file, where the folder's keys are encrypted under one.
    #[arg(
        long,
        value_name = "FILE",
        env = "FANFARE_KEY_FILE",
        conflicts_with = "passphrase_file"
    )]
    key_file: Option<PathBuf>,
    /// The file with the passphrase, where the folder's keys are encrypted under one.
    #[arg(long, value_name = "FILE", env = "FANFARE_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Of a key file, or of the file of a passphrase.
    pub(crate) fn new(key_file: Option<PathBuf>, passphrase_file: Option<PathBuf>) -> Self {
        Self {
            key_file,
            passphrase_file,
        }
    }

    /// Where the master key is, if one was named.
    pub(crate) fn source(&self) -> Option<KeySource> {
        let passphrase = self.passphrase_file.clone().map(KeySource::PassphraseFile);
        self.key_file
            .clone()
            .map_or(passphrase, |path| Some(KeySource::KeyFile(path)))
    }

    fn required(&self) -> anyhow::Result<KeySource> {
        let missing = || anyhow::anyhow!("give the master key: --key-file or --passphrase-file");
        self.source().ok_or_else(missing)
    }
}

/// Arguments of `fanfare keys`.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    verb: KeysVerb,
}

#[derive(Debug, Subcommand)]
enum KeysVerb {
    /// Make a key file.
    Generate(GenerateArgs),
    /// Say whether a data folder's keys are encrypted, and under which master key.
    Status(StatusArgs),
    /// Encrypt the keys in a data folder, as the first start with a master key does.
    Encrypt(ConvertArgs),
    /// Put a data folder's keys under another master key; takes no time.
    Change(ChangeArgs),
    /// Decrypt the keys in a data folder.
    Decrypt(ConvertArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// The file to make; must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    folder: FolderArgs,
    #[command(flatten)]
    key: KeyArgs,
    /// The key file to use from now on.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "new_passphrase_file",
        required_unless_present = "new_passphrase_file"
    )]
    new_key_file: Option<PathBuf>,
    /// The file with the passphrase to use from now on.
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    print: PrintArgs,
}

#[derive(Debug, Args)]
struct FolderArgs {
    /// The hub's data folder.
    #[arg(long, value_name = "DIR", default_value = "./fanfare-data")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct PrintArgs {
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

/// Does what was asked for.
pub(crate) fn run(args: KeysArgs) -> anyhow::Result<()> {
    match args.verb {
        KeysVerb::Generate(args) => {
            let id = vault::generate(&args.file)?;
            let file = std::path::absolute(&args.file)?;
            let text = format!(
                "Key {id} in {}\nKeep a copy of it away from this machine: what is encrypted under it is lost with it.\n",
                file.display()
            );
            args.print.say(json!({"keyFile": file, "keyId": id}), &text)
        }
        KeysVerb::Status(args) => {
            let status = vault::status(&args.folder.data_dir)?;
            args.print.say(status_json(&status), &status_text(&status))
        }
        KeysVerb::Encrypt(args) => {
            let (folder, source) = (&args.folder.data_dir, args.key.required()?);
            let done = with_bar("encrypting", |bar| vault::encrypt(folder, &source, bar))?;
            note(folder, "keys.encrypt", converted_json(&done));
            args.print
                .say(converted_json(&done), &converted_text("Encrypted", &done))
        }
        KeysVerb::Change(args) => {
            let source = args.key.required()?;
            let new = KeyArgs::new(args.new_key_file, args.new_passphrase_file).required()?;
            let folder = &args.folder.data_dir;
            let now = vault::change(folder, &source, &new)?;
            note(folder, "keys.change", store_json(Some(&now)));
            let text = format!(
                "The keys are encrypted under the {} {} now.\nBackups made before need the master key they were made under.\n",
                now.kind, now.id
            );
            args.print.say(store_json(Some(&now)), &text)
        }
        KeysVerb::Decrypt(args) => {
            let (folder, source) = (&args.folder.data_dir, args.key.required()?);
            let done = with_bar("decrypting", |bar| vault::decrypt(folder, &source, bar))?;
            note(folder, "keys.decrypt", converted_json(&done));
            args.print
                .say(converted_json(&done), &converted_text("Decrypted", &done))
        }
    }
}

/// Notes in the folder's audit log what was done, as it is printed with `--output json`.
fn note(folder: &Path, operation: &str, done: Value) {
    if let Value::Object(detail) = done {
        serve::note(folder, operation, detail);
    }
}

/// Whether the master key that was named, if any was, opens a folder or a backup.
pub(crate) fn check(folder: &Path, key: &KeyArgs) -> anyhow::Result<()> {
    match key.source() {
        Some(source) => Ok(vault::check(folder, Some(&source))?),
        None => Ok(()),
    }
}

/// The bar is hidden unless standard error is a terminal.
fn with_bar<T, E>(
    what: &'static str,
    work: impl FnOnce(vault::KeyProgress<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let style = "{msg} {wide_bar} {human_pos}/{human_len} identities, {per_sec}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style).with_message(what);
    let done = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    done
}

fn state_word(state: KeyState) -> &'static str {
    match state {
        KeyState::Encrypting => "encrypting",
        KeyState::Encrypted => "encrypted",
        KeyState::Decrypting => "decrypting",
    }
}

fn store_json(store: Option<&StoreKeys>) -> Value {
    match store {
        Some(keys) => json!({
            "state": state_word(keys.state), "keyId": keys.id, "kind": keys.kind,
        }),
        None => json!({"state": "plain"}),
    }
}

fn status_json(status: &KeyStatus) -> Value {
    let files = status
        .files
        .iter()
        .map(|(name, is_encrypted)| json!({"name": name, "encrypted": is_encrypted}));
    let mut shown = store_json(status.store.as_ref());
    shown["files"] = files.collect();
    shown
}

fn status_text(status: &KeyStatus) -> String {
    let mut text = match &status.store {
        None => "The keys in the store are not encrypted.\n".to_owned(),
        Some(keys) => {
            let state = match keys.state {
                KeyState::Encrypted => "are encrypted",
                KeyState::Encrypting => {
                    "are being encrypted, and some may still lie in the file as they were,"
                }
                KeyState::Decrypting => "are being decrypted: some are plain already, others",
            };
            format!(
                "The keys in the store {state} under the {} {}.\n",
                keys.kind, keys.id
            )
        }
    };
    for (name, is_encrypted) in &status.files {
        let form = match is_encrypted {
            true => "encrypted",
            false => "not encrypted",
        };
        text.push_str(&format!("{name} is {form}.\n"));
    }
    text
}

fn converted_json(done: &KeysConverted) -> Value {
    json!({
        "identities": done.identities, "policies": done.policies, "files": done.files,
        "damaged": done.damaged, "leftover": done.leftover,
    })
}

fn converted_text(what: &str, done: &KeysConverted) -> String {
    let mut text = format!(
        "{what} the keys of {} identities and {} policies, and {} key files.\n",
        done.identities, done.policies, done.files
    );
    if done.damaged > 0 {
        text.push_str(&format!(
            "{} identities cannot be read and stay as they are.\n",
            done.damaged
        ));
    }
    if let Some(problem) = &done.leftover {
        text.push_str(&format!(
            "Keys that were overwritten may still lie in the store's file: {problem}. Do it again.\n"
        ));
    }
    text
}

impl PrintArgs {
    fn say(&self, json: Value, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout();
        match self.output {
            Output::Json => writeln!(stdout, "{json}")?,
            Output::Text => stdout.write_all(text.as_bytes())?,
        }
        Ok(())
    }
}
