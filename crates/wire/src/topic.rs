//! What devices and the hub say over MQTT, as far as it stands in topics, filters and the user name.
//!
//! Pure text: whether a connection may do what it asks is the session's decision. A topic that names another
//! identity than the connection's is told apart from one that names nothing, because the first ends a
//! connection and the second need not.

mod publish;
mod subscription;
mod username;

pub use publish::DevicePublish;
pub use subscription::SubscriptionFilter;
pub use username::{ParseUsernameError, USERNAME_BYTES_MAX, Username};

use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::percent;

/// The identity a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIdentity<'a> {
    /// The device.
    pub device: &'a str,
    /// The module, when the connection is a module's.
    pub module: Option<&'a str>,
}

impl<'a> TopicIdentity<'a> {
    /// A device's own connection.
    pub const fn device(device: &'a str) -> Self {
        Self {
            device,
            module: None,
        }
    }

    /// A module's connection.
    pub const fn module(device: &'a str, module: &'a str) -> Self {
        Self {
            device,
            module: Some(module),
        }
    }

    /// Takes `devices/{d}/` or `devices/{d}/modules/{m}/` off a topic. SDKs write ids raw; an encoded one
    /// counts as well, since it can only ever match the connection's own.
    fn strip<'t>(&self, topic: &'t str) -> Owner<'t> {
        let Some((device, rest)) = topic
            .strip_prefix("devices/")
            .and_then(|t| t.split_once('/'))
        else {
            return Owner::Nobody;
        };
        let module = rest
            .strip_prefix("modules/")
            .map(|t| t.split_once('/').unwrap_or((t, "")));
        if device.contains(['+', '#']) || module.is_some_and(|(id, _)| id.contains(['+', '#'])) {
            return Owner::Nobody;
        }
        let same = |written: &str, id: &str| {
            written == id || percent::decode(written).is_some_and(|decoded| decoded == id)
        };
        match (module, self.module) {
            (None, None) if same(device, self.device) => Owner::Own(rest),
            (Some((id, rest)), Some(own)) if same(device, self.device) && same(id, own) => {
                Owner::Own(rest)
            }
            _ => Owner::Foreign,
        }
    }
}

/// Whose topic it is.
enum Owner<'t> {
    /// The connection's own; with what follows its prefix.
    Own(&'t str),
    /// Another identity's.
    Foreign,
    /// It names no identity.
    Nobody,
}

/// The topic of a method request. The slash before `?` must be there: Node splits at slashes. What would
/// break the topic is encoded in the name; all else stays, because Node does not decode it. compat: MQTT-7
pub fn method_request(name: &str, rid: &str) -> String {
    format!(
        "$iothub/methods/POST/{}/?$rid={rid}",
        utf8_percent_encode(name, METHOD_NAME_RESERVED)
    )
}

/// All but what the hub admits in names of methods. compat: METHOD-1
const METHOD_NAME_RESERVED: &AsciiSet = &percent::RESERVED
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'$')
    .remove(b',')
    .remove(b':')
    .remove(b'@');

/// The topic of the answer to a twin request. `rid` is what the device sent, not decoded; `version` is the
/// new reported version after a patch. compat: MQTT-4
pub fn twin_response(status: u16, rid: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("$iothub/twin/res/{status}/?$rid={rid}&$version={version}"),
        None => format!("$iothub/twin/res/{status}/?$rid={rid}"),
    }
}

/// The topic of a change of the desired properties.
pub fn desired_patch(version: u64) -> String {
    format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_topics_are_spelled_as_the_sdks_split_them() {
        assert_eq!(
            method_request("lockDoor", "7:12"),
            "$iothub/methods/POST/lockDoor/?$rid=7:12"
        );
        assert_eq!(
            method_request("a-b!*'()$,:@", "1"),
            "$iothub/methods/POST/a-b!*'()$,:@/?$rid=1"
        );
        assert_eq!(
            method_request("a b/c", "1"),
            "$iothub/methods/POST/a%20b%2Fc/?$rid=1"
        );
        assert_eq!(
            twin_response(200, "r%201", None),
            "$iothub/twin/res/200/?$rid=r%201"
        );
        assert_eq!(
            twin_response(204, "r", Some(4)),
            "$iothub/twin/res/204/?$rid=r&$version=4"
        );
        assert_eq!(
            desired_patch(3),
            "$iothub/twin/PATCH/properties/desired/?$version=3"
        );
    }
}
