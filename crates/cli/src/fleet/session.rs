//! Decides what a simulated device writes: packets and the time in, packets out. No socket, no timer.
//!
//! A [`Session`] outlives its connections, as a device does: answers that came due while it was away and QoS 1
//! answers without PUBACK go out on the next connection (the latter with DUP), and what it sees is held against
//! what it saw before. Whatever must not happen becomes a fault in the device's [`DeviceLog`].

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Packet, SubscribeReturnCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::document::{merge, strip_version};
use super::log::{AnswerLog, CALLS_KEPT_MAX, CallLog, DeviceLog};
use super::spec::{Answer, AnswerQos, DeviceSpec, Payload, Subscribing, TwinUse};
use super::stats::Counters;
use super::topic::{self, Incoming};

/// One device's side of its MQTT session.
pub(super) struct Session {
    spec: Arc<DeviceSpec>,
    log: Arc<Mutex<DeviceLog>>,
    counters: Arc<Counters>,
    rng: SmallRng,
    /// Number of the current connection, from 1.
    connection: u32,
    online: bool,
    /// The SUBSCRIBE that waits for its SUBACK.
    subscribing: Option<NonZeroU16>,
    /// The hub acknowledged the subscriptions at least once, so its session must hold them.
    subscribed: bool,
    packet_id: u16,
    /// Answers by the time at which they are to be written; the number keeps equal times apart.
    due: BTreeMap<(Instant, u64), DueAnswer>,
    due_number: u64,
    unacknowledged: VecDeque<Unacknowledged>,
    /// Highest desired version seen on this connection.
    connection_desired: u64,
}

struct DueAnswer {
    rid: Arc<str>,
    status: i32,
    payload: Arc<str>,
}

struct Unacknowledged {
    packet_id: NonZeroU16,
    rid: Arc<str>,
    publish: Publish,
}

impl Session {
    pub(super) fn new(
        spec: Arc<DeviceSpec>,
        log: Arc<Mutex<DeviceLog>>,
        counters: Arc<Counters>,
        seed: u64,
    ) -> Self {
        Self {
            spec,
            log,
            counters,
            rng: SmallRng::seed_from_u64(seed),
            connection: 0,
            online: false,
            subscribing: None,
            subscribed: false,
            packet_id: 0,
            due: BTreeMap::new(),
            due_number: 0,
            unacknowledged: VecDeque::new(),
            connection_desired: 0,
        }
    }

    /// A random time in `range`; its start when the range is empty.
    pub(super) fn random(&mut self, range: &std::ops::Range<Duration>) -> Duration {
        if range.is_empty() {
            range.start
        } else {
            self.rng.random_range(range.clone())
        }
    }

    /// True or false, evenly.
    pub(super) fn coin(&mut self) -> bool {
        self.rng.random_bool(0.5)
    }

    /// The hub accepted a connection.
    pub(super) fn opened(&mut self, session_present: bool, now: Instant, out: &mut Vec<Packet>) {
        self.connection += 1;
        self.connection_desired = 0;
        self.subscribing = None;
        Counters::add(&self.counters.connects);
        self.log().connections = self.connection;
        if self.subscribed && !session_present {
            self.fault(format!(
                "connection {}: the hub forgot the session whose subscriptions it had acknowledged",
                self.connection
            ));
        }
        if self.subscribed && self.spec.behaviour.subscribing == Subscribing::FirstSessionOnly {
            self.set_online(true);
        } else {
            self.subscribe(out);
        }
        self.write_again(out);
        if self.spec.behaviour.twin == TwinUse::ReadAndReport {
            self.use_twin(out);
        }
        self.write_due(now, out);
    }

    /// The connection is gone, from whichever side.
    pub(super) fn closed(&mut self) {
        self.subscribing = None;
        self.set_online(false);
    }

    /// When the next answer is to be written.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Writes the answers whose time has come.
    pub(super) fn write_due(&mut self, now: Instant, out: &mut Vec<Packet>) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let answer = entry.remove();
            self.write_answer(answer, now, out);
        }
    }

    /// Takes one packet of the hub.
    pub(super) fn received(&mut self, packet: Packet, now: Instant, out: &mut Vec<Packet>) {
        match packet {
            Packet::Publish(publish) => {
                if let Some(packet_id) = publish.packet_id {
                    out.push(Packet::PublishAck { packet_id });
                }
                self.published(&publish, now);
            }
            Packet::PublishAck { packet_id } => self.acknowledged(packet_id, now),
            Packet::SubscribeAck { packet_id, status } => {
                self.subscriptions_acknowledged(packet_id, &status, now);
            }
            Packet::PingResponse => {}
            other => self.fault(format!(
                "packet type {:#04x} out of place",
                other.packet_type()
            )),
        }
    }

    fn published(&mut self, publish: &Publish, now: Instant) {
        match Incoming::parse(&publish.topic) {
            Some(Incoming::Method { name, rid }) => self.called(name, rid, &publish.payload, now),
            Some(Incoming::TwinReply { status, rid, .. }) => {
                self.twin_replied(status, rid, &publish.payload);
            }
            Some(Incoming::Desired { version }) => self.desired_patched(version, &publish.payload),
            None => self.fault(format!("topic {} was not subscribed to", publish.topic)),
        }
    }

    fn called(&mut self, name: &str, rid: &str, payload: &[u8], now: Instant) {
        Counters::add(&self.counters.calls);
        let text: Arc<str> = String::from_utf8_lossy(payload).into();
        if serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_err() {
            self.fault(format!("call {rid}: the payload is not JSON: {text:?}"));
        }
        if self.log().call_mut(rid).is_some() {
            self.fault(format!("call {rid} was delivered twice"));
            return;
        }
        let rid: Arc<str> = rid.into();
        let call = CallLog {
            rid: Arc::clone(&rid),
            method: name.into(),
            payload: text,
            connection: self.connection,
            received_at: now,
            answer: None,
        };
        {
            let mut log = self.log();
            if log.calls.len() < CALLS_KEPT_MAX {
                log.calls.push(call);
            }
        }
        self.plan_answer(rid, now);
    }

    fn plan_answer(&mut self, rid: Arc<str>, now: Instant) {
        let spec = Arc::clone(&self.spec);
        let Answer::Reply {
            status,
            payload,
            delay,
        } = &spec.behaviour.answer
        else {
            return;
        };
        let payload = match payload {
            Payload::Fixed(value) => value.to_string(),
            Payload::Echo => json!({"device": spec.id, "rid": &*rid}).to_string(),
        };
        let at = now + self.random(delay);
        self.due_number += 1;
        let answer = DueAnswer {
            rid,
            status: *status,
            payload: payload.into(),
        };
        self.due.insert((at, self.due_number), answer);
    }

    fn write_answer(&mut self, answer: DueAnswer, now: Instant, out: &mut Vec<Packet>) {
        let DueAnswer {
            rid,
            status,
            payload,
        } = answer;
        let mut publish = publish(
            topic::method_answer(status, &rid),
            Bytes::copy_from_slice(payload.as_bytes()),
        );
        if self.spec.behaviour.answer_qos == AnswerQos::AtLeastOnce {
            let packet_id = self.next_packet_id();
            publish.qos = QoS::AtLeastOnce;
            publish.packet_id = Some(packet_id);
            let rid = Arc::clone(&rid);
            self.unacknowledged.push_back(Unacknowledged {
                packet_id,
                rid,
                publish: publish.clone(),
            });
        }
        Counters::add(&self.counters.answers);
        if let Some(call) = self.log().call_mut(&rid) {
            call.answer = Some(AnswerLog {
                status,
                payload,
                first_sent_at: now,
                sends: 1,
                acknowledged_at: None,
            });
        }
        out.push(publish.into());
    }

    /// Sends what the last connection took with it once more, in order, marked DUP.
    fn write_again(&mut self, out: &mut Vec<Packet>) {
        for waiting in &self.unacknowledged {
            let mut publish = waiting.publish.clone();
            publish.dup = true;
            out.push(publish.into());
            Counters::add(&self.counters.answers_again);
            if let Some(call) = lock(&self.log).call_mut(&waiting.rid)
                && let Some(answer) = &mut call.answer
            {
                answer.sends += 1;
            }
        }
    }

    fn acknowledged(&mut self, packet_id: NonZeroU16, now: Instant) {
        let place = self
            .unacknowledged
            .iter()
            .position(|waiting| waiting.packet_id == packet_id);
        let Some(waiting) = place.and_then(|place| self.unacknowledged.remove(place)) else {
            self.fault(format!("PUBACK {packet_id} for nothing that was sent"));
            return;
        };
        Counters::add(&self.counters.acknowledged);
        if let Some(call) = self.log().call_mut(&waiting.rid)
            && let Some(answer) = &mut call.answer
        {
            answer.acknowledged_at = Some(now);
        }
    }

    fn subscribe(&mut self, out: &mut Vec<Packet>) {
        let qos = match self.spec.behaviour.answer_qos {
            AnswerQos::AtMostOnce => QoS::AtMostOnce,
            AnswerQos::AtLeastOnce => QoS::AtLeastOnce,
        };
        let filters: &[&str] = match self.spec.behaviour.twin {
            TwinUse::Listen => &[topic::METHODS, topic::DESIRED],
            TwinUse::ReadAndReport => &[topic::METHODS, topic::DESIRED, topic::TWIN_REPLIES],
        };
        let packet_id = self.next_packet_id();
        let topic_filters = filters
            .iter()
            .map(|filter| ((*filter).into(), qos))
            .collect();
        self.subscribing = Some(packet_id);
        self.log().subscribes += 1;
        out.push(Packet::Subscribe {
            packet_id,
            topic_filters,
        });
    }

    fn subscriptions_acknowledged(
        &mut self,
        packet_id: NonZeroU16,
        status: &[SubscribeReturnCode],
        now: Instant,
    ) {
        if self.subscribing != Some(packet_id) {
            self.fault(format!("SUBACK {packet_id} for nothing that was sent"));
            return;
        }
        if status.contains(&SubscribeReturnCode::Failure) {
            self.fault(format!("SUBACK {packet_id} refuses a filter"));
        }
        self.subscribing = None;
        self.subscribed = true;
        self.log().subscribed_at.get_or_insert(now);
        self.set_online(true);
    }

    /// Reads the twin and reports the number of this connection. QoS 0: both are asked anew on each connection.
    fn use_twin(&mut self, out: &mut Vec<Packet>) {
        let connection = self.connection;
        let get = publish(
            topic::twin_get(&format!("g{connection}")),
            Bytes::from_static(b" "),
        );
        let patch = json!({"connections": connection}).to_string();
        let report = publish(
            topic::reported_patch(&format!("p{connection}")),
            patch.into(),
        );
        out.push(get.into());
        out.push(report.into());
    }

    fn twin_replied(&mut self, status: u16, rid: &str, payload: &[u8]) {
        let number = |prefix: &str| rid.strip_prefix(prefix)?.parse::<u32>().ok();
        if status >= 300 {
            self.fault(format!("twin request {rid} ended with {status}"));
        } else if let Some(connections) = number("p") {
            let mut log = self.log();
            log.reported_acknowledged = log.reported_acknowledged.max(Some(connections));
        } else if number("g") == Some(self.connection) {
            self.twin_read(payload);
        }
    }

    fn twin_read(&mut self, payload: &[u8]) {
        let Ok(mut twin) = serde_json::from_slice::<Value>(payload) else {
            self.fault("the twin is not JSON".to_owned());
            return;
        };
        let version = twin["desired"]["$version"].as_u64().unwrap_or_default();
        self.check_desired(version);
        let reported = twin["reported"]["connections"].as_u64();
        let (seen, acknowledged) = {
            let log = self.log();
            (log.desired_version, log.reported_acknowledged)
        };
        if version < seen {
            self.fault(format!(
                "the twin has desired version {version}, {seen} was seen before"
            ));
        }
        if reported < acknowledged.map(u64::from) {
            self.fault(format!(
                "the twin reports {reported:?}, {acknowledged:?} was acknowledged"
            ));
        }
        let mut desired = twin["desired"].take();
        strip_version(&mut desired);
        let mut log = self.log();
        log.desired_version = log.desired_version.max(version);
        log.desired = Some(desired);
    }

    fn desired_patched(&mut self, version: Option<u64>, payload: &[u8]) {
        Counters::add(&self.counters.desired);
        let Ok(mut patch) = serde_json::from_slice::<Value>(payload) else {
            self.fault("a desired patch is not JSON".to_owned());
            return;
        };
        let inside = patch["$version"].as_u64();
        if inside.is_none() || inside != version {
            self.fault(format!(
                "a desired patch says {inside:?} inside and {version:?} outside"
            ));
        }
        let version = inside.unwrap_or_default();
        self.check_desired(version);
        strip_version(&mut patch);
        let mut log = self.log();
        log.desired_version = log.desired_version.max(version);
        merge(log.desired.get_or_insert_with(|| json!({})), patch);
    }

    /// Desired versions never go back on one connection, replies to a read included.
    fn check_desired(&mut self, version: u64) {
        let before = self.connection_desired;
        if version < before {
            self.fault(format!(
                "connection {}: desired version {version} after {before}",
                self.connection
            ));
        }
        self.connection_desired = before.max(version);
    }

    fn next_packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.packet_id = self.packet_id.wrapping_add(1);
            let Some(packet_id) = NonZeroU16::new(self.packet_id) else {
                continue;
            };
            if !self
                .unacknowledged
                .iter()
                .any(|waiting| waiting.packet_id == packet_id)
            {
                return packet_id;
            }
        }
    }

    fn set_online(&mut self, online: bool) {
        if self.online != online {
            self.online = online;
            self.counters.online.send_modify(|count| {
                *count = if online { *count + 1 } else { *count - 1 };
            });
        }
    }

    fn fault(&self, text: String) {
        Counters::add(&self.counters.faults);
        tracing::warn!(device.id = %self.spec.id, "{text}");
        self.log().fault(text);
    }

    fn log(&self) -> MutexGuard<'_, DeviceLog> {
        lock(&self.log)
    }
}

/// The log stays readable after a panic elsewhere: it is only ever appended to.
pub(super) fn lock(log: &Mutex<DeviceLog>) -> MutexGuard<'_, DeviceLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn publish(topic: String, payload: Bytes) -> Publish {
    Publish {
        dup: false,
        retain: false,
        qos: QoS::AtMostOnce,
        topic: topic.into(),
        packet_id: None,
        payload,
        properties: None,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
