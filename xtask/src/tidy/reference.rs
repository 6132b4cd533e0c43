//! Decides whether `docs/reference` says what the code does: pages that are made are current, and every
//! field of a log line has its name there.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::rust::{code_without_tests, line_of, words};
use super::tree::Tree;
use crate::reference::PAGES;

/// Pages made from the code are what the code makes of them now.
pub(super) fn made_pages_are_current(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (page, source, make) in PAGES {
        let Some(text) = tree.text(source) else {
            continue;
        };
        let problem = match make(text) {
            Ok(made) if tree.text(page) == Some(&made) => continue,
            Ok(_) => "is not what its source says; run cargo xtask reference".to_owned(),
            Err(error) => format!("cannot be made: {source}: {error:#}"),
        };
        findings.push(Finding::error("reference", page, 0, problem));
    }
    findings
}

const FIELDS_PAGE: &str = "docs/reference/logs.md";
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Every field of a log line is named in the reference, and every name there is used.
pub(super) fn log_fields_are_declared(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(FIELDS_PAGE) else {
        return Vec::new();
    };
    let declared = declared(page);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for (path, text) in tree.rust_sources() {
        let code = code_without_tests(text);
        for (at, field) in fields(&code) {
            if !declared.contains_key(field) {
                let text = format!("the log field {field} is not in {FIELDS_PAGE}");
                findings.push(Finding::error("log fields", path, line_of(&code, at), text));
            }
            used.insert(field.to_owned());
        }
    }
    for (field, line) in declared {
        if !used.contains(field) {
            let text = format!("no log line has the field {field}");
            findings.push(Finding::error("log fields", FIELDS_PAGE, line, text));
        }
    }
    findings
}

/// The names in the first column of the page's table, with their lines.
fn declared(page: &str) -> BTreeMap<&str, usize> {
    let rows = page.lines().enumerate();
    rows.filter_map(|(at, line)| {
        let (name, _) = line.strip_prefix("| `")?.split_once("` |")?;
        Some((name, at + 1))
    })
    .collect()
}

/// The fields of every `tracing::level!(...)` in code without literals, with the bytes they start at.
fn fields(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let is_event = LEVELS.contains(&word) && code[..at].ends_with("tracing::");
        let open = at + word.len() + 2;
        if !is_event || !code[at + word.len()..].starts_with("!(") {
            continue;
        }
        for (start, argument) in arguments(code, open) {
            let name = argument.split_once('=').map_or(argument, |(name, _)| name);
            let trimmed = name.trim().trim_start_matches(['%', '?']);
            // The message is a literal, blank here; what follows it is for the message.
            if trimmed.is_empty() {
                break;
            }
            let skipped = argument.len() - argument.trim_start().len();
            found.push((start + skipped, trimmed));
        }
    }
    found
}

/// The arguments between the bracket before `open` and the one that closes it.
fn arguments(code: &str, open: usize) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0_u32, open);
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => {
                found.push((start, &code[start..at]));
                break;
            }
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.push((start, &code[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| field | meaning |\n|---|---|\n| `job.id` | which |\n| `error` | why |\n";

    #[test]
    fn undeclared_and_unused_fields_are_found() {
        let good = "fn f() { tracing::warn!(job.id = %a(b, c), %error, \"text {}\", d); }";
        let tree = Tree::of(&[(FIELDS_PAGE, PAGE), ("crates/a/src/b.rs", good)]);
        assert_eq!(log_fields_are_declared(&tree), []);
        let bad = "fn f() {\n    tracing::info!(job = ?x, error = %e, \"text\");\n    tracing::debug!(\"alone\");\n}";
        let tree = Tree::of(&[(FIELDS_PAGE, PAGE), ("crates/a/src/b.rs", bad)]);
        let found: Vec<_> = log_fields_are_declared(&tree)
            .into_iter()
            .map(|one| (one.path, one.line))
            .collect();
        assert_eq!(
            found,
            [
                ("crates/a/src/b.rs".to_owned(), 2),
                (FIELDS_PAGE.to_owned(), 3)
            ]
        );
    }

    #[test]
    fn a_page_that_lags_behind_is_found() {
        let (page, source, _) = PAGES[0];
        let table = "\nmetrics! {\n    /// All.\n    A: Gauge \"a\" in \"b\" by [];\n}\n";
        let tree = Tree::of(&[(source, table), (page, "# Metrics\n")]);
        assert_eq!(made_pages_are_current(&tree).len(), 1);
    }
}
