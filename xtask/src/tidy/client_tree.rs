//! How many crates the client library brings to whoever depends on it, and which must not be among them.
//!
//! Read from `Cargo.lock` and the manifests by cargo itself, so that a dependency's new dependency is seen the day it
//! arrives. The bounds leave room for a crate or two; whoever needs more raises them and says why.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// One way to build the library.
struct Build {
    name: &'static str,
    /// What `cargo tree` is told.
    features: &'static [&'static str],
    crates_max: usize,
}

const BUILDS: &[Build] = &[
    Build {
        name: "small",
        features: &["--no-default-features"],
        crates_max: 62,
    },
    Build {
        name: "default",
        features: &[],
        crates_max: 76,
    },
];

/// Another TLS stack or another provider of its ciphers; an HTTP client on top of ours; tables for names in all
/// scripts of the world.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "reqwest",
    "icu_normalizer",
    "url",
];

/// Counts, prints the counts, and fails when a tree has grown too large or has a banned crate.
///
/// # Errors
/// When it fails, or cargo cannot be asked.
pub(super) fn check() -> anyhow::Result<()> {
    for build in BUILDS {
        let crates = crates_of(build)?;
        let faults = faults(build, &crates);
        println!(
            "client tree, {}: {} crates of at most {}",
            build.name,
            crates.len(),
            build.crates_max
        );
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
    }
    Ok(())
}

fn crates_of(build: &Build) -> anyhow::Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", "fanfare-client", "--edges", "normal"])
        .args(["--prefix", "none", "--locked"])
        .args(build.features)
        .current_dir(crate::root())
        .output()
        .context("cargo cannot be run")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo tree failed: {errors}");
    Ok(read(&String::from_utf8(output.stdout)?))
}

/// Name and version of each crate in what `cargo tree` prints, each once.
fn read(printed: &str) -> BTreeSet<String> {
    let lines = printed.lines().map(|line| line.trim_end_matches(" (*)"));
    lines
        .filter(|line| !line.is_empty())
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

fn faults(build: &Build, crates: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    if crates.len() > build.crates_max {
        let (name, len, max) = (build.name, crates.len(), build.crates_max);
        faults.push(format!(
            "the {name} client tree has {len} crates, at most {max}"
        ));
    }
    for one in crates {
        let name = one.split(' ').next().unwrap_or_default();
        if BANNED.contains(&name) {
            faults.push(format!("the {} client tree has {one}", build.name));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "fanfare-client v0.1.0 (/somewhere/crates/client)\nserde v1.0.2\nserde_derive v1.0.2 (proc-macro)\nserde v1.0.2 (*)\nsyn v2.0.1\nsyn v3.0.1\n\n";

    fn build(crates_max: usize) -> Build {
        Build {
            name: "small",
            features: &[],
            crates_max,
        }
    }

    #[test]
    fn a_crate_counts_once_and_each_version_of_it() {
        let crates = read(PRINTED);
        assert_eq!(crates.len(), 5, "{crates:?}");
        assert!(crates.contains("syn v3.0.1"));
    }

    #[test]
    fn too_many_crates_and_banned_ones_are_found() {
        let crates = read(&format!("{PRINTED}openssl-sys v0.9.1\n"));
        assert!(faults(&build(5), &read(PRINTED)).is_empty());
        assert_eq!(
            faults(&build(5), &crates),
            [
                "the small client tree has 6 crates, at most 5",
                "the small client tree has openssl-sys v0.9.1"
            ]
        );
    }

    #[test]
    fn the_client_s_trees_are_small() {
        check().expect("within bounds and without what is banned");
    }
}
