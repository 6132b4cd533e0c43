//! Proves who a peer is: bearer tokens of OpenID Connect issuers, and devices' certificates.
//!
//! What a proven peer may do is decided in `fanfare_hub::access`; shared access signatures are so small that the wire
//! crate checks them.

pub mod bearer;
pub mod certificate;
