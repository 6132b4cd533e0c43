//! `fanfare serve`: runs a hub node. The one file of the command line that names the server; what
//! `connection-string` needs of it goes through here.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use fanfare_server::{Config, Flags, Node, connection_string, shutdown, telemetry};
use fanfare_wire::{Secret, connection_string::ConnectionString};

/// Arguments of `fanfare serve`. Each is also an environment variable, `FANFARE_` and the name in capitals,
/// and a key of the TOML file; flags override variables, variables override the file.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A TOML file with any of these settings [env: FANFARE_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that holds everything; made at the first start [default: ./fanfare-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; may be repeated [default: 127.0.0.1].
    #[arg(long, value_name = "IP")]
    bind: Vec<String>,
    /// Name or address that clients use, for certificate and tokens; may be repeated [default: localhost].
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// Port of the service API [default: 443].
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    /// Port of MQTT over TLS [default: 8883].
    #[arg(long, value_name = "PORT")]
    mqtts_port: Option<u16>,
    /// Port of unencrypted MQTT, on loopback addresses only; off unless given.
    #[arg(long, value_name = "PORT")]
    mqtt_plain_port: Option<u16>,
    /// Offer unencrypted MQTT on addresses that others can reach, too.
    #[arg(long)]
    mqtt_plain_force: bool,
    /// The store; `embedded` is the only one yet.
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// How log lines look: text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Which log lines there are: a level, or directives such as `info,fanfare_server=debug` [default: info].
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// How many days the history of ended jobs is kept [default: 30].
    #[arg(long, value_name = "DAYS")]
    job_history_days: Option<u32>,
    /// Check the configuration, say what is wrong with it, and end.
    #[arg(long)]
    check: bool,
}

/// Runs a hub until it is told to stop.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let is_check = args.check;
    let config = Config::load(args.into())?;
    telemetry::log(&config)?;
    if is_check {
        return say("The configuration is fine.\n");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // Listening for signals first: one that comes while the hub starts is not lost.
    let requested = tokio::spawn(shutdown::requested());
    let node = Node::start(config).await?;
    say(&banner(&node)?)?;
    let requested = async {
        if let Ok(Err(error)) = requested.await {
            tracing::error!(%error, "signals cannot be heard, so the hub stops");
        }
    };
    Ok(node.run(requested).await?)
}

impl From<ServeArgs> for Flags {
    fn from(args: ServeArgs) -> Self {
        Self {
            config: args.config,
            data_dir: args.data_dir,
            bind: args.bind,
            host_name: args.host_name,
            https_port: args.https_port,
            mqtts_port: args.mqtts_port,
            mqtt_plain_port: args.mqtt_plain_port,
            mqtt_plain_force: args.mqtt_plain_force,
            store: args.store,
            log_format: args.log_format,
            log_filter: args.log_filter,
            job_history_days: args.job_history_days,
        }
    }
}

/// The connection string of a policy, from a data folder.
pub(crate) fn policy_connection_string(data_dir: &Path, policy: &str) -> anyhow::Result<String> {
    Ok(connection_string::of_policy(data_dir, policy)?)
}

/// The connection string of a device, from a data folder.
pub(crate) fn device_connection_string(data_dir: &Path, device: &str) -> anyhow::Result<String> {
    Ok(connection_string::of_device(data_dir, device)?)
}

/// What a newcomer needs to go on.
fn banner(node: &Node) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let owner = node
        .policy("iothubowner")
        .context("the hub has no policy iothubowner")?;
    let key = Secret::new(owner.primary.expose());
    let string = ConnectionString::service(&node.host_name(), &owner.name, key);
    let ca = std::path::absolute(node.ca_pem())?.display().to_string();
    let addresses = node.addresses();
    let mut text = format!("Fanfare hub {}\n\n", node.host_name());
    let listeners = [
        ("service API, HTTPS", &addresses.https),
        ("devices, MQTT over TLS", &addresses.mqtts),
        ("devices, MQTT without TLS", &addresses.mqtt_plain),
    ];
    for (what, addresses) in listeners {
        for address in addresses {
            writeln!(text, "  {what:<26} {address}")?;
        }
    }
    write!(
        text,
        "
Connection string of iothubowner (a secret):

  {string}

Clients trust this hub's certificate with

  export NODE_EXTRA_CA_CERTS={ca} REQUESTS_CA_BUNDLE={ca} SSL_CERT_FILE={ca}

Next:

  const {{ JobClient, Registry }} = require('azure-iothub')   a back end, with the string above
  fanfare connection-string --device ID --data-dir DIR       a device's string, once it is registered
  fanfare demo                                               fifty simulated devices and two jobs

Ctrl-C stops the hub.
"
    )?;
    Ok(text)
}

/// The banner is the command's output; a closed pipe is no reason to end a hub.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
