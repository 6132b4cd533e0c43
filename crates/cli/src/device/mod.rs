//! `fanfare device`: identities of devices and modules, one, many, or all of a hub.
//!
//! Each verb has its file. [`import`] and [`export`] move whole registries as newline-JSON: [`lines`] and
//! [`export_line`] are the form, [`chunk`] and [`call`] turn lines into calls, [`patience`] waits for the hub,
//! [`checkpoint`] and [`errors_file`] are what is left on the disk.

mod bulk;
mod call;
mod check;
mod checkpoint;
mod chunk;
mod create;
mod credentials;
mod delete;
mod dry_run;
mod errors_file;
mod export;
mod export_line;
mod export_reader;
mod ids;
mod import;
mod import_args;
mod lines;
mod list;
mod member_names;
mod patience;
mod progress;
mod select;
mod show;
mod source;
mod update;

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Arguments of `fanfare device`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register devices, or modules of them.
    Create(Box<create::CreateArgs>),
    /// List devices or modules: all, or those that a condition selects.
    List(list::ListArgs),
    /// Show one device or module.
    Show(show::ShowArgs),
    /// Change status, credentials or keys of one device or module.
    Update(Box<update::UpdateArgs>),
    /// Delete devices with their twins and modules, or modules.
    Delete(delete::DeleteArgs),
    /// Make the changes that a file has, one a line, as exports and the original's devices.txt write them.
    Import(Box<import::ImportArgs>),
    /// Write devices and modules to a file, one a line, as the original's devices.txt has them.
    Export(Box<export::ExportArgs>),
}

/// Runs `fanfare device`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: DeviceArgs) -> Result<(), Failure> {
    match args.verb {
        Verb::Create(args) => create::run(*args).await,
        Verb::List(args) => list::run(args).await,
        Verb::Show(args) => show::run(args).await,
        Verb::Update(args) => update::run(*args).await,
        Verb::Delete(args) => delete::run(args).await,
        Verb::Import(args) => import::run(*args).await,
        Verb::Export(args) => export::run(*args).await,
    }
}
