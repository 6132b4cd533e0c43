//! `fanfare man`: manual pages, made of the same tree that reads the arguments.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::Failure;

/// Arguments of `fanfare man`.
#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder, which is made if need be; print the first page otherwise.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const HOW: &str = "\
Examples:
  fanfare man | man -l -
  fanfare man --out ~/.local/share/man/man1 && man fanfare-job-watch";

/// Prints or writes the pages.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = crate::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.out else {
        return Ok(std::io::stdout().write_all(&page(command)?)?);
    };
    let not_written = |error: std::io::Error| {
        Failure::usage(format!("{} cannot be written", folder.display())).because(error)
    };
    std::fs::create_dir_all(folder).map_err(not_written)?;
    let pages = write_pages(folder, command, "fanfare".to_owned()).map_err(not_written)?;
    crate::output::line(&format!("{pages} pages in {}", folder.display()))
}

/// One page for the command and each below it: `fanfare-hub-login.1`.
fn write_pages(folder: &Path, command: Command, name: String) -> std::io::Result<u32> {
    let mut pages = 1;
    for verb in command.get_subcommands().filter(|verb| is_shown(verb)) {
        let name = format!("{name}-{}", verb.get_name());
        pages += write_pages(folder, verb.clone(), name)?;
    }
    let command = command.display_name(name.clone());
    std::fs::write(folder.join(format!("{name}.1")), page(command)?)?;
    Ok(pages)
}

fn page(command: Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn is_shown(verb: &Command) -> bool {
    !verb.is_hide_set()
}
