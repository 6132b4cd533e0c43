//! Decides which modules may name which: the directions Cargo cannot see because they run inside a
//! crate, or because only one file of a crate may use a dependency.

use super::Finding;
use super::rust::{code, code_without_tests, crate_paths, line_of, words};
use super::tree::Tree;

/// Crates that hold adapters of the hub's ports.
const ADAPTER_CRATES: &[&str] = &["fanfare_store", "fanfare_bus", "fanfare_blobs"];
const COMPOSE: &str = "crates/server/src/compose.rs";
const SERVE: &str = "crates/cli/src/serve.rs";
const FRONT_ENDS: &[&str] = &["rest", "mqtt", "amqp"];

/// The hub's modules, lowest first. A module may name those of lower levels; modules of one level
/// know nothing of each other. Modules not listed (ids, limits, ports, ...) are below all, so a new
/// module that names a listed one must be given its place here. `ports` may name every noun, since that
/// is what crosses them, and `lib` everything.
const HUB_LEVELS: &[&[&str]] = &[
    &["presence"],
    &["registry"],
    &["access", "authorities", "query", "method", "twin"],
    &["overlay"],
    &["configurations", "jobs"],
    &["queries", "upkeep"],
    &["hub"],
    &["bulk"],
    &["transfers"],
];

/// Pure nouns inside those modules that any level may name: naming a document calls nothing.
const HUB_NOUNS: &[&str] = &["twin::document::"];

/// What would tie the hub to the machine: time, network and files come through its ports.
const MACHINE_PATHS: &[&str] = &[
    "tokio::time",
    "tokio::net",
    "tokio::fs",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread::sleep",
    "Instant::now",
    "SystemTime::now",
];

/// Rule 3: only compose.rs names a concrete adapter.
pub(super) fn only_compose_names_an_adapter(tree: &Tree) -> Vec<Finding> {
    let homes = ["crates/store/", "crates/bus/", "crates/blobs/"];
    let files = tree
        .rust_sources()
        .filter(|(path, _)| *path != COMPOSE && !homes.iter().any(|home| path.starts_with(home)));
    let mut findings = Vec::new();
    for (path, text) in files {
        for name in ADAPTER_CRATES {
            let text = code_without_tests(text);
            findings.extend(lines_naming(&text, name).map(|line| {
                let text = format!("names {name}; only {COMPOSE} may");
                Finding::error("rule 3", path, line, text)
            }));
        }
    }
    findings
}

/// Rule 7: of the command line, only serve.rs names the server.
pub(super) fn only_serve_names_the_server(tree: &Tree) -> Vec<Finding> {
    let files = tree
        .rust()
        .filter(|(path, _)| path.starts_with("crates/cli/") && *path != SERVE);
    let mut findings = Vec::new();
    for (path, text) in files {
        findings.extend(lines_naming(&code(text), "fanfare_server").map(|line| {
            Finding::error(
                "rule 7",
                path,
                line,
                format!("names fanfare_server; only {SERVE} may"),
            )
        }));
    }
    findings
}

/// Rule 4: the front ends never import one another.
pub(super) fn front_ends_do_not_import_one_another(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_sources() {
        let Some(module) = module_path(path, "server") else {
            continue;
        };
        let Some(own) = FRONT_ENDS.iter().find(|name| module.first() == Some(*name)) else {
            continue;
        };
        for (line, named) in crate_paths(&code_without_tests(text), &module) {
            let name = first(&named);
            if name != *own && FRONT_ENDS.contains(&name) {
                let text = format!("front end {own} imports {name}");
                findings.push(Finding::error("rule 4", path, line, text));
            }
        }
    }
    findings
}

/// Rule 5: inside the hub nothing calls up or sideways.
pub(super) fn nothing_in_the_hub_calls_up(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_sources() {
        let Some(module) = module_path(path, "hub") else {
            continue;
        };
        let Some(own) = module.first().copied().filter(|own| *own != "ports") else {
            continue;
        };
        for (line, named) in crate_paths(&code_without_tests(text), &module) {
            let is_noun = HUB_NOUNS.iter().any(|noun| named.starts_with(noun));
            let is_above = level(first(&named)) >= level(own).max(1);
            if is_above && first(&named) != own && !is_noun {
                let text = format!("{own} names {named}, which is not below it");
                findings.push(Finding::error("rule 5", path, line, text));
            }
        }
    }
    findings
}

/// The hub sees time, network and files only through its ports.
pub(super) fn the_hub_owns_no_timer_socket_or_file(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree
        .rust_sources()
        .filter(|(path, _)| path.starts_with("crates/hub/"))
    {
        let code = code_without_tests(text);
        for machine_path in MACHINE_PATHS {
            findings.extend(code.match_indices(machine_path).map(|(at, _)| {
                let text = format!("names {machine_path}; that comes through a port");
                Finding::error("hub ports", path, line_of(&code, at), text)
            }));
        }
    }
    findings
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

/// 0 for the modules everybody may name.
fn level(module: &str) -> usize {
    HUB_LEVELS
        .iter()
        .position(|modules| modules.contains(&module))
        .map_or(0, |at| at + 1)
}

fn lines_naming(code: &str, name: &str) -> impl Iterator<Item = usize> {
    words(code)
        .filter(move |(_, word)| *word == name)
        .map(|(at, _)| line_of(code, at))
}

/// `crates/hub/src/jobs/job.rs` of crate `hub` is `[jobs, job]`; `lib.rs` and `main.rs` are no module.
fn module_path<'a>(path: &'a str, crate_folder: &str) -> Option<Vec<&'a str>> {
    let inside = path
        .strip_prefix("crates/")?
        .strip_prefix(crate_folder)?
        .strip_prefix("/src/")?;
    let module = inside.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    (module != "lib" && module != "main").then(|| module.split('/').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<(String, usize)> {
        rule(&Tree::of(files))
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect()
    }

    #[test]
    fn an_adapter_named_outside_compose_is_found() {
        let files = [
            (COMPOSE, "use fanfare_store::Embedded;"),
            (
                "crates/server/src/auth.rs",
                "// fanfare_store\nuse fanfare_store::Embedded;",
            ),
            ("crates/store/src/lib.rs", "use fanfare_store as own;"),
            (
                "crates/server/tests/rest.rs",
                "use fanfare_store::Embedded;",
            ),
        ];
        let expected = [("crates/server/src/auth.rs".to_owned(), 2)];
        assert_eq!(found(only_compose_names_an_adapter, &files), expected);
    }

    #[test]
    fn the_server_named_outside_serve_is_found() {
        let files = [
            (SERVE, "fanfare_server::run()"),
            ("crates/cli/src/demo.rs", "fanfare_server::run()"),
        ];
        let expected = [("crates/cli/src/demo.rs".to_owned(), 1)];
        assert_eq!(found(only_serve_names_the_server, &files), expected);
    }

    #[test]
    fn a_front_end_that_imports_another_is_found() {
        let files = [
            (
                "crates/server/src/rest/jobs.rs",
                "use crate::{auth, mqtt::session};",
            ),
            (
                "crates/server/src/mqtt/mod.rs",
                "use crate::mqtt::session;\nuse super::rest;",
            ),
            ("crates/server/src/compose.rs", "use crate::{rest, mqtt};"),
        ];
        let expected = [
            ("crates/server/src/mqtt/mod.rs".to_owned(), 2),
            ("crates/server/src/rest/jobs.rs".to_owned(), 1),
        ];
        assert_eq!(
            found(front_ends_do_not_import_one_another, &files),
            expected
        );
    }

    #[test]
    fn calls_up_and_sideways_in_the_hub_are_found() {
        let files = [
            (
                "crates/hub/src/jobs/execute.rs",
                "use crate::{method, twin, presence, ports};",
            ),
            (
                "crates/hub/src/twin/mod.rs",
                "use crate::{registry, ids};\nuse crate::query::eval;",
            ),
            (
                "crates/hub/src/presence.rs",
                "use crate::limits;\n\nuse crate::jobs::Job;",
            ),
            ("crates/hub/src/ids.rs", "use crate::twin::Twin;"),
            (
                "crates/hub/src/registry.rs",
                "use crate::{presence, twin::document::TwinPatch};",
            ),
            (
                "crates/hub/src/ports/store.rs",
                "use crate::{jobs::Job, twin::Twin};",
            ),
            (
                "crates/hub/src/method.rs",
                "#[cfg(test)]\nmod tests { use crate::jobs::Job; }",
            ),
        ];
        let expected = [
            ("crates/hub/src/ids.rs".to_owned(), 1),
            ("crates/hub/src/presence.rs".to_owned(), 3),
            ("crates/hub/src/twin/mod.rs".to_owned(), 2),
        ];
        assert_eq!(found(nothing_in_the_hub_calls_up, &files), expected);
    }

    #[test]
    fn a_timer_in_the_hub_is_found() {
        let files = [
            (
                "crates/hub/src/method.rs",
                "// tokio::time\ntokio::time::sleep(x)",
            ),
            ("crates/server/src/shutdown.rs", "tokio::time::sleep(x)"),
        ];
        let expected = [("crates/hub/src/method.rs".to_owned(), 2)];
        assert_eq!(
            found(the_hub_owns_no_timer_socket_or_file, &files),
            expected
        );
    }
}
