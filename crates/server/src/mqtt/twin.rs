//! A device's own twin operations: reading it, and patching its reported properties.
//!
//! Every request is answered, since SDKs wait for ever; the answer is sent only to devices that subscribed
//! to answers. Merging and limits are the hub's.

use bytes::Bytes;
use fanfare_hub::{
    Hub,
    ports::store::{Twin, TwinWriteError},
    presence::{DesiredNotice, Link},
    twin::document::{Object, ReportedPatch},
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
            let desired = desired_notice(&twin);
            let body = document(&twin, &desired);
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
            Ok(view) => self
                .link
                .desired_known(&desired_notice(&view.ok_or(Gone)?.twin)),
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
fn document(twin: &Twin, desired: &DesiredNotice) -> Bytes {
    let reported = &twin.document.reported;
    let reported = with_version(&text_of(&reported.values), reported.version);
    let desired = std::str::from_utf8(&desired.body).expect("notices are JSON text");
    format!("{{\"desired\":{desired},\"reported\":{reported}}}").into()
}

fn desired_notice(twin: &Twin) -> DesiredNotice {
    let desired = &twin.document.desired;
    full_notice(&text_of(&desired.values), desired.version)
}

fn text_of(section: &Object) -> String {
    serde_json::to_string(section).expect("JSON objects can be written")
}
