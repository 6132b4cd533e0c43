//! Knows where each identity is connected, and hands out the link to reach it.
//!
//! Memory, not rows: at start everybody is disconnected. Decides that the newest connection wins. Knows
//! no protocol; a front end brings its connections as [`Link`]s.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use roaring::RoaringBitmap;
use tokio::sync::{Notify, oneshot};

use crate::{
    ids::{CallId, IdentityId, IdentityKey, MethodName, Space},
    json::JsonText,
    time::Timestamp,
};

mod admission;

pub use admission::{Admission, KeyMark, Thumbprints};

/// One live connection of one identity, as the domain sees it. None of these may block.
pub trait Link: Send + Sync + 'static {
    /// Whose connection it is.
    fn identity(&self) -> &IdentityId;

    /// What let it in.
    fn admission(&self) -> &Admission;

    /// Whether the device asked to hear of method calls, on this connection or an earlier one.
    fn takes_calls(&self) -> bool;

    /// Hands a method request to the connection.
    fn call(&self, call: CallId, template: &CallTemplate) -> Delivery;

    /// Hands over a change of the desired properties. Versions never go back on a link: one that was
    /// overtaken is dropped, one that leaves a gap is not sent and said to be so.
    fn desired(&self, notice: &DesiredNotice) -> DesiredDelivery;

    /// The `$version` the device was last told; `None` when it does not listen.
    fn desired_sent(&self) -> Option<u64>;

    /// Tells the device that what it sent is durable.
    fn acknowledge(&self, receipt: Receipt);

    /// When the device was last heard.
    fn last_heard(&self) -> Timestamp;

    /// Ends the connection at once.
    fn cut(&self, reason: CutReason);
}

/// Whether bytes were handed to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Handed over; the device may get it.
    Sent,
    /// Nothing left, and nothing will.
    Closed,
}

/// What became of a desired notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredDelivery {
    /// Handed over.
    Sent,
    /// The device does not listen, or the connection is closed, or it knows this version already.
    NotNeeded,
    /// A version before this one was not sent: only a full notice helps.
    Gap,
}

/// A method request, the same for every device of a job.
#[derive(Debug)]
pub struct CallTemplate {
    /// The method.
    pub name: MethodName,
    /// Its argument.
    pub payload: JsonText,
    /// The MQTT front end's encoding of the request, made once, patched with each call's id.
    pub mqtt: OnceLock<Bytes>,
}

impl CallTemplate {
    /// A request not yet encoded.
    pub fn new(name: MethodName, payload: JsonText) -> Self {
        Self {
            name,
            payload,
            mqtt: OnceLock::new(),
        }
    }
}

/// A change of the desired properties, for the device.
#[derive(Debug, Clone)]
pub struct DesiredNotice {
    /// The `$version` the device has after it.
    pub version: u64,
    /// Whether `body` is the whole section rather than a patch.
    pub full: bool,
    /// A JSON object with `$version` inside.
    pub body: Bytes,
}

/// What a front end wants to hear back once a device's message is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt(pub u32);

/// Why a connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// The same identity connected again.
    Superseded,
    /// The identity was disabled, deleted or re-keyed.
    AccessChanged,
    /// The hub is stopping.
    Closing,
    /// The device reads too slowly.
    TooSlow,
    /// Its token or certificate ran out.
    Expired,
}

/// Names one connection of one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(u64);

/// What everybody may see of an identity's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceView {
    /// Whether it is connected.
    pub connected: bool,
    /// When that last changed since this node started.
    pub changed: Option<Timestamp>,
    /// When it was last heard since this node started.
    pub last_heard: Option<Timestamp>,
}

/// The connections of a node.
#[derive(Default)]
pub struct Presence {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    entries: HashMap<IdentityKey, Entry>,
    next_connection: u64,
    ready: [RoaringBitmap; 2],
    connected: [RoaringBitmap; 2],
    /// Who became ready or unready since the job engine last looked; the last word counts.
    changes: BTreeMap<IdentityKey, bool>,
    waiting: HashMap<IdentityKey, Vec<oneshot::Sender<()>>>,
}

struct Entry {
    live: Option<Live>,
    changed: Timestamp,
    last_heard: Timestamp,
    /// `last_heard` as last given to be written.
    written: Timestamp,
}

struct Live {
    link: Arc<dyn Link>,
    connection: ConnectionId,
    ready: bool,
}

impl Presence {
    /// A connection begins; the older one of the same identity is cut.
    pub fn attach(&self, key: IdentityKey, link: Arc<dyn Link>, at: Timestamp) -> ConnectionId {
        let older;
        let connection;
        {
            let mut state = self.lock();
            connection = ConnectionId(state.next_connection);
            state.next_connection += 1;
            state.connected[index(key.space)].insert(key.ordinal);
            let live = Live {
                link,
                connection,
                ready: false,
            };
            let entry = state.entries.entry(key).or_insert(Entry {
                live: None,
                changed: at,
                last_heard: at,
                written: Timestamp::NEVER,
            });
            if entry.live.is_none() {
                entry.changed = at;
            }
            older = entry.live.replace(live);
            if older.as_ref().is_some_and(|older| older.ready) {
                state.unready(key);
            }
        }
        if let Some(older) = older {
            older.link.cut(CutReason::Superseded);
        }
        self.changed.notify_one();
        connection
    }

    /// A connection ended. One that was superseded changes nothing.
    pub fn detach(&self, key: IdentityKey, connection: ConnectionId, at: Timestamp) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get_mut(&key) else {
            return;
        };
        let Some(live) = entry.live.take_if(|live| live.connection == connection) else {
            return;
        };
        entry.changed = at;
        entry.last_heard = entry.last_heard.max(live.link.last_heard());
        state.connected[index(key.space)].remove(key.ordinal);
        if live.ready {
            state.unready(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The connection is ready for methods from now on.
    pub fn ready(&self, key: IdentityKey, connection: ConnectionId) {
        let mut state = self.lock();
        let live = state
            .entries
            .get_mut(&key)
            .and_then(|entry| entry.live.as_mut());
        let Some(live) = live.filter(|live| live.connection == connection && !live.ready) else {
            return;
        };
        live.ready = true;
        state.ready[index(key.space)].insert(key.ordinal);
        state.changes.insert(key, true);
        for waiting in state.waiting.remove(&key).unwrap_or_default() {
            // Whoever waited may have run out of time.
            let _ = waiting.send(());
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The connection no longer takes calls.
    pub fn not_ready(&self, key: IdentityKey, connection: ConnectionId) {
        let mut state = self.lock();
        let live = state
            .entries
            .get_mut(&key)
            .and_then(|entry| entry.live.as_mut());
        if let Some(live) = live.filter(|live| live.connection == connection && live.ready) {
            live.ready = false;
            state.unready(key);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The link to an identity, if it is connected.
    pub fn link(&self, key: IdentityKey) -> Option<Arc<dyn Link>> {
        let state = self.lock();
        state
            .entries
            .get(&key)?
            .live
            .as_ref()
            .map(|live| live.link.clone())
    }

    /// The link to an identity that is ready for methods.
    pub fn ready_link(&self, key: IdentityKey) -> Option<Arc<dyn Link>> {
        let state = self.lock();
        let live = state.entries.get(&key)?.live.as_ref()?;
        live.ready.then(|| live.link.clone())
    }

    /// Ends when the identity is ready for methods, or was deleted.
    pub async fn wait_ready(&self, key: IdentityKey) {
        // Goes after the receiver below.
        let _tidy = Tidy {
            presence: self,
            key,
        };
        let ready = {
            let mut state = self.lock();
            if state.ready[index(key.space)].contains(key.ordinal) {
                return;
            }
            let (wake, ready) = oneshot::channel();
            state.waiting.entry(key).or_default().push(wake);
            ready
        };
        // An error: the identity was forgotten. The caller finds no link then.
        let _ = ready.await;
    }

    /// Cuts an identity's connection, if there is one.
    pub fn cut(&self, key: IdentityKey, reason: CutReason) {
        if let Some(link) = self.link(key) {
            link.cut(reason);
        }
    }

    /// Cuts the connections of those whose name `is_one` knows.
    pub fn cut_those(&self, is_one: impl Fn(&IdentityId) -> bool, reason: CutReason) {
        for (_, link) in self.links() {
            if is_one(link.identity()) {
                link.cut(reason);
            }
        }
    }

    /// Cuts the connections whose credential `is_gone` knows.
    pub fn cut_admitted(&self, is_gone: impl Fn(&Admission) -> bool) {
        for (_, link) in self.links() {
            if is_gone(link.admission()) {
                link.cut(CutReason::AccessChanged);
            }
        }
    }

    /// Cuts every connection.
    pub fn cut_all(&self, reason: CutReason) {
        for link in self.links() {
            link.1.cut(reason);
        }
    }

    /// Forgets a deleted identity and cuts its connection.
    pub fn forget(&self, key: IdentityKey) {
        let live = {
            let mut state = self.lock();
            let entry = state.entries.remove(&key);
            // Whoever waits for it learns at once that it will not come.
            state.waiting.remove(&key);
            state.connected[index(key.space)].remove(key.ordinal);
            state.unready(key);
            entry.and_then(|entry| entry.live)
        };
        if let Some(live) = live {
            live.link.cut(CutReason::AccessChanged);
        }
        self.changed.notify_one();
    }

    /// What may be shown of an identity.
    pub fn view(&self, key: IdentityKey) -> PresenceView {
        let state = self.lock();
        let Some(entry) = state.entries.get(&key) else {
            return PresenceView {
                connected: false,
                changed: None,
                last_heard: None,
            };
        };
        let heard = entry
            .live
            .as_ref()
            .map_or(entry.last_heard, |live| live.link.last_heard());
        PresenceView {
            connected: entry.live.is_some(),
            changed: Some(entry.changed),
            last_heard: Some(heard.max(entry.last_heard)),
        }
    }

    /// Everyone who is connected.
    pub fn connected(&self, space: Space) -> RoaringBitmap {
        self.lock().connected[index(space)].clone()
    }

    /// How many are connected.
    pub fn connected_count(&self, space: Space) -> u64 {
        self.lock().connected[index(space)].len()
    }

    /// Everyone who is ready for methods.
    pub fn ready_set(&self, space: Space) -> RoaringBitmap {
        self.lock().ready[index(space)].clone()
    }

    /// Every live connection.
    pub fn links(&self) -> Vec<(IdentityKey, Arc<dyn Link>)> {
        let state = self.lock();
        let live = |(key, entry): (&IdentityKey, &Entry)| {
            entry.live.as_ref().map(|live| (*key, live.link.clone()))
        };
        state.entries.iter().filter_map(live).collect()
    }

    /// Who was heard since the last call, and when.
    pub fn take_activity(&self) -> Vec<(IdentityKey, Timestamp)> {
        let mut state = self.lock();
        let mut heard = Vec::new();
        for (key, entry) in &mut state.entries {
            if let Some(live) = &entry.live {
                entry.last_heard = entry.last_heard.max(live.link.last_heard());
            }
            if entry.last_heard > entry.written {
                entry.written = entry.last_heard;
                heard.push((*key, entry.last_heard));
            }
        }
        heard.sort_unstable();
        heard
    }

    /// Who became ready (true) or unready since the last call. For the one job engine of the node.
    pub fn take_changes(&self) -> Vec<(IdentityKey, bool)> {
        std::mem::take(&mut self.lock().changes)
            .into_iter()
            .collect()
    }

    /// Ends when there may be changes to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waited for an identity, and goes: nothing is kept for those who left.
struct Tidy<'a> {
    presence: &'a Presence,
    key: IdentityKey,
}

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        let mut state = self.presence.lock();
        if let hash_map::Entry::Occupied(mut waiting) = state.waiting.entry(self.key) {
            waiting.get_mut().retain(|wake| !wake.is_closed());
            if waiting.get().is_empty() {
                waiting.remove();
            }
        }
    }
}

impl State {
    fn unready(&mut self, key: IdentityKey) {
        if self.ready[index(key.space)].remove(key.ordinal) {
            self.changes.insert(key, false);
        }
    }
}

fn index(space: Space) -> usize {
    match space {
        Space::Devices => 0,
        Space::Modules => 1,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn nothing_is_kept_for_those_who_waited_and_left() {
        let presence = Presence::default();
        let key = IdentityKey {
            space: Space::Devices,
            ordinal: 7,
        };
        let mut first = Box::pin(presence.wait_ready(key));
        assert_eq!(first.as_mut().now_or_never(), None);
        assert_eq!(presence.wait_ready(key).now_or_never(), None);
        assert_eq!(presence.lock().waiting[&key].len(), 1, "the first waits on");
        drop(first);
        assert!(presence.lock().waiting.is_empty());
    }
}
