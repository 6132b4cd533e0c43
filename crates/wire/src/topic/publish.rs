//! Reads the topics devices publish to.

use super::{Owner, TopicIdentity};
use crate::percent;
use crate::property_bag::PropertyBag;

/// What a device says with a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DevicePublish {
    /// Telemetry, or the output of a module (its name is the property `$.on`).
    Telemetry {
        /// The message's properties.
        bag: PropertyBag,
    },
    /// Wants the twin.
    TwinGet {
        /// To be repeated in the answer exactly like this. compat: MQTT-4
        rid: String,
    },
    /// Patches the reported properties.
    ReportedPatch {
        /// To be repeated in the answer exactly like this. compat: MQTT-4
        rid: String,
        /// The reported version the patch is based on, if the device insists.
        base_version: Option<u64>,
    },
    /// Answers a method call.
    MethodResponse {
        /// The device's status: any integer.
        status: i64,
        /// The request's id, decoded: the hub made it.
        rid: String,
    },
    /// Speaks for another identity.
    Foreign,
    /// Is none of the contract's topics.
    Unknown,
    /// Is one of them, but cannot be read; the text says why.
    Malformed(&'static str),
}

impl DevicePublish {
    /// Reads the topic of a PUBLISH on a connection of `identity`.
    pub fn parse(topic: &str, identity: TopicIdentity<'_>) -> Self {
        match topic.strip_prefix("$iothub/") {
            Some(rest) => parse_hub_topic(rest),
            None => match identity.strip(topic) {
                Owner::Own(rest) => parse_telemetry(rest),
                Owner::Foreign => DevicePublish::Foreign,
                Owner::Nobody => DevicePublish::Unknown,
            },
        }
    }
}

/// `messages/events/{bag}`; the slash before the bag may be missing, one after it is Node's. compat: MQTT-5
fn parse_telemetry(rest: &str) -> DevicePublish {
    let Some(bag) = rest.strip_prefix("messages/events") else {
        return DevicePublish::Unknown;
    };
    let bag = match bag.strip_prefix('/') {
        Some(bag) => bag,
        None if bag.is_empty() => bag,
        None => return DevicePublish::Unknown,
    };
    match PropertyBag::decode(bag.strip_suffix('/').unwrap_or(bag)) {
        Ok(bag) => DevicePublish::Telemetry { bag },
        Err(_) => DevicePublish::Malformed("the property bag cannot be decoded"),
    }
}

/// What follows `$iothub/`.
fn parse_hub_topic(rest: &str) -> DevicePublish {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let query = match Query::read(query) {
        Ok(query) => query,
        Err(fault) => return DevicePublish::Malformed(fault),
    };
    if let Some(status) = path.strip_prefix("methods/res/") {
        return method_response(status, &query);
    }
    let answer: fn(String, Option<u64>) -> DevicePublish = match path {
        "twin/GET" => |rid, _| DevicePublish::TwinGet { rid },
        "twin/PATCH/properties/reported" => {
            |rid, base_version| DevicePublish::ReportedPatch { rid, base_version }
        }
        _ => return DevicePublish::Unknown,
    };
    match query.rid {
        Some(rid) => answer(rid.to_owned(), query.version),
        None => DevicePublish::Malformed("there is no $rid"),
    }
}

fn method_response(status: &str, query: &Query<'_>) -> DevicePublish {
    // Python encodes the status as well, which matters for the minus sign only.
    let status = percent::decode(status).and_then(|text| text.parse().ok());
    let rid = query.rid.and_then(percent::decode);
    match (status, rid) {
        (Some(status), Some(rid)) => DevicePublish::MethodResponse { status, rid },
        (None, _) => DevicePublish::Malformed("the status is not an integer"),
        (_, None) => DevicePublish::Malformed("there is no $rid"),
    }
}

/// What follows the `?`; the rid stays encoded.
#[derive(Default)]
struct Query<'t> {
    rid: Option<&'t str>,
    version: Option<u64>,
}

impl<'t> Query<'t> {
    fn read(text: &'t str) -> Result<Self, &'static str> {
        let mut query = Query::default();
        for part in text.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.strip_prefix('$').or_else(|| name.strip_prefix("%24")) {
                Some("rid") => query.rid = Some(value).filter(|rid| !rid.is_empty()),
                Some("version") => {
                    let version = value.parse().map_err(|_| "the $version is not a number")?;
                    query.version = Some(version);
                }
                _ => {}
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::property_bag::SystemProperty;

    fn parse(topic: &str) -> DevicePublish {
        DevicePublish::parse(topic, TopicIdentity::device("dev1"))
    }

    fn twin_get(rid: &str) -> DevicePublish {
        DevicePublish::TwinGet {
            rid: rid.to_owned(),
        }
    }

    fn patch(rid: &str, base_version: Option<u64>) -> DevicePublish {
        DevicePublish::ReportedPatch {
            rid: rid.to_owned(),
            base_version,
        }
    }

    fn answer(status: i64, rid: &str) -> DevicePublish {
        DevicePublish::MethodResponse {
            status,
            rid: rid.to_owned(),
        }
    }

    #[test]
    fn hub_topics_are_told_apart() {
        for (topic, want) in [
            ("$iothub/twin/GET/?$rid=a-1", twin_get("a-1")),
            ("$iothub/twin/GET/?%24rid=a-1", twin_get("a-1")),
            ("$iothub/twin/GET?$rid=1", twin_get("1")),
            ("$iothub/twin/GET/?$rid=a%20b", twin_get("a%20b")),
            (
                "$iothub/twin/PATCH/properties/reported/?$rid=1",
                patch("1", None),
            ),
            (
                "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=7",
                patch("1", Some(7)),
            ),
            (
                "$iothub/twin/PATCH/properties/reported/?$version=7&$rid=1",
                patch("1", Some(7)),
            ),
            ("$iothub/methods/res/200/?$rid=1:2", answer(200, "1:2")),
            ("$iothub/methods/res/-5/?$rid=1%3A2", answer(-5, "1:2")),
            ("$iothub/methods/res/%2D5/?$rid=1", answer(-5, "1")),
        ] {
            assert_eq!(parse(topic), want, "{topic}");
        }
    }

    #[test]
    fn hub_topics_that_cannot_be_read_are_malformed() {
        for topic in [
            "$iothub/twin/GET/",
            "$iothub/twin/GET/?$rid=",
            "$iothub/twin/GET/?rid=1",
            "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=x",
            "$iothub/methods/res/ok/?$rid=1",
            "$iothub/methods/res/200/",
            "$iothub/methods/res/200/?$rid=%f",
            "$iothub/methods/res/99999999999999999999/?$rid=1",
        ] {
            assert!(
                matches!(parse(topic), DevicePublish::Malformed(_)),
                "{topic}"
            );
        }
    }

    #[test]
    fn strange_topics_are_unknown() {
        for topic in [
            "",
            "$iothub",
            "$iothub/",
            "$iothub/twin/PATCH/properties/desired/?$rid=1",
            "$iothub/methods/POST/m/?$rid=1",
            "devices",
            "devices/dev1",
            "devices/dev1/messages/devicebound/",
            "devices/dev1/messages/eventsx",
            "anything/else",
        ] {
            assert_eq!(parse(topic), DevicePublish::Unknown, "{topic}");
        }
    }

    #[test]
    fn telemetry_is_read_with_and_without_slashes() {
        for topic in [
            "devices/dev1/messages/events/",
            "devices/dev1/messages/events",
            "devices/dev1/messages/events/?",
        ] {
            assert_eq!(
                parse(topic),
                DevicePublish::Telemetry {
                    bag: PropertyBag::new()
                },
                "{topic}"
            );
        }
        let DevicePublish::Telemetry { bag } = parse("devices/dev1/messages/events/a=1&b=x%2Fy")
        else {
            panic!("this is telemetry");
        };
        assert_eq!((bag.text("a"), bag.text("b")), (Some("1"), Some("x/y")));
        assert!(matches!(
            parse("devices/dev1/messages/events/a=%"),
            DevicePublish::Malformed(_)
        ));
    }

    #[test]
    fn a_modules_output_loses_the_slash_node_adds() {
        let module = TopicIdentity::module("dev1", "m1");
        let topic = "devices/dev1/modules/m1/messages/events/%24.on=out1/";
        let DevicePublish::Telemetry { bag } = DevicePublish::parse(topic, module) else {
            panic!("this is telemetry");
        };
        assert_eq!(bag.system(SystemProperty::OutputName), Some("out1"));
    }

    #[test]
    fn another_identity_is_foreign() {
        for topic in [
            "devices/dev2/messages/events/",
            "devices/DEV1/messages/events/",
            "devices/dev1/modules/m1/messages/events/",
        ] {
            assert_eq!(parse(topic), DevicePublish::Foreign, "{topic}");
        }
        let module = TopicIdentity::module("dev1", "m1");
        for topic in [
            "devices/dev1/messages/events/",
            "devices/dev1/modules/m2/messages/events/",
        ] {
            assert_eq!(
                DevicePublish::parse(topic, module),
                DevicePublish::Foreign,
                "{topic}"
            );
        }
    }

    #[test]
    fn an_encoded_id_is_the_same_identity() {
        let identity = TopicIdentity::device("a b:c");
        for topic in [
            "devices/a%20b%3Ac/messages/events/",
            "devices/a b:c/messages/events/",
        ] {
            assert!(matches!(
                DevicePublish::parse(topic, identity),
                DevicePublish::Telemetry { .. }
            ));
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            topic in "(\\$iothub/(twin|methods)/(GET|res|PATCH)|devices/dev1)?[a-z0-9/?$&=%+#]{0,40}"
        ) {
            let _ = parse(&topic);
        }

        #[test]
        fn method_answers_find_their_request(status: i64, rid in "[A-Za-z0-9:._-]{1,40}") {
            let topic = format!("$iothub/methods/res/{status}/?$rid={rid}");
            prop_assert_eq!(parse(&topic), answer(status, &rid));
        }
    }
}
