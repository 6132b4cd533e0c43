//! Twins and identities as documents of the contract.

use fanfare_hub::{
    configurations::ConfigurationStatus,
    presence::PresenceView,
    registry::{Authentication, Identity, Status},
    time::Timestamp,
    twin::{
        TwinView,
        document::{Metadata, Object, Properties},
    },
};
use fanfare_wire::{
    Secret,
    configurations::ConfigurationState,
    registry::{
        self, AuthenticationType, Capabilities, ConnectionState, DeviceIdentity, IdentityStatus,
        ModuleIdentity, SymmetricKey, Thumbprints,
    },
    twin::{TwinDocument, TwinProperties},
};
use serde_json::Value;

use super::job_document::time;

/// The document of a twin.
pub(super) fn twin(view: TwinView) -> TwinDocument {
    let TwinView { twin, presence } = view;
    let (identity, document) = (twin.identity, twin.document);
    let settings = identity.settings;
    TwinDocument {
        device_id: identity.id.device.to_string(),
        module_id: identity.id.module.as_ref().map(ToString::to_string),
        managed_by: settings.managed_by,
        etag: document.etag.twin_text(),
        device_etag: Some(identity.etag.identity_text()),
        status: Some(status(settings.status)),
        status_reason: settings.status_reason,
        status_update_time: Some(time(identity.status_updated)),
        connection_state: Some(connection_state(&presence)),
        last_activity_time: Some(time(last_activity(twin.last_activity, &presence))),
        cloud_to_device_message_count: 0,
        authentication_type: Some(authentication_type(&settings.authentication)),
        x509_thumbprint: thumbprints(&settings.authentication),
        model_id: String::new(),
        version: document.version,
        tags: document.tags,
        properties: TwinProperties {
            desired: section(document.desired),
            reported: section(document.reported),
        },
        capabilities: Some(Capabilities {
            iot_edge: settings.edge,
        }),
        device_scope: settings.device_scope,
        parent_scopes: Some(settings.parent_scopes).filter(|scopes| !scopes.is_empty()),
        configurations: twin
            .configurations
            .into_iter()
            .map(|(id, status)| (id.to_string(), configuration_state(status)))
            .collect(),
    }
}

/// compat: CFG-9
fn configuration_state(status: ConfigurationStatus) -> ConfigurationState {
    ConfigurationState {
        status: status.as_str().to_owned(),
    }
}

/// The document of an identity; `stored_activity` is when it was last heard as far as the store knows.
pub(super) fn identity(
    identity: Identity,
    presence: &PresenceView,
    stored_activity: Timestamp,
) -> DeviceIdentity {
    let settings = identity.settings;
    DeviceIdentity {
        device_id: identity.id.device.to_string(),
        generation_id: identity.generation.to_string(),
        etag: identity.etag.identity_text(),
        connection_state: connection_state(presence),
        status: status(settings.status),
        status_reason: settings.status_reason,
        connection_state_updated_time: time(presence.changed.unwrap_or(Timestamp::NEVER)),
        status_updated_time: time(identity.status_updated),
        last_activity_time: time(last_activity(stored_activity, presence)),
        cloud_to_device_message_count: 0,
        authentication: authentication(&settings.authentication),
        capabilities: Capabilities {
            iot_edge: settings.edge,
        },
        device_scope: settings.device_scope,
        parent_scopes: Some(settings.parent_scopes).filter(|scopes| !scopes.is_empty()),
    }
}

/// The document of a module's identity; `stored_activity` as in [`identity`].
pub(super) fn module(
    identity: Identity,
    presence: &PresenceView,
    stored_activity: Timestamp,
) -> ModuleIdentity {
    let settings = identity.settings;
    ModuleIdentity {
        module_id: identity
            .id
            .module
            .map_or_else(String::new, |id| id.to_string()),
        managed_by: settings.managed_by,
        device_id: identity.id.device.to_string(),
        generation_id: identity.generation.to_string(),
        etag: identity.etag.identity_text(),
        connection_state: connection_state(presence),
        connection_state_updated_time: time(presence.changed.unwrap_or(Timestamp::NEVER)),
        last_activity_time: time(last_activity(stored_activity, presence)),
        cloud_to_device_message_count: 0,
        authentication: authentication(&settings.authentication),
    }
}

pub(super) fn status(status: Status) -> IdentityStatus {
    match status {
        Status::Enabled => IdentityStatus::Enabled,
        Status::Disabled => IdentityStatus::Disabled,
    }
}

fn connection_state(presence: &PresenceView) -> ConnectionState {
    if presence.connected {
        ConnectionState::Connected
    } else {
        ConnectionState::Disconnected
    }
}

fn last_activity(stored: Timestamp, presence: &PresenceView) -> Timestamp {
    presence
        .last_heard
        .map_or(stored, |heard| heard.max(stored))
}

fn authentication_type(authentication: &Authentication) -> AuthenticationType {
    match authentication {
        Authentication::Sas { .. } => AuthenticationType::Sas,
        Authentication::SelfSigned { .. } => AuthenticationType::SelfSigned,
        Authentication::CertificateAuthority => AuthenticationType::CertificateAuthority,
        Authentication::None => AuthenticationType::None,
    }
}

fn thumbprints(authentication: &Authentication) -> Thumbprints {
    match authentication {
        Authentication::SelfSigned { primary, secondary } => Thumbprints {
            primary_thumbprint: primary.clone(),
            secondary_thumbprint: secondary.clone(),
        },
        _ => Thumbprints::default(),
    }
}

/// compat: REG-7
pub(super) fn authentication(authentication: &Authentication) -> registry::Authentication {
    let symmetric_key = match authentication {
        Authentication::Sas { primary, secondary } => SymmetricKey {
            primary_key: Some(Secret::new(primary.expose())),
            secondary_key: Some(Secret::new(secondary.expose())),
        },
        _ => SymmetricKey::default(),
    };
    registry::Authentication {
        authentication_type: authentication_type(authentication),
        symmetric_key,
        x509_thumbprint: thumbprints(authentication),
    }
}

/// A section with `$metadata` and `$version` inside. compat: TWIN-10
pub(super) fn section(properties: Properties) -> Object {
    let mut members = properties.values;
    members.insert("$metadata".to_owned(), metadata(&properties.metadata));
    members.insert("$version".to_owned(), properties.version.into());
    members
}

fn metadata(of: &Metadata) -> Value {
    let mut members = Object::new();
    members.insert("$lastUpdated".to_owned(), of.updated.to_string().into());
    if let Some(version) = of.version {
        members.insert("$lastUpdatedVersion".to_owned(), version.into());
    }
    members.extend(
        of.children
            .iter()
            .map(|(key, below)| (key.clone(), metadata(below))),
    );
    Value::Object(members)
}
