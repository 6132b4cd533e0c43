//! The loop around [`super::execute`]: brings it events, commits what it records, sends what it may.
//!
//! One task a node. One commit is under way at a time; everything that happens meanwhile joins the next
//! one, which is the whole of group commit here. A commit that failed is repeated as it is: the store
//! refuses what it already has, so that is safe.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::execute::{self, Bounds, Executor, SendGroup};
use crate::{
    ids::{CallId, IdentityKey, JobNumber},
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
    /// Answers of devices to calls of jobs.
    pub(super) answers: mpsc::Receiver<CallAnswer>,
    /// Jobs that became running.
    pub(super) jobs: mpsc::Receiver<JobResumed>,
    /// How long the loop waits for answers once it was told to stop.
    pub(super) drain: Duration,
}

/// Sends between two chances for other tasks.
const SENDS_IN_A_RUN: usize = 64;
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Committing = BoxFuture<'static, Result<Vec<JobCommitted>, StoreError>>;

struct Loop {
    parts: Dispatch,
    executor: Executor,
    commit: Option<Commit>,
    /// To acknowledge when the next commit is durable.
    receipts: Vec<(Arc<dyn Link>, Receipt)>,
    /// Jobs whose window is over, to be closed after the next commit.
    over: Vec<JobNumber>,
    /// Calls that may leave once a hold on their job ends.
    held: Vec<SendGroup>,
    stopping: Option<Timestamp>,
}

struct Commit {
    batch: Vec<JobRecords>,
    receipts: Vec<(Arc<dyn Link>, Receipt)>,
    over: Vec<JobNumber>,
    at: Timestamp,
    result: Committing,
}

impl Dispatch {
    /// Runs until `stop` says true and the calls in flight have ended or the drain time is over.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let executor = Executor::new(self.store.term(), Bounds::default());
        let mut this = Loop {
            parts: self,
            executor,
            commit: None,
            receipts: Vec::new(),
            over: Vec::new(),
            held: Vec::new(),
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
        self.over.extend(self.executor.expire(now));
        if self.stopping.is_none() {
            let methods = self.parts.methods.clone();
            self.executor.choose(|| methods.next_call());
        }
        self.begin_commit(now);
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
        let over = std::mem::take(&mut self.over);
        let result = commit(self.parts.store.clone(), batch.clone(), over.clone(), now);
        let receipts = std::mem::take(&mut self.receipts);
        self.commit = Some(Commit {
            batch,
            receipts,
            over,
            at: now,
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
            None => self.executor.wake_at(),
        };
        let clock = self.parts.clock.clone();
        let presence = self.parts.presence.clone();
        let signals = self.parts.signals.clone();
        let takes_answers = !self.executor.is_full();
        let is_stopping = self.stopping.is_some();
        let is_committing = self.commit.is_some();
        tokio::select! {
            biased;
            result = committed(&mut self.commit) => self.on_committed(result).await,
            answer = self.parts.answers.recv(), if takes_answers => self.on_answers(answer),
            job = self.parts.jobs.recv(), if !is_stopping => self.on_job(job).await,
            () = presence.changed() => {}
            () = signals.engine() => self.send_held().await,
            () = stopped(stop), if !is_stopping => {
                self.stopping = Some(clock.now() + self.parts.drain);
            }
            () = clock.sleep_until(wake_at), if !is_committing || wake_at > clock.now() => {}
        }
    }

    fn on_answers(&mut self, first: Option<CallAnswer>) {
        let now = self.parts.clock.now();
        let mut next = first;
        while let Some(answer) = next.take() {
            self.on_answer(answer, now);
            if !self.executor.is_full() {
                next = self.parts.answers.try_recv().ok();
            }
        }
    }

    fn on_answer(&mut self, answer: CallAnswer, now: Timestamp) {
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

    async fn on_job(&mut self, job: Option<JobResumed>) {
        let Some(job) = job else { return };
        let space = job.job.plan.space;
        let deleted = match self.parts.store.identity_deleted(space).await {
            Ok(deleted) => deleted,
            Err(error) => {
                // Deleted devices then end at the deadline instead of now.
                tracing::warn!(job.id = %job.job.id, %error, "deleted devices cannot be read");
                Default::default()
            }
        };
        self.executor.add(job, &deleted, self.parts.clock.now());
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
                let now = self.parts.clock.now();
                let groups = self.executor.committed(done.batch, &results, now);
                for job in done.over {
                    self.executor.remove(job);
                }
                for group in groups {
                    self.send(group).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "outcomes of jobs could not be recorded, trying again");
                let retry = self.parts.clock.now() + RETRY_AFTER;
                let slept = self.parts.clock.sleep_until(retry);
                let again = commit(
                    self.parts.store.clone(),
                    done.batch.clone(),
                    done.over.clone(),
                    done.at,
                );
                let result = Box::pin(async move {
                    slept.await;
                    again.await
                });
                self.commit = Some(Commit { result, ..done });
            }
        }
    }

    async fn send_held(&mut self) {
        for group in std::mem::take(&mut self.held) {
            self.send(group).await;
        }
    }

    async fn send(&mut self, mut group: SendGroup) {
        while !group.sends.is_empty() {
            let rest = group.sends.split_off(group.sends.len().min(SENDS_IN_A_RUN));
            let run = std::mem::replace(&mut group.sends, rest);
            let sent = self
                .parts
                .signals
                .unless_held(group.job, || self.deliver(&group, &run));
            match sent {
                Some(unsent) => unsent.into_iter().for_each(|(key, call)| {
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

/// The result of the commit under way; never, when there is none.
async fn committed(commit: &mut Option<Commit>) -> Result<Vec<JobCommitted>, StoreError> {
    match commit {
        Some(commit) => commit.result.as_mut().await,
        None => std::future::pending().await,
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
        for job in over {
            store.job_close(job, term, at).await?;
        }
        Ok(results)
    })
}
