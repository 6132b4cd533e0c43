//! Asks before something large is done: on a terminal, unless `--yes` was given.

#![allow(clippy::print_stderr, reason = "questions are no results")]

use std::io::{IsTerminal as _, stderr, stdin};

use clap::Args;

use crate::failure::{Exit, Failure};

/// `--yes`, for verbs that ask.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfirmArgs {
    /// Do it without asking.
    #[arg(short, long)]
    pub yes: bool,
}

impl ConfirmArgs {
    /// Returns when `--yes` was given or the person at the terminal agrees. `what` is a sentence without its
    /// mark: "Delete 1,200 devices".
    ///
    /// # Errors
    /// [`Exit::NotDone`] when they do not; [`Exit::Usage`] when nobody can be asked.
    pub fn ask(&self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !stdin().is_terminal() || !stderr().is_terminal() {
            let title = format!("{what}? Nobody can be asked: standard input is no terminal");
            return Err(Failure::usage(title).try_this("add --yes when you are sure"));
        }
        eprint!("{what}? [y/N] ");
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        eprintln!("Nothing was done.");
        Err(Failure::silent(Exit::NotDone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_not_asked_again() {
        assert!(ConfirmArgs { yes: true }.ask("Delete 7 devices").is_ok());
    }
}
