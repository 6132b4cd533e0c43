//! The door to files outside the hub: what an import reads, and what an export and an import write.
//!
//! A container is a place named by a URI, a blob is one file in it. Which schemes there are and what each
//! may reach is the adapter's decision; nothing of a URI's query is ever printed.

use async_trait::async_trait;
use bytes::Bytes;

use crate::transfers::{BlobName, ContainerUri};

/// Files in containers.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Whether the hub would use this container; looks at the URI alone, not at the place.
    fn check(&self, container: &ContainerUri) -> Result<(), ContainerError>;

    /// Begins to read a blob from its start.
    async fn open(
        &self,
        container: &ContainerUri,
        blob: &BlobName,
    ) -> Result<Box<dyn BlobReader>, BlobError>;

    /// Begins to write a blob. Nobody sees it before [`BlobWriter::finish`], which replaces what was there.
    async fn create(
        &self,
        container: &ContainerUri,
        blob: &BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError>;
}

/// A blob being read.
#[async_trait]
pub trait BlobReader: Send {
    /// Bytes of the whole blob.
    fn bytes(&self) -> u64;

    /// The next piece, a few MiB at most; `None` at the end. [`BlobError::Changed`] when somebody replaced
    /// the blob meanwhile.
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError>;
}

/// A blob being written. Dropping it leaves what was there before.
#[async_trait]
pub trait BlobWriter: Send {
    /// Adds a piece; waits while too much is under way.
    async fn write(&mut self, piece: Bytes) -> Result<(), BlobError>;

    /// Makes the blob visible, whole; durable when this returns.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;
}

/// Why the hub does not use a container: which part of its URI is at fault, what is wrong, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {problem}")]
pub struct ContainerError {
    /// "the scheme", "the host", ...
    pub part: &'static str,
    /// What is wrong with it; never a secret.
    pub problem: String,
}

/// Why a blob was not read or written. Texts hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The URI names no place that the hub would use.
    #[error("{0}")]
    Container(#[from] ContainerError),
    /// It is not there, or its container is not.
    #[error("{0} does not exist")]
    Absent(String),
    /// The place refuses the credentials, or what is there is not a plain file.
    #[error("{what} may not be used: {problem}")]
    Refused {
        /// Container and blob.
        what: String,
        /// As the place put it.
        problem: String,
    },
    /// It is no longer the blob that was begun.
    #[error("{0} was changed while it was read")]
    Changed(String),
    /// The place cannot be reached or fails, also after some tries.
    #[error("{what} cannot be used now: {problem}")]
    Unavailable {
        /// Container and blob.
        what: String,
        /// As the place put it.
        problem: String,
    },
}
