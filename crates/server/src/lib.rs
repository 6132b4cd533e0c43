//! A hub node as a library: configuration, TLS, the REST and MQTT front ends.
//!
//! [`Node::start`] puts a node together and runs it; [`compose`] is the one place that names adapters. The
//! front ends ([`rest`], [`mqtt`]) decode, authorise, call a hub service and encode; the rules are the
//! hub's. Start reading at [`compose`], then [`rest`].

pub mod auth;
pub mod backup;
mod clock;
pub mod compose;
pub mod config;
pub mod connection_string;
mod data_dir;
mod entropy;
mod listen;
pub mod mqtt;
pub mod rest;
pub mod shutdown;
pub mod telemetry;
pub mod throttle;
mod tls;

pub use compose::{Node, StartError};
pub use config::{Config, ConfigError, Flags, LogFormat};
pub use fanfare_hub::profile::Profile;
