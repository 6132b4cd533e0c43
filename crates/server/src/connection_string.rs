//! Connection strings of a hub, read from its data folder, whether it runs or not.

use std::path::{Path, PathBuf};

use fanfare_hub::{
    ids::{DeviceId, IdError, IdentityId, ModuleId},
    ports::StoreError,
    registry::Authentication,
};
use fanfare_wire::{Secret, connection_string::ConnectionString};

use crate::{
    compose,
    data_dir::{DataDirError, HubFile, read_hub_file},
    vault::{self, KeySource, VaultError},
};

/// Why there is no connection string.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionStringError {
    /// The folder is not that of a hub.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its keys are encrypted, and the key given does not open them.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store cannot be read.
    #[error("the hub's store cannot be read")]
    Store(#[from] StoreError),
    /// No such policy.
    #[error("there is no policy {name}; there are {known}")]
    NoPolicy {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The text is no device id, or no module id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// No such device or module.
    #[error("{0} is not registered")]
    Absent(IdentityId),
    /// The device or module has no keys.
    #[error("{0} does not sign in with a key")]
    NoKey(IdentityId),
}

/// The connection string of a policy, with its primary key. `key` is needed where the folder's keys are
/// encrypted.
///
/// # Errors
/// No hub was started on the folder, or it has no such policy.
pub fn of_policy(
    data_dir: &Path,
    key: Option<&KeySource>,
    name: &str,
) -> Result<String, ConnectionStringError> {
    let host = read_hub_file(data_dir)?;
    let policies = compose::stored_policies(data_dir, &vault::peek(data_dir, key)?)?;
    let Some(policy) = policies.iter().find(|policy| &*policy.name == name) else {
        let known: Vec<_> = policies.iter().map(|policy| &*policy.name).collect();
        let (name, known) = (name.to_owned(), known.join(", "));
        return Err(ConnectionStringError::NoPolicy { name, known });
    };
    let key = Secret::new(policy.primary.expose());
    Ok(ConnectionString::service(&host_with_port(&host), &policy.name, key).to_string())
}

/// The connection string of a device, or of a module on it, with its primary key. Devices know no port of
/// the service API. `key` is needed where the folder's keys are encrypted.
///
/// # Errors
/// No hub was started on the folder, it has no such device or module, or what there is has no key.
pub fn of_identity(
    data_dir: &Path,
    key: Option<&KeySource>,
    device: &str,
    module: Option<&str>,
) -> Result<String, ConnectionStringError> {
    let id = IdentityId {
        device: DeviceId::parse(device)?,
        module: module.map(ModuleId::parse).transpose()?,
    };
    let host = read_hub_file(data_dir)?;
    let vault = vault::peek(data_dir, key)?;
    let Some(identity) = compose::stored_identity(data_dir, &vault, &id)? else {
        return Err(ConnectionStringError::Absent(id));
    };
    let Authentication::Sas { primary, .. } = identity.settings.authentication else {
        return Err(ConnectionStringError::NoKey(id));
    };
    let key = Secret::new(primary.expose());
    let string = ConnectionString {
        module_id: module.map(str::to_owned),
        ..ConnectionString::device(&host.host_name, device, key)
    };
    Ok(string.to_string())
}

/// The PEM file of the authority that clients of a folder's hub must trust; nothing when the system's own do, since
/// the hub has a certificate of theirs.
///
/// # Errors
/// No hub was started on the folder.
pub fn trusted_ca(data_dir: &Path) -> Result<Option<PathBuf>, ConnectionStringError> {
    Ok(read_hub_file(data_dir)?.trusted_ca(data_dir))
}

/// `localhost:8443`; the port is left out when it is 443.
pub(crate) fn host_with_port(host: &HubFile) -> String {
    let name = match host.host_name.parse() {
        Ok(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.host_name.clone(),
    };
    if host.https_port == 443 {
        name
    } else {
        format!("{name}:{}", host.https_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_shows_unless_it_is_the_standard_one() {
        for (name, port, shown) in [
            ("localhost", 443, "localhost"),
            ("localhost", 8_443, "localhost:8443"),
            ("::1", 8_443, "[::1]:8443"),
        ] {
            let host = HubFile {
                host_name: name.to_owned(),
                https_port: port,
                certificate_file: None,
            };
            assert_eq!(host_with_port(&host), shown);
        }
    }
}
