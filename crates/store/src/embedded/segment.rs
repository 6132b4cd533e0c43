//! How a group of dispatches or outcomes is packed into one blob.
//!
//! Entries are sorted by ordinal; times are relative to the segment's first. At most
//! [`ENTRIES_MAX`] entries and about [`BYTES_MAX`]; an answer over [`INLINE_BYTES_MAX`] lies in a row of
//! its own. Version 1 of both kinds.

use fanfare_hub::{
    ids::{CallId, Ordinal, Term},
    jobs::ledger::{InFlight, Outcome, Settled},
    json::JsonText,
    ports::StoreError,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::record::{corrupt, open_value, seal_value};

/// Entries of one segment.
pub(super) const ENTRIES_MAX: usize = 1_000;
/// Bytes of one segment.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer that lies inside its segment.
pub(super) const INLINE_BYTES_MAX: usize = 4 * 1024;

const SETTLED_V1: u8 = 1;
const DISPATCHED_V1: u8 = 1;
const PAYLOAD_V1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct SettledSegment {
    base_at: i64,
    entries: Vec<SettledEntry>,
}

#[derive(Serialize, Deserialize)]
struct SettledEntry {
    ordinal: u32,
    after_base: i64,
    outcome: OutcomeEntry,
}

#[derive(Serialize, Deserialize)]
enum OutcomeEntry {
    Answered { status: i32, payload: PayloadEntry },
    Applied,
    Unreachable,
    TimedOut,
    Rejected { reason: String },
    Garbled,
    Deleted,
    Unknown,
    Canceled,
}

#[derive(Serialize, Deserialize)]
enum PayloadEntry {
    None,
    Inline(String),
    Apart,
}

/// An outcome as it lies in a segment: a large answer is named, not held.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Packed {
    /// The outcome; of a large answer, without its payload.
    pub(super) settled: Settled,
    /// Whether the payload lies apart.
    pub(super) is_apart: bool,
}

impl Packed {
    /// Bytes it takes in a segment, about.
    pub(super) fn size(&self) -> usize {
        12 + match &self.settled.outcome {
            Outcome::Answered {
                payload: Some(text),
                ..
            } => text.as_str().len(),
            Outcome::Rejected { reason } => reason.len(),
            _ => 0,
        }
    }
}

/// Splits sorted outcomes into groups that fit a segment each.
pub(super) fn split(mut entries: Vec<Packed>) -> Vec<Vec<Packed>> {
    let mut groups = Vec::new();
    while !entries.is_empty() {
        let mut bytes = 0;
        let fits = |entry: &&Packed| {
            bytes += entry.size();
            bytes <= BYTES_MAX
        };
        let count = entries
            .iter()
            .take(ENTRIES_MAX)
            .take_while(fits)
            .count()
            .max(1);
        let rest = entries.split_off(count);
        groups.push(std::mem::replace(&mut entries, rest));
    }
    groups
}

/// Packs outcomes sorted by ordinal.
pub(super) fn pack_settled(entries: &[Packed]) -> Vec<u8> {
    let base_at = entries.first().map_or(0, |entry| entry.settled.at.0);
    let entries = entries
        .iter()
        .map(|entry| SettledEntry {
            ordinal: entry.settled.ordinal,
            after_base: entry.settled.at.0 - base_at,
            outcome: pack_outcome(entry),
        })
        .collect();
    seal_value(SETTLED_V1, &SettledSegment { base_at, entries })
}

fn pack_outcome(entry: &Packed) -> OutcomeEntry {
    match &entry.settled.outcome {
        Outcome::Answered { status, payload } => OutcomeEntry::Answered {
            status: *status,
            payload: match payload {
                _ if entry.is_apart => PayloadEntry::Apart,
                None => PayloadEntry::None,
                Some(text) => PayloadEntry::Inline(text.as_str().to_owned()),
            },
        },
        Outcome::Applied => OutcomeEntry::Applied,
        Outcome::Unreachable => OutcomeEntry::Unreachable,
        Outcome::TimedOut => OutcomeEntry::TimedOut,
        Outcome::Rejected { reason } => OutcomeEntry::Rejected {
            reason: reason.clone(),
        },
        Outcome::Garbled => OutcomeEntry::Garbled,
        Outcome::Deleted => OutcomeEntry::Deleted,
        Outcome::Unknown => OutcomeEntry::Unknown,
        Outcome::Canceled => OutcomeEntry::Canceled,
    }
}

/// Unpacks what [`pack_settled`] packed.
pub(super) fn unpack_settled(record: &[u8]) -> Result<Vec<Packed>, StoreError> {
    let segment: SettledSegment = open_value("settled segment", SETTLED_V1, record)?;
    let unpack = |entry: SettledEntry| {
        let (outcome, is_apart) = unpack_outcome(entry.outcome)?;
        let at = Timestamp(segment.base_at.wrapping_add(entry.after_base));
        Ok(Packed {
            settled: Settled {
                ordinal: entry.ordinal,
                outcome,
                at,
            },
            is_apart,
        })
    };
    segment.entries.into_iter().map(unpack).collect()
}

fn unpack_outcome(entry: OutcomeEntry) -> Result<(Outcome, bool), StoreError> {
    let outcome = match entry {
        OutcomeEntry::Answered { status, payload } => {
            let is_apart = matches!(payload, PayloadEntry::Apart);
            let payload = match payload {
                PayloadEntry::None | PayloadEntry::Apart => None,
                PayloadEntry::Inline(text) => Some(json(&text)?),
            };
            return Ok((Outcome::Answered { status, payload }, is_apart));
        }
        OutcomeEntry::Applied => Outcome::Applied,
        OutcomeEntry::Unreachable => Outcome::Unreachable,
        OutcomeEntry::TimedOut => Outcome::TimedOut,
        OutcomeEntry::Rejected { reason } => Outcome::Rejected { reason },
        OutcomeEntry::Garbled => Outcome::Garbled,
        OutcomeEntry::Deleted => Outcome::Deleted,
        OutcomeEntry::Unknown => Outcome::Unknown,
        OutcomeEntry::Canceled => Outcome::Canceled,
    };
    Ok((outcome, false))
}

#[derive(Serialize, Deserialize)]
struct CallEntry {
    ordinal: u32,
    term: u32,
    number: u64,
    at: i64,
}

/// Packs calls (dispatched or withdrawn) sorted by ordinal.
pub(super) fn pack_calls(calls: &[(Ordinal, InFlight)]) -> Vec<u8> {
    let entry = |(ordinal, flight): &(Ordinal, InFlight)| CallEntry {
        ordinal: *ordinal,
        term: flight.call.term.0,
        number: flight.call.number,
        at: flight.dispatched.0,
    };
    seal_value(DISPATCHED_V1, &calls.iter().map(entry).collect::<Vec<_>>())
}

/// Unpacks what [`pack_calls`] packed.
pub(super) fn unpack_calls(record: &[u8]) -> Result<Vec<(Ordinal, InFlight)>, StoreError> {
    let entries: Vec<CallEntry> = open_value("call segment", DISPATCHED_V1, record)?;
    let unpack = |entry: CallEntry| {
        let call = CallId {
            term: Term(entry.term),
            number: entry.number,
        };
        (
            entry.ordinal,
            InFlight {
                call,
                dispatched: Timestamp(entry.at),
            },
        )
    };
    Ok(entries.into_iter().map(unpack).collect())
}

/// Packs an answer that lies apart.
pub(super) fn pack_payload(payload: &JsonText) -> Vec<u8> {
    crate::record::seal(PAYLOAD_V1, payload.as_str().as_bytes())
}

/// Unpacks what [`pack_payload`] packed.
pub(super) fn unpack_payload(record: &[u8]) -> Result<JsonText, StoreError> {
    match crate::record::open("answer", record)? {
        (PAYLOAD_V1, content) => {
            JsonText::parse(content).ok_or_else(|| corrupt("answer", "is not JSON"))
        }
        _ => Err(corrupt(
            "answer",
            "has a version this program does not know",
        )),
    }
}

fn json(text: &str) -> Result<JsonText, StoreError> {
    JsonText::parse(text.as_bytes()).ok_or_else(|| corrupt("settled segment", "holds no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(ordinal: u32, outcome: Outcome) -> Packed {
        Packed {
            settled: Settled {
                ordinal,
                outcome,
                at: Timestamp(7),
            },
            is_apart: false,
        }
    }

    fn answer(bytes: usize) -> Outcome {
        let text = format!("\"{}\"", "x".repeat(bytes));
        Outcome::Answered {
            status: -1,
            payload: JsonText::parse(text.as_bytes()),
        }
    }

    fn one_of_each() -> Vec<Packed> {
        let outcomes = [
            answer(3),
            Outcome::Answered {
                status: 200,
                payload: None,
            },
            Outcome::Applied,
            Outcome::Unreachable,
            Outcome::TimedOut,
            Outcome::Rejected {
                reason: "too large".into(),
            },
            Outcome::Garbled,
            Outcome::Deleted,
            Outcome::Unknown,
            Outcome::Canceled,
        ];
        let mut all: Vec<_> = outcomes
            .into_iter()
            .zip(1..)
            .map(|(outcome, ordinal)| packed(ordinal, outcome))
            .collect();
        all[1].is_apart = true;
        all
    }

    #[test]
    fn every_outcome_survives() {
        let entries = one_of_each();
        assert_eq!(unpack_settled(&pack_settled(&entries)).unwrap(), entries);
    }

    #[test]
    fn calls_survive() {
        let call = CallId {
            term: Term(3),
            number: 1 << 40,
        };
        let calls = vec![(
            5,
            InFlight {
                call,
                dispatched: Timestamp(-9),
            },
        )];
        assert_eq!(unpack_calls(&pack_calls(&calls)).unwrap(), calls);
    }

    const SETTLED: &[u8] = include_bytes!("../../tests/golden/job-settled-v1.bin");
    const CALLS: &[u8] = include_bytes!("../../tests/golden/job-calls-v1.bin");
    const PAYLOAD: &[u8] = include_bytes!("../../tests/golden/job-payload-v1.bin");

    fn golden_settled() -> Vec<Packed> {
        let mut all = one_of_each();
        for (entry, late) in all.iter_mut().zip(0..) {
            entry.settled.at = Timestamp(1_927_857_906_000_000 - late * 1_500_000);
        }
        all
    }

    fn golden_calls() -> Vec<(Ordinal, InFlight)> {
        let call = |ordinal, term, number| {
            let call = CallId {
                term: Term(term),
                number,
            };
            let dispatched = Timestamp(1_927_857_906_123_456);
            (ordinal, InFlight { call, dispatched })
        };
        vec![call(0, 1, 1), call(u32::MAX, u32::MAX, (1 << 48) - 1)]
    }

    fn golden_payload() -> JsonText {
        JsonText::parse(r#"{"état": "fermé"}"#.as_bytes()).unwrap()
    }

    #[test]
    fn version_1_loads() {
        assert_eq!(unpack_settled(SETTLED).unwrap(), golden_settled());
        assert_eq!(unpack_calls(CALLS).unwrap(), golden_calls());
        assert_eq!(unpack_payload(PAYLOAD).unwrap(), golden_payload());
    }

    #[test]
    fn version_1_is_what_is_written() {
        assert!(pack_settled(&golden_settled()) == SETTLED);
        assert!(pack_calls(&golden_calls()) == CALLS);
        assert!(pack_payload(&golden_payload()) == PAYLOAD);
    }

    #[test]
    fn groups_keep_to_both_bounds() {
        let many = (0..2_500)
            .map(|ordinal| packed(ordinal, Outcome::Applied))
            .collect();
        assert_eq!(
            split(many).iter().map(Vec::len).collect::<Vec<_>>(),
            [1_000, 1_000, 500]
        );
        let large = (0..600)
            .map(|ordinal| packed(ordinal, answer(4_000)))
            .collect();
        for group in split(large) {
            assert!(pack_settled(&group).len() <= BYTES_MAX, "{}", group.len());
        }
    }
}
