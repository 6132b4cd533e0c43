//! What a node shows in TLS handshakes: an operator's own files, the private CA's certificate, and what becomes of both
//! while it serves. Real nodes, real handshakes; time is the tests' own where it matters.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod made;
mod private_ca;
mod refused;
mod reload;
mod rig;
mod shown;
