//! Decides which stages the suite has, in which order, and what each one runs.
//!
//! Cheap stages come first, so that a typing slip is heard of in seconds. Unit tests use the `dev`
//! profile; the kill test and the SDKs share the one release build of the binary, so that each crate
//! is compiled in as few ways as possible. How a command is run, cut off and counted is [`command`]'s
//! business; what a fresh machine lacks is [`ensure`]'s.

pub(crate) mod command;
mod ensure;
mod tally;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;

use self::command::CommandLine;
use self::tally::Tally;
use crate::{fuzz, surface};

/// The measurements of `cargo xtask bench`: a verb of the release binary.
const BENCH: [&str; 6] = ["run", "--release", "-p", "fanfare-cli", "--", "bench"];

/// The measurement beside the Node SDK.
const NODE_BENCH: &str = "get-job";

const NODE_FOLDER: &str = "conformance/node";

/// The kill test's source; its name is what cargo calls the test binary.
const KILL_TEST: &str = "crates/cli/tests/kill.rs";

const FANFARE_BIN: &str = "target/release/fanfare";

/// The stages in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageName {
    /// Installs what a fresh Debian machine lacks.
    Ensure,
    /// Formatting.
    Fmt,
    /// The rules of the tree.
    Tidy,
    /// Lints, warnings denied.
    Clippy,
    /// Unit and integration tests: the command line and the client library against the dev build's hub, too.
    Unit,
    /// Examples in the documentation.
    Doc,
    /// The release build of the binary.
    Release,
    /// The kill test.
    Kill,
    /// The fuzz targets, a minute each.
    Fuzz,
    /// The Node SDKs.
    Node,
    /// The Python SDKs.
    Python,
    /// What both runs proved, method by method.
    Surface,
}

impl StageName {
    fn text(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// How long the stage may take before it is cut off. Generous: a limit is here so that a hung
    /// test ends the run, not to police speed.
    fn limit(self) -> Duration {
        let minutes = match self {
            StageName::Fmt | StageName::Tidy | StageName::Surface => 2,
            StageName::Ensure => 10,
            // A slow machine that compiles everything is not a failure.
            StageName::Clippy | StageName::Unit | StageName::Doc | StageName::Fuzz => 30,
            StageName::Release | StageName::Kill => 30,
            StageName::Node | StageName::Python => 30,
        };
        Duration::from_secs(minutes * 60)
    }
}

/// Which stages run.
#[derive(Debug)]
pub(crate) struct Choice(Vec<StageName>);

impl Choice {
    /// `only` wins when both are given; both empty means all.
    pub(crate) fn from_flags(skip: &[StageName], only: &[StageName]) -> Self {
        if !only.is_empty() {
            return Self::only(only);
        }
        let all = StageName::value_variants().iter().copied();
        Self(all.filter(|stage| !skip.contains(stage)).collect())
    }

    /// The named stages, in the suite's order whatever the order here.
    pub(crate) fn only(stages: &[StageName]) -> Self {
        let all = StageName::value_variants().iter().copied();
        Self(all.filter(|stage| stages.contains(stage)).collect())
    }
}

/// Runs the chosen stages until one fails, prints the time of each and the closing line.
/// Returns whether all of them passed.
///
/// # Errors
/// When a command cannot even be started.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<bool> {
    let start = Instant::now();
    let mut total = Tally::default();
    let mut times = Vec::new();
    let mut failed_stage = None;
    for stage in choice.0.iter().copied() {
        println!("\n==== {}", stage.text());
        let began = Instant::now();
        let (passed, tally) = run_stage(root, stage)
            .with_context(|| format!("stage {} could not run", stage.text()))?;
        total.add(&tally);
        times.push((stage, began.elapsed(), passed));
        println!(
            "==== {}: {} in {}",
            stage.text(),
            verdict(passed),
            seconds(began.elapsed())
        );
        if !passed {
            // A stage that counts nothing (lints, a build) still failed once.
            total.failed += u64::from(tally.failed == 0);
            failed_stage = Some(stage);
            break;
        }
    }
    println!();
    for (stage, time, passed) in &times {
        println!(
            "{:>9}  {:>8}  {}",
            stage.text(),
            seconds(*time),
            verdict(*passed)
        );
    }
    println!("{:>9}  {:>8}", "all", seconds(start.elapsed()));
    if let Some(stage) = failed_stage {
        println!(
            "stage {} failed; again: cargo xtask test --only {0}",
            stage.text()
        );
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(failed_stage.is_none())
}

/// Runs the measurement that `arguments` name, which are handed on; without any, all of them.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn bench(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    if arguments.is_empty() {
        return Ok(bench(root, &["jobs".to_owned()])? && bench(root, &[NODE_BENCH.to_owned()])?);
    }
    let line = CommandLine::cargo(BENCH).arguments(arguments);
    if arguments.first().is_none_or(|first| first != NODE_BENCH) {
        return line.run_attached(root);
    }
    Ok(node_packages().run_attached(root)?
        && line
            .arguments(&["--node", NODE_FOLDER])
            .run_attached(root)?)
}

fn run_stage(root: &Path, stage: StageName) -> anyhow::Result<(bool, Tally)> {
    let commands = match stage {
        StageName::Ensure => {
            return Ok((ensure::run(root, stage.limit())?, Tally::default()));
        }
        StageName::Tidy => return Ok((crate::tidy::run(root)?, Tally::default())),
        StageName::Surface => return Ok((surface::run(root, false)?, Tally::default())),
        StageName::Fuzz => return fuzz(root),
        StageName::Fmt => vec![CommandLine::cargo(["fmt", "--all", "--check"])],
        StageName::Clippy => vec![clippy()],
        StageName::Unit => vec![node_packages(), unit(root)?],
        StageName::Doc => vec![CommandLine::cargo(["test", "--workspace", "--doc"])],
        StageName::Release => vec![release()],
        StageName::Kill => vec![kill(root)],
        StageName::Node => vec![sdk(
            root,
            "node",
            "conformance/node/run.js",
            surface::RESULTS[0],
        )],
        StageName::Python => {
            let results = surface::RESULTS[1];
            vec![sdk(root, "python3", "conformance/python/run.py", results)]
        }
    };
    let mut total = Tally::default();
    for line in commands {
        let (passed, tally) = line.run_counted(root, stage.limit())?;
        total.add(&tally);
        if !passed {
            return Ok((false, total));
        }
    }
    Ok((true, total))
}

fn fuzz(root: &Path) -> anyhow::Result<(bool, Tally)> {
    let wish = fuzz::Wish {
        seconds: fuzz::SECONDS_IN_SUITE,
        targets: &[],
        record: false,
    };
    let (passed, failed) = fuzz::run(root, &wish)?;
    Ok((failed == 0, Tally { passed, failed }))
}

fn clippy() -> CommandLine {
    CommandLine::cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

fn release() -> CommandLine {
    CommandLine::cargo(["build", "--release", "-p", "fanfare-cli"])
}

/// Brings the pinned Node SDKs, once; what `fanfare-client` sends is compared with what they send.
fn node_packages() -> CommandLine {
    CommandLine::new("node", [format!("{NODE_FOLDER}/install.js")])
}

/// All tests but the kill test, which only means something against the release build.
fn unit(root: &Path) -> anyhow::Result<CommandLine> {
    if command::is_there("cargo-nextest") {
        let line = CommandLine::cargo(["nextest", "run", "--workspace", "--no-fail-fast"]);
        return Ok(line.arguments(&["-E", "not binary(kill)"]));
    }
    // cargo test cannot leave a test binary out, so the others are named.
    let mut line = CommandLine::cargo(["test", "--workspace", "--lib", "--bins", "--no-fail-fast"]);
    for name in integration_tests(root)? {
        line = line.arguments(&["--test", &name]);
    }
    Ok(line)
}

/// Names of the integration test binaries under `crates/*/tests`, the kill test left out.
fn integration_tests(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for crate_folder in std::fs::read_dir(root.join("crates"))? {
        let tests = crate_folder?.path().join("tests");
        if !tests.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(tests)? {
            let path = entry?.path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs")
                || path.join("main.rs").exists();
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            if is_test && !path.ends_with(KILL_TEST) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The test itself is built like every other; what it kills is the release binary.
fn kill(root: &Path) -> CommandLine {
    // The whole workspace, or its dependencies would be built once more with fewer features.
    let line = ["test", "--workspace", "--test", "kill", "--", "--nocapture"];
    CommandLine::cargo(line).environment("FANFARE_BIN", binary(root))
}

/// The SDK suites install their pinned packages themselves, and leave what they proved in `results`.
fn sdk(root: &Path, interpreter: &str, script: &str, results: &str) -> CommandLine {
    CommandLine::new(interpreter, [script])
        .environment("FANFARE_BIN", binary(root))
        .environment("FANFARE_CONFORMANCE_RESULTS", root.join(results))
}

/// The absolute path of the release binary, wherever the scripts change to.
fn binary(root: &Path) -> OsString {
    root.join(FANFARE_BIN).into_os_string()
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flags_every_stage_runs_in_order() {
        let choice = Choice::from_flags(&[], &[]);
        assert_eq!(choice.0, StageName::value_variants());
        assert_eq!(choice.0.first(), Some(&StageName::Ensure));
        assert_eq!(choice.0.last(), Some(&StageName::Surface));
    }

    #[test]
    fn skipped_stages_are_left_out_and_only_keeps_the_order_of_the_suite() {
        let choice = Choice::from_flags(&[StageName::Kill, StageName::Fmt], &[]);
        assert!(!choice.0.contains(&StageName::Kill) && !choice.0.contains(&StageName::Fmt));
        assert_eq!(choice.0.len(), StageName::value_variants().len() - 2);
        let choice = Choice::only(&[StageName::Kill, StageName::Release]);
        assert_eq!(choice.0, [StageName::Release, StageName::Kill]);
    }

    #[test]
    fn integration_tests_are_found_but_for_the_kill_test() {
        let root = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
        let tests = root.join("crates/cli/tests");
        std::fs::create_dir_all(tests.join("contract")).expect("a scratch folder");
        for file in ["kill.rs", "demo.rs", "contract/main.rs", "notes.md"] {
            std::fs::write(tests.join(file), "").expect("a scratch file");
        }
        let names = integration_tests(&root).expect("the folder is readable");
        std::fs::remove_dir_all(&root).expect("the scratch folder is ours");
        assert_eq!(names, ["contract", "demo"]);
    }
}
