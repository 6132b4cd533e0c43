//! Sessions: what the hub remembers of a device's subscriptions between its connections.
//!
//! A filter set is durable before the device hears that it subscribed, because some devices never
//! subscribe again. Knows nothing of what a filter means; that is the front end's.

use std::sync::Arc;

use crate::{
    ids::{IdentityId, IdentityKey},
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

/// Who signed in, looked at again.
#[derive(Debug, Clone, PartialEq)]
pub enum Again {
    /// As before, with session and versions as they are now.
    Same(Box<SignIn>),
    /// There, but not as it signed in.
    Changed,
    /// Not there any more.
    Gone,
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

    /// What is known of who signed in, now that the connection is visible. A change of rights either sees
    /// the connection or is seen here, and so is a filter that an older connection kept until it was cut.
    pub async fn again(&self, known: &SignIn) -> Result<Again, StoreError> {
        let then = &known.identity;
        let now = self.store.session_open(&then.id).await?;
        let Some(now) = now.filter(|now| now.identity.generation == then.generation) else {
            return Ok(Again::Gone);
        };
        // What its device may do counts as well.
        let is_same = now.identity.etag == then.etag && now.device_enabled == known.device_enabled;
        Ok(match is_same {
            true => Again::Same(Box::new(now)),
            false => Again::Changed,
        })
    }

    /// Keeps the filters, or drops the session when `None`; durable when it returns.
    pub async fn keep(&self, key: IdentityKey, session: Option<Session>) -> Result<(), StoreError> {
        self.store.session_put(key, session, self.clock.now()).await
    }
}
