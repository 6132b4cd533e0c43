//! The stored shape of a registry entry's settings.
//!
//! Names, generation, etag and status are columns; this record holds the rest. Where a store's keys are
//! encrypted, both keys of an identity are sealed together for the row they lie in ([`Owner`]); they are opened
//! only for a reader that asks for keys. Plain keys are then nobody's.

use std::fmt;

use fanfare_hub::{
    ports::store::StoreError,
    registry::{Authentication, IdentitySettings, Status, SymmetricKey},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    record::{self, corrupt},
    vault::Vault,
};

const WHAT: &str = "an identity record";
const V1: u8 = 1;
const V2: u8 = 2;
/// Version 2 with keys that are sealed.
const V3: u8 = 3;

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

/// Never printed: it may hold plain keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AuthenticationRecord {
    Sas {
        primary: Zeroizing<String>,
        secondary: Zeroizing<String>,
    },
    SelfSigned {
        primary: Option<String>,
        secondary: Option<String>,
    },
    CertificateAuthority,
    None,
    /// Only in version 3: both keys, in postcard, sealed for the row's owner.
    SealedSas(Vec<u8>),
}

/// The row a record lies in; keys that are sealed for one do not open in another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) row: i64,
    pub(crate) generation: u64,
    pub(crate) device_id: &'a str,
    pub(crate) module_id: &'a str,
}

impl Owner<'_> {
    fn bytes(&self) -> Vec<u8> {
        let (device, module) = (self.device_id, self.module_id);
        postcard::to_stdvec(&("identity keys", self.row, self.generation, device, module))
            .expect("numbers and texts can be written")
    }
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

    /// Reads stored bytes of any version; keys that are encrypted stay so.
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.first() {
            Some(&V1) => record::open_value::<IdentityRecordV1>(WHAT, V1, bytes).map(Self::from),
            Some(&V3) => record::open_value(WHAT, V3, bytes),
            _ => record::open_value(WHAT, V2, bytes),
        }
    }

    /// Bytes to store.
    pub(crate) fn seal(&self) -> Vec<u8> {
        match self.authentication {
            AuthenticationRecord::SealedSas(_) => record::seal_value(V3, self),
            _ => record::seal_value(V2, self),
        }
    }

    /// With its keys encrypted, where this vault does that.
    pub(crate) fn encrypted(mut self, vault: &Vault, owner: &Owner<'_>) -> Self {
        if let AuthenticationRecord::Sas { primary, secondary } = &self.authentication {
            let both = postcard::to_stdvec(&(&**primary, &**secondary)).map(Zeroizing::new);
            let both = both.expect("texts can be written");
            if let Some(sealed) = vault.seal(&owner.bytes(), &both) {
                self.authentication = AuthenticationRecord::SealedSas(sealed);
            }
        }
        self
    }

    /// With its keys as they are. Where keys are encrypted, those that are not were put there by somebody
    /// else, and are refused.
    pub(crate) fn decrypted(
        mut self,
        vault: &Vault,
        owner: &Owner<'_>,
    ) -> Result<Self, StoreError> {
        match &self.authentication {
            AuthenticationRecord::SealedSas(sealed) => {
                let both = vault
                    .open(&owner.bytes(), sealed)
                    .map_err(|refused| corrupt(WHAT, &refused.to_string()))?;
                let (primary, secondary): (&str, &str) = postcard::from_bytes(&both)
                    .map_err(|_| corrupt(WHAT, "holds keys that are none"))?;
                self.authentication = AuthenticationRecord::Sas {
                    primary: Zeroizing::new(primary.to_owned()),
                    secondary: Zeroizing::new(secondary.to_owned()),
                };
                Ok(self)
            }
            AuthenticationRecord::Sas { .. } if vault.is_sealing() => Err(corrupt(
                WHAT,
                "has plain keys in a store that encrypts them",
            )),
            _ => Ok(self),
        }
    }

    /// Whether it holds keys, and whether they are encrypted.
    pub(crate) fn has_keys(&self) -> Option<bool> {
        match self.authentication {
            AuthenticationRecord::Sas { .. } => Some(false),
            AuthenticationRecord::SealedSas(_) => Some(true),
            _ => None,
        }
    }

    /// Without its keys: they show as withheld.
    pub(crate) fn without_keys(mut self) -> Self {
        if self.has_keys().is_some() {
            self.authentication = AuthenticationRecord::SealedSas(Vec::new());
        }
        self
    }

    /// The settings; the status comes from its column. Keys that are still encrypted show as withheld.
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
                primary: Zeroizing::new(primary.expose().to_owned()),
                secondary: Zeroizing::new(secondary.expose().to_owned()),
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
            AuthenticationRecord::SealedSas(_) => Self::Sas {
                primary: SymmetricKey::withheld(),
                secondary: SymmetricKey::withheld(),
            },
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
    const GOLDEN_V3: &[u8] = include_bytes!("../../../tests/golden/identity-v3.bin");

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
    fn version_3_loads_and_is_what_we_write_of_encrypted_keys() {
        let record = IdentityRecord::open(GOLDEN_V3).unwrap();
        let sealed = AuthenticationRecord::SealedSas(b"sealed keys of gold".to_vec());
        assert!(record.authentication == sealed);
        assert_eq!(record.seal(), GOLDEN_V3);
        let withheld = Authentication::Sas {
            primary: SymmetricKey::withheld(),
            secondary: SymmetricKey::withheld(),
        };
        let settings = record.into_settings(Status::Disabled);
        assert_eq!(settings.authentication, withheld);
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
