//! `fanfare job watch`, and the watching that `schedule ... --watch` and `cancel --watch` do.

use std::time::Duration;

use clap::Args;
use fanfare_client::{HubClient, Job, JobStatus};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::figures::counted;
use super::follow::{Ended, Follow, Standing, describe};
use super::live::Board;
use super::show::job_columns;
use crate::diagnostic::say;
use crate::failure::{Exit, Failure};
use crate::hub::HubArgs;
use crate::output::{Format, OutputArgs, show_one};
use crate::stop_signal::StopSignal;

/// `fanfare job watch`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchVerbArgs {
    /// The job.
    #[arg(value_name = "JOB", value_parser = super::job_id)]
    job_id: String,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare job watch lock-43
  fanfare job watch lock-43 --fail-on-device-error && echo locked
  fanfare job watch lock-43 -o jsonl | jq -c .deviceJobStatistics

Exit code: 0 when the job completed, 1 when it failed or was cancelled, or with \
    --fail-on-device-error when devices failed in it, 130 after Ctrl-C, which leaves the job running.";

/// How a job is watched.
#[derive(Debug, Clone, Args)]
pub(crate) struct PatienceArgs {
    /// End with exit code 1 if a device failed, or answered with a status of 400 or above.
    #[arg(long)]
    fail_on_device_error: bool,
    /// How long the hub may be gone before the watch ends; the job is not affected.
    #[arg(long, value_name = "TIME", value_parser = crate::time_arg::duration, default_value = "10m")]
    give_up_after: Duration,
}

impl WatchVerbArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let hub = self.hub.client()?;
        let job = hub.jobs().get_job(&self.job_id).await?;
        Watch {
            hub,
            patience: self.patience,
            output: self.output,
            again: super::command("watch", &self.job_id, &self.hub),
        }
        .to_the_end(&job)
        .await
    }
}

/// Watching one job to its end, with all that is shown of it.
pub(crate) struct Watch {
    pub(crate) hub: HubClient,
    pub(crate) patience: PatienceArgs,
    pub(crate) output: OutputArgs,
    /// The command that takes the watch up again.
    pub(crate) again: String,
}

impl Watch {
    /// Watches `job`, which the hub or the person has described, and prints how it ended.
    ///
    /// # Errors
    /// When the hub refuses or is gone for too long, after Ctrl-C, and when the way the job ended makes it so.
    pub(crate) async fn to_the_end(&self, job: &Job) -> Result<(), Failure> {
        let mut stop = StopSignal::new()?;
        let mut standing = Standing::unknown(&job.job_id);
        standing.what = describe(job);
        let (standing, seat) = watch::channel(standing);
        let documents = self.output.format == Format::Jsonl;
        let mut board = Board::new(vec![seat], documents);
        let follow = Follow {
            hub: self.hub.clone(),
            job_id: job.job_id.clone(),
            give_up_after: Some(self.patience.give_up_after),
        };
        let ended = tokio::select! {
            biased;
            () = stop.heard() => None,
            ended = follow.to_the_end(&standing, |progress| {
                if documents && !progress.job.has_ended() {
                    print_document(&progress_document(&progress.job))?;
                }
                Ok(())
            }) => Some(ended),
            () = board.run() => None,
        };
        board.finish();
        match ended {
            None => {
                say(&format!(
                    "Job {} goes on without being watched. Watch it again: {}",
                    job.job_id, self.again
                ));
                Err(Failure::silent(Exit::Interrupted))
            }
            Some(Err(failure)) => {
                Err(failure.try_this(format!("{} to take the watch up again", self.again)))
            }
            Some(Ok(ended)) => self.conclude(&ended),
        }
    }

    fn conclude(&self, ended: &Ended) -> Result<(), Failure> {
        match self.output.format {
            Format::Table => {}
            Format::Jsonl => print_document(&ended_document(ended))?,
            Format::Json | Format::Csv => {
                show_one(&self.output, job_columns(), &ended_document(ended))?;
            }
        }
        verdict(ended, self.patience.fail_on_device_error)
    }
}

/// Whether the way a job ended is a failure of the command. The end itself is on the screen already.
fn verdict(ended: &Ended, fail_on_device_error: bool) -> Result<(), Failure> {
    let job = &ended.job;
    if job.status != JobStatus::Completed {
        return Err(Failure::silent(Exit::NotDone));
    }
    let failed = ended.reasons.total();
    if fail_on_device_error && failed > 0 {
        say(&format!(
            "{} failed, and --fail-on-device-error makes that count.",
            counted(failed, "device")
        ));
        return Err(Failure::silent(Exit::NotDone));
    }
    Ok(())
}

/// Where a job stands, without what never changes: its condition, its method, its patch.
fn progress_document(job: &Job) -> Value {
    let mut document = serde_json::to_value(job).unwrap_or_default();
    if let Some(members) = document.as_object_mut() {
        for fixed in ["queryCondition", "cloudToDeviceMethod", "updateTwin"] {
            members.remove(fixed);
        }
    }
    document
}

/// A job that has ended, with why devices failed.
fn ended_document(ended: &Ended) -> Value {
    let mut document = progress_document(&ended.job);
    document["reasons"] = json!(ended.reasons.groups);
    document
}

#[allow(clippy::print_stdout, reason = "a command line prints")]
fn print_document(document: &Value) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{document}")
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;
    use crate::job::reasons::{Reason, Reasons};

    fn ended(status: &str, failures: u64) -> Ended {
        let groups = (failures > 0)
            .then(|| Reason {
                code: "GatewayTimeout".to_owned(),
                count: failures,
            })
            .into_iter()
            .collect();
        Ended {
            job: from_value(
                json!({"jobId": "j", "type": "scheduleDeviceMethod", "status": status,
                "queryCondition": "*", "cloudToDeviceMethod": {"methodName": "m"}}),
            )
            .unwrap(),
            reasons: Reasons {
                groups,
                of_first: None,
            },
        }
    }

    #[test]
    fn failures_count_only_where_they_are_meant_to() {
        for (status, failures, flag, exit) in [
            ("completed", 0, true, None),
            ("completed", 3, false, None),
            ("completed", 3, true, Some(Exit::NotDone)),
            ("cancelled", 0, false, Some(Exit::NotDone)),
            ("failed", 0, false, Some(Exit::NotDone)),
        ] {
            let verdict = verdict(&ended(status, failures), flag)
                .err()
                .map(|failure| failure.exit());
            assert_eq!(verdict, exit, "{status} {failures} {flag}");
        }
    }

    #[test]
    fn the_last_document_has_the_reasons_and_none_has_the_condition() {
        let document = ended_document(&ended("completed", 3));
        assert_eq!(
            document["reasons"],
            json!([{"code": "GatewayTimeout", "count": 3}])
        );
        assert_eq!(document.get("queryCondition"), None);
        assert_eq!(document["jobId"], "j");
    }
}
