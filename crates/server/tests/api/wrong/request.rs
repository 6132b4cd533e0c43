//! A request that is sent as it is, however wrong.

use bytes::Bytes;
use fanfare_wire::sas::{SasGrant, sign};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{ADDRESS, Hub, Reply};

/// The request and who sends it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    method: &'static str,
    path: String,
    version: Option<&'static str>,
    token: Token,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    /// A length to be declared without sending anything.
    declared: Option<u64>,
}

/// What stands in `Authorization`.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// Of the owner, as it should be.
    Owner,
    /// Of another policy, as it should be.
    Policy(&'static str),
    /// Signed with the key of the owner's policy, or of another policy.
    Signed {
        resource: &'static str,
        names: Option<&'static str>,
        key_of: &'static str,
        expiry: i64,
    },
    /// Signed with the key of the device `d`.
    Device,
    /// The owner's with a part replaced.
    Spoilt(&'static str, &'static str),
    /// The owner's with so many bytes more.
    Padded(usize),
    /// These bytes.
    Bytes(Vec<u8>),
    /// No such header.
    Absent,
}

pub(super) fn get(path: impl Into<String>) -> Request {
    request("GET", path)
}

pub(super) fn put(path: impl Into<String>, body: Value) -> Request {
    request("PUT", path).json(&body)
}

pub(super) fn patch(path: impl Into<String>, body: Value) -> Request {
    request("PATCH", path).json(&body)
}

pub(super) fn post(path: impl Into<String>, body: Value) -> Request {
    request("POST", path).json(&body)
}

pub(super) fn delete(path: impl Into<String>) -> Request {
    request("DELETE", path)
}

pub(super) fn request(method: &'static str, path: impl Into<String>) -> Request {
    Request {
        method,
        path: path.into(),
        version: Some("2021-04-12"),
        token: Token::Owner,
        headers: Vec::new(),
        body: Vec::new(),
        declared: None,
    }
}

impl Request {
    pub(super) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub(super) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// Says that so many bytes follow, and waits.
    pub(super) fn declaring(self, bytes: u64) -> Self {
        Self {
            declared: Some(bytes),
            ..self
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn token(self, token: Token) -> Self {
        Self { token, ..self }
    }

    pub(super) fn version(self, version: Option<&'static str>) -> Self {
        Self { version, ..self }
    }

    /// Sends it and waits for the answer.
    pub(super) async fn send(&self, hub: &Hub) -> Reply {
        let mut target = self.path.clone();
        if let Some(version) = self.version {
            let mark = if target.contains('?') { '&' } else { '?' };
            target.push_str(&format!("{mark}api-version={version}"));
        }
        let token = self.authorization(hub).await;
        if let Some(bytes) = self.declared {
            return self.announce(hub, &target, &token, bytes).await;
        }
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(target)
            .header("host", ADDRESS);
        if !matches!(self.token, Token::Absent) {
            request = request.header("authorization", token);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_slice());
        }
        let body = Full::from(Bytes::from(self.body.clone()));
        hub.raw(request.body(body).unwrap()).await
    }

    async fn authorization(&self, hub: &Hub) -> Vec<u8> {
        match &self.token {
            Token::Owner => hub.token("iothubowner").into(),
            Token::Policy(policy) => hub.token(policy).into(),
            Token::Signed {
                resource,
                names,
                key_of,
                expiry,
            } => {
                let key = hub.node.policy(key_of).unwrap().primary.expose().to_owned();
                let grant = SasGrant {
                    resource,
                    key: &key,
                    policy: *names,
                    expiry: *expiry,
                };
                sign(&grant).unwrap().into()
            }
            Token::Device => {
                let device = hub.done("GET", "/devices/d", Value::Null).await;
                let key = &device["authentication"]["symmetricKey"]["primaryKey"];
                let grant = SasGrant {
                    resource: &format!("{ADDRESS}/devices/d"),
                    key: key.as_str().unwrap(),
                    policy: None,
                    expiry: 4_000_000_000,
                };
                sign(&grant).unwrap().into()
            }
            Token::Spoilt(part, with) => {
                let token = hub.token("iothubowner");
                assert!(token.contains(part), "{part}");
                token.replacen(part, with, 1).into()
            }
            Token::Padded(bytes) => {
                format!("{}&x={}", hub.token("iothubowner"), "x".repeat(*bytes)).into()
            }
            Token::Bytes(bytes) => bytes.clone(),
            Token::Absent => Vec::new(),
        }
    }

    /// A client library would not lie about a length.
    async fn announce(&self, hub: &Hub, target: &str, token: &[u8], bytes: u64) -> Reply {
        let mut stream = hub.connect().await;
        let token = std::str::from_utf8(token).unwrap();
        let head = format!(
            "{} {target} HTTP/1.1\r\nhost: {ADDRESS}\r\nauthorization: {token}\r\n\
             content-length: {bytes}\r\nconnection: close\r\n\r\n",
            self.method
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        // A close without notice is as good as one with it.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), end)
            .await
            .unwrap();
        parsed(&String::from_utf8(answer).unwrap())
    }
}

fn parsed(answer: &str) -> Reply {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse().unwrap(), value.parse().unwrap())
    });
    Reply {
        status: status.parse().unwrap(),
        headers: headers
            .collect::<Vec<(hyper::header::HeaderName, _)>>()
            .into_iter()
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}
