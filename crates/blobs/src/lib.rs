//! Adapter of the hub's blob port: where import and export jobs read and write.
//!
//! Three kinds of places, told apart by the scheme of the container's URI ([`place`]): folders below the data
//! folder ([`folder`]), containers of Azure Blob endpoints opened by the signature in their URI, and buckets of
//! S3 endpoints opened by the node's own settings (both [`remote`]). What each may reach is decided here,
//! before anything is opened: docs/decisions/0007-where-imports-and-exports-go.md.

mod folder;
mod place;
mod remote;

use std::{net::IpAddr, path::PathBuf};

use async_trait::async_trait;
use fanfare_hub::{
    ports::blobs::{BlobError, BlobReader, BlobWriter, Blobs, ContainerError},
    transfers::{BlobName, ContainerUri},
};

use self::{
    folder::{FolderReader, FolderWriter},
    place::Place,
    remote::{Remote, RemoteReader, RemoteWriter},
};

/// What a node allows and knows.
#[derive(Debug, Clone, Default)]
pub struct BlobSettings {
    /// The folder that `file:` URIs are below; made when it is first written to.
    pub folder: PathBuf,
    /// Hosts that may be spoken to without TLS, besides loopback addresses.
    pub plain_hosts: Vec<String>,
    /// The S3 endpoint and who the node is there; absent refuses `s3:` URIs.
    pub s3: Option<S3Settings>,
}

/// An S3 endpoint.
#[derive(Clone)]
pub struct S3Settings {
    /// `https://host[:port]`; absent is Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region, `us-east-1` where an endpoint does not care.
    pub region: String,
    /// Who the node is.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The blobs a node can reach.
pub struct BlobPlaces {
    settings: BlobSettings,
    http: reqwest::Client,
}

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for imports and exports cannot be made: {0}")]
pub struct ClientError(String);

impl BlobPlaces {
    /// With these settings; nothing is opened yet.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be used.
    pub fn new(settings: BlobSettings) -> Result<Self, ClientError> {
        let http = remote::http_client().map_err(ClientError)?;
        Ok(Self { settings, http })
    }

    fn place(&self, container: &ContainerUri) -> Result<Place, ContainerError> {
        let place = Place::parse(container.expose(), &self.settings.folder)?;
        match &place {
            Place::Folder(_) => {}
            Place::Azure(azure) => {
                if azure.is_plain && !self.may_be_plain(&azure.host) {
                    return Err(ContainerError {
                        part: "the scheme",
                        problem: format!(
                            "is http, which {} is not allowed to be used with; https is, and http to \
                             loopback addresses and to the hosts of the setting blob-plain-hosts",
                            azure.host
                        ),
                    });
                }
            }
            Place::S3(_) if self.settings.s3.is_none() => {
                return Err(ContainerError {
                    part: "the scheme",
                    problem: "is s3, for which this hub has no credentials; the settings \
                              s3-access-key-id and s3-secret-access-key give it some"
                        .to_owned(),
                });
            }
            Place::S3(_) => {}
        }
        Ok(place)
    }

    fn may_be_plain(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let hosts = &self.settings.plain_hosts;
        is_loopback
            || host == "localhost"
            || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    fn remote(&self, place: &Place, blob: &BlobName, what: String) -> Result<Remote, BlobError> {
        Remote::new(place, blob, self.settings.s3.as_ref(), &self.http, what)
    }
}

#[async_trait]
impl Blobs for BlobPlaces {
    fn check(&self, container: &ContainerUri) -> Result<(), ContainerError> {
        self.place(container).map(drop)
    }

    async fn open(
        &self,
        container: &ContainerUri,
        blob: &BlobName,
    ) -> Result<Box<dyn BlobReader>, BlobError> {
        let what = named(container, blob);
        match self.place(container)? {
            Place::Folder(folder) => {
                let root = self.settings.folder.clone();
                Ok(Box::new(
                    FolderReader::open(root, folder, blob, what).await?,
                ))
            }
            place => {
                let remote = self.remote(&place, blob, what)?;
                Ok(Box::new(RemoteReader::open(remote).await?))
            }
        }
    }

    async fn create(
        &self,
        container: &ContainerUri,
        blob: &BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let what = named(container, blob);
        match self.place(container)? {
            Place::Folder(folder) => {
                let root = self.settings.folder.clone();
                Ok(Box::new(
                    FolderWriter::create(root, folder, blob, what).await?,
                ))
            }
            place => {
                let remote = self.remote(&place, blob, what)?;
                Ok(Box::new(RemoteWriter::create(remote)))
            }
        }
    }
}

/// How errors call a blob: without the query of its container.
fn named(container: &ContainerUri, blob: &BlobName) -> String {
    format!("{blob} in {container}")
}
