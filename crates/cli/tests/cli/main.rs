//! The command line as a person uses it: every verb's success and its likeliest mistakes, with what is printed
//! held as snapshots.
//!
//! Each test runs a hub of its own ([`rig`]). `SNAPSHOTS=overwrite cargo test -p fanfare-cli --test cli` writes
//! the snapshots anew; read them then as a user would.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod devices;
mod hub;
mod jobs;
mod live;
mod methods;
mod moves;
mod output;
mod query;
mod rig;
mod terminal;
mod twins;
