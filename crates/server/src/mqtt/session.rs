//! The rules of one MQTT session, once its device is let in.
//!
//! Pure: takes decoded packets and the time, returns what to send, what to ask of the hub, and when to look
//! again. Does no I/O and waits for nothing, so every rule is a line of a table in the tests. `device` does
//! what it says.

use std::time::Duration;

use bytes::Bytes;
use fanfare_hub::{
    ids::{CallId, IdentityId},
    ports::store,
    presence::Receipt,
};
use fanfare_wire::topic::{DevicePublish, SubscriptionFilter};
use rmqtt_codec::{
    types::{Publish, QoS},
    v3::{Packet, SubscribeReturnCode},
};
use tokio::time::Instant;

use super::{
    connect::{Claim, topic_identity},
    limits,
};

/// How a session begins, once the device has proved who it is.
pub(super) struct Opening<'a> {
    /// Its CONNECT.
    pub(super) claim: &'a Claim,
    /// What was kept from earlier connections.
    pub(super) kept: Option<&'a store::Session>,
    /// Now.
    pub(super) now: Instant,
    /// When its token ends.
    pub(super) expires: Instant,
    /// How long after now it is ready for methods if their filter was kept.
    pub(super) ready_after: Duration,
}

/// A session with a live connection.
pub(super) struct Session {
    identity: IdentityId,
    is_durable: bool,
    has_will: bool,
    filters: Filters,
    silence_allowed: Duration,
    heard: Instant,
    expires: Instant,
    readiness: Readiness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// It does not want calls.
    Deaf,
    /// It wanted calls on an earlier connection; its app may still be starting.
    At(Instant),
    Ready,
}

/// What to do about a packet.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// Send this.
    Reply(Packet),
    /// Keep the filters, then [`Session::adopt`] them, then send the reply.
    Keep(Change),
    /// Ask the hub, then say that it was received.
    Ask(Ask, Option<Receipt>),
    /// Close the connection.
    End(End),
}

/// What a device wants of the hub.
#[derive(Debug, PartialEq)]
pub(super) enum Ask {
    /// Nothing: the packet only wants to be received.
    Nothing,
    /// Takes a message of so many bytes.
    Telemetry(usize),
    /// Wants its twin.
    TwinGet {
        /// To be repeated in the answer.
        rid: String,
    },
    /// Patches its reported properties.
    Report {
        /// To be repeated in the answer.
        rid: String,
        /// The version that the patch is based on.
        base: Option<u64>,
        /// JSON, not looked at yet.
        patch: Bytes,
    },
    /// Answers a call.
    Answer {
        /// Which.
        call: CallId,
        /// The device's status.
        status: i32,
        /// Its payload, not looked at yet.
        payload: Bytes,
    },
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The device said so.
    Disconnected,
    /// It was silent for too long.
    Silent,
    /// Its token ran out.
    Expired,
    /// It broke a rule; MQTT has no way to tell it which.
    Illegal(&'static str),
}

/// What passed with the time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// The session is ready for methods now.
    Ready,
    /// The connection ends.
    End(End),
}

/// A session's filters as they will be.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    filters: Filters,
    /// Whether the packet named calls.
    named_calls: bool,
    /// Whether it says anything that is not kept already.
    pub(super) is_new: bool,
    /// SUBACK or UNSUBACK.
    pub(super) reply: Packet,
}

impl Change {
    /// What is to be kept.
    pub(super) fn kept(&self) -> store::Session {
        let line = |one: &Subscription| (one.text.clone(), one.quality);
        store::Session {
            filters: self.filters.0.iter().map(line).collect(),
        }
    }
}

/// What changed with the filters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Adopted {
    /// It is ready for methods now and was not before.
    pub(super) ready: bool,
    /// It takes no calls any more.
    pub(super) unready: bool,
    /// It begins to hear of desired properties.
    pub(super) desired_begins: bool,
}

impl Session {
    /// The session of a connection, with the filters that were kept.
    pub(super) fn open(opening: &Opening<'_>) -> Self {
        let claim = opening.claim;
        let kept = opening.kept.filter(|_| claim.is_durable);
        let filters = kept.map_or_else(Filters::default, |kept| Filters::read(kept, &claim.id));
        let readiness = match filters.want_calls() {
            true => Readiness::At(opening.now + opening.ready_after),
            false => Readiness::Deaf,
        };
        Self {
            identity: claim.id.clone(),
            is_durable: claim.is_durable,
            has_will: claim.has_will,
            filters,
            silence_allowed: claim.keep_alive,
            heard: opening.now,
            expires: opening.expires,
            readiness,
        }
    }

    /// Whether its subscriptions outlive the connection.
    pub(super) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Whether it left a will.
    pub(super) fn has_will(&self) -> bool {
        self.has_will
    }

    /// Whether it wants calls.
    pub(super) fn wants_calls(&self) -> bool {
        self.filters.want_calls()
    }

    /// Whether it wants to hear of desired properties.
    pub(super) fn wants_desired(&self) -> bool {
        self.filters.have(&SubscriptionFilter::DesiredPatches)
    }

    /// Whether it wants answers to its twin requests.
    pub(super) fn wants_twin_answers(&self) -> bool {
        self.filters.have(&SubscriptionFilter::TwinResponses)
    }

    /// What to do about a packet.
    pub(super) fn receive(&mut self, packet: Packet, now: Instant) -> Step {
        self.heard = now;
        match packet {
            Packet::Publish(publish) => self.publish(*publish),
            Packet::Subscribe {
                packet_id,
                topic_filters,
            } => {
                let wanted = topic_filters
                    .iter()
                    .map(|(text, quality)| (&**text, *quality));
                self.subscribe(wanted, |status| Packet::SubscribeAck { packet_id, status })
            }
            Packet::Unsubscribe {
                packet_id,
                topic_filters,
            } => {
                let mut filters = self.filters.clone();
                filters
                    .0
                    .retain(|kept| !topic_filters.iter().any(|gone| **gone == *kept.text));
                let is_new = filters != self.filters;
                let reply = Packet::UnsubscribeAck { packet_id };
                Step::Keep(Change {
                    filters,
                    named_calls: false,
                    is_new,
                    reply,
                })
            }
            Packet::PingRequest => Step::Reply(Packet::PingResponse),
            Packet::Disconnect => Step::End(End::Disconnected),
            // Nothing of higher quality than 0 is sent to devices yet, so nothing waits for it.
            Packet::PublishAck { .. } => Step::Nothing,
            Packet::Connect(_) => Step::End(End::Illegal("a second CONNECT")),
            _ => Step::End(End::Illegal(
                "a packet that no device of this protocol sends",
            )),
        }
    }

    fn publish(&self, publish: Publish) -> Step {
        if publish.qos == QoS::ExactlyOnce {
            return Step::End(End::Illegal("a PUBLISH of quality 2"));
        }
        if publish.payload.len() > limits::MESSAGE_BYTES_MAX {
            return Step::End(End::Illegal("a message that is too large"));
        }
        let receipt = publish.packet_id.map(|id| Receipt(u32::from(id.get())));
        let ask = match DevicePublish::parse(&publish.topic, topic_identity(&self.identity)) {
            DevicePublish::Telemetry { .. } => Ask::Telemetry(publish.payload.len()),
            DevicePublish::TwinGet { rid } => Ask::TwinGet { rid },
            DevicePublish::ReportedPatch { rid, base_version } => Ask::Report {
                rid,
                base: base_version,
                patch: publish.payload,
            },
            DevicePublish::MethodResponse { status, rid } => match CallId::parse(&rid) {
                Some(call) => {
                    let status = status.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                    Ask::Answer {
                        call,
                        status,
                        payload: publish.payload,
                    }
                }
                // Nobody's call. compat: MQTT-13
                None => Ask::Nothing,
            },
            DevicePublish::Foreign => return Step::End(End::Illegal("another identity's topic")),
            DevicePublish::Unknown => return Step::End(End::Illegal("an unknown topic")),
            DevicePublish::Malformed(fault) => return Step::End(End::Illegal(fault)),
        };
        Step::Ask(ask, receipt)
    }

    /// Grants each filter on its own, in order; another identity's ends the connection. compat: MQTT-6
    fn subscribe<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a str, QoS)>,
        reply: impl FnOnce(Vec<SubscribeReturnCode>) -> Packet,
    ) -> Step {
        let mut filters = self.filters.clone();
        let mut named_calls = false;
        let mut codes = Vec::new();
        for (text, quality) in wanted {
            let filter = SubscriptionFilter::parse(text, topic_identity(&self.identity));
            if filter == SubscriptionFilter::Foreign {
                return Step::End(End::Illegal("another identity's filter"));
            }
            let wants_calls = is_for_calls(&filter);
            let granted = filters.grant(text, filter, quality);
            named_calls |= wants_calls && granted.is_some();
            codes.push(granted.map_or(SubscribeReturnCode::Failure, SubscribeReturnCode::Success));
        }
        let is_new = filters != self.filters;
        Step::Keep(Change {
            filters,
            named_calls,
            is_new,
            reply: reply(codes),
        })
    }

    /// Takes over filters that are kept now.
    pub(super) fn adopt(&mut self, change: Change) -> Adopted {
        let heard_desired = self.wants_desired();
        self.filters = change.filters;
        let mut adopted = Adopted {
            desired_begins: !heard_desired && self.wants_desired(),
            ..Adopted::default()
        };
        if !self.wants_calls() {
            adopted.unready = self.readiness != Readiness::Deaf;
            self.readiness = Readiness::Deaf;
        } else if change.named_calls && self.readiness != Readiness::Ready {
            // The app has just asked: its function is there. compat: MQTT-9
            adopted.ready = true;
            self.readiness = Readiness::Ready;
        }
        adopted
    }

    /// When to call [`Session::due`] at the latest; moves later by itself with every packet.
    pub(super) fn next_deadline(&self) -> Instant {
        let end = self.expires.min(self.heard + self.silence_allowed);
        match self.readiness {
            Readiness::At(ready) => end.min(ready),
            Readiness::Deaf | Readiness::Ready => end,
        }
    }

    /// What the time brought.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if now >= self.expires {
            return Due::End(End::Expired);
        }
        if now >= self.heard + self.silence_allowed {
            return Due::End(End::Silent);
        }
        match self.readiness {
            Readiness::At(ready) if now >= ready => {
                self.readiness = Readiness::Ready;
                Due::Ready
            }
            _ => Due::Nothing,
        }
    }
}

/// Subscriptions in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Filters(Vec<Subscription>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscription {
    /// The filter as the device wrote it.
    text: String,
    filter: SubscriptionFilter,
    /// 0 or 1.
    quality: u8,
}

impl Filters {
    /// Those of a kept session; what an older version kept and this one does not know is left out.
    fn read(kept: &store::Session, id: &IdentityId) -> Self {
        let mut filters = Self::default();
        for (text, quality) in &kept.filters {
            let filter = SubscriptionFilter::parse(text, topic_identity(id));
            if filter != SubscriptionFilter::Foreign {
                filters.grant(
                    text,
                    filter,
                    QoS::try_from(*quality).unwrap_or(QoS::AtMostOnce),
                );
            }
        }
        filters
    }

    /// The granted quality; `None` when the filter is not taken. compat: MQTT-14
    fn grant(&mut self, text: &str, filter: SubscriptionFilter, quality: QoS) -> Option<QoS> {
        if filter == SubscriptionFilter::Unsupported {
            return None;
        }
        let granted = if quality == QoS::AtMostOnce {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        let quality = u8::from(granted);
        if let Some(kept) = self.0.iter_mut().find(|kept| kept.text == text) {
            kept.quality = quality;
        } else if self.0.len() < limits::FILTERS_MAX {
            self.0.push(Subscription {
                text: text.to_owned(),
                filter,
                quality,
            });
        } else {
            return None;
        }
        Some(granted)
    }

    fn want_calls(&self) -> bool {
        self.0.iter().any(|one| is_for_calls(&one.filter))
    }

    fn have(&self, filter: &SubscriptionFilter) -> bool {
        self.0.iter().any(|one| one.filter == *filter)
    }
}

fn is_for_calls(filter: &SubscriptionFilter) -> bool {
    matches!(
        filter,
        SubscriptionFilter::Methods | SubscriptionFilter::Method(_)
    )
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
