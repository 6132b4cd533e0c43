//! The life of one connection: signs a device in, then reads, does what its session says, and leaves.
//!
//! One task, which only reads; others write through the link. Between packets it owns a socket half, a
//! session and one timer, which is not moved with each packet but looked at again when it rings. Work that
//! waits for the store runs in a future of its own, so that an idle connection does not pay for it.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use fanfare_hub::{
    Hub,
    method::{AnswerPayload, CallAnswer},
    ports::StoreError,
    presence::{CutReason, Link, Receipt},
};
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Door, codec,
    link::{DeviceLink, Wants},
    session::{Ask, Change, Due, End, Session, Step},
    sign_in::{Admitted, Place, sign_in},
    transport::Incoming,
    twin::TwinDesk,
};
use crate::telemetry::TELEMETRY_MESSAGES;

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

/// Serves one connection to its end. `unfinished` is given back when the device is let in.
pub(super) async fn serve(door: Arc<Door>, stream: TcpStream, unfinished: OwnedSemaphorePermit) {
    let admitted = Box::pin(sign_in(&door, stream)).await;
    drop(unfinished);
    let Some(Admitted {
        incoming,
        mut session,
        place,
    }) = admitted
    else {
        return;
    };
    let hub = &door.gateway.hub;
    let over = Connection {
        hub,
        place: &place,
        session: &mut session,
    }
    .run(incoming)
    .await;
    if session.has_will() && !matches!(over, Over::Session(End::Disconnected)) {
        metrics::counter!(TELEMETRY_MESSAGES).increment(1);
    }
    tracing::debug!(device.id = %place.link.identity(), reason = %over, "a connection ended");
}

struct Connection<'a> {
    hub: &'a Hub,
    place: &'a Place,
    session: &'a mut Session,
}

impl Connection<'_> {
    async fn run(mut self, mut incoming: Incoming) -> Over {
        let mut timer = std::pin::pin!(sleep_until(self.session.next_deadline()));
        loop {
            match incoming.packets.next() {
                Ok(Some(packet)) => {
                    if let Some(reason) = self.place.link.cut_reason() {
                        return Over::Cut(reason);
                    }
                    self.place.link.heard(self.hub.clock.now());
                    let step = self.session.receive(packet, Instant::now());
                    if let Err(over) = self.perform(step).await {
                        return over;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => return error.into(),
            }
            match wait(&self.place.link, &mut incoming, timer.as_mut()).await {
                Ok(Waited::Bytes) => {}
                Ok(Waited::Timer) => {
                    match self.session.due(Instant::now()) {
                        Due::Nothing => {}
                        Due::Ready => self
                            .hub
                            .presence
                            .ready(self.place.key, self.place.connection),
                        Due::End(end) => return Over::Session(end),
                    }
                    timer.as_mut().reset(self.session.next_deadline());
                }
                Err(error) => {
                    return self
                        .place
                        .link
                        .cut_reason()
                        .map_or(Over::Lost(error), Over::Cut);
                }
            }
        }
    }

    async fn perform(&mut self, step: Step) -> Result<(), Over> {
        match step {
            Step::Nothing => Ok(()),
            Step::Reply(packet) => {
                self.place.link.send(&codec::encode(packet));
                Ok(())
            }
            Step::Ask(Ask::Nothing, receipt) => {
                self.received(receipt);
                Ok(())
            }
            Step::Ask(Ask::Telemetry(_), receipt) => {
                // Counted, not kept: the one exception to "acknowledged means durable". compat: MQTT-18
                metrics::counter!(TELEMETRY_MESSAGES).increment(1);
                self.received(receipt);
                Ok(())
            }
            Step::Ask(ask, receipt) => Box::pin(self.ask(ask, receipt)).await,
            Step::Keep(change) => Box::pin(self.keep(change)).await,
            Step::End(end) => Err(Over::Session(end)),
        }
    }

    async fn ask(&self, ask: Ask, receipt: Option<Receipt>) -> Result<(), Over> {
        let done = match ask {
            Ask::Answer {
                call,
                status,
                payload,
            } => {
                let link = || self.place.link.clone() as Arc<dyn Link>;
                let answer = CallAnswer {
                    key: self.place.key,
                    call,
                    status,
                    payload: AnswerPayload::parse(&payload),
                    // PUBACK follows when the answer is durable.
                    receipt: receipt.map(|receipt| (link(), receipt)),
                };
                self.hub.methods.answer(answer).await;
                return Ok(());
            }
            Ask::TwinGet { rid } => self.twin().get(&rid).await,
            Ask::Report { rid, base, patch } => self.twin().report(&rid, base, &patch).await,
            Ask::Nothing | Ask::Telemetry(_) => Ok(()),
        };
        done.map_err(|_| Over::Deleted)?;
        self.received(receipt);
        Ok(())
    }

    /// Filters are durable before the device hears that it subscribed: it may never do so again.
    async fn keep(&mut self, change: Change) -> Result<(), Over> {
        if self.session.is_durable() && change.is_new {
            self.hub
                .sessions
                .keep(self.place.key, Some(change.kept()))
                .await?;
        }
        let reply = codec::encode(change.reply.clone());
        let adopted = self.session.adopt(change);
        let wants = Wants {
            calls: self.session.wants_calls(),
            desired: self.session.wants_desired(),
        };
        self.place.link.adopt(&reply, wants);
        if adopted.ready {
            self.hub
                .presence
                .ready(self.place.key, self.place.connection);
        }
        if adopted.unready {
            self.hub
                .presence
                .not_ready(self.place.key, self.place.connection);
        }
        if adopted.desired_begins {
            self.twin()
                .desired_begins()
                .await
                .map_err(|_| Over::Deleted)?;
        }
        Ok(())
    }

    fn twin(&self) -> TwinDesk<'_> {
        let answers = self.session.wants_twin_answers();
        TwinDesk {
            hub: self.hub,
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
