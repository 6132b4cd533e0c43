//! Which devices a verb is for: ids on the command line, or in a file with one a line.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;

use super::check::id_fault;
use crate::failure::Failure;
use crate::id_list;

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
        let list = id_list::read(path)?;
        Ok(list.ids.into_iter().map(String::from).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

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
