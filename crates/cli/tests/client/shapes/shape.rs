//! What of a request the contract is about, and where two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::proxy::{Content, Recorded};

/// A request without what is different each time: signatures, etags, continuation tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeSet<String>,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) body: Content,
}

/// Headers that hubs act upon. `content-length` only where there is no body: that it is sent matters for a POST.
const HEADERS: [&str; 6] = [
    "authorization",
    "content-type",
    "content-length",
    "if-match",
    "x-ms-continuation",
    "x-ms-max-item-count",
];

impl Shape {
    pub(crate) fn of(request: &Recorded) -> Self {
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            let Some(value) = request.header(name) else {
                continue;
            };
            let value = match name {
                "authorization" => authorization(value),
                "if-match" => if_match(value),
                "x-ms-continuation" => "TOKEN".to_owned(),
                "content-length" if value != "0" => continue,
                _ => value.to_owned(),
            };
            headers.insert(name, value);
        }
        let mut body = request.body.clone();
        if let Content::Json(json) = &mut body {
            without_etags(json);
        }
        Self {
            method: request.method.clone(),
            path: without_job_ids(&request.path),
            query: request.query.clone(),
            headers,
            body,
        }
    }

    /// `where: theirs | ours` for everything that differs; the place is `method`, `path`, `query`, `headers/NAME` or
    /// `body/MEMBER/..`.
    pub(crate) fn differences(&self, ours: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |place: &str, theirs: String, ours: String| {
            if theirs != ours {
                let place = place.to_owned();
                found.push(Difference {
                    place,
                    theirs,
                    ours,
                });
            }
        };
        differ("method", self.method.clone(), ours.method.clone());
        differ("path", self.path.clone(), ours.path.clone());
        differ(
            "query",
            format!("{:?}", self.query),
            format!("{:?}", ours.query),
        );
        for name in HEADERS {
            let text = |shape: &Self| shape.headers.get(name).cloned().unwrap_or_else(absent);
            differ(&format!("headers/{name}"), text(self), text(ours));
        }
        match (&self.body, &ours.body) {
            (Content::Json(theirs), Content::Json(ours)) => {
                bodies("body", theirs, ours, &mut found)
            }
            (theirs, ours) => differ("body", format!("{theirs:?}"), format!("{ours:?}")),
        }
        found
    }
}

/// One place where two requests differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) place: String,
    pub(crate) theirs: String,
    pub(crate) ours: String,
}

fn absent() -> String {
    "absent".to_owned()
}

fn bodies(place: &str, theirs: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (theirs, ours) {
        (Value::Object(one), Value::Object(two)) => {
            let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            for name in names {
                let place = format!("{place}/{name}");
                match (one.get(name), two.get(name)) {
                    (Some(theirs), Some(ours)) => bodies(&place, theirs, ours, found),
                    (theirs, ours) => {
                        let text =
                            |value: Option<&Value>| value.map_or_else(absent, Value::to_string);
                        let (theirs, ours) = (text(theirs), text(ours));
                        found.push(Difference {
                            place,
                            theirs,
                            ours,
                        });
                    }
                }
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (theirs, ours) in one.iter().zip(two) {
                bodies(&format!("{place}/-"), theirs, ours, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(Difference {
            place: place.to_owned(),
            theirs: theirs.to_string(),
            ours: ours.to_string(),
        }),
    }
}

/// Scheme, resource and policy of a signature; a bearer token as it is.
fn authorization(value: &str) -> String {
    let Some(fields) = value.strip_prefix("SharedAccessSignature ") else {
        return value.to_owned();
    };
    let kept: BTreeSet<&str> = fields
        .split('&')
        .filter(|field| field.starts_with("sr=") || field.starts_with("skn="))
        .collect();
    let names: BTreeSet<&str> = fields
        .split('&')
        .filter_map(|field| Some(field.split_once('=')?.0))
        .collect();
    format!("SharedAccessSignature {kept:?} of {names:?}")
}

/// The wildcard as it is, any etag as `"ETAG"`; quotes are kept, they matter.
fn if_match(value: &str) -> String {
    match value {
        "*" | "\"*\"" => value.to_owned(),
        quoted if quoted.len() > 2 && quoted.starts_with('"') && quoted.ends_with('"') => {
            "\"ETAG\"".to_owned()
        }
        _ => "ETAG without quotes".to_owned(),
    }
}

/// Ids of transfers are the hub's own.
fn without_job_ids(path: &str) -> String {
    let segment = |text: &str| match uuid::Uuid::parse_str(text) {
        Ok(_) => "JOB".to_owned(),
        Err(_) => text.to_owned(),
    };
    let segments: Vec<String> = path.split('/').map(segment).collect();
    segments.join("/")
}

fn without_etags(json: &mut Value) {
    match json {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(etag) if name.eq_ignore_ascii_case("etag") && etag != "*" => {
                        *etag = "ETAG".to_owned()
                    }
                    value => without_etags(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_etags),
        _ => {}
    }
}
