//! Places for connections before and after they have shown what they are: how many in all, how many of one
//! address, and who goes when one more comes.
//!
//! Whoever is not served yet is a stranger. When strangers fill what there is, newcomers wait in the kernel's
//! queue, and the oldest stranger of the address with most of them makes room once it has had its time. So an
//! address never holds all places, and whoever is quick gets in although others stall. Pure but for its lock
//! and its wake-ups: time comes with each call.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::Source;
use crate::telemetry::{COUNTS, FrontEnd, TurnedAway};

/// What one front end has places for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Strangers in all.
    pub(super) strangers: usize,
    /// Strangers of one address.
    pub(super) strangers_of_one: usize,
    /// Connections in all, strangers included.
    pub(super) connections: usize,
    /// Connections of one address.
    pub(super) connections_of_one: usize,
    /// Strangers of one suspect address that are listened to at once.
    pub(super) turns_of_one: usize,
    /// What every stranger gets before it may have to make room.
    pub(super) patience: Duration,
}

/// The places of one front end.
#[derive(Debug)]
pub struct Lobby {
    front_end: FrontEnd,
    places: Places,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sources: HashMap<Source, Guests>,
    strangers: usize,
    connections: usize,
    last: u64,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Guests {
    connections: usize,
    /// Strangers, those included whose proof is being looked at.
    strangers: usize,
    /// Strangers that may have to make room, oldest first.
    silent: BTreeMap<u64, Silent>,
    /// Turns being had.
    turns: usize,
    /// Who waits for a turn.
    line: BTreeMap<u64, oneshot::Sender<Turn>>,
}

impl Guests {
    fn is_gone(&self) -> bool {
        self.connections == 0 && self.turns == 0
    }
}

#[derive(Debug)]
struct Silent {
    since: Instant,
    /// Dropped when it has to go.
    _stay: oneshot::Sender<Infallible>,
}

impl Lobby {
    pub(super) fn new(front_end: FrontEnd, places: Places) -> Arc<Self> {
        Arc::new(Self {
            front_end,
            places,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Waits until one more connection can be taken from the kernel.
    pub async fn vacancy(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let vacancy = self.make_room(Instant::now());
            match vacancy {
                Vacancy::Now => return,
                Vacancy::WhenFreed => freed.await,
                Vacancy::Later(at) => tokio::select! {
                    () = freed => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    fn make_room(&self, now: Instant) -> Vacancy {
        let state = &mut *self.lock();
        if state.connections >= self.places.connections {
            return Vacancy::WhenFreed;
        }
        if state.strangers < self.places.strangers {
            return Vacancy::Now;
        }
        let fullest = state
            .sources
            .values_mut()
            .max_by_key(|guests| guests.silent.len());
        let Some(guests) = fullest else {
            return Vacancy::WhenFreed;
        };
        // Several at once: looking for the fullest address is the expensive part.
        let at_once = (guests.silent.len() / 16).max(1);
        let mut gone = 0;
        while gone < at_once && self.displace(guests, now) {
            gone += 1;
        }
        state.strangers -= gone;
        match guests.silent.first_key_value() {
            _ if gone > 0 => Vacancy::Now,
            Some((_, oldest)) => Vacancy::Later(oldest.since + self.places.patience),
            None => Vacancy::WhenFreed,
        }
    }

    /// Makes the oldest stranger of an address go, if it has had its time.
    fn displace(&self, guests: &mut Guests, now: Instant) -> bool {
        let Some(oldest) = guests.silent.first_entry() else {
            return false;
        };
        if now < oldest.get().since + self.places.patience {
            return false;
        }
        oldest.remove();
        guests.strangers -= 1;
        self.changed(-1);
        COUNTS.turned_away(self.front_end, TurnedAway::Displaced);
        true
    }

    /// A place for a connection that was taken from the kernel; none when its address has too many, which is
    /// counted.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Visit> {
        self.enter_at(Source::from(address), Instant::now())
    }

    fn enter_at(self: &Arc<Self>, source: Source, now: Instant) -> Option<Visit> {
        let state = &mut *self.lock();
        let guests = state.sources.entry(source).or_default();
        if guests.connections >= self.places.connections_of_one {
            COUNTS.turned_away(self.front_end, TurnedAway::AddressConnections);
            return None;
        }
        if guests.strangers >= self.places.strangers_of_one {
            if !self.displace(guests, now) {
                COUNTS.turned_away(self.front_end, TurnedAway::AddressStrangers);
                return None;
            }
            state.strangers -= 1;
        }
        let (stay, displaced) = oneshot::channel();
        state.last += 1;
        let silent = Silent {
            since: now,
            _stay: stay,
        };
        guests.silent.insert(state.last, silent);
        guests.strangers += 1;
        guests.connections += 1;
        state.strangers += 1;
        state.connections += 1;
        self.changed(1);
        Some(Visit {
            lobby: self.clone(),
            source,
            number: state.last,
            displaced: Some(displaced),
            is_stranger: true,
        })
    }

    fn changed(&self, by: i64) {
        COUNTS.strangers[self.front_end as usize].change(by);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Vacancy {
    Now,
    Later(Instant),
    WhenFreed,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Visit {
    lobby: Arc<Lobby>,
    source: Source,
    number: u64,
    /// There while it may have to make room.
    displaced: Option<oneshot::Receiver<Infallible>>,
    is_stranger: bool,
}

impl Visit {
    /// Whom it is of.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Ends when it has to make room for others.
    pub async fn displaced(&mut self) {
        match &mut self.displaced {
            // It is dropped, never sent.
            Some(displaced) => drop(displaced.await),
            None => std::future::pending().await,
        }
    }

    /// It has said who it is: from now on it does not have to make room, though it is a stranger still.
    pub fn heard(&mut self) {
        self.displaced = None;
        let mut state = self.lobby.lock();
        if let Some(guests) = state.sources.get_mut(&self.source) {
            // One that had to go in this very moment is counted as gone already.
            self.is_stranger &= guests.silent.remove(&self.number).is_some();
        }
    }

    /// It is a stranger no longer: it was let in, or is over.
    pub fn settle(&mut self) {
        if self.displaced.is_some() {
            self.heard();
        }
        if !std::mem::take(&mut self.is_stranger) {
            return;
        }
        let mut state = self.lobby.lock();
        state.strangers -= 1;
        if let Some(guests) = state.sources.get_mut(&self.source) {
            guests.strangers -= 1;
        }
        drop(state);
        self.lobby.changed(-1);
        self.lobby.freed.notify_waiters();
    }

    /// Waits until it is this one's turn among those of its address; the newest goes first, since the oldest
    /// are those that stall.
    pub async fn turn(&mut self) -> Turn {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lobby.lock();
            let turns_of_one = self.lobby.places.turns_of_one;
            let guests = state.sources.entry(self.source).or_default();
            if guests.turns < turns_of_one {
                guests.turns += 1;
                return Turn::new(self.lobby.clone(), self.source);
            }
            guests.line.insert(self.number, sender);
        }
        receiver
            .await
            .expect("whoever leaves the line is not waiting any more")
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.settle();
        let state = &mut *self.lobby.lock();
        state.connections -= 1;
        if let Some(guests) = state.sources.get_mut(&self.source) {
            guests.connections -= 1;
            guests.line.remove(&self.number);
            if guests.is_gone() {
                state.sources.remove(&self.source);
            }
        }
        self.lobby.freed.notify_waiters();
    }
}

/// A turn of a suspect address; the next one's when dropped.
#[derive(Debug)]
pub struct Turn(Option<(Arc<Lobby>, Source)>);

impl Turn {
    fn new(lobby: Arc<Lobby>, source: Source) -> Self {
        Self(Some((lobby, source)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some((lobby, source)) = self.0.take() else {
            return;
        };
        loop {
            let next = {
                let state = &mut *lobby.lock();
                let Some(guests) = state.sources.get_mut(&source) else {
                    return;
                };
                let next = guests.line.pop_last();
                if next.is_none() {
                    guests.turns -= 1;
                    if guests.is_gone() {
                        state.sources.remove(&source);
                    }
                }
                next
            };
            let Some((_, next)) = next else { return };
            match next.send(Self::new(lobby.clone(), source)) {
                Ok(()) => return,
                // It gave up waiting; what it was to have goes to the one behind it.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }
}

#[cfg(test)]
#[path = "lobby_tests.rs"]
mod tests;
