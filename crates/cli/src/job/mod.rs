//! `fanfare job`: schedule jobs, follow them, and see what came of each device.
//!
//! What is decided where: [`targets`] which devices, [`schedule`] what and when, [`preview`] what would happen,
//! [`follow`] how a job is followed through thick and thin, [`view`] what that looks like, [`reasons`] why devices
//! failed.

mod cancel;
pub(crate) mod conditions;
pub(crate) mod figures;
pub(crate) mod follow;
mod list;
pub(crate) mod live;
pub(crate) mod pace;
pub(crate) mod paint;
mod preview;
pub(crate) mod reasons;
mod results;
mod schedule;
mod screen;
mod show;
mod targets;
mod view;
mod watch;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::hub::HubArgs;

/// Arguments of `fanfare job`.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    verb: JobVerb,
}

#[derive(Debug, Subcommand)]
enum JobVerb {
    /// Call a direct method on every device that a condition selects.
    ScheduleMethod(Box<schedule::MethodArgs>),
    /// Patch the twin of every device that a condition selects.
    ScheduleTwin(Box<schedule::TwinArgs>),
    /// Show one job.
    Show(Box<show::ShowArgs>),
    /// List jobs, the newest first.
    List(Box<list::ListArgs>),
    /// Follow a job to its end.
    Watch(Box<watch::WatchVerbArgs>),
    /// Cancel a job that has not ended.
    Cancel(Box<cancel::CancelArgs>),
    /// Show what came of each device.
    Results(Box<results::ResultsArgs>),
}

/// Runs `fanfare job`.
///
/// # Errors
/// When the arguments cannot be used, or the hub is not there or refuses; and with `--fail-on-device-error`, when a
/// watched job had failures.
pub(crate) async fn run(args: JobArgs) -> Result<(), Failure> {
    match args.verb {
        JobVerb::ScheduleMethod(args) => Box::pin(args.run()).await,
        JobVerb::ScheduleTwin(args) => Box::pin(args.run()).await,
        JobVerb::Show(args) => Box::pin(args.run()).await,
        JobVerb::List(args) => Box::pin(args.run()).await,
        JobVerb::Watch(args) => Box::pin(args.run()).await,
        JobVerb::Cancel(args) => Box::pin(args.run()).await,
        JobVerb::Results(args) => Box::pin(args.run()).await,
    }
}

/// `fanfare job VERB JOB` for the same hub, to be typed or pasted.
fn command(verb: &str, job_id: &str, hub: &HubArgs) -> String {
    format!("fanfare job {verb} {job_id}{}", hub.spelled())
}

/// What a job id may be, so that a mistake is told before anything is sent. compat: JOB-1
fn job_id(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || text.len() > 64 {
        return Err("a job id has 1 to 64 characters".to_owned());
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(format!(
            "a job id has only ASCII letters, digits and -, not {c:?}"
        )),
        None if text.eq_ignore_ascii_case("query") => {
            Err("'query' is no name for a job".to_owned())
        }
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_jobs_are_checked_before_anything_is_sent() {
        assert_eq!(job_id("lock-43"), Ok("lock-43".to_owned()));
        for wrong in ["", "a b", "query", "überall", &"x".repeat(65)] {
            assert!(job_id(wrong).is_err(), "{wrong}");
        }
    }
}
