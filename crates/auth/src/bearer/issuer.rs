//! One issuer at work: its keys as they were last fetched, and the loop that fetches them.
//!
//! Whoever needs a key reads what is there. Only when a token names one that is not does a caller wait, for a short
//! time, for the fetch that it asked for together with everybody else. An issuer that cannot be reached takes nothing away:
//! its last keys go on counting for as long as the settings say.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use fanfare_hub::{
    measures::Count,
    ports::{Clock, Entropy},
    time::Timestamp,
};
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    BearerRefusal,
    keys::{Key, KeyDigest, KeySet},
    pace::{self, Pace},
    provider::{Answer, FetchFault, Provider},
    settings::IssuerSettings,
    token::Token,
};

/// How long a caller waits for keys that are being fetched.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);
/// Callers that wait at once.
const WAITERS_MAX: usize = 256;

/// An issuer and its keys.
pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    pub(super) name: Arc<str>,
    pub(super) counts: FetchCounts,
    provider: Provider,
    stale_for: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    held: RwLock<Option<Arc<Held>>>,
    pace: Mutex<Pace>,
    asked: Notify,
    waiters: Semaphore,
    /// Fetches that ended, one way or the other.
    pub(super) rounds: watch::Sender<u64>,
}

/// What happened to fetches since the start.
#[derive(Debug, Default)]
pub(super) struct FetchCounts {
    pub(super) good: Count,
    pub(super) failed: Count,
}

/// Keys and their time.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: KeySet,
    pub(super) fetched: Timestamp,
    /// When they should have been fetched anew.
    old_from: Timestamp,
}

impl Issuer {
    pub(super) fn new(
        settings: IssuerSettings,
        provider: Provider,
        stale_for: Duration,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            name: settings.url.as_str().into(),
            settings,
            counts: FetchCounts::default(),
            provider,
            stale_for,
            held: RwLock::default(),
            pace: Mutex::new(Pace::new(clock.now())),
            clock,
            entropy,
            asked: Notify::new(),
            waiters: Semaphore::new(WAITERS_MAX),
            rounds: watch::Sender::new(0),
        }
    }

    /// The keys as far as they may be used.
    pub(super) fn held(&self, now: Timestamp) -> Option<Arc<Held>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref()?;
        (now < held.old_from + self.stale_for).then(|| held.clone())
    }

    /// Which key signed the token. Waits for newer keys when none of those at hand did that it may have been.
    pub(super) async fn signer(
        &self,
        token: &Token<'_>,
        now: Timestamp,
    ) -> Result<KeyDigest, BearerRefusal> {
        let refusal = match self.look(token, now) {
            Ok(key) => return Ok(key),
            // A wrong signature as well: some issuers put another key under the same id.
            Err(refusal) => refusal,
        };
        // Before asking, so that an end that comes at once is not missed.
        let mut rounds = self.rounds.subscribe();
        if !self.pace().ask(self.clock.now()) {
            // Somebody else's fetch may have ended since the first look.
            return self.look(token, now);
        }
        self.asked.notify_one();
        let Ok(_place) = self.waiters.try_acquire() else {
            return Err(refusal);
        };
        tokio::select! {
            biased;
            _ = rounds.changed() => {}
            () = self.clock.sleep_until(now + WAIT_MAX) => return Err(refusal),
        }
        self.look(token, now)
    }

    fn look(&self, token: &Token<'_>, now: Timestamp) -> Result<KeyDigest, BearerRefusal> {
        let held = self.held(now).ok_or(BearerRefusal::NoKeys)?;
        let mut tried = held.keys.candidates(token).peekable();
        if tried.peek().is_none() {
            return Err(BearerRefusal::UnknownKey);
        }
        let signed = |key: &&Key| key.signed(token);
        let key = tried.find(signed).ok_or(BearerRefusal::Signature)?;
        Ok(key.digest)
    }

    /// Fetches keys whenever it is time, until `stop` says true.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let next = self.pace().next();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.clock.sleep_until(next) => {}
                // The time is another now.
                () = self.asked.notified() => continue,
            }
            self.pace().begin(self.clock.now());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                fetched = self.provider.fetch() => self.settle(fetched),
            }
            self.rounds.send_modify(|rounds| *rounds += 1);
        }
    }

    /// Takes over what a fetch brought.
    pub(super) fn settle(&self, fetched: Result<Answer, FetchFault>) {
        let now = self.clock.now();
        let dice = self.dice();
        match fetched {
            Ok(answer) => {
                self.counts.good.add(1);
                let lifetime = pace::lifetime(answer.max_age);
                let failures = self.pace().failures();
                let keys = answer.keys.len();
                let held = Arc::new(Held {
                    keys: answer.keys,
                    fetched: now,
                    old_from: now + lifetime,
                });
                // First, so that whoever hears that no fetch is under way finds what it brought.
                let before = self.replace(held.clone());
                self.pace().succeeded(now, lifetime, dice);
                let is_news = before.is_none_or(|before| !before.keys.is_same(&held.keys));
                if is_news || failures > 0 {
                    tracing::info!(issuer = %self.name, keys, "the keys of an issuer of tokens were fetched");
                }
            }
            Err(error) => {
                self.counts.failed.add(1);
                self.pace().failed(now, dice);
                let text = match self.held(now) {
                    Some(_) => {
                        "the keys of an issuer of tokens cannot be fetched; the last ones still count"
                    }
                    None => {
                        "the keys of an issuer of tokens cannot be fetched; none of its tokens counts"
                    }
                };
                tracing::warn!(issuer = %self.name, %error, "{text}");
            }
        }
    }

    fn replace(&self, held: Arc<Held>) -> Option<Arc<Held>> {
        let mut place = self.held.write().unwrap_or_else(PoisonError::into_inner);
        place.replace(held)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From 0 to 1.
    fn dice(&self) -> f64 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}
