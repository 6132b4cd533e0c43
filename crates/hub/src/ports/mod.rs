//! The only doors out of the domain: memory ([`store`]), time ([`clock`]) and chance ([`Entropy`]).

pub mod authorities;
pub mod blobs;
pub mod clock;
pub mod configurations;
pub mod measures;
pub mod store;
pub mod transfers;

pub use authorities::AuthorityStore;
pub use blobs::Blobs;
pub use clock::Clock;
pub use configurations::ConfigurationStore;
pub use store::{Store, StoreError};
pub use transfers::TransferLines;

/// The door to chance.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the bytes with randomness fit for keys.
    fn fill(&self, bytes: &mut [u8]);
}
