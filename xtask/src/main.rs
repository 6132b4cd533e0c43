//! The project's menu: `cargo xtask test | tidy | conformance | surface | kill | fuzz | bench`.
//!
//! Decides nothing about the product. Whatever needs a loop or a parser to check or build the tree
//! is Rust here, so that it is tested like the rest and no shell script grows in its place.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool that talks to whoever started it"
)]

mod fuzz;
mod reference;
mod suite;
mod surface;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::suite::{Choice, StageName};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and measures Fanfare")]
struct Menu {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole suite, from an empty machine to the public SDKs; stops at the first failing stage.
    Test {
        /// Stages to leave out, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "STAGES")]
        skip: Vec<StageName>,
        /// The only stages to run, separated by commas.
        #[arg(
            long,
            value_delimiter = ',',
            value_name = "STAGES",
            conflicts_with = "skip"
        )]
        only: Vec<StageName>,
    },
    /// The rules of the tree: who may name whom, sizes, words, links, compatibility references.
    Tidy,
    /// The public SDKs against the release build.
    Conformance {
        /// One language; both when absent.
        language: Option<Language>,
    },
    /// What the last conformance run proved of the SDKs, method by method.
    Surface {
        /// Writes README's table anew.
        #[arg(long)]
        write: bool,
    },
    /// Makes the pages of docs/reference that repeat what the code declares.
    Reference,
    /// The kill test against the release build.
    Kill,
    /// The fuzz targets in `fuzz/`: what strangers send, made up by a machine.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = fuzz::SECONDS_IN_SUITE)]
        seconds: u64,
        /// Writes the run into fuzz/HOURS.md.
        #[arg(long)]
        record: bool,
        /// The targets; all when absent.
        targets: Vec<String>,
    },
    /// The measurements of the release build: `jobs`, `get-job`, or both; what follows is handed to them.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Node,
    Python,
}

fn main() -> ExitCode {
    let root = root();
    let outcome = match Menu::parse().task {
        Task::Test { skip, only } => suite::run(root, &Choice::from_flags(&skip, &only)),
        Task::Tidy => tidy::run(root),
        Task::Reference => reference::write(root),
        Task::Conformance { language } => suite::run(root, &conformance_stages(language)),
        Task::Surface { write } => surface::run(root, write),
        Task::Kill => suite::run(root, &Choice::only(&[StageName::Release, StageName::Kill])),
        Task::Fuzz {
            seconds,
            record,
            targets,
        } => {
            let targets = &targets;
            let wish = fuzz::Wish {
                seconds,
                targets,
                record,
            };
            fuzz::run(root, &wish).map(|(_, failed)| failed == 0)
        }
        Task::Bench { arguments } => suite::bench(root, &arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn conformance_stages(language: Option<Language>) -> Choice {
    let mut stages = vec![StageName::Ensure, StageName::Release];
    match language {
        Some(Language::Node) => stages.push(StageName::Node),
        Some(Language::Python) => stages.push(StageName::Python),
        None => stages.extend([StageName::Node, StageName::Python, StageName::Surface]),
    }
    Choice::only(&stages)
}

/// The workspace folder: the parent of this crate's own.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace folder")
}
