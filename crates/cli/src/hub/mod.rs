//! `fanfare hub`: hubs that have names, and how the one in use is doing.
//!
//! [`args`] decides which hub a command is for, [`chosen`] is that hub, [`token`] a credential that others issue; [`book`]
//! keeps the names, [`status`] looks at a hub.

mod args;
mod book;
mod chosen;
mod status;
mod token;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub use self::args::HubArgs;
pub(crate) use self::args::{addressed, keys_of_environment};
use self::book::{Book, Entry, Local, Remote, WithToken};
pub(crate) use self::chosen::{Addressed, Chosen, SignIn, Source};
use self::token::TokenFrom;
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

/// What the book keeps: a data folder and the file of a token by their paths, everything else by value.
fn kept(args: &HubArgs, chosen: &Chosen) -> Result<Entry, Failure> {
    let ca_pem = pem_text(chosen.ca_pem.as_deref())?;
    let port = chosen.port;
    match (&chosen.sign_in, args.data_dir()) {
        (SignIn::Token { host, from }, _) => {
            let TokenFrom::File(file) = from else {
                let title = "a token from the environment is not kept: it ends soon";
                return Err(Failure::usage(title).try_this("--access-token-file FILE"));
            };
            Ok(Entry::WithToken(WithToken {
                host: host.clone(),
                access_token_file: absolute("the file of the token", file)?,
                port,
                ca_pem,
            }))
        }
        (SignIn::Policy(_), Some(folder)) => Ok(Entry::Local(Local {
            data_dir: absolute("the data folder", folder)?,
            policy: args.policy().to_owned(),
        })),
        (SignIn::Policy(text), None) => Ok(Entry::Remote(Remote {
            connection_string: text.clone(),
            port,
            ca_pem,
        })),
    }
}

fn absolute(what: &str, path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("{what} has no path")).because(error))
}

fn pem_text(pem: Option<&[u8]>) -> Result<Option<String>, Failure> {
    let text = pem.map(|pem| String::from_utf8(pem.to_vec())).transpose();
    text.map_err(|error| Failure::usage("the CA file is not PEM").because(error))
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
        Column::new("signsInWith")
            .titled("signs in with")
            .at("")
            .shown(signs_in_with)
            .only_table(),
        Column::new("policy").only_csv(),
        Column::new("accessTokenFile").only_csv(),
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

fn signs_in_with(row: &Value) -> String {
    match (row["policy"].as_str(), row["accessTokenFile"].as_str()) {
        (_, Some(file)) => format!("token in {file}"),
        (Some(policy), None) => format!("policy {policy}"),
        (None, None) => String::new(),
    }
}

/// What may be shown of a hub: no key.
fn described(entry: &Entry) -> Value {
    let (chosen, policy) = match entry {
        Entry::Remote(remote) => (Ok(Chosen::of_remote(remote)), None),
        Entry::Local(local) => (Chosen::of_local(local), Some(&local.policy)),
        Entry::WithToken(kept) => (Ok(Chosen::of_kept(kept)), None),
    };
    let addressed = chosen.and_then(|chosen| chosen.addressed()).ok();
    let hub = addressed.as_ref();
    let has_ca = matches!(entry, Entry::Local(_)) || hub.is_some_and(|hub| hub.has_ca);
    json!({
        "endpoint": hub.map(|hub| &hub.endpoint),
        "policy": policy.or(hub.and_then(|hub| hub.policy.as_ref())),
        "accessTokenFile": hub.and_then(|hub| hub.token.as_deref()),
        "trust": if has_ca { "own CA" } else { "system" },
        "dataDir": match entry {
            Entry::Local(local) => Some(&local.data_dir),
            _ => None,
        },
    })
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
