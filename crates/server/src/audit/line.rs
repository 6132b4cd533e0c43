//! How one line of the audit log is written.
//!
//! Members that say nothing are left out, texts that callers choose are cut: no request can make a long line.

use fanfare_hub::{access::Actor, time::Timestamp};
use fanfare_wire::jobs::CreatedBy;
use serde::Serialize;
use serde_json::{Map, Value};

/// One line. The order of the members is the order in the file.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) time: String,
    pub(super) operation: &'a str,
    #[serde(serialize_with = "actor", skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    #[serde(skip_serializing_if = "says_nothing")]
    pub(super) target: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "says_nothing")]
    pub(super) detail: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tracking: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) abandoned: bool,
}

impl<'a> Line<'a> {
    /// A line that says what happened and when, and nothing more.
    pub(super) fn of(time: Timestamp, operation: &'a str) -> Self {
        Self {
            time: moment(time),
            operation,
            actor: None,
            peer: None,
            target: None,
            detail: None,
            status: None,
            error: None,
            tracking: None,
            request: None,
            abandoned: false,
        }
    }

    /// What goes into the file, its end included. JSON has no line breaks of its own here.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("lines hold only what JSON can write");
        bytes.push(b'\n');
        bytes
    }
}

fn says_nothing(members: &Option<&Map<String, Value>>) -> bool {
    members.is_none_or(Map::is_empty)
}

fn actor<S: serde::Serializer>(actor: &Option<&Actor>, output: S) -> Result<S::Ok, S::Error> {
    actor.map(created_by).serialize(output)
}

/// An actor as lines and job documents show it.
pub(crate) fn created_by(actor: &Actor) -> CreatedBy {
    match actor {
        Actor::Policy(name) => CreatedBy::Policy {
            policy: name.to_string(),
        },
        Actor::Token {
            issuer,
            subject,
            app,
        } => CreatedBy::Token {
            issuer: issuer.to_string(),
            subject: subject.to_string(),
            app: app.as_deref().map(str::to_owned),
        },
    }
}

/// A time of the log: UTC, milliseconds.
pub(super) fn moment(time: Timestamp) -> String {
    let text = fanfare_wire::Timestamp::from_micros(time.0).to_string();
    match text.get(..SECONDS_AND_MILLIS) {
        Some(start) => format!("{start}Z"),
        None => text,
    }
}

/// Characters of `2031-02-03T04:05:06.123`.
const SECONDS_AND_MILLIS: usize = 23;
/// Characters of a text that a caller chose. Ours; the longest ids fit.
const TEXT_CHARS_MAX: usize = 512;

/// A text that a caller chose, cut where it is too long.
pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_it_holds() {
        let target = json!({"device": "a\nb\u{2028}\"", "long": bounded(&"é".repeat(5_000))});
        let token = Actor::Token {
            issuer: "https://issuer.test".into(),
            subject: "s\r\n{}".into(),
            app: None,
        };
        let line = Line {
            actor: Some(&token),
            peer: Some("[::1]:5".to_owned()),
            target: target.as_object(),
            status: Some(204),
            ..Line::of(Timestamp(1_927_857_906_123_456), "device.put")
        };
        let bytes = line.bytes();
        let (end, text) = bytes.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert!(!text.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
        let read: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(read["time"], "2031-02-03T04:05:06.123Z");
        assert_eq!(read["target"]["device"], "a\nb\u{2028}\"");
        assert_eq!(
            read["target"]["long"].as_str().unwrap().chars().count(),
            513
        );
        let issuer = json!({"issuer": "https://issuer.test", "subject": "s\r\n{}"});
        assert_eq!(read["actor"], issuer);
        assert!(read.get("error").is_none() && read.get("detail").is_none());
    }
}
