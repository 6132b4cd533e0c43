//! First stage: text to tokens.
//!
//! Tokens are handed out one at a time and borrow from the text, so that a list of a million ids
//! never exists as a million tokens. The lexer knows no keyword: `select` is a word like any other.

use std::borrow::Cow;
use std::fmt;

use super::error::{QueryError, Span, quote};

/// One token, without its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// A bare word, perhaps with a leading `$`: keyword, field, function or path step.
    Word(&'t str),
    /// `[[name]]`: a path step that is never a keyword, taken as it stands.
    Name(&'t str),
    /// A string with its escapes resolved.
    String(Cow<'t, str>),
    /// A number without sign; always finite.
    Number(f64),
    /// Punctuation or an operator.
    Symbol(Symbol),
    /// The end of the text.
    End,
}

/// Punctuation and operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
    Dot,
    Star,
    Plus,
    Minus,
    Slash,
    Percent,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Longest spelling first where one begins with another.
const SYMBOLS: [(&str, Symbol); 18] = [
    ("<=", Symbol::LessEqual),
    ("<>", Symbol::NotEqual),
    ("<", Symbol::Less),
    (">=", Symbol::GreaterEqual),
    (">", Symbol::Greater),
    ("!=", Symbol::NotEqual),
    ("=", Symbol::Equal),
    ("(", Symbol::Open),
    (")", Symbol::Close),
    ("[", Symbol::ListOpen),
    ("]", Symbol::ListClose),
    (",", Symbol::Comma),
    (".", Symbol::Dot),
    ("*", Symbol::Star),
    ("+", Symbol::Plus),
    ("-", Symbol::Minus),
    ("/", Symbol::Slash),
    ("%", Symbol::Percent),
];

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spelling = SYMBOLS.iter().find(|(_, symbol)| symbol == self);
        f.write_str(spelling.expect("every symbol is in the table").0)
    }
}

/// Cuts a text into tokens.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and its place; [`Token::End`] for ever after the last.
    pub(super) fn next_token(&mut self) -> Result<(Token<'t>, Span), QueryError> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let start = self.at;
        let token = self.scan()?;
        Ok((token, Span::new(start, self.at)))
    }

    fn scan(&mut self) -> Result<Token<'t>, QueryError> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if first == '\'' || first == '"' {
            return self.string(first);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if rest.starts_with("[[") {
            return self.name();
        }
        if first == '$' || starts_word(first) {
            let sigil = usize::from(first == '$');
            let length = sigil + word_length(&rest[sigil..]);
            if length == sigil {
                return Err(self.fault(1, "Expected a name after '$'"));
            }
            self.at += length;
            return Ok(Token::Word(&rest[..length]));
        }
        if let Some((spelling, symbol)) = SYMBOLS.iter().find(|(s, _)| rest.starts_with(s)) {
            self.at += spelling.len();
            return Ok(Token::Symbol(*symbol));
        }
        let shown = match first {
            ';' => "semicolon".to_owned(),
            other => format!("character {}", quote(other.encode_utf8(&mut [0; 4]))),
        };
        Err(self.fault(first.len_utf8(), format!("Unexpected {shown}")))
    }

    /// `[[name]]`; the name ends at the first `]]`.
    fn name(&mut self) -> Result<Token<'t>, QueryError> {
        let inner = &self.text[self.at + 2..];
        let Some(length) = inner.find("]]") else {
            return Err(self.fault(2, "'[[' without ']]'"));
        };
        if length == 0 {
            return Err(self.fault(4, "Expected a name between '[[' and ']]'"));
        }
        self.at += length + 4;
        Ok(Token::Name(&inner[..length]))
    }

    fn number(&mut self) -> Result<Token<'t>, QueryError> {
        let rest = &self.text[self.at..];
        let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
        let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        let length = match hex {
            Some(hex) => 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count(),
            None => {
                let mut length = digits(0);
                if rest[length..].starts_with('.') && digits(length + 1) > 0 {
                    length += 1 + digits(length + 1);
                }
                length + exponent_length(&rest[length..])
            }
        };
        let tail = word_length(&rest[length..]);
        let spelling = &rest[..length];
        let value = match hex {
            _ if tail > 0 => None,
            Some(_) if length == 2 => None,
            // Longer than 16 digits does not fit; doubles hold 2^52 exactly. compat: QUERY-22
            Some(_) => u64::from_str_radix(&spelling[2..], 16)
                .ok()
                .map(|n| n as f64),
            None => spelling.parse::<f64>().ok().filter(|n| n.is_finite()),
        };
        let Some(value) = value else {
            let whole = &rest[..length + tail];
            let message = format!("Malformed or too large number {}", quote(whole));
            return Err(self.fault(whole.len(), message));
        };
        self.at += length;
        Ok(Token::Number(value))
    }

    /// A string in `quote` marks. Borrows from the text unless it has escapes.
    fn string(&mut self, mark: char) -> Result<Token<'t>, QueryError> {
        let start = self.at + 1;
        let mut built: Option<String> = None;
        let mut from = start;
        loop {
            let rest = &self.text[from..];
            let Some(stop) = rest.find([mark, '\\']) else {
                return Err(self.fault(1, "String without an end"));
            };
            let piece = &rest[..stop];
            if rest[stop..].starts_with(mark) {
                self.at = from + stop + 1;
                return Ok(Token::String(match built {
                    None => Cow::Borrowed(piece),
                    Some(built) => Cow::Owned(built + piece),
                }));
            }
            let built = built.get_or_insert_default();
            built.push_str(piece);
            let (c, length) = self.escape(from + stop)?;
            built.push(c);
            from += stop + length;
        }
    }

    /// The escape whose `\` is at `at`: the character it stands for and its length in bytes.
    /// Beside the published `\' \" \\ \uXXXX` those of JSON are taken. compat: QUERY-8
    fn escape(&self, at: usize) -> Result<(char, usize), QueryError> {
        let rest = &self.text[at..];
        let c = match rest.chars().nth(1) {
            Some(c @ ('\'' | '"' | '\\' | '/')) => c,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => return self.unicode_escape(at),
            other => {
                let end = at + 1 + other.map_or(0, char::len_utf8);
                let message = format!("Unknown escape {}", quote(&self.text[at..end]));
                return Err(QueryError::new(self.text, Span::new(at, end), message));
            }
        };
        Ok((c, 2))
    }

    /// `\uXXXX`, or two of them for a character outside the basic plane.
    fn unicode_escape(&self, at: usize) -> Result<(char, usize), QueryError> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u16::from_str_radix(digits, 16).expect("four hex digits fit 16 bits"))
        };
        let units = [unit(at), unit(at + 6)];
        if let Some(first) = units[0] {
            let pair = units.into_iter().flatten();
            if let Some(Ok(c)) = char::decode_utf16(pair).next() {
                return Ok((
                    c,
                    if char::from_u32(first.into()).is_some() {
                        6
                    } else {
                        12
                    },
                ));
            }
        }
        let shown: String = self.text[at..].chars().take(6).collect();
        let span = Span::new(at, at + shown.len());
        Err(QueryError::new(
            self.text,
            span,
            format!("Malformed escape {}", quote(&shown)),
        ))
    }

    fn fault(&self, length: usize, message: impl Into<String>) -> QueryError {
        QueryError::new(self.text, Span::new(self.at, self.at + length), message)
    }
}

/// Whether `word` reads as one bare word, so that a printer need not quote it.
pub(super) fn is_word(word: &str) -> bool {
    let bare = word.strip_prefix('$').unwrap_or(word);
    let starts = bare
        .chars()
        .next()
        .is_some_and(|c| starts_word(c) || word.len() != bare.len());
    starts && word_length(bare) == bare.len()
}

fn starts_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// Bytes of `e+12` at the front of `text`, 0 when there is none.
fn exponent_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    match unsigned.bytes().take_while(u8::is_ascii_digit).count() {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}
