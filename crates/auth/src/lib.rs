//! Proves who a peer is: bearer tokens of OpenID Connect issuers, and devices' certificates.
//!
//! What a proven peer may do is decided in `fanfare_hub::access`; shared access signatures are so small that the wire
//! crate checks them.
//!
//! Tests of other crates mint tokens with the feature `testing`:
//!
//! ```ignore
//! let issuer = testing::TestIssuer::start("127.0.0.11:0").await; // serves discovery document and keys
//! let key = testing::SigningKey::es256("first");
//! issuer.publish(&[&key]);
//! // The hub is told of `issuer.url()` as its issuer.
//! let token = key.mint(&testing::claims(issuer.url(), &["IoT Hub Data Reader"]));
//! ```

pub mod bearer;
pub mod certificate;
#[cfg(feature = "testing")]
pub mod testing;
