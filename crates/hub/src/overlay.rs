//! Lays connections over stored identities, so that a condition sees who is connected now.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use crate::{
    ports::store::IdentityRow,
    presence::{Presence, PresenceView},
    query::{Document, Path, RootField, Value},
    time::Timestamp,
};

/// An identity's stored fields with its connection laid over.
pub(crate) struct Present<'a> {
    /// As stored.
    pub(crate) row: &'a dyn IdentityRow,
    /// Who is connected, as of the start of the scan.
    pub(crate) connected: &'a RoaringBitmap,
    /// For everything else about connections.
    pub(crate) presence: &'a Presence,
}

impl Present<'_> {
    fn last_activity(&self) -> Option<Timestamp> {
        let PresenceView { last_heard, .. } = self.presence.view(self.row.key());
        last_heard
    }
}

impl Document for Present<'_> {
    fn value(&self, path: &Path) -> Value<'_> {
        match path {
            Path::Field(RootField::ConnectionState) => {
                let connected = self.connected.contains(self.row.key().ordinal);
                let text = if connected {
                    "Connected"
                } else {
                    "Disconnected"
                };
                Value::String(Cow::Borrowed(text))
            }
            // The later of both, as in a whole twin. Their texts order as they do.
            Path::Field(RootField::LastActivityTime) => {
                match (self.last_activity(), self.row.value(path)) {
                    (None, stored) => stored,
                    (Some(heard), Value::String(stored)) if *stored >= *heard.to_string() => {
                        Value::String(stored)
                    }
                    (Some(heard), _) => Value::String(Cow::Owned(heard.to_string())),
                }
            }
            _ => self.row.value(path),
        }
    }
}
