//! One connection as the hub sees it: the handle through which calls, desired properties and receipts reach
//! a device, from any thread, without waiting.
//!
//! Decides under one lock what may leave and in which order: nothing before CONNACK, nothing after a cut,
//! and no desired version older than one the device was told. Knows topics, not sessions.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use fanfare_hub::{
    ids::{CallId, IdentityId},
    presence::{
        Admission, CallTemplate, CutReason, Delivery, DesiredDelivery, DesiredNotice, Link, Receipt,
    },
    time::Timestamp,
};
use fanfare_wire::topic;
use futures_util::task::AtomicWaker;

use super::{
    codec::{self, CallRequest},
    limits,
    transport::{Incoming, Outgoing, SendError},
};
use crate::telemetry::COUNTS;

/// The writing side of a connection and what its device has been told.
pub(super) struct DeviceLink {
    identity: IdentityId,
    admission: Admission,
    /// Wakes the connection's task for a cut or a backlog.
    waker: AtomicWaker,
    last_heard: AtomicI64,
    state: Mutex<State>,
}

struct State {
    outgoing: Outgoing,
    cut: Option<CutReason>,
    /// False until CONNACK was sent: nothing may leave before it.
    takes_calls: bool,
    desired: Desired,
}

/// What the device knows of its desired properties.
#[derive(Default)]
struct Desired {
    /// Whether it wants to hear of changes. False until CONNACK was sent.
    listens: bool,
    /// The version it was told last on this connection, by a notice or an answer; for one that listened
    /// before, the version at its connect.
    told: Option<u64>,
    /// The newest version that could not be told because CONNACK was not sent.
    missed: u64,
}

/// What became of the answer to a twin GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TwinDelivery {
    /// It was sent, or cannot be any more.
    Done,
    /// The device was told a newer version meanwhile: read again.
    Overtaken,
}

/// What a session wants to hear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants {
    /// Calls.
    pub(super) calls: bool,
    /// Changes of desired properties.
    pub(super) desired: bool,
}

impl DeviceLink {
    /// A connection that has not seen CONNACK.
    pub(super) fn new(
        identity: IdentityId,
        admission: Admission,
        outgoing: Outgoing,
        now: Timestamp,
    ) -> Self {
        let state = State {
            outgoing,
            cut: None,
            takes_calls: false,
            desired: Desired::default(),
        };
        Self {
            identity,
            admission,
            waker: AtomicWaker::new(),
            last_heard: AtomicI64::new(now.0),
            state: Mutex::new(state),
        }
    }

    /// Sends CONNACK and lets everything else follow. `desired_version` is the one in the store when it was
    /// first looked at. Says whether a listening device missed a later one.
    pub(super) fn welcome(&self, connack: &[u8], wants: Wants, desired_version: u64) -> bool {
        let mut state = self.lock();
        if self.write(&mut state, &[connack]) {
            state.takes_calls = wants.calls;
            state.desired.listens = wants.desired;
            state.desired.told = wants.desired.then_some(desired_version);
        }
        wants.desired && state.desired.missed > desired_version
    }

    /// Sends a packet; lost when the connection is over.
    pub(super) fn send(&self, packet: &[u8]) {
        let mut state = self.lock();
        self.write(&mut state, &[packet]);
    }

    /// Lets changes of desired properties through, before SUBACK says so: what is committed after it must
    /// not pass for something the device knows.
    pub(super) fn listen(&self) {
        self.lock().desired.listens = true;
    }

    /// Sends SUBACK or UNSUBACK, and from then on what the session wants.
    pub(super) fn adopt(&self, reply: &[u8], wants: Wants) {
        let mut state = self.lock();
        self.write(&mut state, &[reply]);
        state.takes_calls = wants.calls;
        state.desired.listens = wants.desired;
    }

    /// After the device began to listen: `full` is what the store holds. A device that was told nothing on
    /// this connection is taken to know it; one that knows an older version hears it.
    pub(super) fn desired_known(&self, full: &DesiredNotice) {
        let mut state = self.lock();
        match state.desired.told {
            None => state.desired.told = Some(full.version),
            Some(told) if told < full.version => {
                self.write_desired(&mut state, full);
            }
            Some(_) => {}
        }
    }

    /// Answers a twin GET with a document whose desired section is `full`. One that listens and was not
    /// told this version yet gets it as a notice as well: its app may wait for that.
    pub(super) fn twin_answer(&self, answer: &[u8], full: &DesiredNotice) -> TwinDelivery {
        let mut state = self.lock();
        let told = state.desired.told;
        if told.is_some_and(|told| told > full.version) {
            return TwinDelivery::Overtaken;
        }
        if self.write(&mut state, &[answer]) {
            match told {
                Some(told) if state.desired.listens && told < full.version => {
                    self.write_desired(&mut state, full);
                }
                _ => state.desired.told = Some(full.version),
            }
        }
        TwinDelivery::Done
    }

    /// Notes that the device was heard.
    pub(super) fn heard(&self, at: Timestamp) {
        self.last_heard.store(at.0, Ordering::Relaxed);
    }

    /// Why the connection was cut, if it was.
    pub(super) fn cut_reason(&self) -> Option<CutReason> {
        self.lock().cut
    }

    /// Waits for bytes of the device, flushing what waits meanwhile. An error is the end of the connection.
    pub(super) fn poll_incoming(
        &self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
    ) -> Poll<io::Result<()>> {
        self.waker.register(cx.waker());
        {
            let mut state = self.lock();
            if state.cut.is_some() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            match state.outgoing.poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending if state.outgoing.backlog_bytes() >= limits::BACKLOG_BYTES_PAUSE => {
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
        let open = |wire: &[u8], packets: &mut _| {
            COUNTS.bytes_in.add(wire.len() as u64);
            self.lock().outgoing.open(wire, packets)
        };
        ready!(incoming.poll_fill(cx, open))?;
        Poll::Ready(Ok(()))
    }

    /// Gives back socket and memory, however many still hold the link.
    pub(super) fn close(&self) {
        self.end(&mut self.lock(), CutReason::Closing);
    }

    /// Whether the packet was taken. One that was not ends the connection.
    fn write(&self, state: &mut State, parts: &[&[u8]]) -> bool {
        let had_backlog = state.outgoing.backlog_bytes() > 0;
        match state.outgoing.send(parts) {
            Ok(()) => {
                COUNTS.sent(parts);
                if !had_backlog && state.outgoing.backlog_bytes() > 0 {
                    self.waker.wake();
                }
                return true;
            }
            Err(SendError::Closed) => {}
            Err(SendError::TooSlow) => self.end(state, CutReason::TooSlow),
            Err(SendError::Io(_)) => self.end(state, CutReason::Closing),
        }
        false
    }

    fn write_desired(&self, state: &mut State, notice: &DesiredNotice) -> bool {
        let topic = topic::desired_patch(notice.version);
        let packet = codec::publish(topic, notice.body.clone());
        let is_sent = self.write(state, &[&packet]);
        if is_sent {
            state.desired.told = Some(notice.version);
        }
        is_sent
    }

    fn end(&self, state: &mut State, reason: CutReason) {
        state.cut.get_or_insert(reason);
        state.outgoing.close();
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for DeviceLink {
    fn identity(&self) -> &IdentityId {
        &self.identity
    }

    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn takes_calls(&self) -> bool {
        let state = self.lock();
        state.takes_calls && state.cut.is_none()
    }

    /// A device that named some methods only gets every call all the same: like a method without a
    /// function in its app, an unexpected one is answered by silence. compat: MQTT-15
    fn call(&self, call: CallId, template: &CallTemplate) -> Delivery {
        let request = CallRequest::of(template);
        let rid = call.to_text();
        let mut state = self.lock();
        if state.takes_calls && self.write(&mut state, &request.parts(&rid)) {
            Delivery::Sent
        } else {
            Delivery::Closed
        }
    }

    fn desired(&self, notice: &DesiredNotice) -> DesiredDelivery {
        let mut state = self.lock();
        if !state.desired.listens || state.cut.is_some() {
            state.desired.missed = state.desired.missed.max(notice.version);
            return DesiredDelivery::NotNeeded;
        }
        // Told nothing yet: the session is just finding out where the store stands.
        let told = state.desired.told.unwrap_or(0);
        if notice.version <= told {
            return DesiredDelivery::NotNeeded;
        }
        if !notice.full && notice.version != told + 1 {
            return DesiredDelivery::Gap;
        }
        match self.write_desired(&mut state, notice) {
            true => DesiredDelivery::Sent,
            false => DesiredDelivery::NotNeeded,
        }
    }

    fn desired_sent(&self) -> Option<u64> {
        let state = self.lock();
        let listens = state.desired.listens && state.cut.is_none();
        listens.then(|| state.desired.told.unwrap_or(0))
    }

    /// PUBACK; the receipt is the packet's id.
    fn acknowledge(&self, receipt: Receipt) {
        if let Ok(packet_id) = u16::try_from(receipt.0) {
            self.send(&codec::puback(packet_id));
        }
    }

    fn last_heard(&self) -> Timestamp {
        Timestamp(self.last_heard.load(Ordering::Relaxed))
    }

    fn cut(&self, reason: CutReason) {
        self.end(&mut self.lock(), reason);
    }
}

/// The notice that holds a whole desired section, from the section's text without its version.
pub(super) fn full_notice(section: &str, version: u64) -> DesiredNotice {
    DesiredNotice {
        version,
        full: true,
        body: Bytes::from(with_version(section, version)),
    }
}

/// A section's JSON object with `$version` as its last member.
pub(super) fn with_version(section: &str, version: u64) -> String {
    let open = section.strip_suffix('}').unwrap_or(section);
    let comma = if open.len() > 1 { "," } else { "" };
    format!("{open}{comma}\"$version\":{version}}}")
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
