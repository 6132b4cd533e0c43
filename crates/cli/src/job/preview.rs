//! What a job would do if it started now, found out without changing anything.
//!
//! The hub itself reads the condition, in queries that count and sample; a list of ids is looked up in parts.

use fanfare_client::{Error, HubClient};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::conditions::{Selection, one_of};
use super::figures::{count as figure, counted, percent};
use super::schedule::{Plan, request};
use super::targets::Targets;
use crate::diagnostic::{HubPlace, hub_place, say};
use crate::failure::Failure;
use crate::id_list::IdList;
use crate::output::{Format, OutputArgs, line, show_one};

/// Devices shown as a sample, and ids named that no device has.
const SHOWN: usize = 10;
/// Ids looked up at once: as many rows as a page has.
const PART_IDS: usize = 1_000;
/// More ids than this take a while, and whoever waits is told.
const QUIETLY_IDS: usize = 50_000;
/// Parts looked up at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Devices (or modules) that match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    matching: u64,
    connected: u64,
}

/// What a job's targets are now.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    counted: Counted,
    sample: Vec<Sample>,
    /// Only for a list of ids.
    list: Option<Listed>,
    noun: &'static str,
}

/// What came of looking up a list of ids.
#[derive(Debug, Default)]
struct Listed {
    ids: u64,
    repeated: u64,
    absent: u64,
    absent_first: Vec<String>,
}

/// One device of a sample.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Sample {
    device_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_id: Option<String>,
    connection_state: String,
}

impl Sample {
    fn of(row: &Value) -> Self {
        let text = |name: &str| row[name].as_str().map(str::to_owned);
        Self {
            device_id: text("deviceId").unwrap_or_default(),
            module_id: text("moduleId"),
            connection_state: text("connectionState").unwrap_or_default(),
        }
    }

    fn is_connected(&self) -> bool {
        self.connection_state.eq_ignore_ascii_case(CONNECTED)
    }
}

const CONNECTED: &str = "Connected";

/// What the hub says about a query, told about the condition inside it, where that is what it means. `end` is how the
/// hub calls what follows the condition in the query.
fn refusal(error: Error, selection: &Selection<'_>, condition: &str, end: &str) -> Failure {
    let place = error.message().and_then(hub_place);
    let Some(HubPlace {
        line: at_line,
        column,
        words,
    }) = place.filter(|place| place.line >= FILTER_LINE)
    else {
        return error.into();
    };
    let (lines_before, chars_before) = selection.filter_place(condition);
    let column = match at_line {
        FILTER_LINE => column + chars_before,
        _ => column,
    };
    let words = words
        .replace(
            &format!("expected {end}"),
            "expected the end of the condition",
        )
        .replace("end of the text", "end of the condition");
    let line = at_line + 1 - FILTER_LINE + lines_before;
    Failure::from(error)
        .at("condition", condition, line, column)
        .in_words(words)
}

/// The line of a query on which the filter begins.
const FILTER_LINE: usize = 2;

impl Preview {
    /// Asks the hub what the targets are now.
    ///
    /// # Errors
    /// When the hub refuses the condition, with the place in it, or does not answer.
    pub(crate) async fn of(hub: &HubClient, targets: &Targets) -> Result<Self, Failure> {
        let mut preview = match targets {
            Targets::Condition(condition) => Self::of_condition(hub, condition).await?,
            Targets::Ids(list) => Self::of_ids(hub, list).await?,
        };
        preview.noun = targets.noun();
        Ok(preview)
    }

    async fn of_condition(hub: &HubClient, condition: &str) -> Result<Self, Failure> {
        let selection = Selection::of(condition);
        let sample = sample(hub, &selection, condition).await?;
        let query = selection.query("connectionState, COUNT() AS n", " GROUP BY connectionState");
        let rows: Vec<Value> = hub
            .queries()
            .query(query)
            .collect()
            .await
            .map_err(|error| {
                // The sample has shown that its own brackets match: the one that the hub misses is ours.
                refusal(error, &selection, condition, "')'")
            })?;
        let mut counted = Counted::default();
        for row in &rows {
            let n = row["n"].as_u64().unwrap_or(0);
            counted.matching += n;
            if row["connectionState"].as_str() == Some(CONNECTED) {
                counted.connected += n;
            }
        }
        Ok(Self {
            counted,
            sample,
            ..Self::default()
        })
    }

    async fn of_ids(hub: &HubClient, list: &IdList) -> Result<Self, Failure> {
        if list.ids.len() > QUIETLY_IDS {
            say(&format!(
                "Looking up {} ...",
                counted(list.ids.len() as u64, "id")
            ));
        }
        let mut parts = list.ids.chunks(PART_IDS).enumerate();
        let mut under_way = JoinSet::new();
        let mut found: Vec<Option<Vec<Sample>>> = vec![None; list.ids.len().div_ceil(PART_IDS)];
        loop {
            while under_way.len() < PARTS_AT_ONCE
                && let Some((at, part)) = parts.next()
            {
                let (hub, condition) = (hub.clone(), one_of(part.iter().map(|id| &**id)));
                under_way.spawn(async move { (at, look_up(&hub, &condition).await) });
            }
            let Some(done) = under_way.join_next().await else {
                break;
            };
            let (at, rows) = done.map_err(anyhow::Error::from)?;
            found[at] = Some(rows?);
        }
        let mut preview = Self::default();
        let mut listed = Listed {
            ids: list.ids.len() as u64,
            repeated: list.repeated,
            ..Listed::default()
        };
        for (part, rows) in list.ids.chunks(PART_IDS).zip(found) {
            preview.add_part(&mut listed, part, &rows.unwrap_or_default());
        }
        preview.list = Some(listed);
        Ok(preview)
    }

    fn add_part(&mut self, listed: &mut Listed, ids: &[Box<str>], rows: &[Sample]) {
        let there: std::collections::HashMap<&str, &Sample> =
            rows.iter().map(|row| (&*row.device_id, row)).collect();
        for id in ids {
            if let Some(row) = there.get(&**id) {
                self.counted.matching += 1;
                self.counted.connected += u64::from(row.is_connected());
                if self.sample.len() < SHOWN {
                    self.sample.push((*row).clone());
                }
            } else {
                listed.absent += 1;
                if listed.absent_first.len() < SHOWN {
                    listed.absent_first.push(id.to_string());
                }
            }
        }
    }

    /// Prints the whole of it as the result of `--dry-run`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn print(&self, plan: &Plan, output: &OutputArgs) -> Result<(), Failure> {
        if output.format != Format::Table {
            return show_one(output, columns(), &self.document(plan));
        }
        line("Dry run: nothing was scheduled.")?;
        for text in self.lines(plan) {
            line(&text)?;
        }
        Ok(())
    }

    /// How many devices or modules match now.
    pub(crate) fn matching(&self) -> u64 {
        self.counted.matching
    }

    /// What would happen, line by line.
    pub(crate) fn lines(&self, plan: &Plan) -> Vec<String> {
        let Counted {
            matching,
            connected,
        } = self.counted;
        let mut lines = vec![
            format!("  would do   {}", plan.operation.describe()),
            format!("  devices    {}", plan.devices),
            format!("  starts     {}", plan.start_text()),
            format!("  window     {}", plan.window_text()),
            format!("  sends      {}", plan.operation.document().1),
            format!("  matching   {} now", counted(matching, self.noun)),
        ];
        if matching > 0 {
            let share = percent(connected, matching);
            lines.push(format!("  connected  {} ({share}%)", figure(connected)));
        }
        if let Some(list) = &self.list {
            lines.extend(list.lines());
        }
        if !self.sample.is_empty() {
            let shown = self.sample.len() as u64;
            lines.push(match matching {
                all if all > shown => format!("  sample     {shown} of {}", figure(all)),
                _ => "  sample     all of them".to_owned(),
            });
            let width = self
                .sample
                .iter()
                .map(|row| row.name().len())
                .max()
                .unwrap_or(0);
            for row in &self.sample {
                let state = if row.is_connected() {
                    "connected"
                } else {
                    "not connected"
                };
                lines.push(format!("    {:<width$}  {state}", row.name()));
            }
        }
        lines
    }

    fn document(&self, plan: &Plan) -> Value {
        let mut document = json!({
            "dryRun": true,
            "matching": self.counted.matching,
            "connected": self.counted.connected,
            "sample": self.sample,
            "request": request(plan),
        });
        if let Some(list) = &self.list {
            document["ids"] = json!({
                "read": list.ids,
                "repeated": list.repeated,
                "absent": list.absent,
                "absentFirst": list.absent_first,
            });
        }
        document
    }
}

impl Sample {
    fn name(&self) -> String {
        match &self.module_id {
            Some(module) => format!("{}/{module}", self.device_id),
            None => self.device_id.clone(),
        }
    }
}

impl Listed {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.repeated > 0 {
            lines.push(format!(
                "  repeated   {}, left out",
                counted(self.repeated, "line")
            ));
        }
        if self.absent > 0 {
            let named = self.absent_first.join(", ");
            let more = self.absent - self.absent_first.len() as u64;
            let more = if more > 0 {
                format!(" and {} more", figure(more))
            } else {
                String::new()
            };
            lines.push(format!(
                "  unknown    {}: {named}{more}",
                figure(self.absent)
            ));
        }
        lines
    }
}

/// The first devices or modules that a condition selects. A condition with more behind it than a condition, such as
/// ORDER BY, may pass here.
async fn sample(
    hub: &HubClient,
    selection: &Selection<'_>,
    condition: &str,
) -> Result<Vec<Sample>, Failure> {
    let columns = match selection.is_of_modules() {
        true => "deviceId, moduleId, connectionState",
        false => "deviceId, connectionState",
    };
    let mut rows = hub
        .queries()
        .query::<Value>(selection.plain_query(columns))
        .page_items(SHOWN as u32);
    let mut sample = Vec::new();
    while sample.len() < SHOWN {
        match rows.try_next().await {
            Ok(Some(row)) => sample.push(Sample::of(&row)),
            Ok(None) => break,
            // About the part before the condition, which GROUP BY behind it makes wrong.
            Err(error)
                if error
                    .message()
                    .and_then(hub_place)
                    .is_some_and(|place| place.line < FILTER_LINE) =>
            {
                break;
            }
            Err(error) => {
                return Err(refusal(error, selection, condition, "the end of the query"));
            }
        }
    }
    Ok(sample)
}

/// The devices of a part of a list that exist.
async fn look_up(hub: &HubClient, condition: &str) -> Result<Vec<Sample>, Error> {
    let query = format!("SELECT deviceId, connectionState FROM devices WHERE {condition}");
    let rows: Vec<Value> = hub
        .queries()
        .query(query)
        .page_items(PART_IDS as u32)
        .collect()
        .await?;
    Ok(rows.iter().map(Sample::of).collect())
}

fn columns() -> Vec<crate::output::Column> {
    use crate::output::Column;
    vec![
        Column::new("jobId").at("/request/jobId"),
        Column::new("type").at("/request/type"),
        Column::new("matching"),
        Column::new("connected"),
        Column::new("absent").at("/ids/absent"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str, state: &str) -> Sample {
        Sample::of(&json!({"deviceId": id, "connectionState": state}))
    }

    #[test]
    fn ids_that_no_device_has_are_counted_and_the_first_named() {
        let ids: Vec<Box<str>> = (0..30).map(|n| format!("d{n}").into()).collect();
        let rows = [sample("d1", "Connected"), sample("d3", "Disconnected")];
        let (mut preview, mut listed) = (Preview::default(), Listed::default());
        preview.add_part(&mut listed, &ids, &rows);
        assert_eq!(
            preview.counted,
            Counted {
                matching: 2,
                connected: 1
            }
        );
        assert_eq!((listed.absent, listed.absent_first.len()), (28, SHOWN));
        assert_eq!(listed.absent_first[..3], ["d0", "d2", "d4"]);
        assert!(
            listed.lines()[0].ends_with("d11 and 18 more"),
            "{:?}",
            listed.lines()
        );
        assert_eq!(preview.sample, rows);
    }
}
