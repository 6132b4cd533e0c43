//! The only doors out of the domain: memory ([`store`]), time ([`clock`]) and chance ([`Entropy`]).

pub mod clock;
pub mod store;

pub use clock::Clock;
pub use store::{Store, StoreError};

/// The door to chance.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the bytes with randomness fit for keys.
    fn fill(&self, bytes: &mut [u8]);
}
