//! What an export asks the hub for: the modules of the devices on a page, and identities for their keys.

use std::collections::BTreeMap;

use fanfare_client::{Error, HubClient, RegistryClient};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::export_line::line;
use crate::job::conditions::one_of;

/// Bytes of a list of ids in one query for modules. Ours; the original takes 8,192 characters.
const ID_LIST_BYTES_MAX: usize = 6_000;

/// Reads what belongs on lines.
pub(super) struct Reader {
    pub(super) hub: HubClient,
    /// Whether keys go along.
    pub(super) with_keys: bool,
    /// Requests for identities at once.
    pub(super) in_flight: usize,
}

impl Reader {
    /// The lines of the devices of one page, and how many were deleted meanwhile.
    pub(super) async fn lines(&self, twins: &[Value]) -> Result<(Vec<Vec<u8>>, u64), Error> {
        let ids: Vec<String> = twins
            .iter()
            .filter_map(|twin| id_of(twin, "deviceId"))
            .collect();
        let modules = self.modules(&ids).await?;
        let mut all = Vec::with_capacity(twins.len());
        for twin in twins {
            let of_device = twin["deviceId"].as_str().and_then(|id| modules.get(id));
            all.push(twin);
            all.extend(of_device.into_iter().flatten());
        }
        let registry = self.hub.registry();
        let read = stream::iter(all)
            .map(|twin| self.with_identity(&registry, twin))
            .buffered(self.in_flight);
        let read: Vec<Option<Vec<u8>>> = read.try_collect().await?;
        let gone = read.iter().filter(|line| line.is_none()).count() as u64;
        Ok((read.into_iter().flatten().collect(), gone))
    }

    /// The twins of the modules of these devices, by device, in the hub's order.
    async fn modules(&self, devices: &[String]) -> Result<BTreeMap<String, Vec<Value>>, Error> {
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for ids in lists(devices) {
            let condition = one_of(ids.iter().map(String::as_str));
            let text = format!("SELECT * FROM devices.modules WHERE {condition}");
            let mut rows = self.hub.queries().query::<Value>(text);
            while let Some(twin) = rows.try_next().await? {
                if let Some(device) = id_of(&twin, "deviceId") {
                    found.entry(device).or_default().push(twin);
                }
            }
        }
        Ok(found)
    }

    /// A twin's line, with keys from its identity; `None` when that was deleted since.
    async fn with_identity(
        &self,
        registry: &RegistryClient,
        twin: &Value,
    ) -> Result<Option<Vec<u8>>, Error> {
        if !self.with_keys {
            return Ok(Some(line(twin, None)));
        }
        let device = id_of(twin, "deviceId").unwrap_or_default();
        let identity = match id_of(twin, "moduleId") {
            None => registry
                .get_device(&device)
                .await
                .map(|device| json!(device)),
            Some(module) => {
                let found = registry.get_module(&device, &module).await;
                found.map(|module| json!(module))
            }
        };
        match identity {
            Ok(identity) => Ok(Some(line(twin, Some(&identity)))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn id_of(twin: &Value, member: &str) -> Option<String> {
    twin[member].as_str().map(str::to_owned)
}

/// Cuts ids into lists that fit into a query.
fn lists(ids: &[String]) -> Vec<&[String]> {
    let mut lists = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, id) in ids.iter().enumerate() {
        // Quotes, a comma, and what may be escaped.
        let more = 2 * id.len() + 4;
        if bytes + more > ID_LIST_BYTES_MAX && at > from {
            lists.push(&ids[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    if from < ids.len() {
        lists.push(&ids[from..]);
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ids_fit_into_a_query() {
        assert!(lists(&[]).is_empty());
        let ids: Vec<String> = (0..1_000).map(|n| format!("device-{n:04}")).collect();
        let cut = lists(&ids);
        assert_eq!(cut.concat(), ids);
        assert!(cut.len() > 1);
        for list in cut {
            let text = one_of(list.iter().map(String::as_str));
            assert!(text.len() <= ID_LIST_BYTES_MAX + 100, "{}", text.len());
        }
        let long = vec!["x".repeat(ID_LIST_BYTES_MAX); 2];
        assert_eq!(lists(&long).len(), 2);
    }
}
