//! What the next commit records, and what follows from one that is durable.

use std::collections::BTreeSet;

use super::{Executor, Send, SendGroup, index};
use crate::{
    ids::{CallId, IdentityKey, JobNumber, Ordinal},
    limits,
    ports::store::{JobCommitted, JobRecords},
    time::Timestamp,
};

impl Executor {
    /// The records to commit now, if any: at once with dispatches or many outcomes, else after a moment in
    /// which outcomes may gather.
    pub fn take_batch(&mut self, now: Timestamp) -> Option<Vec<JobRecords>> {
        let is_due = self.commit_due().is_some_and(|due| due <= now);
        is_due.then(|| {
            std::mem::take(&mut self.records)
                .by_job
                .into_values()
                .collect()
        })
    }

    pub(super) fn commit_due(&self) -> Option<Timestamp> {
        let records = &self.records;
        let is_full = records.settled >= limits::SETTLE_BATCH_MAX
            || records.bytes >= limits::SETTLE_BATCH_BYTES_MAX;
        if is_full || records.dispatched > 0 || records.withdrawn > 0 {
            return Some(Timestamp(i64::MIN));
        }
        records
            .oldest_settled
            .map(|oldest| oldest + limits::SETTLE_GROUP_WAIT)
    }

    /// Whether anything waits for a commit.
    pub fn has_records(&self) -> bool {
        !self.records.by_job.is_empty()
    }

    /// Whether so much waits for a commit that no more answers should be taken.
    pub fn is_full(&self) -> bool {
        self.records.settled >= 4 * limits::SETTLE_BATCH_MAX
            || self.records.bytes >= 4 * limits::SETTLE_BATCH_BYTES_MAX
    }

    /// A batch is durable: gives the calls that may leave, and forgets jobs that ended.
    pub fn committed(
        &mut self,
        batch: Vec<JobRecords>,
        results: &[JobCommitted],
        now: Timestamp,
    ) -> Vec<SendGroup> {
        let mut groups = Vec::new();
        for (records, result) in batch.into_iter().zip(results) {
            let refused: BTreeSet<Ordinal> = result.refused.iter().copied().collect();
            let sends = self.release(records, &refused, now);
            if result.ended {
                self.remove(result.job);
            } else if let Some(entry) = self.jobs.get(&result.job).filter(|_| !sends.is_empty()) {
                let template = entry.template.clone();
                groups.push(SendGroup {
                    job: result.job,
                    template,
                    sends,
                });
            }
            self.set_alarm(result.job);
        }
        groups
    }

    fn release(
        &mut self,
        records: JobRecords,
        refused: &BTreeSet<Ordinal>,
        now: Timestamp,
    ) -> Vec<Send> {
        let mut sends = Vec::new();
        for (ordinal, call) in records.dispatched {
            let Some(entry) = self.jobs.get_mut(&records.job) else {
                break;
            };
            if entry.in_flight.get(&ordinal) != Some(&call) {
                continue;
            }
            let key = IdentityKey {
                space: entry.job.plan.space,
                ordinal,
            };
            if refused.contains(&ordinal) {
                self.drop_call(records.job, key, call);
                continue;
            }
            let deadline = now + entry.response;
            entry.push_deadline(deadline, ordinal, call);
            sends.push(Send {
                key,
                call,
                deadline,
            });
        }
        sends
    }

    /// A call did not and will not leave: its device is pending again.
    pub fn withdraw(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        let is_ours = self
            .jobs
            .get(&number)
            .is_some_and(|entry| entry.in_flight.get(&key.ordinal) == Some(&call));
        if !is_ours {
            return;
        }
        self.drop_call(number, key, call);
        self.records.of(number).withdrawn.push((key.ordinal, call));
        self.records.withdrawn += 1;
        let Some(entry) = self.jobs.get_mut(&number).filter(|entry| entry.may_begin) else {
            return;
        };
        entry.pending.insert(key.ordinal);
        if entry.is_small {
            self.by_device.entry(key).or_default().insert(number);
        }
        if self.ready[index(key.space)].contains(key.ordinal) {
            self.make_candidate(number, key.ordinal);
        }
    }
}
