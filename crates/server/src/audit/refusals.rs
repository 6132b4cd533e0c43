//! Sums up requests that were refused because of who sent them.
//!
//! One line for each address, reason and known caller, however often it happened. As there may be very many
//! addresses, those beyond a bound are one line together.

use std::{collections::BTreeMap, net::IpAddr};

use fanfare_hub::{access::Actor, time::Timestamp};
use serde_json::{Map, Value, json};

use super::line::moment;

/// Lines of one round, but for the one that sums up the rest. Ours.
const SUMS_MAX: usize = 1_000;

/// Who was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Where the requests came from; absent where more addresses were refused than have a line.
    pub(super) address: Option<IpAddr>,
    /// Whoever proved to be somebody without the rights.
    pub(super) actor: Option<Actor>,
    /// What was wrong.
    pub(super) reason: Reason,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It had no credentials.
    Nothing,
    /// Its credentials do not do.
    Credentials,
    /// Its caller may not do this.
    Rights,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "no credentials",
            Self::Credentials => "credentials refused",
            Self::Rights => "not allowed",
        }
    }
}

/// Refusals of one round.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    sums: BTreeMap<(Option<IpAddr>, Reason, String), Sum>,
}

/// The same refusal, several times.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) refused: Refused,
    operations: BTreeMap<&'static str, u64>,
    first: Timestamp,
    last: Timestamp,
}

impl Refusals {
    pub(super) fn add(&mut self, mut refused: Refused, operation: &'static str, at: Timestamp) {
        let key = |refused: &Refused| {
            let actor = refused.actor.as_ref().map(ToString::to_string);
            (refused.address, refused.reason, actor.unwrap_or_default())
        };
        if self.sums.len() >= SUMS_MAX && !self.sums.contains_key(&key(&refused)) {
            refused.address = None;
            refused.actor = None;
        }
        let sum = self.sums.entry(key(&refused)).or_insert_with(|| Sum {
            refused,
            operations: BTreeMap::new(),
            first: at,
            last: at,
        });
        *sum.operations.entry(operation).or_default() += 1;
        sum.last = at;
    }

    pub(super) fn into_sums(self) -> impl Iterator<Item = Sum> {
        self.sums.into_values()
    }
}

impl Sum {
    pub(super) fn detail(&self) -> Map<String, Value> {
        let count: u64 = self.operations.values().sum();
        let members = [
            ("reason", json!(self.refused.reason.word())),
            ("count", json!(count)),
            ("operations", json!(self.operations)),
            ("first", json!(moment(self.first))),
            ("last", json!(moment(self.last))),
        ];
        let members = members.into_iter();
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: u32, reason: Reason) -> Refused {
        Refused {
            address: Some(IpAddr::V4(address.into())),
            actor: None,
            reason,
        }
    }

    #[test]
    fn a_flood_is_a_few_lines() {
        let mut refusals = Refusals::default();
        for at in 0..10_000 {
            refusals.add(refused(7, Reason::Credentials), "job.cancel", Timestamp(at));
        }
        refusals.add(
            refused(7, Reason::Credentials),
            "job.schedule",
            Timestamp(2),
        );
        refusals.add(refused(7, Reason::Nothing), "job.schedule", Timestamp(1));
        let sums: Vec<_> = refusals.into_sums().map(|sum| sum.detail()).collect();
        assert_eq!(sums.len(), 2);
        let counts: Vec<_> = sums.iter().map(|sum| sum["count"].clone()).collect();
        assert_eq!(counts, [json!(1), json!(10_001)]);
        let operations = json!({"job.cancel": 10_000, "job.schedule": 1});
        assert_eq!(sums[1]["operations"], operations);
        assert_eq!(sums[1]["reason"], "credentials refused");
    }

    #[test]
    fn very_many_addresses_share_a_line() {
        let mut refusals = Refusals::default();
        for address in 0..5_000 {
            refusals.add(
                refused(address, Reason::Nothing),
                "device.put",
                Timestamp(0),
            );
        }
        let sums: Vec<_> = refusals.into_sums().collect();
        assert_eq!(sums.len(), SUMS_MAX + 1);
        let of = |sum: &Sum| sum.operations["device.put"];
        let rest = sums.iter().find(|sum| sum.refused.address.is_none());
        assert_eq!(rest.map(of), Some(4_000));
        assert_eq!(sums.iter().map(of).sum::<u64>(), 5_000);
    }
}
