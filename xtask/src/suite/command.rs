//! Decides how a stage's command is run: its output shown line by line and counted, its time bounded.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::tally::Tally;

/// Lines that wait between a command and the terminal; a command that prints faster is held up.
const LINES_WAITING_MAX: usize = 1_024;

/// Starts of the variables in which `cargo run` describes xtask to itself. Some build scripts (ring's)
/// watch them, so handing them on would rebuild half the tree at every change from `cargo xtask` to `cargo`.
const OF_CARGO_RUN: &[&str] = &[
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
];

/// A program with its arguments and extra environment.
pub(crate) struct CommandLine {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl CommandLine {
    pub(crate) fn new<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: arguments
                .into_iter()
                .map(|one| one.as_ref().to_owned())
                .collect(),
            environment: Vec::new(),
        }
    }

    /// Cargo itself: the one that runs xtask, which names its path, else the one on the PATH.
    pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let line = Self::new(cargo, arguments);
        match std::io::stdout().is_terminal() {
            true => line.environment("CARGO_TERM_COLOR", "always"),
            false => line,
        }
    }

    pub(crate) fn arguments<A: AsRef<OsStr>>(mut self, more: &[A]) -> Self {
        self.arguments
            .extend(more.iter().map(|one| one.as_ref().to_owned()));
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs with output shown and counted, for at most `limit`. Returns whether it ended well.
    ///
    /// # Errors
    /// When the program cannot be started or waited for.
    pub(crate) fn run_counted(
        &self,
        folder: &Path,
        limit: Duration,
    ) -> anyhow::Result<(bool, Tally)> {
        println!("$ {}", self.shown());
        let mut command = self.command(folder);
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("{} could not be started", self.shown()))?;
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
        forward(child.stdout.take(), &sender);
        forward(child.stderr.take(), &sender);
        drop(sender);

        let mut tally = Tally::default();
        let end = Instant::now() + limit;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    println!("{line}");
                    tally.read(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    println!("not done after {} minutes: stopped", limit.as_secs() / 60);
                    stop(&mut child)?;
                    return Ok((false, tally));
                }
            }
        }
        Ok((child.wait()?.success(), tally))
    }

    /// Runs with the terminal handed over. Returns whether it ended well.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn run_attached(&self, folder: &Path) -> anyhow::Result<bool> {
        println!("$ {}", self.shown());
        let status = self.command(folder).status();
        Ok(status
            .with_context(|| format!("{} could not be started", self.shown()))?
            .success())
    }

    /// Runs unseen; whether it could be started and ended well.
    pub(crate) fn succeeds(&self) -> bool {
        self.output().is_some()
    }

    /// Standard output of a run that ended well.
    pub(crate) fn output(&self) -> Option<String> {
        let output = self
            .command(Path::new("."))
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| OF_CARGO_RUN.iter().any(|one| name.starts_with(one)))
            {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(folder);
        command
    }

    fn shown(&self) -> String {
        let program = Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program);
        let mut shown = program.to_string_lossy().into_owned();
        for argument in &self.arguments {
            shown.push(' ');
            let argument = argument.to_string_lossy();
            match argument.contains(' ') {
                true => shown.push_str(&format!("'{argument}'")),
                false => shown.push_str(&argument),
            }
        }
        shown
    }
}

/// Whether a program of this name lies on the PATH.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Sends every line of `source` until it ends. The thread ends with the command's output, or when the
/// receiver is gone.
fn forward(source: Option<impl Read + Send + 'static>, sender: &SyncSender<String>) {
    let Some(source) = source else { return };
    let sender = sender.clone();
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while source
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
}

fn stop(child: &mut Child) -> anyhow::Result<()> {
    child
        .kill()
        .context("a command that took too long could not be stopped")?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandLine {
        CommandLine::new("sh", ["-c", script])
    }

    #[test]
    fn output_of_both_streams_is_counted() {
        let line = shell("echo '2 passed, 0 failed'; echo '1 passed, 1 failed' >&2; exit 3");
        let (passed, tally) = line
            .run_counted(Path::new("."), Duration::from_secs(60))
            .expect("sh is there");
        assert!(!passed);
        assert_eq!(
            tally,
            Tally {
                passed: 3,
                failed: 1
            }
        );
    }

    #[test]
    fn what_cargo_run_says_of_xtask_is_not_handed_on() {
        assert!(
            std::env::var_os("CARGO_PKG_NAME").is_some(),
            "cargo test sets it as cargo run does"
        );
        let output = shell("echo \"[$CARGO_PKG_NAME]\"")
            .output()
            .expect("sh is there");
        assert_eq!(output.trim(), "[]");
    }

    #[test]
    fn a_command_that_hangs_is_stopped() {
        let line = CommandLine::new("sleep", ["600"]);
        let (passed, _) = line
            .run_counted(Path::new("."), Duration::from_millis(50))
            .expect("sleep is there");
        assert!(!passed);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_it() {
        let line = CommandLine::new("no-such-program", ["--flag"]);
        let error = line
            .run_counted(Path::new("."), Duration::from_secs(1))
            .expect_err("absent");
        assert!(
            error.to_string().contains("no-such-program --flag"),
            "{error}"
        );
        assert!(!line.succeeds());
    }
}
