//! Devices' certificates: what one proves, and which authorities may vouch for one.
//!
//! A TLS handshake shows only that the peer has the key of the certificate it sent ([`AnyCertificate`]); anybody may
//! make one, so it says nothing about who they are. Whether it is an identity's certificate is decided at
//! sign-in ([`DeviceCertificates`]), by its thumbprint or by a chain to an authority, as the identity asks. What is an
//! authority at all, and who has its key, is decided in [`AuthorityCertificate`].
//!
//! The time is an argument everywhere, and nothing is fetched: there is no revocation check, an identity is disabled
//! instead. compat: AUTH-46

mod authority;
mod chain;
mod device;
mod possession;
mod presented;

pub use self::{
    authority::{AuthorityCertificate, AuthorityRefusal, ProofRefusal},
    device::{CertificateRefusal, DeviceCertificates},
    possession::{AnyCertificate, CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX},
    presented::{Validity, thumbprints},
};
