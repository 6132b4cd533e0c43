//! The stored shape of what an import or export job is to do.
//!
//! While the job is active the URIs have their signatures, which only the ended job can do without.

use fanfare_hub::{
    ports::store::StoreError,
    transfers::{BlobName, ContainerUri, Direction, StorageAuthentication, TransferRequest},
};
use serde::{Deserialize, Serialize};

use crate::{
    embedded::actor::ActorRecord,
    record::{self, corrupt},
};

const WHAT: &str = "an import or export request";
/// The creator came with version 2: its content is that of version 1 with the creator behind it.
const VERSION: u8 = 2;

/// Version 2, in postcard. Never change it: a new shape is a new version.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RequestRecord {
    work: WorkRecord,
    creator: Option<ActorRecord>,
}

/// Version 1.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct WorkRecord {
    direction: DirectionRecord,
    authentication: Option<AuthenticationRecord>,
    configurations: Option<String>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
enum DirectionRecord {
    Export {
        output: String,
        blob: String,
        with_keys: bool,
    },
    Import {
        input: String,
        blob: String,
        output: String,
    },
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum AuthenticationRecord {
    Key,
    Identity,
}

impl RequestRecord {
    /// The record of a request.
    pub(super) fn new(request: &TransferRequest) -> Self {
        let text = |uri: &ContainerUri| uri.expose().to_owned();
        let name = |blob: &BlobName| blob.as_str().to_owned();
        let work = WorkRecord {
            direction: match &request.direction {
                Direction::Export {
                    output,
                    blob,
                    with_keys,
                } => DirectionRecord::Export {
                    output: text(output),
                    blob: name(blob),
                    with_keys: *with_keys,
                },
                Direction::Import {
                    input,
                    blob,
                    output,
                } => DirectionRecord::Import {
                    input: text(input),
                    blob: name(blob),
                    output: text(output),
                },
            },
            authentication: request.authentication.map(|way| match way {
                StorageAuthentication::Key => AuthenticationRecord::Key,
                StorageAuthentication::Identity => AuthenticationRecord::Identity,
            }),
            configurations: request.configurations.as_ref().map(name),
        };
        Self {
            work,
            creator: request.creator.as_ref().map(ActorRecord::new),
        }
    }

    /// Reads stored bytes.
    pub(super) fn open(bytes: &[u8]) -> Result<Self, StoreError> {
        match record::open(WHAT, bytes)?.0 {
            1 => Ok(Self {
                work: record::open_value(WHAT, 1, bytes)?,
                creator: None,
            }),
            _ => record::open_value(WHAT, VERSION, bytes),
        }
    }

    /// Bytes to store.
    pub(super) fn seal(&self) -> Vec<u8> {
        record::seal_value(VERSION, self)
    }

    /// The request.
    pub(super) fn into_request(self) -> Result<TransferRequest, StoreError> {
        let uri = |text: String| ContainerUri::new(&text);
        let name = |text: String| {
            BlobName::parse(&text).map_err(|_| corrupt(WHAT, "names a blob that cannot be"))
        };
        Ok(TransferRequest {
            direction: match self.work.direction {
                DirectionRecord::Export {
                    output,
                    blob,
                    with_keys,
                } => Direction::Export {
                    output: uri(output),
                    blob: name(blob)?,
                    with_keys,
                },
                DirectionRecord::Import {
                    input,
                    blob,
                    output,
                } => Direction::Import {
                    input: uri(input),
                    blob: name(blob)?,
                    output: uri(output),
                },
            },
            authentication: self.work.authentication.map(|way| match way {
                AuthenticationRecord::Key => StorageAuthentication::Key,
                AuthenticationRecord::Identity => StorageAuthentication::Identity,
            }),
            configurations: self.work.configurations.map(name).transpose()?,
            creator: self.creator.map(ActorRecord::into_actor),
        })
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::access::Actor;

    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../../tests/golden/transfer-v1.bin");
    const GOLDEN_V2: &[u8] = include_bytes!("../../../tests/golden/transfer-v2.bin");

    fn import() -> TransferRequest {
        TransferRequest {
            direction: Direction::Import {
                input: ContainerUri::new("https://a.blob.core.windows.net/c?sig=secret"),
                blob: BlobName::devices(),
                output: ContainerUri::new("file:reports"),
            },
            authentication: Some(StorageAuthentication::Key),
            configurations: Some(BlobName::configurations()),
            creator: None,
        }
    }

    #[test]
    fn version_1_still_loads() {
        let record = RequestRecord::open(GOLDEN_V1).unwrap();
        assert!(record.into_request().unwrap() == import());
    }

    #[test]
    fn version_2_loads_and_is_what_we_write() {
        let record = RequestRecord::open(GOLDEN_V2).unwrap();
        let expected = TransferRequest {
            creator: Some(Actor::Policy("registryReadWrite".into())),
            ..import()
        };
        assert!(record.clone().into_request().unwrap() == expected);
        assert_eq!(record.seal(), GOLDEN_V2);
        assert_eq!(RequestRecord::new(&expected).seal(), GOLDEN_V2);
    }

    #[test]
    fn an_export_survives() {
        let export = TransferRequest {
            direction: Direction::Export {
                output: ContainerUri::new("s3://bucket/prefix"),
                blob: BlobName::parse("a/b.txt").unwrap(),
                with_keys: false,
            },
            authentication: Some(StorageAuthentication::Identity),
            configurations: None,
            creator: None,
        };
        let bytes = RequestRecord::new(&export).seal();
        let read = RequestRecord::open(&bytes).unwrap().into_request().unwrap();
        assert!(read == export);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let mut record = RequestRecord::new(&import());
        record.work.configurations = Some("../escape".into());
        assert!(record.into_request().is_err());
    }
}
