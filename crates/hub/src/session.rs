//! Sessions: what the hub remembers of a device's subscriptions between its connections.
//!
//! A filter set is durable before the device hears that it subscribed, because some devices never
//! subscribe again. Knows nothing of what a filter means; that is the front end's.

use std::sync::Arc;

use crate::{
    ids::{Etag, Generation, IdentityId, IdentityKey},
    ports::{
        Clock, Store, StoreError,
        store::{Session, SignIn},
    },
};

/// The sessions of a hub.
pub struct Sessions {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Sessions {
    /// Over a store and a clock.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Everything needed to let a device in; `None` when it is not registered.
    pub async fn open(&self, id: &IdentityId) -> Result<Option<SignIn>, StoreError> {
        self.store.session_open(id).await
    }

    /// Whether the identity is still the one that signed in. Asked after the connection became visible, so
    /// that a change of rights either sees the connection or is seen by it.
    pub async fn is_current(
        &self,
        id: &IdentityId,
        generation: Generation,
        etag: Etag,
    ) -> Result<bool, StoreError> {
        let identity = self.store.identity_get(id).await?;
        Ok(identity.is_some_and(|now| now.generation == generation && now.etag == etag))
    }

    /// Keeps the filters, or drops the session when `None`; durable when it returns.
    pub async fn keep(&self, key: IdentityKey, session: Option<Session>) -> Result<(), StoreError> {
        self.store.session_put(key, session, self.clock.now()).await
    }
}
