//! The loop around [`super::execute`]: brings it events, commits what it records, sends what it may.
//!
//! One task a node. One commit is under way at a time; everything that happens meanwhile joins the next
//! one, which is the whole of group commit here. A commit that failed is repeated as it is: the store
//! refuses what it already has, so that is safe. One that failed because a job's journal is corrupt is
//! repeated in parts, so that only that job fails.
//!
//! Waiting only wakes; [`Loop::step`] then takes whatever there is, so that no source of events, however
//! busy, keeps another one waiting.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, try_join_all};
use roaring::RoaringBitmap;
use tokio::sync::{mpsc, watch};

use super::{
    execute::{self, Bounds, Executor, SendGroup},
    job::Progress,
    pace::{Pace, Quota},
};
use crate::{
    ids::{CallId, IdentityKey, JobNumber, Space},
    limits,
    measures::EngineMeasures,
    method::{CallAnswer, Methods},
    ports::{
        Clock, Store, StoreError,
        store::{JobCommitted, JobRecords, JobResumed},
    },
    presence::{Delivery, Link, Presence, Receipt},
    signals::{JobSignals, stopped},
    time::Timestamp,
};

/// What the loop works with.
pub(super) struct Dispatch {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) presence: Arc<Presence>,
    pub(super) methods: Arc<Methods>,
    pub(super) signals: JobSignals,
    pub(super) measures: Arc<EngineMeasures>,
    /// Answers of devices to calls of jobs.
    pub(super) answers: mpsc::Receiver<CallAnswer>,
    /// Jobs that became running.
    pub(super) jobs: mpsc::Receiver<MethodJobs>,
    /// How fast calls may begin, if that is bounded.
    pub(super) pace: Option<Arc<Pace>>,
    /// Whether the scheduler wants to hear of every job's end.
    pub(super) tells_ends: bool,
    /// How long the loop waits for answers once it was told to stop.
    pub(super) drain: Duration,
}

/// What the scheduler hands over.
pub(super) enum MethodJobs {
    /// One more job to drive.
    Running(Box<JobResumed>),
    /// Every job that a former start left running has been handed over.
    AllResumed,
}

/// Sends between two chances for other tasks.
const SENDS_IN_A_RUN: usize = 64;
/// Jobs taken on between two looks at everything else.
const JOBS_IN_A_RUN: usize = 64;
/// Jobs closed by one commit.
const CLOSES_IN_A_COMMIT: usize = 256;
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Committing = BoxFuture<'static, Result<Vec<JobCommitted>, StoreError>>;

struct Loop {
    parts: Dispatch,
    executor: Executor,
    quota: Quota,
    commit: Option<Commit>,
    /// To acknowledge when the next commit is durable.
    receipts: Vec<(Arc<dyn Link>, Receipt)>,
    /// Jobs whose window is over, to be closed after the next commit.
    over: Vec<JobNumber>,
    /// Calls that may leave once a hold on their job ends.
    held: Vec<SendGroup>,
    /// Whether every running job is known.
    is_resumed: bool,
    /// Until then: answers to calls that may belong to a job not known yet.
    early: Vec<CallAnswer>,
    stopping: Option<Timestamp>,
}

struct Commit {
    batch: Vec<JobRecords>,
    receipts: Vec<(Arc<dyn Link>, Receipt)>,
    over: Vec<JobNumber>,
    result: Committing,
}

impl Dispatch {
    /// Runs until `stop` says true and the calls in flight have ended or the drain time is over.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let executor = Executor::new(self.store.term(), Bounds::default());
        let quota = Quota::new(self.pace.clone());
        let mut this = Loop {
            parts: self,
            executor,
            quota,
            commit: None,
            receipts: Vec::new(),
            over: Vec::new(),
            held: Vec::new(),
            is_resumed: false,
            early: Vec::new(),
            stopping: None,
        };
        while !this.is_finished() {
            this.step();
            this.wait(&mut stop).await;
        }
    }
}

impl Loop {
    fn is_finished(&self) -> bool {
        let Some(until) = self.stopping else {
            return false;
        };
        let is_quiet = self.commit.is_none() && !self.executor.has_records();
        let is_over = self.parts.clock.now() >= until;
        is_quiet && (is_over || self.executor.in_flight() == 0)
    }

    /// Everything that can be done without waiting.
    fn step(&mut self) {
        let now = self.parts.clock.now();
        for (key, ready) in self.parts.presence.take_changes() {
            self.executor.presence_changed(key, ready);
        }
        for key in self.parts.signals.take_deleted() {
            self.executor.deleted(key, now);
        }
        for job in self.parts.signals.take_canceled() {
            self.executor.canceled(job);
        }
        self.take_answers(now);
        self.over.extend(self.executor.expire(now));
        self.drop_held(now);
        if self.stopping.is_none() {
            self.choose(now);
        }
        self.begin_commit(now);
        let in_flight = self.executor.in_flight() as u64;
        self.parts.measures.calls_in_flight.set(in_flight);
    }

    /// As many calls as pace, bounds and devices allow at this moment.
    fn choose(&mut self, now: Timestamp) {
        loop {
            let allowed = self.quota.open(|| self.executor.wishes(), now);
            if allowed == 0 {
                return;
            }
            let methods = &self.parts.methods;
            let chosen = self.executor.choose(allowed, || methods.next_call());
            self.quota.used(chosen);
            if chosen < allowed {
                return;
            }
        }
    }

    fn begin_commit(&mut self, now: Timestamp) {
        if self.commit.is_some() {
            return;
        }
        let is_forced = !self.over.is_empty() || self.stopping.is_some();
        let until = if is_forced {
            Timestamp::FAR_FUTURE
        } else {
            now
        };
        let batch = self.executor.take_batch(until).unwrap_or_default();
        if batch.is_empty() && self.over.is_empty() {
            if !self.executor.has_records() {
                self.acknowledge_waiting();
            }
            return;
        }
        let closes = self.over.len().min(CLOSES_IN_A_COMMIT);
        let over: Vec<_> = self.over.drain(..closes).collect();
        let result = commit(self.parts.store.clone(), batch.clone(), over.clone(), now);
        let receipts = std::mem::take(&mut self.receipts);
        self.commit = Some(Commit {
            batch,
            receipts,
            over,
            result,
        });
    }

    /// Nothing is on its way to the store: what waits for an acknowledgement is a repetition of something
    /// durable, or of no interest.
    fn acknowledge_waiting(&mut self) {
        for (link, receipt) in self.receipts.drain(..) {
            link.acknowledge(receipt);
        }
    }

    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) {
        let wake_at = match self.stopping {
            Some(until) => self.executor.wake_at().min(until),
            None => self.executor.wake_at().min(self.quota.wake_at()),
        };
        let clock = self.parts.clock.clone();
        let presence = self.parts.presence.clone();
        let signals = self.parts.signals.clone();
        let takes_answers = self.takes_answers();
        let is_stopping = self.stopping.is_some();
        let is_committing = self.commit.is_some();
        tokio::select! {
            biased;
            () = stopped(stop), if !is_stopping => {
                self.stopping = Some(clock.now() + self.parts.drain);
            }
            result = committed(&mut self.commit) => self.on_committed(result).await,
            () = signals.engine() => {
                self.look_for_deleted().await;
                self.send_held().await;
            }
            job = self.parts.jobs.recv(), if !is_stopping => self.on_jobs(job).await,
            answer = self.parts.answers.recv(), if takes_answers => {
                answer.into_iter().for_each(|answer| self.on_answer(answer, clock.now()));
            }
            () = presence.changed() => {}
            () = clock.sleep_until(wake_at), if !is_committing || wake_at > clock.now() => {}
        }
    }

    fn takes_answers(&self) -> bool {
        !self.executor.is_full() && self.early.len() < limits::ANSWER_QUEUE
    }

    fn take_answers(&mut self, now: Timestamp) {
        while self.takes_answers() {
            let Ok(answer) = self.parts.answers.try_recv() else {
                return;
            };
            self.on_answer(answer, now);
        }
    }

    fn on_answer(&mut self, answer: CallAnswer, now: Timestamp) {
        if !self.is_resumed && !self.executor.awaits(answer.call) {
            self.early.push(answer);
            return;
        }
        let CallAnswer {
            key,
            call,
            status,
            payload,
            receipt,
        } = answer;
        self.executor.answered(key, call, status, payload, now);
        // Also for an answer nobody waits for: it may repeat one that is on its way to the store.
        self.receipts.extend(receipt);
    }

    async fn on_jobs(&mut self, first: Option<MethodJobs>) {
        let mut jobs = Vec::new();
        let mut next = first;
        let mut is_resumed = self.is_resumed;
        while let Some(handed) = next.take() {
            match handed {
                MethodJobs::Running(job) => jobs.push(*job),
                MethodJobs::AllResumed => is_resumed = true,
            }
            if jobs.len() < JOBS_IN_A_RUN {
                next = self.parts.jobs.try_recv().ok();
            }
        }
        // Who was deleted or cancelled from here on is heard of by signal.
        let devices = deleted(&self.parts.store, Space::Devices, &jobs).await;
        let modules = deleted(&self.parts.store, Space::Modules, &jobs).await;
        for mut job in jobs {
            let id = &job.job.id;
            match self.parts.store.job_get(id).await {
                Ok(Some(fresh)) if fresh.number == job.job.number => job.job.state = fresh.state,
                Ok(_) => continue,
                // The store refuses dispatches of a job that was cancelled; it then ends at its deadline.
                Err(error) => tracing::warn!(job.id = %id, %error, "the job cannot be read again"),
            }
            if !job.job.is_running() {
                continue;
            }
            let deleted = match job.job.plan.space {
                Space::Devices => &devices,
                Space::Modules => &modules,
            };
            self.executor.add(job, deleted, self.parts.clock.now());
        }
        self.is_resumed = is_resumed;
        if is_resumed {
            let now = self.parts.clock.now();
            for answer in std::mem::take(&mut self.early) {
                self.on_answer(answer, now);
            }
        }
    }

    async fn on_committed(&mut self, result: Result<Vec<JobCommitted>, StoreError>) {
        let Some(done) = self.commit.take() else {
            return;
        };
        match result {
            Ok(results) => {
                for (link, receipt) in done.receipts {
                    link.acknowledge(receipt);
                }
                if self.parts.tells_ends
                    && (!done.over.is_empty() || results.iter().any(|result| result.ended))
                {
                    self.parts.signals.job_ended();
                }
                let changed = results.iter().map(|result| result.job);
                let changed = changed.chain(done.over.iter().copied());
                self.parts.signals.jobs_changed(changed);
                let now = self.parts.clock.now();
                let groups = self.executor.committed(done.batch, &results, now);
                for job in done.over {
                    self.executor.remove(job);
                }
                for group in groups {
                    self.send(group).await;
                }
            }
            Err(StoreError::Corrupt(reason)) => {
                tracing::warn!(%reason, "a job's journal is corrupt, its neighbours are recorded apart");
                let store = self.parts.store.clone();
                let (batch, over) = (done.batch.clone(), done.over.clone());
                let now = self.parts.clock.now();
                let result = Box::pin(commit_apart(store, batch, over, now));
                self.commit = Some(Commit { result, ..done });
            }
            Err(error) => {
                tracing::error!(%error, "outcomes of jobs could not be recorded, trying again");
                let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
                let (batch, over) = (done.batch.clone(), done.over.clone());
                let result = Box::pin(async move {
                    clock.sleep_until(clock.now() + RETRY_AFTER).await;
                    // Dated by this try: it is the one after which calls leave.
                    commit(store, batch, over, clock.now()).await
                });
                self.commit = Some(Commit { result, ..done });
            }
        }
    }

    /// After a deletion whose result was lost.
    async fn look_for_deleted(&mut self) {
        if !self.parts.signals.take_deletions_unknown() {
            return;
        }
        for space in [Space::Devices, Space::Modules] {
            let deleted = read_deleted(&self.parts.store, space).await;
            let now = self.parts.clock.now();
            self.executor.all_deleted(space, &deleted, now);
        }
    }

    async fn send_held(&mut self) {
        for group in std::mem::take(&mut self.held) {
            self.send(group).await;
        }
    }

    /// Calls whose job was cancelled or is over while they were held will never leave.
    fn drop_held(&mut self, now: Timestamp) {
        for group in std::mem::take(&mut self.held) {
            match self.may_send(&group, now) {
                true => self.held.push(group),
                false => self.withdraw(&group),
            }
        }
    }

    fn may_send(&self, group: &SendGroup, now: Timestamp) -> bool {
        self.stopping.is_none() && self.executor.may_send(group.job, now)
    }

    fn withdraw(&mut self, group: &SendGroup) {
        for send in &group.sends {
            self.executor.withdraw(group.job, send.key, send.call);
        }
    }

    async fn send(&mut self, mut group: SendGroup) {
        while !group.sends.is_empty() {
            if !self.may_send(&group, self.parts.clock.now()) {
                return self.withdraw(&group);
            }
            let rest = group.sends.split_off(group.sends.len().min(SENDS_IN_A_RUN));
            let mut run = std::mem::replace(&mut group.sends, rest);
            // While it was held its time may have run out, or its device may have been deleted.
            run.retain(|send| self.executor.awaits(send.call));
            let sent = self
                .parts
                .signals
                .unless_held(group.job, || self.deliver(&group, &run));
            match sent {
                Some(unsent) => unsent.into_iter().for_each(|(key, call)| {
                    // A closed link stays closed: only a new connection makes the device ready again.
                    self.executor.presence_changed(key, false);
                    self.executor.withdraw(group.job, key, call);
                }),
                None => {
                    group.sends.splice(0..0, run);
                    self.held.push(group);
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Hands calls to their links; gives back those that provably did not leave.
    fn deliver(&self, group: &SendGroup, run: &[execute::Send]) -> Vec<(IdentityKey, CallId)> {
        let stays = |send: &&execute::Send| {
            let link = self.parts.presence.ready_link(send.key);
            link.is_none_or(|link| link.call(send.call, &group.template) == Delivery::Closed)
        };
        run.iter()
            .filter(stays)
            .map(|send| (send.key, send.call))
            .collect()
    }
}

/// The deleted identities of a space, if any of the jobs is about it.
async fn deleted(store: &Arc<dyn Store>, space: Space, jobs: &[JobResumed]) -> RoaringBitmap {
    if !jobs.iter().any(|job| job.job.plan.space == space) {
        return RoaringBitmap::new();
    }
    read_deleted(store, space).await
}

async fn read_deleted(store: &Arc<dyn Store>, space: Space) -> RoaringBitmap {
    match store.identity_deleted(space).await {
        Ok(deleted) => deleted,
        Err(error) => {
            // Deleted devices then end at the deadline instead of now.
            tracing::warn!(%error, "deleted devices cannot be read");
            RoaringBitmap::new()
        }
    }
}

/// The result of the commit under way; never, when there is none.
async fn committed(commit: &mut Option<Commit>) -> Result<Vec<JobCommitted>, StoreError> {
    match commit {
        Some(commit) => commit.result.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Does what [`commit`] does when a journal in it is corrupt: halves the batch until that job is alone, and
/// closes jobs one by one. The job with the corrupt journal fails; nobody else suffers for it.
async fn commit_apart(
    store: Arc<dyn Store>,
    batch: Vec<JobRecords>,
    over: Vec<JobNumber>,
    at: Timestamp,
) -> Result<Vec<JobCommitted>, StoreError> {
    let term = store.term();
    let mut results = Vec::with_capacity(batch.len());
    // The first part is the last: results keep the order of the batch.
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        match store.job_journal(term, part.clone(), at).await {
            Ok(recorded) => results.extend(recorded),
            Err(StoreError::Corrupt(_)) if part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.extend([rest, part]);
            }
            Err(StoreError::Corrupt(reason)) => {
                for records in part {
                    give_up(&store, records.job, &reason, at).await?;
                    let dispatched = records.dispatched.into_iter();
                    results.push(JobCommitted {
                        job: records.job,
                        refused: dispatched.map(|(ordinal, _)| ordinal).collect(),
                        progress: Progress::default(),
                        ended: true,
                    });
                }
            }
            Err(error) => return Err(error),
        }
    }
    for job in over {
        match store.job_close(job, term, at).await {
            Ok(_) | Err(StoreError::Absent(_)) => {}
            Err(StoreError::Corrupt(reason)) => give_up(&store, job, &reason, at).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// Ends a job whose journal is corrupt; one that is past even that is left as it lies.
async fn give_up(
    store: &Arc<dyn Store>,
    job: JobNumber,
    reason: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    tracing::error!(
        job.number = job.0,
        reason,
        "a job's journal is corrupt: the job fails"
    );
    let text = format!("the journal of the job is corrupt: {reason}");
    match store.job_fail(job, store.term(), text, at).await {
        Ok(_) | Err(StoreError::Absent(_)) => Ok(()),
        Err(StoreError::Corrupt(reason)) => {
            tracing::error!(job.number = job.0, %reason, "the job cannot be ended either");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Records a batch, then closes jobs whose window is over.
fn commit(
    store: Arc<dyn Store>,
    batch: Vec<JobRecords>,
    over: Vec<JobNumber>,
    at: Timestamp,
) -> Committing {
    Box::pin(async move {
        let term = store.term();
        let results = match batch.is_empty() {
            true => Vec::new(),
            false => store.job_journal(term, batch, at).await?,
        };
        // All at once, so that the store may close many jobs in one transaction.
        let closes = over.into_iter().map(|job| store.job_close(job, term, at));
        try_join_all(closes.map(|close| async {
            match close.await {
                // It had ended, and its history has expired since.
                Err(StoreError::Absent(_)) => Ok(()),
                other => other.map(drop),
            }
        }))
        .await?;
        Ok(results)
    })
}
