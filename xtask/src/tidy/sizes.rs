//! Decides what is too big to be read in one go.

use super::Finding;
use super::rust::{code, functions};
use super::tree::Tree;

const FILE_LINES_WARNED: usize = 800;
const FILE_LINES_MAX: usize = 1_200;
const FUNCTION_LINES_WARNED: usize = 70;
const FUNCTION_LINES_MAX: usize = 120;

/// What may be over the hard limit, and why: (path, function or empty for the file, reason).
const REASONS: &[(&str, &str, &str)] = &[];

/// Source files: a warning over 800 lines, an error over 1,200 without a listed reason.
pub(super) fn files_are_small(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for extension in ["rs", "js", "mjs", "py"] {
        for (path, text) in tree.with_extension(extension) {
            let lines = text.lines().count();
            let text = format!("has {lines} lines");
            findings.extend(judged(
                path,
                "",
                0,
                lines,
                text,
                FILE_LINES_WARNED,
                FILE_LINES_MAX,
            ));
        }
    }
    findings
}

/// Functions: a warning over 70 lines, an error over 120 without a listed reason.
pub(super) fn functions_are_small(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        for function in functions(&code(text)) {
            let text = format!("{} has {} lines", function.name, function.lines);
            findings.extend(judged(
                path,
                function.name,
                function.line,
                function.lines,
                text,
                FUNCTION_LINES_WARNED,
                FUNCTION_LINES_MAX,
            ));
        }
    }
    findings
}

fn judged(
    path: &str,
    name: &str,
    line: usize,
    lines: usize,
    text: String,
    warned: usize,
    max: usize,
) -> Option<Finding> {
    let has_reason = REASONS
        .iter()
        .any(|(place, item, _)| *place == path && *item == name);
    if lines > max && !has_reason {
        return Some(Finding::error(
            "size",
            path,
            line,
            format!("{text}, at most {max}"),
        ));
    }
    (lines > warned)
        .then(|| Finding::warning("size", path, line, format!("{text}, aim at {warned}")))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn long_files_are_warned_of_and_longer_ones_refused() {
        let (long, longer) = ("\n".repeat(801), "\n".repeat(1_201));
        let tree = Tree::of(&[
            ("a.rs", "\n"),
            ("b.rs", &long),
            ("c.py", &longer),
            ("d.md", &longer),
        ]);
        let levels: Vec<(String, Level)> = files_are_small(&tree)
            .into_iter()
            .map(|one| (one.path, one.level))
            .collect();
        let expected = [
            ("b.rs".to_owned(), Level::Warning),
            ("c.py".to_owned(), Level::Error),
        ];
        assert_eq!(levels, expected);
    }

    #[test]
    fn long_functions_are_warned_of_and_longer_ones_refused() {
        let body = |lines: usize| format!("fn f() {{{}}}", "\n".repeat(lines - 1));
        let (fits, long, longer) = (body(70), body(71), body(121));
        let tree = Tree::of(&[("a.rs", &fits), ("b.rs", &long), ("c.rs", &longer)]);
        let levels: Vec<Level> = functions_are_small(&tree)
            .iter()
            .map(|one| one.level)
            .collect();
        assert_eq!(levels, [Level::Warning, Level::Error]);
    }
}
