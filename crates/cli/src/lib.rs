//! The `fanfare` command: its tree of verbs, what they share, and how the process ends.
//!
//! Operators' verbs ([`hub`], `job`, `device`, `twin`, `method`, [`query`], `policy`) speak to a hub over `fanfare-client`
//! alone. They take [`hub::HubArgs`], print through [`output`], and end with a [`failure::Failure`] or none.
//! [`fleet`] simulates devices, [`hostile`] peers that mean harm, [`hub_process`] runs a hub as a child; [`demo`] and
//! [`bench`] put them together.
//! `serve.rs` is the one file that names the server.

#![allow(clippy::print_stdout, reason = "a command line prints")]

pub mod bench;
pub mod clock;
pub mod confirm;
pub mod demo;
pub mod diagnostic;
pub mod failure;
pub mod fleet;
pub mod hostile;
pub mod hub;
pub mod hub_process;
pub mod output;
pub mod stop_signal;
pub mod time_arg;
pub mod value_arg;

mod authority;
mod backup;
mod completions;
mod connection_string;
mod device;
mod id_list;
mod job;
mod keys;
mod man;
mod method;
mod policy;
mod query;
mod reference;
mod sas;
mod serve;
mod twin;

use std::process::ExitCode;

use anstream::ColorChoice;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use self::failure::{Exit, Failure};

/// Schedules jobs and broadcasts them to fleets of devices.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// When to print colours: auto, always or never; auto is on terminals, without NO_COLOR in the environment.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        help_heading = "Global"
    )]
    color: Color,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Color {
    /// On terminals.
    #[default]
    Auto,
    /// Into pipes and files too.
    Always,
    /// Nowhere.
    Never,
}

const FIRST_STEPS: &str = "\
Examples:
  fanfare demo
  fanfare hub login plant --connection-string -
  fanfare job schedule-method \"tags.building = '43'\" --method lockDoor --dry-run
  fanfare job schedule-method \"tags.building = '43'\" --method lockDoor --watch

Exit codes:
  0    done
  1    not done, or devices failed and --fail-on-device-error was given
  2    the arguments, or a file they name, cannot be used
  3    the hub cannot be reached
  4    the hub refused
  130  Ctrl-C";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a hub node.
    Serve(Box<serve::ServeArgs>),
    /// Name hubs, choose one, and see how it is doing.
    Hub(hub::HubVerbArgs),
    /// Schedule jobs, follow them, and see what came of each device.
    Job(job::JobArgs),
    /// Register, list, change and delete devices and modules; move whole registries.
    Device(device::DeviceArgs),
    /// Show and change a twin.
    Twin(twin::TwinArgs),
    /// Call a direct method.
    Method(method::MethodArgs),
    /// Ask a query over devices, modules or jobs.
    Query(query::QueryArgs),
    /// List, create and rotate shared access policies.
    Policy(policy::PolicyArgs),
    /// List, upload and prove certificate authorities that vouch for devices.
    Authority(authority::AuthorityArgs),
    /// Make a shared access signature.
    Sas(sas::SasArgs),
    /// Print the connection string of a policy or a device, from a data folder.
    ConnectionString(connection_string::ConnectionStringArgs),
    /// Copy a hub's data folder while the hub runs.
    Backup(backup::BackupArgs),
    /// Make a new data folder of a backup.
    Restore(backup::RestoreArgs),
    /// Encrypt the keys in a data folder, and look after the master key.
    Keys(keys::KeysArgs),
    /// See a hub, fifty simulated devices and two jobs at work.
    Demo(demo::DemoArgs),
    /// Run simulated devices against a hub.
    Fleet(fleet::FleetArgs),
    /// Print what makes a shell complete these commands.
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(man::ManArgs),
    /// Measure a hub on this machine.
    #[command(hide = true)]
    Bench(bench::BenchArgs),
    /// Print the page of the reference that lists all of these.
    #[command(hide = true)]
    Reference,
}

/// The whole tree of verbs: manual pages, completions and the reference are made of it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The process: reads the arguments, runs the verb, says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    // The server sets up its own log; operators get one message about what went wrong, not the libraries' too.
    if matches!(cli.verb, Verb::Demo(_) | Verb::Fleet(_) | Verb::Bench(_)) {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(tracing::Level::WARN)
            .init();
    }
    let exit = match perform(cli.verb) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            diagnostic::print(&failure);
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

fn perform(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Serve(args) => Ok(serve::run(*args)?),
        Verb::Hub(args) => operate(hub::run(args)),
        Verb::Job(args) => operate(job::run(args)),
        Verb::Device(args) => operate(device::run(args)),
        Verb::Twin(args) => operate(twin::run(args)),
        Verb::Method(args) => operate(method::run(args)),
        Verb::Query(args) => operate(query::run(args)),
        Verb::Policy(args) => operate(policy::run(args)),
        Verb::Authority(args) => operate(authority::run(args)),
        Verb::Sas(args) => operate(sas::run(args)),
        Verb::ConnectionString(args) => Ok(connection_string::run(args)?),
        Verb::Backup(args) => Ok(backup::backup(args)?),
        Verb::Restore(args) => Ok(backup::restore(args)?),
        Verb::Keys(args) => Ok(keys::run(args)?),
        Verb::Demo(args) => demo::run(args),
        Verb::Fleet(args) => Ok(fleet::run(args)?),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
        Verb::Bench(args) => Ok(bench::run(args)?),
        Verb::Reference => reference::run(),
    }
}

/// Runs an operator's verb. Ctrl-C ends it at once, quietly, unless the verb listens itself
/// ([`stop_signal::StopSignal`]).
fn operate(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(async {
        stop_signal::exit_on_interrupt().map_err(anyhow::Error::from)?;
        verb.await
    })
}
