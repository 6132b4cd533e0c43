//! A device's own twin operations: reading it, and patching its reported properties.
//!
//! Every request is answered, since SDKs wait for ever; the answer is sent only to devices that subscribed
//! to answers. Merging and limits are the hub's.

use bytes::Bytes;
use fanfare_hub::{
    Hub,
    ids::IdentityKey,
    ports::{
        StoreError,
        store::{Twin, TwinWriteError},
    },
    presence::{DesiredNotice, Link},
    twin::document::{Object, Properties, ReportedPatch},
};
use fanfare_wire::{topic, twin::ReportedPatchRequest};

use super::{
    codec,
    error::Refusal,
    limits,
    link::{DeviceLink, TwinDelivery, full_notice, with_version},
};
use crate::throttle::Throttled;

/// One connection's twin.
pub(super) struct TwinDesk<'a> {
    /// The hub.
    pub(super) hub: &'a Hub,
    /// Who signed in: by now another identity may have the name.
    pub(super) key: IdentityKey,
    /// The connection.
    pub(super) link: &'a DeviceLink,
    /// Whether the device subscribed to answers.
    pub(super) answers: bool,
}

/// The identity is not there any more.
#[derive(Debug)]
pub(super) struct Gone;

impl TwinDesk<'_> {
    /// Answers a GET. Versions of the desired section never go back on a connection: an answer that a
    /// notice has overtaken is read again. compat: MQTT-16
    pub(super) async fn get(&self, rid: &str) -> Result<(), Gone> {
        for _ in 0..limits::TWIN_READS_MAX {
            let twin = match self.stored().await {
                Ok(twin) => twin.ok_or(Gone)?,
                Err(error) => {
                    self.refuse(rid, &Refusal::store(&error));
                    return Ok(());
                }
            };
            if !self.answers {
                return Ok(());
            }
            let desired = desired_notice(&twin.document.desired);
            let body = document(&twin.document.reported, &desired);
            let answer = codec::publish(topic::twin_response(200, rid, None), body);
            if self.link.twin_answer(&answer, &desired) == TwinDelivery::Done {
                return Ok(());
            }
        }
        self.refuse(rid, &Refusal::busy());
        Ok(())
    }

    /// Stores a patch of the reported properties, then answers.
    pub(super) async fn report(
        &self,
        rid: &str,
        base: Option<u64>,
        patch: &[u8],
    ) -> Result<(), Gone> {
        let patch = match read_patch(patch) {
            Ok(patch) => patch,
            Err(refusal) => {
                self.refuse(rid, &refusal);
                return Ok(());
            }
        };
        match self
            .hub
            .twins
            .report(self.link.identity(), self.key, patch, base)
            .await
        {
            Ok(version) => {
                self.answer(topic::twin_response(204, rid, Some(version)), Bytes::new());
                Ok(())
            }
            Err(TwinWriteError::Absent(_)) => Err(Gone),
            Err(error) => {
                self.refuse(rid, &Refusal::write(&error));
                Ok(())
            }
        }
    }

    /// After the device began to listen: finds out which version it is taken to know.
    pub(super) async fn desired_begins(&self) -> Result<(), Gone> {
        match self.stored().await {
            Ok(twin) => {
                let twin = twin.ok_or(Gone)?;
                self.link
                    .desired_known(&desired_notice(&twin.document.desired));
            }
            // The sweep will send it the whole section.
            Err(error) => tracing::warn!(%error, "desired properties will be sent later"),
        }
        Ok(())
    }

    /// Answers what comes too soon after what came before.
    pub(super) fn throttled(&self, rid: &str, problem: &Throttled) {
        self.refuse(rid, &Refusal::throttled(problem));
    }

    /// The twin as it is stored; `None` when the identity is gone.
    async fn stored(&self) -> Result<Option<Twin>, StoreError> {
        let view = self.hub.twins.get(self.link.identity()).await?;
        let twin = view.map(|view| view.twin);
        Ok(twin.filter(|twin| twin.identity.key == self.key))
    }

    fn refuse(&self, rid: &str, refusal: &Refusal) {
        let topic = topic::twin_response(refusal.status(), rid, None);
        self.answer(topic, refusal.body(self.hub.clock.now()).into());
    }

    fn answer(&self, topic: String, body: Bytes) {
        if self.answers {
            self.link.send(&codec::publish(topic, body));
        }
    }
}

fn read_patch(patch: &[u8]) -> Result<ReportedPatch, Refusal> {
    let request: ReportedPatchRequest = fanfare_wire::decode(patch).map_err(Refusal::patch)?;
    ReportedPatch::new(request.reported).map_err(Refusal::patch)
}

/// `{"desired":{..,"$version":n},"reported":{..,"$version":m}}` and nothing else. compat: MQTT-17
fn document(reported: &Properties, desired: &DesiredNotice) -> Bytes {
    let reported = with_version(&text_of(&reported.values), reported.version);
    let desired = std::str::from_utf8(&desired.body).expect("notices are JSON text");
    format!("{{\"desired\":{desired},\"reported\":{reported}}}").into()
}

fn desired_notice(desired: &Properties) -> DesiredNotice {
    full_notice(&text_of(&desired.values), desired.version)
}

fn text_of(section: &Object) -> String {
    serde_json::to_string(section).expect("JSON objects can be written")
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{time::Timestamp, twin::document::TwinDocument};

    use super::*;

    #[test]
    fn a_document_is_the_two_sections_with_their_versions() {
        let mut twin = TwinDocument::new(Timestamp(0));
        let empty = r#"{"desired":{"$version":1},"reported":{"$version":1}}"#;
        assert_eq!(
            document(&twin.reported, &desired_notice(&twin.desired)),
            empty
        );
        twin.desired.values.insert("a".to_owned(), 1.into());
        twin.reported.version = 9;
        let full = r#"{"desired":{"a":1,"$version":1},"reported":{"$version":9}}"#;
        assert_eq!(
            document(&twin.reported, &desired_notice(&twin.desired)),
            full
        );
    }
}
