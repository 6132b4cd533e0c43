//! The service API of a whole node: one process, the embedded store, requests over TLS.

mod authorisation;
mod harness;
mod jobs;
mod lifecycle;
mod methods;
mod query;
mod refusals;
mod registry;
mod twins;
