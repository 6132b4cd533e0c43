//! How a connection becomes a device's: handshake, CONNECT, proof, and its place in presence.
//!
//! A stranger costs little and not for long; whoever is refused hears one return code, and never the one
//! that makes an SDK give up when the hub itself is at fault. What a session may do is `session`'s.

use std::{borrow::Cow, future::poll_fn, io, net::SocketAddr, sync::Arc};

use fanfare_hub::{
    Hub,
    ids::IdentityKey,
    ports::store::SignIn,
    presence::{Admission, ConnectionId, Link as _},
    profile::OperationClass,
    session::Again,
};
use fanfare_wire::sas::host_matches;
use rmqtt_codec::v3::{ConnectAckReason, Packet};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    Door, Gateway, codec,
    codec::PacketError,
    connect::{Claim, refusal, welcome},
    limits,
    link::{DeviceLink, Wants},
    session::{Opening, Session},
    transport::{self, Incoming, Outgoing},
};
use crate::{
    auth::{self, DeviceProof},
    gate::{Gate, Source, TURN_WITHIN, Visit, prepare},
    telemetry::{COUNTS, ConnectionCount, FrontEnd, SignInResult, TurnedAway},
    throttle::{Throttle, Throttled},
};

/// A device that was let in.
pub(super) struct Admitted {
    /// What it says.
    pub(super) incoming: Incoming,
    /// Its session.
    pub(super) session: Session,
    /// Its place in presence.
    pub(super) place: Place,
}

/// A connection's place in presence; given up when dropped.
pub(super) struct Place {
    hub: Arc<Hub>,
    throttle: Option<Arc<Throttle>>,
    /// Whose it is.
    pub(super) key: IdentityKey,
    /// Which connection of theirs.
    pub(super) connection: ConnectionId,
    /// The handle others have.
    pub(super) link: Arc<DeviceLink>,
    _count: ConnectionCount,
}

impl Place {
    /// The older connection of the same identity is cut. compat: MQTT-20
    fn take(gateway: &Gateway, key: IdentityKey, link: DeviceLink) -> Self {
        let hub = &gateway.hub;
        let link = Arc::new(link);
        let connection = hub.presence.attach(key, link.clone(), hub.clock.now());
        Self {
            hub: hub.clone(),
            throttle: gateway.throttle.clone(),
            key,
            connection,
            link,
            _count: ConnectionCount::mqtt(),
        }
    }
}

impl Place {
    /// Whether a twin operation may be done now.
    pub(super) fn may(&self, class: OperationClass) -> Result<(), Throttled> {
        let throttle = self.throttle.as_ref();
        throttle.map_or(Ok(()), |throttle| throttle.take(class, 1))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub
            .presence
            .detach(self.key, self.connection, self.hub.clock.now());
        self.link.close();
    }
}

/// Lets a device in, or not; whoever is not let in has heard why, if there was a CONNECT to answer. `visit` is
/// its place at the gate.
pub(super) async fn sign_in(
    door: &Door,
    stream: TcpStream,
    peer: SocketAddr,
    visit: &mut Visit,
) -> Option<Box<Admitted>> {
    prepare(&stream, limits::SOCKET).ok()?;
    let until = Instant::now() + door.gateway.limits.sign_in;
    let gate = &door.gateway.gate;
    let mut stop = door.stop.clone();
    let turn = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return None,
        turn = timeout_at(until, gate.turn(visit)) => turn,
    };
    let until = match &turn {
        Ok(Some(_)) => until.min(Instant::now() + TURN_WITHIN),
        _ => until,
    };
    let greeting = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return None,
        () = visit.displaced() => {
            COUNTS.sign_in(SignInResult::Silent);
            tracing::debug!(%peer, "a connection made room for others before its CONNECT");
            return None;
        }
        greeting = timeout_at(until, greet(door, stream)), if turn.is_ok() => greeting.ok(),
        else => None,
    };
    let Greeting {
        incoming,
        outgoing,
        claim,
    } = match greeting {
        Some(Ok(greeting)) => greeting,
        Some(Err(error)) => {
            COUNTS.sign_in(SignInResult::Silent);
            tracing::debug!(%peer, %error, "a connection ended before its CONNECT");
            return None;
        }
        None => {
            COUNTS.sign_in(SignInResult::Silent);
            COUNTS.turned_away(FrontEnd::Mqtt, TurnedAway::Slow);
            tracing::debug!(%peer, "a connection took too long to sign in");
            return None;
        }
    };
    visit.heard();
    match claim {
        Ok(claim) => admit(door, claim, incoming, outgoing, visit.source()).await,
        Err(code) => {
            count_refusal(gate, visit.source(), code);
            refuse(outgoing, code);
            None
        }
    }
}

struct Greeting {
    incoming: Incoming,
    outgoing: Outgoing,
    claim: Result<Claim, ConnectAckReason>,
}

/// Handshake and CONNECT.
async fn greet(door: &Door, stream: TcpStream) -> io::Result<Greeting> {
    let (mut incoming, mut outgoing) = transport::accept(stream, door.tls.clone()).await?;
    let claim = loop {
        match incoming.packets.next() {
            Ok(Some(Packet::Connect(connect))) => break Claim::read(&connect),
            Ok(Some(_)) => return Err(io::Error::other("the first packet is not CONNECT")),
            Ok(None) => {}
            Err(PacketError::Level) => break Err(ConnectAckReason::UnacceptableProtocolVersion),
            Err(PacketError::ClientId) => break Err(ConnectAckReason::IdentifierRejected),
            Err(error) => return Err(io::Error::other(error)),
        }
        poll_fn(|cx| incoming.poll_fill(cx, |wire, packets| outgoing.open(wire, packets))).await?;
    };
    Ok(Greeting {
        incoming,
        outgoing,
        claim,
    })
}

fn count_refusal(gate: &Gate, source: Source, code: ConnectAckReason) {
    if code == ConnectAckReason::NotAuthorized {
        gate.failed(source);
    }
    COUNTS.sign_in(match code {
        ConnectAckReason::NotAuthorized | ConnectAckReason::BadUserNameOrPassword => {
            SignInResult::Unauthorized
        }
        ConnectAckReason::ServiceUnavailable => SignInResult::Unavailable,
        _ => SignInResult::Rejected,
    });
}

fn refuse(mut outgoing: Outgoing, code: ConnectAckReason) {
    // A device that is gone already needs no answer.
    let _ = outgoing.send(&[&codec::encode(refusal(code))]);
}

async fn admit(
    door: &Door,
    claim: Claim,
    mut incoming: Incoming,
    outgoing: Outgoing,
    source: Source,
) -> Option<Box<Admitted>> {
    let (hub, gate) = (&door.gateway.hub, &door.gateway.gate);
    let Proven {
        mut known,
        expires,
        admission,
    } = match prove_unless_known(door, &claim, &outgoing).await {
        Ok(proven) => proven,
        Err(code) => {
            tracing::debug!(device.id = %claim.id, connack = ?code, "a device was refused");
            count_refusal(gate, source, code);
            refuse(outgoing, code);
            return None;
        }
    };
    let link = DeviceLink::new(claim.id.clone(), admission, outgoing, hub.clock.now());
    let place = Place::take(&door.gateway, known.identity.key, link);
    let known_version = known.desired_version;
    if let Err(code) = settle(door, &claim, &place, &mut known).await {
        count_refusal(gate, source, code);
        place.link.send(&codec::encode(refusal(code)));
        return None;
    }
    let kept = known.session.as_ref().filter(|_| claim.is_durable);
    let session = Session::open(&Opening {
        claim: &claim,
        kept,
        now: Instant::now(),
        expires,
        ready_after: door.gateway.limits.ready_after_restore,
    });
    incoming.packets.widen();
    let connack = codec::encode(welcome(kept.is_some()));
    let wants = Wants {
        calls: session.wants_calls(),
        desired: session.wants_desired(),
    };
    // A change that was committed during the sign-in is told after it, not taken for known.
    let missed = place.link.welcome(&connack, wants, known_version);
    if missed || (wants.desired && known.desired_version > known_version) {
        hub.twins.tell_all(place.key, &claim.id).await;
    }
    COUNTS.sign_in(SignInResult::Accepted);
    Some(Box::new(Admitted {
        incoming,
        session,
        place,
    }))
}

/// As [`prove`], but what was refused a moment ago is refused again without asking anybody.
async fn prove_unless_known(
    door: &Door,
    claim: &Claim,
    outgoing: &Outgoing,
) -> Result<Proven, ConnectAckReason> {
    let (hub, gate) = (&door.gateway.hub, &door.gateway.gate);
    // Before the store is asked: a change meanwhile makes the memory worthless.
    let changes = hub.registry.changes(&claim.id.device);
    // Both only grow, so their sum says whether either did.
    let changes = changes.wrapping_add(hub.authorities.changes());
    let circumstances = gate.circumstances(changes, &hub.policies.snapshot());
    // Whoever shows a token and a certificate means the token. compat: MQTT-31
    let chain = match claim.token {
        Some(_) => Vec::new(),
        None => outgoing.certificates(),
    };
    let proof = match (&claim.token, chain.as_slice()) {
        (Some(token), _) => DeviceProof::Token(token),
        (None, []) => DeviceProof::Nothing,
        (None, chain) => DeviceProof::Certificate(chain),
    };
    let credential = match proof {
        DeviceProof::Token(token) => Cow::Borrowed(token.as_bytes()),
        // All of them: one without those above it may be right with them.
        DeviceProof::Certificate(chain) => {
            Cow::Owned(chain.iter().flat_map(|der| der.iter().copied()).collect())
        }
        DeviceProof::Nothing => Cow::default(),
    };
    let mark = gate.mark(&claim.id, &claim.host, &credential);
    if gate.was_wrong(mark, circumstances) {
        COUNTS.turned_away(FrontEnd::Mqtt, TurnedAway::Repeated);
        return Err(ConnectAckReason::NotAuthorized);
    }
    let proven = prove(door, claim, &proof).await;
    if matches!(proven, Err(ConnectAckReason::NotAuthorized)) {
        gate.remember_wrong(mark, circumstances);
    }
    proven
}

/// A claim that is true.
struct Proven {
    known: SignIn,
    /// When its proof ends.
    expires: Instant,
    admission: Admission,
}

/// Whether the claim is true. compat: MQTT-11
async fn prove(
    door: &Door,
    claim: &Claim,
    proof: &DeviceProof<'_>,
) -> Result<Proven, ConnectAckReason> {
    let hosts: Vec<_> = door.gateway.access.hosts().collect();
    if !host_matches(&claim.host, &hosts) {
        return Err(ConnectAckReason::NotAuthorized);
    }
    let hub = &door.gateway.hub;
    let known = match hub.sessions.open(&claim.id).await {
        Ok(known) => known.ok_or(ConnectAckReason::NotAuthorized)?,
        Err(error) => {
            tracing::warn!(device.id = %claim.id, %error, "a device could not be looked up");
            return Err(ConnectAckReason::ServiceUnavailable);
        }
    };
    if !known.device_enabled {
        // A module of a disabled device stays out like the device itself. compat: MQTT-24
        return Err(ConnectAckReason::NotAuthorized);
    }
    let now = hub.clock.now();
    let auth::Admitted { until, admission } = door
        .gateway
        .access
        .verify_device(proof, &known.identity, now)
        .map_err(|_| ConnectAckReason::NotAuthorized)?;
    if let Some(throttle) = &door.gateway.throttle {
        // The one answer after which every SDK comes again. compat: MQTT-25
        let taken = throttle.take(OperationClass::Connects, 1);
        taken.map_err(|_| ConnectAckReason::ServiceUnavailable)?;
    }
    let unbounded = || Instant::now() + std::time::Duration::from_secs(u64::from(u32::MAX));
    let expires = Instant::now()
        .checked_add(until.since(now))
        .unwrap_or_else(unbounded);
    Ok(Proven {
        known,
        expires,
        admission,
    })
}

/// What must hold once the connection is visible; the session is read again, since an older connection may
/// have kept something until it was cut. A device whose rights changed meanwhile is asked to come again, since
/// it may still have them: some SDKs stop for good when they hear "not authorized".
async fn settle(
    door: &Door,
    claim: &Claim,
    place: &Place,
    known: &mut SignIn,
) -> Result<(), ConnectAckReason> {
    let again = ConnectAckReason::ServiceUnavailable;
    let Hub {
        sessions,
        presence,
        policies,
        authorities,
        ..
    } = &*door.gateway.hub;
    match sessions.again(known).await {
        Ok(Again::Same(now)) => *known = *now,
        // Nobody else will: it was deleted before presence knew it.
        Ok(Again::Gone) => {
            presence.forget(known.identity.key);
            return Err(again);
        }
        Ok(Again::Changed) | Err(_) => return Err(again),
    }
    // What lost a policy's key or an authority after the proof could not be cut while nobody saw it yet.
    let admission = place.link.admission();
    if *door.stop.borrow() || !policies.admit(admission) || !authorities.admit(admission) {
        return Err(again);
    }
    if !claim.is_durable && known.session.is_some() {
        sessions
            .keep(known.identity.key, None)
            .await
            .map_err(|_| again)?;
    }
    Ok(())
}
