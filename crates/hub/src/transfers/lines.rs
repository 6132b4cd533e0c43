//! Cuts a blob that comes in pieces into lines, in memory for one line.
//!
//! A line ends with a line feed, perhaps after a carriage return, or with the blob. Blank lines are counted
//! and left out, as is a byte order mark.

use bytes::Bytes;

use crate::limits;

/// One line of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its text without its end.
    Text(Vec<u8>),
    /// It has more than [`limits::TRANSFER_LINE_BYTES_MAX`] bytes.
    TooLong,
}

/// The splitter: pieces go in, numbered lines come out.
#[derive(Default)]
pub(super) struct Lines {
    piece: Bytes,
    begun: Vec<u8>,
    is_too_long: bool,
    number: u64,
    is_ended: bool,
}

impl Lines {
    /// The next piece; the one before is used up.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece was left");
        self.piece = piece;
    }

    /// There is no more piece.
    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    /// The next whole line with its number, from 1; `None` when another piece is needed.
    pub(super) fn next(&mut self) -> Option<(u64, Line)> {
        loop {
            let end = self.piece.iter().position(|byte| *byte == b'\n');
            let part = self.piece.split_to(end.unwrap_or(self.piece.len()));
            self.keep(&part);
            if end.is_some() {
                let _feed = self.piece.split_to(1);
            } else if !(self.is_ended && (self.is_too_long || !self.begun.is_empty())) {
                return None;
            }
            let line = self.take();
            if let Some(line) = line {
                return Some((self.number, line));
            }
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > limits::TRANSFER_LINE_BYTES_MAX {
            self.is_too_long = true;
            self.begun = Vec::new();
        } else if !self.is_too_long {
            self.begun.extend_from_slice(part);
        }
    }

    /// The line begun, unless it is blank.
    fn take(&mut self) -> Option<Line> {
        self.number += 1;
        if std::mem::take(&mut self.is_too_long) {
            return Some(Line::TooLong);
        }
        let mut text = std::mem::take(&mut self.begun);
        if self.number == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let is_blank = text.iter().all(u8::is_ascii_whitespace);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        (!is_blank).then_some(Line::Text(text))
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(u64, Line)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(Bytes::copy_from_slice(piece));
            out.extend(std::iter::from_fn(|| lines.next()));
        }
        lines.end();
        out.extend(std::iter::from_fn(|| lines.next()));
        out
    }

    fn text(number: u64, line: &str) -> (u64, Line) {
        (number, Line::Text(line.into()))
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[b"\n\n"]), []);
        assert_eq!(cut(&[b"a\r\n\n  \nb"]), [text(1, "a"), text(4, "b")]);
        assert_eq!(
            cut(&["\u{feff}a\n\u{feff}b".as_bytes()]),
            [text(1, "a"), text(2, "\u{feff}b")]
        );
    }

    #[test]
    fn a_line_too_long_takes_no_memory_and_harms_no_other() {
        let long = vec![b'x'; limits::TRANSFER_LINE_BYTES_MAX];
        let fits = (2, Line::Text(long.clone()));
        assert_eq!(
            cut(&[b"a\n", &long, b"\nb"]),
            [text(1, "a"), fits, text(3, "b")]
        );
        let too_long = (2, Line::TooLong);
        assert_eq!(
            cut(&[b"a\n", &long, b"y", &long, b"\nb"]),
            [text(1, "a"), too_long.clone(), text(3, "b")]
        );
        assert_eq!(cut(&[b"a\n", &long, b"y"]), [text(1, "a"), too_long]);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            text in "[ab\r\n ]{0,60}",
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            prop_assert_eq!(cut(&pieces), cut(&[bytes]));
        }
    }
}
