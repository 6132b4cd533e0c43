//! What everybody can see of a hub, to tell whether anything changed.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;

use crate::harness::{ADDRESS, Hub};

/// A connection of its own on which the hub is looked at, again and again.
pub(super) struct Watch {
    sender: SendRequest<Full<Bytes>>,
    token: String,
}

/// What one look saw.
#[derive(PartialEq)]
pub(super) struct Seen(Vec<Bytes>);

/// The registry, the twins, the jobs and their rows, and the numbers.
const PROBES: &[(&str, &str, &str)] = &[
    ("GET", "/devices", ""),
    ("GET", "/statistics/devices", ""),
    ("GET", "/statistics/service", ""),
    ("GET", "/jobs/v2/query", ""),
    ("GET", "/jobs", ""),
    ("GET", "/configurations", ""),
    ("POST", "/devices/query", "SELECT * FROM devices"),
    ("POST", "/devices/query", "SELECT * FROM devices.modules"),
    ("POST", "/devices/query", "SELECT * FROM devices.jobs"),
];

impl Watch {
    pub(super) async fn on(hub: &Hub) -> Self {
        let stream = TokioIo::new(hub.connect().await);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self {
            sender,
            token: hub.token("iothubowner"),
        }
    }

    pub(super) async fn look(&mut self) -> Seen {
        let mut seen = Vec::new();
        for (method, path, query) in PROBES {
            let body = match *query {
                "" => String::new(),
                text => json!({ "query": text }).to_string(),
            };
            let request = hyper::Request::builder()
                .method(*method)
                .uri(format!("{path}?api-version=2021-04-12"))
                .header("host", ADDRESS)
                .header("authorization", &self.token)
                .header("x-ms-max-item-count", "1000")
                .body(Full::from(body))
                .unwrap();
            self.sender.ready().await.unwrap();
            let reply = self.sender.send_request(request).await.unwrap();
            assert_eq!(reply.status(), 200, "{method} {path} {query}");
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            seen.push(body);
        }
        Seen(seen)
    }
}

impl Seen {
    /// The first probe that sees something else now.
    pub(super) fn differs_from(&self, now: &Self) -> Option<impl fmt::Display + use<>> {
        let pairs = self.0.iter().zip(&now.0).zip(PROBES);
        let mut different = pairs.filter(|((before, now), _)| before != now);
        different
            .next()
            .map(|((before, now), (method, path, query))| {
                let (before, now) = (
                    String::from_utf8_lossy(before),
                    String::from_utf8_lossy(now),
                );
                format!("{method} {path} {query}: {before} became {now}")
            })
    }
}
