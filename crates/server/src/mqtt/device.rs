//! The life of one connection: signs a device in, then reads, does what its session says, and leaves.
//!
//! One task, which only reads; others write through the link. Between packets it owns a socket half, a
//! session and one timer, which is not moved with each packet but looked at again when it rings. Work that
//! waits for the store runs in a future of its own, so that an idle connection does not pay for it.

use std::{
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use fanfare_hub::{
    Hub,
    method::{AnswerPayload, CallAnswer},
    ports::StoreError,
    presence::{CutReason, Link, Receipt},
    profile::OperationClass,
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Door, codec,
    link::{DeviceLink, Wants},
    session::{Ask, Change, Due, End, Step},
    sign_in::{Admitted, Place, sign_in},
    transport::Incoming,
    twin::TwinDesk,
};
use crate::{gate::Visit, telemetry::COUNTS};

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the session ended: {0:?}")]
    Session(End),
    #[error("the hub cut it: {0:?}")]
    Cut(CutReason),
    #[error("the device is gone")]
    Lost(#[source] io::Error),
    #[error("the device sent something that is not MQTT")]
    Packet(#[from] codec::PacketError),
    #[error("its session could not be kept")]
    Store(#[from] StoreError),
    #[error("its identity was deleted")]
    Deleted,
}

/// Serves one connection to its end. `visit` is its place at the gate; `alive` is dropped when nothing of the
/// connection is left.
pub(super) async fn serve(
    door: Arc<Door>,
    stream: TcpStream,
    mut visit: Visit,
    peer: SocketAddr,
    alive: mpsc::Sender<Infallible>,
) {
    let admitted = Box::pin(sign_in(&door, stream, peer, &mut visit)).await;
    visit.settle();
    if let Some(mut admitted) = admitted {
        let over = run(&door.gateway.hub, &mut admitted).await;
        note_end(&admitted, &over);
    }
    drop((visit, alive));
}

/// A will that counts, and a line for whoever looks.
fn note_end(admitted: &Admitted, over: &Over) {
    if admitted.session.has_will() && !matches!(over, Over::Session(End::Disconnected)) {
        COUNTS.telemetry.add(1);
    }
    let id = admitted.place.link.identity();
    tracing::debug!(device.id = %id, reason = %over, "a connection ended");
}

/// Reads until it is over. What lives here lives as long as the connection, so it is little.
async fn run(hub: &Hub, admitted: &mut Admitted) -> Over {
    let mut timer = std::pin::pin!(sleep_until(admitted.session.next_deadline()));
    loop {
        match admitted.take_packets(hub) {
            Ok(None) => {}
            Ok(Some(later)) => match Box::pin(admitted.finish(hub, later)).await {
                Ok(()) => continue,
                Err(over) => return over,
            },
            Err(over) => return over,
        }
        let Admitted {
            place, incoming, ..
        } = &mut *admitted;
        match wait(&place.link, incoming, timer.as_mut()).await {
            Ok(Waited::Bytes) => {}
            Ok(Waited::Timer) => {
                match admitted.session.due(Instant::now()) {
                    Due::Nothing => {}
                    Due::Ready => hub
                        .presence
                        .ready(admitted.place.key, admitted.place.connection),
                    Due::End(end) => return Over::Session(end),
                }
                timer.as_mut().reset(admitted.session.next_deadline());
            }
            Err(error) => {
                let cut = admitted.place.link.cut_reason();
                return cut.map_or(Over::Lost(error), Over::Cut);
            }
        }
    }
}

/// What cannot be done at once.
enum Later {
    Ask(Ask, Option<Receipt>),
    Keep(Change),
}

impl Admitted {
    /// Does what the packets at hand ask for, up to one that must wait for the hub.
    fn take_packets(&mut self, hub: &Hub) -> Result<Option<Later>, Over> {
        while let Some(packet) = self.incoming.packets.next()? {
            if let Some(reason) = self.place.link.cut_reason() {
                return Err(Over::Cut(reason));
            }
            self.place.link.heard(hub.clock.now());
            COUNTS.packets_in.add(1);
            match self.session.receive(packet, Instant::now()) {
                Step::Nothing => {}
                Step::Reply(packet) => self.place.link.send(&codec::encode(packet)),
                Step::Ask(Ask::Nothing, receipt) => self.received(receipt),
                Step::Ask(Ask::Telemetry(_), receipt) => {
                    // Counted, not kept: the one exception to "acknowledged means durable". compat: MQTT-18
                    COUNTS.telemetry.add(1);
                    self.received(receipt);
                }
                Step::Ask(ask, receipt) => return Ok(Some(Later::Ask(ask, receipt))),
                Step::Keep(change) => return Ok(Some(Later::Keep(change))),
                Step::End(end) => return Err(Over::Session(end)),
            }
        }
        Ok(None)
    }

    async fn finish(&mut self, hub: &Hub, later: Later) -> Result<(), Over> {
        match later {
            Later::Ask(
                Ask::Answer {
                    call,
                    status,
                    payload,
                },
                receipt,
            ) => {
                let link = self.place.link.clone() as Arc<dyn Link>;
                let answer = CallAnswer {
                    key: self.place.key,
                    call,
                    status,
                    payload: AnswerPayload::parse(&payload),
                    // PUBACK follows when the answer is durable.
                    receipt: receipt.map(|receipt| (link, receipt)),
                };
                hub.methods.answer(answer).await;
            }
            Later::Ask(Ask::TwinGet { rid }, receipt) => {
                match self.place.may(OperationClass::TwinReads) {
                    Ok(()) => self.twin(hub).get(&rid).await.map_err(|_| Over::Deleted)?,
                    Err(throttled) => self.twin(hub).throttled(&rid, &throttled),
                }
                self.received(receipt);
            }
            Later::Ask(Ask::Report { rid, base, patch }, receipt) => {
                match self.place.may(OperationClass::TwinUpdates) {
                    Ok(()) => {
                        let reported = self.twin(hub).report(&rid, base, &patch).await;
                        reported.map_err(|_| Over::Deleted)?;
                    }
                    Err(throttled) => self.twin(hub).throttled(&rid, &throttled),
                }
                self.received(receipt);
            }
            Later::Ask(Ask::Nothing | Ask::Telemetry(_), receipt) => self.received(receipt),
            Later::Keep(change) => self.keep(hub, change).await?,
        }
        Ok(())
    }

    /// Filters are durable before the device hears that it subscribed: it may never do so again.
    /// compat: MQTT-19
    async fn keep(&mut self, hub: &Hub, change: Change) -> Result<(), Over> {
        let Place {
            key, connection, ..
        } = self.place;
        if self.session.is_durable() && change.is_new {
            hub.sessions.keep(key, Some(change.kept())).await?;
        }
        let reply = codec::encode(change.reply.clone());
        let adopted = self.session.adopt(change);
        let wants = Wants {
            calls: self.session.wants_calls(),
            desired: self.session.wants_desired(),
        };
        if adopted.desired_begins {
            self.place.link.listen();
            let known = self.twin(hub).desired_begins().await;
            known.map_err(|_| Over::Deleted)?;
        }
        self.place.link.adopt(&reply, wants);
        if adopted.ready {
            hub.presence.ready(key, connection);
        }
        if adopted.unready {
            hub.presence.not_ready(key, connection);
        }
        Ok(())
    }

    fn twin<'a>(&'a self, hub: &'a Hub) -> TwinDesk<'a> {
        let answers = self.session.wants_twin_answers();
        TwinDesk {
            hub,
            key: self.place.key,
            link: &self.place.link,
            answers,
        }
    }

    fn received(&self, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt {
            self.place.link.acknowledge(receipt);
        }
    }
}

enum Waited {
    Bytes,
    Timer,
}

/// Waits for bytes or the timer, bytes first: a device that has spoken is not silent.
async fn wait(
    link: &DeviceLink,
    incoming: &mut Incoming,
    mut timer: Pin<&mut Sleep>,
) -> io::Result<Waited> {
    poll_fn(|cx| {
        if let Poll::Ready(filled) = link.poll_incoming(cx, incoming) {
            return Poll::Ready(filled.map(|()| Waited::Bytes));
        }
        timer.as_mut().poll(cx).map(|()| Ok(Waited::Timer))
    })
    .await
}
