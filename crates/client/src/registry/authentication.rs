//! How an identity proves who it is: kind, keys, thumbprints.

use std::fmt;

use fanfare_wire::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::words::{null_as_default, open_words};

open_words! {
    /// How an identity proves who it is.
    pub enum AuthenticationType {
        /// With one of two symmetric keys.
        Sas = "sas",
        /// With a certificate known by its thumbprint.
        SelfSigned = "selfSigned",
        /// With a certificate of a known authority.
        CertificateAuthority = "certificateAuthority",
        /// Not at all.
        None = "none",
    }
}

/// The credentials of an identity. Replies hold them too, keys included; `Debug` hides keys.
///
/// ```
/// use fanfare_client::{Authentication, AuthenticationType};
///
/// let keys = Authentication::keys("cHJpbWFyeS1rZXktMDAwMQ==", "c2Vjb25kYXJ5LWtleS0wMg==");
/// assert_eq!(keys.kind, AuthenticationType::Sas);
/// assert!(!format!("{keys:?}").contains("cHJpbWFyeS1rZXktMDAwMQ=="));
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct Authentication {
    /// Which of the groups below counts.
    #[serde(rename = "type")]
    pub kind: AuthenticationType,
    /// The two keys of [`AuthenticationType::Sas`].
    #[serde(skip_serializing_if = "SymmetricKey::is_absent")]
    pub symmetric_key: SymmetricKey,
    /// The two thumbprints of [`AuthenticationType::SelfSigned`].
    #[serde(skip_serializing_if = "Thumbprints::is_absent")]
    pub x509_thumbprint: Thumbprints,
    /// Everything else the hub says about them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Authentication {
    /// Two keys that the hub makes; they are in its reply. compat: REG-1
    ///
    /// ```
    /// use fanfare_client::{Authentication, Device};
    ///
    /// let device = Device::new("door-1").authentication(Authentication::generated_keys());
    /// assert_eq!(device, Device::new("door-1"));
    /// ```
    #[must_use]
    pub fn generated_keys() -> Self {
        Self::keys("", "")
    }

    /// Two keys, base64 of 16 to 64 bytes each.
    ///
    /// ```
    /// use fanfare_client::{Authentication, Device};
    ///
    /// let keys = Authentication::keys("cHJpbWFyeS1rZXktMDAwMQ==", "c2Vjb25kYXJ5LWtleS0wMg==");
    /// let device = Device::new("door-1").authentication(keys);
    /// assert_eq!(device.primary_key().unwrap().expose(), "cHJpbWFyeS1rZXktMDAwMQ==");
    /// ```
    pub fn keys(primary: impl Into<Secret>, secondary: impl Into<Secret>) -> Self {
        let symmetric_key = SymmetricKey {
            primary_key: Some(primary.into()),
            secondary_key: Some(secondary.into()),
        };
        Self {
            symmetric_key,
            ..Self::of(AuthenticationType::Sas)
        }
    }

    /// A certificate known by its thumbprint, 40 or 64 hexadecimal digits; the second one lets a device change
    /// certificates without a gap.
    ///
    /// ```
    /// use fanfare_client::Authentication;
    ///
    /// let print = "0123456789ABCDEF0123456789ABCDEF01234567";
    /// let certificate = Authentication::self_signed(print, None);
    /// assert_eq!(certificate.x509_thumbprint.primary_thumbprint.as_deref(), Some(print));
    /// ```
    pub fn self_signed<'a>(
        primary: impl Into<String>,
        secondary: impl Into<Option<&'a str>>,
    ) -> Self {
        let x509_thumbprint = Thumbprints {
            primary_thumbprint: Some(primary.into()),
            secondary_thumbprint: secondary.into().map(str::to_owned),
        };
        Self {
            x509_thumbprint,
            ..Self::of(AuthenticationType::SelfSigned)
        }
    }

    /// A certificate of an authority that the hub knows.
    ///
    /// ```
    /// use fanfare_client::{Authentication, AuthenticationType};
    ///
    /// let kind = Authentication::certificate_authority().kind;
    /// assert_eq!(kind, AuthenticationType::CertificateAuthority);
    /// ```
    #[must_use]
    pub fn certificate_authority() -> Self {
        Self::of(AuthenticationType::CertificateAuthority)
    }

    /// No credentials: the identity cannot connect by itself.
    ///
    /// ```
    /// use fanfare_client::{Authentication, AuthenticationType};
    ///
    /// assert_eq!(Authentication::none().kind, AuthenticationType::None);
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self::of(AuthenticationType::None)
    }

    fn of(kind: AuthenticationType) -> Self {
        Self {
            kind,
            symmetric_key: SymmetricKey::default(),
            x509_thumbprint: Thumbprints::default(),
            other: Map::new(),
        }
    }
}

/// Credentials as hubs and files of devices write them: old ones leave the kind out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(rename = "type", default)]
    kind: Option<AuthenticationType>,
    #[serde(default, deserialize_with = "null_as_default")]
    symmetric_key: SymmetricKey,
    #[serde(default, deserialize_with = "null_as_default")]
    x509_thumbprint: Thumbprints,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl From<Written> for Authentication {
    /// compat: REG-2
    fn from(written: Written) -> Self {
        let Written {
            kind,
            symmetric_key,
            x509_thumbprint,
            other,
        } = written;
        let kind = kind.unwrap_or(match x509_thumbprint.is_absent() {
            true => AuthenticationType::Sas,
            false => AuthenticationType::SelfSigned,
        });
        Self {
            kind,
            symmetric_key,
            x509_thumbprint,
            other,
        }
    }
}

impl fmt::Debug for Authentication {
    /// Without `other`: what this library does not know may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("kind", &self.kind)
            .field("symmetric_key", &self.symmetric_key)
            .field("x509_thumbprint", &self.x509_thumbprint)
            .finish_non_exhaustive()
    }
}

/// Two base64 keys, so that one can be changed while the other works. Sent empty, a key is made by the hub; left out
/// of a change, it stays as it is.
///
/// ```
/// use fanfare_client::{Secret, SymmetricKey};
///
/// let key = SymmetricKey { primary_key: Some(Secret::new("c2VjcmV0")), secondary_key: None };
/// assert!(!format!("{key:?}").contains("c2VjcmV0"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymmetricKey {
    /// The first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Secret>,
    /// The second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<Secret>,
}

impl SymmetricKey {
    /// The primary key; `None` also while it is still to be made.
    pub(super) fn made_primary(&self) -> Option<&Secret> {
        self.primary_key.as_ref().filter(|key| !key.is_empty())
    }

    /// The secondary key; `None` also while it is still to be made.
    pub(super) fn made_secondary(&self) -> Option<&Secret> {
        self.secondary_key.as_ref().filter(|key| !key.is_empty())
    }

    fn is_absent(&self) -> bool {
        self.primary_key.is_none() && self.secondary_key.is_none()
    }
}

/// Two thumbprints of certificates, 40 or 64 hexadecimal digits each.
///
/// ```
/// assert_eq!(fanfare_client::Thumbprints::default().primary_thumbprint, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thumbprints {
    /// The first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_thumbprint: Option<String>,
    /// The second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_thumbprint: Option<String>,
}

impl Thumbprints {
    pub(crate) fn is_absent(&self) -> bool {
        self.primary_thumbprint.is_none() && self.secondary_thumbprint.is_none()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_the_contracts_form() {
        let print = "0123456789ABCDEF0123456789ABCDEF01234567";
        for (authentication, want) in [
            (
                Authentication::generated_keys(),
                json!({"type": "sas", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}}),
            ),
            (
                Authentication::self_signed(print, None),
                json!({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": print}}),
            ),
            (
                Authentication::certificate_authority(),
                json!({"type": "certificateAuthority"}),
            ),
            (Authentication::none(), json!({"type": "none"})),
        ] {
            assert_eq!(serde_json::to_value(&authentication).unwrap(), want);
        }
    }

    #[test]
    fn nulls_and_unknown_members_are_read() {
        let text = r#"{"type":"selfSigned","symmetricKey":{"primaryKey":null,"secondaryKey":null},
            "x509Thumbprint":null,"tpm":{"secret":"s"}}"#;
        let read: Authentication = serde_json::from_str(text).unwrap();
        assert!(read.symmetric_key.is_absent() && read.x509_thumbprint.is_absent());
        assert_eq!(read.other["tpm"]["secret"], "s");
        assert!(!format!("{read:?}").contains("tpm"));
        let old = r#"{"symmetricKey":{"primaryKey":"cHJpbWFyeS1rZXktMDAwMQ=="}}"#;
        let read: Authentication = serde_json::from_str(old).unwrap();
        assert_eq!(read.kind, AuthenticationType::Sas);
    }
}
