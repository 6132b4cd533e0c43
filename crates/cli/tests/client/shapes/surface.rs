//! The public methods of the clients that make requests, found by reading the library's source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The types whose methods are calls of the service.
const CLIENTS: [&str; 6] = [
    "HubClient",
    "JobClient",
    "MethodClient",
    "QueryClient",
    "RegistryClient",
    "TwinClient",
];
/// What a method that is not `async` returns when requests are made through it later.
const LATER: [&str; 3] = ["Pager<", "Pages<", "JobMonitor"];

/// `Type::method` of each.
pub(crate) fn methods() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for client in CLIENTS {
            for block in blocks(&text, &format!("impl {client} {{\n")) {
                found.extend(calls(block).map(|method| format!("{client}::{method}")));
            }
        }
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

/// The texts from `head` to the brace that closes it, which stands alone on a line.
fn blocks<'t>(text: &'t str, head: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(head).map(|(at, found)| {
        let block = &text[at + found.len()..];
        &block[..block.find("\n}").expect("source is formatted")]
    })
}

/// The public methods of a block that make requests.
fn calls(block: &str) -> impl Iterator<Item = &str> {
    block.split("\n    pub ").skip(1).filter_map(|item| {
        let signature = item.split('{').next()?;
        let rest = signature.strip_prefix("async fn ");
        let (name, is_async) = match rest {
            Some(rest) => (rest, true),
            None => (signature.strip_prefix("fn ")?, false),
        };
        let returns = signature.rsplit("->").next().unwrap_or_default();
        let is_call = is_async || LATER.iter().any(|kind| returns.contains(kind));
        let name = name.split(['(', '<']).next()?;
        is_call.then_some(name)
    })
}

#[test]
fn calls_are_told_from_other_methods() {
    let text = "impl JobClient {\n    /// Doc.\n    pub fn of(hub: H) -> Self {\n        Self {}\n    }\n\n    \
                pub async fn get_job(&self) -> Result<Job, Error> {\n    }\n\n    #[must_use]\n    pub fn list<T>(\n        \
                &self,\n    ) -> Pager<T>\n    where\n        T: X,\n    {\n    }\n}\nimpl Other {\n    pub async fn no() {}\n}\n";
    let found: Vec<&str> = blocks(text, "impl JobClient {\n").flat_map(calls).collect();
    assert_eq!(found, ["get_job", "list"]);
}
