//! As much of Rust's syntax as the rules need: what is code, what is test code, which paths it names.
//!
//! A scanner, not a parser: comments and literals are blanked, the rest is read as words and brackets.

/// `text` with comments, strings and characters replaced by spaces, byte for byte, lines kept.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            code.push(bytes[at]);
            at += 1;
        } else {
            code.extend(
                bytes[at..end]
                    .iter()
                    .map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => {
            at + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len())
        }
        [b'/', b'*', ..] => block_comment_end(bytes, at),
        [b'"', ..] => string_end(bytes, at + 1),
        [b'b' | b'c', b'"', ..] if !after_word => string_end(bytes, at + 2),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, at + 1).unwrap_or(at),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => {
            raw_string_end(bytes, at + 2).unwrap_or(at)
        }
        [b'\'', ..] => char_end(bytes, at).unwrap_or(at),
        [b'b', b'\'', ..] if !after_word => char_end(bytes, at + 1).unwrap_or(at),
        _ => at,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_u32;
    let mut at = start;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` is after the `r`. None for a raw identifier (`r#type`).
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = at + hashes + 1;
    let length = bytes[body..]
        .windows(end.len())
        .position(|window| window == end);
    Some(length.map_or(bytes.len(), |length| body + length + end.len()))
}

/// None for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at + 1)?;
    if first == b'\\' {
        let close = bytes
            .get(at + 3..)?
            .iter()
            .position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let width = match first {
        0x00..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + width + 2)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// [`code`] with every item under `#[cfg(test)]` blanked too.
pub(super) fn code_without_tests(text: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut code = code(text);
    while let Some(start) = code.find(ATTRIBUTE) {
        let body = start + ATTRIBUTE.len();
        let end = match code[body..].find(['{', ';']) {
            Some(at) if code.as_bytes()[body + at] == b'{' => brace_end(&code, body + at),
            Some(at) => body + at + 1,
            None => code.len(),
        };
        let blank: String = code[start..end]
            .chars()
            .map(|one| if one == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The byte after the brace that closes the one at `open`.
fn brace_end(code: &str, open: usize) -> usize {
    let mut depth = 0_u32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The line, from 1, of the byte at `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Every word of `code` with the byte it starts at.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = code.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(|byte| is_word(*byte))?;
        let length = bytes[start..]
            .iter()
            .take_while(|byte| is_word(**byte))
            .count();
        at = start + length;
        Some((start, &code[start..at]))
    })
}

/// A function and how many lines it spans, signature to closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) line: usize,
    pub(super) lines: usize,
}

/// Every function of `code` that has a body, nested ones too.
pub(super) fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    let mut words = words(code).peekable();
    while let Some((start, word)) = words.next() {
        if word != "fn" {
            continue;
        }
        // A pointer type `fn(u32)` has a bracket where a function has its name.
        let Some((name_at, name)) = words.peek().copied() else {
            break;
        };
        if !code[start + 2..name_at].trim().is_empty() {
            continue;
        }
        if let Some(open) = body_start(code, name_at) {
            let (line, end) = (
                line_of(code, start),
                line_of(code, brace_end(code, open) - 1),
            );
            found.push(Function {
                name,
                line,
                lines: end - line + 1,
            });
        }
    }
    found
}

/// The brace that opens the body of the function whose name starts at `at`; None without a body.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The paths that follow `crate::` in `code` with their lines, groups taken apart: `crate::{a::b, c}`
/// gives `a::b` and `c`. `module` is the file's own path below the crate; where a chain of `super::`
/// climbs out of it, the path that follows counts too.
pub(super) fn crate_paths(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut supers = 0;
    for (start, word) in words(code) {
        let Some(rest) = code[start + word.len()..].strip_prefix("::") else {
            supers = 0;
            continue;
        };
        supers = if word == "super" { supers + 1 } else { 0 };
        let climbs_out = supers > 0 && supers >= module.len();
        if (word == "crate" && !code[..start].ends_with("::")) || climbs_out {
            let line = line_of(code, start);
            let mut paths = Vec::new();
            take_path(rest, "", &mut paths);
            paths.retain(|path| !path.starts_with("super"));
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// Takes one path or group off the front of `text`, adds what it spells out to `found` under `prefix`,
/// and returns the rest.
fn take_path<'a>(text: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group;
        loop {
            rest = take_path(rest, prefix, found);
            // `a as b`
            let end = rest.find(['}', ',']).unwrap_or(rest.len());
            let closes = rest[end..].starts_with('}') || end == rest.len();
            rest = rest.get(end + 1..).unwrap_or_default();
            if closes {
                return rest;
            }
        }
    }
    let length = rest.bytes().take_while(|byte| is_word(*byte)).count();
    let (word, after) = rest.split_at(length);
    let path = match prefix {
        "" => word.to_owned(),
        prefix => format!("{prefix}::{word}"),
    };
    match after.strip_prefix("::").filter(|_| !word.is_empty()) {
        Some(after) => take_path(after, &path, found),
        None => {
            // `a::*` and `a::<T>` name `a`.
            let named = if word.is_empty() { prefix } else { &path };
            if !word.is_empty() || rest.starts_with(['*', '<']) {
                found.push(named.to_owned());
            }
            after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let text =
            "a /* x /* y */ { */ b // {\n\"{\\\"\" r#\"\"{\"# b'{' '\\'' 'é' c: &'a str r#type";
        let code = code(text);
        assert_eq!(code.len(), text.len());
        assert!(
            !code.contains('{') && !code.contains('x') && !code.contains('é'),
            "{code}"
        );
        let seen: Vec<&str> = words(&code).map(|(_, word)| word).collect();
        assert_eq!(seen, ["a", "b", "c", "a", "str", "r", "type"]);
        assert_eq!(line_of(&code, code.find("str").expect("kept")), 2);
    }

    #[test]
    fn test_items_are_blanked() {
        let text = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\nmod tests { fn c() {} }\nfn d() {}";
        let code = code_without_tests(text);
        let seen: Vec<&str> = words(&code).map(|(_, word)| word).collect();
        assert_eq!(seen, ["use", "a", "fn", "d"]);
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let text = "trait T { fn none(&self) -> [u8; 2]; }\nfn one() {}\npub async fn three<F: Fn(u8)>(\n    f: fn(u8),\n) { if true {} }";
        let code = code(text);
        let found = functions(&code);
        assert_eq!(
            found,
            [
                Function {
                    name: "one",
                    line: 2,
                    lines: 1
                },
                Function {
                    name: "three",
                    line: 3,
                    lines: 3
                },
            ]
        );
    }

    #[test]
    fn paths_from_the_crate_are_found_in_every_form() {
        let text = "use crate::a::b; use crate::{c::{x, self, y::*}, d as z,\n e}; fn f() { crate::g::h::<u8>(); super::super::i::j() }";
        let found = crate_paths(&code(text), &["m", "n"]);
        let paths: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["a::b", "c::x", "c::self", "c::y", "d", "e", "g::h", "i::j"]
        );
        assert!(crate_paths("super::own::x()", &["m", "n"]).is_empty());
    }
}
