//! `fanfare device delete`.

use clap::Args;
use fanfare_client::{BulkItem, Etag, HubClient, IdentityId};
use serde_json::Value;

use super::bulk::{Report, Words};
use super::ids::{IdArgs, checked};
use super::select::{self, Select};
use crate::confirm::ConfirmArgs;
use crate::failure::Failure;
use crate::hub::{HubArgs, addressed};
use crate::job::figures::counted;
use crate::output::OutputArgs;

/// Arguments of `fanfare device delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    ids: IdArgs,
    /// The devices that this selects: what would follow WHERE in a query.
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["ids", "ids_from", "module"])]
    condition: Option<String>,
    /// Delete this module of each device instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
    /// Only if this is its version still; for one device.
    #[arg(long, value_name = "ETAG", conflicts_with_all = ["ids_from", "condition"])]
    etag: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Devices of one call.
const CHUNK: usize = 100;
/// Devices of one page that a condition selects. Contract.
const PAGE_ITEMS: u32 = 1_000;

/// Runs `fanfare device delete`.
pub(super) async fn run(args: DeleteArgs) -> Result<(), Failure> {
    args.module.as_deref().map(checked).transpose()?;
    if let Some(condition) = &args.condition {
        let hub = args.hub.client()?;
        return matching(&args, &hub, condition).await;
    }
    let ids = args.ids.read()?;
    if ids.is_empty() {
        return Err(Failure::usage("there is no device to delete")
            .try_this("fanfare device delete ID..., --ids-from FILE, or --condition WHERE"));
    }
    if args.etag.is_some() && ids.len() > 1 {
        return Err(Failure::usage(
            "--etag is the version of one device, not of many",
        ));
    }
    let hub = args.hub.client()?;
    if ids.len() > 1 || args.ids.ids_from.is_some() {
        args.confirm.ask(&question(&args, ids.len() as u64))?;
    }
    let registry = hub.registry();
    if let [id] = &ids[..] {
        // A call of its own: it can say that the device was there, and repeats safely.
        let etag = args.etag.as_deref().map(Etag::from);
        let deleted = match &args.module {
            None => registry.delete_device(id, etag).await,
            Some(module) => registry.delete_module(id, module, etag).await,
        };
        deleted.map_err(|error| match error.status() {
            Some(412) => {
                Failure::from(error).try_this("`fanfare device show` says which version it has now")
            }
            _ => error.into(),
        })?;
        let mut report = Report::new(words(&args), &args.output);
        let gone = IdentityId {
            device_id: id.clone(),
            module_id: args.module.clone(),
        };
        report.done(&gone, Value::Null)?;
        return report.end();
    }
    let mut report = Report::new(words(&args), &args.output);
    for ids in ids.chunks(CHUNK) {
        let items: Vec<BulkItem> = ids
            .iter()
            .map(|id| item(id, args.module.as_deref()))
            .collect();
        report.make(&registry, &items).await?;
    }
    report.end()
}

/// Deletes what a condition selects, page by page: those that match throughout are each seen once, whatever goes.
/// One that somebody else deletes meanwhile is as gone as was asked.
async fn matching(args: &DeleteArgs, hub: &HubClient, condition: &str) -> Result<(), Failure> {
    let mut agreed = 0;
    loop {
        let devices = select::counted(hub, condition).await?;
        // While a person thinks, more devices may come to match: nobody has agreed to those.
        if devices <= agreed {
            break;
        }
        args.confirm.ask(&question(args, devices))?;
        agreed = devices;
        if args.confirm.yes {
            break;
        }
    }
    let mut report = Report::new(words(args), &args.output).gone_is_fine();
    let select = Select::new("deviceId", "devices", Some(condition));
    let rows = hub.queries().query::<Value>(select.text());
    let mut pages = rows.page_items(PAGE_ITEMS).pages();
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| select.failure(error))?
    {
        let ids = page.items.iter().filter_map(|row| row["deviceId"].as_str());
        let items: Vec<BulkItem> = ids.map(|id| item(id, None)).collect();
        for items in items.chunks(CHUNK) {
            report.make(&hub.registry(), items).await?;
        }
    }
    report.end()
}

fn item(id: &str, module: Option<&str>) -> BulkItem {
    let id = IdentityId {
        device_id: id.to_owned(),
        module_id: module.map(str::to_owned),
    };
    BulkItem::delete(id, None)
}

fn words(args: &DeleteArgs) -> Words {
    Words {
        done: "deleted",
        sentence: "Deleted",
        noun: if args.module.is_some() {
            "module"
        } else {
            "device"
        },
    }
}

fn question(args: &DeleteArgs, number: u64) -> String {
    let hub = addressed()
        .map(|hub| hub.endpoint.clone())
        .unwrap_or_default();
    let hub = hub.strip_prefix("https://").unwrap_or(&hub);
    match &args.module {
        None if number == 1 => format!("Delete 1 device of {hub} with its twin and modules"),
        None => format!(
            "Delete {} of {hub} with their twins and modules",
            counted(number, "device")
        ),
        Some(module) => format!(
            "Delete the module {module} of {} of {hub}",
            counted(number, "device")
        ),
    }
}
