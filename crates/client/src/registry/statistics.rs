//! Numbers of the registry, and the queue of messages of a device.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RegistryClient;
use crate::transport::{Method, Repeat, segment};
use crate::{Error, words::null_as_default};

/// How many devices there are.
///
/// ```
/// let text = r#"{"totalDeviceCount":3,"enabledDeviceCount":2,"disabledDeviceCount":1}"#;
/// let numbers: fanfare_client::DeviceStatistics = serde_json::from_str(text)?;
/// assert_eq!(numbers.disabled_device_count, 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeviceStatistics {
    /// All of them.
    pub total_device_count: u64,
    /// Those that may connect.
    #[serde(default, deserialize_with = "null_as_default")]
    pub enabled_device_count: u64,
    /// Those that may not.
    #[serde(default, deserialize_with = "null_as_default")]
    pub disabled_device_count: u64,
    /// Everything else the hub counts.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How many devices are connected.
///
/// ```
/// let text = r#"{"connectedDeviceCount":2}"#;
/// let numbers: fanfare_client::ServiceStatistics = serde_json::from_str(text)?;
/// assert_eq!(numbers.connected_device_count, 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceStatistics {
    /// Connected now.
    pub connected_device_count: u64,
    /// Everything else the hub counts.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a purge dropped.
///
/// ```
/// let text = r#"{"totalMessagesPurged":5,"deviceId":"door-1","moduleId":null}"#;
/// let purged: fanfare_client::PurgedMessages = serde_json::from_str(text)?;
/// assert_eq!(purged.total_messages_purged, 5);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PurgedMessages {
    /// Messages that were waiting and are gone.
    pub total_messages_purged: u64,
    /// The device.
    pub device_id: String,
    /// Everything else the hub says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl RegistryClient {
    /// Counts the devices.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// println!("{} devices", registry.device_statistics().await?.total_device_count);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn device_statistics(&self) -> Result<DeviceStatistics, Error> {
        let call = self.hub.call(Method::GET, "/statistics/devices");
        call.read().await
    }

    /// Counts the connected devices. It needs the right to connect as a service, which registry policies lack.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// println!("{} online", registry.service_statistics().await?.connected_device_count);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn service_statistics(&self) -> Result<ServiceStatistics, Error> {
        let call = self.hub.call(Method::GET, "/statistics/service");
        call.read().await
    }

    /// Drops the messages that wait for a device. It is not repeated once it may have been done: messages sent in
    /// between would go too. It needs the right to connect as a service.
    ///
    /// # Errors
    /// `DeviceNotFound` (404), or no reply.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let purged = registry.purge_messages("door-1").await?;
    /// println!("{} dropped", purged.total_messages_purged);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge_messages(&self, device_id: &str) -> Result<PurgedMessages, Error> {
        let path = format!("/devices/{}/commands", segment(device_id));
        let call = self.hub.call(Method::DELETE, path);
        call.repeat(Repeat::Refused).read().await
    }
}
