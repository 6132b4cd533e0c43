//! `fanfare job list`.

use clap::Args;
use fanfare_client::{JobStatus, JobType};

use super::show::job_columns;
use crate::diagnostic::say;
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{OutputArgs, RowWriter};

/// `fanfare job list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only jobs that stand there: scheduled, queued, running, completed, failed, cancelled.
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<JobStatus>,
    /// Only jobs of this type: method or twin.
    #[arg(long = "type", value_name = "TYPE", value_parser = job_type)]
    job_type: Option<JobType>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// All there are.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare job list --status running
  fanfare job list --type method --limit 5
  fanfare job list --all -o csv > jobs.csv";

/// Most jobs asked for at once.
const PAGE_JOBS: u64 = 100;

impl ListArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let hub = self.hub.client()?;
        let limit = if self.all { u64::MAX } else { self.limit };
        let page = u32::try_from(limit.min(PAGE_JOBS)).unwrap_or(u32::MAX);
        let mut jobs = hub
            .jobs()
            .query_jobs(self.job_type, self.status)
            .page_items(page);
        let mut rows = RowWriter::start(&self.output, job_columns()).when_none("No jobs.");
        let mut shown = 0;
        while let Some(job) = jobs.try_next().await? {
            if shown == limit {
                rows.finish()?;
                say("There are more jobs than these; --all shows them.");
                return Ok(());
            }
            rows.push(&serde_json::to_value(&job).map_err(anyhow::Error::from)?)?;
            shown += 1;
        }
        rows.finish()?;
        Ok(())
    }
}

/// The hub's word or a short one.
fn job_type(text: &str) -> Result<JobType, String> {
    match text.to_ascii_lowercase().as_str() {
        "method" | "schedule-method" | "scheduledevicemethod" => Ok(JobType::ScheduleDeviceMethod),
        "twin" | "schedule-twin" | "scheduleupdatetwin" => Ok(JobType::ScheduleUpdateTwin),
        _ => Err("a job's type is method or twin".to_owned()),
    }
}

fn status(text: &str) -> Result<JobStatus, String> {
    match JobStatus::from(text) {
        JobStatus::Unknown(_) => {
            Err("a job is scheduled, queued, running, completed, failed or cancelled".to_owned())
        }
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_the_words_of_people_and_of_the_hub() {
        assert_eq!(job_type("Method"), Ok(JobType::ScheduleDeviceMethod));
        assert_eq!(
            job_type("scheduleUpdateTwin"),
            Ok(JobType::ScheduleUpdateTwin)
        );
        assert_eq!(status("canceled"), Ok(JobStatus::Cancelled));
        assert!(job_type("parade").is_err() && status("pausing").is_err());
    }
}
