//! `fanfare policy rotate`: one key at a time, so that whoever signs with the other goes on.
//!
//! A rotation without an interruption has two steps: a new secondary key, which everybody moves to; then a new primary
//! key, which ends the old one. What this prints after each step is the next one.

use clap::{Args, ValueEnum};
use fanfare_client::{KeyRenewal, Policy};

use super::{is_for_programs, not_found, print};
use crate::failure::Failure;
use crate::hub::{Chosen, HubArgs};
use crate::output::{self, OutputArgs};

/// Arguments of `fanfare policy rotate`.
#[derive(Debug, Args)]
#[command(after_help = STEPS)]
pub(super) struct RotateArgs {
    /// Which policy.
    name: String,
    /// The key that gives way to a new one, or swap for the two to change places.
    #[arg(long, value_name = "KEY", value_enum)]
    key: Key,
    /// Print keys and the connection string too.
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const STEPS: &str = "\
Without an interruption, where programs sign with the primary key:
  1. fanfare policy rotate NAME --key secondary --show-keys
     and give every program the new secondary key
  2. fanfare policy rotate NAME --key primary
     once all have it: the old key counts no more
The next time the two keys have changed roles; --key swap changes them back.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    /// The primary key gives way to a new one.
    Primary,
    /// The secondary key gives way to a new one.
    Secondary,
    /// The two keys change places; both still count.
    Swap,
}

/// Runs `fanfare policy rotate`.
pub(super) async fn run(args: &RotateArgs) -> Result<(), Failure> {
    let chosen = args.hub.chosen()?;
    let policies = args.hub.client_of(&chosen)?.policies();
    let policy = policies.get(&args.name).await.map_err(not_found)?;
    // A data folder has the new key as well.
    let would_be_lost = !args.show_keys && chosen.data_dir.is_none();
    if would_be_lost && gives_up_own_key(&policy, &chosen, args.key) {
        return Err(own_key(args));
    }
    // Of two people who rotate at once one is told, in place of taking away the key that the other has just made.
    let renewal = match args.key {
        Key::Primary => KeyRenewal::Primary,
        Key::Secondary => KeyRenewal::Secondary,
        Key::Swap => KeyRenewal::Swap,
    };
    let rotated = policies.rotate(&args.name, renewal, policy.etag).await;
    let rotated = rotated.map_err(|error| match error.status() {
        Some(412) => Failure::from(error).try_this("again, once it is known who did what"),
        _ => not_found(error),
    })?;
    if is_for_programs(&args.output) {
        return print(&rotated, args.show_keys, &args.output);
    }
    if args.show_keys {
        print(&rotated, true, &args.output)?;
        output::line("")?;
    }
    output::line(&said(args))
}

/// Whether this very command signs with the key that it is to take away.
fn gives_up_own_key(policy: &Policy, chosen: &Chosen, key: Key) -> bool {
    let gone = match key {
        Key::Primary => &policy.primary_key,
        Key::Secondary => &policy.secondary_key,
        Key::Swap => return false,
    };
    let Ok(Some(own)) = chosen.connection_string() else {
        return false;
    };
    own.policy.as_deref() == Some(&*policy.name) && own.key.is_some() && own.key == *gone
}

fn own_key(args: &RotateArgs) -> Failure {
    let other = match args.key {
        Key::Primary => "secondary",
        Key::Secondary | Key::Swap => "primary",
    };
    Failure::usage("this command signs with the key that it would take away")
        .because("nobody would learn the new one, and the hub could be closed to you")
        .try_this("--show-keys, which prints the new connection string")
        .try_this(format!("--key {other} first, and sign with that one"))
}

/// What was done, what still counts, and the step after it.
fn said(args: &RotateArgs) -> String {
    let name = &args.name;
    let hub = args.hub.spelled();
    match args.key {
        Key::Secondary => format!(
            "Policy {name} has a new secondary key. What signs with its primary key goes on.\n\
             Next: give every program the secondary key, fanfare policy show {name} --show-keys{hub}\n\
             Then: end the old key, fanfare policy rotate {name} --key primary{hub}"
        ),
        Key::Primary => format!(
            "Policy {name} has a new primary key; the old one counts no more. What signs with its secondary key goes on.\n\
             Next: what still had the old key gets a new one, fanfare policy show {name} --show-keys{hub}"
        ),
        Key::Swap => format!(
            "The keys of policy {name} have changed places; both still count.\n\
             Next: give every program that has the secondary key the primary one, fanfare policy show {name} --show-keys{hub}\n\
             Then: end the old key, fanfare policy rotate {name} --key secondary{hub}"
        ),
    }
}
