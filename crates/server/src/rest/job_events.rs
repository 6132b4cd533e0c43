//! A job as it changes, for whoever would otherwise ask again and again.
//!
//! `GET /fanfare/v1/jobs/{id}/events` answers with server-sent events whose `data` is the job's document
//! without what its caller sent. Nothing is queued: when the connection has taken an event the next is made from
//! the newest look at the job, so a slow reader skips events and holds no memory. The stream ends with the
//! job, with the caller's token, with the node, or when nobody reads it; only the first shows a status that
//! is an end. The place it holds among the watchers is free then, whatever its connection is waiting for.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::Response,
};
use bytes::Bytes;
use fanfare_hub::{
    access::Actor,
    jobs::{job::Job, watch::JobWatch},
    signals::stopped,
    time::Timestamp,
};
use fanfare_wire::error::ErrorCode;
use futures_util::stream;
use tokio::{sync::mpsc, time::timeout};

use super::{Rest, call::Call, error::Refusal, job_document, jobs::known_id, reply};
use crate::telemetry::{COUNTS, FrontEnd, TurnedAway};

/// Streams of one caller, whatever connections they are on. Ours; a quarter of all there may be.
const STREAMS_OF_ONE_MAX: usize = 500;
/// How long an event may wait for its reader. Ours.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// `GET /fanfare/v1/jobs/{id}/events`. compat: JOB-60, JOB-61
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = known_id(&call)?;
    let place = rest.streams.take(&call.principal()?.actor)?;
    let mut watch = rest.hub.jobs.watch(&id).await?;
    // Here, because before the head of the answer is out a store that cannot be read is still a refusal, and so is
    // a job whose history expires this very moment.
    let first = watch.next().await?;
    let first = first.ok_or_else(|| Refusal::no_job(id.as_str()))?;
    let (events, taken) = mpsc::channel(1);
    let follower = Follower {
        rest,
        watch,
        first: Some(first),
        last: Bytes::new(),
        _place: place,
    };
    // It ends by itself when the stream is dropped, with the token and with the node.
    tokio::spawn(follower.run(events, call.until()));
    let events = stream::unfold(taken, async |mut taken: mpsc::Receiver<Bytes>| {
        let event = taken.recv().await?;
        Some((Ok::<_, Infallible>(event), taken))
    });
    let mut response = reply::text_with(
        StatusCode::OK,
        Body::from_stream(events),
        "text/event-stream",
    );
    let headers = response.headers_mut();
    for (name, value) in UNBUFFERED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Between hub and caller nobody keeps events back; the second is what reverse proxies understand.
const UNBUFFERED: [(HeaderName, &str); 2] = [
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];
/// A line that readers of events pass over; it tells them, and what lies between, that the stream lives.
const HEARTBEAT: Bytes = Bytes::from_static(b": nothing new\n\n");

struct Follower {
    rest: Arc<Rest>,
    watch: JobWatch,
    /// Seen already, not yet told.
    first: Option<Arc<Job>>,
    /// The event told last.
    last: Bytes,
    _place: StreamPlace,
}

impl Follower {
    /// Tells events until there are none, nobody takes them, the caller's token ends, or the node does.
    async fn run(mut self, events: mpsc::Sender<Bytes>, until: Timestamp) {
        let clock = self.rest.hub.clock.clone();
        let mut stop = self.rest.is_stopping.subscribe();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {}
            () = clock.sleep_until(until) => {}
            () = events.closed() => {}
            () = self.tell(&events) => {}
        }
    }

    async fn tell(&mut self, events: &mpsc::Sender<Bytes>) {
        loop {
            // First a reader, then a look: what is told is as new as it can be.
            let Ok(reader) = timeout(TAKEN_WITHIN, events.reserve()).await else {
                COUNTS.turned_away(FrontEnd::Https, TurnedAway::SlowReader);
                return tracing::debug!("a stream of events ends because nobody reads it");
            };
            let (Ok(reader), Some(event)) = (reader, self.next().await) else {
                return;
            };
            reader.send(event);
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        let job = match self.first.take() {
            Some(job) => job,
            None => match self.watch.next().await {
                Ok(job) => job?,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            },
        };
        let event = self.event(&job);
        if event == self.last {
            return Some(HEARTBEAT);
        }
        self.last = event.clone();
        Some(event)
    }

    fn event(&self, job: &Job) -> Bytes {
        let document = job_document::progress(job, self.rest.hub.jobs.is_scheduled(job));
        let mut text = b"data: ".to_vec();
        // Without white space JSON is one line.
        serde_json::to_writer(&mut text, &document).expect("documents of the wire can be written");
        text.extend_from_slice(b"\n\n");
        text.into()
    }
}

/// How many streams each caller follows; of callers who follow none nothing is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<Actor, usize>>>);

impl Streams {
    fn take(&self, actor: &Actor) -> Result<StreamPlace, Refusal> {
        let mut streams = self.lock();
        let count = streams.entry(actor.clone()).or_default();
        if *count >= STREAMS_OF_ONE_MAX {
            COUNTS.turned_away(FrontEnd::Https, TurnedAway::Streams);
            let text = format!(
                "{actor} follows {STREAMS_OF_ONE_MAX} jobs already, look at the job from time to time instead"
            );
            return Err(Refusal::new(ErrorCode::ThrottlingException, text));
        }
        *count += 1;
        Ok(StreamPlace {
            streams: self.clone(),
            actor: actor.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Actor, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream of a caller; free again when dropped.
#[derive(Debug)]
struct StreamPlace {
    streams: Streams,
    actor: Actor,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if let Some(count) = streams.get_mut(&self.actor) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.actor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_never_has_the_places_of_another() {
        let streams = Streams::default();
        let [one, other] = ["service", "registryRead"].map(|name| Actor::Policy(name.into()));
        let mut held: Vec<_> = (0..STREAMS_OF_ONE_MAX)
            .map(|_| streams.take(&one).expect("there is a place"))
            .collect();
        let refused = streams.take(&one).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ThrottlingException);
        assert!(streams.take(&other).is_ok());
        held.pop();
        assert!(streams.take(&one).is_ok());
        drop(held);
        assert!(streams.lock().is_empty());
    }
}
