//! Decides which crates there are, who may depend on whom, and who alone may name a heavy dependency.

use toml::{Table, Value};

use super::Finding;
use super::tree::Tree;

/// A crate of the layout. `reason` is what its manifest must say; published crates need none.
struct Crate {
    folder: &'static str,
    /// Ours that it may depend on.
    depends: &'static [&'static str],
    /// Ours that only its tests may depend on besides.
    test_depends: &'static [&'static str],
    published: bool,
}

/// The layout and its directions. An arrow that is not here is refused until it is added here.
const CRATES: &[Crate] = &[
    Crate {
        folder: "wire",
        depends: &[],
        test_depends: &[],
        published: true,
    },
    Crate {
        folder: "hub",
        depends: &[],
        test_depends: &[],
        published: false,
    },
    Crate {
        folder: "store",
        depends: &["hub"],
        test_depends: &[],
        published: false,
    },
    Crate {
        folder: "bus",
        depends: &["hub"],
        test_depends: &[],
        published: false,
    },
    Crate {
        folder: "blobs",
        depends: &["hub"],
        test_depends: &[],
        published: false,
    },
    Crate {
        folder: "auth",
        depends: &["hub", "wire"],
        test_depends: &[],
        published: false,
    },
    Crate {
        folder: "server",
        depends: &["hub", "wire", "auth", "store", "bus", "blobs"],
        test_depends: &["client"],
        published: false,
    },
    Crate {
        folder: "client",
        depends: &["wire"],
        test_depends: &[],
        published: true,
    },
    Crate {
        folder: "cli",
        depends: &["client", "server", "wire"],
        test_depends: &[],
        published: false,
    },
];

/// Dependencies with one home, whoever else would like them. The HTTP protocol has two: the server listens,
/// the client library calls. So has the HTTP client: the blob adapter gives it to the object-store library, and
/// the keys of token issuers are fetched with it.
const ONE_CRATE: &[(&str, &str)] = &[
    ("rusqlite", "store"),
    ("tokio-postgres", "store"),
    ("deadpool-postgres", "store"),
    ("async-nats", "bus"),
    ("axum", "server"),
    ("hyper", "server"),
    ("hyper", "client"),
    ("hyper-util", "server"),
    ("hyper-util", "client"),
    ("tower", "server"),
    ("tower-http", "server"),
    ("object_store", "blobs"),
    ("reqwest", "auth"),
    ("reqwest", "blobs"),
];

/// What fuzz targets may depend on: the crates that read what strangers send, and what those take as arguments.
const FUZZED: (&str, &[&str]) = ("fuzz/Cargo.toml", &["auth", "hub", "wire"]);

const PREFIX: &str = "fanfare-";

/// Where tests, and tests alone, may have such a dependency besides: the proxy between client and hub speaks HTTP.
const TEST_HOMES: &[(&str, &str)] = &[("hyper", "cli"), ("hyper-util", "cli")];

/// What a manifest's comment says where the reason for the crate stands.
const REASON: &str = "# A crate of its own:";

/// A dependency of a manifest: its package name, and whether only tests have it.
struct Dependency {
    package: String,
    test_only: bool,
}

/// A crate has a place in the layout, the layout's name, and a reason to be a crate.
pub(super) fn crates_are_in_the_layout(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "layout";
    let mut findings = Vec::new();
    for (path, folder, text) in crate_manifests(tree) {
        let Some(entry) = CRATES.iter().find(|entry| entry.folder == folder) else {
            findings.push(Finding::error(
                RULE,
                path,
                0,
                "the crate is missing from the layout",
            ));
            continue;
        };
        let name = text
            .parse::<Table>()
            .ok()
            .and_then(|manifest| Some(manifest.get("package")?.get("name")?.as_str()?.to_owned()));
        let expected = format!("{PREFIX}{folder}");
        if name.as_deref() != Some(&expected) {
            findings.push(Finding::error(
                RULE,
                path,
                0,
                format!("is not named {expected}"),
            ));
        }
        if !entry.published && !text.contains(REASON) {
            let text = format!("gives no reason for a crate (`{REASON} ...`)");
            findings.push(Finding::error(RULE, path, 0, text));
        }
    }
    findings
}

/// Rules 1 and 7: the arrows between our crates are those of the table.
pub(super) fn only_the_table_is_depended_on(tree: &Tree) -> Vec<Finding> {
    const RULE: &str = "rule 1";
    let mut findings = Vec::new();
    for (path, folder, text) in manifests(tree) {
        let entry = CRATES.iter().find(|entry| Some(entry.folder) == folder);
        let dependencies = match dependencies(tree, text) {
            Ok(dependencies) => dependencies,
            Err(error) => {
                findings.push(Finding::error(
                    RULE,
                    path,
                    0,
                    format!("is not TOML: {error}"),
                ));
                continue;
            }
        };
        for dependency in dependencies {
            let Some(ours) = dependency.package.strip_prefix(PREFIX) else {
                continue;
            };
            let in_layout = entry.is_some_and(|entry| {
                let own_features = entry.folder == ours;
                let in_tests = own_features || entry.test_depends.contains(&ours);
                entry.depends.contains(&ours) || dependency.test_only && in_tests
            });
            let fuzzed = path == FUZZED.0 && FUZZED.1.contains(&ours);
            let allowed = in_layout || fuzzed;
            if !allowed {
                let text = format!("may not depend on {}", dependency.package);
                findings.push(Finding::error(RULE, path, 0, text));
            }
        }
    }
    findings
}

/// Rule 6: drivers, HTTP framework and HTTP client each have one crate.
pub(super) fn heavy_dependencies_have_one_crate(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, folder, text) in manifests(tree) {
        for dependency in dependencies(tree, text).unwrap_or_default() {
            let homes = ONE_CRATE
                .iter()
                .filter(|(package, _)| *package == dependency.package);
            let homes: Vec<_> = homes.map(|(_, home)| *home).collect();
            let package = &*dependency.package;
            let in_tests = dependency.test_only
                && folder.is_some_and(|folder| TEST_HOMES.contains(&(package, folder)));
            let at_home = folder.is_some_and(|folder| homes.contains(&folder));
            if !homes.is_empty() && !at_home && !in_tests {
                let text = format!(
                    "{package} belongs to crates/{} alone",
                    homes.join(", crates/")
                );
                findings.push(Finding::error("rule 6", path, 0, text));
            }
        }
    }
    findings
}

/// Path, folder under `crates/` and text of each crate's manifest.
fn crate_manifests(tree: &Tree) -> impl Iterator<Item = (&str, &str, &str)> {
    manifests(tree).filter_map(|(path, folder, text)| Some((path, folder?, text)))
}

/// Every manifest of the workspace but the root's; the folder is None outside `crates/`.
fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, Option<&str>, &str)> {
    tree.files().filter_map(|(path, text)| {
        let folder = path.strip_suffix("/Cargo.toml")?;
        Some((path, folder.strip_prefix("crates/"), text))
    })
}

fn dependencies(tree: &Tree, manifest: &str) -> Result<Vec<Dependency>, toml::de::Error> {
    let manifest: Table = manifest.parse()?;
    let root: Table = tree
        .text("Cargo.toml")
        .unwrap_or_default()
        .parse()
        .unwrap_or_default();
    let mut tables = vec![&manifest];
    let targets = manifest.get("target").and_then(Value::as_table);
    tables.extend(
        targets
            .into_iter()
            .flat_map(Table::values)
            .filter_map(Value::as_table),
    );

    let mut found = Vec::new();
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(entries) = table.get(section).and_then(Value::as_table) else {
                continue;
            };
            found.extend(entries.iter().map(|(key, value)| Dependency {
                package: package(&root, key, value),
                test_only: section == "dev-dependencies",
            }));
        }
    }
    Ok(found)
}

/// The package behind a key: `package = ".."` here or in the workspace's table renames it.
fn package(root: &Table, key: &str, value: &Value) -> String {
    let renamed = |value: &Value| Some(value.get("package")?.as_str()?.to_owned());
    let in_workspace = || renamed(root.get("workspace")?.get("dependencies")?.get(key)?);
    renamed(value)
        .or_else(in_workspace)
        .unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_crate_outside_the_layout_or_without_a_reason_is_found() {
        let tree = Tree::of(&[
            (
                "crates/wire/Cargo.toml",
                "[package]\nname = \"fanfare-wire\"",
            ),
            ("crates/hub/Cargo.toml", "[package]\nname = \"hub\"\n"),
            (
                "crates/common/Cargo.toml",
                "[package]\nname = \"fanfare-common\"",
            ),
        ]);
        let found = texts(crates_are_in_the_layout(&tree));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("layout"), "{found:?}");
        assert!(
            found[1].contains("fanfare-hub") && found[2].contains("reason"),
            "{found:?}"
        );
    }

    #[test]
    fn arrows_that_are_not_in_the_table_are_found() {
        let tree = Tree::of(&[
            (
                "crates/hub/Cargo.toml",
                "[dependencies]\nfanfare-wire.workspace = true",
            ),
            (
                "crates/store/Cargo.toml",
                "[dependencies]\nfanfare-hub.workspace = true",
            ),
            (
                "crates/server/Cargo.toml",
                "[dev-dependencies]\nfanfare-client.workspace = true",
            ),
            (
                "crates/client/Cargo.toml",
                "[target.'cfg(unix)'.dependencies]\nfanfare-hub = \"1\"",
            ),
            (
                "xtask/Cargo.toml",
                "[dependencies]\nx = { package = \"fanfare-wire\", path = \"\" }",
            ),
            (
                "fuzz/Cargo.toml",
                "[dependencies]\nfanfare-wire = \"1\"\nfanfare-store = \"1\"",
            ),
            (
                "crates/auth/Cargo.toml",
                "[dev-dependencies]\nfanfare-auth = { path = \".\" }",
            ),
        ]);
        let found = only_the_table_is_depended_on(&tree);
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "crates/client/Cargo.toml",
                "crates/hub/Cargo.toml",
                "fuzz/Cargo.toml",
                "xtask/Cargo.toml"
            ]
        );
        let tree = Tree::of(&[(
            "crates/server/Cargo.toml",
            "[dependencies]\nfanfare-client = \"1\"",
        )]);
        assert_eq!(only_the_table_is_depended_on(&tree).len(), 1);
    }

    #[test]
    fn a_driver_outside_its_crate_is_found() {
        let root = "[workspace.dependencies]\nsql = { package = \"rusqlite\", version = \"0\" }";
        let tree = Tree::of(&[
            ("Cargo.toml", root),
            (
                "crates/store/Cargo.toml",
                "[dependencies]\nsql.workspace = true",
            ),
            (
                "crates/hub/Cargo.toml",
                "[dev-dependencies]\nsql.workspace = true",
            ),
            (
                "crates/cli/Cargo.toml",
                "[dependencies]\nreqwest = \"0.13\"\nhyper = \"1\"\n[dev-dependencies]\nhyper-util = \"0\"",
            ),
        ]);
        let found = texts(heavy_dependencies_have_one_crate(&tree));
        assert_eq!(
            found,
            [
                "hyper belongs to crates/server, crates/client alone",
                "reqwest belongs to crates/auth, crates/blobs alone",
                "rusqlite belongs to crates/store alone",
            ]
        );
    }
}
