//! The pages of `docs/guide` that say so are run: their programs, their commands, and what these print.
//!
//! A page is a sequence of fenced blocks. One that begins with `// file: NAME` is written to that file; `sh` is
//! run, all in one shell from one folder; `text` is compared with what the `sh` block before it printed. The hub
//! of the page is told by its environment to listen on an address of this test's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "what a page printed is shown with --nocapture"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use snapbox::Assert;

/// The addresses of the pages' hubs: the Node SDKs want the standard ports.
const ARTICLE_ADDRESS: &str = "127.0.0.88";
const MOVING_ADDRESS: &str = "127.0.0.87";
const CONNECT_ADDRESS: &str = "127.0.0.125";
/// Of a page that starts no hub.
const NO_ADDRESS: &str = "127.0.0.1";
/// Starts of the variables in which cargo describes this test to itself. Some build scripts (ring's) watch them, so
/// a page that builds something would build half the tree anew, and so would the next run of the tests.
const OF_CARGO_TEST: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
];
/// Longest run of a page; the client's example may have to be compiled.
const PATIENCE: &str = "10m";

#[test]
fn the_article_runs_as_written() {
    let page = Page::read("from-the-article.md");
    page.holds_example("from_the_article.rs");
    page.run(ARTICLE_ADDRESS);
}

#[test]
fn a_fleet_moves_as_written() {
    Page::read("moving-a-fleet.md").run(MOVING_ADDRESS);
}

#[test]
fn every_way_to_connect_runs_as_written() {
    let page = Page::read("connect.md");
    page.holds_section_of_readme("Connect");
    page.run(CONNECT_ADDRESS);
}

#[test]
fn a_page_s_programs_are_built_as_anybody_builds_them() {
    let page = "```sh\nenv | grep -E '^CARGO_(PKG|MANIFEST|CRATE|BIN)_' || echo none\n\
        case \"$CARGO_TARGET_DIR\" in (/*) echo absolute;; esac\n```\n```text\nnone\nabsolute\n```\n";
    Page::of("a page", page).run(NO_ADDRESS);
}

/// A page and its fenced blocks.
struct Page {
    name: String,
    blocks: Vec<Block>,
}

/// A fenced block.
struct Block {
    language: String,
    text: String,
    /// Line of the page, from 1.
    line: usize,
}

impl Page {
    fn read(name: &str) -> Self {
        let path = checkout().join("docs/guide").join(name);
        Self::of(name, &fs::read_to_string(path).unwrap())
    }

    fn of(name: &str, text: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut is_inside = false;
        for (index, line) in text.lines().enumerate() {
            match line.strip_prefix("```") {
                Some(language) if !is_inside => {
                    is_inside = true;
                    blocks.push(Block {
                        language: language.to_owned(),
                        text: String::new(),
                        line: index + 1,
                    });
                }
                Some(_) => is_inside = false,
                None if is_inside => {
                    let block = blocks.last_mut().expect("a fence opened it");
                    writeln!(block.text, "{line}").unwrap();
                }
                None => {}
            }
        }
        assert!(!is_inside, "{name}: the last fence is open");
        let name = name.to_owned();
        Self { name, blocks }
    }

    /// The page shows the client's example as it is.
    fn holds_example(&self, name: &str) {
        let path = checkout().join("crates/client/examples").join(name);
        let example = fs::read_to_string(path).unwrap();
        let shown = self.blocks.iter().find_map(|block| {
            let (file, text) = block.file()?;
            (file == name).then_some(text)
        });
        assert_eq!(shown, Some(&*example), "{}: {name}", self.name);
    }

    /// What the README shows in this section is shown here too, to the letter, so it is run.
    fn holds_section_of_readme(&self, title: &str) {
        let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
        let heading = format!("\n## {title}\n");
        let (_, rest) = readme.split_once(&heading).expect("the section is there");
        let section = rest.split("\n## ").next().unwrap_or_default();
        let shown = Self::of("README.md", section);
        assert!(!shown.blocks.is_empty(), "the section shows nothing");
        let run: String = self.blocks.iter().map(|block| &*block.text).collect();
        for block in &shown.blocks {
            assert!(
                run.contains(&block.text),
                "{} does not run what the README shows:\n{}",
                self.name,
                block.text
            );
        }
    }

    /// Runs the page from top to bottom against a hub on `address`.
    fn run(&self, address: &str) {
        let folder = tempfile::Builder::new()
            .prefix("fanfare-guide-")
            .tempdir()
            .unwrap();
        for block in &self.blocks {
            if let Some((file, text)) = block.file() {
                fs::write(folder.path().join(file), text).unwrap();
            }
        }
        let (script, printing) = self.script(folder.path());
        // A page that waits for what never comes must fail, not hang.
        let mut command = Command::new("timeout");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if OF_CARGO_TEST.iter().any(|start| text.starts_with(start)) {
                command.env_remove(name);
            }
        }
        let output = command
            .args(["--kill-after=10s", PATIENCE, "bash", "-c", &script])
            .current_dir(folder.path())
            .env("PATH", path_with_fanfare())
            .env("CHECKOUT", checkout())
            .env("HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            // Where a checkout's own toolchain and caches are, whatever HOME is here.
            .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
            // What was built for this test is not built again, wherever that is.
            .env("CARGO_TARGET_DIR", built().parent().expect("a profile's"))
            .env("npm_config_cache", home_of("npm_config_cache", ".npm"))
            .env("FANFARE_BIND", address)
            .env("FANFARE_HOST_NAME", address)
            .env_remove("IOTHUB_CONNECTION_STRING")
            .env_remove("FANFARE_HUB")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let log = fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
        assert!(
            output.status.success(),
            "{}: {said}\n{}\nthe hub: {log}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        for (line, printed, wanted) in printing {
            let printed = fs::read_to_string(printed).unwrap();
            println!("{}:{line}\n{printed}", self.name);
            if let Some(wanted) = wanted {
                Assert::new().eq(printed, snapbox::Data::text(wanted));
            }
        }
    }

    /// One script of all `sh` blocks, and for each its line, where its output goes, and what that must be.
    fn script(&self, folder: &Path) -> (String, Vec<(usize, PathBuf, Option<String>)>) {
        // What the page leaves running ends with it.
        let mut script = "set -euo pipefail\n\
            trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n"
            .to_owned();
        let mut printing = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            if block.language != "sh" {
                continue;
            }
            let file = folder.join(format!("printed-{index}"));
            // No subshell: what a block exports is there for those after it.
            writeln!(
                script,
                "echo 'line {}' >&2\n{{\n{}}} > '{}'",
                block.line,
                block.text,
                file.display()
            )
            .unwrap();
            let wanted = self.blocks.get(index + 1);
            let wanted = wanted.filter(|next| next.language == "text");
            printing.push((block.line, file, wanted.map(|next| next.text.clone())));
        }
        (script, printing)
    }
}

impl Block {
    /// Name and text of the file that the block is, if it is one.
    fn file(&self) -> Option<(&str, &str)> {
        let (first, rest) = self.text.split_once('\n')?;
        Some((first.strip_prefix("// file: ")?, rest))
    }
}

fn checkout() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::canonicalize(folder).unwrap()
}

/// The folder of the binary under test: a profile's, below the target folder.
fn built() -> PathBuf {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_fanfare")).unwrap();
    program.parent().expect("it is in a folder").to_owned()
}

fn path_with_fanfare() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(built()).chain(std::env::split_paths(&path))).unwrap()
}

/// A folder that an environment variable names, or its standard place under the real home.
fn home_of(variable: &str, standard: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(standard),
        PathBuf::from,
    )
}
