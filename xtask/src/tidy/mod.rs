//! Decides whether the tree keeps its own rules: one module per family of rules, one function per rule.
//!
//! A rule is a pure function from the files to findings, so each is tested on a tree of two lines that
//! breaks it. Errors fail the run, warnings are printed. What the compiler, clippy or Cargo can
//! hold is held there and not here.

mod client_tree;
mod compat;
mod docs;
mod imports;
mod manifests;
mod reference;
mod rust;
mod sizes;
mod tree;
mod words;

use std::path::Path;

use self::tree::Tree;

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    level: Level,
    path: String,
    /// Counted from 1; 0 when the finding is about the whole file.
    line: usize,
    rule: &'static str,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Warning,
    Error,
}

impl Finding {
    fn error(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            path: path.to_owned(),
            line,
            rule,
            text: text.into(),
        }
    }

    fn warning(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(rule, path, line, text)
        }
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    manifests::crates_are_in_the_layout,
    manifests::only_the_table_is_depended_on,
    manifests::heavy_dependencies_have_one_crate,
    imports::only_compose_names_an_adapter,
    imports::only_serve_names_the_server,
    imports::front_ends_do_not_import_one_another,
    imports::nothing_in_the_hub_calls_up,
    imports::the_hub_owns_no_timer_socket_or_file,
    sizes::files_are_small,
    sizes::functions_are_small,
    compat::facts_are_well_formed,
    compat::references_have_facts,
    compat::claimed_tests_exist,
    docs::links_resolve,
    docs::no_paths_of_one_machine,
    reference::made_pages_are_current,
    reference::log_fields_are_declared,
    words::no_stray_markers,
    words::names_use_the_glossary,
    words::source_files_have_a_head,
];

/// Checks the tree under `root` and prints what is wrong. Returns whether it is in order.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for Finding {
        level,
        path,
        line,
        rule,
        text,
    } in &findings
    {
        let level = match level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        match line {
            0 => println!("{level}: {path}: {text} [{rule}]"),
            line => println!("{level}: {path}:{line}: {text} [{rule}]"),
        }
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .count();
    let warnings = findings.len() - errors;
    println!(
        "tidy: {} files, {errors} errors, {warnings} warnings",
        tree.files().count()
    );
    client_tree::check()?;
    Ok(errors == 0)
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy() {
        let tree = Tree::read(crate::root()).expect("the tree is readable");
        let errors: Vec<Finding> = check(&tree)
            .into_iter()
            .filter(|finding| finding.level == Level::Error)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn a_tree_that_breaks_rules_is_not_tidy() {
        let tree = Tree::of(&[("docs/a.md", "[b](b.md)"), ("crates/extra/Cargo.toml", "")]);
        assert_eq!(check(&tree).len(), 2);
    }
}
