//! The MQTT gateway: devices over TLS, or over plain TCP where an operator wants that.
//!
//! Here connections are accepted, bounded and, at the end, awaited. What follows for each of them:
//! `connect` and `sign_in` let a device in, `device` is the rest of its life, `session` has the rules, `link` is what
//! the hub sees of it, `twin` answers its twin requests; `transport` and `codec` move bytes and packets.

use std::{convert::Infallible, sync::Arc};

use fanfare_hub::{Hub, presence::CutReason};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

mod codec;
mod connect;
mod device;
mod error;
pub mod limits;
mod link;
mod session;
mod sign_in;
mod transport;
mod twin;

pub use limits::GatewayLimits;

use crate::{
    auth::Access,
    gate::{Gate, GateLimits},
    telemetry::FrontEnd,
    throttle::Throttle,
};

/// What all connections share.
pub struct Gateway {
    hub: Arc<Hub>,
    access: Arc<Access>,
    limits: GatewayLimits,
    throttle: Option<Arc<Throttle>>,
    gate: Arc<Gate>,
}

impl Gateway {
    /// A gateway to a hub, with the usual limits.
    pub fn new(hub: Arc<Hub>, access: Arc<Access>) -> Self {
        Self::with_limits(hub, access, GatewayLimits::default())
    }

    /// A gateway to a hub.
    pub fn with_limits(hub: Arc<Hub>, access: Arc<Access>, limits: GatewayLimits) -> Self {
        let gate = Gate::new(&GateLimits {
            strangers: limits.unfinished_connections,
            ..GateLimits::default()
        });
        Self {
            hub,
            access,
            limits,
            throttle: None,
            gate,
        }
    }

    /// The same behind `gate`, which other front ends share, in place of one of its own.
    #[must_use]
    pub fn behind(self, gate: Arc<Gate>) -> Self {
        Self { gate, ..self }
    }

    /// The same, held to the rates of `throttle`.
    #[must_use]
    pub fn throttled(self, throttle: Option<Arc<Throttle>>) -> Self {
        Self { throttle, ..self }
    }
}

/// One listener's view of the gateway.
struct Door {
    gateway: Arc<Gateway>,
    tls: Option<Arc<ServerConfig>>,
    stop: watch::Receiver<bool>,
}

/// Accepts connections until `stop` says true, then cuts every connection of the hub and waits until those
/// of this listener are gone. `tls` is absent on a plain port.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    gateway: Arc<Gateway>,
    mut stop: watch::Receiver<bool>,
) {
    let door = Arc::new(Door {
        gateway,
        tls,
        stop: stop.clone(),
    });
    // Each connection holds a sender; the receiver hears when the last of them is gone.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = accept(&listener, &door, &alive) => {}
    }
    drop((listener, alive));
    door.gateway.hub.presence.cut_all(CutReason::Closing);
    let _ = all_gone.recv().await;
}

async fn accept(listener: &TcpListener, door: &Arc<Door>, alive: &mpsc::Sender<Infallible>) {
    let lobby = door.gateway.gate.lobby(FrontEnd::Mqtt);
    loop {
        lobby.vacancy().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(visit) = lobby.enter(peer.ip()) else {
                    tracing::debug!(%peer, "an address has too many connections");
                    continue;
                };
                tokio::spawn(device::serve(
                    door.clone(),
                    stream,
                    visit,
                    peer,
                    alive.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}
