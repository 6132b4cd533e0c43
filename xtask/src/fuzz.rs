//! Decides how the fuzz targets are built and run, and keeps the book of their hours.
//!
//! The targets link libFuzzer and are instrumented by flags that every stable compiler takes, so no other
//! toolchain and no further tool is needed. Each target has a folder of seeds in the tree; what a run finds
//! besides is kept below `target/` and is where the next run on the same machine begins.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::suite::command::CommandLine;

/// Seconds that each target runs in the suite.
pub(crate) const SECONDS_IN_SUITE: u64 = 60;

/// Where the book is.
const BOOK: &str = "fuzz/HOURS.md";

/// What `cargo fuzz` gives the compiler too, but for the sanitizers, which safe code needs least.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// What is asked of a run.
pub(crate) struct Wish<'a> {
    /// Seconds for each target.
    pub(crate) seconds: u64,
    /// The targets by name; empty means all.
    pub(crate) targets: &'a [String],
    /// Whether the run is written into the book.
    pub(crate) record: bool,
}

/// How one target fared.
struct Fared {
    target: String,
    is_fine: bool,
    runs: u64,
    /// Edges of the instrumented code that the inputs reach.
    edges: u64,
}

/// Runs the targets, as many at once as there are processors. Returns how many passed and failed.
///
/// # Errors
/// When they cannot be built or started.
pub(crate) fn run(root: &Path, wish: &Wish<'_>) -> anyhow::Result<(u64, u64)> {
    let targets = chosen(&all(root)?, wish.targets)?;
    let host = host()?;
    build(root, &host)?;
    let built = root.join("target/fuzz").join(&host).join("release");
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut fared = Vec::new();
    for group in targets.chunks(at_once) {
        let started: Vec<_> = group
            .iter()
            .map(|target| Ok((target, start(root, &built, target, wish.seconds)?)))
            .collect::<anyhow::Result<_>>()?;
        for (target, child) in started {
            fared.push(finish(root, target, child)?);
        }
    }
    for one in &fared {
        let verdict = if one.is_fine { "ok" } else { "FAILED" };
        let Fared {
            target,
            runs,
            edges,
            ..
        } = one;
        println!("fuzz {target}: {verdict}, {runs} inputs, {edges} edges reached");
    }
    if wish.record {
        record(root, wish.seconds, &fared)?;
    }
    let failed = fared.iter().filter(|one| !one.is_fine).count() as u64;
    Ok((fared.len() as u64 - failed, failed))
}

/// Every target there is, by name.
fn all(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(stem.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn chosen(all: &[String], wished: &[String]) -> anyhow::Result<Vec<String>> {
    if let Some(unknown) = wished.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no fuzz target {unknown}; there are {}",
            all.join(", ")
        );
    }
    Ok(match wished {
        [] => all.to_vec(),
        some => some.to_vec(),
    })
}

/// Named to cargo, so that build scripts and macros are not instrumented.
fn host() -> anyhow::Result<String> {
    let told = Command::new("rustc").arg("-vV").output()?;
    let told = String::from_utf8(told.stdout)?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

fn build(root: &Path, host: &str) -> anyhow::Result<()> {
    let line = CommandLine::cargo(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .arguments(&["--target", host, "--target-dir", "target/fuzz"])
        .environment("RUSTFLAGS", FLAGS);
    ensure!(line.run_attached(root)?, "the fuzz targets do not build");
    Ok(())
}

fn artifacts(root: &Path, target: &str) -> PathBuf {
    root.join("target/fuzz/artifacts").join(target)
}

fn log(root: &Path, target: &str) -> PathBuf {
    root.join("target/fuzz").join(format!("{target}.log"))
}

fn start(root: &Path, built: &Path, target: &str, seconds: u64) -> anyhow::Result<Child> {
    let (found, seeds) = (
        root.join("target/fuzz/corpus").join(target),
        root.join("fuzz/seeds").join(target),
    );
    let artifacts = artifacts(root, target);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder)?;
    }
    ensure!(seeds.is_dir(), "{} has the seeds of it", seeds.display());
    let log = File::create(log(root, target))?;
    let mut command = Command::new(built.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=32768"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&found, &seeds])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command
        .spawn()
        .with_context(|| format!("{target} does not start"))
}

fn finish(root: &Path, target: &str, mut child: Child) -> anyhow::Result<Fared> {
    let is_fine = child.wait()?.success();
    let log = log(root, target);
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !is_fine {
        let tail: Vec<_> = said.lines().rev().take(40).collect();
        tail.iter().rev().for_each(|line| println!("  {line}"));
        let found = artifacts(root, target);
        println!(
            "the input is in {}; hand its path to the target to see it again",
            found.display()
        );
    }
    Ok(Fared {
        target: target.to_owned(),
        is_fine,
        runs: runs(&said),
        edges: edges(&said),
    })
}

/// `Done 123 runs in 6 second(s)`.
fn runs(said: &str) -> u64 {
    let done = said.lines().find_map(|line| line.strip_prefix("Done "));
    let number = done.and_then(|rest| rest.split(' ').next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The last `cov: 123`.
fn edges(said: &str) -> u64 {
    let last = said
        .rsplit("cov: ")
        .next()
        .filter(|_| said.contains("cov: "));
    let number = last.and_then(|rest| rest.split(' ').next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn record(root: &Path, seconds: u64, fared: &[Fared]) -> anyhow::Result<()> {
    let today = Command::new("date").args(["-u", "+%F"]).output()?;
    let today = String::from_utf8(today.stdout)?;
    let mut book = OpenOptions::new().append(true).open(root.join(BOOK))?;
    for one in fared {
        let Fared {
            target,
            runs,
            edges,
            ..
        } = one;
        let found = if one.is_fine { "nothing" } else { "a fault" };
        let (today, minutes) = (today.trim(), seconds as f64 / 60.0);
        writeln!(
            book,
            "| {today} | {target} | {minutes:.1} | {runs} | {edges} | {found} |"
        )?;
    }
    drop(book);
    let path = root.join(BOOK);
    let text = fs::read_to_string(&path)?;
    Ok(fs::write(path, summed(&text))?)
}

/// The book with the line of sums made anew.
fn summed(book: &str) -> String {
    let minutes: f64 = book
        .lines()
        .filter_map(|line| line.split('|').nth(3)?.trim().parse::<f64>().ok())
        .sum();
    let sum = format!("Together: {:.1} hours.", minutes / 60.0);
    let lines: Vec<_> = book
        .lines()
        .map(|line| match line.starts_with("Together: ") {
            true => sum.as_str(),
            false => line,
        })
        .collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "#2 INITED cov: 5 ft: 6\n#9 pulse  cov: 16 ft: 16 corp: 3/24b\nDone 4674213 runs in 6 second(s)\n";

    #[test]
    fn what_the_fuzzer_says_is_read() {
        assert_eq!((runs(SAID), edges(SAID)), (4_674_213, 16));
        assert_eq!((runs("crashed"), edges("crashed")), (0, 0));
    }

    #[test]
    fn a_target_that_is_not_there_is_named() {
        let all = ["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(&all, &[]).expect("all"), all);
        let refused = chosen(&all, &["c".to_owned()])
            .expect_err("none")
            .to_string();
        assert!(refused.contains("a, b"), "{refused}");
    }

    #[test]
    fn the_book_is_summed() {
        let book = "Together: 0.0 hours.\n\n| day | target | minutes | x |\n|---|---|---|---|\n\
                    | 2026-01-01 | a | 90.0 | 1 |\n| 2026-01-02 | b | 30.0 | 2 |\n";
        assert!(summed(book).starts_with("Together: 2.0 hours.\n\n| day"));
    }
}
