//! How a failure is told: what went wrong, the place in the text that is wrong, what was sent, what the hub said,
//! and what to try. Printed to standard error, once, by `main`.
//!
//! What to try is in `advice.rs`; nothing here knows a verb.

mod advice;

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use fanfare_client::{Error, Refusal, RequestLine};

use crate::failure::{About, Failure, Story};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();
const LABEL: Style = Style::new().bold();
const HELP: Style = AnsiColor::Green.on_default().bold();

/// Columns of a text that are shown around a caret: conditions may be a million ids long.
const SHOWN_COLUMNS: usize = 76;

/// Prints a failure to standard error.
#[allow(
    clippy::print_stderr,
    reason = "the one place where failures are printed"
)]
pub(crate) fn print(failure: &Failure) {
    let mut out = anstream::stderr();
    // There is nobody left to tell when this fails.
    let _ = out.write_all(told(failure).as_bytes());
}

/// A line for a person, on standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The text without colours.
#[must_use]
pub fn plain(failure: &Failure) -> String {
    anstream::adapter::strip_str(&told(failure)).to_string()
}

/// The whole text, with colours; empty when there is nothing to say.
fn told(failure: &Failure) -> String {
    let story = failure.story();
    if story.title.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    let refusal = story.client.as_ref().and_then(Error::refusal);
    let place = story.about.as_ref().and_then(|about| place(about, refusal));
    let title = title(story, refusal, place.is_some());
    let _ = writeln!(text, "{ERROR}error{ERROR:#}{LABEL}: {title}{LABEL:#}");
    if let (Some(about), Some((line, column))) = (&story.about, place) {
        snippet(&mut text, about, line, column);
    }
    for cause in causes(story) {
        entry(&mut text, FRAME, "because", &cause);
    }
    if let Some(request) = story.client.as_ref().and_then(sent) {
        entry(&mut text, FRAME, "sent", &request.to_string());
    }
    if let Some(refusal) = refusal {
        entry(&mut text, FRAME, "answer", &answer(refusal));
    }
    if story.client.as_ref().is_some_and(Error::may_have_been_done) {
        entry(
            &mut text,
            FRAME,
            "note",
            "the hub may have done it all the same",
        );
    }
    for what in advice::tries(story).iter().chain(&story.tries) {
        entry(&mut text, HELP, "try", what);
    }
    text
}

/// The request that left; one that found no connection did not.
fn sent(error: &Error) -> Option<&RequestLine> {
    match error {
        Error::Unreachable { .. } => None,
        error => error.request(),
    }
}

/// One labelled entry; the labels are of one width.
fn entry(text: &mut String, style: Style, label: &str, what: &str) {
    let label = format!("{label}:");
    let indented = what.replace('\n', "\n           ");
    let _ = writeln!(text, "  {style}{label:<8}{style:#} {indented}");
}

/// The first line: what was being done or what the hub said, without what is shown below it.
fn title(story: &Story, refusal: Option<&Refusal>, is_drawn: bool) -> String {
    let Some(refusal) = refusal else {
        return story.title.clone();
    };
    if !story.is_retitled && is_drawn {
        let about = story.about.as_ref();
        let what = about.map_or("text", |about| &about.what);
        let words = about
            .and_then(|about| about.words.as_deref())
            .or_else(|| hub_place(&refusal.message).map(|place| place.words))
            .unwrap_or(&refusal.message);
        return format!("the {what} is not valid: {words}");
    }
    if !story.is_retitled {
        return said(refusal).to_owned();
    }
    format!("{}: {}", story.title, said(refusal))
}

/// The hub's words, where they say something.
fn said(refusal: &Refusal) -> &str {
    if refusal.status == 401 {
        return "the hub does not accept the credential for this";
    }
    match refusal.message.as_str() {
        "" => refusal.code.as_deref().unwrap_or("the hub refused"),
        message => message,
    }
}

/// Status, name, number and tracking id: what to quote to whoever runs the hub.
fn answer(refusal: &Refusal) -> String {
    let mut text = refusal.status.to_string();
    if let Some(code) = &refusal.code {
        let _ = write!(text, " {code}");
    }
    if let Some(number) = refusal.number {
        let _ = write!(text, " ({number})");
    }
    if let Some(id) = &refusal.tracking_id {
        let _ = write!(text, ", tracking id {id}");
    }
    text
}

/// Causes that were given, or those below the client's error.
fn causes(story: &Story) -> Vec<String> {
    let mut causes = story.causes.clone();
    let mut below = match &story.client {
        Some(error @ (Error::Setup(_) | Error::Refused(_))) => error.source(),
        Some(error) if story.is_retitled => Some(error as &dyn std::error::Error),
        Some(error) => error.source(),
        None => None,
    };
    while let Some(cause) = below {
        let text = cause.to_string();
        // Libraries repeat the cause in their own words.
        if !causes.iter().any(|told| told.contains(&text)) {
            causes.push(text);
        }
        below = cause.source();
    }
    causes
}

/// Where the hub says a text is wrong, and its words about it.
pub(crate) struct HubPlace<'a> {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) words: &'a str,
}

/// Reads `... Line L:C words` (compat: QUERY-3).
pub(crate) fn hub_place(message: &str) -> Option<HubPlace<'_>> {
    let (_, rest) = message.split_once("Line ")?;
    let (line, rest) = rest.split_once(':')?;
    let (column, words) = rest.split_once(' ')?;
    Some(HubPlace {
        line: line.parse().ok()?,
        column: column.trim_end_matches([',', ':']).parse().ok()?,
        words: words.trim_end(),
    })
}

fn place(about: &About, refusal: Option<&Refusal>) -> Option<(usize, usize)> {
    about.place.or_else(|| {
        let place = hub_place(&refusal?.message)?;
        Some((place.line, place.column))
    })
}

/// Draws the line at fault with a caret below the place.
fn snippet(text: &mut String, about: &About, line: usize, column: usize) {
    let shown = about
        .text
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let at = column.saturating_sub(1).min(shown.chars().count());
    let (before, part, at) = window(shown, at);
    let number = line.to_string();
    let pad = " ".repeat(number.len());
    let frame = |text: &mut String, gutter: &str, what: &str| {
        let _ = writeln!(text, " {FRAME}{gutter} |{FRAME:#} {what}");
    };
    let _ = writeln!(
        text,
        " {pad}{FRAME}-->{FRAME:#} {}, line {line}, column {column}",
        about.what
    );
    frame(text, &pad, "");
    frame(text, &number, &format!("{before}{part}"));
    let indent: String = " ".repeat(before.chars().count() + at);
    frame(text, &pad, &format!("{indent}{ERROR}^{ERROR:#}"));
    // A gutter with nothing in it ends in a space.
    *text = text
        .replace("| \n", "|\n")
        .replace(&format!("|{FRAME:#} \n"), &format!("|{FRAME:#}\n"));
}

/// The part of a long line around character `at`: what stands before it, the part, and the place in it.
fn window(line: &str, at: usize) -> (&'static str, String, usize) {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let count = line.chars().count();
    let start = if count <= SHOWN_COLUMNS {
        0
    } else {
        at.saturating_sub(SHOWN_COLUMNS / 2)
    };
    let mut part: String = line
        .chars()
        .skip(start)
        .take(SHOWN_COLUMNS)
        .map(printable)
        .collect();
    if count > start + SHOWN_COLUMNS {
        part.push_str(" ...");
    }
    let before = if start > 0 { "... " } else { "" };
    (before, part, at - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_stands_below_the_place() {
        let failure = Failure::usage("it is wrong").at("condition", "tags.a == 1", 1, 9);
        let expected = "error: it is wrong\n  --> condition, line 1, column 9\n   |\n 1 | tags.a == 1\n   |         ^\n";
        assert_eq!(plain(&failure), expected);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let told = plain(&Failure::usage("it is wrong").at("condition", text, 1, 501));
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[3].len() < 100, "{told}");
        let caret = lines[4].find('^').unwrap();
        assert_eq!(&lines[3][caret..=caret], "!", "{told}");
    }

    #[test]
    fn a_place_past_the_end_is_the_end() {
        let told = plain(&Failure::usage("it is wrong").at("query", "SELECT", 1, 99));
        assert!(told.contains("   |       ^\n"), "{told}");
        let told = plain(&Failure::usage("it is wrong").at("query", "", 3, 1));
        assert!(told.contains(" 3 |\n"), "{told}");
    }

    #[test]
    fn the_hubs_place_is_read_out_of_its_words() {
        let place = hub_place("queryCondition: SQL query parse failed: Line 2:14 unknown name 'x'")
            .unwrap();
        assert_eq!(
            (place.line, place.column, place.words),
            (2, 14, "unknown name 'x'")
        );
        assert!(hub_place("Line up: please").is_none());
        assert!(hub_place("device d-1 is not registered").is_none());
    }

    #[test]
    fn causes_and_advice_follow_the_title() {
        let failure = Failure::not_done("it failed")
            .because("this")
            .because("that")
            .try_this("again");
        assert_eq!(
            plain(&failure),
            "error: it failed\n  because: this\n  because: that\n  try:     again\n"
        );
        assert_eq!(plain(&Failure::silent(crate::failure::Exit::Done)), "");
    }
}
