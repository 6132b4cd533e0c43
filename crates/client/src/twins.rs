//! Twins: the documents beside devices.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::transport::{IfMatch, segment};
use crate::{Error, HubClient};

/// A device's twin as the service sees it. Members this library does not name are in `other`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Twin {
    /// Device id.
    pub device_id: String,
    /// Changes with every change of the twin.
    #[serde(default)]
    pub etag: String,
    /// Number of changes of the whole twin.
    #[serde(default)]
    pub version: u64,
    /// Set by the service, hidden from the device.
    #[serde(default)]
    pub tags: Value,
    /// Desired and reported properties.
    #[serde(default)]
    pub properties: TwinProperties,
    /// Everything else in the document.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Both property sections of a twin, `$version` and `$metadata` included.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TwinProperties {
    /// Set by the service, read by the device.
    #[serde(default)]
    pub desired: Value,
    /// Set by the device.
    #[serde(default)]
    pub reported: Value,
}

impl HubClient {
    /// The twin of a device.
    ///
    /// # Errors
    /// `DeviceNotFound`, or no reply.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("{}", hub.twin("door-1").await?.tags["building"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn twin(&self, device_id: &str) -> Result<Twin, Error> {
        self.get(&format!("/twins/{}", segment(device_id))).await
    }

    /// Merges `patch` (`tags`, `properties.desired`) into a twin, whatever its etag, and returns the result.
    ///
    /// # Errors
    /// `DeviceNotFound`, `ArgumentInvalid` for a twin over a limit, or no reply.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// let patch = serde_json::json!({"tags": {"building": "43"}});
    /// hub.patch_twin("door-1", &patch).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch_twin(&self, device_id: &str, patch: &Value) -> Result<Twin, Error> {
        let path = format!("/twins/{}", segment(device_id));
        self.send(Method::PATCH, &path, IfMatch::Etag("*"), patch)
            .await
    }
}
