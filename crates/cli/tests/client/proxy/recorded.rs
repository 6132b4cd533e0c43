//! A request as it arrived, reduced to what the contract is about.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;

/// A request that arrived at the proxy.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// The call it belongs to, as the test named it.
    pub(crate) label: String,
    pub(crate) method: String,
    /// As sent, percent-encoded.
    pub(crate) path: String,
    /// `name=value` pairs as sent, percent-encoded; their order means nothing.
    pub(crate) query: BTreeSet<String>,
    /// Every header, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Content,
}

/// Body of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Empty,
    Json(Value),
    Other(String),
    /// The connection was cut before it was read.
    Unread,
}

impl Recorded {
    pub(crate) fn of(label: String, head: &Parts, body: Content) -> Self {
        let query = head.uri.query().unwrap_or_default();
        Self {
            label,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(str::to_owned)
                .collect(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    (name.to_string(), value.into_owned())
                })
                .collect(),
            body,
        }
    }

    /// Value of a header; names in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// `METHOD PATH`, to name a request in a message.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Content {
    pub(crate) fn read(bytes: &Bytes) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Other(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}
