//! `fanfare query`: asks a query and prints the rows as they come.
//!
//! Decides the columns: those of the projection in its order, as far as the first page knows them; whole twins and
//! device jobs have columns of their own, since all their members would fit no terminal.

use std::fmt;

use clap::Args;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{Column, OutputArgs, RowWriter, Tone, moment};
use crate::value_arg::ValueArg;

/// Arguments of `fanfare query`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueryArgs {
    /// The query, `@FILE` to read it from a file, or `-` for standard input.
    #[arg(value_name = "SQL")]
    text: ValueArg,
    /// How many rows at most.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Rows to ask for at once, 1 to 1000; the hub may give fewer.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    page_size: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare query \"SELECT * FROM devices WHERE tags.building = '43'\"
  fanfare query \"SELECT deviceId, tags.floor FROM devices WHERE tags.floor > 2\" -o csv
  fanfare query \"SELECT tags.floor AS floor, COUNT() AS doors FROM devices GROUP BY tags.floor\"
  fanfare query \"SELECT * FROM devices.jobs WHERE devices.jobs.status = 'failed'\" --limit 20";

/// Runs the query.
pub(crate) async fn run(args: QueryArgs) -> Result<(), Failure> {
    let text = args.text.text("the query")?;
    let text = text.trim();
    let hub = args.hub.client()?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let page_rows =
        u32::try_from(limit).map_or(args.page_size, |limit| limit.clamp(1, args.page_size));
    let mut pages = hub
        .queries()
        .query::<Row>(text)
        .page_items(page_rows)
        .pages();
    let mut rows = None;
    let mut left = limit;
    while left > 0 {
        let page = pages
            .try_next()
            .await
            .map_err(|error| Failure::from(error).about("query", text))?;
        let Some(page) = page else { break };
        // An empty page may come before the first row; it knows no columns.
        if page.items.is_empty() {
            continue;
        }
        let writer =
            rows.get_or_insert_with(|| RowWriter::start(&args.output, columns(&page.items)));
        for row in page
            .items
            .into_iter()
            .take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            writer.push(&Value::Object(row.members))?;
            left -= 1;
        }
        writer.flush()?;
    }
    let rows = rows.unwrap_or_else(|| RowWriter::start(&args.output, Vec::new()));
    rows.when_none("No rows.").finish().map(drop)
}

/// A row, and its members in the order in which the hub wrote them.
#[derive(Debug)]
struct Row {
    names: Vec<String>,
    members: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let (mut names, mut members) = (Vec::new(), Map::new());
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    names.push(name.clone());
                    members.insert(name, value);
                }
                Ok(Row { names, members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// What the rows of the first page are made of.
fn columns(page: &[Row]) -> Vec<Column> {
    let has = |names: &[&str]| {
        page.iter()
            .all(|row| names.iter().all(|name| row.members.contains_key(*name)))
    };
    if has(&["deviceId", "etag", "properties", "tags"]) {
        return of_twins(has(&["moduleId"]));
    }
    if has(&["jobId", "deviceId", "jobType", "status"]) {
        return of_device_jobs();
    }
    let mut names: Vec<&String> = Vec::new();
    for name in page.iter().flat_map(|row| &row.names) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let is_number = |name: &String| {
        let mut values = page
            .iter()
            .filter_map(|row| row.members.get(name))
            .peekable();
        values.peek().is_some() && values.all(Value::is_number)
    };
    let column = |name: &String| {
        let column = Column::new(name.clone());
        match name.as_str() {
            "deviceId" | "moduleId" | "jobId" => column.whole(),
            _ if is_number(name) => column.right(),
            _ => column,
        }
    };
    names.into_iter().map(column).collect()
}

fn of_twins(are_modules: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("deviceId").titled("device").whole()];
    if are_modules {
        columns.push(Column::new("moduleId").titled("module").whole());
    }
    columns.extend([
        Column::new("status").toned(|text| match text {
            "disabled" => Tone::Dim,
            _ => Tone::Plain,
        }),
        Column::new("connectionState")
            .titled("connection")
            .toned(|text| match text {
                "Connected" => Tone::Good,
                _ => Tone::Dim,
            }),
        Column::new("lastActivityTime")
            .titled("last activity")
            .shown(moment),
        Column::new("version").only_csv(),
        Column::new("etag").only_csv(),
        Column::new("tags"),
        Column::new("desired").at("/properties/desired").only_csv(),
        Column::new("reported")
            .at("/properties/reported")
            .only_csv(),
    ]);
    columns
}

fn of_device_jobs() -> Vec<Column> {
    vec![
        Column::new("jobId").titled("job").whole(),
        Column::new("deviceId").titled("device").whole(),
        Column::new("jobType").only_csv(),
        Column::new("status").toned(|text| match text {
            "completed" => Tone::Good,
            "failed" => Tone::Bad,
            "canceled" => Tone::Dim,
            _ => Tone::Waiting,
        }),
        Column::new("startTimeUtc").titled("started").shown(moment),
        Column::new("endTimeUtc").titled("ended").shown(moment),
        Column::new("errorCode").titled("error").at("/error/code"),
        Column::new("outcome"),
    ]
}
