//! Certificate authorities for devices: the documents of `/fanfare/v1/authorities`. Ours, with the members that the
//! contract's management API gives a certificate.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// An authority. Lists show it without its certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityDocument {
    /// Its name.
    pub name: String,
    /// Whose certificate it is, such as `CN=Acme devices, O=Acme`.
    pub subject: String,
    /// SHA-1 of the certificate, 40 hexadecimal digits.
    pub thumbprint: String,
    /// SHA-256 of it, 64 digits.
    pub thumbprint_sha256: String,
    /// Until when the certificate counts.
    pub expiry: Timestamp,
    /// Whether somebody proved to have its key. It vouches for no device before.
    pub is_verified: bool,
    /// When it was first uploaded.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Its etag, without quotes.
    #[serde(default)]
    pub etag: String,
    /// The certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The common name that the proof must have, 48 hexadecimal digits; shown where it is made and nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_code: Option<String>,
}

/// The body of `PUT /fanfare/v1/authorities/{authority}`, and of `POST .../verify`. Read-only members are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRequest {
    /// The authority; the path decides, this may only agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One certificate, PEM: the authority's own; for a proof, one that its key signed.
    pub certificate: String,
}
