//! `fanfare device list`.

use clap::Args;
use serde_json::Value;

use super::select::Select;
use super::show::{connection_tone, status_tone};
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{Column, OutputArgs, RowWriter, moment};

/// Arguments of `fanfare device list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Which ones: what would follow WHERE in a query, such as "tags.floor = 3".
    #[arg(long, value_name = "WHERE")]
    condition: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// List modules in place of devices.
    #[arg(long)]
    modules: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// What is asked for of each: a twin's properties would be most of the bytes.
const MEMBERS: &str =
    "deviceId, status, statusReason, connectionState, lastActivityTime, authenticationType, tags";

/// Runs `fanfare device list`.
pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let hub = args.hub.client()?;
    let (members, source, noun) = match args.modules {
        false => (MEMBERS.to_owned(), "devices", "devices"),
        true => (format!("moduleId, {MEMBERS}"), "devices.modules", "modules"),
    };
    let select = Select::new(&members, source, args.condition.as_deref());
    let page = args.limit.unwrap_or(PAGE_ITEMS).min(PAGE_ITEMS);
    let page = u32::try_from(page).expect("a page is at most a thousand");
    let mut found = hub.queries().query::<Value>(select.text()).page_items(page);
    let none = match &args.condition {
        None => format!("The hub has no {noun}."),
        Some(_) => format!("No {noun} match the condition."),
    };
    let mut rows = RowWriter::start(&args.output, columns(args.modules)).when_none(none);
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let row = found.try_next().await;
        let Some(row) = row.map_err(|error| select.failure(error))? else {
            break;
        };
        rows.push(&row)?;
        left -= 1;
    }
    rows.finish().map(drop)
}

/// Rows of one page. Contract.
const PAGE_ITEMS: u64 = 1_000;

fn columns(with_modules: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("deviceId").titled("device").whole()];
    if with_modules {
        columns.push(Column::new("moduleId").titled("module").whole());
    }
    columns.extend([
        Column::new("status").toned(status_tone),
        Column::new("statusReason").only_csv(),
        Column::new("connectionState")
            .titled("connection")
            .toned(connection_tone),
        Column::new("lastActivityTime")
            .titled("last activity")
            .shown(moment),
        Column::new("authenticationType").only_csv(),
        Column::new("tags").shown(compact),
    ]);
    columns
}

/// Tags in one line; nothing for none.
fn compact(tags: &Value) -> String {
    match tags {
        Value::Object(members) if members.is_empty() => String::new(),
        Value::Null => String::new(),
        tags => tags.to_string(),
    }
}
