//! Follows a job from wherever it stands to its end, through restarts of the hub.
//!
//! What is known of the job is its [`Standing`]; [`super::live`] shows it. Following never changes the job, so it can
//! be left and taken up again at any time.

use std::time::Duration;

use fanfare_client::{
    DeviceJobStatistics, Error, HubClient, Job, JobProgress, JobStatus, JobType, Timestamp,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::figures::{moment, span};
use super::pace::Pace;
use super::reasons::Reasons;
use crate::clock::unix_now_micros;
use crate::failure::Failure;

/// Pause between two tries to reach a hub that is gone; the client has tried a few times by itself before.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Least time between two questions about the reasons of failures.
const REASONS_EVERY: Duration = Duration::from_secs(3);
/// How many times longer than its answer took a question about reasons rests: the hub spends a twentieth of its time
/// on it at most.
const REASONS_REST: u32 = 20;

/// All that is known of a job that is being followed. Times without a date are since the watch began.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// What it is called on the screen: its id, unless the caller has a better name.
    pub(crate) name: String,
    /// What it does, in a few words; empty until the hub has said.
    pub(crate) what: String,
    pub(crate) status: JobStatus,
    /// Absent until the target set is known.
    pub(crate) counts: Option<DeviceJobStatistics>,
    /// What the hub says about it in words.
    pub(crate) message: Option<String>,
    /// Why the job as a whole failed.
    pub(crate) failure: Option<String>,
    pub(crate) start_text: Option<String>,
    pub(crate) times: Times,
    pub(crate) pace: Pace,
    pub(crate) reasons: Option<Reasons>,
    pub(crate) link: Link,
    /// Whether all of this is final: the job has ended, and why devices failed has been asked.
    pub(crate) is_over: bool,
}

/// When things are, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When the watch began.
    pub(crate) began_ms: i64,
    pub(crate) start_ms: Option<i64>,
    pub(crate) end_ms: Option<i64>,
    pub(crate) window: Option<Duration>,
}

/// Whether the hub answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Lost {
        since: Duration,
        gives_up_at: Option<Duration>,
        why: String,
    },
}

impl Link {
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Link::Lost { .. })
    }
}

impl Standing {
    /// Nothing is known yet but the name.
    pub(crate) fn unknown(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            what: String::new(),
            status: JobStatus::Queued,
            counts: None,
            message: None,
            failure: None,
            start_text: None,
            times: Times {
                began_ms: unix_now_micros() / 1_000,
                ..Times::default()
            },
            pace: Pace::default(),
            reasons: None,
            link: Link::Up,
            is_over: false,
        }
    }

    /// Takes over what the hub says. `now` is since the watch began.
    fn hear(&mut self, job: &Job, now: Duration) {
        self.link = Link::Up;
        if self.what.is_empty() {
            self.what = describe(job);
        }
        self.status = job.status.clone();
        self.counts.clone_from(&job.statistics);
        self.message.clone_from(&job.status_message);
        self.failure.clone_from(&job.failure_reason);
        if let Some(start) = begins(job) {
            self.times.start_ms = Some(start.as_micros() / 1_000);
            self.start_text = Some(moment(start));
        }
        self.times.end_ms = job
            .end_time
            .map(|end| end.as_micros() / 1_000)
            .or(self.times.end_ms);
        self.times.window = job.window.or(self.times.window);
        if self.counts.is_some() {
            self.pace.observe(now, self.ended_count());
        }
    }

    /// Whether the hub has said anything about it yet, or is known to be gone.
    pub(crate) fn has_been_heard_of(&self) -> bool {
        self.times.start_ms.is_some() || self.counts.is_some() || self.link.is_lost()
    }

    /// The counts; all 0 before the target set is known.
    pub(crate) fn counts(&self) -> DeviceJobStatistics {
        self.counts.clone().unwrap_or_default()
    }

    /// Whether its target set is still to be taken.
    pub(crate) fn is_ahead(&self) -> bool {
        !self.status.is_terminal() && self.counts.is_none()
    }

    /// Device jobs that have their outcome.
    pub(crate) fn ended_count(&self) -> u64 {
        self.counts
            .as_ref()
            .map_or(0, DeviceJobStatistics::ended_count)
    }

    /// Device jobs that have not.
    pub(crate) fn left_count(&self) -> u64 {
        let counts = self.counts();
        counts.running_count + counts.pending_count
    }

    /// How long until it starts, for a job whose start lies ahead.
    pub(crate) fn starts_in(&self, now: Duration) -> Option<Duration> {
        if !self.is_ahead() {
            return None;
        }
        self.until(self.times.start_ms?, now)
    }

    /// How long its window is still open.
    pub(crate) fn closes_in(&self, now: Duration) -> Option<Duration> {
        let window_ms = i64::try_from(self.times.window?.as_millis()).ok()?;
        self.until(self.times.start_ms?.checked_add(window_ms)?, now)
    }

    /// How long it ran.
    pub(crate) fn ran(&self) -> Option<Duration> {
        let ms = self.times.end_ms?.checked_sub(self.times.start_ms?)?;
        Some(Duration::from_millis(u64::try_from(ms).ok()?))
    }

    fn until(&self, at_ms: i64, now: Duration) -> Option<Duration> {
        let now_ms = self
            .times
            .began_ms
            .checked_add(i64::try_from(now.as_millis()).ok()?)?;
        // Rounded up: "starts in 1s" until it does.
        let ms = u64::try_from(at_ms.checked_sub(now_ms)?)
            .ok()
            .filter(|ms| *ms > 0)?;
        Some(Duration::from_secs(ms.div_ceil(1_000)))
    }
}

/// When a job's window opens: at its start, or when it was made, if the start had passed by then.
pub(crate) fn begins(job: &Job) -> Option<Timestamp> {
    let start = job.start_time?;
    Some(job.created_time.map_or(start, |made| start.max(made)))
}

/// What a job does: "method lockDoor", "twin update".
pub(crate) fn describe(job: &Job) -> String {
    match &job.job_type {
        JobType::ScheduleDeviceMethod => match &job.cloud_to_device_method {
            Some(method) => format!("method {}", method.name),
            None => "method".to_owned(),
        },
        JobType::ScheduleUpdateTwin => "twin update".to_owned(),
        other => other.to_string(),
    }
}

/// What to follow, and how patiently.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    pub(crate) hub: HubClient,
    pub(crate) job_id: String,
    /// How long the hub may be gone; `None` for ever.
    pub(crate) give_up_after: Option<Duration>,
}

/// A job that has ended, and why devices failed in it.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) job: Job,
    pub(crate) reasons: Reasons,
}

impl Follow {
    /// Follows the job to its end; `standing` is kept up to date, and `heard` is called with every progress.
    ///
    /// # Errors
    /// When the hub refuses, is gone for too long, or `heard` fails.
    pub(crate) async fn to_the_end(
        &self,
        standing: &watch::Sender<Standing>,
        mut heard: impl FnMut(&JobProgress) -> Result<(), Failure>,
    ) -> Result<Ended, Failure> {
        let began = Instant::now();
        let job = tokio::select! {
            biased;
            job = self.job_to_its_end(standing, began, &mut heard) => job?,
            never = self.keep_reasons(standing) => match never {},
        };
        // The reasons on the screen may be of a moment ago; these are of the end.
        let reasons = self.last_reasons(&job, standing).await;
        standing.send_modify(|at| {
            at.reasons = Some(reasons.clone());
            at.is_over = true;
        });
        Ok(Ended { job, reasons })
    }

    async fn job_to_its_end(
        &self,
        standing: &watch::Sender<Standing>,
        began: Instant,
        heard: &mut impl FnMut(&JobProgress) -> Result<(), Failure>,
    ) -> Result<Job, Failure> {
        let mut monitor = self.hub.jobs().monitor(&self.job_id);
        let mut lost = Lost::default();
        loop {
            match monitor.try_next().await {
                Ok(Some(progress)) => {
                    lost = Lost::default();
                    standing.send_modify(|at| at.hear(&progress.job, began.elapsed()));
                    heard(&progress)?;
                    if progress.is_last() {
                        return Ok(progress.job);
                    }
                }
                // The stream ended before the job did: a hub that drains ends its streams.
                Ok(None) => monitor = self.hub.jobs().monitor(&self.job_id),
                Err(error) if error.can_retry_help() => {
                    let link = lost.once_more(began.elapsed(), self.give_up_after, &error);
                    let Some(link) = link else {
                        return Err(self.gone(error));
                    };
                    standing.send_modify(|at| at.link = link);
                    sleep(TRY_AGAIN_AFTER).await;
                    monitor = self.hub.jobs().monitor(&self.job_id);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn gone(&self, error: Error) -> Failure {
        let waited = span(self.give_up_after.unwrap_or_default());
        Failure::from(error).while_doing(format!(
            "the hub was gone for {waited}; job {} may go on",
            self.job_id
        ))
    }

    /// Asks for the reasons whenever failures have been added, but seldom.
    async fn keep_reasons(&self, standing: &watch::Sender<Standing>) -> std::convert::Infallible {
        let mut changes = standing.subscribe();
        let mut known = 0;
        loop {
            let failed = |at: &Standing| at.counts.as_ref().map_or(0, |counts| counts.failed_count);
            let Ok(at) = changes
                .wait_for(|at| failed(at) > known)
                .await
                .map(|at| failed(&at))
            else {
                // The sender is borrowed by us.
                std::future::pending::<()>().await;
                continue;
            };
            let asked = Instant::now();
            if let Ok(reasons) = Reasons::of_failures(&self.hub, &self.job_id).await {
                known = at;
                standing.send_modify(|at| at.reasons = Some(reasons));
            }
            sleep(REASONS_EVERY.max(asked.elapsed() * REASONS_REST)).await;
        }
    }

    /// Why devices failed, the answers with which they refused included. What cannot be had is left out: the job
    /// has ended, and its counts are known.
    async fn last_reasons(&self, job: &Job, standing: &watch::Sender<Standing>) -> Reasons {
        let counts = job.statistics.clone().unwrap_or_default();
        let mut reasons = Reasons::default();
        if counts.failed_count > 0 {
            let known = standing.borrow().reasons.clone().unwrap_or_default();
            reasons = Reasons::of_failures(&self.hub, &self.job_id)
                .await
                .unwrap_or(known);
        }
        if counts.succeeded_count > 0 && job.job_type == JobType::ScheduleDeviceMethod {
            let refusals = Reasons::of_refusals(&self.hub, &self.job_id).await;
            reasons = reasons.with(refusals.unwrap_or_default());
        }
        reasons
    }
}

/// Since when the hub has been gone.
#[derive(Debug, Default)]
struct Lost {
    since: Option<Duration>,
}

impl Lost {
    /// One more try has failed; `None` when it is time to give up.
    fn once_more(
        &mut self,
        now: Duration,
        give_up_after: Option<Duration>,
        why: &Error,
    ) -> Option<Link> {
        let since = *self.since.get_or_insert(now);
        let gives_up_at = give_up_after.map(|patience| since + patience);
        if gives_up_at.is_some_and(|at| now >= at) {
            return None;
        }
        Some(Link::Lost {
            since,
            gives_up_at,
            why: why.to_string(),
        })
    }
}
