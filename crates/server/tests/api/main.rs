//! The service API of a whole node: one process, the embedded store, requests over TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod audit;
mod authorities;
mod bulk;
mod configurations;
mod fleet_transfer;
mod harness;
mod import_batches;
mod job_events;
mod jobs;
mod keys;
mod lifecycle;
mod methods;
mod metrics;
mod modules;
mod openapi;
mod places;
mod policies;
mod profile;
mod query;
mod refusals;
mod registry;
mod secrets;
mod suspects;
mod tokens;
mod transfers;
mod twins;
mod wrong;
