//! How the parts of a stored row show as values of the query language.

use std::{borrow::Cow, fmt::Write as _};

use fanfare_hub::{
    configurations::ConfigurationStatus,
    query::{Json, RootField, Value},
    time::Timestamp,
    twin::document::Metadata,
};

use super::Statuses;
use crate::embedded::registry::record::{AuthenticationRecord, IdentityRecord};

/// The value of a field that is in the record of an identity's settings.
pub(super) fn settings_field(settings: &IdentityRecord, field: RootField) -> Value<'_> {
    use AuthenticationRecord::{CertificateAuthority, None as Nothing, Sas, SealedSas, SelfSigned};
    let (primary, secondary) = match &settings.authentication {
        SelfSigned { primary, secondary } => (primary.as_deref(), secondary.as_deref()),
        Sas { .. } | SealedSas(_) | CertificateAuthority | Nothing => (None, None),
    };
    match field {
        RootField::AuthenticationType => Value::str(match &settings.authentication {
            Sas { .. } | SealedSas(_) => "sas",
            SelfSigned { .. } => "selfSigned",
            CertificateAuthority => "certificateAuthority",
            Nothing => "none",
        }),
        RootField::X509Thumbprint => object(format!(
            "{{\"primaryThumbprint\":{},\"secondaryThumbprint\":{}}}",
            json(&primary),
            json(&secondary)
        )),
        RootField::PrimaryThumbprint => nullable(primary),
        RootField::SecondaryThumbprint => nullable(secondary),
        RootField::Capabilities => object(format!("{{\"iotEdge\":{}}}", settings.edge)),
        RootField::IotEdge => Value::Bool(settings.edge),
        RootField::DeviceScope => settings
            .device_scope
            .as_deref()
            .map_or(Value::Undefined, Value::str),
        RootField::ParentScopes if settings.parent_scopes.is_empty() => Value::Undefined,
        RootField::ParentScopes => Value::Array(Json::Text(json(&settings.parent_scopes).into())),
        _ => Value::Undefined,
    }
}

/// The value at `keys` inside the text of a section.
pub(super) fn inside<'a>(section: &'a str, keys: &[Box<str>]) -> Value<'a> {
    if keys.is_empty() {
        return Value::Object(Json::Text(section.into()));
    }
    let found = sonic_rs::get(section, keys.iter().map(|key| &**key));
    match found.map(|value| value.as_raw_cow()) {
        Ok(Cow::Borrowed(text)) => Value::from_json_text(text).unwrap_or(Value::Undefined),
        // Nothing at that path. (What is cut out of a borrowed text is never owned.)
        Ok(Cow::Owned(_)) | Err(_) => Value::Undefined,
    }
}

pub(super) fn metadata_value(mut metadata: &Metadata, keys: &[Box<str>]) -> Value<'static> {
    for (place, key) in keys.iter().enumerate() {
        let is_last = place + 1 == keys.len();
        match (&**key, metadata.children.get(&**key)) {
            (_, Some(child)) => metadata = child,
            ("$lastUpdated", None) if is_last => return moment(metadata.updated),
            ("$lastUpdatedVersion", None) if is_last => {
                return metadata
                    .version
                    .map_or(Value::Undefined, |version| (version as i64).into());
            }
            _ => return Value::Undefined,
        }
    }
    let mut text = String::new();
    print_metadata(metadata, &mut text);
    object(text)
}

/// The value at `keys` below `configurations`: `{id: {status}}`. compat: QUERY-35
pub(super) fn configurations_value(statuses: &Statuses, keys: &[Box<str>]) -> Value<'static> {
    let shown = |status: &ConfigurationStatus| format!("{{\"status\":{}}}", json(&status.as_str()));
    let Some((name, below)) = keys.split_first() else {
        if statuses.is_empty() {
            return Value::Undefined;
        }
        let members = statuses.iter();
        let members =
            members.map(|(id, status)| format!("{}:{}", json(&id.as_str()), shown(status)));
        return object(format!("{{{}}}", members.collect::<Vec<_>>().join(",")));
    };
    let found = statuses.iter().find(|(id, _)| id.as_str() == &**name);
    match (found, below) {
        (Some((_, status)), []) => object(shown(status)),
        (Some((_, status)), [member]) if &**member == "status" => Value::str(status.as_str()),
        _ => Value::Undefined,
    }
}

/// Appends `$metadata` of a section, or of a value in it.
pub(super) fn print_metadata(metadata: &Metadata, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{{\"$lastUpdated\":\"{}\"", metadata.updated);
    if let Some(version) = metadata.version {
        let _ = write!(out, ",\"$lastUpdatedVersion\":{version}");
    }
    for (key, child) in &metadata.children {
        let _ = write!(out, ",{}:", json(key));
        print_metadata(child, out);
    }
    out.push('}');
}

/// A string made for the occasion.
pub(super) fn string(text: String) -> Value<'static> {
    Value::String(text.into())
}

/// An object, as JSON.
pub(super) fn object(text: String) -> Value<'static> {
    Value::Object(Json::Text(text.into()))
}

/// A timestamp, as the contract spells it.
pub(super) fn moment(at: Timestamp) -> Value<'static> {
    string(at.to_string())
}

/// A string, or null.
pub(super) fn nullable(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::str)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts and lists of texts are JSON")
}
