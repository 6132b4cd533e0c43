//! Keeps the certificate good while a node runs: notices changed files, renews what the private CA issued, and reads
//! everything anew when it is asked to.
//!
//! Files are looked at now and then, whole, since they are small. A change counts when two looks in a row see the same
//! of it: whoever replaces certificate and key does so in two steps, and half of a chain is a chain as well. Whoever
//! asks (SIGHUP) says that the files are ready: then they count at once. What cannot be used changes nothing, is told
//! once for each problem, and is looked at again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fanfare_hub::{Hub, time::Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
};

use super::{
    CertificateFiles, CurrentCertificate, Tls,
    own_files::Fingerprint,
    pair::Pair,
    private_ca::{self, Issued},
};
use crate::{compose::Vault, device_ca};

/// Time between two looks. Ours.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A certificate with less than this left, which nobody but the operator can replace, is told. Ours.
const END_IS_NEAR: Duration = Duration::from_secs(14 * 24 * 3_600);

/// What became of one thing that was read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// It was another one, which is in use now.
    New,
    /// It was the one that is in use.
    Same,
    /// It could not be used, for this reason; what was in use stays.
    Failed(String),
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The hub's certificate.
    pub certificate: Exchange,
    /// The authorities in the operator's files; they vouch for devices.
    pub authorities: Exchange,
}

/// Asks a running node to read its certificate files anew.
#[derive(Debug, Clone)]
pub struct Reloader {
    ask: mpsc::Sender<oneshot::Sender<Reloaded>>,
}

impl Reloader {
    /// Ends when new handshakes have what was read; nothing when the node has stopped.
    pub async fn reload(&self) -> Option<Reloaded> {
        let (tell, told) = oneshot::channel();
        self.ask.send(tell).await.ok()?;
        told.await.ok()
    }
}

/// The operator's files of authorities for devices' certificates.
pub(crate) struct DeviceCa {
    pub(crate) files: Vec<PathBuf>,
    /// The certificates that they held when they were last read.
    pub(crate) in_use: Vec<Arc<[u8]>>,
}

/// The task.
pub(crate) struct Keeper {
    current: Arc<CurrentCertificate>,
    source: Source,
    names: Vec<String>,
    hub: Arc<Hub>,
    device_ca: DeviceCa,
    /// What is wrong at the moment and was told already.
    told: Option<String>,
    /// How much of the end of the certificate was told already.
    told_end: End,
    asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
}

enum Source {
    Files {
        files: CertificateFiles,
        in_use: Option<Fingerprint>,
        /// What the last look saw, if that was something else.
        seen: Option<Result<Fingerprint, String>>,
    },
    PrivateCa {
        folder: PathBuf,
        vault: Arc<Vault>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Far,
    Near,
    Over,
}

impl Keeper {
    pub(super) fn new(
        tls: &Tls,
        vault: Arc<Vault>,
        hub: Arc<Hub>,
        device_ca: DeviceCa,
    ) -> (Self, Reloader) {
        let (ask, asked) = mpsc::channel(1);
        let source = match &tls.config.files {
            Some(files) => Source::Files {
                files: files.clone(),
                in_use: tls.fingerprint,
                seen: None,
            },
            None => Source::PrivateCa {
                folder: tls.folder.clone(),
                vault,
            },
        };
        let keeper = Self {
            current: tls.current.clone(),
            source,
            names: tls.names.clone(),
            hub,
            device_ca,
            told: None,
            told_end: End::Far,
            asked,
        };
        (keeper, Reloader { ask })
    }

    /// Until `stop` says true.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let clock = self.hub.clock.clone();
        // What the start read is fresh.
        let mut next_look = clock.now() + LOOK_EVERY;
        loop {
            let next = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(tell) = self.asked.recv() => Some(tell),
                () = clock.sleep_until(next_look) => None,
            };
            match next {
                Some(tell) => {
                    let reloaded = Reloaded {
                        certificate: self.read(clock.now(), true).await,
                        authorities: self.read_authorities().await,
                    };
                    // Whoever asked may have gone.
                    let _ = tell.send(reloaded);
                }
                None => {
                    self.look(clock.now()).await;
                    next_look = clock.now() + LOOK_EVERY;
                }
            }
        }
    }

    async fn look(&mut self, now: Timestamp) {
        let is_worth_it = match &self.source {
            Source::Files { .. } => true,
            Source::PrivateCa { .. } => private_ca::is_due(&self.current.pair(), now),
        };
        if is_worth_it {
            self.read(now, false).await;
        }
        self.tell_end(now);
    }

    /// Reads what there is and takes it into use if it is another one that can be used.
    async fn read(&mut self, now: Timestamp, is_asked: bool) -> Exchange {
        let exchange = match &mut self.source {
            Source::Files {
                files,
                in_use,
                seen,
            } => {
                let read = read_files(files.clone()).await;
                take_files(read, in_use, seen, is_asked, |pair| {
                    pair.tell_doubts(&self.names, now);
                    self.current.set(pair, None);
                })
            }
            Source::PrivateCa { folder, vault } => {
                let read = issue(folder.clone(), self.names.clone(), vault.clone(), now).await;
                take_issued(read, &self.current)
            }
        };
        match &exchange {
            Exchange::New => {
                self.told = None;
                self.told_end = End::Far;
                let ends = self.current.ends();
                tracing::info!(%ends, "new connections get a new certificate");
            }
            Exchange::Same => {
                self.told = None;
                if is_asked {
                    tracing::info!("the hub's certificate was read again and is the one in use");
                }
            }
            Exchange::Failed(problem) => {
                self.current.failed.add(1);
                if is_asked || self.told.as_ref() != Some(problem) {
                    tracing::warn!(
                        error = problem,
                        "the hub goes on with the certificate that it has: another one cannot be used"
                    );
                    self.told = Some(problem.clone());
                }
            }
        }
        exchange
    }

    async fn read_authorities(&mut self) -> Exchange {
        if self.device_ca.files.is_empty() {
            return Exchange::Same;
        }
        let files = self.device_ca.files.clone();
        let failed = |problem: String| {
            tracing::warn!(
                error = problem,
                "devices are held to the authorities as they were: their files cannot be used"
            );
            Exchange::Failed(problem)
        };
        let read = match spawn_blocking(move || device_ca::read(&files)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return failed(whole(&error)),
            Err(error) => return failed(error.to_string()),
        };
        if self.device_ca.in_use == read {
            return Exchange::Same;
        }
        match self.hub.authorities.load(read.clone()).await {
            Ok(()) => {
                self.device_ca.in_use = read;
                Exchange::New
            }
            Err(error) => failed(whole(&error)),
        }
    }

    /// Says that the end is near, and that it has come, once each.
    fn tell_end(&mut self, now: Timestamp) {
        let ends = self.current.ends();
        let end = match ends.since(now) {
            left if left.is_zero() => End::Over,
            left if left < END_IS_NEAR => End::Near,
            _ => End::Far,
        };
        if end <= self.told_end {
            return;
        }
        self.told_end = end;
        match end {
            End::Far => {}
            End::Near => {
                tracing::warn!(%ends, "the hub's certificate ends soon; clients will refuse it then")
            }
            End::Over => {
                tracing::error!(%ends, "the hub's certificate has ended; clients refuse it")
            }
        }
    }
}

async fn read_files(files: CertificateFiles) -> Result<(Pair, Fingerprint), String> {
    match spawn_blocking(move || files.read()).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a look at the files means. A look that nobody asked for needs a second one that sees the same.
fn take_files(
    read: Result<(Pair, Fingerprint), String>,
    in_use: &mut Option<Fingerprint>,
    seen: &mut Option<Result<Fingerprint, String>>,
    is_asked: bool,
    take: impl FnOnce(Pair),
) -> Exchange {
    let mut is_settled = |sight| {
        let is_settled = is_asked || seen.as_ref() == Some(&sight);
        *seen = Some(sight);
        is_settled
    };
    match read {
        Ok((_, fingerprint)) if *in_use == Some(fingerprint) => {
            *seen = None;
            Exchange::Same
        }
        Ok((pair, fingerprint)) if is_settled(Ok(fingerprint)) => {
            *in_use = Some(fingerprint);
            take(pair);
            Exchange::New
        }
        Err(problem) if is_settled(Err(problem.clone())) => Exchange::Failed(problem),
        Ok(_) | Err(_) => Exchange::Same,
    }
}

async fn issue(
    folder: PathBuf,
    names: Vec<String>,
    vault: Arc<Vault>,
    now: Timestamp,
) -> Result<Issued, String> {
    let issue = move || private_ca::provide_again(&folder, &names, &vault, now);
    match spawn_blocking(issue).await {
        Ok(issued) => issued.map_err(|error| whole(&error)),
        Err(error) => Err(error.to_string()),
    }
}

fn take_issued(read: Result<Issued, String>, current: &CurrentCertificate) -> Exchange {
    match read {
        Ok(issued) if issued.pair.certified.cert == current.pair().certified.cert => Exchange::Same,
        Ok(issued) => {
            current.set(issued.pair, Some(issued.authority_ends));
            Exchange::New
        }
        Err(problem) => Exchange::Failed(problem),
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
