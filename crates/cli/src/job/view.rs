//! What a watched job looks like in a terminal of some width.
//!
//! Pure: a [`Standing`], a time and a width in, lines out, none wider than the terminal. Who draws them, and
//! when, is in [`super::screen`]; where the standing comes from is in [`super::follow`].

use std::time::Duration;

use fanfare_client::{DeviceJobStatistics, JobStatus};
use unicode_width::UnicodeWidthStr as _;

use super::figures::{count, counted, percent, rate, span, took};
use super::follow::{Link, Standing};
use super::paint::{Ink, Line, Paint};

/// Narrower than this there is room for one line alone.
const WIDTH_FOR_ALL: usize = 36;
/// From here on the words of the counts are written out.
const WIDTH_FOR_WORDS: usize = 72;
/// The bar grows no longer than this; beyond, it is no easier to read.
const BAR_MAX: usize = 100;
/// Nothing that is not over is told to take less than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// Reasons that are listed; the others are counted together.
const REASONS_SHOWN: usize = 6;

/// The lines for a job that is being watched, at `now` (since the watch began) in a terminal `width` columns wide.
pub(crate) fn frame(at: &Standing, now: Duration, width: usize, paint: Paint) -> Vec<String> {
    let width = width.max(10);
    if width < WIDTH_FOR_ALL {
        return vec![narrow(at, width).into_text(width, paint)];
    }
    let mut lines = vec![head(at, width)];
    if at.counts.is_some() {
        lines.push(bar(at, width));
        lines.push(counts(&at.counts(), width));
    }
    lines.extend(timing(at, now, width));
    lines.extend(reasons(at, width));
    lines.extend(at.message.as_ref().map(|text| {
        let mut line = Line::indented();
        line.push(text.clone(), Ink::Warning);
        line
    }));
    lines.extend(link(&at.link, now));
    lines
        .into_iter()
        .map(|line| line.into_text(width, paint))
        .collect()
}

/// What stays on the screen of a job that has ended.
pub(crate) fn ended(at: &Standing, width: usize, paint: Paint) -> Vec<String> {
    let width = width.max(10);
    let counts = at.counts();
    let mut first = Line::new();
    first.push(at.name.clone(), Ink::Strong);
    first.push(" ", Ink::Plain);
    first.push(at.status.to_string(), status_ink(&at.status));
    if let Some(ran) = at.ran() {
        first.push(format!(" in {}", took(ran)), Ink::Plain);
    }
    if at.counts.is_some() {
        first.push(format!(": {}", outcome_words(&counts)), Ink::Plain);
    }
    let mut lines = vec![first];
    if let Some(reason) = &at.failure {
        let mut line = Line::indented();
        line.push(reason.clone(), Ink::Bad);
        lines.push(line);
    }
    lines.extend(reasons(at, width));
    lines
        .into_iter()
        .map(|line| line.into_text(width, paint))
        .collect()
}

/// One line for a log: everything that matters, as plain text, in a fixed order.
pub(crate) fn plain(at: &Standing) -> String {
    let mut text = format!("{}: {}", at.name, at.status);
    if at.link.is_lost() {
        text.push_str(", hub not reachable, trying again");
        return text;
    }
    match &at.counts {
        Some(counts) if counts.device_count == 0 => text.push_str(", no device matches"),
        Some(counts) => {
            let all = counts.device_count;
            let done = percent(at.ended_count(), all);
            text.push_str(&format!(
                ", {done}% of {}: {}",
                counted(all, "device"),
                all_words(counts)
            ));
        }
        None => {}
    }
    if at.status == JobStatus::Scheduled
        && let Some(start) = &at.start_text
    {
        text.push_str(&format!(", starts at {start}"));
    }
    if let Some(message) = &at.message {
        text.push_str(&format!(" ({message})"));
    }
    text
}

/// "49 succeeded, 1 failed", for the end of a job; says so when nothing was there to do.
pub(crate) fn outcome_words(counts: &DeviceJobStatistics) -> String {
    if counts.device_count == 0 {
        return "no device matched".to_owned();
    }
    all_words(counts)
}

/// Every count that is above 0: "4 succeeded, 1 pending".
fn all_words(counts: &DeviceJobStatistics) -> String {
    let said: Vec<String> = parts(counts)
        .into_iter()
        .filter(|part| part.number > 0)
        .map(|part| format!("{} {}", count(part.number), part.word))
        .collect();
    if said.is_empty() {
        "nothing yet".to_owned()
    } else {
        said.join(", ")
    }
}

/// A count with its word, colour and piece of bar.
struct Part {
    number: u64,
    word: &'static str,
    short: &'static str,
    ink: Ink,
    /// Tells the pieces apart without colour too.
    glyph: char,
}

/// The counts in the order in which they are shown, which is that of the bar.
fn parts(counts: &DeviceJobStatistics) -> [Part; 5] {
    let part = |number, word, short, ink, glyph| Part {
        number,
        word,
        short,
        ink,
        glyph,
    };
    [
        part(counts.succeeded_count, "succeeded", "ok", Ink::Good, '█'),
        part(counts.failed_count, "failed", "failed", Ink::Bad, '▓'),
        part(
            counts.canceled_count,
            "canceled",
            "canceled",
            Ink::Warning,
            '▚',
        ),
        part(counts.running_count, "running", "running", Ink::Busy, '▒'),
        part(counts.pending_count, "pending", "pending", Ink::Faint, '░'),
    ]
}

/// Name, what it does, and at the right edge where it stands.
fn head(at: &Standing, width: usize) -> Line {
    let status = at.status.to_string();
    let room = width.saturating_sub(status.len() + 2);
    let mut left = Line::new();
    left.push(at.name.clone(), Ink::Strong);
    if !at.what.is_empty() {
        left.push("  ", Ink::Plain);
        left.push(at.what.clone(), Ink::Faint);
    }
    left.cut(room);
    left.pad(room + 2);
    left.push(status, status_ink(&at.status));
    left
}

/// The whole target set as one bar, a piece for each count, with the percentage behind it.
fn bar(at: &Standing, width: usize) -> Line {
    let counts = at.counts();
    let (all, done) = (counts.device_count, at.ended_count());
    let tail = if all == 0 {
        "no device matches".to_owned()
    } else {
        format!(
            "{:>3}%  {} of {}",
            percent(done, all),
            count(done),
            count(all)
        )
    };
    let room = width.saturating_sub(tail.width() + 4).clamp(8, BAR_MAX);
    let mut line = Line::indented();
    let numbers = parts(&counts).map(|part| part.number);
    for (part, cells) in parts(&counts).iter().zip(shares(numbers, room)) {
        line.push(part.glyph.to_string().repeat(cells), part.ink);
    }
    line.push("  ", Ink::Plain);
    line.push(tail, Ink::Strong);
    line
}

/// Cells of a bar for each number: in proportion, at least one for whatever is there, all cells used.
fn shares<const N: usize>(numbers: [u64; N], cells: usize) -> [usize; N] {
    let mut shares = [0; N];
    let all: u128 = numbers.iter().map(|number| u128::from(*number)).sum();
    if all == 0 {
        return shares;
    }
    for (share, number) in shares.iter_mut().zip(numbers) {
        let exact = u128::from(number) * cells as u128 / all;
        *share = usize::try_from(exact)
            .unwrap_or(cells)
            .max(usize::from(number > 0));
    }
    // Rounding leaves cells over, or the small ones took some: the largest share bears both.
    let used: usize = shares.iter().sum();
    let largest = (0..N).max_by_key(|at| shares[*at]).unwrap_or(0);
    shares[largest] = (shares[largest] + cells).saturating_sub(used);
    shares
}

/// The counts beside each other. Those of 0 are faint, so that the eye finds the others.
fn counts(counts: &DeviceJobStatistics, width: usize) -> Line {
    let mut line = Line::indented();
    let words = width >= WIDTH_FOR_WORDS;
    for part in parts(counts) {
        // Most jobs are never cancelled, and a narrow terminal has no room for zeros.
        if part.number == 0 && (part.word == "canceled" || !words) {
            continue;
        }
        if !line.is_blank() {
            line.push(if words { "   " } else { "  " }, Ink::Plain);
        }
        let ink = if part.number == 0 {
            Ink::Faint
        } else {
            part.ink
        };
        let word = if words { part.word } else { part.short };
        line.push(format!("{} {word}", count(part.number)), ink);
    }
    line
}

/// With no call under way for so long, a job waits for devices.
const WAITING_AFTER: Duration = Duration::from_secs(2);

/// How fast, how long still, and how long the window is open; or when the job starts.
fn timing(at: &Standing, now: Duration, width: usize) -> Option<Line> {
    let mut said = Vec::new();
    if let Some(wait) = at.starts_in(now) {
        said.push(format!("starts in {}", span(wait)));
        if width >= WIDTH_FOR_WORDS
            && let Some(start) = &at.start_text
        {
            said.push(format!("at {start}"));
        }
    } else if at.status == JobStatus::Running {
        let left = at.left_count();
        let closes = at.closes_in(now);
        // Nothing is called: what is left is not online, and the pace so far says nothing about it.
        let is_waiting = at.counts().running_count == 0 && at.pace.idle(now) >= WAITING_AFTER;
        let pace = (!is_waiting).then_some(&at.pace);
        if let Some(per_second) = pace.and_then(|pace| pace.per_second(now)) {
            said.push(rate(per_second));
        }
        match (pace.and_then(|pace| pace.time_for(left, now)), closes) {
            (Some(needs), Some(closes)) if needs > closes => {
                said.push("will not be done in time at this rate".to_owned());
            }
            (Some(needs), _) if left > 0 => {
                said.push(format!("about {} left", span(needs.max(SHORTEST))));
            }
            (None, _) if left > 0 && at.ended_count() > 0 => {
                said.push(format!("waiting for {}", counted(left, "device")));
            }
            _ => {}
        }
        said.extend(closes.map(|closes| format!("window closes in {}", span(closes))));
    }
    if said.is_empty() {
        return None;
    }
    let mut line = Line::indented();
    line.push(
        said.join(if width >= WIDTH_FOR_WORDS {
            "   "
        } else {
            ", "
        }),
        Ink::Plain,
    );
    Some(line)
}

/// Failures by reason, the most frequent first.
fn reasons(at: &Standing, width: usize) -> Vec<Line> {
    let Some(reasons) = at.reasons.as_ref().filter(|reasons| !reasons.is_empty()) else {
        return Vec::new();
    };
    let shown = &reasons.groups[..reasons.groups.len().min(REASONS_SHOWN)];
    let number_width = shown
        .iter()
        .map(|reason| count(reason.count).len())
        .max()
        .unwrap_or(0);
    let code_width = shown
        .iter()
        .map(|reason| reason.code.width())
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    for reason in shown {
        let mut line = Line::indented();
        line.push(format!("{:>number_width$}", count(reason.count)), Ink::Bad);
        line.push("  ", Ink::Plain);
        line.push(reason.code.clone(), Ink::Plain);
        let meaning = reason.meaning();
        let taken = 2 + number_width + 2 + code_width + 2;
        // Half a sentence explains nothing.
        if let Some(meaning) = meaning.filter(|text| taken + text.width() <= width) {
            line.pad(taken);
            line.push(meaning, Ink::Faint);
        }
        lines.push(line);
    }
    let rest: u64 = reasons.groups[shown.len()..]
        .iter()
        .map(|reason| reason.count)
        .sum();
    if rest > 0 {
        let mut line = Line::indented();
        let others = reasons.groups.len() - shown.len();
        line.push(
            format!("{} for {others} other reasons", count(rest)),
            Ink::Faint,
        );
        lines.push(line);
    }
    if let Some(looked_at) = reasons.of_first {
        let mut line = Line::indented();
        line.push(
            format!("(of the first {} failures)", count(looked_at)),
            Ink::Faint,
        );
        lines.push(line);
    }
    lines
}

fn link(link: &Link, now: Duration) -> Option<Line> {
    let Link::Lost {
        since,
        gives_up_at,
        why,
    } = link
    else {
        return None;
    };
    let mut line = Line::indented();
    line.push("hub not reachable, trying again", Ink::Bad);
    let gone = now.saturating_sub(*since);
    line.push(format!(" (for {}", span(gone)), Ink::Faint);
    if let Some(at) = gives_up_at {
        line.push(
            format!(", giving up in {}", span(at.saturating_sub(now))),
            Ink::Faint,
        );
    }
    line.push(format!("): {why}"), Ink::Faint);
    Some(line)
}

/// All there is room for in a very narrow terminal.
fn narrow(at: &Standing, width: usize) -> Line {
    let mut line = Line::new();
    if at.link.is_lost() {
        line.push("hub not reachable", Ink::Bad);
        return line;
    }
    match &at.counts {
        Some(counts) => {
            line.push(
                format!("{}% ", percent(at.ended_count(), counts.device_count)),
                Ink::Strong,
            );
            if counts.failed_count > 0 {
                line.push(format!("{} failed ", count(counts.failed_count)), Ink::Bad);
            }
        }
        None => line.push(format!("{} ", at.status), status_ink(&at.status)),
    }
    line.push(at.name.clone(), Ink::Faint);
    line.cut(width);
    line
}

fn status_ink(status: &JobStatus) -> Ink {
    match status {
        JobStatus::Completed => Ink::Good,
        JobStatus::Failed => Ink::Bad,
        JobStatus::Cancelled => Ink::Warning,
        JobStatus::Running => Ink::Busy,
        _ => Ink::Plain,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
