//! A hub node as a library: configuration, TLS, the REST and MQTT front ends.
//!
//! [`Node::start`] puts a node together and runs it; [`compose`] is the one place that names adapters. The
//! front ends ([`rest`], [`mqtt`]) decode, authorise, call a hub service and encode; the rules are the
//! hub's. Start reading at [`compose`], then [`rest`].

pub mod audit;
pub mod auth;
pub mod backup;
mod clock;
pub mod compose;
pub mod config;
pub mod connection_string;
mod core_dumps;
mod data_dir;
mod device_ca;
mod entropy;
pub mod gate;
mod listen;
pub mod mqtt;
mod open_files;
pub mod rest;
pub mod shutdown;
pub mod telemetry;
pub mod throttle;
pub mod tls;
pub mod vault;

pub use compose::{Node, StartError};
pub use config::{Config, ConfigError, Flags, LogFormat};
pub use fanfare_hub::profile::Profile;
