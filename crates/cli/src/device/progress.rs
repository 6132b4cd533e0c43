//! How far an import or export is, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::job::figures::{count, percent, rate, span};
use crate::job::pace::Pace;

/// Between two lines where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
pub(super) struct Progress {
    verb: &'static str,
    bar: Option<ProgressBar>,
    /// What `Step::part` is a part of, when it is known.
    whole: Option<u64>,
    began: Instant,
    /// Of lines, which people count in.
    lines: Pace,
    /// Of parts, which the end can be told from.
    parts: Pace,
    said: Duration,
}

/// How far something is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    /// Lines done.
    pub(super) lines: u64,
    /// Of the whole: bytes of an import, devices of an export.
    pub(super) part: u64,
    /// Lines that failed.
    pub(super) failed: u64,
}

impl Progress {
    /// Begins at `from`, which is what an earlier run has done.
    pub(super) fn new(verb: &'static str, whole: Option<u64>, from: Step) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let template = match whole {
                Some(_) => "{prefix} {bar:30} {percent:>3}% {wide_msg}",
                None => "{prefix} {spinner} {wide_msg}",
            };
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            let bar = ProgressBar::new(whole.unwrap_or_default()).with_style(style);
            bar.set_prefix(verb);
            bar
        });
        let mut progress = Self {
            verb,
            bar,
            whole,
            began: Instant::now(),
            lines: Pace::default(),
            parts: Pace::default(),
            said: Duration::ZERO,
        };
        progress.show(from);
        progress
    }

    /// Shows how far it is now.
    #[allow(clippy::print_stderr, reason = "progress goes to standard error")]
    pub(super) fn show(&mut self, step: Step) {
        let at = self.began.elapsed();
        self.lines.observe(at, step.lines);
        self.parts.observe(at, step.part);
        let per_second = self.lines.per_second(at);
        let left = self
            .whole
            .and_then(|whole| self.parts.time_for(whole.saturating_sub(step.part), at));
        match &self.bar {
            Some(bar) => {
                bar.set_position(step.part);
                bar.set_message(words(step, None, per_second, left));
            }
            None if at.saturating_sub(self.said) >= LINES_EVERY => {
                self.said = at;
                let done = self.whole.map(|whole| percent(step.part, whole));
                eprintln!("{}: {}", self.verb, words(step, done, per_second, left));
            }
            None => {}
        }
    }

    /// Prints a line beside the bar.
    #[allow(clippy::print_stderr, reason = "remarks go to standard error")]
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// How long it has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn words(step: Step, done: Option<u64>, per_second: Option<f64>, left: Option<Duration>) -> String {
    let mut text = format!("{} lines", count(step.lines));
    if let Some(done) = done {
        text.push_str(&format!(" ({done}%)"));
    }
    if step.failed > 0 {
        text.push_str(&format!(", {} failed", count(step.failed)));
    }
    if let Some(per_second) = per_second {
        text.push_str(&format!(", {}", rate(per_second)));
    }
    if let Some(left) = left.filter(|left| !left.is_zero()) {
        text.push_str(&format!(", {} left", span(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_still() {
        let step = Step {
            lines: 120_000,
            part: 0,
            failed: 0,
        };
        assert_eq!(words(step, None, None, None), "120,000 lines");
        let step = Step { failed: 3, ..step };
        let left = Some(Duration::from_secs(125));
        assert_eq!(
            words(step, Some(34), Some(5_400.0), left),
            "120,000 lines (34%), 3 failed, 5,400/s, 2m 05s left"
        );
    }
}
