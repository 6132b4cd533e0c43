//! Bytes to packets and back, for MQTT 3.1.1.
//!
//! A plain decoder over the bytes of one connection, which owns memory only while a packet is unfinished,
//! and the few packets the hub sends, encoded without a session. What packets mean is `session`'s.

use bytes::{Bytes, BytesMut};
use fanfare_hub::{ids::CallId, presence::CallTemplate};
use fanfare_wire::topic;
use rmqtt_codec::{
    error::DecodeError,
    types::{Publish, QoS},
    v3::{Codec, Packet},
};
use tokio_util::codec::{Decoder, Encoder};

use super::limits;

/// Why bytes are not a packet that can be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PacketError {
    /// CONNECT speaks another version of the protocol.
    #[error("the protocol level is not 4")]
    Level,
    /// CONNECT lacks a client id.
    #[error("the client id is empty")]
    ClientId,
    /// The packet announces more than is allowed now.
    #[error("a packet of {size} bytes, at most {max} are allowed")]
    TooLarge {
        /// Announced.
        size: u32,
        /// Allowed.
        max: u32,
    },
    /// It breaks the protocol.
    #[error("a malformed packet")]
    Malformed(#[source] DecodeError),
}

impl From<DecodeError> for PacketError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnsupportedProtocolLevel => Self::Level,
            DecodeError::InvalidClientId => Self::ClientId,
            DecodeError::MaxSizeExceeded { size, max } => Self::TooLarge { size, max },
            other => Self::Malformed(other),
        }
    }
}

/// Cuts a connection's bytes into packets.
pub(super) struct PacketReader {
    codec: Codec,
    /// Bytes not yet decoded; without memory of its own when there are none.
    inbox: BytesMut,
}

impl PacketReader {
    /// For a stranger: small packets only.
    pub(super) fn new() -> Self {
        let codec = Codec::new(limits::PACKET_BYTES_BEFORE_CONNECT);
        Self {
            codec,
            inbox: BytesMut::new(),
        }
    }

    /// From now on packets may be as large as messages are.
    pub(super) fn widen(&mut self) {
        self.codec.set_max_size(limits::PACKET_BYTES_MAX);
    }

    /// Takes bytes as they came.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.inbox.is_empty() {
            // Two more than needed: the codec reserves two bytes behind each packet it takes.
            self.inbox = BytesMut::with_capacity(bytes.len() + 2);
        }
        self.inbox.extend_from_slice(bytes);
    }

    /// The next whole packet.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PacketError> {
        let decoded = self.codec.decode(&mut self.inbox)?;
        if decoded.is_none() && self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        Ok(decoded.map(|(packet, _)| packet))
    }

    /// Bytes of memory held.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.inbox.capacity()
    }
}

/// The bytes of a packet.
pub(super) fn encode(packet: Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    Codec::default()
        .encode(packet, &mut bytes)
        .expect("packets of the hub keep to the protocol's lengths");
    bytes.freeze()
}

/// A PUBLISH of quality 0, the only one the hub sends of its own.
pub(super) fn publish(topic: String, payload: Bytes) -> Bytes {
    let publish = Publish {
        dup: false,
        retain: false,
        qos: QoS::AtMostOnce,
        topic: topic.into(),
        packet_id: None,
        payload,
        properties: None,
    };
    encode(Packet::Publish(Box::new(publish)))
}

/// PUBACK.
pub(super) fn puback(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

/// A method request, encoded once for all devices of a job.
pub(super) struct CallRequest<'a> {
    bytes: &'a [u8],
    /// Where the request id stands.
    rid_at: usize,
}

impl<'a> CallRequest<'a> {
    /// The request of a template; encodes it at the first call. An absent argument is the text `null`,
    /// never nothing: Node refuses an empty body by itself. compat: MQTT-10
    pub(super) fn of(template: &'a CallTemplate) -> Self {
        let bytes = template.mqtt.get_or_init(|| {
            let rid = "0".repeat(CallId::TEXT_LEN);
            let topic = topic::method_request(template.name.as_str(), &rid);
            publish(
                topic,
                Bytes::copy_from_slice(template.payload.as_str().as_bytes()),
            )
        });
        // Fixed header: one byte, then the length in bytes whose top bit says that more follow.
        let length_bytes = 1 + bytes[1..]
            .iter()
            .take_while(|byte| **byte & 0x80 != 0)
            .count();
        let topic_at = 1 + length_bytes + 2;
        let topic_len = u16::from_be_bytes([bytes[topic_at - 2], bytes[topic_at - 1]]);
        Self {
            bytes,
            rid_at: topic_at + usize::from(topic_len) - CallId::TEXT_LEN,
        }
    }

    /// The pieces of the request with `rid` as its id: the template is not copied.
    pub(super) fn parts<'b>(&'b self, rid: &'b [u8; CallId::TEXT_LEN]) -> [&'b [u8]; 3] {
        let (head, rest) = self.bytes.split_at(self.rid_at);
        [head, rid, &rest[CallId::TEXT_LEN..]]
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::{
        ids::{MethodName, Term},
        json::JsonText,
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_is_the_template_with_its_own_id() {
        for payload in ["null", "{\"a\":1}", &format!("\"{}\"", "x".repeat(120_000))] {
            let name = MethodName::parse("lockDoor").unwrap();
            let payload = JsonText::parse(payload.as_bytes()).unwrap();
            let template = CallTemplate::new(name, payload.clone());
            for number in [1, 0xabcdef] {
                let call = CallId {
                    term: Term(7),
                    number,
                };
                let bytes = CallRequest::of(&template).parts(&call.to_text()).concat();
                let mut reader = PacketReader::new();
                reader.widen();
                reader.feed(&bytes);
                let Some(Packet::Publish(publish)) = reader.next().unwrap() else {
                    panic!("a call is a PUBLISH");
                };
                assert_eq!(
                    publish.topic,
                    format!("$iothub/methods/POST/lockDoor/?$rid={call}")
                );
                assert_eq!(publish.payload, payload.as_str().as_bytes());
                assert!(reader.next().unwrap().is_none());
            }
        }
    }

    #[test]
    fn packets_arrive_in_any_pieces_and_leave_no_memory_behind() {
        let mut stream = encode(Packet::PingRequest).to_vec();
        stream.extend(publish("a/b".into(), Bytes::from(vec![7; 300])));
        stream.extend(puback(9));
        for piece in 1..stream.len() {
            let mut reader = PacketReader::new();
            let mut packets = Vec::new();
            for bytes in stream.chunks(piece) {
                reader.feed(bytes);
                while let Some(packet) = reader.next().unwrap() {
                    packets.push(packet.packet_type());
                }
            }
            assert_eq!(packets, [0xc0, 0x30, 0x40], "pieces of {piece}");
            assert_eq!(reader.held(), 0);
        }
    }

    #[test]
    fn a_stranger_cannot_announce_a_large_packet() {
        let announced = [0x10, 0x80, 0x80, 0x40];
        let mut reader = PacketReader::new();
        reader.feed(&announced);
        assert!(matches!(reader.next(), Err(PacketError::TooLarge { .. })));
        assert!(reader.held() <= 64);
        let mut reader = PacketReader::new();
        reader.widen();
        reader.feed(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
        assert!(matches!(reader.next(), Err(PacketError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_nor_hold_more_than_announced(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            first in prop::sample::select(vec![0x10u8, 0x30, 0x32, 0x82, 0xa2, 0xe0, 0xc0]),
            length in 0u8..=255,
        ) {
            let mut reader = PacketReader::new();
            let mut fed = 2;
            reader.feed(&[first, length]);
            for piece in &pieces {
                reader.feed(piece);
                fed += piece.len();
                loop {
                    match reader.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                let limit = limits::PACKET_BYTES_BEFORE_CONNECT as usize;
                prop_assert!(reader.held() <= 2 * (fed + limit) + 64);
            }
        }
    }
}
