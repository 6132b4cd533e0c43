//! A device's own twin operations: reading it, and patching its reported properties.
//!
//! Every request is answered, since SDKs wait for ever; the answer is sent only to devices that subscribed
//! to answers. Merging and limits are the hub's.

use bytes::Bytes;
use fanfare_hub::{
    Hub,
    ports::store::TwinWriteError,
    presence::{DesiredNotice, Link},
    twin::document::{Object, Properties, ReportedPatch},
};
use fanfare_wire::topic;

use super::{
    codec,
    error::Refusal,
    limits,
    link::{DeviceLink, TwinDelivery, full_notice, with_version},
};

/// One connection's twin.
pub(super) struct TwinDesk<'a> {
    /// The hub.
    pub(super) hub: &'a Hub,
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
            let twin = match self.hub.twins.get(self.link.identity()).await {
                Ok(view) => view.ok_or(Gone)?.twin,
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
            .report(self.link.identity(), patch, base)
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
        match self.hub.twins.get(self.link.identity()).await {
            Ok(view) => {
                let twin = view.ok_or(Gone)?.twin;
                self.link
                    .desired_known(&desired_notice(&twin.document.desired));
            }
            // The sweep will send it the whole section.
            Err(error) => tracing::warn!(%error, "desired properties will be sent later"),
        }
        Ok(())
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
    let members: Object = fanfare_wire::decode(patch).map_err(Refusal::patch)?;
    ReportedPatch::new(members).map_err(Refusal::patch)
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
