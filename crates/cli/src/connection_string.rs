//! `fanfare connection-string`: prints a connection string from a data folder, whether its hub runs or not.

use std::{io::Write as _, path::PathBuf};

use clap::Args;

use crate::{keys::KeyArgs, serve};

/// Arguments of `fanfare connection-string`.
#[derive(Debug, Args)]
pub(crate) struct ConnectionStringArgs {
    /// The shared access policy whose string is printed.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "iothubowner",
        conflicts_with = "device"
    )]
    policy: String,
    /// The device whose string is printed.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The module of that device whose string is printed instead.
    #[arg(long, value_name = "ID", requires = "device")]
    module: Option<String>,
    /// The hub's data folder.
    #[arg(long, value_name = "DIR", default_value = "./fanfare-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

/// Prints the connection string and nothing else.
pub(crate) fn run(args: ConnectionStringArgs) -> anyhow::Result<()> {
    let text = match &args.device {
        Some(device) => serve::device_connection_string(
            &args.data_dir,
            &args.key,
            device,
            args.module.as_deref(),
        )?,
        None => serve::policy_connection_string(&args.data_dir, &args.key, &args.policy)?,
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
