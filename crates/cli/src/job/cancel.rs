//! `fanfare job cancel`.

use clap::Args;
use fanfare_client::{Job, JobStatus};

use super::figures::counted;
use super::show::job_columns;
use super::watch::{PatienceArgs, Watch};
use crate::diagnostic::say;
use crate::failure::{Exit, Failure};
use crate::hub::HubArgs;
use crate::output::{Format, OutputArgs, line, show_one};

/// `fanfare job cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanfare job cancel lock-43
  fanfare job cancel lock-43 --watch

Devices that have not begun never will. A call that is in flight cannot be called back: \
    the job stays running until the device has answered or its time is up, and what it did counts.")]
pub(crate) struct CancelArgs {
    /// The job.
    #[arg(value_name = "JOB", value_parser = super::job_id)]
    job_id: String,
    /// Wait until the calls in flight have ended.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

impl CancelArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let hub = self.hub.client()?;
        let job = hub.jobs().cancel_job(&self.job_id).await?;
        let again = super::command("watch", &self.job_id, &self.hub);
        if self.output.format == Format::Table {
            line(&told(&job, (!self.watch).then_some(&*again)))?;
        }
        if !self.watch || job.has_ended() {
            if self.output.format != Format::Table {
                let document = serde_json::to_value(&job).map_err(anyhow::Error::from)?;
                show_one(&self.output, job_columns(), &document)?;
            }
            return Ok(());
        }
        let watch = Watch {
            hub,
            patience: self.patience,
            output: self.output,
            again,
        };
        match watch.to_the_end(&job).await {
            // Cancelled is what was asked for here.
            Err(failure) if failure.exit() == Exit::NotDone => settle(&watch, &job.job_id).await,
            done => done,
        }
    }
}

/// Whether a job that has ended was cancelled indeed.
async fn settle(watch: &Watch, job_id: &str) -> Result<(), Failure> {
    let job = watch.hub.jobs().get_job(job_id).await?;
    if job.status == JobStatus::Cancelled {
        return Ok(());
    }
    say(&format!(
        "Job {job_id} is {} in place of cancelled.",
        job.status
    ));
    Err(Failure::silent(Exit::NotDone))
}

/// What happens to a job that was just cancelled.
fn told(job: &Job, watch: Option<&str>) -> String {
    let id = &job.job_id;
    let counts = job.statistics.clone().unwrap_or_default();
    if job.status == JobStatus::Cancelled && counts.device_count == 0 {
        return format!("Job {id} is cancelled. No device was reached.");
    }
    if job.has_ended() {
        return format!(
            "Job {id} is {}: {}.",
            job.status,
            super::view::outcome_words(&counts)
        );
    }
    let mut text = format!("Job {id} is being cancelled. No further device begins");
    if counts.running_count > 0 {
        text.push_str(&format!(
            "; {} in flight may still be answered, and that counts",
            counted(counts.running_count, "call")
        ));
    }
    text.push('.');
    if let Some(watch) = watch {
        text.push_str(&format!("\n  watch    {watch}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_happens_to_calls_in_flight_is_said() {
        let job = |status: &str, counts| -> Job {
            from_value(
                json!({"jobId": "j", "type": "scheduleDeviceMethod", "status": status,
                "deviceJobStatistics": counts}),
            )
            .unwrap()
        };
        for (status, counts, words) in [
            (
                "cancelled",
                json!(null),
                "Job j is cancelled. No device was reached.",
            ),
            (
                "cancelled",
                json!({"deviceCount": 3, "succeededCount": 1, "canceledCount": 2}),
                "Job j is cancelled: 1 succeeded, 2 canceled.",
            ),
            (
                "running",
                json!({"deviceCount": 3, "runningCount": 3}),
                "Job j is being cancelled. No further device begins; 3 calls in flight may still be answered, \
                 and that counts.",
            ),
        ] {
            assert_eq!(told(&job(status, counts), None), words);
        }
    }
}
