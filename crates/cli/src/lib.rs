//! The verbs of the command line that need nothing but the public API, and what they share with tests.
//!
//! [`fleet`] simulates devices, [`hub_process`] runs a hub as a child; [`demo`] and [`bench`] put both together.
//! The verbs that name the server (`serve`, `connection-string`) are in the binary, beside `main.rs`.

#![allow(clippy::print_stdout, reason = "a command line prints")]

pub mod bench;
pub mod clock;
pub mod demo;
pub mod fleet;
pub mod hub_process;
pub mod stop_signal;
