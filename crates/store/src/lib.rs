//! Adapters of the hub's store port. Nobody outside knows how rows lie.
//!
//! [`embedded`] is SQLite in one file. Stored shapes are in [`record`], what encrypts keys in [`vault`].

pub mod embedded;
mod record;
pub mod vault;

pub use embedded::Embedded;
