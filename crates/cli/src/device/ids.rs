//! Which devices a verb is for: ids on the command line, or in a file with one a line.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;

use super::check::id_fault;
use crate::failure::Failure;
use crate::job::figures::count;

/// Ids, named or in a file.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// Device ids.
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// The devices whose ids are in FILE, one a line (`-`: standard input); # begins a comment.
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    pub(super) ids_from: Option<PathBuf>,
}

/// Bad lines that are named.
const BAD_LINES_NAMED: usize = 5;

impl IdArgs {
    /// The ids, each once, in order; none when none were given.
    ///
    /// # Errors
    /// When one cannot be an id, or the file cannot be read or names nobody.
    pub(super) fn read(&self) -> Result<Vec<String>, Failure> {
        let Some(path) = &self.ids_from else {
            for id in &self.ids {
                checked(id)?;
            }
            let mut seen = HashSet::new();
            let once = self.ids.iter().filter(|id| seen.insert(id.as_str()));
            return Ok(once.cloned().collect());
        };
        let name = match path == Path::new("-") {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        let read = match path == Path::new("-") {
            true => read(io::stdin().lock()),
            false => std::fs::File::open(path).and_then(|file| read(BufReader::new(file))),
        };
        let (ids, bad, first) =
            read.map_err(|error| Failure::usage(format!("{name} cannot be read")).because(error))?;
        if bad > 0 {
            let are = if bad == 1 { "line is" } else { "lines are" };
            let mut failure =
                Failure::usage(format!("{} {are} no device id in {name}", count(bad)));
            for fault in first {
                failure = failure.because(fault);
            }
            return Err(failure);
        }
        if ids.is_empty() {
            return Err(Failure::usage(format!("{name} names no device")));
        }
        Ok(ids)
    }
}

/// Refuses what can be no id before anything is sent.
pub(super) fn checked(id: &str) -> Result<(), Failure> {
    match id_fault("the id", id) {
        None => Ok(()),
        Some(fault) => Err(Failure::usage(format!(
            "{id:?} cannot be a device or module: {fault}"
        ))),
    }
}

/// The ids, how many lines are none, and what is wrong with the first of these.
fn read(input: impl BufRead) -> io::Result<(Vec<String>, u64, Vec<String>)> {
    let (mut ids, mut bad, mut first) = (Vec::new(), 0, Vec::new());
    let mut seen = HashSet::new();
    for (at, line) in input.lines().enumerate() {
        let line = line?;
        let id = line.trim_start_matches('\u{feff}').trim();
        if id.is_empty() || id.starts_with('#') {
            continue;
        }
        match id_fault("the id", id) {
            Some(fault) => {
                bad += 1;
                if first.len() < BAD_LINES_NAMED {
                    first.push(format!("line {}: {fault}", count(at as u64 + 1)));
                }
            }
            None => {
                if seen.insert(id.to_owned()) {
                    ids.push(id.to_owned());
                }
            }
        }
    }
    Ok((ids, bad, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ids_has_comments_and_repeats_nobody() {
        let (ids, bad, _) = read("\u{feff}a\r\n\n# floor 3\nb \na\nc#\n".as_bytes()).unwrap();
        assert_eq!(ids, ["a", "b", "c#"]);
        assert_eq!(bad, 0);
        let (_, bad, first) = read("a b\nc/d\n".as_bytes()).unwrap();
        assert_eq!(bad, 2);
        assert!(
            first[1].starts_with("line 2: the id has the character '/'"),
            "{first:?}"
        );
    }

    #[test]
    fn ids_on_the_command_line_are_checked_too() {
        let args = |ids: &[&str]| IdArgs {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ids_from: None,
        };
        assert_eq!(args(&["a", "b", "a"]).read().unwrap(), ["a", "b"]);
        assert!(args(&["a/b"]).read().is_err());
        assert!(args(&[]).read().unwrap().is_empty());
    }
}
