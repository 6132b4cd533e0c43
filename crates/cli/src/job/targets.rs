//! Which devices a job is for: a condition, or a file of ids that becomes one.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::conditions::{Selection, one_of};
use super::figures::{count, counted};
use crate::failure::Failure;

/// Longest id of a device, in characters.
const ID_CHARS_MAX: usize = 128;
/// Longest line that is read; what is longer is no id.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Bad ids that are named.
const BAD_IDS_NAMED: usize = 10;

/// Which devices.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Which devices: what would follow WHERE in a query, `*` for all of them, or FROM devices.modules WHERE ...
    ///
    /// Quote it, so that the shell leaves it alone: "tags.building = '43'". It is evaluated when the job starts.
    #[arg(value_name = "CONDITION")]
    condition: Option<String>,
    /// The devices whose ids are in FILE, one a line (`-`: standard input); # begins a comment.
    #[arg(long, value_name = "FILE")]
    ids_from: Option<PathBuf>,
}

/// The targets of one job.
#[derive(Debug)]
pub(crate) enum Targets {
    /// What the person wrote.
    Condition(String),
    /// A list of device ids.
    Ids(IdList),
}

/// Ids as they were read: in order, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IdList {
    pub(crate) ids: Vec<Box<str>>,
    /// Lines that named a device already named.
    pub(crate) repeated: u64,
}

impl TargetArgs {
    /// Whether the ids come from standard input.
    pub(crate) fn takes_stdin(&self) -> bool {
        self.ids_from.as_deref() == Some(Path::new("-"))
    }

    /// Reads the condition, or the whole file of ids.
    ///
    /// # Errors
    /// When the file cannot be read, holds no ids, or lines that cannot be ids.
    pub(crate) fn read(&self) -> Result<Targets, Failure> {
        match (&self.condition, &self.ids_from) {
            (Some(condition), _) if condition.trim().is_empty() => Err(Failure::usage(
                "the condition is empty; write * for all devices",
            )),
            (Some(condition), _) => Ok(Targets::Condition(condition.clone())),
            (None, Some(path)) => read_file(path).map(Targets::Ids),
            (None, None) => unreachable!("clap asks for one of the two"),
        }
    }
}

impl Targets {
    /// The condition of the job.
    pub(crate) fn condition(&self) -> String {
        match self {
            Targets::Condition(condition) => condition.clone(),
            Targets::Ids(list) => one_of(list.ids.iter().map(|id| &**id)),
        }
    }

    /// For people: the condition, or the list with its first ids.
    pub(crate) fn describe(&self) -> String {
        const NAMED: usize = 3;
        match self {
            Targets::Condition(condition) => described(condition),
            Targets::Ids(list) => {
                let named: Vec<&str> = list.ids.iter().take(NAMED).map(|id| &**id).collect();
                let more = if list.ids.len() > NAMED { ", ..." } else { "" };
                let ids = counted(list.ids.len() as u64, "id");
                format!("{ids}: {}{more}", named.join(", "))
            }
        }
    }

    /// "device" or "module".
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Targets::Condition(condition) => Selection::of(condition).noun(),
            Targets::Ids(_) => "device",
        }
    }
}

/// A condition for people: its start, where it is too long for a screen.
pub(crate) fn described(condition: &str) -> String {
    const SHOWN_CHARS: usize = 200;
    if condition.trim() == "*" {
        return "* (all)".to_owned();
    }
    if condition.chars().nth(SHOWN_CHARS).is_none() {
        return condition.to_owned();
    }
    let start: String = condition.chars().take(SHOWN_CHARS).collect();
    let length = counted(condition.chars().count() as u64, "character");
    format!("{start}... ({length} in all)")
}

fn read_file(path: &Path) -> Result<IdList, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let read = if is_stdin {
        read_ids(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        read_ids(BufReader::with_capacity(1024 * 1024, file))
    };
    match read {
        Ok(list) if list.ids.is_empty() => Err(Failure::usage(format!(
            "{name} names no device: every line is blank or a comment"
        ))),
        Ok(list) => Ok(list),
        Err(IdsError::Unreadable(error)) => Err(unreadable(error)),
        Err(IdsError::Bad(bad)) => Err(Failure::usage(bad.describe(&name))),
    }
}

/// Why a file of ids cannot be used.
#[derive(Debug)]
enum IdsError {
    Unreadable(std::io::Error),
    Bad(BadIds),
}

/// Lines that are no ids: the first of them, and how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
struct BadIds {
    first: Vec<(u64, String)>,
    all: u64,
}

impl BadIds {
    fn describe(&self, file: &str) -> String {
        let lines = if self.all == 1 {
            "line is"
        } else {
            "lines are"
        };
        let mut text = format!("{} {lines} no device id in {file}:", count(self.all));
        for (number, why) in &self.first {
            text.push_str(&format!("\n  line {}: {why}", count(*number)));
        }
        let more = self.all - self.first.len() as u64;
        if more > 0 {
            text.push_str(&format!("\n  and {} more", count(more)));
        }
        text
    }
}

/// Reads ids line by line: trimmed, without blank lines and comments, each once. All bad lines are counted.
fn read_ids(mut input: impl BufRead) -> Result<IdList, IdsError> {
    let mut list = IdList::default();
    let mut seen: HashSet<Box<str>> = HashSet::new();
    let mut bad = BadIds::default();
    let mut line = Vec::new();
    let mut number = 0;
    while next_line(&mut input, &mut line).map_err(IdsError::Unreadable)? {
        number += 1;
        let text = String::from_utf8_lossy(&line);
        // Editors on one system begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(why) = why_no_id(text) {
            bad.all += 1;
            if bad.first.len() < BAD_IDS_NAMED {
                bad.first.push((number, why));
            }
        } else if seen.contains(text) {
            list.repeated += 1;
        } else {
            seen.insert(text.into());
            list.ids.push(text.into());
        }
    }
    if bad.all > 0 {
        Err(IdsError::Bad(bad))
    } else {
        Ok(list)
    }
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

/// What is wrong with an id; `None` when nothing is. compat: REG-11
fn why_no_id(id: &str) -> Option<String> {
    let shown: String = id.chars().take(40).collect();
    let dots = if shown.len() < id.len() { "..." } else { "" };
    let length = id.chars().count();
    if length > ID_CHARS_MAX {
        return Some(format!(
            "'{shown}{dots}' has {length} characters, the most are {ID_CHARS_MAX}"
        ));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
    let wrong = id.chars().find(|c| !is_allowed(*c))?;
    Some(format!("'{shown}{dots}' holds {wrong:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let list = read_ids(text.as_bytes()).unwrap();
        list.ids.iter().map(|id| id.to_string()).collect()
    }

    fn bad(text: &[u8]) -> BadIds {
        match read_ids(text) {
            Err(IdsError::Bad(bad)) => bad,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_are_trimmed_and_blank_ones_comments_and_repetitions_passed_over() {
        let text = "\u{feff}# doors\r\ndoor-1\r\n\n  door-2\t\n# door-3\ndoor-1\ndoor-4";
        assert_eq!(ids(text), ["door-1", "door-2", "door-4"]);
        assert_eq!(read_ids(text.as_bytes()).unwrap().repeated, 1);
    }

    #[test]
    fn bad_ids_are_named_with_their_lines_and_all_are_counted() {
        let mut text = String::from("door-1\ndoor/2\n\n");
        for at in 0..20 {
            text.push_str(&format!("a b{at}\n"));
        }
        let bad = bad(text.as_bytes());
        assert_eq!(bad.all, 21);
        assert_eq!(bad.first.len(), BAD_IDS_NAMED);
        let said = bad.describe("doors.txt");
        assert!(
            said.starts_with(
                "21 lines are no device id in doors.txt:\n  line 2: 'door/2' holds '/'\n"
            ),
            "{said}"
        );
        assert!(said.contains("\n  line 4: 'a b0' holds ' '\n"), "{said}");
        assert!(said.ends_with("\n  and 11 more"), "{said}");
    }

    #[test]
    fn what_is_no_text_or_too_long_is_a_bad_id_and_the_next_line_is_read() {
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend(b"\n\xff\xfe\ndoor 1\n");
        let bad = bad(&text);
        let lines: Vec<u64> = bad.first.iter().map(|(number, _)| *number).collect();
        assert_eq!(lines, [1, 2, 3]);
        assert!(
            bad.first[0].1.contains("characters, the most are 128"),
            "{bad:?}"
        );
    }

    #[test]
    fn a_line_that_just_fits_is_not_passed_over() {
        let mut text = " ".repeat(LINE_BYTES_MAX - 6) + "door-1";
        text.push_str("\ndoor-2\n");
        assert_eq!(ids(&text), ["door-1", "door-2"]);
    }

    #[test]
    fn a_million_ids_become_one_condition() {
        let mut text = String::new();
        for at in 0..1_000_000 {
            text.push_str(&format!("door-{at:07}\n"));
        }
        let targets = Targets::Ids(read_ids(text.as_bytes()).unwrap());
        let condition = targets.condition();
        assert_eq!(condition.len(), "deviceId IN []".len() + 1_000_000 * 15 - 1);
        assert!(condition.ends_with(",'door-0999999']"));
        assert_eq!(
            targets.describe(),
            "1,000,000 ids: door-0000000, door-0000001, door-0000002, ..."
        );
    }
}
