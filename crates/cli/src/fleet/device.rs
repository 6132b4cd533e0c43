//! One device's task: connect, serve the session, come back after a loss, until it is stopped.
//!
//! Decides when to connect and when to leave; what is written on a connection is the session's affair.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fanfare_wire::http::API_VERSION;
use fanfare_wire::sas::{SasGrant, sign};
use rmqtt_codec::types::Protocol;
use rmqtt_codec::v3::{Connect, ConnectAckReason, Packet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::link::Link;
use super::session::Session;
use super::spec::{DeviceSpec, Presence};
use super::stats::Counters;
use crate::clock::unix_now_s;

/// Longest wait for TCP, TLS and CONNACK together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Why a connection ended.
enum End {
    /// The device was stopped.
    Stopped,
    /// The device left by its own plan and returns after this time.
    Left(Duration),
    /// Its token is about to expire: it signs in again at once, as SDKs do.
    Renew,
}

pub(super) struct DeviceTask {
    pub(super) spec: Arc<DeviceSpec>,
    pub(super) session: Session,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

impl DeviceTask {
    /// Runs until stopped, then gives the session back, so that a later start goes on with it.
    pub(super) async fn run(mut self) -> Session {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let served = self.connect_and_serve(&mut failures).await;
            self.session.closed();
            let away = match served {
                Ok(End::Stopped) => break,
                Ok(End::Left(away)) => away,
                Ok(End::Renew) => Duration::ZERO,
                Err(lost) => {
                    tracing::debug!(device.id = %self.spec.id, error = %lost, "connection lost");
                    failures += 1;
                    self.backoff(failures)
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = sleep(away) => {}
            }
        }
        self.session
    }

    /// Exponential with full jitter above half, so that a fleet does not come back as one.
    fn backoff(&mut self, failures: u32) -> Duration {
        let range = &self.shared.options.backoff;
        let longest = range
            .start
            .saturating_mul(1 << failures.min(16))
            .min(range.end);
        self.session.random(&(longest / 2..longest))
    }

    async fn connect_and_serve(&mut self, failures: &mut u32) -> io::Result<End> {
        let stop = self.stop.clone();
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(End::Stopped),
            opened = timeout(CONNECT_TIMEOUT, Box::pin(self.connect())) => opened,
        };
        let (mut link, session_present) = opened.map_err(|_| io::ErrorKind::TimedOut)??;
        *failures = 0;
        self.serve(&mut link, session_present).await
    }

    /// TCP, TLS, CONNECT, CONNACK. At most `connecting_max` of a fleet are in here at once.
    async fn connect(&mut self) -> io::Result<(Link, bool)> {
        let shared = Arc::clone(&self.shared);
        let _turn = shared
            .connecting
            .acquire()
            .await
            .map_err(io::Error::other)?;
        let mut link = Link::open(&shared.target).await?;
        link.write(&mut vec![self.connect_packet()?.into()]).await?;
        let packet = loop {
            match link.packet()? {
                Some(packet) => break packet,
                None => link.read().await?,
            }
        };
        match packet {
            Packet::ConnectAck(ack) if ack.return_code == ConnectAckReason::ConnectionAccepted => {
                Ok((link, ack.session_present))
            }
            Packet::ConnectAck(ack) => {
                Counters::add(&shared.counters.refused);
                Err(io::Error::other(format!(
                    "CONNACK {}",
                    u8::from(ack.return_code)
                )))
            }
            other => Err(io::Error::other(format!("{other:?} in place of CONNACK"))),
        }
    }

    /// CONNECT as the SDKs send it: CleanSession=0, host and API version in the username, a SAS token as password.
    fn connect_packet(&self) -> io::Result<Connect> {
        let (host, id) = (&self.shared.target.host_name, &self.spec.id);
        let client = concat!("fanfare-fleet%2F", env!("CARGO_PKG_VERSION"));
        let username = format!("{host}/{id}/?api-version={API_VERSION}&DeviceClientType={client}");
        let life_s = i64::try_from(self.shared.options.token_life.as_secs()).unwrap_or(i64::MAX);
        let password = sign(&SasGrant {
            resource: &format!("{host}/devices/{id}"),
            key: &self.spec.key,
            policy: None,
            expiry: unix_now_s().saturating_add(life_s),
        })
        .map_err(io::Error::other)?;
        Ok(Connect {
            protocol: Protocol::default(),
            clean_session: false,
            keep_alive: self.shared.options.keep_alive_s,
            last_will: None,
            client_id: id.as_str().into(),
            username: Some(username.into()),
            password: Some(password.into_bytes().into()),
            cert: None,
        })
    }

    async fn serve(&mut self, link: &mut Link, session_present: bool) -> io::Result<End> {
        let opened = Instant::now();
        let keep_alive = Duration::from_secs(self.shared.options.keep_alive_s.into());
        let renew_at = opened + self.shared.options.token_life.mul_f64(0.85);
        let leave = self.plan_leave(opened);
        let mut heard_at = opened;
        let mut ping_at = opened + keep_alive.mul_f64(0.7);
        let mut out = Vec::new();
        self.session.opened(session_present, opened, &mut out);
        loop {
            let now = Instant::now();
            while let Some(packet) = link.packet()? {
                heard_at = now;
                self.session.received(packet, now, &mut out);
            }
            self.session.write_due(now, &mut out);
            if now >= ping_at {
                if now > heard_at + keep_alive.mul_f64(1.5) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                out.push(Packet::PingRequest);
                ping_at = now + keep_alive.mul_f64(0.7);
            }
            if let Some((at, away)) = leave
                && now >= at
            {
                return self.leave(link, out, away).await;
            }
            if now >= renew_at {
                out.push(Packet::Disconnect);
                link.write(&mut out).await?;
                return Ok(End::Renew);
            }
            if !out.is_empty() {
                link.write(&mut out).await?;
            }
            let wake_at = [
                Some(ping_at),
                Some(renew_at),
                leave.map(|(at, _)| at),
                self.session.next_due(),
            ]
            .into_iter()
            .flatten()
            .min()
            .expect("a ping is always due");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    out.push(Packet::Disconnect);
                    link.write(&mut out).await?;
                    return Ok(End::Stopped);
                }
                read = link.read() => read?,
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// When a flapping device leaves this connection, and for how long.
    fn plan_leave(&mut self, opened: Instant) -> Option<(Instant, Duration)> {
        let spec = Arc::clone(&self.spec);
        let Presence::Flapping { there, away } = &spec.behaviour.presence else {
            return None;
        };
        Some((
            opened + self.session.random(there),
            self.session.random(away),
        ))
    }

    /// Half of the departures are announced, half are a cut socket with what was to be written unwritten.
    async fn leave(
        &mut self,
        link: &mut Link,
        mut out: Vec<Packet>,
        away: Duration,
    ) -> io::Result<End> {
        if self.session.coin() {
            out.push(Packet::Disconnect);
            link.write(&mut out).await?;
        }
        Ok(End::Left(away))
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
