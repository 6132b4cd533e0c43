//! Peers that mean harm, many at once: what the hub is measured and tested against.
//!
//! [`Attack::start`] sets them on a hub of one's own; each repeats its [`Kind`] until it is stopped. They know
//! sockets and bytes only, since everything they send is what no library would. Strangers come from the
//! addresses they are given; insiders, who hold a token and misuse it, too.

mod http;
mod http2;
mod mqtt;
mod target;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::sleep};

pub use self::target::HostileTarget;

/// What one hostile peer does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Connects, sends the first bytes of a handshake, and waits.
    HalfOpen,
    /// Sends the head of a request a byte at a time.
    SlowHead,
    /// Sends a CONNECT a byte at a time.
    SlowConnect,
    /// Signs in as a device that exists, with a wrong key.
    BadConnect,
    /// Announces an MQTT packet of 256 MiB.
    GiantPacket,
    /// Announces a body of a terabyte.
    GiantBody,
    /// Sends headers without end.
    GiantHead,
    /// Nests arrays as deep as a body may be long.
    DeepJson,
    /// Sends what swells a thousandfold when it is unpacked.
    Bomb,
    /// Asks for page after page and reads none.
    SilentReader,
    /// Follows a job and reads nothing.
    SilentFollower,
    /// Opens and resets HTTP/2 streams without end.
    RapidReset,
    /// Sends HTTP/2 pings and reads no answer.
    PingFlood,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HalfOpen,
        Self::SlowHead,
        Self::SlowConnect,
        Self::BadConnect,
        Self::GiantPacket,
        Self::GiantBody,
        Self::GiantHead,
        Self::DeepJson,
        Self::Bomb,
        Self::SilentReader,
        Self::SilentFollower,
        Self::RapidReset,
        Self::PingFlood,
    ];

    /// How many peers do it at once, and the pause of each before it does it again.
    fn strength(self) -> (usize, Duration) {
        let (peers, pause_ms) = match self {
            Self::HalfOpen => (5_000, 2_000),
            Self::SlowHead | Self::SlowConnect => (50, 200),
            Self::BadConnect => (8, 0),
            Self::SilentReader => (4, 1_000),
            Self::SilentFollower => (8, 1_000),
            Self::GiantPacket
            | Self::GiantBody
            | Self::GiantHead
            | Self::DeepJson
            | Self::Bomb
            | Self::RapidReset
            | Self::PingFlood => (2, 50),
        };
        (peers, Duration::from_millis(pause_ms))
    }

    /// Does it once, until the hub ends it or it has what it came for.
    async fn once(self, target: &HostileTarget, peer: usize) -> io::Result<()> {
        match self {
            Self::HalfOpen => Box::pin(mqtt::half_open(target, peer)).await,
            Self::SlowHead => Box::pin(http::slow_head(target, peer)).await,
            Self::SlowConnect => Box::pin(mqtt::slow_connect(target, peer)).await,
            Self::BadConnect => Box::pin(mqtt::bad_connect(target, peer)).await,
            Self::GiantPacket => Box::pin(mqtt::giant_packet(target, peer)).await,
            Self::GiantBody => Box::pin(http::giant_body(target)).await,
            Self::GiantHead => Box::pin(http::giant_head(target, peer)).await,
            Self::DeepJson => Box::pin(http::deep_json(target)).await,
            Self::Bomb => Box::pin(http::bomb(target)).await,
            Self::SilentReader => Box::pin(http::silent_reader(target)).await,
            Self::SilentFollower => Box::pin(http::silent_follower(target)).await,
            Self::RapidReset => Box::pin(http2::rapid_reset(target, peer)).await,
            Self::PingFlood => Box::pin(http2::ping_flood(target, peer)).await,
        }
    }
}

/// What the peers of an attack have done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times begun.
    pub begun: u64,
    /// Times that ended as they should: the hub refused, or ended the connection.
    pub refused: u64,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    refused: AtomicU64,
}

struct Shared {
    target: HostileTarget,
    counts: BTreeMap<Kind, Counts>,
    /// Raised with every refusal, for those who wait for some.
    changed: watch::Sender<()>,
}

/// An attack under way. Dropping it ends it.
pub struct Attack {
    shared: Arc<Shared>,
    peers: JoinSet<()>,
}

impl Attack {
    /// Sets all kinds of hostile peers on a hub.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(target: HostileTarget) -> Self {
        let shared = Arc::new(Shared {
            target,
            counts: Kind::ALL.map(|kind| (kind, Counts::default())).into(),
            changed: watch::Sender::new(()),
        });
        let mut peers = JoinSet::new();
        for kind in Kind::ALL {
            for peer in 0..kind.strength().0 {
                peers.spawn(attack(shared.clone(), kind, peer));
            }
        }
        Self { shared, peers }
    }

    /// What the peers of a kind have done so far.
    #[must_use]
    pub fn tally(&self, kind: Kind) -> Tally {
        let counts = &self.shared.counts[&kind];
        Tally {
            begun: counts.begun.load(Relaxed),
            refused: counts.refused.load(Relaxed),
        }
    }

    /// Waits until every peer has begun, and the hub has refused some of every kind that it refuses at once.
    pub async fn in_force(&self) {
        let mut changed = self.shared.changed.subscribe();
        let is_in_force = || {
            Kind::ALL.into_iter().all(|kind| {
                let tally = self.tally(kind);
                let stalls = matches!(
                    kind,
                    Kind::HalfOpen
                        | Kind::SlowHead
                        | Kind::SlowConnect
                        | Kind::SilentReader
                        | Kind::SilentFollower
                        | Kind::PingFlood
                );
                tally.begun >= kind.strength().0 as u64 && (stalls || tally.refused > 0)
            })
        };
        while !is_in_force() {
            changed
                .changed()
                .await
                .expect("the sender lives in the attack");
        }
    }

    /// Whether the hub has refused or ended each kind at least once. Those who follow a job and read nothing would not
    /// notice, and are left out.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::SilentFollower)
            .all(|kind| self.tally(kind).refused > 0)
    }

    /// Ends all peers and waits until their connections are closed.
    pub async fn stop(mut self) {
        self.peers.shutdown().await;
    }
}

async fn attack(shared: Arc<Shared>, kind: Kind, peer: usize) {
    let counts = &shared.counts[&kind];
    let (peers, pause) = kind.strength();
    // Not all in the same moment: a crowd of that size would wait for itself, not for the hub.
    sleep(Duration::from_micros(
        peer as u64 * 2_000_000 / peers as u64,
    ))
    .await;
    loop {
        counts.begun.fetch_add(1, Relaxed);
        shared.changed.send_replace(());
        match kind.once(&shared.target, peer).await {
            Ok(()) => {
                counts.refused.fetch_add(1, Relaxed);
                shared.changed.send_replace(());
            }
            Err(error) => tracing::debug!(%error, "{kind:?} did not come to its end"),
        }
        sleep(pause).await;
    }
}
