//! Why a verb did not do what it was asked, and the exit code that says so to scripts.
//!
//! A failure is made where it is noticed and printed once, at the end of the process (`diagnostic.rs`). What it
//! holds is what a person needs next: what went wrong, the hub's own words, the text at fault, what to try.

use std::fmt;

use fanfare_client::Error;

/// How the process ends. The numbers are promised to scripts (`docs/reference/cli.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked is done.
    Done = 0,
    /// It could not be done, or devices failed where `--fail-on-device-error` makes that count.
    NotDone = 1,
    /// The arguments, or a file they name, cannot be used. Nothing was sent.
    Usage = 2,
    /// The hub gave no answer.
    Unreachable = 3,
    /// The hub said no.
    Refused = 4,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Why a verb ended without being done. Made by one of the constructors, enriched by the methods after them:
///
/// ```
/// use fanfare_cli::failure::{Exit, Failure};
///
/// let failure = Failure::usage("list.txt has no ids").try_this("put one id on each line");
/// assert_eq!(failure.exit(), Exit::Usage);
/// ```
#[derive(Debug)]
pub struct Failure(Box<Story>);

/// What [`Failure`] holds; boxed, since results are mostly fine.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) exit: Exit,
    /// One line; empty when nothing is to be printed.
    pub(crate) title: String,
    /// Whether a verb gave the title in place of the client's words.
    pub(crate) is_retitled: bool,
    /// The causes, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the client said, for those who look closer.
    pub(crate) client: Option<Error>,
    /// The condition, query or document that was sent or read.
    pub(crate) about: Option<About>,
    pub(crate) tries: Vec<String>,
}

/// A text that somebody wrote, and the place in it that is wrong, where that is known.
#[derive(Debug)]
pub(crate) struct About {
    /// "condition", "query", or the name of a file.
    pub(crate) what: String,
    pub(crate) text: String,
    /// Line and column from 1, in characters. Absent: read from the hub's words.
    pub(crate) place: Option<(usize, usize)>,
    /// What is wrong there. Absent: the hub's words.
    pub(crate) words: Option<String>,
}

impl Failure {
    /// It could not be done, and neither the arguments nor the hub are to blame.
    pub fn not_done(title: impl Into<String>) -> Self {
        Self::new(Exit::NotDone, title)
    }

    /// The arguments, or a file they name, cannot be used.
    pub fn usage(title: impl Into<String>) -> Self {
        Self::new(Exit::Usage, title)
    }

    /// The hub gave no answer.
    pub fn unreachable(title: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, title)
    }

    /// The hub said no.
    pub fn refused(title: impl Into<String>) -> Self {
        Self::new(Exit::Refused, title)
    }

    /// Ends the process with this code and prints nothing, because all is said already.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    fn new(exit: Exit, title: impl Into<String>) -> Self {
        Self(Box::new(Story {
            exit,
            title: title.into(),
            is_retitled: false,
            causes: Vec::new(),
            client: None,
            about: None,
            tries: Vec::new(),
        }))
    }

    /// Adds a cause below the title.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Adds a line that says what would help.
    #[must_use]
    pub fn try_this(mut self, what: impl Into<String>) -> Self {
        self.0.tries.push(what.into());
        self
    }

    /// Says which text the hub's `Line L:C` is about, so that a caret can be drawn below the place. `what` names
    /// it: "condition", "query".
    #[must_use]
    pub fn about(mut self, what: impl Into<String>, text: impl Into<String>) -> Self {
        self.0.about = Some(About {
            what: what.into(),
            text: text.into(),
            place: None,
            words: None,
        });
        self
    }

    /// As [`Self::about`], for a place that is known here: line and column from 1, in characters.
    #[must_use]
    pub fn at(
        mut self,
        what: impl Into<String>,
        text: impl Into<String>,
        line: usize,
        column: usize,
    ) -> Self {
        self = self.about(what, text);
        if let Some(about) = &mut self.0.about {
            about.place = Some((line, column));
        }
        self
    }

    /// What is wrong at the place, in place of the hub's words, which are about a text that the person did not write.
    #[must_use]
    pub(crate) fn in_words(mut self, words: String) -> Self {
        if let Some(about) = &mut self.0.about {
            about.words = Some(words);
        }
        self
    }

    /// Says what was being done: "job lock-43 was not cancelled". The client's or the old words follow it.
    #[must_use]
    pub fn while_doing(mut self, title: impl Into<String>) -> Self {
        let words = std::mem::replace(&mut self.0.title, title.into());
        self.0.is_retitled = true;
        if self.0.client.is_none() {
            self.0.causes.insert(0, words);
        }
        self
    }

    /// Changes the title.
    #[must_use]
    pub(crate) fn retitled(mut self, title: String) -> Self {
        self.0.title = title;
        self
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The client's error, when a call of it failed.
    #[must_use]
    pub fn client_error(&self) -> Option<&Error> {
        self.0.client.as_ref()
    }

    pub(crate) fn story(&self) -> &Story {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.title)
    }
}

/// A call of the client failed: what it says decides the exit code.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Refused(_) => Exit::Refused,
            Error::Unreachable { .. } | Error::NoReply { .. } => Exit::Unreachable,
            // The tokens of this command line come from files that its arguments name.
            Error::Setup(_)
            | Error::Argument(_)
            | Error::Credential(_)
            | Error::SignatureExpired { .. } => Exit::Usage,
            _ => Exit::NotDone,
        };
        let mut failure = Self::new(exit, error.to_string());
        failure.0.client = Some(error);
        failure
    }
}

/// Writing the result failed. A reader that went away (`| head`) has what it wanted.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::Done);
        }
        Self::not_done("the result cannot be written").because(error)
    }
}

/// For verbs that end with `anyhow`; a broken pipe and a client's error inside keep their meaning.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<Error>() {
            Ok(error) => return error.into(),
            Err(error) => error,
        };
        let is_closed = |cause: &(dyn std::error::Error + 'static)| {
            cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        };
        if error.chain().any(is_closed) {
            return Self::silent(Exit::Done);
        }
        let mut failure = Self::not_done(error.to_string());
        for cause in error.chain().skip(1) {
            failure = failure.because(cause);
        }
        failure
    }
}
