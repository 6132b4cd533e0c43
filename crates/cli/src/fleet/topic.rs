//! The device's side of the contract's MQTT topics: filters to subscribe to, topics to read and to write.

/// Filter of method requests.
pub(super) const METHODS: &str = "$iothub/methods/POST/#";
/// Filter of twin replies.
pub(super) const TWIN_REPLIES: &str = "$iothub/twin/res/#";
/// Filter of desired patches.
pub(super) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

/// What a topic that the hub wrote says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// `$iothub/methods/POST/{name}/?$rid={rid}`
    Method { name: &'a str, rid: &'a str },
    /// `$iothub/twin/res/{status}/?$rid={rid}[&$version={version}]`
    TwinReply {
        status: u16,
        rid: &'a str,
        version: Option<u64>,
    },
    /// `$iothub/twin/PATCH/properties/desired/?$version={version}`
    Desired { version: Option<u64> },
}

impl<'a> Incoming<'a> {
    /// Reads a topic; `None` for one a device has no use for.
    pub(super) fn parse(topic: &'a str) -> Option<Self> {
        let (path, query) = topic.split_once('?')?;
        let value = |key: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        };
        let version = || value("$version").and_then(|text| text.parse().ok());
        if let Some(name) = path.strip_prefix("$iothub/methods/POST/") {
            return Some(Self::Method {
                name: name.strip_suffix('/')?,
                rid: value("$rid")?,
            });
        }
        if let Some(status) = path.strip_prefix("$iothub/twin/res/") {
            let status = status.strip_suffix('/')?.parse().ok()?;
            return Some(Self::TwinReply {
                status,
                rid: value("$rid")?,
                version: version(),
            });
        }
        (path == "$iothub/twin/PATCH/properties/desired/")
            .then(|| Self::Desired { version: version() })
    }
}

/// Topic of the answer to a method call.
pub(super) fn method_answer(status: i32, rid: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={rid}")
}

/// Topic that asks for the twin.
pub(super) fn twin_get(rid: &str) -> String {
    format!("$iothub/twin/GET/?$rid={rid}")
}

/// Topic that patches the reported properties.
pub(super) fn reported_patch(rid: &str) -> String {
    format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_the_hub_are_read() {
        let cases = [
            (
                "$iothub/methods/POST/lockDoor/?$rid=00a1",
                Some(Incoming::Method {
                    name: "lockDoor",
                    rid: "00a1",
                }),
            ),
            (
                "$iothub/twin/res/204/?$rid=r1&$version=7",
                Some(Incoming::TwinReply {
                    status: 204,
                    rid: "r1",
                    version: Some(7),
                }),
            ),
            (
                "$iothub/twin/res/200/?$rid=g",
                Some(Incoming::TwinReply {
                    status: 200,
                    rid: "g",
                    version: None,
                }),
            ),
            (
                "$iothub/twin/PATCH/properties/desired/?$version=12",
                Some(Incoming::Desired { version: Some(12) }),
            ),
            ("$iothub/methods/POST/lockDoor/", None),
            ("devices/d/messages/devicebound/x=1", None),
        ];
        for (topic, expected) in cases {
            assert_eq!(Incoming::parse(topic), expected, "{topic}");
        }
    }
}
