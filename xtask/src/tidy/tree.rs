//! The files of the tree, read once and handed to every rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Folders that hold nothing of ours.
const SKIPPED_FOLDERS: &[&str] = &[
    "target",
    "node_modules",
    ".git",
    ".venv",
    "__pycache__",
    "fanfare-data",
    "corpus",
];

/// Files whose text is checked; of others only the path is known, so that links to them resolve.
const TEXT_EXTENSIONS: &[&str] = &[
    "rs", "md", "toml", "js", "mjs", "cjs", "py", "sh", "sql", "yml", "yaml",
];

/// Paths relative to the root with forward slashes, and the text of those that are ours to read.
pub(super) struct Tree {
    texts: BTreeMap<String, String>,
    /// Every file and folder; the root is the empty path.
    paths: BTreeSet<String>,
}

impl Tree {
    /// # Errors
    /// When a folder or text file cannot be read, or a text is not UTF-8.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self {
            texts: BTreeMap::new(),
            paths: BTreeSet::from([String::new()]),
        };
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, root: &Path, folder: &str) -> anyhow::Result<()> {
        let path = root.join(folder);
        let entries = fs::read_dir(&path).with_context(|| format!("{folder} cannot be listed"))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && SKIPPED_FOLDERS.contains(&name.as_str()) {
                continue;
            }
            self.paths.insert(path.clone());
            if kind.is_dir() {
                self.read_folder(root, &path)?;
            } else if kind.is_file() && is_text(&path) {
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("{path} cannot be read as text"))?;
                self.texts.insert(path, text);
            }
        }
        Ok(())
    }

    /// A tree made of these files alone.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self {
            texts: BTreeMap::new(),
            paths: BTreeSet::from([String::new()]),
        };
        for (path, text) in files {
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
            let folders = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            tree.paths.extend(folders);
            tree.paths.insert((*path).to_owned());
        }
        tree
    }

    /// Path and text of every text file.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(super) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files()
            .filter(move |(path, _)| self::extension(path) == extension)
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_extension("rs")
    }

    /// Rust files that are compiled into a crate's library or binary: unit tests in files of their
    /// own and everything under `tests/` left out.
    pub(super) fn rust_sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rust().filter(|(path, _)| {
            let is_test = path.ends_with("/tests.rs") || path.ends_with("_tests.rs");
            path.contains("/src/") && !is_test && !path.contains("/tests/")
        })
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Whether a file or folder lies there.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.paths.contains(path.trim_end_matches('/'))
    }
}

fn extension(path: &str) -> &str {
    path.rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .map_or("", |(_, end)| end)
}

fn is_text(path: &str) -> bool {
    TEXT_EXTENSIONS.contains(&extension(path)) || path == ".ci/run"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_count_as_paths_and_unit_test_files_are_no_sources() {
        let tree = Tree::of(&[
            ("crates/hub/src/a.rs", ""),
            ("crates/hub/src/a/tests.rs", ""),
        ]);
        assert!(tree.contains("crates/hub/src/") && !tree.contains("crates/wire"));
        assert_eq!(
            tree.rust_sources()
                .map(|(path, _)| path)
                .collect::<Vec<_>>(),
            ["crates/hub/src/a.rs"]
        );
    }
}
