//! The stored shape of a registry entry's settings.
//!
//! Names, generation, etag and status are columns; this record holds the rest.

use std::fmt;

use fanfare_hub::{
    ports::store::StoreError,
    registry::{Authentication, IdentitySettings, Status, SymmetricKey},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::record;

const WHAT: &str = "an identity record";
const V1: u8 = 1;
const V2: u8 = 2;

/// Version 2, in postcard: version 1 and who looks after a module. Never change it: a new shape is a new
/// version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    /// Microseconds since the epoch.
    pub(crate) status_updated: i64,
    pub(crate) status_reason: Option<String>,
    pub(crate) authentication: AuthenticationRecord,
    pub(crate) edge: bool,
    pub(crate) device_scope: Option<String>,
    pub(crate) parent_scopes: Vec<String>,
    pub(crate) managed_by: Option<String>,
}

/// Version 1, in postcard; not written any more.
#[derive(Deserialize)]
struct IdentityRecordV1 {
    status_updated: i64,
    status_reason: Option<String>,
    authentication: AuthenticationRecord,
    edge: bool,
    device_scope: Option<String>,
    parent_scopes: Vec<String>,
}

impl From<IdentityRecordV1> for IdentityRecord {
    fn from(v1: IdentityRecordV1) -> Self {
        Self {
            status_updated: v1.status_updated,
            status_reason: v1.status_reason,
            authentication: v1.authentication,
            edge: v1.edge,
            device_scope: v1.device_scope,
            parent_scopes: v1.parent_scopes,
            managed_by: None,
        }
    }
}

/// Never printed: it holds plain keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AuthenticationRecord {
    Sas {
        primary: String,
        secondary: String,
    },
    SelfSigned {
        primary: Option<String>,
        secondary: Option<String>,
    },
    CertificateAuthority,
    None,
}

impl fmt::Debug for AuthenticationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthenticationRecord(..)")
    }
}

impl IdentityRecord {
    /// The record of these settings.
    pub(crate) fn new(settings: &IdentitySettings, status_updated: Timestamp) -> Self {
        Self {
            status_updated: status_updated.0,
            status_reason: settings.status_reason.clone(),
            authentication: (&settings.authentication).into(),
            edge: settings.edge,
            device_scope: settings.device_scope.clone(),
            parent_scopes: settings.parent_scopes.clone(),
            managed_by: settings.managed_by.clone(),
        }
    }

    /// Reads stored bytes of either version.
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            Some(&V1) => record::open_value::<IdentityRecordV1>(WHAT, V1, bytes).map(Self::from),
            _ => record::open_value(WHAT, V2, bytes),
        }
    }

    /// Bytes to store.
    pub(crate) fn seal(&self) -> Vec<u8> {
        record::seal_value(V2, self)
    }

    /// The settings; the status comes from its column.
    pub(crate) fn into_settings(self, status: Status) -> IdentitySettings {
        IdentitySettings {
            status,
            status_reason: self.status_reason,
            authentication: self.authentication.into(),
            edge: self.edge,
            device_scope: self.device_scope,
            parent_scopes: self.parent_scopes,
            managed_by: self.managed_by,
        }
    }
}

impl From<&Authentication> for AuthenticationRecord {
    fn from(authentication: &Authentication) -> Self {
        match authentication {
            Authentication::Sas { primary, secondary } => Self::Sas {
                primary: primary.expose().to_owned(),
                secondary: secondary.expose().to_owned(),
            },
            Authentication::SelfSigned { primary, secondary } => Self::SelfSigned {
                primary: primary.clone(),
                secondary: secondary.clone(),
            },
            Authentication::CertificateAuthority => Self::CertificateAuthority,
            Authentication::None => Self::None,
        }
    }
}

impl From<AuthenticationRecord> for Authentication {
    fn from(record: AuthenticationRecord) -> Self {
        match record {
            AuthenticationRecord::Sas { primary, secondary } => Self::Sas {
                primary: SymmetricKey::new(&primary),
                secondary: SymmetricKey::new(&secondary),
            },
            AuthenticationRecord::SelfSigned { primary, secondary } => {
                Self::SelfSigned { primary, secondary }
            }
            AuthenticationRecord::CertificateAuthority => Self::CertificateAuthority,
            AuthenticationRecord::None => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../../tests/golden/identity-v1.bin");
    const GOLDEN_V2: &[u8] = include_bytes!("../../../tests/golden/identity-v2.bin");

    fn edge_device() -> IdentitySettings {
        IdentitySettings {
            status: Status::Disabled,
            status_reason: Some("in repair".into()),
            authentication: Authentication::Sas {
                primary: SymmetricKey::new("cHJpbWFyeSBrZXkgb2YgZ29sZA=="),
                secondary: SymmetricKey::new("c2Vjb25kIGtleSBvZiBnb2xk"),
            },
            edge: true,
            device_scope: Some("ms-azure-iot-edge://gate-1".into()),
            parent_scopes: vec!["ms-azure-iot-edge://roof-7".into()],
            managed_by: None,
        }
    }

    fn edge_module() -> IdentitySettings {
        IdentitySettings {
            edge: false,
            managed_by: Some("iotEdge".into()),
            ..edge_device()
        }
    }

    #[test]
    fn version_1_still_loads() {
        let record = IdentityRecord::open(GOLDEN_V1).unwrap();
        assert!(
            !format!("{record:?}").contains("cHJpbWFy"),
            "keys stay secret"
        );
        assert_eq!(record.status_updated, 1_927_857_906_123_456);
        assert_eq!(record.into_settings(Status::Disabled), edge_device());
    }

    #[test]
    fn version_2_loads_and_is_what_we_write() {
        let record = IdentityRecord::open(GOLDEN_V2).unwrap();
        assert_eq!(record.status_updated, 1_927_857_906_123_456);
        assert_eq!(
            record.clone().into_settings(Status::Disabled),
            edge_module()
        );
        assert_eq!(record.seal(), GOLDEN_V2);
    }

    #[test]
    fn every_way_to_authenticate_survives() {
        for authentication in [
            edge_device().authentication,
            Authentication::SelfSigned {
                primary: Some("AB12".into()),
                secondary: None,
            },
            Authentication::CertificateAuthority,
            Authentication::None,
        ] {
            let settings = IdentitySettings {
                authentication,
                ..edge_module()
            };
            let bytes = IdentityRecord::new(&settings, Timestamp::NEVER).seal();
            let record = IdentityRecord::open(&bytes).unwrap();
            assert_eq!(record.status_updated, Timestamp::NEVER.0);
            assert_eq!(record.into_settings(Status::Disabled), settings);
        }
    }

    #[test]
    fn other_bytes_are_refused_by_name() {
        let mut broken = GOLDEN_V2.to_vec();
        broken[0] = 9;
        let error = IdentityRecord::open(&broken).unwrap_err().to_string();
        assert_eq!(
            error,
            "the store is corrupt: an identity record fails its checksum"
        );
    }
}
