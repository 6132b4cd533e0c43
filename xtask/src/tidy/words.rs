//! Decides which words may not stand in the tree: notes to oneself, and names that say nothing.

use super::Finding;
use super::rust::{code, line_of, words};
use super::tree::Tree;

/// Notes that belong in an issue, and a macro that belongs in nobody's commit.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];
const DEBUG_MACRO: &str = concat!("dbg", "!");

/// Words of docs/glossary.md that are not used in names.
const REFUSED: &[&str] = &[
    "manager", "managers", "handler", "handlers", "helper", "helpers", "util", "utils",
];

/// Names of modules and files that become a drawer for everything.
const REFUSED_MODULES: &[&str] = &["common", "misc", "shared", "types"];

/// No notes to oneself.
pub(super) fn no_stray_markers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        let marked = words(text).filter(|(_, word)| MARKERS.contains(word));
        let debugged = text.match_indices(DEBUG_MACRO);
        for (at, word) in marked.chain(debugged) {
            let line = line_of(text, at);
            findings.push(Finding::error(
                "markers",
                path,
                line,
                format!("stray {word}"),
            ));
        }
    }
    findings
}

/// What we define is not called manager, handler, helper or util; functions do not start with `do_`.
pub(super) fn names_use_the_glossary(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "glossary";
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let name = path
            .trim_end_matches(".rs")
            .rsplit('/')
            .next()
            .unwrap_or_default();
        if is_refused(name) || REFUSED_MODULES.contains(&name) {
            findings.push(Finding::error(
                RULE,
                path,
                0,
                "the file's name says nothing",
            ));
        }
        let code = code(text);
        for (line, kind, name) in definitions(&code) {
            let refused = match kind {
                "fn" => name.starts_with("do_"),
                "mod" => is_refused(name) || REFUSED_MODULES.contains(&name),
                _ => is_refused(name),
            };
            if refused {
                let text = format!("{kind} {name} is not a name of docs/glossary.md");
                findings.push(Finding::error(RULE, path, line, text));
            }
        }
    }
    findings
}

/// Every source file of a crate starts with what it decides.
pub(super) fn source_files_have_a_head(tree: &Tree) -> Vec<Finding> {
    let sources = tree.rust_sources().filter(|(path, _)| {
        path.starts_with("crates/") || path.starts_with("xtask/") || path.starts_with("sim/")
    });
    sources
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| {
            Finding::error(
                "heads",
                path,
                1,
                "does not start with what it decides (//!)",
            )
        })
        .collect()
}

/// Types, traits, modules and functions that `code` defines: line, keyword, name.
fn definitions(code: &str) -> Vec<(usize, &str, &str)> {
    const KINDS: &[&str] = &["struct", "enum", "union", "trait", "type", "mod", "fn"];
    let all: Vec<(usize, &str)> = words(code).collect();
    let pairs = all.windows(2).filter(|pair| {
        let (at, kind) = pair[0];
        let gap = &code[at + kind.len()..pair[1].0];
        KINDS.contains(&kind) && gap.trim().is_empty() && !gap.is_empty()
    });
    pairs
        .map(|pair| (line_of(code, pair[0].0), pair[0].1, pair[1].1))
        .collect()
}

/// Whether one of the words a name is made of is refused: `JobManager`, `sas_util`.
fn is_refused(name: &str) -> bool {
    let mut parts = vec![String::new()];
    for next in name.chars() {
        let starts_part = next == '_' || next.is_ascii_uppercase();
        if starts_part {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| next != '_') {
            part.push(next.to_ascii_lowercase());
        }
    }
    parts.iter().any(|part| REFUSED.contains(&part.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: Vec<Finding>) -> Vec<(String, usize)> {
        findings
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect()
    }

    #[test]
    fn notes_to_oneself_are_found() {
        let note = concat!("a\n// TO", "DO later");
        let debug = concat!("dbg", "!(x)");
        let tree = Tree::of(&[
            ("a.rs", note),
            ("b.py", debug),
            ("c.toml", "todo = \"warn\""),
        ]);
        let expected = [("a.rs".to_owned(), 2), ("b.py".to_owned(), 1)];
        assert_eq!(lines(no_stray_markers(&tree)), expected);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let text = "struct Manager;\nuse axum::handler::Handler;\n// struct Helper\nenum SasUtil {}\nfn do_it() {}\nmod common {}\nfn double() {}";
        let tree = Tree::of(&[
            ("crates/hub/src/a.rs", text),
            ("crates/hub/src/utils.rs", ""),
        ]);
        let own = |line| ("crates/hub/src/a.rs".to_owned(), line);
        let expected = [
            own(1),
            own(4),
            own(5),
            own(6),
            ("crates/hub/src/utils.rs".to_owned(), 0),
        ];
        assert_eq!(lines(names_use_the_glossary(&tree)), expected);
    }

    #[test]
    fn a_source_without_a_head_is_found() {
        let tree = Tree::of(&[
            ("crates/hub/src/a.rs", "//! Decides.\n"),
            ("crates/hub/src/b.rs", "use a;\n"),
            ("crates/hub/tests/c.rs", ""),
        ]);
        let expected = [("crates/hub/src/b.rs".to_owned(), 1)];
        assert_eq!(lines(source_files_have_a_head(&tree)), expected);
    }
}
