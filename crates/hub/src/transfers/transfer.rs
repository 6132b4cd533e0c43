//! What an import or export job is, its states, and every legal move between them.
//!
//! Waiting, running, then completed, failed or cancelled. A job that was running when its node died is
//! waiting in all but name: it begins again from its start, which is safe because an export writes its blobs
//! anew and an import's lines say what is to be so.

use std::{fmt, sync::Arc};

use crate::{access::Actor, ids::JobId, time::Timestamp};

/// The number of an import or export job: its place in the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferNumber(pub u64);

/// An import or export job.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// Its number.
    pub number: TransferNumber,
    /// Its name, made by the hub.
    pub id: JobId,
    /// What it is to do.
    pub request: TransferRequest,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it began, the first time.
    pub started: Option<Timestamp>,
    /// How far it has come, 0 to 100.
    pub percent: u8,
    /// Where it stands.
    pub state: TransferState,
}

/// Where an import or export job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Accepted; the runner begins it.
    Waiting,
    /// At work; the runner ends it, a cancel too.
    Running,
    /// Over; removed when its history is over.
    Ended {
        /// How.
        end: TransferEnd,
        /// When.
        at: Timestamp,
    },
}

/// How an import or export job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferEnd {
    /// All was written; an import's bad lines are in its log.
    Completed,
    /// It could not be done, for this reason.
    Failed(String),
    /// Somebody cancelled it.
    Cancelled,
}

/// The move is not one of the job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job has ended")]
pub struct HasEnded;

impl Transfer {
    /// A job just accepted.
    pub fn new(
        number: TransferNumber,
        id: JobId,
        request: TransferRequest,
        created: Timestamp,
    ) -> Self {
        Self {
            number,
            id,
            request,
            created,
            started: None,
            percent: 0,
            state: TransferState::Waiting,
        }
    }

    /// Begins it, or begins it again from its start.
    pub fn begin(&mut self, at: Timestamp) -> Result<(), HasEnded> {
        self.still_active()?;
        self.state = TransferState::Running;
        self.started = self.started.or(Some(at));
        self.percent = 0;
        Ok(())
    }

    /// Notes how far it has come.
    pub fn progress(&mut self, percent: u8) -> Result<(), HasEnded> {
        self.still_active()?;
        self.percent = percent.min(100);
        Ok(())
    }

    /// Ends it, and forgets what opened its containers.
    pub fn end(&mut self, end: TransferEnd, at: Timestamp) -> Result<(), HasEnded> {
        self.still_active()?;
        if end == TransferEnd::Completed {
            self.percent = 100;
        }
        self.state = TransferState::Ended { end, at };
        self.request.forget_secrets();
        Ok(())
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, TransferState::Ended { .. })
    }

    fn still_active(&self) -> Result<(), HasEnded> {
        if self.has_ended() {
            Err(HasEnded)
        } else {
            Ok(())
        }
    }
}

/// What an import or export job is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRequest {
    /// Which way, from or to where.
    pub direction: Direction,
    /// How the caller says the places are opened; told back, nothing more: the URIs decide.
    pub authentication: Option<StorageAuthentication>,
    /// The blob of configurations, if these take part.
    pub configurations: Option<BlobName>,
    /// Who asks; unknown of jobs from before this was kept.
    pub creator: Option<Actor>,
}

/// Which way identities go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Out of the registry.
    Export {
        /// Where the blob goes.
        output: ContainerUri,
        /// Its name.
        blob: BlobName,
        /// Whether keys go along.
        with_keys: bool,
    },
    /// Into the registry.
    Import {
        /// Where the blob is.
        input: ContainerUri,
        /// Its name.
        blob: BlobName,
        /// Where the errors' log goes.
        output: ContainerUri,
    },
}

/// The contract's two ways to open a storage account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageAuthentication {
    /// With a key, or a signature in the URI.
    Key,
    /// With the hub's own identity.
    Identity,
}

impl TransferRequest {
    fn forget_secrets(&mut self) {
        match &mut self.direction {
            Direction::Export { output, .. } => *output = output.without_secret(),
            Direction::Import { input, output, .. } => {
                *input = input.without_secret();
                *output = output.without_secret();
            }
        }
    }
}

/// The URI of a container. Its query may hold a signature, so `Debug` and `Display` leave that out.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerUri(Arc<str>);

impl ContainerUri {
    /// Wraps the text as it came; [`crate::ports::Blobs::check`] says whether it is of use.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole text, with its signature. For the one who opens the container.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text with the signature's value replaced by `***`, and a password too. compat: XFER-6
    pub fn shown(&self) -> String {
        let (base, query) = match self.0.split_once('?') {
            Some((base, query)) => (base, Some(query)),
            None => (&*self.0, None),
        };
        let mut shown = without_password(base);
        if let Some(query) = query {
            shown.push('?');
            let parts: Vec<_> = query.split('&').map(without_value).collect();
            shown.push_str(&parts.join("&"));
        }
        shown
    }

    fn without_secret(&self) -> Self {
        Self(self.shown().into())
    }
}

fn without_password(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else {
        return base.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => base.to_owned(),
    }
}

/// Everything in a signed query may be seen but the signature itself. A name that is percent-encoded may be
/// its name.
fn without_value(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if name.eq_ignore_ascii_case("sig") || name.contains('%') => {
            format!("{name}=***")
        }
        _ => parameter.to_owned(),
    }
}

impl fmt::Display for ContainerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown();
        f.write_str(shown.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for ContainerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The name of a blob: 1 to 1,024 bytes, parts between slashes that are neither empty nor dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName(Arc<str>);

/// Why a text names no blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobNameError {
    /// It has no characters, or too many.
    #[error("must have 1 to 1024 bytes")]
    Length,
    /// It could lead elsewhere.
    #[error("must have no empty part, no part of dots, no backslash and no control character")]
    Part,
}

impl BlobName {
    /// Parses the text.
    pub fn parse(text: &str) -> Result<Self, BlobNameError> {
        if text.is_empty() || text.len() > BLOB_NAME_BYTES_MAX {
            return Err(BlobNameError::Length);
        }
        let is_part = |part: &str| !matches!(part, "" | "." | "..");
        let is_fine = |c: char| !c.is_control() && c != '\\';
        if text.split('/').all(is_part) && text.chars().all(is_fine) {
            Ok(Self(text.into()))
        } else {
            Err(BlobNameError::Part)
        }
    }

    /// Where an export's identities go, and an import's come from, when nobody says. compat: XFER-3
    pub fn devices() -> Self {
        Self("devices.txt".into())
    }

    /// The same for configurations. compat: XFER-3
    pub fn configurations() -> Self {
        Self("configurations.txt".into())
    }

    /// Where an import tells which lines failed. compat: XFER-4
    pub fn errors() -> Self {
        Self("importErrors.log".into())
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Azure's and S3's limit.
const BLOB_NAME_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn export(uri: &str) -> Transfer {
        let request = TransferRequest {
            direction: Direction::Export {
                output: ContainerUri::new(uri),
                blob: BlobName::devices(),
                with_keys: true,
            },
            authentication: None,
            configurations: None,
            creator: None,
        };
        let id = JobId::parse("t").unwrap();
        Transfer::new(TransferNumber(1), id, request, Timestamp(0))
    }

    #[test]
    fn a_job_ends_once_and_can_begin_again_until_then() {
        let mut job = export("file:a");
        job.begin(Timestamp(5)).unwrap();
        job.progress(40).unwrap();
        job.begin(Timestamp(9)).unwrap();
        assert_eq!((job.started, job.percent), (Some(Timestamp(5)), 0));
        job.end(TransferEnd::Completed, Timestamp(10)).unwrap();
        assert_eq!(job.percent, 100);
        let ended = job.clone();
        assert_eq!(job.begin(Timestamp(11)), Err(HasEnded));
        assert_eq!(job.progress(1), Err(HasEnded));
        assert_eq!(
            job.end(TransferEnd::Cancelled, Timestamp(11)),
            Err(HasEnded)
        );
        assert_eq!(job, ended);
    }

    #[test]
    fn a_signature_is_not_shown_and_goes_with_the_end() {
        let cases = [
            (
                "https://a.blob.core.windows.net/c?sv=1&sig=s3cret%3D&se=2",
                "https://a.blob.core.windows.net/c?sv=1&sig=***&se=2",
            ),
            (
                "http://127.0.0.1:1/a/c?SIG=s3cret",
                "http://127.0.0.1:1/a/c?SIG=***",
            ),
            (
                "https://host/a/c?%73ig=s3cret",
                "https://host/a/c?%73ig=***",
            ),
            ("https://me:s3cret@host/c", "https://***@host/c"),
            ("file:a/b", "file:a/b"),
        ];
        for (uri, shown) in cases {
            let mut job = export(uri);
            let Direction::Export { output, .. } = &job.request.direction else {
                panic!("it is an export");
            };
            assert_eq!(output.shown(), shown);
            assert_eq!(output.expose(), uri);
            assert!(!format!("{job:?} {output}").contains("s3cret"));
            job.end(TransferEnd::Cancelled, Timestamp(1)).unwrap();
            let Direction::Export { output, .. } = &job.request.direction else {
                panic!("it is an export");
            };
            assert_eq!(output.expose(), shown);
        }
    }

    #[test]
    fn names_of_blobs_lead_nowhere_else() {
        for good in ["devices.txt", "a/b c/d", "...", "ä"] {
            assert_eq!(BlobName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["/a", "a/", "a//b", "..", "a/../b", ".", "a\\b", "a\nb"] {
            assert_eq!(BlobName::parse(bad), Err(BlobNameError::Part), "{bad}");
        }
        assert_eq!(BlobName::parse(""), Err(BlobNameError::Length));
        assert_eq!(
            BlobName::parse(&"a".repeat(1_025)),
            Err(BlobNameError::Length)
        );
    }
}
