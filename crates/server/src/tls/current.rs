//! The certificate that new handshakes get, and what is told of it.
//!
//! It is exchanged as a whole: a handshake has the old chain with the old key or the new one with the new. Connections
//! that are there keep what they negotiated.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use fanfare_hub::{measures::Count, time::Timestamp};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::pair::Pair;

/// What every listener's handshakes share.
pub struct CurrentCertificate {
    state: RwLock<State>,
    /// Certificates that were taken into use after the start.
    pub(crate) reloaded: Count,
    /// Looks at files, or renewals, that left the old one in use.
    pub(crate) failed: Count,
}

struct State {
    pair: Arc<Pair>,
    /// When the private CA ends, where it is what clients trust.
    authority_ends: Option<Timestamp>,
}

impl CurrentCertificate {
    pub(super) fn new(pair: Pair, authority_ends: Option<Timestamp>) -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(State {
                pair: Arc::new(pair),
                authority_ends,
            }),
            reloaded: Count::default(),
            failed: Count::default(),
        })
    }

    /// From the next handshake on.
    pub(super) fn set(&self, pair: Pair, authority_ends: Option<Timestamp>) {
        let state = State {
            pair: Arc::new(pair),
            authority_ends,
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.reloaded.add(1);
    }

    pub(super) fn pair(&self) -> Arc<Pair> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.pair.clone()
    }

    /// When clients begin to refuse it: the end of the first certificate of the chain that ends.
    pub(crate) fn ends(&self) -> Timestamp {
        self.pair().validity.end
    }

    /// When the private CA ends, where it is what clients trust.
    pub(crate) fn authority_ends(&self) -> Option<Timestamp> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.authority_ends
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair().certified.clone())
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurrentCertificate")
            .field(&self.pair())
            .finish()
    }
}
