//! Reads the filters devices subscribe to.

use super::{Owner, TopicIdentity};
use crate::percent;

/// What a device wants to hear. compat: MQTT-6
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionFilter {
    /// Every method call.
    Methods,
    /// Calls of one method.
    Method(String),
    /// Answers to its twin requests.
    TwinResponses,
    /// Changes of the desired properties.
    DesiredPatches,
    /// Messages to the device.
    DeviceBound,
    /// Messages to any input of the module.
    ModuleInputs,
    /// Messages to one input of the module.
    ModuleInput(String),
    /// Something of another identity, or of everyone: ends the connection.
    Foreign,
    /// Nothing the contract knows: refused with `0x80`.
    Unsupported,
}

impl SubscriptionFilter {
    /// Reads a filter of SUBSCRIBE or UNSUBSCRIBE on a connection of `identity`.
    pub fn parse(filter: &str, identity: TopicIdentity<'_>) -> Self {
        match filter.strip_prefix("$iothub/") {
            Some(rest) => parse_hub_filter(rest),
            None => match identity.strip(filter) {
                Owner::Own(rest) => parse_own(rest, identity),
                Owner::Foreign => SubscriptionFilter::Foreign,
                Owner::Nobody => SubscriptionFilter::Unsupported,
            },
        }
    }

    /// Whether a call of the method `name` is among what this filter wants.
    pub fn wants_method(&self, name: &str) -> bool {
        match self {
            SubscriptionFilter::Methods => true,
            SubscriptionFilter::Method(one) => one == name,
            _ => false,
        }
    }
}

fn parse_hub_filter(rest: &str) -> SubscriptionFilter {
    match rest {
        "methods/POST/#" => SubscriptionFilter::Methods,
        "twin/res/#" => SubscriptionFilter::TwinResponses,
        "twin/PATCH/properties/desired/#" => SubscriptionFilter::DesiredPatches,
        _ => one_name(rest, "methods/POST/")
            .map_or(SubscriptionFilter::Unsupported, SubscriptionFilter::Method),
    }
}

fn parse_own(rest: &str, identity: TopicIdentity<'_>) -> SubscriptionFilter {
    match (rest, identity.module) {
        ("messages/devicebound/#", None) => SubscriptionFilter::DeviceBound,
        // The second one is an alias in the documentation and in the C SDK.
        ("inputs/#" | "#", Some(_)) => SubscriptionFilter::ModuleInputs,
        (_, Some(_)) => one_name(rest, "inputs/").map_or(
            SubscriptionFilter::Unsupported,
            SubscriptionFilter::ModuleInput,
        ),
        _ => SubscriptionFilter::Unsupported,
    }
}

/// The decoded `{name}` of `{prefix}{name}/#`, if it is one level without wildcards.
fn one_name(filter: &str, prefix: &str) -> Option<String> {
    let name = filter.strip_prefix(prefix)?.strip_suffix("/#")?;
    if name.is_empty() || name.contains(['/', '+', '#']) {
        return None;
    }
    percent::decode(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_filters_are_told_apart() {
        use SubscriptionFilter as Filter;
        let device = TopicIdentity::device("dev1");
        let module = TopicIdentity::module("dev1", "m1");
        for (filter, identity, want) in [
            ("$iothub/methods/POST/#", device, Filter::Methods),
            (
                "$iothub/methods/POST/lockDoor/#",
                device,
                Filter::Method("lockDoor".into()),
            ),
            (
                "$iothub/methods/POST/a%20b/#",
                device,
                Filter::Method("a b".into()),
            ),
            ("$iothub/methods/POST/#", module, Filter::Methods),
            ("$iothub/twin/res/#", device, Filter::TwinResponses),
            (
                "$iothub/twin/PATCH/properties/desired/#",
                device,
                Filter::DesiredPatches,
            ),
            (
                "devices/dev1/messages/devicebound/#",
                device,
                Filter::DeviceBound,
            ),
            (
                "devices/dev1/modules/m1/inputs/#",
                module,
                Filter::ModuleInputs,
            ),
            ("devices/dev1/modules/m1/#", module, Filter::ModuleInputs),
            (
                "devices/dev1/modules/m1/inputs/in1/#",
                module,
                Filter::ModuleInput("in1".into()),
            ),
        ] {
            assert_eq!(Filter::parse(filter, identity), want, "{filter}");
        }
    }

    #[test]
    fn another_identity_is_foreign() {
        let device = TopicIdentity::device("dev1");
        let module = TopicIdentity::module("dev1", "m1");
        for (filter, identity) in [
            ("devices/dev2/messages/devicebound/#", device),
            ("devices/dev1/modules/m1/inputs/#", device),
            ("devices/dev1/messages/devicebound/#", module),
            ("devices/dev1/modules/m2/inputs/#", module),
        ] {
            let read = SubscriptionFilter::parse(filter, identity);
            assert_eq!(read, SubscriptionFilter::Foreign, "{filter}");
        }
    }

    #[test]
    fn all_else_is_unsupported() {
        for filter in [
            "",
            "#",
            "+",
            "devices/#",
            "devices/+/messages/devicebound/#",
            "devices/dev1/#",
            "devices/dev1/messages/devicebound",
            "devices/dev1/messages/events/#",
            "$iothub/#",
            "$iothub/methods/POST/+/#",
            "$iothub/methods/POST//#",
            "$iothub/methods/POST/a/b/#",
            "$iothub/methods/POST/lockDoor",
            "$iothub/methods/res/#",
            "$iothub/twin/GET/#",
        ] {
            let read = SubscriptionFilter::parse(filter, TopicIdentity::device("dev1"));
            assert_eq!(read, SubscriptionFilter::Unsupported, "{filter}");
        }
    }

    #[test]
    fn a_filter_of_one_method_wants_only_that() {
        assert!(SubscriptionFilter::Methods.wants_method("m"));
        assert!(SubscriptionFilter::Method("m".into()).wants_method("m"));
        assert!(!SubscriptionFilter::Method("m".into()).wants_method("n"));
        assert!(!SubscriptionFilter::TwinResponses.wants_method("m"));
    }
}
