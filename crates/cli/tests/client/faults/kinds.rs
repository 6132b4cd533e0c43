//! The kinds of call in the matrix: one for each way in which a call may or may not be repeated.

use std::time::Duration;

use fanfare_client::{
    BulkItem, Device, DeviceMethod, Error, Etag, HubClient, ImportMode, ScheduleOptions, Timestamp,
    TwinPatch,
};
use serde_json::{Value, json};

use super::CALLED;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Query,
    Schedule,
    Cancel,
    PatchTwin,
    Delete,
    Create,
    UpdateIfUnchanged,
    Bulk,
    CallMethod,
}

pub(crate) const KINDS: [Kind; 10] = [
    Kind::Read,
    Kind::Query,
    Kind::Schedule,
    Kind::Cancel,
    Kind::PatchTwin,
    Kind::Delete,
    Kind::Create,
    Kind::UpdateIfUnchanged,
    Kind::Bulk,
    Kind::CallMethod,
];

/// A call with what it needs at the hub.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) kind: Kind,
    /// Of the device or job it is about, its own.
    pub(crate) id: String,
    etag: Etag,
}

impl Kind {
    /// Whether doing it twice is doing it once.
    pub(crate) fn twice_is_once(self) -> bool {
        match self {
            Self::Read | Self::Query | Self::Schedule | Self::Cancel => true,
            Self::PatchTwin | Self::Delete => true,
            Self::Create | Self::UpdateIfUnchanged | Self::Bulk | Self::CallMethod => false,
        }
    }

    /// Whether it changes anything.
    pub(crate) fn changes(self) -> bool {
        !matches!(self, Self::Read | Self::Query)
    }

    /// Brings about at the hub what the call needs; `owner` goes there without a proxy.
    pub(crate) async fn prepare(self, owner: &HubClient, id: String) -> Prepared {
        let registry = owner.registry();
        let mut etag = Etag::any();
        match self {
            Self::Read | Self::UpdateIfUnchanged | Self::PatchTwin | Self::Delete => {
                etag = registry
                    .create_device(&Device::new(&id))
                    .await
                    .unwrap()
                    .etag;
            }
            Self::Cancel => {
                let patch = TwinPatch::default().tags(json!({"a": 1}));
                let options = ScheduleOptions {
                    start_time: Some(later()),
                    window: None,
                };
                let jobs = owner.jobs();
                jobs.schedule_twin_update(&id, "*", patch, options)
                    .await
                    .unwrap();
            }
            Self::Query | Self::Schedule | Self::Create | Self::Bulk | Self::CallMethod => {}
        }
        Prepared {
            kind: self,
            id,
            etag,
        }
    }
}

impl Prepared {
    /// Makes the call.
    pub(crate) async fn make(&self, hub: &HubClient) -> Result<(), Error> {
        let (registry, id) = (hub.registry(), &*self.id);
        match self.kind {
            Kind::Read => registry.get_device(id).await.map(drop),
            Kind::Query => {
                let text = format!("SELECT deviceId FROM devices WHERE deviceId = '{id}'");
                hub.queries().query::<Value>(text).collect().await.map(drop)
            }
            Kind::Schedule => {
                let patch = TwinPatch::default().tags(json!({"a": 1}));
                let options = ScheduleOptions {
                    start_time: Some(later()),
                    window: None,
                };
                let jobs = hub.jobs();
                let job = jobs.schedule_twin_update(id, "*", patch, options).await?;
                assert_eq!(job.job_id, id);
                Ok(())
            }
            Kind::Cancel => hub.jobs().cancel_job(id).await.map(|job| {
                assert_eq!(job.job_id, id);
                assert_eq!(job.status.as_str(), "cancelled");
            }),
            Kind::PatchTwin => {
                let patch = TwinPatch::default().tags(json!({"a": 1}));
                hub.twins().patch(id, &patch, None).await.map(drop)
            }
            Kind::Delete => registry.delete_device(id, None).await,
            Kind::Create => registry.create_device(&Device::new(id)).await.map(drop),
            Kind::UpdateIfUnchanged => {
                let device = Device::new(id);
                registry
                    .update_device(&device, self.etag.clone())
                    .await
                    .map(drop)
            }
            Kind::Bulk => {
                let item = BulkItem::new(id, ImportMode::Create);
                let outcome = registry.bulk(&[item]).await?;
                assert!(outcome.is_all_done(), "{outcome:?}");
                Ok(())
            }
            Kind::CallMethod => {
                let method = DeviceMethod::new("count")
                    .payload(json!({ "call": id }))
                    .response_timeout(Duration::from_secs(5));
                let result = hub.methods().invoke(CALLED, method).await?;
                assert_eq!(result.status, 200);
                Ok(())
            }
        }
    }
}

/// A start so late that nothing runs.
fn later() -> Timestamp {
    "2031-02-03T04:05:06Z".parse().expect("a time")
}
