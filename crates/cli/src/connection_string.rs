//! `fanfare connection-string`: prints a connection string from a data folder.

use clap::Args;

/// Arguments of `fanfare connection-string`.
#[derive(Debug, Args)]
pub(crate) struct ConnectionStringArgs {}

/// Prints the connection string.
pub(crate) fn run(_args: ConnectionStringArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no server")
}
