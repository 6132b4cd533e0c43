//! What one device saw and did, kept so that a test can hold it against what the hub says afterwards.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

/// Calls a device keeps in its log; beyond it they are counted, not kept.
pub const CALLS_KEPT_MAX: usize = 10_000;
/// Faults a device keeps in its log.
const FAULTS_KEPT_MAX: usize = 20;

/// Everything one device saw and did since it was added to the fleet, over all its connections.
#[derive(Debug, Clone, Default)]
pub struct DeviceLog {
    /// Calls received, oldest first, at most [`CALLS_KEPT_MAX`].
    pub calls: Vec<CallLog>,
    /// Connections that the hub accepted.
    pub connections: u32,
    /// SUBSCRIBE packets sent.
    pub subscribes: u32,
    /// When the hub acknowledged the subscriptions, first time.
    pub subscribed_at: Option<Instant>,
    /// Highest desired `$version` seen.
    pub desired_version: u64,
    /// The desired document as this device has put it together (patches merged), without `$version`.
    pub desired: Option<Value>,
    /// Highest value of `reported.connections` that the hub acknowledged.
    pub reported_acknowledged: Option<u32>,
    /// Things that must not happen, in words: a version that went back, a session forgotten, a call twice.
    pub faults: Vec<String>,
}

/// One method call as the device saw it.
#[derive(Debug, Clone)]
pub struct CallLog {
    /// Request id, as on the topic.
    pub rid: Arc<str>,
    /// Method name.
    pub method: Arc<str>,
    /// Payload, the JSON text as received.
    pub payload: Arc<str>,
    /// Number of the connection it came on, from 1.
    pub connection: u32,
    /// When it came.
    pub received_at: Instant,
    /// The answer, once one was written.
    pub answer: Option<AnswerLog>,
}

/// An answer that was written to a socket at least once.
#[derive(Debug, Clone)]
pub struct AnswerLog {
    /// Status of the answer.
    pub status: i32,
    /// Payload, JSON text.
    pub payload: Arc<str>,
    /// When it was written first.
    pub first_sent_at: Instant,
    /// How often it was written; above 1 the later ones carried DUP.
    pub sends: u32,
    /// When its PUBACK came; never at QoS 0.
    pub acknowledged_at: Option<Instant>,
}

impl DeviceLog {
    pub(super) fn call_mut(&mut self, rid: &str) -> Option<&mut CallLog> {
        self.calls.iter_mut().rev().find(|call| &*call.rid == rid)
    }

    pub(super) fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_KEPT_MAX {
            self.faults.push(text);
        }
    }
}
