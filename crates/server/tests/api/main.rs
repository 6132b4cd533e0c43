//! The service API of a whole node: one process, the embedded store, requests over TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authorisation;
mod harness;
mod jobs;
mod keys;
mod lifecycle;
mod methods;
mod query;
mod refusals;
mod registry;
mod twins;
