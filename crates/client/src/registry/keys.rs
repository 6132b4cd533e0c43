//! Renewal of symmetric keys by the hub.

use serde::Serialize;

use super::bulk::{Progress, ask};
use super::{BULK_ITEMS_MAX, BulkInterrupted, BulkOutcome, RegistryClient};
use crate::IdentityId;
use crate::transport::{Method, Repeat};

/// Which keys a renewal is for.
///
/// ```no_run
/// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
/// use fanfare_client::{IdentityId, KeyRenewal};
/// // Devices that use their primary key go on with it: it is the secondary one now.
/// let doors = [IdentityId::device("door-1")];
/// registry.regenerate_keys(&doors, KeyRenewal::Swap).await?;
/// registry.regenerate_keys(&doors, KeyRenewal::Primary).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum KeyRenewal {
    /// A new primary key.
    #[serde(rename = "primaryKey")]
    Primary,
    /// A new secondary key.
    #[serde(rename = "secondaryKey")]
    Secondary,
    /// The two change places.
    #[serde(rename = "swap")]
    Swap,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Renewal<'a> {
    policy_key: KeyRenewal,
    devices: Vec<Named<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_id: Option<&'a str>,
}

impl RegistryClient {
    /// Renews keys of devices and modules, and says what came of each. The new keys are read with
    /// [`Self::get_device`] and [`Self::get_module`]. It is never repeated once it may have been done.
    ///
    /// # Errors
    /// [`BulkInterrupted`] when a request as a whole is refused or gets no reply. An identity without keys is a
    /// refused item, `InvalidOperation`.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::KeyRenewal;
    /// let outcome = registry.regenerate_keys(&["door-1".into()], KeyRenewal::Secondary).await?;
    /// assert!(outcome.is_all_done(), "{:?}", outcome.refused);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn regenerate_keys(
        &self,
        ids: &[IdentityId],
        renewal: KeyRenewal,
    ) -> Result<BulkOutcome, BulkInterrupted> {
        let mut progress = Progress::new(ids.len());
        let end = |from: usize| ids.len().min(from + BULK_ITEMS_MAX);
        while let Some(range) = progress.next(end) {
            let part = &ids[range.clone()];
            let devices = part.iter().map(|id| Named {
                id: &id.device_id,
                module_id: id.module_id.as_deref(),
            });
            let body = Renewal {
                policy_key: renewal,
                devices: devices.collect(),
            };
            let call = self.hub.call(Method::POST, "/devices/keys/regenerate");
            let reply = ask(call.json(&body).repeat(Repeat::Refused)).await;
            progress.answered(range, part, reply)?;
        }
        Ok(progress.outcome)
    }
}
