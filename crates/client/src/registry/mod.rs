//! The registry: who may connect to a hub, and what goes with it.
//!
//! One [`RegistryClient`]; its calls are beside the documents they are about. Every change of something that exists
//! goes for the version its caller names, or for any; only those for any version are repeated after a lost reply.

mod authentication;
mod bulk;
mod configurations;
mod devices;
mod keys;
mod modules;
mod statistics;
mod transfers;

pub use authentication::{Authentication, AuthenticationType, SymmetricKey, Thumbprints};
pub use bulk::{
    BULK_ITEMS_MAX, BulkInterrupted, BulkItem, BulkOutcome, BulkProperties, RefusedItem,
};
pub use configurations::{Configuration, ConfigurationContent, ConfigurationMetrics, QueryFaults};
pub use devices::{Capabilities, ConnectionState, Device, IdentityStatus};
pub use keys::KeyRenewal;
pub use modules::Module;
pub use statistics::{DeviceStatistics, PurgedMessages, ServiceStatistics};
pub use transfers::{
    ConfigurationsBlob, ExportOptions, ImportOptions, StorageAccess, StorageAuthentication,
    TransferJob, TransferKind, TransferStatus,
};

use crate::HubClient;

/// The registry of one hub: devices and modules, one by one or in bulk, configurations, imports and exports, numbers.
/// Cheap to clone.
///
/// ```no_run
/// use fanfare_client::{ClientOptions, Device, RegistryClient};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let registry = RegistryClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let door = registry.create_device(&Device::new("door-1")).await?;
/// println!("{}", door.primary_key().expect("the hub made one").expose());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RegistryClient {
    pub(crate) hub: HubClient,
}

crate::hub::constructors_of!(RegistryClient);
