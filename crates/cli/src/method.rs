//! `fanfare method`: calls a direct method of one device or module and prints its answer.

use std::time::Duration;

use clap::{Args, Subcommand};
use fanfare_client::{DeviceMethod, IdentityId, MethodResult};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::hub::HubArgs;
use crate::output::{self, Column, Format, OutputArgs, Tone, show_one};
use crate::time_arg;
use crate::value_arg::ValueArg;

/// Arguments of `fanfare method`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct MethodArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Call a method and wait for the answer.
    Call(CallArgs),
}

#[derive(Debug, Args)]
struct CallArgs {
    /// Which device.
    #[arg(value_name = "ID")]
    id: String,
    /// Which method.
    #[arg(value_name = "NAME")]
    name: String,
    /// Call it on this module of the device instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
    /// What the method is given: JSON, @FILE or `-`.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    payload: Option<ValueArg>,
    /// How long the device may take to answer, 5s to 5m [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = time_arg::response_timeout)]
    response_timeout: Option<Duration>,
    /// How long to wait for the device to connect, up to 5m [default: not at all].
    #[arg(long, value_name = "TIME", value_parser = time_arg::duration)]
    connect_timeout: Option<Duration>,
    /// End with 1 when the device answers with a status of 400 or more.
    #[arg(long)]
    fail_on_device_error: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Statuses from here on are failures, by the habit of devices: the contract leaves it to them.
const DEVICE_ERROR_MIN: i64 = 400;

/// Runs `fanfare method`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: MethodArgs) -> Result<(), Failure> {
    let Verb::Call(args) = args.verb;
    let mut method = DeviceMethod::new(&args.name);
    if let Some(payload) = &args.payload {
        method = method.payload(payload.json("--payload")?);
    }
    if let Some(timeout) = args.response_timeout {
        method = method.response_timeout(timeout);
    }
    if let Some(timeout) = args.connect_timeout {
        method = method.connect_timeout(timeout);
    }
    let id = IdentityId {
        device_id: args.id.clone(),
        module_id: args.module.clone(),
    };
    let methods = args.hub.client()?.methods();
    let answer = methods.invoke(id, method).await;
    let answer = answer.map_err(|error| refused(&args, error))?;
    print(&answer, &args.output)?;
    if args.fail_on_device_error && answer.status >= DEVICE_ERROR_MIN {
        return Err(Failure::silent(Exit::NotDone));
    }
    Ok(())
}

fn refused(args: &CallArgs, error: fanfare_client::Error) -> Failure {
    let code = error.code().map(str::to_owned);
    let failure = Failure::from(error);
    match code.as_deref() {
        Some("DeviceNotOnline") if args.connect_timeout.is_none() => {
            failure.try_this("--connect-timeout 60s to wait until it connects")
        }
        Some("GatewayTimeout") => {
            failure.try_this("--response-timeout to give it more time, up to 5m")
        }
        _ => failure,
    }
}

fn print(answer: &MethodResult, output: &OutputArgs) -> Result<(), Failure> {
    let value = json!({"status": answer.status, "payload": answer.payload});
    let status = Column::new("status").toned(status_tone);
    if output.format != Format::Table {
        return show_one(output, vec![status, Column::new("payload")], &value);
    }
    // A small payload beside its title, a large one below it.
    let is_small = !answer.payload.is_object() && !answer.payload.is_array();
    if is_small {
        return show_one(
            output,
            vec![status, Column::new("payload").shown(Value::to_string)],
            &value,
        );
    }
    show_one(output, vec![status], &value)?;
    let text = serde_json::to_string_pretty(&answer.payload).map_err(anyhow::Error::from)?;
    output::line(&text)
}

fn status_tone(text: &str) -> Tone {
    match text.parse::<i64>() {
        Ok(status) if status >= DEVICE_ERROR_MIN => Tone::Bad,
        _ => Tone::Good,
    }
}
