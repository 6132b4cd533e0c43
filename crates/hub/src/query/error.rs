//! Decides how a fault in a query text is reported: what is wrong and exactly where.
//!
//! The text of an error travels to clients behind the `;` of an error body, and SDKs cut at `;`,
//! so no error text ever holds one. compat: QUERY-3

use std::ops::Range;

/// A half-open range of bytes of the query text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range of bytes `start..end`. Texts are bounded far below 4 GiB before a span is made.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).expect("query texts are bounded below 4 GiB");
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The smallest span that holds both.
    pub(super) fn to(self, end: Span) -> Self {
        Self {
            start: self.start,
            end: end.end,
        }
    }
}

/// Why a query or a condition was refused: bad syntax, an unknown name, a form that is not
/// supported or a text over a limit. All mean the same to a caller: the text has to change.
/// compat: QUERY-5
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SQL query parse failed: Line {line}:{column} {message}")]
pub struct QueryError {
    /// One sentence without a full stop and without `;`.
    pub message: String,
    /// Line of the fault, from 1.
    pub line: u32,
    /// Column of the fault in characters (Unicode scalar values), from 1.
    pub column: u32,
    span: Span,
}

impl QueryError {
    /// An error about `span` of `text`.
    pub(super) fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let before = &text[..text.len().min(span.start as usize)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            message: message.into().replace(';', ","),
            line: count(before.bytes().filter(|&byte| byte == b'\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
            span,
        }
    }

    /// The bytes of the query text the error is about, for drawing a caret below them. Empty at the
    /// end of the text.
    pub fn span(&self) -> Range<usize> {
        self.span.start as usize..self.span.end as usize
    }
}

/// `text` in single quotes for use in a message: at most 40 characters, control characters escaped.
pub(super) fn quote(text: &str) -> String {
    const QUOTED_CHARS_MAX: usize = 40;
    let mut quoted = String::from("'");
    for (n, c) in text.chars().enumerate() {
        if n == QUOTED_CHARS_MAX {
            quoted.push_str("...");
            break;
        }
        match c {
            c if c.is_control() => quoted.extend(c.escape_debug()),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}
