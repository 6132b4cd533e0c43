//! Collects what the next commit records of each job.

use std::collections::BTreeMap;

use crate::{
    ids::{JobNumber, Ordinal},
    jobs::ledger::{Outcome, Settled},
    ports::store::JobRecords,
    time::Timestamp,
};

/// What waits for the next commit.
#[derive(Default)]
pub(super) struct Records {
    pub(super) by_job: BTreeMap<JobNumber, JobRecords>,
    pub(super) settled: usize,
    pub(super) bytes: usize,
    pub(super) dispatched: usize,
    pub(super) withdrawn: usize,
    pub(super) oldest_settled: Option<Timestamp>,
}

impl Records {
    pub(super) fn of(&mut self, number: JobNumber) -> &mut JobRecords {
        self.by_job.entry(number).or_insert_with(|| JobRecords {
            job: number,
            dispatched: Vec::new(),
            withdrawn: Vec::new(),
            settled: Vec::new(),
        })
    }

    pub(super) fn settle(
        &mut self,
        number: JobNumber,
        ordinal: Ordinal,
        outcome: Outcome,
        at: Timestamp,
    ) {
        self.settled += 1;
        self.oldest_settled.get_or_insert(at);
        let settled = Settled {
            ordinal,
            outcome,
            at,
        };
        self.bytes += payload_bytes(&settled);
        self.of(number).settled.push(settled);
    }

    pub(super) fn forget(&mut self, number: JobNumber) {
        if let Some(records) = self.by_job.remove(&number) {
            self.bytes -= records.settled.iter().map(payload_bytes).sum::<usize>();
            self.settled -= records.settled.len();
            self.dispatched -= records.dispatched.len();
            self.withdrawn -= records.withdrawn.len();
        }
        if self.by_job.is_empty() {
            *self = Self::default();
        }
    }
}

fn payload_bytes(settled: &Settled) -> usize {
    match &settled.outcome {
        Outcome::Answered {
            payload: Some(payload),
            ..
        } => payload.as_str().len(),
        _ => 0,
    }
}
