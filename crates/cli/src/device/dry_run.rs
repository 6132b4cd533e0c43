//! `fanfare device import --dry-run`: every line of a file looked at, no hub asked.

use std::io::BufRead;

use fanfare_wire::registry::ImportMode;
use serde_json::json;

use super::check;
use super::lines::{LineReader, Place, read_change};
use crate::failure::Failure;
use crate::job::figures::count;
use crate::output::{Column, OutputArgs, RowWriter};

/// Prints what is wrong, a row for each fault.
pub(super) fn run(
    input: impl BufRead,
    name: &str,
    mode: ImportMode,
    output: &OutputArgs,
) -> Result<(), Failure> {
    let mut rows = RowWriter::start(output, columns());
    let mut lines = LineReader::new(input, Place::default());
    let (mut changes, mut bad) = (0_u64, 0_u64);
    let unreadable = |error| Failure::usage(format!("{name} cannot be read")).because(error);
    while let Some(mut line) = lines.next().map_err(unreadable)? {
        let faults = match read_change(&mut line, mode) {
            Err(fault) => vec![json!({
                "line": line.number, "column": fault.column, "problem": fault.problem,
            })],
            Ok(item) => check::faults(&item)
                .into_iter()
                .map(|problem| {
                    json!({
                        "line": line.number, "deviceId": item.id, "moduleId": item.module_id,
                        "problem": problem,
                    })
                })
                .collect(),
        };
        changes += 1;
        bad += u64::from(!faults.is_empty());
        for fault in &faults {
            rows.push(fault)?;
        }
    }
    let fine = match changes {
        1 => "its one line".to_owned(),
        _ => format!("all {} lines", count(changes)),
    };
    let fine = match changes {
        0 => format!("{name} has no lines."),
        _ => {
            format!("{name}: {fine} can be sent; whether the hub takes them, only the hub can say.")
        }
    };
    rows.when_none(fine).finish()?;
    if bad == 0 {
        return Ok(());
    }
    let are = if bad == 1 { "is" } else { "are" };
    let title = format!(
        "{} of {} lines of {name} {are} wrong",
        count(bad),
        count(changes)
    );
    Err(Failure::usage(title))
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("line").right(),
        Column::new("column").right(),
        Column::new("deviceId").titled("device").whole(),
        Column::new("moduleId").titled("module"),
        Column::new("problem"),
    ]
}
