//! The client library against a real hub process: what it puts on the wire, and what it does when the network, the
//! hub or something in between fails.
//!
//! [`rig`] starts hubs and devices, [`proxy`] stands between client and hub. One module for each question.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what it saw"
)]

mod cuts;
mod faults;
mod monitor;
mod once;
mod own_runtime;
mod pages;
mod proxy;
mod registry;
mod rig;
mod shapes;
mod smoke;
mod tokens;
