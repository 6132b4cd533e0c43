//! Decides whether code and `docs/compat` agree about the numbered facts of the wire contract.
//!
//! A fact is one list entry: `- **JOB-12** a sentence. *Source: where from.* Test: path::name`. Code
//! points at it with the word `compat`, a colon and the number; tests are what keeps it true.

use std::collections::BTreeMap;

use super::Finding;
use super::rust::line_of;
use super::tree::Tree;

const FOLDER: &str = "docs/compat/";

/// Which page numbers which facts.
const PAGES: &[(&str, &str)] = &[
    ("http", "HTTP"),
    ("jobs", "JOB"),
    ("query", "QUERY"),
    ("registry", "REG"),
    ("twins", "TWIN"),
    ("methods", "METHOD"),
    ("auth", "AUTH"),
    ("mqtt", "MQTT"),
    ("configurations", "CFG"),
    ("transfers", "XFER"),
];

struct Fact<'a> {
    path: &'a str,
    line: usize,
    id: String,
    text: String,
}

/// Numbered with the page's prefix, once, with a source; a fact without a test is warned of.
pub(super) fn facts_are_well_formed(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "compat";
    let mut findings = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for fact in facts(tree) {
        let Fact {
            path,
            line,
            id,
            text,
        } = &fact;
        let page = path.trim_start_matches(FOLDER).trim_end_matches(".md");
        let prefix = PAGES
            .iter()
            .find(|(name, _)| *name == page)
            .map(|(_, prefix)| *prefix);
        if prefix != id.rsplit_once('-').map(|(prefix, _)| prefix) {
            findings.push(Finding::error(
                RULE,
                path,
                *line,
                format!("{id} is on the wrong page"),
            ));
        }
        if seen.insert(id.clone(), path).is_some() {
            findings.push(Finding::error(
                RULE,
                path,
                *line,
                format!("{id} is numbered twice"),
            ));
        }
        if !text.contains("Source:") {
            findings.push(Finding::error(
                RULE,
                path,
                *line,
                format!("{id} names no source"),
            ));
        }
        if claimed_tests(text).is_none_or(|tests| tests.is_empty()) {
            findings.push(Finding::warning(
                RULE,
                path,
                *line,
                format!("{id} has no test"),
            ));
        }
    }
    findings
}

/// Every reference in code has its fact.
pub(super) fn references_have_facts(tree: &Tree) -> Vec<Finding> {
    let known: Vec<String> = facts(tree).map(|fact| fact.id).collect();
    let mut findings = Vec::new();
    for (path, text) in ["rs", "js", "mjs", "py", "sql"]
        .iter()
        .flat_map(|end| tree.with_extension(end))
    {
        for (line, id) in references(text) {
            if !known.contains(&id) {
                let text = format!("{id} is not in {FOLDER}");
                findings.push(Finding::error("compat", path, line, text));
            }
        }
    }
    findings
}

/// Every test that a fact claims is there.
pub(super) fn claimed_tests_exist(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for fact in facts(tree) {
        for test in claimed_tests(&fact.text).unwrap_or_default() {
            if !test_exists(tree, &test) {
                let text = format!("{} claims the test {test}, which is not there", fact.id);
                findings.push(Finding::error("compat", fact.path, fact.line, text));
            }
        }
    }
    findings
}

fn facts(tree: &Tree) -> impl Iterator<Item = Fact<'_>> {
    tree.with_extension("md")
        .filter(|(path, _)| path.starts_with(FOLDER))
        .flat_map(page_facts)
}

/// An entry runs to the next entry, heading or empty line.
fn page_facts<'a>((path, text): (&'a str, &'a str)) -> Vec<Fact<'a>> {
    let mut facts: Vec<Fact<'a>> = Vec::new();
    let mut in_fact = false;
    for (at, line) in text.lines().enumerate() {
        let entry = line
            .strip_prefix("- **")
            .and_then(|rest| rest.split_once("**"));
        if let Some((id, rest)) = entry.filter(|(id, _)| is_id(id)) {
            let (id, text) = (id.to_owned(), rest.to_owned());
            facts.push(Fact {
                path,
                line: at + 1,
                id,
                text,
            });
            in_fact = true;
        } else if line.trim().is_empty() || line.starts_with(['-', '#']) {
            in_fact = false;
        } else if let Some(fact) = facts.last_mut().filter(|_| in_fact) {
            fact.text.push(' ');
            fact.text.push_str(line.trim());
        }
    }
    facts
}

/// `JOB-12`
fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(prefix, number)| {
        !prefix.is_empty()
            && prefix.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The paths after `Test:`; None when the fact claims nothing.
fn claimed_tests(text: &str) -> Option<Vec<String>> {
    let (_, claim) = text
        .split_once("Test:")
        .or_else(|| text.split_once("Tests:"))?;
    let words = claim.split([' ', ',', ';', '(', ')']);
    let words = words.map(|word| word.trim_matches(['`', '*', '.']));
    let paths = words.filter(|word| word.contains("::") || word.contains('/'));
    Some(paths.map(str::to_owned).collect())
}

/// References of `text` with their lines: the ids after the marker, separated by commas or `and`.
fn references(text: &str) -> Vec<(usize, String)> {
    let marker = concat!("compat", ": ");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(marker) {
        let line = text[at + marker.len()..].lines().next().unwrap_or_default();
        let words = line
            .split([' ', ','])
            .filter(|word| !word.is_empty() && *word != "and");
        let ids = words.map(|word| word.trim_end_matches(['.', ';', ')', '`', '*', '/', ':']));
        let ids = ids.take_while(|word| is_id(word));
        found.extend(ids.map(|id| (line_of(text, at), id.to_owned())));
    }
    found
}

/// `crates/wire/src/jobs.rs::a_name` (a file and what it must contain) or `wire::jobs::tests::a_name` (a
/// crate and a function, or a module, in it).
fn test_exists(tree: &Tree, test: &str) -> bool {
    let (first, rest) = test.split_once("::").unwrap_or((test, ""));
    let name = rest.rsplit("::").next().unwrap_or_default();
    if first.contains('/') || first.contains('.') {
        let file = [first.to_owned(), format!("crates/{first}")];
        let text = file.iter().find_map(|path| tree.text(path));
        return match text {
            Some(text) => text.contains(name),
            None => name.is_empty() && tree.contains(first),
        };
    }
    let folder = first.strip_prefix("fanfare_").unwrap_or(first);
    let home = format!("crates/{folder}/");
    let home = if tree.contains(&home) {
        home.as_str()
    } else {
        ""
    };
    let definition = format!("fn {name}(");
    let mut sources = tree.rust().filter(|(path, _)| path.starts_with(home));
    sources.any(|(_, text)| text.contains(&definition)) || module_exists(tree, home, rest)
}

fn module_exists(tree: &Tree, home: &str, module: &str) -> bool {
    let module = module.trim_end_matches("::tests").replace("::", "/");
    let sources = if home.is_empty() {
        String::new()
    } else {
        format!("{home}src/")
    };
    !module.is_empty()
        && (tree.contains(&format!("{sources}{module}.rs"))
            || tree.contains(&format!("{sources}{module}/mod.rs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Jobs\n\n- **JOB-1** A job\n  is a job. *Source: our choice.* Test: `wire::jobs::tests::a_job`\n";

    fn texts(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn facts_twice_without_source_or_on_the_wrong_page_are_found() {
        let page = format!(
            "{GOOD}- **JOB-1** again *Source: x*\n- **TWIN-1** a *Source: x*\n- **JOB-2** a"
        );
        let found = texts(facts_are_well_formed(&Tree::of(&[(
            "docs/compat/jobs.md",
            &page,
        )])));
        let errors: Vec<&str> = found
            .iter()
            .map(String::as_str)
            .filter(|text| !text.ends_with("no test"))
            .collect();
        assert_eq!(
            errors,
            [
                "JOB-1 is numbered twice",
                "TWIN-1 is on the wrong page",
                "JOB-2 names no source",
            ]
        );
        assert_eq!(found.len(), 6);
        assert!(facts_are_well_formed(&Tree::of(&[("docs/compat/jobs.md", GOOD)])).is_empty());
    }

    #[test]
    fn a_reference_without_a_fact_is_found() {
        let code = concat!(
            "// compat",
            ": JOB-1, JOB-7 and JOB-8. JOB-9\n/* compat",
            ": see */"
        );
        let tree = Tree::of(&[
            ("docs/compat/jobs.md", GOOD),
            ("crates/wire/src/a.rs", code),
        ]);
        let found = texts(references_have_facts(&tree));
        // A sentence may end in a reference; the list goes on after it as well as after a comma.
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("JOB-7 ") && found[1].starts_with("JOB-8 "),
            "{found:?}"
        );
    }

    #[test]
    fn a_claimed_test_that_is_not_there_is_found() {
        let with_code = |path: &str, code: &str| {
            texts(claimed_tests_exist(&Tree::of(&[
                ("docs/compat/jobs.md", GOOD),
                (path, code),
            ])))
        };
        assert!(with_code("crates/wire/src/jobs.rs", "fn a_job() {}").is_empty());
        assert_eq!(
            with_code("crates/wire/src/jobs.rs", "fn a_job_more() {}").len(),
            1
        );
        assert_eq!(
            with_code("crates/wire/src/lib.rs", "// fn a_job is gone").len(),
            1
        );
    }

    #[test]
    fn tests_are_found_by_file_function_or_module() {
        let tree = Tree::of(&[
            ("conformance/node/tests/jobs.js", "it('a_method_job')"),
            ("crates/server/tests/rest.rs", "fn a_route() {}"),
            ("crates/hub/src/twin/document.rs", ""),
        ]);
        let cases = [
            ("conformance/node/tests/jobs.js", true),
            ("conformance/node/tests/jobs.js::a_method_job", true),
            ("conformance/node/tests/jobs.js::another", false),
            ("server/tests/rest.rs::a_route", true),
            ("fanfare_server::rest::a_route", true),
            ("hub::rest::a_route", false),
            ("hub::twin::document::tests", true),
            ("hub::twin::absent", false),
        ];
        for (test, expected) in cases {
            assert_eq!(test_exists(&tree, test), expected, "{test}");
        }
    }
}
