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
        let text = fs::read_to_string(path).unwrap();
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
        let output = Command::new("timeout")
            .args(["--kill-after=10s", PATIENCE, "bash", "-c", &script])
            .current_dir(folder.path())
            .env("PATH", path_with_fanfare())
            .env("CHECKOUT", checkout())
            .env("HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            // Where a checkout's own toolchain and caches are, whatever HOME is here.
            .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
            .env("npm_config_cache", home_of("npm_config_cache", ".npm"))
            .env("FANFARE_BIND", address)
            .env("FANFARE_HOST_NAME", address)
            .env_remove("IOTHUB_CONNECTION_STRING")
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
            trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n"
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

fn path_with_fanfare() -> std::ffi::OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_fanfare"));
    let own = program.parent().expect("it is in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path))).unwrap()
}

/// A folder that an environment variable names, or its standard place under the real home.
fn home_of(variable: &str, standard: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(standard),
        PathBuf::from,
    )
}
