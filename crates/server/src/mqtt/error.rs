//! What a device is told when its twin operation fails: hub errors become a status and a body.
//!
//! MQTT has no other errors to tell; what else goes wrong ends the connection.

use fanfare_hub::{
    ports::{StoreError, store::TwinWriteError},
    time::Timestamp,
};
use fanfare_wire::error::{ErrorCode, Tracking, device_error_body};

use crate::throttle::Throttled;

/// A twin operation that failed.
#[derive(Debug)]
pub(super) struct Refusal {
    code: ErrorCode,
    text: String,
}

impl Refusal {
    /// The patch is no patch.
    pub(super) fn patch(problem: impl ToString) -> Self {
        Self {
            code: ErrorCode::ArgumentInvalid,
            text: problem.to_string(),
        }
    }

    /// The twin was not changed.
    pub(super) fn write(error: &TwinWriteError) -> Self {
        let (code, text) = match error {
            TwinWriteError::Absent(_) => (ErrorCode::DeviceNotFound, error.to_string()),
            TwinWriteError::EtagMismatch(_) => (
                ErrorCode::PreconditionFailed,
                "the reported properties have another $version".to_owned(),
            ),
            TwinWriteError::Twin(problem) => (ErrorCode::ArgumentInvalid, problem.to_string()),
            TwinWriteError::Store(error) => return Self::store(error),
        };
        Self { code, text }
    }

    /// The store failed; what exactly is no device's business.
    pub(super) fn store(error: &StoreError) -> Self {
        tracing::warn!(%error, "a device's twin operation failed");
        Self::busy()
    }

    /// The profile of the hub allows no more of these now. compat: MQTT-25
    pub(super) fn throttled(problem: &Throttled) -> Self {
        Self {
            code: ErrorCode::ThrottlingException,
            text: problem.to_string(),
        }
    }

    /// The hub cannot do it now.
    pub(super) fn busy() -> Self {
        let text = "the hub cannot do this now, try again".to_owned();
        Self {
            code: ErrorCode::ServiceUnavailable,
            text,
        }
    }

    /// The status in the topic.
    pub(super) fn status(&self) -> u16 {
        self.code.status()
    }

    /// The JSON body. compat: MQTT-8
    pub(super) fn body(&self, at: Timestamp) -> String {
        let at = fanfare_wire::Timestamp::from_micros(at.0);
        let id = uuid::Uuid::new_v4().as_u128();
        device_error_body(self.code, &self.text, Tracking { id, at })
    }
}
