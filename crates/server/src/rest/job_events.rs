//! A job as it changes, for whoever would otherwise ask again and again.
//!
//! `GET /fanfare/v1/jobs/{id}/events` answers with server-sent events whose `data` is the job's document
//! without what its caller sent. Nothing is queued: an event is written when the connection takes it, from
//! the newest look at the job, so a slow reader skips events and holds no memory. The stream ends with the
//! job, with the caller's token, or with the node; only the first shows a status that is an end.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL},
    response::Response,
};
use bytes::Bytes;
use fanfare_hub::{
    jobs::{job::Job, watch::JobWatch},
    signals::stopped,
};
use futures_util::{StreamExt as _, stream};

use super::{Rest, call::Call, error::Refusal, job_document, jobs::known_id, reply};

/// `GET /fanfare/v1/jobs/{id}/events`. compat: JOB-60, JOB-61
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let id = known_id(&call)?;
    let mut watch = rest.hub.jobs.watch(&id).await?;
    // Here, because before the head of the answer is out a store that cannot be read is still a refusal, and so is
    // a job whose history expires this very moment.
    let first = watch.next().await?;
    let first = first.ok_or_else(|| Refusal::no_job(id.as_str()))?;
    let token_ends = rest.hub.clock.sleep_until(call.until());
    let mut stop = rest.is_stopping.subscribe();
    let end = async move {
        tokio::select! {
            () = token_ends => {}
            () = stopped(&mut stop) => {}
        }
    };
    let follower = Follower {
        rest,
        watch,
        first: Some(first),
        last: Bytes::new(),
    };
    let events = stream::unfold(follower, Follower::step).take_until(Box::pin(end));
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    let mut response = reply::text_with(StatusCode::OK, body, "text/event-stream");
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
}

impl Follower {
    async fn step(mut self) -> Option<(Bytes, Self)> {
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
            return Some((HEARTBEAT, self));
        }
        self.last = event.clone();
        Some((event, self))
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
