//! The lines of imports and exports: a bulk item each, and entries of the errors' log.

use fanfare_hub::{
    configurations::{Configuration, ConfigurationId},
    ports::{
        TransferLines,
        store::Twin,
        transfers::{ConfigurationChange, LineChange, LineFailure, LineFault, LineName, LinePlace},
    },
};
use fanfare_wire::{
    DecodeError,
    configurations::{ConfigurationRequest, UnknownMembers},
    decode,
    registry::{BulkItem, Capabilities, SymmetricKey},
    transfers::{ConfigurationMode, ExportLine, INVALID_LINE, ImportError, ImportErrorPlace},
    twin::TwinProperties,
};

use super::{bulk, configurations, error::Refusal, twin_document};

/// Lines as the contract spells them. compat: XFER-5
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

impl TransferLines for Lines {
    fn write(&self, twin: &Twin, with_keys: bool, into: &mut Vec<u8>) {
        let (identity, document) = (&twin.identity, &twin.document);
        let settings = &identity.settings;
        let is_device = identity.id.module.is_none();
        let mut authentication = twin_document::authentication(&settings.authentication);
        if !with_keys {
            authentication.symmetric_key = SymmetricKey::default();
        }
        let line = ExportLine {
            id: identity.id.device.to_string(),
            module_id: identity.id.module.as_ref().map(ToString::to_string),
            e_tag: identity.etag.identity_text(),
            status: twin_document::status(settings.status),
            status_reason: settings.status_reason.clone(),
            authentication,
            twin_etag: document.etag.twin_text(),
            tags: document.tags.clone(),
            properties: TwinProperties {
                desired: twin_document::section(document.desired.clone()),
                reported: twin_document::section(document.reported.clone()),
            },
            capabilities: is_device.then_some(Capabilities {
                iot_edge: settings.edge,
            }),
            managed_by: settings.managed_by.clone(),
            device_scope: settings.device_scope.clone(),
            parent_scopes: Some(settings.parent_scopes.clone()).filter(|all| !all.is_empty()),
        };
        add(into, &line);
    }

    fn read(&self, line: &[u8]) -> Result<LineChange, LineFault> {
        let item: BulkItem = decode(line).map_err(unreadable)?;
        let named = LineName::Identity {
            device: item.id.clone(),
            module: item.module_id.clone(),
        };
        match bulk::planned(&item) {
            Ok(change) => Ok(LineChange { named, change }),
            Err(refusal) => Err(refused(named, &refusal)),
        }
    }

    fn write_configuration(&self, configuration: Configuration, into: &mut Vec<u8>) {
        match configurations::document(configuration) {
            Ok(document) => add(into, &document),
            Err(refusal) => tracing::error!("a configuration is left out: {}", refusal.text()),
        }
    }

    fn read_configuration(&self, line: &[u8]) -> Result<ConfigurationChange, LineFault> {
        let mode: ConfigurationMode = decode(line).map_err(unreadable)?;
        let request: ConfigurationRequest = decode(line).map_err(unreadable)?;
        let UnknownMembers(mut others) = decode(line).map_err(unreadable)?;
        others.remove("importMode");
        let name = request.id.clone().unwrap_or_default();
        let named = || LineName::Configuration(name.clone());
        let id = ConfigurationId::parse(&name)
            .map_err(|error| refused(named(), &Refusal::invalid(error.to_string())))?;
        let change = configurations::change(id, &mode, request, others);
        change.map_err(|refusal| refused(named(), &refusal))
    }

    fn explain(&self, named: LineName, failure: LineFailure) -> LineFault {
        let refusal = match failure {
            LineFailure::Bulk(failure) => Refusal::from(failure),
            LineFailure::Configuration(error) => Refusal::from(error),
        };
        refused(named, &refusal)
    }

    fn log(&self, place: &LinePlace<'_>, fault: LineFault, into: &mut Vec<u8>) {
        let (device_id, module_id, configuration) = match fault.named {
            None => (None, None, None),
            Some(LineName::Identity { device, module }) => (Some(device), module, None),
            Some(LineName::Configuration(id)) => (None, None, Some(id)),
        };
        let entry = ImportError {
            device_id,
            module_id,
            error_code: fault.code.unwrap_or(INVALID_LINE),
            error_status: fault.problem,
            fanfare: ImportErrorPlace {
                blob: place.blob.to_string(),
                line: place.line,
                configuration,
            },
        };
        add(into, &entry);
    }
}

fn unreadable(error: DecodeError) -> LineFault {
    LineFault {
        named: None,
        code: None,
        problem: error.to_string(),
    }
}

fn refused(named: LineName, refusal: &Refusal) -> LineFault {
    LineFault {
        named: Some(named),
        code: Some(refusal.code().number()),
        problem: refusal.text().to_owned(),
    }
}

fn add(into: &mut Vec<u8>, line: &impl serde::Serialize) {
    serde_json::to_writer(&mut *into, line).expect("documents of the wire can be written");
    into.push(b'\n');
}
