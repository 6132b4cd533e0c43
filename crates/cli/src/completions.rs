//! `fanfare completions`: what makes a shell complete commands, flags and their values.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::failure::Failure;

/// Arguments of `fanfare completions`.
#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

const HOW: &str = "\
Where shells look for them (begin a new shell afterwards):
  bash  fanfare completions bash > ~/.local/share/bash-completion/completions/fanfare
  zsh   fanfare completions zsh > FOLDER/_fanfare, with FOLDER in $fpath
  fish  fanfare completions fish > ~/.config/fish/completions/fanfare.fish";

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut crate::command(), "fanfare", &mut script);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
}
