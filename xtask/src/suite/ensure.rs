//! Decides what a fresh Debian machine lacks for the suite, and installs it.
//!
//! Only Debian's own packages, and only as root; anybody else is told the one command to type. The
//! SDKs themselves are pinned by the conformance folders, which install them in their own trees.

use std::path::Path;
use std::time::Duration;

use super::command::{CommandLine, is_there};

/// `engines` of `conformance/node/package.json` and the check of its `run.js` say the same. Debian 13 ships 20.19;
/// on Debian 12, which ships 18, Node comes from elsewhere.
const NODE_MIN: (u32, u32) = (20, 14);

/// Something the suite needs, and the Debian packages that bring it.
struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    is_met: fn() -> bool,
}

/// `cc` is here for the C parts of the build (SQLite, ring, mimalloc); cargo needed it already to link
/// this program, unless another linker is configured.
const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler",
        packages: &["gcc", "libc6-dev"],
        is_met: || is_there("cc"),
    },
    Need {
        what: "node 20.14 or later",
        packages: &["nodejs"],
        is_met: node_is_there,
    },
    Need {
        what: "npm",
        packages: &["npm"],
        is_met: || is_there("npm"),
    },
    Need {
        what: "python 3",
        packages: &["python3"],
        is_met: || is_there("python3"),
    },
    Need {
        what: "python's venv",
        packages: &["python3-venv"],
        is_met: venv_is_there,
    },
    // Makes devices' certificates as people do.
    Need {
        what: "openssl",
        packages: &["openssl"],
        is_met: || is_there("openssl"),
    },
    // The live view of a job is looked at in a terminal of this.
    Need {
        what: "tmux",
        packages: &["tmux"],
        is_met: || is_there("tmux"),
    },
];

/// Installs what is missing. Returns whether everything is there afterwards.
///
/// # Errors
/// When apt-get is there but cannot be started.
pub(crate) fn run(folder: &Path, limit: Duration) -> anyhow::Result<bool> {
    let missing = missing();
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(true);
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages)
        .copied()
        .collect();
    for need in &missing {
        println!("missing: {}", need.what);
    }
    if !is_there("apt-get") || !is_root() {
        println!(
            "install them, or as root: apt-get install {}",
            packages.join(" ")
        );
        return Ok(false);
    }
    let update = CommandLine::new("apt-get", ["update", "-q"]);
    let install = CommandLine::new("apt-get", ["install", "-yq", "--no-install-recommends"])
        .arguments(&packages);
    for line in [update, install] {
        let line = line.environment("DEBIAN_FRONTEND", "noninteractive");
        if !line.run_counted(folder, limit)?.0 {
            return Ok(false);
        }
    }
    let missing = self::missing();
    for need in &missing {
        println!("still missing after the installation: {}", need.what);
    }
    Ok(missing.is_empty())
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.is_met)()).collect()
}

fn is_root() -> bool {
    CommandLine::new("id", ["-u"])
        .output()
        .is_some_and(|id| id.trim() == "0")
}

fn node_is_there() -> bool {
    let version = CommandLine::new("node", ["--version"]).output();
    version
        .as_deref()
        .and_then(node_version)
        .is_some_and(|version| version >= NODE_MIN)
}

/// Debian's python3 has the module `venv` but not `ensurepip` until python3-venv is installed.
fn venv_is_there() -> bool {
    CommandLine::new("python3", ["-c", "import venv, ensurepip"]).succeeds()
}

/// The 20 and the 19 of `v20.19.2`.
fn node_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_read() {
        assert_eq!(node_version("v18.20.4\n"), Some((18, 20)));
        assert_eq!(node_version("20.1.0"), None);
        assert_eq!(node_version("v20"), None);
        assert_eq!(node_version(""), None);
    }

    #[test]
    fn what_the_suite_asks_of_node_is_said_alike_everywhere() {
        let (major, minor) = NODE_MIN;
        let wanted = format!("{major}.{minor}");
        for (path, text) in [
            ("conformance/node/package.json", format!("\">={wanted}\"")),
            ("CONTRIBUTING.md", format!("Node {wanted} or later")),
        ] {
            let found = std::fs::read_to_string(crate::root().join(path)).expect(path);
            assert!(found.contains(&text), "{path} does not say {text}");
        }
        assert!(NEEDS.iter().any(|need| need.what.contains(&wanted)));
    }
}
