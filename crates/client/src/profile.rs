//! The hub's profile: which of the original service's limits it imposes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::transport::Method;
use crate::{Error, HubClient};

/// What a Fanfare hub imposes on its callers. Members this library does not name are in `other`.
///
/// ```
/// let text = r#"{"profile": "s1", "units": 2, "jobsAtOnce": 1, "rates": {"query": null}}"#;
/// let profile: fanfare_client::HubProfile = serde_json::from_str(text)?;
/// assert_eq!((&*profile.name, profile.jobs_at_once), ("s1", Some(1)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HubProfile {
    /// The tier whose limits it has, or the word for none.
    #[serde(rename = "profile")]
    pub name: String,
    /// Units of that tier; some limits grow with them.
    #[serde(default)]
    pub units: u32,
    /// Jobs active at once; `None` is no limit.
    #[serde(default)]
    pub jobs_at_once: Option<u64>,
    /// Device jobs that all jobs together begin in a second; `None` is no limit.
    #[serde(default)]
    pub job_device_operations_per_second: Option<u64>,
    /// Characters of a job's condition and of a query; `None` is no limit.
    #[serde(default)]
    pub condition_chars_max: Option<u64>,
    /// Operations of each kind in a span of time; `None` is no limit.
    #[serde(default)]
    pub rates: BTreeMap<String, Option<Rate>>,
    /// Everything else the hub says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// So many operations in so much time.
///
/// ```
/// let rate = fanfare_client::Rate { operations: 100, seconds: 60 };
/// assert_eq!(serde_json::to_string(&rate)?, r#"{"operations":100,"seconds":60}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub operations: u64,
    /// In how many seconds.
    pub seconds: u64,
}

impl HubClient {
    /// The hub's profile. An extension: other hubs refuse.
    ///
    /// # Errors
    /// When the hub refuses or gives no reply.
    ///
    /// ```no_run
    /// # async fn example(hub: fanfare_client::HubClient) -> Result<(), fanfare_client::Error> {
    /// println!("as {}", hub.profile().await?.name);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn profile(&self) -> Result<HubProfile, Error> {
        let call = self.call(Method::GET, "/fanfare/v1/profile");
        call.read().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_survives() {
        let text = r#"{"profile":"open","units":1,"jobsAtOnce":null,"jobDeviceOperationsPerSecond":5,
            "conditionCharsMax":null,"rates":{"query":{"operations":20,"seconds":60},"jobs":null},
            "pythonJobList":true,"mood":"festive"}"#;
        let profile: HubProfile = serde_json::from_str(text).expect("it reads");
        assert_eq!(profile.rates["query"].map(|rate| rate.operations), Some(20));
        assert_eq!(profile.other["mood"], "festive");
        let sent: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::to_value(&profile).expect("JSON"), sent);
    }
}
