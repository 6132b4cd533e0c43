//! `fanfare policy`: shared access policies, for whoever owns the hub.
//!
//! Keys are printed where they are asked for (`--show-keys`) and nowhere else. [`rotate`] says what comes after it.

mod rotate;

use clap::{Args, Subcommand};
use fanfare_client::{Etag, Policy, PolicyRight, Secret, SymmetricKey};
use fanfare_wire::connection_string::ConnectionString;
use serde_json::{Value, json};

use crate::confirm::ConfirmArgs;
use crate::failure::Failure;
use crate::hub::{HubArgs, addressed};
use crate::output::{self, Column, Format, OutputArgs, RowWriter, show_one};

/// Arguments of `fanfare policy`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the policies with their rights.
    List(ListArgs),
    /// Show one policy, with its keys if asked.
    Show(ShowArgs),
    /// Create a policy; the hub makes its two keys.
    Create(CreateArgs),
    /// Make a key of a policy anew, or let its two keys change places.
    Rotate(rotate::RotateArgs),
    /// Delete a policy: what its keys signed counts no more.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Which policy.
    name: String,
    /// Print keys and the connection string too.
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// Its name, as it will stand in connection strings.
    name: String,
    /// What it may do: registry-read, registry-write, service-connect, device-connect; several behind commas.
    #[arg(
        long,
        value_name = "RIGHTS",
        required = true,
        value_delimiter = ',',
        value_parser = right
    )]
    rights: Vec<PolicyRight>,
    /// Print keys and the connection string too.
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  fanfare policy create night-shift --rights registry-read,service-connect
  fanfare policy create gateways --rights device-connect --show-keys";

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Which policy.
    name: String,
    /// Only if this is its version still.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Runs `fanfare policy`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: PolicyArgs) -> Result<(), Failure> {
    match args.verb {
        Verb::List(args) => list(&args).await,
        Verb::Show(args) => show(&args).await,
        Verb::Create(args) => create(args).await,
        Verb::Rotate(args) => rotate::run(&args).await,
        Verb::Delete(args) => delete(&args).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let policies = args.hub.client()?.policies().list().await?;
    let columns = vec![
        Column::new("name").whole(),
        Column::new("rights").shown(words),
        Column::new("etag").only_csv(),
    ];
    let mut rows = RowWriter::start(&args.output, columns);
    for policy in &policies {
        rows.push(&serde_json::to_value(policy).map_err(anyhow::Error::from)?)?;
    }
    rows.finish().map(drop)
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let policies = args.hub.client()?.policies();
    let policy = policies.get(&args.name).await.map_err(not_found)?;
    print(&policy, args.show_keys, &args.output)
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let policies = args.hub.client()?.policies();
    let keys = None::<SymmetricKey>;
    let created = policies.create(&args.name, args.rights, keys).await;
    let created = created.map_err(|error| match error.code() {
        Some("PolicyAlreadyExists") => Failure::from(error).try_this(format!(
            "fanfare policy show {} says what it may do",
            args.name
        )),
        Some("IotHubQuotaExceeded") => {
            Failure::from(error).try_this("fanfare policy delete NAME, for one that nobody uses")
        }
        _ => error.into(),
    })?;
    print(&created, args.show_keys, &args.output)
}

async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let policies = args.hub.client()?.policies();
    // Whoever is asked should be asked about something that is there.
    let policy = policies.get(&args.name).await.map_err(not_found)?;
    let hub = addressed().map_or("", |hub| hub.endpoint.trim_start_matches("https://"));
    args.confirm.ask(&format!(
        "Delete policy {} ({}) of {hub}; whatever signs in with its keys is locked out",
        policy.name, policy.rights
    ))?;
    let etag = args.etag.as_deref().map_or(policy.etag, Etag::from);
    let deleted = policies.delete(&args.name, etag).await;
    deleted.map_err(|error| match error.status() {
        Some(412) => {
            Failure::from(error).try_this("`fanfare policy show` says which version it has now")
        }
        _ => not_found(error),
    })?;
    output::line(&format!("Deleted policy {}.", args.name))
}

/// Prints a policy; keys only if asked.
fn print(policy: &Policy, with_keys: bool, output: &OutputArgs) -> Result<(), Failure> {
    let mut value = serde_json::to_value(policy).map_err(anyhow::Error::from)?;
    let mut columns = vec![
        Column::new("name"),
        Column::new("rights").shown(words),
        Column::new("etag"),
    ];
    if with_keys {
        value["connectionString"] = json!(connection_string(policy));
        columns.extend([
            Column::new("primaryKey").titled("primary key"),
            Column::new("secondaryKey").titled("secondary key"),
            Column::new("connectionString").titled("connection string"),
        ]);
    } else if let Some(members) = value.as_object_mut() {
        members.remove("primaryKey");
        members.remove("secondaryKey");
    }
    show_one(output, columns, &value)
}

/// What programs sign in with: the host as this command reached it, and the primary key.
fn connection_string(policy: &Policy) -> Option<String> {
    let endpoint = &addressed()?.endpoint;
    let host = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let key: &Secret = policy.primary_key.as_ref()?;
    Some(ConnectionString::service(host, &policy.name, key.clone()).to_string())
}

/// Rights for a person: `RegistryRead, ServiceConnect`.
fn words(rights: &Value) -> String {
    let words = rights.as_array().into_iter().flatten();
    words
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn not_found(error: fanfare_client::Error) -> Failure {
    let is_absent = error.code() == Some("PolicyNotFound");
    let failure = Failure::from(error);
    match is_absent {
        true => failure.try_this("fanfare policy list shows the policies there are"),
        false => failure,
    }
}

/// A right as people write it, `registry-read`, or as the contract does, `RegistryRead`.
fn right(text: &str) -> Result<PolicyRight, String> {
    let plain: String = text
        .trim()
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .collect();
    match PolicyRight::from(&*plain) {
        PolicyRight::Unknown(_) => {
            let forms = "registry-read, registry-write, service-connect, device-connect";
            Err(format!("no such right; there are {forms}"))
        }
        known => Ok(known),
    }
}

/// Whether JSON or CSV is to be printed, so that sentences for people have no place.
fn is_for_programs(output: &OutputArgs) -> bool {
    output.format != Format::Table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_in_both_spellings() {
        for text in ["registry-write", "RegistryWrite", " Registry_Write"] {
            assert_eq!(right(text), Ok(PolicyRight::RegistryWrite), "{text}");
        }
        let refused = right("root").unwrap_err();
        assert!(refused.contains("device-connect"), "{refused}");
    }
}
