//! `fanfare device create`.

use clap::Args;
use fanfare_client::{
    Authentication, BulkItem, Capabilities, Device, IdentityId, IdentityStatus, ImportMode, Module,
    RegistryClient,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::bulk::{Report, Words};
use super::credentials::{CredentialArgs, connection_string};
use super::ids::{IdArgs, checked};
use super::show::{Shown, device_document, module_document};
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::OutputArgs;
use crate::value_arg::ValueArg;

/// Arguments of `fanfare device create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    ids: IdArgs,
    /// Register this module on each device instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
    /// Who looks after the module.
    #[arg(long, value_name = "WHO", requires = "module")]
    managed_by: Option<String>,
    /// Register them disabled: they cannot connect.
    #[arg(long, conflicts_with = "module")]
    disabled: bool,
    /// Why they are disabled, at most 128 characters.
    #[arg(long, value_name = "TEXT", requires = "disabled")]
    status_reason: Option<String>,
    /// First tags of their twins: JSON, @FILE or `-`.
    #[arg(
        long,
        value_name = "JSON",
        conflicts_with = "module",
        allow_hyphen_values = true
    )]
    tags: Option<ValueArg>,
    /// First desired properties of their twins: JSON, @FILE or `-`.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    desired: Option<ValueArg>,
    /// They are edge gateways.
    #[arg(long, conflicts_with = "module")]
    edge: bool,
    /// Scope of the gateway they are below.
    #[arg(long, value_name = "SCOPE", conflicts_with = "module")]
    device_scope: Option<String>,
    /// Print keys and connection strings too.
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Devices of one call to the hub when many are made.
const CHUNK: usize = 100;
/// Identities that are asked for at once when their keys are to be shown.
const READS: usize = 8;

/// Runs `fanfare device create`.
pub(super) async fn run(args: CreateArgs) -> Result<(), Failure> {
    let ids = args.ids.read()?;
    if ids.is_empty() {
        return Err(Failure::usage("there is no device to create")
            .try_this("fanfare device create ID..., or --ids-from FILE"));
    }
    if let Some(module) = &args.module {
        checked(module)?;
    }
    if ids.len() > 1 && args.credentials.are_of_one_device() {
        let title = "one key or thumbprint cannot be that of many devices";
        return Err(Failure::usage(title)
            .try_this("leave it out, and the hub makes a key for each")
            .try_this("`fanfare device import FILE` for devices that have keys already"));
    }
    let form = Form::read(&args)?;
    let registry = args.hub.client()?.registry();
    match &ids[..] {
        [id] => one(&args, &form, &registry, id).await,
        _ => many(&args, &form, &registry, &ids).await,
    }
}

/// What all of them have in common.
struct Form {
    authentication: Authentication,
    tags: Option<Value>,
    desired: Option<Value>,
}

impl Form {
    fn read(args: &CreateArgs) -> Result<Self, Failure> {
        if args.tags == Some(ValueArg::Stdin) && args.desired == Some(ValueArg::Stdin) {
            return Err(Failure::usage(
                "--tags and --desired cannot both be on standard input",
            ));
        }
        let read = |flag, value: &Option<ValueArg>| {
            let members = value.as_ref().map(|value| value.object(flag)).transpose()?;
            Ok::<_, Failure>(members.map(Value::Object))
        };
        Ok(Self {
            authentication: args
                .credentials
                .read()?
                .unwrap_or_else(Authentication::generated_keys),
            tags: read("--tags", &args.tags)?,
            desired: read("--desired", &args.desired)?,
        })
    }

    fn device(&self, args: &CreateArgs, id: &str) -> Device {
        let mut device = Device::new(id).authentication(self.authentication.clone());
        if args.disabled {
            device.status = IdentityStatus::Disabled;
        }
        device.status_reason.clone_from(&args.status_reason);
        if args.edge {
            device.capabilities = Capabilities::edge();
        }
        device.device_scope.clone_from(&args.device_scope);
        device
    }

    fn module(&self, args: &CreateArgs, id: &str, module: &str) -> Module {
        let mut made = Module::new(id, module).authentication(self.authentication.clone());
        made.managed_by.clone_from(&args.managed_by);
        made
    }

    /// The identity and its twin in one change.
    fn item(&self, args: &CreateArgs, id: &str) -> BulkItem {
        let item = match &args.module {
            None => BulkItem::from(self.device(args, id)),
            Some(module) => BulkItem::from(self.module(args, id, module)),
        };
        let mut item = item.mode(ImportMode::Create);
        item.tags.clone_from(&self.tags);
        match &self.desired {
            Some(desired) => item.desired(desired.clone()),
            None => item,
        }
    }

    fn has_twin(&self) -> bool {
        self.tags.is_some() || self.desired.is_some()
    }
}

async fn one(
    args: &CreateArgs,
    form: &Form,
    registry: &RegistryClient,
    id: &str,
) -> Result<(), Failure> {
    // With a twin it is a bulk call of one: then there is never the device without its tags.
    if form.has_twin() {
        let outcome = registry.bulk(&[form.item(args, id)]).await;
        let outcome = outcome.map_err(fanfare_client::Error::from)?;
        if let Some(refused) = outcome.refused.first() {
            return Err(Failure::refused(refused.to_string()));
        }
    }
    let document = match &args.module {
        None if form.has_twin() => device_document(&registry.get_device(id).await?),
        None => device_document(&registry.create_device(&form.device(args, id)).await?),
        Some(module) if form.has_twin() => module_document(&registry.get_module(id, module).await?),
        Some(module) => {
            let made = form.module(args, id, module);
            module_document(&registry.create_module(&made).await?)
        }
    };
    let shown = Shown {
        document: document?,
        modules: None,
        with_keys: args.show_keys,
    };
    shown.print(&args.output)
}

async fn many(
    args: &CreateArgs,
    form: &Form,
    registry: &RegistryClient,
    ids: &[String],
) -> Result<(), Failure> {
    let noun = if args.module.is_some() {
        "module"
    } else {
        "device"
    };
    let words = Words {
        done: "created",
        sentence: "Created",
        noun,
    };
    if !args.show_keys {
        let mut report = Report::new(words, &args.output);
        for ids in ids.chunks(CHUNK) {
            let items: Vec<BulkItem> = ids.iter().map(|id| form.item(args, id)).collect();
            report.make(registry, &items).await?;
        }
        return report.end();
    }
    let mut report = Report::with_keys(words, &args.output);
    for ids in ids.chunks(CHUNK) {
        let items: Vec<BulkItem> = ids.iter().map(|id| form.item(args, id)).collect();
        let done = report.attempt(registry, &items).await?;
        let keys: Vec<(IdentityId, Value)> = stream::iter(done)
            .map(|id| keys_of(registry, id))
            .buffered(READS)
            .try_collect()
            .await?;
        for (id, keys) in keys {
            report.done(&id, keys)?;
        }
    }
    report.end()
}

async fn keys_of(
    registry: &RegistryClient,
    id: IdentityId,
) -> Result<(IdentityId, Value), Failure> {
    let authentication = match &id.module_id {
        None => registry.get_device(&id.device_id).await?.authentication,
        Some(module) => {
            registry
                .get_module(&id.device_id, module)
                .await?
                .authentication
        }
    };
    let authentication = authentication.unwrap_or_else(Authentication::none);
    let keys = &authentication.symmetric_key;
    let shown = json!({
        "primaryKey": keys.primary_key,
        "secondaryKey": keys.secondary_key,
        "connectionString": connection_string(&id, &authentication),
    });
    Ok((id, shown))
}
