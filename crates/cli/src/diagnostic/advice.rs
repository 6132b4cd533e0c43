//! What would help: decides from the client's error, the text that was sent and the hub it went to.
//!
//! Each rule is something people do wrong. A rule that does not apply says nothing; no advice is better than a guess.

use fanfare_client::{Error, Refusal, SetupError};

use crate::failure::Story;
use crate::hub::{Addressed, Source, addressed};

/// Lines for `try:`, the likeliest first.
pub(super) fn tries(story: &Story) -> Vec<String> {
    let Some(error) = &story.client else {
        return Vec::new();
    };
    match error {
        Error::Unreachable { source, .. } => unreachable(&chain(&**source), addressed()),
        Error::NoReply { source, .. } => no_reply(&chain(&**source)),
        Error::Refused(refusal) => {
            let text = story.about.as_ref().map(|about| about.text.as_str());
            refused(refusal, text, addressed())
        }
        Error::Setup(error) => setup(error),
        _ => Vec::new(),
    }
}

/// The words of an error and of all below it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        below = cause.source();
    }
    words
}

fn unreachable(words: &str, hub: Option<&Addressed>) -> Vec<String> {
    let has = |part: &str| words.to_lowercase().contains(part);
    let port_known = hub.is_some_and(|hub| has_port(&hub.endpoint));
    let is_local = hub.is_some_and(|hub| matches!(hub.source, Source::DataDir(_)));
    let mut tries = Vec::new();
    if has("certificate") {
        if has("not valid for name") || has("notvalidforname") {
            tries.push("the host name that `fanfare serve --host-name` was given, which the certificate carries".to_owned());
        } else if has("expired") {
            tries.push(
                "the clock of this machine; if it is right, the hub needs a new certificate"
                    .to_owned(),
            );
        } else if hub.is_some_and(|hub| hub.has_ca) {
            tries.push(
                "the ca.pem of this hub: the CA file in use belongs to another one".to_owned(),
            );
        } else {
            tries.push("--ca-file DATA/ca.pem, the CA in the data folder of the hub".to_owned());
        }
    } else if has("refused") {
        if !port_known {
            tries.push(
                "--port PORT: nothing listens on 443, the port that is tried when none is given"
                    .to_owned(),
            );
        }
        tries.push(match is_local {
            true => "fanfare serve, with the same --data-dir: the hub does not run".to_owned(),
            false => "whether the hub runs, and whether this is its port for HTTPS".to_owned(),
        });
    } else if has("invalidcontenttype") || has("corrupt message") || has("wrong version") {
        tries.push(
            "the port of the service API (--port): what listens here does not speak HTTPS"
                .to_owned(),
        );
    } else if has("lookup") || has("dns") || has("name or service not known") {
        tries.push("the spelling of the host name in the connection string".to_owned());
    } else if has("timed out") {
        tries.push(
            "whether a firewall or proxy lies between (--proxy), or wait longer (--timeout)"
                .to_owned(),
        );
    } else if has("eof") || has("reset") || has("closed") {
        tries.push("the port of the service API (--port): MQTT has another".to_owned());
    }
    tries
}

fn no_reply(words: &str) -> Vec<String> {
    if words.to_lowercase().contains("timed out") {
        return vec!["--timeout with a longer wait".to_owned()];
    }
    Vec::new()
}

fn has_port(endpoint: &str) -> bool {
    endpoint
        .rsplit(':')
        .next()
        .is_some_and(|end| end.bytes().all(|b| b.is_ascii_digit()))
}

fn refused(refusal: &Refusal, text: Option<&str>, hub: Option<&Addressed>) -> Vec<String> {
    match refusal.status {
        401 => unauthorized(hub),
        400 | 412 => text
            .map(|text| query(text, &refusal.message))
            .unwrap_or_default(),
        429 => {
            vec!["again in a while; `fanfare hub status` shows the limits of this hub".to_owned()]
        }
        _ => match refusal.code.as_deref() {
            Some("JobAlreadyExists") => {
                vec!["another --job-id, or none: one is made then".to_owned()]
            }
            Some("JobNotFound") => vec!["fanfare job list shows the jobs there are".to_owned()],
            Some("OperationNotAllowedInCurrentState") => {
                vec!["fanfare job show says how it stands".to_owned()]
            }
            Some("DeviceNotOnline") => {
                vec!["a job, which waits for devices: fanfare job schedule-method".to_owned()]
            }
            _ => Vec::new(),
        },
    }
}

/// The contract has one answer for a wrong key and for a missing right.
fn unauthorized(hub: Option<&Addressed>) -> Vec<String> {
    if let Some(token) = hub.and_then(|hub| hub.token.as_deref()) {
        return vec![
            format!("a fresh token in {token}, of an issuer and for an audience that the hub is set to trust"),
            "a role that allows this, for whoever the token is of; the hub does not say which it is, its log does".to_owned(),
        ];
    }
    let who = hub.and_then(|hub| Some((hub.policy.as_deref()?, &hub.source)));
    let Some((policy, source)) = who else {
        return vec!["another credential".to_owned()];
    };
    let mut tries = Vec::new();
    // A data folder has the right keys.
    if !matches!(source, Source::DataDir(_)) {
        tries.push(format!(
            "another key for policy '{policy}', if the hub does not know the one from {}",
            source.words(),
        ));
    }
    if policy != "iothubowner" {
        tries.push(format!(
            "a policy with more rights, such as iothubowner, if '{policy}' may not do this; the hub does not say which it is"
        ));
    }
    tries
}

/// What people write in conditions and queries that the language has not.
fn query(text: &str, said: &str) -> Vec<String> {
    let bare = without_strings(text);
    let lower = bare.to_lowercase().replace(['\n', '\t'], " ");
    let is_query = lower.trim_start().starts_with("select");
    let mut tries = Vec::new();
    if !is_query && lower.trim_start().starts_with("where ") {
        tries.push("the condition without WHERE: it is what stands after it".to_owned());
    }
    if bare.contains("==") {
        tries.push("one '=' to compare: tags.building = '43'".to_owned());
    }
    if bare.contains("&&") || bare.contains("||") {
        tries.push("AND and OR in place of && and ||".to_owned());
    }
    if lower.contains(" like ") {
        tries.push("STARTSWITH(tags.name, 'a') or another function: there is no LIKE".to_owned());
    }
    let condition = match lower.find(" where ") {
        Some(at) if is_query => &lower[at..],
        None if is_query => "",
        _ => &lower,
    };
    if tries.is_empty() && !text.contains(['\'', '"']) && has_bare_word_as_value(condition) {
        tries.push(
            "double quotes around the whole argument: the shell took the single ones away, \"tags.building = '43'\""
                .to_owned(),
        );
    }
    if tries.is_empty()
        && let Some(name) = unknown_field(said)
    {
        tries.push(format!(
            "tags.{name}, if it is a tag; properties.reported.{name}, if devices report it"
        ));
    }
    tries
}

/// The name in the hub's "Unknown field 'name'".
fn unknown_field(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("Unknown field '")?;
    rest.split_once('\'').map(|(name, _)| name)
}

/// The text with what is in single quotes taken out.
fn without_strings(text: &str) -> String {
    text.split('\'').step_by(2).collect::<Vec<_>>().join("''")
}

/// Whether a comparison has a bare word or number-like word at its right, as after lost quotes.
fn has_bare_word_as_value(text: &str) -> bool {
    text.split(['=', '<', '>', ',', '['])
        .skip(1)
        .filter_map(|right| right.split_whitespace().next())
        .map(|word| word.trim_end_matches([']', ')']))
        .any(|word| {
            let starts_as_name = word.starts_with(|c: char| c.is_alphabetic());
            let is_known = ["true", "false", "null"].contains(&word)
                || ["tags.", "properties.", "devices.", "deviceid"]
                    .iter()
                    .any(|name| word.starts_with(name));
            starts_as_name && !is_known
        })
}

fn setup(error: &SetupError) -> Vec<String> {
    match error {
        SetupError::Key(_) => {
            vec!["the key as the hub prints it: base64, with its '=' at the end".to_owned()]
        }
        SetupError::Trust(_) => {
            vec!["a PEM file: it begins with -----BEGIN CERTIFICATE-----".to_owned()]
        }
        SetupError::Proxy(_) => vec!["--proxy http://HOST:PORT".to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_in_conditions_gets_advice() {
        for (text, advice) in [
            ("WHERE tags.a = 1", "without WHERE"),
            ("tags.a == '1'", "one '='"),
            ("tags.a = '1' && tags.b = 2", "AND and OR"),
            ("tags.name LIKE 'a%'", "STARTSWITH"),
            ("tags.building = north", "double quotes around the whole"),
            ("tags.a IN [one, two]", "double quotes around the whole"),
        ] {
            let tries = query(text, "");
            assert!(
                tries.iter().any(|line| line.contains(advice)),
                "{text}: {tries:?}"
            );
        }
    }

    #[test]
    fn what_is_fine_gets_none() {
        for text in [
            "tags.a = '== \"x\" && '",
            "tags.a = tags.b",
            "tags.a = true AND tags.b > 3",
            "SELECT * FROM devices WHERE tags.a = 1",
            "SELECT a, b FORM devices",
        ] {
            assert_eq!(query(text, ""), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_field_that_is_none_may_be_a_tag() {
        let tries = query(
            "building = '43'",
            "Line 1:1 Unknown field 'building', below",
        );
        assert!(tries[0].starts_with("tags.building, if"), "{tries:?}");
    }

    fn hub(source: Source, endpoint: &str, has_ca: bool) -> Addressed {
        Addressed {
            source,
            endpoint: endpoint.to_owned(),
            policy: Some("service".to_owned()),
            token: None,
            has_ca,
        }
    }

    #[test]
    fn a_hub_out_of_reach_gets_advice_by_its_cause() {
        let flag = |endpoint| hub(Source::Flag, endpoint, false);
        for (words, hub, advice) in [
            (
                "error: Connection refused",
                flag("https://localhost"),
                "--port PORT",
            ),
            (
                "Connection refused",
                flag("https://localhost:8443"),
                "this is its port",
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                flag("https://h"),
                "--ca-file",
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                hub(Source::Flag, "https://h", true),
                "another one",
            ),
            (
                "certificate not valid for name \"h\"",
                flag("https://h"),
                "--host-name",
            ),
            (
                "received corrupt message of type InvalidContentType",
                flag("https://h:1883"),
                "service API",
            ),
            (
                "failed to lookup address information",
                flag("https://h"),
                "spelling",
            ),
        ] {
            let tries = unreachable(words, Some(&hub));
            assert!(
                tries.iter().any(|line| line.contains(advice)),
                "{words}: {tries:?}"
            );
        }
    }

    #[test]
    fn a_refused_credential_is_told_as_key_and_as_right() {
        let tries = unauthorized(Some(&hub(Source::Environment, "https://h", false)));
        assert!(
            tries[0].contains("'service'") && tries[0].contains("IOTHUB_CONNECTION_STRING"),
            "{tries:?}"
        );
        assert!(tries[1].contains("more rights"), "{tries:?}");
    }
}
