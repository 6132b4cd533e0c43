//! Watching one job until it ends.
//!
//! Decides how news is had: from the hub's event stream where it has one (an extension, see JOB-60 of the compat
//! pages), by asking in growing intervals otherwise. Events can only make news faster: whatever goes wrong with
//! them is never told, the next look is a plain `get_job`, and only what that says is an error. There is no task;
//! everything happens while somebody waits, and is over when the monitor is dropped.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::events::{Event, EventReader};
use super::{Job, JobClient, JobStatus};
use crate::Error;
use crate::transport::{Method, OpenReply, Repeat, segment};

/// Pause after a change of status; it doubles with each further look.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause while counts change: the smallest of the original's units allows 100 job operations a minute.
const PAUSE_AT_WORK: Duration = Duration::from_secs(1);
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a stream may take to open and to say how the job stands, which it does at once.
const FIRST_EVENT_WITHIN: Duration = Duration::from_secs(10);
/// After this much silence a stream is not believed any more: heartbeats come every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A stream that only says that it lives is not waited for alone: this often the job is looked at as well.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Streams that fail in a row before no more are tried.
const EVENTS_TRIES: u32 = 3;

/// How a job stood at one moment, see [`JobClient::monitor`].
///
/// ```no_run
/// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
/// let mut monitor = jobs.monitor("lock-43");
/// while let Some(progress) = monitor.try_next().await? {
///     let counts = progress.job.statistics.clone().unwrap_or_default();
///     let seconds = progress.elapsed.as_secs();
///     println!("{seconds:>4} s: {} of {} devices", counts.ended_count(), counts.device_count);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JobProgress {
    /// The job, with its condition and operation wherever the news came from.
    pub job: Job,
    /// Time since the monitor first looked, by a clock that never goes back: two of these and the counts make a
    /// rate.
    pub elapsed: Duration,
}

impl JobProgress {
    /// Whether the job has ended, so that nothing follows.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// if let Some(progress) = jobs.monitor("lock-43").try_next().await? {
    ///     println!("over already: {}", progress.is_last());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_last(&self) -> bool {
        is_end(&self.job)
    }
}

/// An id of an import or export job is known here by nothing but its name, and that never changes. compat: JOB-13
fn is_end(job: &Job) -> bool {
    let is_transfer =
        matches!(&job.status, JobStatus::Unknown(word) if word.eq_ignore_ascii_case("unknown"));
    job.has_ended() || is_transfer
}

/// A job's progress, from how it stands now to its end: one [`JobProgress`] for each change that was seen.
///
/// A [`Stream`] that ends after the one with a terminal status. Changes that follow each other fast may be seen as
/// one; the last is never missed. After an error that a retry can help with ([`Error::can_retry_help`]), asking
/// again goes on watching; any other ends the stream.
///
/// ```no_run
/// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
/// let job = jobs.monitor("lock-43").wait().await?;
/// println!("{} at {:?}", job.status, job.end_time);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is asked before somebody waits"]
pub struct JobMonitor {
    job_id: String,
    /// `None` after the end.
    step: Option<Step>,
}

/// The way to the next news. It gives the watch back unless that was the last.
type Step = Pin<Box<dyn Future<Output = (Option<Watch>, Result<JobProgress, Error>)> + Send>>;

impl JobMonitor {
    pub(super) fn new(jobs: JobClient, job_id: &str) -> Self {
        Self {
            job_id: job_id.to_owned(),
            step: Some(Box::pin(Watch::new(jobs, job_id).step())),
        }
    }

    /// How the job stands now, then each change; `None` after its end. Safe to stop waiting for.
    ///
    /// # Errors
    /// `JobNotFound`, or whatever keeps the job from being looked at.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let mut monitor = jobs.monitor("lock-43");
    /// while let Some(progress) = monitor.try_next().await? {
    ///     println!("{}: {} done", progress.job.status, progress.job.ended_count());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_next(&mut self) -> Result<Option<JobProgress>, Error> {
        poll_fn(|context| self.poll_progress(context))
            .await
            .transpose()
    }

    /// Waits for the end of the job and returns it as it is then.
    ///
    /// # Errors
    /// As [`Self::try_next`], the first time the job cannot be looked at.
    ///
    /// ```no_run
    /// # async fn example(jobs: fanfare_client::JobClient) -> Result<(), fanfare_client::Error> {
    /// let job = jobs.monitor("lock-43").wait().await?;
    /// println!("{} devices", job.ended_count());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(mut self) -> Result<Job, Error> {
        let mut last = None;
        while let Some(progress) = self.try_next().await? {
            last = Some(progress.job);
        }
        match last {
            Some(job) => Ok(job),
            // Only somebody who took the last progress before gets here.
            None => Err(Error::Argument(format!(
                "the end of job {} was told before",
                self.job_id
            ))),
        }
    }

    fn poll_progress(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<JobProgress, Error>>> {
        let Some(step) = &mut self.step else {
            return Poll::Ready(None);
        };
        let (watch, news) = ready!(step.as_mut().poll(context));
        self.step = watch.map(|watch| Box::pin(watch.step()) as Step);
        Poll::Ready(Some(news))
    }
}

impl Stream for JobMonitor {
    type Item = Result<JobProgress, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_progress(context)
    }
}

impl fmt::Debug for JobMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobMonitor")
            .field("job_id", &self.job_id)
            .field("has_ended", &self.step.is_none())
            .finish_non_exhaustive()
    }
}

/// What is known of a job, and how more is had.
struct Watch {
    jobs: JobClient,
    job_id: String,
    began: Instant,
    seen: Option<Job>,
    events: Option<EventStream>,
    /// Streams that may still fail.
    events_tries: u32,
    /// Before the next look.
    pause: Duration,
}

impl Watch {
    fn new(jobs: JobClient, job_id: &str) -> Self {
        Self {
            jobs,
            job_id: job_id.to_owned(),
            began: Instant::now(),
            seen: None,
            events: None,
            events_tries: EVENTS_TRIES,
            pause: Duration::ZERO,
        }
    }

    /// Waits for the next change.
    async fn step(mut self) -> (Option<Self>, Result<JobProgress, Error>) {
        if self.seen.is_none() {
            self.began = Instant::now();
        }
        loop {
            match self.look().await {
                Ok(job) if self.seen.as_ref() == Some(&job) => {}
                Ok(job) => {
                    self.pause = match &self.seen {
                        // The stream is opened at once.
                        None => Duration::ZERO,
                        Some(seen) if seen.status != job.status => PAUSE_FIRST,
                        Some(_) => self.pause.min(PAUSE_AT_WORK),
                    };
                    self.seen = Some(job.clone());
                    let progress = JobProgress {
                        elapsed: self.began.elapsed(),
                        job,
                    };
                    let rest = (!progress.is_last()).then_some(self);
                    return (rest, Ok(progress));
                }
                Err(error) => return (error.can_retry_help().then_some(self), Err(error)),
            }
        }
    }

    /// How the job stands: told by the stream, or asked for.
    async fn look(&mut self) -> Result<Job, Error> {
        if let Some(events) = &mut self.events {
            match timeout(LOOK_EVERY, events.next()).await {
                Ok(Some(job)) => return Ok(self.whole(job)),
                // It may have ended because the job did: no pause.
                Ok(None) => {
                    self.events = None;
                    self.events_tries = self.events_tries.saturating_sub(1);
                }
                Err(_) => {}
            }
            return self.jobs.get_job(&self.job_id).await;
        }
        sleep(self.next_pause()).await;
        // The first look is at the whole document.
        if self.seen.is_some()
            && let Some(job) = self.open_events().await
        {
            return Ok(self.whole(job));
        }
        self.jobs.get_job(&self.job_id).await
    }

    fn next_pause(&mut self) -> Duration {
        let doubled = (self.pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        std::mem::replace(&mut self.pause, doubled)
    }

    /// Opens a stream, if that has not failed too often, and waits for what it says first.
    async fn open_events(&mut self) -> Option<Job> {
        if self.events_tries == 0 {
            return None;
        }
        let seats = Arc::clone(self.jobs.hub.event_streams());
        // Others are watched as well: this one asks.
        let seat = seats.try_acquire_owned().ok()?;
        let opened = EventStream::open(&self.jobs, &self.job_id, seat);
        let opened = timeout(FIRST_EVENT_WITHIN, opened).await;
        match opened {
            Ok(Ok(Some((events, job)))) => {
                self.events = Some(events);
                self.events_tries = EVENTS_TRIES;
                return Some(job);
            }
            // A hub that has no such thing never will.
            Ok(Err(error)) if !error.can_retry_help() => self.events_tries = 0,
            Ok(Ok(None) | Err(_)) | Err(_) => self.events_tries -= 1,
        }
        None
    }

    /// Events leave out what never changes.
    fn whole(&self, mut job: Job) -> Job {
        let Some(seen) = &self.seen else { return job };
        fn keep<T: Clone>(member: &mut Option<T>, seen: &Option<T>) {
            if member.is_none() {
                member.clone_from(seen);
            }
        }
        keep(&mut job.query_condition, &seen.query_condition);
        keep(
            &mut job.cloud_to_device_method,
            &seen.cloud_to_device_method,
        );
        keep(&mut job.update_twin, &seen.update_twin);
        for (name, value) in &seen.other {
            if !job.other.contains_key(name) {
                job.other.insert(name.clone(), value.clone());
            }
        }
        job
    }
}

/// An event stream of one job.
struct EventStream {
    reply: OpenReply,
    reader: EventReader,
    _seat: OwnedSemaphorePermit,
}

impl EventStream {
    /// Opens it and waits for its first document; `None` when it ends before.
    async fn open(
        jobs: &JobClient,
        job_id: &str,
        seat: OwnedSemaphorePermit,
    ) -> Result<Option<(Self, Job)>, Error> {
        let path = format!("/fanfare/v1/jobs/{}/events", segment(job_id));
        // Whoever watches looks again anyway.
        let call = jobs.hub.call(Method::GET, path).repeat(Repeat::Refused);
        let reply = call
            .header("accept", "text/event-stream")
            .open(SILENCE_MAX)
            .await?;
        let mut events = Self {
            reply,
            reader: EventReader::default(),
            _seat: seat,
        };
        let first = events.next().await;
        Ok(first.map(|job| (events, job)))
    }

    /// The next document; `None` when the stream ends, is cut, falls silent or says what nobody understands.
    async fn next(&mut self) -> Option<Job> {
        loop {
            while let Some(event) = self.reader.next() {
                if let Event::Data(data) = event {
                    return serde_json::from_slice(&data).ok();
                }
            }
            let piece = self.reply.chunk().await.ok()??;
            self.reader.feed(&piece).ok()?;
        }
    }
}

#[cfg(all(test, feature = "platform-verifier"))]
mod tests {
    use super::*;
    use crate::{ClientOptions, HubClient};

    #[tokio::test]
    async fn who_finds_no_seat_for_a_stream_asks_and_tries_again_later() {
        let text = "HostName=hub.test;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0";
        let hub = HubClient::from_connection_string(text, ClientOptions::default()).unwrap();
        let seats = Arc::clone(hub.event_streams());
        let all = u32::try_from(seats.available_permits()).unwrap();
        let _taken = seats.try_acquire_many_owned(all).unwrap();
        let mut watch = Watch::new(hub.jobs(), "j");
        assert!(watch.open_events().await.is_none());
        assert_eq!(watch.events_tries, EVENTS_TRIES, "nothing was sent");
    }
}
