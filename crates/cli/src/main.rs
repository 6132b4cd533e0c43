//! The `fanfare` command: reads the arguments and hands over to the verb's file.

#![allow(clippy::print_stderr, reason = "errors are printed here, once")]

mod backup;
mod connection_string;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fanfare_cli::{bench, demo, fleet};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Schedules jobs and broadcasts them to fleets of devices.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a hub node.
    Serve(Box<serve::ServeArgs>),
    /// Print the connection string of a policy or a device, from a data folder.
    ConnectionString(connection_string::ConnectionStringArgs),
    /// Copy a hub's data folder while the hub runs.
    Backup(backup::BackupArgs),
    /// Make a new data folder of a backup.
    Restore(backup::RestoreArgs),
    /// See a hub, fifty simulated devices and two jobs at work, from nothing to a table of outcomes.
    Demo(demo::DemoArgs),
    /// Run simulated devices against a hub.
    Fleet(fleet::FleetArgs),
    /// Measure a hub on this machine.
    #[command(hide = true)]
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    // The server sets up its own log.
    if !matches!(verb, Verb::Serve(_)) {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(tracing::Level::WARN)
            .init();
    }
    let done = match verb {
        Verb::Serve(args) => serve::run(*args),
        Verb::ConnectionString(args) => connection_string::run(args),
        Verb::Backup(args) => backup::backup(args),
        Verb::Restore(args) => backup::restore(args),
        Verb::Demo(args) => demo::run(args),
        Verb::Fleet(args) => fleet::run(args),
        Verb::Bench(args) => bench::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanfare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
