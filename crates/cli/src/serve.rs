//! `fanfare serve`: runs a hub node. The one file of the command line that names the server; what
//! `connection-string` needs of it goes through here.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use fanfare_server::{
    Config, Flags, Node, Profile, audit, backup, connection_string, shutdown, telemetry,
};
use fanfare_wire::{Secret, connection_string::ConnectionString};
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};

use crate::keys::KeyArgs;

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
    /// The limits to impose: open, azure-s1, azure-s2 or azure-s3 [default: open].
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Units of the profile's tier, for the numbers that grow with them [default: 1].
    #[arg(long, value_name = "N")]
    units: Option<u32>,
    /// Jobs active at once: a number or unlimited [default: the profile's].
    #[arg(long, value_name = "N")]
    jobs_at_once: Option<String>,
    /// Device operations that all jobs together begin in a second: a number or unlimited [default: the profile's].
    #[arg(long, value_name = "N")]
    job_device_operations_per_second: Option<String>,
    /// Whether a running job may be cancelled: true or false [default: the profile's].
    #[arg(long, value_name = "BOOL")]
    cancel_while_running: Option<String>,
    /// Characters of a job's condition and of a query: a number or unlimited [default: the profile's].
    #[arg(long, value_name = "N")]
    condition_chars_max: Option<String>,
    /// Seconds in which the same PUT of a job is a retry, 0 for never [default: the profile's].
    #[arg(long, value_name = "SECONDS")]
    job_retry_window: Option<u32>,
    /// Whether Python's SDK gets the list of jobs in a form it can read: true or false [default: the profile's].
    #[arg(long, value_name = "BOOL")]
    python_job_list: Option<String>,
    /// Host that imports and exports may speak to without TLS, besides loopback addresses; may be repeated.
    #[arg(long, value_name = "HOST")]
    blob_plain_hosts: Vec<String>,
    /// S3 endpoint of imports and exports [default: Amazon's, or AWS_ENDPOINT_URL].
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Region of the S3 endpoint [default: us-east-1, or AWS_REGION].
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
    /// Access key id for S3; its secret and a session token are settings too, but no flags, which others can see
    /// [default: AWS_ACCESS_KEY_ID].
    #[arg(long, value_name = "ID")]
    s3_access_key_id: Option<String>,
    /// Refuse every token that a shared access policy signed: callers need tokens of an issuer.
    #[arg(long)]
    disable_local_auth: bool,
    /// Refuse every shared access signature of a device, its own key's and a policy's.
    #[arg(long)]
    disable_device_sas: bool,
    /// Refuse every shared access signature of a module, its own key's and a policy's.
    #[arg(long)]
    disable_module_sas: bool,
    /// OpenID Connect issuer whose bearer tokens callers may use, exactly as in their `iss`; may be repeated. Tables
    /// `[[token-issuers]]` of the file say more of one, see docs/operate/access.md.
    #[arg(long, value_name = "URL")]
    token_issuer: Vec<String>,
    /// Audience that tokens of `--token-issuer` may be for, besides https://iothubs.azure.net; may be repeated.
    #[arg(long, value_name = "AUDIENCE")]
    token_audience: Vec<String>,
    /// Claim with the roles of tokens of `--token-issuer`, such as realm_access.roles; may be repeated
    /// [default: roles].
    #[arg(long, value_name = "CLAIM")]
    token_role_claim: Vec<String>,
    /// PEM file of the authorities that vouch for the servers of `--token-issuer` [default: the system's].
    #[arg(long, value_name = "FILE")]
    token_ca_file: Option<PathBuf>,
    /// Hours that an issuer's last keys go on counting while it cannot be reached [default: 24].
    #[arg(long, value_name = "HOURS")]
    token_stale_hours: Option<u32>,
    /// Connections of one address, in each front end, that have not signed in or sent a request yet [default: 1024].
    #[arg(long, value_name = "N")]
    unfinished_per_address: Option<u32>,
    /// Connections of one address to the service API [default: 2500].
    #[arg(long, value_name = "N")]
    https_per_address: Option<u32>,
    /// Failed sign-ins and requests of one address in a minute before it is served in turns [default: 600].
    #[arg(long, value_name = "N")]
    failures_per_minute: Option<u32>,
    /// What a change depends on the audit log: required, best-effort or off [default: best-effort].
    #[arg(long, value_name = "MODE")]
    audit: Option<String>,
    /// Bytes after which a file of the audit log is put aside and the next begins [default: 67108864].
    #[arg(long, value_name = "BYTES")]
    audit_file_bytes: Option<u32>,
    /// Full files of the audit log that are kept [default: 16].
    #[arg(long, value_name = "N")]
    audit_files: Option<u32>,
    /// PEM file of authorities whose certificates devices may sign in with; may be repeated.
    #[arg(long, value_name = "FILE")]
    device_ca_file: Vec<PathBuf>,
    /// PEM file of the hub's own certificate, then of what issued it [default: the hub's private CA issues one].
    #[arg(long, value_name = "FILE")]
    tls_certificate_file: Option<PathBuf>,
    /// PEM file of its private key, for its owner alone.
    #[arg(long, value_name = "FILE")]
    tls_key_file: Option<PathBuf>,
    /// The TLS version that peers must speak at least: 1.2 or 1.3 [default: 1.2].
    #[arg(long, value_name = "VERSION")]
    tls_min_version: Option<String>,
    /// Encrypt keys at rest under the key in this file; `fanfare keys generate` makes one [default: keys are
    /// not encrypted].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Encrypt keys at rest under the passphrase in this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
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
    let mut hangups = signal(SignalKind::hangup())?;
    let node = Node::start(config).await?;
    say(&banner(&node)?)?;
    let requested = async {
        if let Ok(Err(error)) = requested.await {
            tracing::error!(%error, "signals cannot be heard, so the hub stops");
        }
    };
    let reloader = node.reloader();
    let reloads = async {
        while hangups.recv().await.is_some() {
            reloader.reload().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = node.run(requested) => Ok(ended?),
        () = reloads => Ok(()),
    }
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
            profile: args.profile,
            units: args.units,
            jobs_at_once: args.jobs_at_once,
            job_device_operations_per_second: args.job_device_operations_per_second,
            cancel_while_running: args.cancel_while_running,
            condition_chars_max: args.condition_chars_max,
            job_retry_window: args.job_retry_window,
            blob_plain_hosts: args.blob_plain_hosts,
            s3_endpoint: args.s3_endpoint,
            s3_region: args.s3_region,
            s3_access_key_id: args.s3_access_key_id,
            disable_local_auth: args.disable_local_auth,
            disable_device_sas: args.disable_device_sas,
            disable_module_sas: args.disable_module_sas,
            token_issuer: args.token_issuer,
            token_audience: args.token_audience,
            token_role_claim: args.token_role_claim,
            token_ca_file: args.token_ca_file,
            token_stale_hours: args.token_stale_hours,
            python_job_list: args.python_job_list,
            unfinished_per_address: args.unfinished_per_address,
            https_per_address: args.https_per_address,
            failures_per_minute: args.failures_per_minute,
            audit: args.audit,
            audit_file_bytes: args.audit_file_bytes,
            audit_files: args.audit_files,
            device_ca_file: args.device_ca_file,
            tls_certificate_file: args.tls_certificate_file,
            tls_key_file: args.tls_key_file,
            tls_min_version: args.tls_min_version,
            key_file: args.key_file,
            passphrase_file: args.passphrase_file,
        }
    }
}

/// Keys at rest, for `fanfare keys`.
pub(crate) use fanfare_server::vault;

/// Notes in the folder's audit log what a command has done to it. A line that cannot be written undoes nothing, so
/// that is a warning.
pub(crate) fn note(data_dir: &Path, operation: &str, detail: Map<String, Value>) {
    if let Err(error) = audit::note_offline(data_dir, operation, detail) {
        eprintln!("warning: this is done, but it has no line in the audit log: {error}");
    }
}

/// The connection string of a policy, from a data folder.
pub(crate) fn policy_connection_string(
    data_dir: &Path,
    key: &KeyArgs,
    policy: &str,
) -> anyhow::Result<String> {
    let key = key.source();
    Ok(connection_string::of_policy(
        data_dir,
        key.as_ref(),
        policy,
    )?)
}

/// The connection string of a device or of a module on it, from a data folder.
pub(crate) fn device_connection_string(
    data_dir: &Path,
    key: &KeyArgs,
    device: &str,
    module: Option<&str>,
) -> anyhow::Result<String> {
    let key = key.source();
    Ok(connection_string::of_identity(
        data_dir,
        key.as_ref(),
        device,
        module,
    )?)
}

/// The PEM file of the authority that clients of a folder's hub must trust; nothing when the system's own do.
pub(crate) fn trusted_ca(data_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(connection_string::trusted_ca(data_dir)?)
}

/// What a backup or a restore did.
pub(crate) struct BackedUp {
    /// When the backup was begun, UTC.
    pub(crate) created: String,
    /// Bytes of all its files.
    pub(crate) bytes: u64,
    /// How many files.
    pub(crate) files: usize,
    /// The format of the store's tables.
    pub(crate) store_format: u32,
    /// The master key its keys are encrypted under.
    pub(crate) key_id: Option<String>,
    /// The term of the store: as copied, or as restored.
    pub(crate) term: u32,
}

/// Copies a data folder while its hub runs; `progress` hears the bytes done and those in all.
pub(crate) fn backup(
    data_dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<BackedUp> {
    let manifest = backup::backup(data_dir, to, &mut |at| progress(at.done, at.total))?;
    let term = manifest.store.term;
    Ok(backed_up(manifest, term))
}

/// Makes a data folder of a backup.
pub(crate) fn restore(
    from: &Path,
    data_dir: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<BackedUp> {
    let restored = backup::restore(from, data_dir, &mut |at| progress(at.done, at.total))?;
    Ok(backed_up(restored.manifest, restored.term))
}

fn backed_up(manifest: backup::Manifest, term: u32) -> BackedUp {
    BackedUp {
        bytes: manifest.bytes(),
        files: manifest.files.len(),
        store_format: manifest.store.format,
        created: manifest.created,
        key_id: manifest.keys.map(|keys| keys.key_id),
        term,
    }
}

/// What a newcomer needs to go on.
fn banner(node: &Node) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let owner = node
        .policy("iothubowner")
        .context("the hub has no policy iothubowner")?;
    let key = Secret::new(owner.primary.expose());
    let string = ConnectionString::service(&node.host_name(), &owner.name, key);
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
    let profile = &node.hub().profile;
    if *profile != Profile::open() {
        writeln!(text, "\n{}", limits(profile))?;
    }
    write!(
        text,
        "
Connection string of iothubowner (a secret):

  {string}

{}

Next:

  const {{ JobClient, Registry }} = require('azure-iothub')   a back end, with the string above
  fanfare connection-string --device ID --data-dir DIR       a device's string, once it is registered
  fanfare demo                                               fifty simulated devices and two jobs

Ctrl-C stops the hub.
",
        trust(node)?
    )?;
    Ok(text)
}

/// How clients come to trust the hub's certificate.
fn trust(node: &Node) -> anyhow::Result<String> {
    let Some(ca) = node.trusted_ca() else {
        return Ok(
            "Clients trust this hub's certificate if their system trusts its issuer.".into(),
        );
    };
    let ca = std::path::absolute(ca)?.display().to_string();
    Ok(format!(
        "Clients trust this hub's certificate with

  export NODE_EXTRA_CA_CERTS={ca} REQUESTS_CA_BUNDLE={ca} SSL_CERT_FILE={ca}"
    ))
}

/// The limits in force, for whoever meets one of them.
fn limits(profile: &Profile) -> String {
    let jobs = &profile.jobs;
    let number = |bound: Option<u32>| bound.map_or("any number of".to_owned(), |n| n.to_string());
    let cancels = match jobs.cancel_while_running {
        true => "also while they run",
        false => "only while they wait",
    };
    format!(
        "Profile {} with {} unit(s): {} job(s) at once, {} device operations of jobs a second,\n\
         jobs may be cancelled {cancels}. GET /fanfare/v1/profile shows every limit.",
        profile.tier.name(),
        profile.units,
        number(jobs.active_max),
        number(jobs.device_operations_per_second),
    )
}

/// The banner is the command's output; a closed pipe is no reason to end a hub.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
