//! `fanfare serve`: runs a hub node.

use clap::Args;

/// Arguments of `fanfare serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {}

/// Runs a hub until it is told to stop.
pub(crate) fn run(_args: ServeArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no server")
}
