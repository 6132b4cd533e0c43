//! How calls and windows end by time, and what an end does to the sets of its job.

use super::{Executor, Outcome};
use crate::{
    ids::{CallId, IdentityKey, JobNumber, Ordinal},
    time::Timestamp,
};

impl Executor {
    /// Ends calls whose time is over. Returns, once each, jobs whose window is over: the shell closes
    /// them in the store once what is recorded here is durable, and then calls [`Self::remove`].
    pub fn expire(&mut self, now: Timestamp) -> Vec<JobNumber> {
        let mut over = Vec::new();
        let due: Vec<_> = self
            .alarms
            .range(..=(now, JobNumber(u64::MAX)))
            .copied()
            .collect();
        for (_, number) in due {
            self.expire_calls(number, now);
            self.set_alarm(number);
            let Some(entry) = self.jobs.get_mut(&number) else {
                continue;
            };
            if entry.job.deadline() <= now {
                entry.is_over = true;
                over.push(number);
                self.stop_beginning(number);
                self.set_alarm(number);
            }
        }
        over
    }

    fn expire_calls(&mut self, number: JobNumber, now: Timestamp) {
        while let Some(entry) = self.jobs.get_mut(&number) {
            let Some((deadline, ordinal, call)) = entry.deadlines.front().copied() else {
                return;
            };
            if deadline > now {
                return;
            }
            entry.deadlines.pop_front();
            let outcome = if call.term < self.term {
                Outcome::Unknown
            } else {
                Outcome::TimedOut
            };
            if entry.in_flight.get(&ordinal) == Some(&call) {
                self.settle_call(number, ordinal, call, outcome, now);
            }
        }
    }

    pub(super) fn settle_absent(&mut self, number: JobNumber, ordinal: Ordinal, now: Timestamp) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        match entry.in_flight.get(&ordinal).copied() {
            Some(call) => self.settle_call(number, ordinal, call, Outcome::Deleted, now),
            None => {
                let key = IdentityKey {
                    space: entry.job.plan.space,
                    ordinal,
                };
                entry.pending.remove(ordinal);
                entry.candidates.remove(ordinal);
                self.unindex(number, key);
                self.records.settle(number, ordinal, Outcome::Deleted, now);
            }
        }
    }

    pub(super) fn settle_call(
        &mut self,
        number: JobNumber,
        ordinal: Ordinal,
        call: CallId,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let Some(entry) = self.jobs.get(&number) else {
            return;
        };
        let key = IdentityKey {
            space: entry.job.plan.space,
            ordinal,
        };
        self.drop_call(number, key, call);
        self.records.settle(number, ordinal, outcome, now);
    }

    pub(super) fn drop_call(&mut self, number: JobNumber, key: IdentityKey, call: CallId) {
        if let Some(entry) = self.jobs.get_mut(&number) {
            entry.in_flight.remove(&key.ordinal);
        }
        if self.calls.remove(&call).is_some() {
            self.in_flight -= 1;
            self.relieve(key);
        }
    }

    pub(super) fn set_alarm(&mut self, number: JobNumber) {
        let Some(entry) = self.jobs.get_mut(&number) else {
            return;
        };
        let first = entry
            .deadlines
            .front()
            .map_or(Timestamp::FAR_FUTURE, |(at, ..)| *at);
        let alarm = match entry.is_over {
            true => Timestamp::FAR_FUTURE,
            false => first.min(entry.job.deadline()),
        };
        if alarm != entry.alarm {
            self.alarms.remove(&(entry.alarm, number));
            self.alarms.insert((alarm, number));
            entry.alarm = alarm;
        }
    }
}
