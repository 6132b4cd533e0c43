//! A terminal of a known size, for what only shows on one: the live view, questions, colours.
//!
//! tmux is the terminal; each one has a server of its own, ended with the test.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::rig::Scene;

/// Pause between two looks at the screen.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Looks before a test gives up: 30 seconds.
const LOOKS_MAX: u32 = 600;

/// A terminal with one `fanfare` command in it.
pub(crate) struct Terminal {
    socket: String,
    /// Where the command's exit status is written when it has ended.
    status: PathBuf,
}

/// Runs the command after the file's name and keeps the screen when it has ended. The trap keeps Ctrl-C from
/// ending this shell, and is not handed on to the command.
const KEEP_STATUS: &str = r#"trap : INT; "$@"; echo $? > "$0"; read -r _"#;

impl Terminal {
    /// Runs `fanfare ARGUMENTS` in a terminal of that size.
    pub(crate) fn run(scene: &Scene, size: (u16, u16), arguments: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            socket: format!("fanfare-test-{}-{number}", std::process::id()),
            status: scene.folder().join(format!("status-{number}")),
        };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let mut new = terminal.tmux(&["-f", "/dev/null", "new-session", "-d"]);
        new.args(["-x", &columns, "-y", &rows, "-c"])
            .arg(scene.folder());
        for (name, value) in scene.environment(&[("TERM", "xterm-256color")]) {
            new.args(["-e", &format!("{name}={value}")]);
        }
        let command = scene.command(arguments, &[]);
        new.args(["sh", "-c", KEEP_STATUS]).arg(&terminal.status);
        new.arg(command.get_program()).args(command.get_args());
        checked(&mut new);
        terminal
    }

    /// Types keys, by tmux's names (`C-c`, `Enter`).
    pub(crate) fn type_keys(&self, keys: &[&str]) {
        checked(self.tmux(&["send-keys"]).args(keys));
    }

    /// The window gets another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        checked(
            self.tmux(&["resize-window", "-x", &columns, "-y", &rows])
                .args(["-t", "0"]),
        );
    }

    /// What is on the screen, without blanks at the ends of lines.
    pub(crate) fn screen(&self) -> String {
        let output = checked(&mut self.tmux(&["capture-pane", "-p"]));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    }

    /// Looks until the screen is as wanted, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..LOOKS_MAX {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            pause();
        }
        panic!("it never came; the screen is\n{}", self.screen());
    }

    /// Waits until the command has ended, and returns its exit status and the screen.
    #[track_caller]
    pub(crate) fn ended(&self) -> (i32, String) {
        for _ in 0..LOOKS_MAX {
            let said = std::fs::read_to_string(&self.status).unwrap_or_default();
            if let Some(status) = said.strip_suffix('\n') {
                return (status.parse().unwrap(), self.screen());
            }
            pause();
        }
        panic!("it never ended; the screen is\n{}", self.screen());
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(arguments);
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.tmux(&["kill-server"]).output();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a screen sends no signal when it changes"
)]
fn pause() {
    std::thread::sleep(LOOK_PAUSE);
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().expect("tmux is installed");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}
