//! What a simulated device is and how it behaves: plain values, no I/O.
//!
//! A [`Behaviour`] is made of four independent choices (when it is there, whether it subscribes again, how it
//! answers, what it does with its twin), so that a test states the fleet it means and nothing else.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use fanfare_client::{Authentication, Device};
use serde_json::Value;

/// One simulated device: who it is and how it behaves.
#[derive(Clone)]
pub struct DeviceSpec {
    /// Device id, as registered.
    pub id: String,
    /// The device's primary or secondary key, base64.
    pub key: String,
    /// How it behaves.
    pub behaviour: Behaviour,
}

impl fmt::Debug for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSpec")
            .field("id", &self.id)
            .field("behaviour", &self.behaviour)
            .finish_non_exhaustive()
    }
}

impl DeviceSpec {
    /// The identity it has in a registry, with its key as both keys.
    #[must_use]
    pub fn identity(&self) -> Device {
        let keys = Authentication::keys(&*self.key, &*self.key);
        Device::new(&*self.id).authentication(keys)
    }

    /// Whether the device ever connects.
    #[must_use]
    pub fn connects(&self) -> bool {
        !matches!(self.behaviour.presence, Presence::Offline)
    }
}

/// How a device behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// When it is connected.
    pub presence: Presence,
    /// Whether it subscribes on every connection or on the first one only.
    pub subscribing: Subscribing,
    /// What it does with a method call.
    pub answer: Answer,
    /// Quality of service of its answers.
    pub answer_qos: AnswerQos,
    /// What it does with its twin.
    pub twin: TwinUse,
}

impl Behaviour {
    /// A device that is always there and answers every call with status 200 and [`Payload::Echo`] after `delay`.
    #[must_use]
    pub fn answers(delay: Range<Duration>) -> Self {
        Self {
            answer: Answer::Reply {
                status: 200,
                payload: Payload::Echo,
                delay,
            },
            ..Self::default()
        }
    }

    /// A device that is registered and never connects.
    #[must_use]
    pub fn offline() -> Self {
        Self {
            presence: Presence::Offline,
            ..Self::default()
        }
    }
}

/// When a device is connected.
#[derive(Debug, Clone, Default)]
pub enum Presence {
    /// Connected from its start on; comes back after every loss.
    #[default]
    Online,
    /// Never connects.
    Offline,
    /// Comes and goes: stays for a random time in `there`, then away for a random time in `away`. Half of the
    /// departures are a DISCONNECT, half a cut of the socket.
    Flapping {
        /// How long a connection lives.
        there: Range<Duration>,
        /// How long the device is away after it.
        away: Range<Duration>,
    },
}

/// Whether a device subscribes on every connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subscribing {
    /// On every connection.
    #[default]
    EveryConnection,
    /// Until the hub acknowledged its subscriptions once; from then on it relies on the durable session
    /// (CleanSession=0), as the Python SDK does after a reconnect.
    FirstSessionOnly,
}

/// What a device does with a method call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers after a random delay in `delay`.
    Reply {
        /// Status of the answer, any integer.
        status: i32,
        /// Payload of the answer.
        payload: Payload,
        /// How long it takes to answer.
        delay: Range<Duration>,
    },
    /// Reads the call and never answers.
    Silence,
}

impl Default for Answer {
    fn default() -> Self {
        Self::Reply {
            status: 200,
            payload: Payload::Echo,
            delay: Duration::ZERO..Duration::ZERO,
        }
    }
}

/// Payload of an answer.
#[derive(Debug, Clone)]
pub enum Payload {
    /// The same for every call.
    Fixed(Value),
    /// `{"device": id, "rid": request id}`: different for every call, so that a test can tell answers apart.
    Echo,
}

/// Quality of service of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerQos {
    /// QoS 0, as the Node SDK: lost with the connection it was written to.
    AtMostOnce,
    /// QoS 1, as the Python SDK: sent again with DUP on the next connection until acknowledged.
    #[default]
    AtLeastOnce,
}

/// What a device does with its twin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TwinUse {
    /// Subscribes to desired patches, asks for nothing.
    #[default]
    Listen,
    /// Also reads its twin on each connection and reports how many connections it has made
    /// (`{"connections": n}`), so that a test can compare what the hub acknowledged with what it kept.
    ReadAndReport,
}
