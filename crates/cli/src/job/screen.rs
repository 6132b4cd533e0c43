//! Draws lines over and over in one place of the terminal, through changes of its size.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stderr};

use unicode_width::UnicodeWidthStr as _;

/// A place at the bottom of the terminal on standard error.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// What is drawn now; the cursor is on the line below.
    drawn: Vec<String>,
    /// The size it was drawn for.
    size: Size,
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Screen {
    /// `None` where standard error is no terminal that can be drawn on.
    pub(crate) fn new() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        (stderr().is_terminal() && !is_dumb).then(Self::default)
    }

    /// The size now; terminals are resized at any time.
    #[allow(clippy::unused_self, reason = "only a terminal has a size")]
    pub(crate) fn size(&self) -> Size {
        let size = rustix::termios::tcgetwinsize(stderr()).ok();
        let known = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        known.map_or(
            Size {
                columns: 80,
                rows: 24,
            },
            |size| Size {
                columns: size.ws_col.into(),
                rows: size.ws_row.into(),
            },
        )
    }

    /// Replaces what is drawn by `lines`, none of which may be wider than the terminal. Lines beyond the height
    /// of the terminal are left out: what has scrolled away cannot be drawn over.
    pub(crate) fn draw(&mut self, mut lines: Vec<String>) {
        let size = self.size();
        lines.truncate(size.rows.saturating_sub(1).max(1));
        if lines != self.drawn || size != self.size {
            self.replace(lines, size);
        }
    }

    /// Replaces what is drawn by `lines` for good; what is drawn next comes below.
    pub(crate) fn leave(&mut self, lines: Vec<String>) {
        let size = self.size();
        self.replace(lines, size);
        self.drawn.clear();
    }

    fn replace(&mut self, lines: Vec<String>, size: Size) {
        let text = redrawing(&self.drawn, &lines, size, size != self.size);
        // A terminal that has gone away is no reason to stop watching.
        let _ = stderr().lock().write_all(text.as_bytes());
        self.drawn = lines;
        self.size = size;
    }
}

/// What to send so that `lines` stand where `drawn` did. One write, each line drawn over in place: nothing flickers.
fn redrawing(drawn: &[String], lines: &[String], size: Size, is_resized: bool) -> String {
    // A terminal that became narrower has folded what was drawn.
    let columns = size.columns.max(1);
    let folded: usize = drawn
        .iter()
        .map(|line| visible_width(line).div_ceil(columns).max(1))
        .sum();
    let up = folded.min(size.rows.saturating_sub(1));
    let mut out = String::new();
    if up > 0 {
        write!(out, "\x1b[{up}A").expect("a String takes all");
    }
    out.push('\r');
    if is_resized {
        // Terminals remember which rows they folded and join them when they become wider: only rows that were
        // cleared are forgotten, and without this the lines above would be drawn over then.
        out.push_str("\x1b[J");
    }
    for line in lines {
        out.push_str(line);
        // To the end of the line, then down; the terminal scrolls at its bottom.
        out.push_str("\x1b[K\r\n");
    }
    out.push_str("\x1b[J");
    out
}

/// Columns of a line, its colours not counted.
fn visible_width(line: &str) -> usize {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().map_or(0, |text| text.width());
    let rest = pieces.map(|piece| piece.split_once('m').map_or(0, |(_, text)| text.width()));
    first + rest.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 20,
        rows: 10,
    };

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn colours_have_no_width() {
        assert_eq!(visible_width("\x1b[1mlock\x1b[0m \x1b[32m東京\x1b[0m"), 9);
        assert_eq!(visible_width(""), 0);
    }

    #[test]
    fn lines_are_drawn_over_those_before() {
        let first = redrawing(&[], &lines(&["a"]), SIZE, false);
        assert_eq!(first, "\ra\x1b[K\r\n\x1b[J");
        let over = redrawing(&lines(&["a", "b"]), &lines(&["c"]), SIZE, false);
        assert_eq!(over, "\x1b[2A\rc\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn a_narrower_terminal_has_folded_what_was_drawn() {
        let drawn = lines(&["0123456789012345678901234", "short", ""]);
        assert!(redrawing(&drawn, &[], SIZE, true).starts_with("\x1b[4A\r\x1b[J"));
        let narrow = Size {
            columns: 10,
            ..SIZE
        };
        assert!(redrawing(&drawn, &[], narrow, true).starts_with("\x1b[5A\r"));
    }

    #[test]
    fn the_cursor_does_not_go_above_the_top() {
        let drawn = vec!["x".to_owned(); 40];
        assert!(redrawing(&drawn, &[], SIZE, false).starts_with("\x1b[9A\r"));
    }
}
