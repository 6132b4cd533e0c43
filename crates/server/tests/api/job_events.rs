//! A job as it changes, over `GET /fanfare/v1/jobs/{id}/events`.

use std::pin::pin;

use bytes::Bytes;
use fanfare_hub::{ids::JobId, limits};
use fanfare_wire::sas::{SasGrant, sign};
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::harness::{ADDRESS, Hub};

/// How a client speaks.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// An open stream of events on a connection of its own.
struct Events {
    response: Response<Incoming>,
    unread: String,
    connection: AbortHandle,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Events {
    async fn open(hub: &Hub, version: Version, job: &str) -> Self {
        let events = Self::open_as(hub, version, job, &hub.token("registryRead")).await;
        assert_eq!(events.response.status(), 200);
        let header = |name: &str| events.response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        events
    }

    async fn open_as(hub: &Hub, version: Version, job: &str, token: &str) -> Self {
        let stream = TokioIo::new(hub.connect().await);
        let request = |uri: Uri| {
            Request::get(uri)
                .header("host", ADDRESS)
                .header("authorization", token)
                .body(Full::<Bytes>::default())
                .unwrap()
        };
        let path = format!("/fanfare/v1/jobs/{job}/events");
        let (response, connection) = match version {
            Version::Http1 => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(stream).await.unwrap();
                let connection = tokio::spawn(async { connection.await.unwrap_or_default() });
                let response = sender.send_request(request(path.parse().unwrap())).await;
                (response.unwrap(), connection.abort_handle())
            }
            Version::Http2 => {
                let executor = TokioExecutor::new();
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(executor, stream)
                        .await
                        .unwrap();
                let connection = tokio::spawn(async { connection.await.unwrap_or_default() });
                let whole = format!("https://{ADDRESS}{path}");
                let response = sender.send_request(request(whole.parse().unwrap())).await;
                (response.unwrap(), connection.abort_handle())
            }
        };
        Self {
            response,
            unread: String::new(),
            connection,
        }
    }

    /// The next document; `None` when the stream has ended as it should.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                match event.strip_prefix("data: ") {
                    Some(text) => return Some(serde_json::from_str(text).unwrap()),
                    None => assert!(event.starts_with(':'), "{event}"),
                }
                continue;
            }
            let frame = self.response.body_mut().frame().await;
            let Some(frame) = frame else {
                assert_eq!(self.unread, "", "the stream is cut inside an event");
                return None;
            };
            let frame = frame.expect("the connection is not cut");
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Reads on until a document is as wished.
    async fn until(&mut self, wished: impl Fn(&Value) -> bool) -> Value {
        while let Some(event) = self.next().await {
            if wished(&event) {
                return event;
            }
        }
        panic!("the stream ended before that");
    }
}

/// A method job for devices that are not there, which runs until they are deleted or it is cancelled.
async fn begin(hub: &Hub, job: &str, start: Option<&str>) {
    hub.done("POST", "/devices", json!([{"id": "a"}, {"id": "b"}]))
        .await;
    let request = json!({
        "type": "scheduleDeviceMethod", "cloudToDeviceMethod": {"methodName": "m", "payload": "p"},
        "queryCondition": "deviceId IN ['a', 'b']", "startTime": start,
    });
    hub.done("PUT", &format!("/jobs/v2/{job}"), request).await;
}

fn count(event: &Value, name: &str) -> Option<u64> {
    event["deviceJobStatistics"][name].as_u64()
}

#[tokio::test]
async fn a_stream_shows_a_job_at_once_then_its_changes_then_its_end() {
    for version in [Version::Http1, Version::Http2] {
        let hub = Hub::start().await;
        begin(&hub, "j", None).await;
        let mut events = Events::open(&hub, version, "j").await;
        let first = events.next().await.expect("at once");
        assert_eq!(
            (&first["jobId"], &first["type"]),
            (&json!("j"), &json!("scheduleDeviceMethod"))
        );
        if count(&first, "pendingCount").is_none() {
            events
                .until(|event| count(event, "pendingCount") == Some(2))
                .await;
        }
        hub.done("DELETE", "/devices/a", Value::Null).await;
        let one_less = events.next().await.expect("a change");
        assert_eq!(count(&one_less, "pendingCount"), Some(1));
        assert_eq!(one_less["status"], "running");
        hub.done("DELETE", "/devices/b", Value::Null).await;
        let last = events.next().await.expect("the end");
        let mut whole = hub.done("GET", "/jobs/v2/j", Value::Null).await;
        let members = whole.as_object_mut().unwrap();
        members.remove("queryCondition").unwrap();
        members.remove("cloudToDeviceMethod").unwrap();
        assert_eq!(last, whole);
        assert_eq!(last["status"], "completed");
        assert_eq!(events.next().await, None);

        let mut late = Events::open(&hub, version, "j").await;
        assert_eq!(
            late.next().await,
            Some(last),
            "an end is shown to whoever comes late"
        );
        assert_eq!(late.next().await, None);
        hub.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_as_it_is_elsewhere() {
    let hub = Hub::start().await;
    for id in ["none", "not%20an%20id"] {
        let path = format!("/fanfare/v1/jobs/{id}/events");
        let refused = hub.ask("GET", &path, Value::Null).await;
        assert_eq!(
            (refused.status.as_u16(), &*refused.code()),
            (404, "JobNotFound")
        );
    }
    begin(&hub, "j", Some("2999-01-01T00:00:00Z")).await;
    let id = JobId::parse("j").unwrap();
    let mut others = Vec::new();
    for _ in 0..limits::JOB_WATCHERS_OF_ONE_MAX {
        others.push(hub.node.hub().jobs.watch(&id).await.unwrap());
    }
    let path = "/fanfare/v1/jobs/j/events";
    let refused = hub.ask("GET", path, Value::Null).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (429, "ThrottlingException")
    );
    assert!(refused.header("retry-after").is_some());
    others.pop();
    let mut events = Events::open(&hub, Version::Http1, "j").await;
    assert!(events.next().await.is_some());
    hub.stop().await;
}

#[tokio::test]
async fn two_watchers_see_a_cancel_and_one_that_goes_away_frees_its_place() {
    let hub = Hub::start().await;
    begin(&hub, "j", Some("2999-01-01T00:00:00Z")).await;
    let mut one = Events::open(&hub, Version::Http1, "j").await;
    let mut two = Events::open(&hub, Version::Http2, "j").await;
    let three = Events::open(&hub, Version::Http1, "j").await;
    for events in [&mut one, &mut two] {
        assert_eq!(events.next().await.unwrap()["status"], "scheduled");
    }
    drop(three);
    while hub.node.hub().jobs.watchers() != 2 {
        tokio::task::yield_now().await;
    }
    hub.done("POST", "/jobs/v2/j/cancel", Value::Null).await;
    for events in [&mut one, &mut two] {
        assert_eq!(events.next().await.unwrap()["status"], "cancelled");
        assert_eq!(events.next().await, None);
    }
    while hub.node.hub().jobs.watchers() != 0 {
        tokio::task::yield_now().await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_stop_ends_streams_and_does_not_wait_for_them() {
    let hub = Hub::start().await;
    begin(&hub, "j", Some("2999-01-01T00:00:00Z")).await;
    let mut one = Events::open(&hub, Version::Http1, "j").await;
    let mut two = Events::open(&hub, Version::Http2, "j").await;
    for events in [&mut one, &mut two] {
        assert!(events.next().await.is_some());
    }
    let stop = pin!(hub.stop());
    let ends = pin!(async { (one.next().await, two.next().await) });
    // A stream that was cut instead would be an error, which panics.
    let stop = match select(stop, ends).await {
        Either::Left((_, ends)) => {
            assert_eq!(ends.await, (None, None));
            return;
        }
        Either::Right((ends, stop)) => {
            assert_eq!(ends, (None, None));
            stop
        }
    };
    stop.await;
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let hub = Hub::start().await;
    begin(&hub, "j", Some("2999-01-01T00:00:00Z")).await;
    let policy = hub.node.policy("service").unwrap();
    let key = policy.primary.expose();
    // Tokens hold for five minutes longer than they say.
    let expiry = hub.node.hub().clock.now().0 / 1_000_000 - 300 + 3;
    let grant = SasGrant {
        resource: ADDRESS,
        key,
        policy: Some("service"),
        expiry,
    };
    let token = sign(&grant).unwrap();
    let mut events = Events::open_as(&hub, Version::Http1, "j", &token).await;
    assert_eq!(events.next().await.unwrap()["status"], "scheduled");
    assert_eq!(events.next().await, None, "and no end of the job was shown");
    hub.stop().await;
}
