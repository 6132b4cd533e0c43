//! Adapters of the hub's store port. Nobody outside knows how rows lie.
//!
//! [`embedded`] is SQLite in one file. Stored shapes are in [`record`].

pub mod embedded;
mod record;

pub use embedded::Embedded;
