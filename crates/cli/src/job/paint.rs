//! Lines of coloured text that know how wide they are.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Warning,
    Busy,
}

/// Whether colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Colour,
    Plain,
}

impl Paint {
    pub(crate) fn when(wanted: bool) -> Self {
        if wanted { Paint::Colour } else { Paint::Plain }
    }
}

/// One line, in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pieces: Vec<(String, Ink)>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A line below a heading.
    pub(crate) fn indented() -> Self {
        Self {
            pieces: vec![("  ".to_owned(), Ink::Plain)],
        }
    }

    pub(crate) fn push(&mut self, text: impl Into<String>, ink: Ink) {
        // What devices and hubs say must not move the cursor.
        let text: String = text
            .into()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.pieces.push((text, ink));
    }

    /// Whether nothing is on it but space.
    pub(crate) fn is_blank(&self) -> bool {
        self.pieces.iter().all(|(text, _)| text.trim().is_empty())
    }

    pub(crate) fn width(&self) -> usize {
        self.pieces.iter().map(|(text, _)| text.width()).sum()
    }

    /// Fills up with spaces to `width`.
    pub(crate) fn pad(&mut self, width: usize) {
        let missing = width.saturating_sub(self.width());
        self.pieces.push((" ".repeat(missing), Ink::Plain));
    }

    /// Keeps at most `width` columns; what is cut ends with `…`.
    pub(crate) fn cut(&mut self, width: usize) {
        if self.width() <= width {
            return;
        }
        let mut room = width.saturating_sub(1);
        let mut kept = Vec::new();
        for (text, ink) in self.pieces.drain(..) {
            let mut piece = String::new();
            for c in text.chars() {
                let Some(left) = room.checked_sub(c.width().unwrap_or(0)) else {
                    room = 0;
                    break;
                };
                room = left;
                piece.push(c);
            }
            let is_whole = piece.len() == text.len();
            kept.push((piece, ink));
            if !is_whole {
                break;
            }
        }
        if width > 0 {
            kept.push(("…".to_owned(), Ink::Faint));
        }
        self.pieces = kept;
    }

    /// The text of the line, cut to `width`.
    pub(crate) fn into_text(mut self, width: usize, paint: Paint) -> String {
        self.cut(width);
        let mut out = String::new();
        for (text, ink) in &self.pieces {
            match (paint, code(*ink)) {
                (Paint::Colour, Some(code)) if !text.trim().is_empty() => {
                    out.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
                }
                _ => out.push_str(text),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

fn code(ink: Ink) -> Option<&'static str> {
    match ink {
        Ink::Plain => None,
        Ink::Strong => Some("1"),
        Ink::Faint => Some("2"),
        Ink::Good => Some("32"),
        Ink::Bad => Some("31"),
        Ink::Warning => Some("33"),
        Ink::Busy => Some("36"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::new();
        line.push("lock-43", Ink::Strong);
        line.push(" ", Ink::Plain);
        line.push("überall 東京", Ink::Good);
        line
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(line().width(), 8 + 8 + 4);
        assert_eq!(line().into_text(80, Paint::Plain), "lock-43 überall 東京");
        assert_eq!(
            line().into_text(80, Paint::Colour),
            "\x1b[1mlock-43\x1b[0m \x1b[32müberall 東京\x1b[0m"
        );
    }

    #[test]
    fn a_cut_line_fits_whatever_the_width() {
        for width in 0..25 {
            let mut cut = line();
            cut.cut(width);
            assert!(cut.width() <= width, "{width}: {cut:?}");
        }
        assert_eq!(line().into_text(19, Paint::Plain), "lock-43 überall 東…");
        assert_eq!(line().into_text(5, Paint::Plain), "lock…");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut line = Line::new();
        line.push("a\x1b[2Jb\nc", Ink::Plain);
        assert_eq!(line.into_text(80, Paint::Plain), "a [2Jb c");
    }
}
