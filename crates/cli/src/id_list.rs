//! Files of device ids, one a line: what a line may be, and what is said about those that are no ids.
//!
//! Jobs and devices read the same files (`--ids-from`), so there is one reader.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::failure::Failure;
use crate::job::figures::count;

/// Longest id of a device or module, in characters.
pub(crate) const ID_CHARS_MAX: usize = 128;
/// Longest line that is read; what is longer is no id.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Bad lines that are named.
const BAD_LINES_NAMED: usize = 10;

/// Ids as they were read: in order, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IdList {
    pub(crate) ids: Vec<Box<str>>,
    /// Lines that named a device already named.
    pub(crate) repeated: u64,
}

/// The first character that no id of a device or module may have, and its position from 0. compat: REG-11
pub(crate) fn bad_character(id: &str) -> Option<(usize, char)> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
    id.chars().enumerate().find(|(_, c)| !is_allowed(*c))
}

/// Reads a file of ids, or standard input for `-`.
///
/// # Errors
/// When it cannot be read, holds no ids, or lines that cannot be ids: the first ten are named.
pub(crate) fn read(path: &Path) -> Result<IdList, Failure> {
    let is_stdin = path == Path::new("-");
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let read = match is_stdin {
        true => read_lines(std::io::stdin().lock()),
        false => std::fs::File::open(path)
            .and_then(|file| read_lines(BufReader::with_capacity(1024 * 1024, file))),
    };
    let (list, bad) =
        read.map_err(|error| Failure::usage(format!("{name} cannot be read")).because(error))?;
    if bad.all > 0 {
        return Err(bad.failure(&name));
    }
    if list.ids.is_empty() {
        return Err(Failure::usage(format!("{name} names no device"))
            .because("every line is blank or a comment")
            .try_this("put one id on each line"));
    }
    Ok(list)
}

/// Lines that are no ids: what is wrong with the first of them, and how many there are.
#[derive(Debug, Default)]
struct BadLines {
    first: Vec<String>,
    all: u64,
}

impl BadLines {
    fn failure(self, file: &str) -> Failure {
        let are = if self.all == 1 {
            "line is"
        } else {
            "lines are"
        };
        let mut failure =
            Failure::usage(format!("{} {are} no device id in {file}", count(self.all)));
        let more = self.all - self.first.len() as u64;
        for fault in self.first {
            failure = failure.because(fault);
        }
        if more > 0 {
            failure = failure.because(format!("and {} more", count(more)));
        }
        failure.try_this(
            "one id on each line, without quotes: ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '",
        )
    }
}

/// Reads ids line by line: trimmed, without blank lines and comments, each once. All bad lines are counted.
fn read_lines(mut input: impl BufRead) -> std::io::Result<(IdList, BadLines)> {
    let (mut list, mut bad) = (IdList::default(), BadLines::default());
    let mut seen: HashSet<Box<str>> = HashSet::new();
    let mut line = Vec::new();
    let mut number = 0;
    while next_line(&mut input, &mut line)? {
        number += 1;
        let text = String::from_utf8_lossy(&line);
        // Editors on one system begin a file with a byte order mark.
        let id = text.trim_start_matches('\u{feff}').trim();
        if id.is_empty() || id.starts_with('#') {
            continue;
        }
        if let Some(fault) = fault(id) {
            bad.all += 1;
            if bad.first.len() < BAD_LINES_NAMED {
                bad.first.push(format!("line {}: {fault}", count(number)));
            }
        } else if seen.contains(id) {
            list.repeated += 1;
        } else {
            seen.insert(id.into());
            list.ids.push(id.into());
        }
    }
    Ok((list, bad))
}

/// Reads one line without its end; `false` at the end of the input. What is beyond the longest line is passed over,
/// so that a file without line ends is not held in memory.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let limit = LINE_BYTES_MAX as u64 + 1;
    let read = input.by_ref().take(limit).read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') && read as u64 == limit {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// What is wrong with the id on a line; `None` when nothing is.
fn fault(id: &str) -> Option<String> {
    let shown: String = id.chars().take(40).collect();
    let dots = if shown.len() < id.len() { "..." } else { "" };
    let length = id.chars().count();
    if length > ID_CHARS_MAX {
        return Some(format!(
            "'{shown}{dots}' is longer than {ID_CHARS_MAX} characters"
        ));
    }
    let (at, bad) = bad_character(id)?;
    let at = at + 1;
    Some(format!(
        "'{shown}{dots}' has the character {bad:?} at position {at}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::plain;

    #[test]
    fn lines_are_trimmed_and_blank_ones_comments_and_repetitions_passed_over() {
        let text = "\u{feff}# doors\r\ndoor-1\r\n\n  door-2\t\n# door-3\ndoor-1\ndoor#4";
        let (list, bad) = read_lines(text.as_bytes()).unwrap();
        let ids: Vec<&str> = list.ids.iter().map(|id| &**id).collect();
        assert_eq!(ids, ["door-1", "door-2", "door#4"]);
        assert_eq!((list.repeated, bad.all), (1, 0));
    }

    #[test]
    fn bad_ids_are_named_with_their_lines_and_all_are_counted() {
        let mut text = String::from("door-1\ndoor/2\n\n");
        for at in 0..20 {
            text.push_str(&format!("a b{at}\n"));
        }
        let (_, bad) = read_lines(text.as_bytes()).unwrap();
        assert_eq!((bad.all, bad.first.len()), (21, BAD_LINES_NAMED));
        let said = plain(&bad.failure("doors.txt"));
        for part in [
            "error: 21 lines are no device id in doors.txt\n",
            "because: line 2: 'door/2' has the character '/' at position 5\n",
            "because: line 4: 'a b0' has the character ' ' at position 2\n",
            "because: and 11 more\n",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn what_is_no_text_or_too_long_is_a_bad_id_and_the_next_line_is_read() {
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend(b"\n\xff\xfe\ndoor 1\n");
        let (_, bad) = read_lines(&*text).unwrap();
        for (line, fault) in bad.first.iter().zip(1..) {
            assert!(line.starts_with(&format!("line {fault}: ")), "{line}");
        }
        assert_eq!(bad.first.len(), 3);
        assert!(bad.first[0].ends_with("...' is longer than 128 characters"));
    }

    #[test]
    fn a_line_that_just_fits_is_not_passed_over() {
        let mut text = " ".repeat(LINE_BYTES_MAX - 6) + "door-1";
        text.push_str("\ndoor-2\n");
        let (list, _) = read_lines(text.as_bytes()).unwrap();
        assert_eq!(list.ids, ["door-1".into(), "door-2".into()]);
    }
}
