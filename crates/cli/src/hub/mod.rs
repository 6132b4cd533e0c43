//! `fanfare hub`: hubs that have names, and how the one in use is doing.
//!
//! [`args`] decides which hub a command is for, [`book`] keeps the names, [`status`] looks at a hub.

mod args;
mod book;
mod status;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub use self::args::HubArgs;
pub(crate) use self::args::{Addressed, Source, addressed};
use self::args::{Chosen, read_pem};
use self::book::{Book, Entry, Local, Remote};
use crate::failure::Failure;
use crate::output::{self, Column, OutputArgs, RowWriter};

/// Arguments of `fanfare hub`.
#[derive(Debug, Args)]
pub(crate) struct HubVerbArgs {
    #[command(subcommand)]
    verb: HubVerb,
}

#[derive(Debug, Subcommand)]
enum HubVerb {
    /// Name a hub, after a look at whether it answers and accepts the key.
    Login(Box<LoginArgs>),
    /// Choose the hub of commands that name none.
    Use(UseArgs),
    /// List the hubs that have names.
    List(ListArgs),
    /// Forget a hub and its key.
    Logout(LogoutArgs),
    /// Show whether a hub answers, what the credential may do, and what is going on.
    Status(Box<status::StatusArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = LOGIN_EXAMPLES)]
struct LoginArgs {
    /// The name: letters, digits, '-', '_' and '.'.
    #[arg(value_parser = name)]
    name: String,
    /// Save it without asking the hub.
    #[arg(long)]
    no_check: bool,
    /// Use it from now on, as `fanfare hub use` does; the first hub always is.
    #[arg(long = "use")]
    choose: bool,
    #[command(flatten)]
    hub: HubArgs,
}

const LOGIN_EXAMPLES: &str = "\
Examples:
  fanfare hub login lab --data-dir ./fanfare-data
  fanfare hub login plant --connection-string - --ca-file ca.pem < string.txt
  fanfare connection-string | ssh ops fanfare hub login plant --connection-string -";

#[derive(Debug, Args)]
#[command(
    after_help = "--hub NAME and FANFARE_HUB choose another for one command and for one shell."
)]
struct UseArgs {
    /// A name from `fanfare hub list`.
    name: String,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct LogoutArgs {
    /// A name from `fanfare hub list`.
    name: String,
}

/// Runs `fanfare hub`.
pub(crate) async fn run(args: HubVerbArgs) -> Result<(), Failure> {
    match args.verb {
        HubVerb::Login(args) => login(&args).await,
        HubVerb::Use(args) => choose(&args.name),
        HubVerb::List(args) => list(&args.output),
        HubVerb::Logout(args) => forget(&args.name),
        HubVerb::Status(args) => status::run(&args).await,
    }
}

async fn login(args: &LoginArgs) -> Result<(), Failure> {
    if args.hub.name().is_some() {
        return Err(
            Failure::usage("--hub names a hub that is known already").try_this(format!(
                "fanfare hub login {} --connection-string -",
                args.name
            )),
        );
    }
    let chosen = args.hub.to_keep()?;
    // Made even when nothing is asked: a string that is none is not worth saving.
    let client = args.hub.probe_of(&chosen)?;
    let mut book = Book::read()?;
    if !args.no_check {
        status::Rights::seen(&client)
            .await
            .map_err(|failure| not_saved(failure, &args.name))?;
    }
    let is_new = book.entry(&args.name).is_none();
    let is_current = book.keep(&args.name, kept(&args.hub, &chosen)?, args.choose);
    book.write()?;
    let what = if is_new { "Saved" } else { "Replaced" };
    let endpoint = addressed().map_or("", |hub| &hub.endpoint);
    let next = match is_current {
        true => "commands use it unless told otherwise".to_owned(),
        false => format!("fanfare hub use {} makes it the one in use", args.name),
    };
    output::line(&format!(
        "{what} hub '{}' ({endpoint}) in {}; {next}.",
        args.name,
        book.path().display()
    ))
}

fn not_saved(failure: Failure, name: &str) -> Failure {
    failure
        .while_doing(format!("hub '{name}' was not saved"))
        .try_this("--no-check to save it all the same")
}

/// What the book keeps: a data folder by its path, everything else by value.
fn kept(args: &HubArgs, chosen: &Chosen) -> Result<Entry, Failure> {
    if let Some(folder) = args.data_dir() {
        let data_dir = std::path::absolute(folder)
            .map_err(|error| Failure::usage("the data folder has no path").because(error))?;
        return Ok(Entry::Local(Local {
            data_dir,
            policy: args.policy().to_owned(),
        }));
    }
    let ca_pem = match args.ca_file() {
        None => None,
        Some(path) => Some(String::from_utf8(read_pem(path)?).map_err(|error| {
            Failure::usage(format!("{} is not PEM", path.display())).because(error)
        })?),
    };
    Ok(Entry::Remote(Remote {
        connection_string: chosen.connection_string.clone(),
        port: chosen.port,
        ca_pem,
    }))
}

fn choose(name: &str) -> Result<(), Failure> {
    let mut book = Book::read()?;
    book.choose(name)?;
    book.write()?;
    output::line(&format!("Commands use hub '{name}' unless told otherwise."))
}

fn forget(name: &str) -> Result<(), Failure> {
    let mut book = Book::read()?;
    let was_current = book.forget(name)?;
    book.write()?;
    let next = match was_current {
        true => " No hub is in use now: fanfare hub use NAME.",
        false => "",
    };
    output::line(&format!("Hub '{name}' and its key are forgotten.{next}"))
}

fn list(output: &OutputArgs) -> Result<(), Failure> {
    let book = Book::read()?;
    let columns = vec![
        Column::new("current")
            .titled("")
            .shown(|value| match value.as_bool() {
                Some(true) => "*".to_owned(),
                _ => " ".to_owned(),
            }),
        Column::new("name").whole(),
        Column::new("endpoint"),
        Column::new("policy"),
        Column::new("trust"),
        Column::new("dataDir").titled("data folder"),
    ];
    let mut rows = RowWriter::start(output, columns)
        .when_none("No hub has a name yet: fanfare hub login NAME --connection-string -");
    for (name, entry) in book.entries() {
        let mut row = described(entry);
        row["name"] = json!(name);
        row["current"] = json!(book.current() == Some(name));
        rows.push(&row)?;
    }
    rows.finish().map(drop)
}

/// What may be shown of a hub: no key.
fn described(entry: &Entry) -> Value {
    match entry {
        Entry::Remote(remote) => {
            let addressed = Chosen::of_remote(remote).addressed().ok();
            json!({
                "endpoint": addressed.as_ref().map(|hub| &hub.endpoint),
                "policy": addressed.as_ref().and_then(|hub| hub.policy.as_deref()),
                "trust": if remote.ca_pem.is_some() { "own CA" } else { "system" },
                "dataDir": null,
            })
        }
        Entry::Local(local) => json!({
            "endpoint": Chosen::of_local(local).and_then(|c| c.addressed()).ok().map(|hub| hub.endpoint),
            "policy": local.policy,
            "trust": "own CA",
            "dataDir": local.data_dir,
        }),
    }
}

/// A name that needs no quotes in any shell.
fn name(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_allowed) || text.starts_with('-')
    {
        return Err("a name has 1 to 64 letters, digits, '-', '_' or '.'".to_owned());
    }
    Ok(text.to_owned())
}
