//! Decides what a fresh Debian machine lacks for the suite, and installs it.
//!
//! Only Debian's own packages, and only as root; anybody else is told the one command to type. The
//! SDKs themselves are pinned by the conformance folders, which install them in their own trees.

use std::path::Path;
use std::time::Duration;

use super::command::{CommandLine, is_there};

/// Debian 12 ships 18; the SDKs ask for 14 (`engines` of azure-iothub 1.16.6 and azure-iot-device 1.18.4).
const NODE_MAJOR_MIN: u32 = 18;

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
        what: "node 18 or later",
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
        .and_then(node_major)
        .is_some_and(|major| major >= NODE_MAJOR_MIN)
}

/// Debian's python3 has the module `venv` but not `ensurepip` until python3-venv is installed.
fn venv_is_there() -> bool {
    CommandLine::new("python3", ["-c", "import venv, ensurepip"]).succeeds()
}

/// The 20 of `v20.20.2`.
fn node_major(version: &str) -> Option<u32> {
    version
        .trim()
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_read() {
        assert_eq!(node_major("v18.20.4\n"), Some(18));
        assert_eq!(node_major("20.1.0"), None);
        assert_eq!(node_major(""), None);
    }
}
