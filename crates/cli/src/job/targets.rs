//! Which devices a job is for: a condition, or a file of ids that becomes one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::conditions::{Selection, one_of};
use super::figures::counted;
use crate::failure::Failure;
use crate::id_list::{self, IdList};

/// Which devices.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Which devices: what would follow WHERE in a query, in double quotes ("tags.building = '43'"), '*' for all of
    /// them, or "FROM devices.modules WHERE ...". It is evaluated when the job starts.
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
            (Some(condition), _) if condition.trim().is_empty() => {
                Err(Failure::usage("the condition is empty").try_this("'*' for all devices"))
            }
            (Some(condition), _) => Ok(Targets::Condition(condition.clone())),
            (None, Some(path)) => id_list::read(path).map(Targets::Ids),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_ids_become_one_condition() {
        let ids = (0..1_000_000).map(|at| format!("door-{at:07}").into());
        let targets = Targets::Ids(IdList {
            ids: ids.collect(),
            repeated: 0,
        });
        let condition = targets.condition();
        assert_eq!(condition.len(), "deviceId IN []".len() + 1_000_000 * 15 - 1);
        assert!(condition.ends_with(",'door-0999999']"));
        assert_eq!(
            targets.describe(),
            "1,000,000 ids: door-0000000, door-0000001, door-0000002, ..."
        );
    }
}
