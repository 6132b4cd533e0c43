//! Twins: reading them with presence laid over, changing them, telling connected devices.
//!
//! [`document`] says what a change does; here is who hears of it, and that no connected device stays
//! behind the store ([`Twins::sweep`]).

pub mod document;

use std::sync::Arc;

use bytes::Bytes;

use self::document::{
    DesiredChange, Object, Properties, ReportedPatch, SectionPatch, TwinPatch, TwinReplacement,
};
use crate::{
    ids::{Etag, IdentityId, IdentityKey},
    limits,
    ports::{
        Clock, Store, StoreError,
        store::{Twin, TwinWriteError},
    },
    presence::{DesiredDelivery, DesiredNotice, Presence, PresenceView},
};

/// A twin and the connection beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinView {
    /// As stored.
    pub twin: Twin,
    /// As connected.
    pub presence: PresenceView,
}

/// Twins of a hub.
pub struct Twins {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
}

impl Twins {
    /// Over a store, the connections and a clock.
    pub fn new(store: Arc<dyn Store>, presence: Arc<Presence>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            presence,
            clock,
        }
    }

    /// One twin; `None` when the identity is not registered.
    pub async fn get(&self, id: &IdentityId) -> Result<Option<TwinView>, StoreError> {
        Ok(self.store.twin_get(id).await?.map(|twin| self.view(twin)))
    }

    /// Merges a change by the service and tells the device, if it listens.
    pub async fn patch(
        &self,
        id: &IdentityId,
        patch: TwinPatch,
        matches: Option<Etag>,
    ) -> Result<TwinView, TwinWriteError> {
        let text = PatchText::new(&patch);
        let patched = self
            .store
            .twin_patch(id, patch, matches, self.clock.now())
            .await?;
        if let Some(change) = &patched.desired {
            self.tell(patched.twin.identity.key, &text.notice(change))
                .await;
        }
        Ok(self.view(patched.twin))
    }

    /// Puts whole sections in place of those there are, and tells the device the whole new desired
    /// section, if it listens. compat: TWIN-18
    pub async fn replace(
        &self,
        id: &IdentityId,
        replacement: TwinReplacement,
        matches: Option<Etag>,
    ) -> Result<TwinView, TwinWriteError> {
        let replaced = self
            .store
            .twin_replace(id, replacement, matches, self.clock.now())
            .await?;
        if replaced.desired.is_some() {
            let notice = whole_notice(&replaced.twin.document.desired);
            self.tell(replaced.twin.identity.key, &notice).await;
        }
        Ok(self.view(replaced.twin))
    }

    /// Merges a change by the device that signed in as `id` with this key; returns the new `$version` of
    /// its reported properties.
    pub async fn report(
        &self,
        id: &IdentityId,
        key: IdentityKey,
        patch: ReportedPatch,
        base: Option<u64>,
    ) -> Result<u64, TwinWriteError> {
        self.store
            .twin_report(id, key, patch, base, self.clock.now())
            .await
    }

    /// Hands a notice to the device, or the whole section where the notice alone would leave a gap. A
    /// failure is left to the sweep.
    pub async fn tell(&self, key: IdentityKey, notice: &DesiredNotice) {
        let Some(link) = self.presence.link(key) else {
            return;
        };
        if link.desired(notice) == DesiredDelivery::Gap {
            self.tell_all(key, link.identity()).await;
        }
    }

    /// Sends the whole section to every listening device whose last told version is behind the store, and
    /// forgets connected ones that are not in it any more: whoever deleted them may not have known.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let connected: Vec<_> = self
            .presence
            .links()
            .into_iter()
            .map(|(key, link)| (key, link.desired_sent(), link))
            .collect();
        for batch in connected.chunks(limits::TWIN_PAGE_DEVICES) {
            let keys = batch.iter().map(|(key, ..)| *key).collect();
            let stored = self.store.twin_desired_versions(keys).await?;
            let stored: std::collections::HashMap<_, _> = stored.into_iter().collect();
            for (key, sent, link) in batch {
                match (stored.get(key), sent) {
                    (None, _) => self.presence.forget(*key),
                    (Some(version), Some(sent)) if version > sent => {
                        self.tell_all(*key, link.identity()).await;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Lays presence over a stored twin.
    pub fn view(&self, twin: Twin) -> TwinView {
        let presence = self.presence.view(twin.identity.key);
        TwinView { twin, presence }
    }

    /// Sends the whole section to a listening device that was told an older version. A failure is left to
    /// the sweep.
    pub async fn tell_all(&self, key: IdentityKey, id: &IdentityId) {
        match self.store.twin_get(id).await {
            Ok(Some(twin)) if twin.identity.key == key => {
                let notice = whole_notice(&twin.document.desired);
                if let Some(link) = self.presence.link(key) {
                    link.desired(&notice);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(device.id = %id, %error, "desired properties will be sent later");
            }
        }
    }
}

/// The whole desired section for a device, whatever it was told before.
fn whole_notice(desired: &Properties) -> DesiredNotice {
    PatchText::of(&desired.values).for_version(desired.version, true)
}

/// The text of a desired patch, to be finished with each device's `$version`.
pub struct PatchText {
    /// `{"a":1,"b":2` without the closing brace.
    open: String,
}

impl PatchText {
    /// The desired part of a patch.
    pub fn new(patch: &TwinPatch) -> Self {
        match patch.desired() {
            SectionPatch::Merge(members) => Self::of(members),
            SectionPatch::Absent | SectionPatch::Clear => Self {
                open: "{".to_owned(),
            },
        }
    }

    fn of(members: &Object) -> Self {
        let mut open = serde_json::to_string(members).expect("JSON objects can be written");
        open.pop();
        Self { open }
    }

    /// What one device must hear of its change. compat: TWIN-7
    pub fn notice(&self, change: &DesiredChange) -> DesiredNotice {
        match &change.cleared {
            None => self.for_version(change.version, false),
            Some(keys) => {
                let nulls = keys
                    .iter()
                    .map(|key| (key.clone(), serde_json::Value::Null))
                    .collect();
                Self::of(&nulls).for_version(change.version, false)
            }
        }
    }

    fn for_version(&self, version: u64, full: bool) -> DesiredNotice {
        let comma = if self.open.len() > 1 { "," } else { "" };
        let body = Bytes::from(format!("{}{comma}\"$version\":{version}}}", self.open));
        DesiredNotice {
            version,
            full,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_carries_the_patch_and_its_version() {
        let patch = |section| TwinPatch::new(SectionPatch::Absent, section).unwrap();
        let members = |text| SectionPatch::Merge(serde_json::from_str(text).unwrap());
        let change = |cleared| DesiredChange {
            version: 7,
            cleared,
        };
        let cases = [
            (
                patch(members(r#"{"a":1,"b":null}"#)),
                None,
                r#"{"a":1,"b":null,"$version":7}"#,
            ),
            (patch(members("{}")), None, r#"{"$version":7}"#),
            (
                patch(SectionPatch::Clear),
                Some(vec!["a".to_owned(), "b".to_owned()]),
                r#"{"a":null,"b":null,"$version":7}"#,
            ),
            (
                patch(SectionPatch::Clear),
                Some(vec![]),
                r#"{"$version":7}"#,
            ),
        ];
        for (patch, cleared, body) in cases {
            let notice = PatchText::new(&patch).notice(&change(cleared));
            assert_eq!((notice.body.as_ref(), notice.version), (body.as_bytes(), 7));
        }
    }
}
