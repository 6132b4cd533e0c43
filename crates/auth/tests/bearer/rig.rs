//! Issuers, whoever verifies their tokens, and a clock for both.

use std::{process::Command, sync::Arc, time::Duration};

use fanfare_auth::{
    bearer::{Bearer, BearerRefusal, IssuerSettings, IssuerStanding, TokenSettings},
    testing::{Reply, SigningKey, TestIssuer, claims},
};
use fanfare_hub::{
    access::Principal,
    ports::{Clock, Entropy, clock::ManualClock},
    time::Timestamp,
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// Where issuers of these tests listen, at ports of their own.
pub(crate) const ADDRESS: &str = "127.0.0.110:0";
/// In the year 2030.
pub(crate) const NOW: Timestamp = Timestamp(1_900_000_000_000_000);
/// The same in seconds, as tokens tell time.
pub(crate) const NOW_S: i64 = NOW.0 / 1_000_000;
/// The contract's role that may read everything.
pub(crate) const READER: &str = "IoT Hub Data Reader";
/// Nothing here takes this long; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(60);
/// A fetch of these tests ends because it was answered, not because the machine was busy.
const FETCH_WITHIN: Duration = Duration::from_secs(3_600);

/// Dice that always show their last side.
struct Sixes;

impl Entropy for Sixes {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
}

/// Who verifies tokens, at work.
pub(crate) struct Rig {
    pub(crate) bearer: Arc<Bearer>,
    pub(crate) clock: Arc<ManualClock>,
    stop: watch::Sender<bool>,
    loops: JoinHandle<()>,
}

/// Settings for some issuers about which nothing is said.
pub(crate) fn settings(urls: &[&str]) -> TokenSettings {
    TokenSettings {
        issuers: urls.iter().map(|url| IssuerSettings::new(*url)).collect(),
        fetch_within: FETCH_WITHIN,
        ..TokenSettings::default()
    }
}

/// An issuer with these keys.
pub(crate) async fn issuer(keys: &[&SigningKey]) -> TestIssuer {
    let issuer = TestIssuer::start(ADDRESS).await;
    issuer.publish(keys);
    issuer
}

impl Rig {
    /// Its first fetches are under way.
    pub(crate) fn start(settings: TokenSettings) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let ports: (Arc<dyn Clock>, Arc<dyn Entropy>) = (clock.clone(), Arc::new(Sixes));
        let (bearer, loops) = Bearer::start(settings, &ports.0, &ports.1).unwrap();
        let (stop, stopped) = watch::channel(false);
        Self {
            bearer: Arc::new(bearer),
            clock,
            stop,
            loops: tokio::spawn(loops.run(stopped)),
        }
    }

    /// With the keys of one issuer, which were fetched once.
    pub(crate) async fn of(issuer: &TestIssuer) -> Self {
        let rig = Self::start(settings(&[issuer.url()]));
        rig.fetched(issuer.url(), 1).await;
        rig
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Principal, BearerRefusal> {
        let verified = self.bearer.verify(token, self.clock.now());
        timeout(PATIENCE, verified).await.unwrap()
    }

    /// Waits until this many fetches from an issuer have ended, well or not; no more may have.
    pub(crate) async fn fetched(&self, issuer: &str, count: u64) {
        let mut fetches = self.bearer.watch_fetches(issuer).unwrap();
        let ended = timeout(PATIENCE, fetches.wait_for(|seen| *seen >= count)).await;
        assert_eq!(*ended.unwrap().unwrap(), count, "fetches from {issuer}");
    }

    /// The next fetch from the one issuer is due within this time; waits until it has ended.
    pub(crate) async fn next_fetch(&self, within: Duration) {
        let issuer = self.standing().issuer;
        let mut fetches = self.bearer.watch_fetches(&issuer).unwrap();
        let before = *fetches.borrow();
        self.clock.advance(within);
        let ended = timeout(PATIENCE, fetches.wait_for(|seen| *seen > before)).await;
        ended.unwrap().unwrap();
    }

    /// Where the first issuer stands.
    pub(crate) fn standing(&self) -> IssuerStanding {
        self.bearer.standings(self.clock.now()).remove(0)
    }

    /// Good and failed fetches from the first issuer.
    pub(crate) fn fetches(&self) -> (u64, u64) {
        let standing = self.standing();
        (standing.fetched, standing.failed)
    }

    pub(crate) fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::new(Sixes)
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(PATIENCE, self.loops).await.unwrap().unwrap();
    }
}

/// A good token of a reader.
pub(crate) fn token(issuer: &TestIssuer, key: &SigningKey) -> String {
    key.mint(&claims(issuer.url(), &[READER]))
}

/// Claims of a reader with one of them set; `null` takes it away.
pub(crate) fn claims_with(issuer: &TestIssuer, name: &str, value: Value) -> Value {
    let mut claims = claims(issuer.url(), &[READER]);
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

/// An answer with JSON in it.
pub(crate) fn json_reply(body: &Value) -> Reply {
    let headers = "content-type: application/json\r\n";
    Reply::http("200 OK", headers, &body.to_string())
}

/// A new RSA key in PEM.
pub(crate) fn rsa_pem(bits: u32) -> String {
    let bits = format!("rsa_keygen_bits:{bits}");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", &bits])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}
