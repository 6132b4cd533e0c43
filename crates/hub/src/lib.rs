//! The domain of Fanfare: identities, twins, direct methods, queries, and jobs.
//!
//! Knows ports ([`ports`]), not adapters; nouns, not JSON of a wire. Five services are its front: the
//! registry, twins, methods, queries and jobs. Start reading at [`jobs`].

pub mod access;
pub mod authorities;
pub mod bulk;
pub mod configurations;
pub mod hub;
pub mod ids;
pub mod jobs;
pub mod json;
pub mod limits;
pub mod measures;
pub mod method;
mod overlay;
pub mod ports;
pub mod presence;
pub mod profile;
pub mod queries;
pub mod query;
pub mod registry;
pub mod session;
pub mod signals;
pub mod time;
pub mod transfers;
pub mod twin;
pub mod upkeep;
pub use hub::{Engine, Hub};
