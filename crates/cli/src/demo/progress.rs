//! Shows how far two jobs are: moving bars on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal as _, stderr};

use fanfare_client::{DeviceJobStatistics, Job};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Live progress of some jobs, on standard error.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
}

/// Progress of one job.
pub(super) struct JobProgress {
    name: &'static str,
    bar: Option<ProgressBar>,
    shown: Option<Job>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            bars: stderr().is_terminal().then(MultiProgress::new),
        }
    }

    /// A line for one more job.
    pub(super) fn job(&self, name: &'static str) -> JobProgress {
        let bar = self.bars.as_ref().map(|bars| {
            let style =
                ProgressStyle::with_template("  {prefix:<12} {bar:30} {pos:>3}/{len:<3} {msg}")
                    .expect("the template is valid");
            let bar = bars.add(ProgressBar::new(0).with_style(style));
            bar.set_prefix(name);
            bar
        });
        JobProgress {
            name,
            bar,
            shown: None,
        }
    }
}

impl JobProgress {
    /// Shows the job as it is now.
    #[allow(clippy::print_stderr, reason = "progress goes to standard error")]
    pub(super) fn show(&mut self, job: &Job) {
        if self.shown.as_ref() == Some(job) {
            return;
        }
        let counts = job.statistics.unwrap_or_default();
        match &self.bar {
            Some(bar) => {
                bar.set_length(counts.device_count);
                bar.set_position(job.ended_count());
                bar.set_message(format!("{}: {}", job.status, words(&counts)));
                if job.status.is_terminal() {
                    bar.abandon();
                }
            }
            None => eprintln!("  {}: {}, {}", self.name, job.status, words(&counts)),
        }
        self.shown = Some(job.clone());
    }
}

/// "47 succeeded, 1 failed, 2 pending".
fn words(counts: &DeviceJobStatistics) -> String {
    let parts = [
        (counts.succeeded_count, "succeeded"),
        (counts.failed_count, "failed"),
        (counts.canceled_count, "canceled"),
        (counts.running_count, "running"),
        (counts.pending_count, "pending"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if said.is_empty() {
        "no devices yet".to_owned()
    } else {
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_zero_are_not_said() {
        let counts = DeviceJobStatistics {
            succeeded_count: 4,
            pending_count: 1,
            ..Default::default()
        };
        assert_eq!(words(&counts), "4 succeeded, 1 pending");
        assert_eq!(words(&DeviceJobStatistics::default()), "no devices yet");
    }
}
