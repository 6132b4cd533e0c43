//! What a device says with CONNECT, and the two answers to it.
//!
//! Pure. Decides which return code refuses a CONNECT that cannot be right; whether one that can be right is
//! true, `sign_in` finds out.

use std::time::Duration;

use fanfare_hub::ids::{DeviceId, IdentityId, ModuleId};
use fanfare_wire::topic::{DevicePublish, TopicIdentity, Username};
use rmqtt_codec::v3::{Connect, ConnectAck, ConnectAckReason, Packet};

use super::limits;

/// What a device says about itself with CONNECT. Whether it is true, its token or its certificate tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The hub's name as the device knows it.
    pub(super) host: String,
    /// Who it is.
    pub(super) id: IdentityId,
    /// Its token; one that has none proves who it is with its certificate. compat: MQTT-31
    pub(super) token: Option<String>,
    /// Whether its subscriptions outlive the connection (CleanSession = 0).
    pub(super) is_durable: bool,
    /// Whether it leaves a will.
    pub(super) has_will: bool,
    /// How long it may be silent.
    pub(super) keep_alive: Duration,
}

impl Claim {
    /// Reads CONNECT.
    ///
    /// # Errors
    /// The return code of the refusal. compat: MQTT-11
    pub(super) fn read(connect: &Connect) -> Result<Self, ConnectAckReason> {
        if connect.protocol.0 != PROTOCOL_LEVEL {
            return Err(ConnectAckReason::UnacceptableProtocolVersion);
        }
        if connect.client_id.is_empty() {
            return Err(ConnectAckReason::IdentifierRejected);
        }
        Self::of(connect).ok_or(ConnectAckReason::NotAuthorized)
    }

    fn of(connect: &Connect) -> Option<Self> {
        let username = Username::parse(connect.username.as_ref()?).ok()?;
        if username.client_id() != *connect.client_id {
            return None;
        }
        let module = username
            .module
            .as_deref()
            .map(ModuleId::parse)
            .transpose()
            .ok()?;
        let id = IdentityId {
            device: DeviceId::parse(&username.device).ok()?,
            module,
        };
        if let Some(will) = &connect.last_will {
            let topic = DevicePublish::parse(&will.topic, topic_identity(&id));
            matches!(topic, DevicePublish::Telemetry { .. }).then_some(())?;
        }
        Some(Self {
            host: username.host,
            token: match &connect.password {
                Some(token) => Some(std::str::from_utf8(token).ok()?.to_owned()),
                None => None,
            },
            is_durable: !connect.clean_session,
            has_will: connect.last_will.is_some(),
            keep_alive: silence_allowed(connect.keep_alive),
            id,
        })
    }
}

/// MQTT 3.1.1.
const PROTOCOL_LEVEL: u8 = 4;

/// One and a half times the keep-alive, within the contract's bound; the bound itself for zero.
/// compat: MQTT-12
fn silence_allowed(keep_alive_seconds: u16) -> Duration {
    let most = Duration::from_secs(limits::SILENCE_SECONDS_MAX);
    match keep_alive_seconds {
        0 => most,
        seconds => (Duration::from_secs(u64::from(seconds)) * 3 / 2).min(most),
    }
}

/// CONNACK for a device that is let in.
pub(super) fn welcome(session_present: bool) -> Packet {
    let return_code = ConnectAckReason::ConnectionAccepted;
    Packet::ConnectAck(ConnectAck {
        return_code,
        session_present,
    })
}

/// CONNACK for one that is not.
pub(super) fn refusal(return_code: ConnectAckReason) -> Packet {
    Packet::ConnectAck(ConnectAck {
        return_code,
        session_present: false,
    })
}

/// The identity as topics name it.
pub(super) fn topic_identity(id: &IdentityId) -> TopicIdentity<'_> {
    let module = id.module.as_ref().map(ModuleId::as_str);
    TopicIdentity {
        device: id.device.as_str(),
        module,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rmqtt_codec::{
        types::{Protocol, QoS},
        v3::LastWill,
    };

    use super::*;

    fn connect() -> Connect {
        Connect {
            protocol: Protocol(4),
            clean_session: false,
            keep_alive: 60,
            last_will: None,
            client_id: "door-1".into(),
            username: Some("hub.test/door-1/?api-version=2021-04-12".into()),
            password: Some("SharedAccessSignature sr=x".into()),
            cert: None,
        }
    }

    fn will(topic: &'static str) -> Option<LastWill> {
        let message = Bytes::from_static(b"bye");
        Some(LastWill {
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.into(),
            message,
        })
    }

    #[test]
    fn connects_are_claims_or_refused_with_a_code() {
        use ConnectAckReason::{IdentifierRejected, NotAuthorized, UnacceptableProtocolVersion};
        let claim = Claim::read(&connect()).unwrap();
        assert_eq!(claim.host, "hub.test");
        assert_eq!(claim.id.to_string(), "door-1");
        assert!(claim.is_durable && !claim.has_will);

        type Edit = fn(&mut Connect);
        let cases: [(Edit, Option<ConnectAckReason>); 13] = [
            (
                |c| c.protocol = Protocol(3),
                Some(UnacceptableProtocolVersion),
            ),
            (|c| c.client_id = "".into(), Some(IdentifierRejected)),
            (|c| c.client_id = "door-2".into(), Some(NotAuthorized)),
            (|c| c.client_id = "door-1/m".into(), Some(NotAuthorized)),
            (|c| c.username = None, Some(NotAuthorized)),
            (
                |c| c.username = Some("nonsense".into()),
                Some(NotAuthorized),
            ),
            (|c| c.username = Some("hub.test/door-1".into()), None),
            (|c| c.password = None, None),
            (
                |c| c.password = Some(Bytes::from_static(b"\xff")),
                Some(NotAuthorized),
            ),
            (
                |c| c.last_will = will("devices/door-1/messages/events/a=b"),
                None,
            ),
            (
                |c| c.last_will = will("devices/door-2/messages/events/"),
                Some(NotAuthorized),
            ),
            (
                |c| c.last_will = will("$iothub/twin/GET/?$rid=1"),
                Some(NotAuthorized),
            ),
            (
                |c| {
                    c.client_id = "a b".into();
                    c.username = Some("hub.test/a b".into());
                },
                Some(NotAuthorized),
            ),
        ];
        for (at, (edit, refusal)) in cases.into_iter().enumerate() {
            let mut connect = connect();
            edit(&mut connect);
            assert_eq!(Claim::read(&connect).err(), refusal, "case {at}");
        }
    }

    #[test]
    fn silence_is_one_and_a_half_keep_alives_within_bounds() {
        let millis = [
            (0, 1_767_000),
            (1, 1_500),
            (60, 90_000),
            (1_177, 1_765_500),
            (1_178, 1_767_000),
        ];
        for (keep_alive, allowed) in millis {
            assert_eq!(silence_allowed(keep_alive), Duration::from_millis(allowed));
        }
        assert_eq!(silence_allowed(u16::MAX), Duration::from_millis(1_767_000));
    }
}
