//! Receives the body of a request that may be served: all of it, within its bounds, or a refusal.
//!
//! How large a body may be is its route's business. Here is how slowly it may come, and how much memory all
//! large bodies together may hold, from their first byte until their requests are answered.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use fanfare_wire::error::ErrorCode;
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::error::Refusal;
use crate::telemetry::{COUNTS, FrontEnd, TurnedAway};

/// How long a body may take as a whole. Ours.
const BODY_WITHIN: Duration = Duration::from_secs(120);
/// How long nothing of it may come. Ours.
const SILENCE_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a body that are nobody else's business. Ours.
const SMALL_BYTES: usize = 1024 * 1024;
/// Bytes of all larger bodies together. Ours.
const LARGE_BYTES: usize = 256 * 1024 * 1024;
/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 64 * 1024;

/// What large bodies may hold, for the process: memory is the process's.
static LARGE: Semaphore = Semaphore::const_new(LARGE_BYTES / PERMIT_BYTES);

/// A body, and its share of the memory for large ones.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// All of it.
    pub(super) bytes: Bytes,
    share: Option<SemaphorePermit<'static>>,
}

/// Receives a body of at most `max` bytes.
///
/// # Errors
/// It is larger, comes too slowly, breaks off, or large bodies hold all the memory there is for them.
pub(super) async fn receive(mut body: Body, max: usize) -> Result<Received, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(too_large(max));
    }
    let mut received = Received::default();
    received.hold(announced)?;
    let end = Instant::now() + BODY_WITHIN;
    let mut parts = BytesMut::new();
    let mut first = Bytes::new();
    loop {
        let until = end.min(Instant::now() + SILENCE_WITHIN);
        let Ok(frame) = timeout_at(until, body.frame()).await else {
            COUNTS.turned_away(FrontEnd::Https, TurnedAway::SlowBody);
            return Err(Refusal::new(
                ErrorCode::GenericTimeout,
                "the body came too slowly",
            ));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| {
            Refusal::new(
                ErrorCode::GenericBadRequest,
                "the body could not be received",
            )
        })?;
        // Trailers say nothing that anybody asked for.
        let Ok(part) = frame.into_data() else {
            continue;
        };
        let length = first.len() + parts.len() + part.len();
        if length > max {
            return Err(too_large(max));
        }
        received.hold(length)?;
        if first.is_empty() && parts.is_empty() {
            // Mostly the only one; it need not be copied.
            first = part;
            continue;
        }
        if parts.is_empty() {
            parts.reserve(announced.max(length));
            parts.extend_from_slice(&std::mem::take(&mut first));
        }
        parts.extend_from_slice(&part);
    }
    received.bytes = if parts.is_empty() {
        first
    } else {
        parts.freeze()
    };
    Ok(received)
}

impl Received {
    /// Makes sure that so many bytes may be held. Nobody waits: two half received bodies would wait for each other.
    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= SMALL_BYTES {
            return Ok(());
        }
        let held = self.share.as_ref().map_or(0, SemaphorePermit::num_permits);
        let missing = bytes.div_ceil(PERMIT_BYTES).saturating_sub(held);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let Ok(more) = LARGE.try_acquire_many(missing) else {
            COUNTS.turned_away(FrontEnd::Https, TurnedAway::Bodies);
            return Err(Refusal::new(
                ErrorCode::ServiceUnavailable,
                "the hub is receiving as many large bodies as it can hold, try again",
            ));
        };
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        Ok(())
    }
}

fn too_large(max: usize) -> Refusal {
    let text = format!("the body is larger than {max} bytes");
    Refusal::new(ErrorCode::MessageTooLarge, text)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    fn parts(parts: Vec<Bytes>) -> Body {
        Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn a_body_is_received_whole_or_refused_for_its_length() {
        let text = |parts_of: &[&'static str]| {
            parts(parts_of.iter().map(|part| Bytes::from(*part)).collect())
        };
        for (body, max, whole) in [
            (Body::empty(), 0, Some("")),
            (Body::from("abc"), 3, Some("abc")),
            (Body::from("abc"), 2, None),
            (text(&["a", "", "bc"]), 3, Some("abc")),
            (text(&["", "abc"]), 3, Some("abc")),
            (text(&["a", "bc"]), 2, None),
        ] {
            let received = receive(body, max).await.map(|received| received.bytes);
            match whole {
                Some(whole) => assert_eq!(received.unwrap(), whole),
                None => assert_eq!(received.unwrap_err().code(), ErrorCode::MessageTooLarge),
            }
        }
    }

    #[test]
    fn large_bodies_share_what_there_is_until_they_are_answered() {
        const EACH: usize = LARGE_BYTES / 4;
        let mut held = Vec::new();
        let refused = loop {
            let mut received = Received::default();
            // As it grows, never counted twice.
            match received.hold(EACH / 2).and_then(|()| received.hold(EACH)) {
                Ok(()) => held.push(received),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refused.code(), ErrorCode::ServiceUnavailable);
        assert_eq!(held.len(), 4);
        assert!(
            Received::default().hold(SMALL_BYTES).is_ok(),
            "small ones always"
        );
        held.pop();
        assert!(Received::default().hold(EACH).is_ok());
    }
}
