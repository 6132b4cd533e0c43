//! One direct method call, from its start to its answer.
//!
//! A pending call belongs to the identity, not to a connection: the answer counts on whichever connection
//! of that identity it arrives, once. Calls of jobs share the numbering; their answers are passed on to the
//! job engine, which knows what to do with them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    ids::{CallId, IdentityId, IdentityKey, MethodName, Term},
    json::JsonText,
    limits,
    ports::{Clock, Store, StoreError},
    presence::{CallTemplate, Delivery, Link, Presence, Receipt},
    registry::Status,
};

/// What a caller asks of a device.
#[derive(Debug, Clone)]
pub struct MethodCall {
    /// The method.
    pub name: MethodName,
    /// Its argument.
    pub payload: JsonText,
    /// How long the device may take to answer.
    pub response_seconds: u32,
    /// How long the call may wait for the device; zero asks for a device that is there now.
    pub connect_seconds: u32,
}

/// What a device answered.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodAnswer {
    /// The device's own status.
    pub status: i32,
    /// Its payload; absent when it sent none.
    pub payload: Option<JsonText>,
}

/// An answer as a front end received it.
pub struct CallAnswer {
    /// Who sent it.
    pub key: IdentityKey,
    /// To which call.
    pub call: CallId,
    /// The device's own status.
    pub status: i32,
    /// Its payload.
    pub payload: AnswerPayload,
    /// Where to say that the answer is durable.
    pub receipt: Option<(Arc<dyn Link>, Receipt)>,
}

impl CallAnswer {
    /// Tells the device that its answer needs no repetition.
    pub fn acknowledge(&self) {
        if let Some((link, receipt)) = &self.receipt {
            link.acknowledge(*receipt);
        }
    }
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerPayload {
    /// No body.
    Empty,
    /// JSON of at most 128 KiB.
    Json(JsonText),
    /// Neither.
    Garbled,
}

impl AnswerPayload {
    /// Judges the bytes of a body.
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        if bytes.len() > limits::METHOD_PAYLOAD_BYTES_MAX {
            return Self::Garbled;
        }
        JsonText::parse(bytes).map_or(Self::Garbled, Self::Json)
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MethodError {
    /// The identity does not exist, or is disabled.
    #[error("{0} is not registered or is disabled")]
    Absent(IdentityId),
    /// It was not ready for methods in time. Nothing was sent.
    #[error("{id} was not online within {waited:?}")]
    NotOnline {
        /// Who.
        id: IdentityId,
        /// How long the call waited.
        waited: Duration,
    },
    /// It did not answer in time; it may have run the method.
    #[error("{0} did not answer in time")]
    TimedOut(IdentityId),
    /// Its answer is not JSON or too large.
    #[error("{0} answered with something that is not JSON or too large")]
    Garbled(IdentityId),
    /// Too many calls wait already. Nothing was sent.
    #[error("too many method calls wait for an answer")]
    TooMany,
    /// The hub is stopping. Nothing was sent.
    #[error("the hub is stopping")]
    Closing,
    /// The store failed. Nothing was sent.
    #[error("the identity could not be looked up")]
    Store(#[source] StoreError),
}

/// Direct methods of a node.
pub struct Methods {
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    clock: Arc<dyn Clock>,
    term: Term,
    next: AtomicU64,
    waiting: Mutex<HashMap<CallId, Waiting>>,
    job_answers: mpsc::Sender<CallAnswer>,
    closing: watch::Sender<bool>,
}

struct Waiting {
    key: IdentityKey,
    reply: oneshot::Sender<(i32, AnswerPayload)>,
}

impl Methods {
    /// Answers to calls that nobody here waits for go to `job_answers`.
    pub fn new(
        store: Arc<dyn Store>,
        presence: Arc<Presence>,
        clock: Arc<dyn Clock>,
        job_answers: mpsc::Sender<CallAnswer>,
    ) -> Self {
        let term = store.term();
        Self {
            store,
            presence,
            clock,
            term,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            job_answers,
            closing: watch::Sender::new(false),
        }
    }

    /// The term of this start.
    pub fn term(&self) -> Term {
        self.term
    }

    /// A call id never used before.
    pub fn next_call(&self) -> CallId {
        CallId {
            term: self.term,
            number: self.next.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Calls a method and waits for the answer.
    pub async fn invoke(
        &self,
        id: &IdentityId,
        call: MethodCall,
    ) -> Result<MethodAnswer, MethodError> {
        let key = self.callable(id).await?;
        let link = self.reach(id, key, call.connect_seconds).await?;

        let call_id = self.next_call();
        let (reply, answer) = oneshot::channel();
        let slot = self.open_slot(call_id, Waiting { key, reply })?;
        let template = CallTemplate::new(call.name, call.payload);
        if link.call(call_id, &template) == Delivery::Closed {
            return Err(not_online(id, call.connect_seconds));
        }
        let until = self.clock.now() + Duration::from_secs(u64::from(call.response_seconds));
        let mut closing = self.closing.subscribe();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.ok(),
            () = self.clock.sleep_until(until) => None,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        drop(slot);
        match answer {
            Some((status, AnswerPayload::Empty)) => Ok(MethodAnswer {
                status,
                payload: None,
            }),
            Some((status, AnswerPayload::Json(payload))) => Ok(MethodAnswer {
                status,
                payload: Some(payload),
            }),
            Some((_, AnswerPayload::Garbled)) => Err(MethodError::Garbled(id.clone())),
            None => Err(MethodError::TimedOut(id.clone())),
        }
    }

    /// Takes an answer from a front end. Answers nobody waits for (late, repeated, a stranger's) are
    /// acknowledged and dropped; those of jobs are acknowledged once they are durable.
    pub async fn answer(&self, answer: CallAnswer) {
        let waiting = {
            let mut waiting = self.lock();
            match waiting.get(&answer.call) {
                Some(slot) if slot.key == answer.key => waiting.remove(&answer.call),
                _ => None,
            }
        };
        if let Some(waiting) = waiting {
            answer.acknowledge();
            // The caller may have run out of time this very moment.
            let _ = waiting.reply.send((answer.status, answer.payload));
            return;
        }
        // Fails only when the job engine has stopped; the device will repeat its answer.
        let _ = self.job_answers.send(answer).await;
    }

    /// Calls that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Lets waiting calls end: those not sent as closing, the others as timed out.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// The key of who may connect. One that is disabled, or whose device is, cannot: nobody need wait for
    /// it. compat: METHOD-8
    async fn callable(&self, id: &IdentityId) -> Result<IdentityKey, MethodError> {
        let known = self.store.session_open(id).await;
        let known = known.map_err(MethodError::Store)?;
        let known = known.ok_or_else(|| MethodError::Absent(id.clone()))?;
        if !known.device_enabled {
            let device = IdentityId::device(id.device.clone());
            return Err(MethodError::Absent(device));
        }
        match known.identity.settings.status {
            Status::Enabled => Ok(known.identity.key),
            Status::Disabled => Err(MethodError::Absent(id.clone())),
        }
    }

    async fn reach(
        &self,
        id: &IdentityId,
        key: IdentityKey,
        connect_seconds: u32,
    ) -> Result<Arc<dyn Link>, MethodError> {
        let mut closing = self.closing.subscribe();
        if *closing.borrow() {
            return Err(MethodError::Closing);
        }
        if connect_seconds == 0 {
            let link = self.presence.link(key).filter(|link| link.takes_calls());
            return link.ok_or_else(|| not_online(id, 0));
        }
        let until = self.clock.now() + Duration::from_secs(u64::from(connect_seconds));
        tokio::select! {
            biased;
            () = self.presence.wait_ready(key) => {}
            () = self.clock.sleep_until(until) => return Err(not_online(id, connect_seconds)),
            _ = closing.wait_for(|closing| *closing) => return Err(MethodError::Closing),
        }
        self.presence
            .ready_link(key)
            .ok_or_else(|| not_online(id, connect_seconds))
    }

    fn open_slot(&self, call: CallId, waiting: Waiting) -> Result<Slot<'_>, MethodError> {
        let mut slots = self.lock();
        if slots.len() >= limits::METHOD_CALLS_WAITING_MAX {
            return Err(MethodError::TooMany);
        }
        slots.insert(call, waiting);
        Ok(Slot {
            methods: self,
            call,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the table of waiting calls; given back when dropped, also by a caller that went away.
struct Slot<'a> {
    methods: &'a Methods,
    call: CallId,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.methods.lock().remove(&self.call);
    }
}

fn not_online(id: &IdentityId, connect_seconds: u32) -> MethodError {
    let waited = Duration::from_secs(u64::from(connect_seconds));
    MethodError::NotOnline {
        id: id.clone(),
        waited,
    }
}
