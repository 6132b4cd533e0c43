//! `fanfare job results`: what came of each device, as many as there are.

use clap::Args;
use fanfare_client::{DeviceJob, DeviceJobStatus, HubClient, literal};

use super::figures::{count, counted};
use super::reasons::{Reasons, Tally};
use super::show::status_tone;
use crate::diagnostic::say;
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{Column, OutputArgs, RowWriter, Tone, moment};

/// `fanfare job results`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResultsArgs {
    /// The job.
    #[arg(value_name = "JOB", value_parser = super::job_id)]
    job_id: String,
    /// Only devices that failed, or answered with a status of 400 or above.
    #[arg(long, conflicts_with = "status")]
    failed: bool,
    /// Only devices that stand there: pending, running, completed, failed, canceled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<DeviceJobStatus>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare job results lock-43
  fanfare job results lock-43 --failed -o jsonl | jq -r .deviceId > again.txt
  fanfare job schedule-method --ids-from again.txt --method lockDoor
  fanfare job results lock-43 -o csv > results.csv

Failures by reason are told on standard error, so that the rows alone can be piped.";

/// Rows asked for at once.
const PAGE_ROWS: u32 = 1_000;

impl ResultsArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let hub = self.hub.client()?;
        // A job that is not there has no rows either: the hub tells the difference.
        let job = hub.jobs().get_job(&self.job_id).await?;
        if job.statistics.is_none() && !job.has_ended() {
            say(&format!(
                "Job {} is {}: its devices are known when it starts.",
                job.job_id, job.status
            ));
        }
        let (rows, tally) = self.stream(&hub, job.statistics.is_some()).await?;
        if rows > 0 {
            summarise(rows, &tally.into_reasons());
        }
        Ok(())
    }

    async fn stream(&self, hub: &HubClient, has_rows: bool) -> Result<(u64, Tally), Failure> {
        let mut device_jobs = hub
            .queries()
            .query::<DeviceJob>(self.query())
            .page_items(PAGE_ROWS);
        let mut rows = RowWriter::start(&self.output, columns());
        if has_rows {
            rows = rows.when_none("No devices.");
        }
        let mut tally = Tally::default();
        while let Some(row) = device_jobs.try_next().await? {
            tally.row(&row);
            rows.push(&serde_json::to_value(&row).map_err(anyhow::Error::from)?)?;
        }
        Ok((rows.finish()?, tally))
    }

    fn query(&self) -> String {
        let mut query = format!(
            "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = {}",
            literal(&self.job_id)
        );
        if let Some(status) = &self.status {
            query.push_str(&format!(" AND devices.jobs.status = '{status}'"));
        } else if self.failed {
            query.push_str(
                " AND (devices.jobs.status = 'failed' OR devices.jobs.outcome.deviceMethodResponse.status >= 400)",
            );
        }
        query
    }
}

/// A row's columns. The names of CSV are those of the documents.
fn columns() -> Vec<Column> {
    vec![
        Column::new("deviceId").titled("device").whole(),
        Column::new("moduleId").titled("module").only_csv(),
        Column::new("status").toned(status_tone),
        Column::new("answerStatus")
            .at("/outcome/deviceMethodResponse/status")
            .titled("answered")
            .right()
            .toned(answer_tone),
        Column::new("payload").at("/outcome/deviceMethodResponse/payload"),
        Column::new("errorCode").at("/error/code").titled("error"),
        Column::new("errorDescription")
            .at("/error/description")
            .titled("because"),
        Column::new("lastUpdatedDateTimeUtc")
            .titled("updated")
            .shown(moment),
    ]
}

fn answer_tone(status: &str) -> Tone {
    match status.parse::<i64>() {
        Ok(status) if status >= 400 => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// Why devices failed, on standard error.
fn summarise(rows: u64, reasons: &Reasons) {
    if reasons.is_empty() {
        say(&format!("{}, none failed.", counted(rows, "device")));
        return;
    }
    say(&format!(
        "{}, {} failed:",
        counted(rows, "device"),
        count(reasons.total())
    ));
    let width = count(reasons.groups[0].count).len();
    let codes = reasons.groups.iter().map(|reason| reason.code.len());
    let code_width = codes.max().unwrap_or(0);
    for reason in &reasons.groups {
        let meaning = reason
            .meaning()
            .map(|text| format!("  {text}"))
            .unwrap_or_default();
        say(&format!(
            "  {:>width$}  {:<code_width$}{meaning}",
            count(reason.count),
            reason.code
        ));
    }
}

fn status(text: &str) -> Result<DeviceJobStatus, String> {
    match DeviceJobStatus::from(text) {
        DeviceJobStatus::Unknown(_) => Err(
            "a device's share of a job is pending, running, completed, failed or canceled"
                .to_owned(),
        ),
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(arguments: &[&str]) -> ResultsArgs {
        use clap::{Args as _, FromArgMatches as _};
        let command = ResultsArgs::augment_args(clap::Command::new("results"));
        let matches = command.get_matches_from([&["results"], arguments].concat());
        ResultsArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn the_hub_leaves_out_what_is_not_wanted() {
        for (arguments, end) in [
            (&["j"][..], "devices.jobs.jobId = 'j'"),
            (
                &["j", "--status", "cancelled"],
                "'j' AND devices.jobs.status = 'canceled'",
            ),
            (&["j", "--failed"], ".status >= 400)"),
        ] {
            let query = args(arguments).query();
            assert!(query.ends_with(end), "{query}");
        }
        assert!(status("lost").is_err());
    }

    #[test]
    fn an_answer_of_400_and_above_is_bad() {
        assert_eq!(answer_tone("500"), Tone::Bad);
        assert_eq!(answer_tone("200"), Tone::Plain);
        assert_eq!(answer_tone("-"), Tone::Plain);
    }
}
