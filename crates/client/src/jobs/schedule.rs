//! What is asked of a hub when a job is scheduled: the call or the patch, when, and the body that says so.
//!
//! The body has the members that the Node SDK's promise form sends for the same wish, so that a hub cannot tell
//! the two apart. Beside it stands the question whether a job that is there is the one that was asked for.

use std::time::Duration;

use fanfare_wire::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{Job, JobType, seconds};

/// How long a device has to answer when nothing else is said, as with the Node SDK.
const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A method to call on devices.
///
/// ```
/// use std::time::Duration;
/// use fanfare_client::DeviceMethod;
///
/// let blink = DeviceMethod::new("blink")
///     .payload(serde_json::json!({"times": 3}))
///     .response_timeout(Duration::from_secs(15));
/// assert_eq!(blink.payload["times"], 3);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceMethod {
    /// The method (`methodName`).
    #[serde(rename = "methodName", default)]
    pub name: String,
    /// What devices are given; null for nothing.
    #[serde(default)]
    pub payload: Value,
    /// How long a device may take to answer, 5 to 300 s.
    #[serde(
        rename = "responseTimeoutInSeconds",
        default,
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub response_timeout: Option<Duration>,
    /// How long to wait for the device to connect, up to 300 s. Jobs wait for devices as long as their window
    /// is open, whatever stands here. compat: JOB-20
    #[serde(
        rename = "connectTimeoutInSeconds",
        default,
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout: Option<Duration>,
    /// Everything else in a document of a hub.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl DeviceMethod {
    /// The method `name` with payload `null` and 30 seconds to answer.
    ///
    /// ```
    /// let lock = fanfare_client::DeviceMethod::new("lockDoor");
    /// assert!(lock.payload.is_null());
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            payload: Value::Null,
            response_timeout: Some(RESPONSE_TIMEOUT_DEFAULT),
            connect_timeout: None,
            other: Map::new(),
        }
    }

    /// What devices are given. At most 128 KiB as JSON.
    ///
    /// ```
    /// use fanfare_client::DeviceMethod;
    /// let blink = DeviceMethod::new("blink").payload(serde_json::json!({"times": 3}));
    /// ```
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Value>) -> Self {
        self.payload = payload.into();
        self
    }

    /// How long a device may take to answer, 5 to 300 s; parts of a second are rounded up.
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = fanfare_client::DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(15));
    /// ```
    #[must_use]
    pub fn response_timeout(mut self, within: Duration) -> Self {
        self.response_timeout = Some(within);
        self
    }

    /// How long to wait for a device that is not connected, up to 300 s; parts of a second are rounded up. For
    /// direct calls; a job waits for devices as long as its window is open.
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = fanfare_client::DeviceMethod::new("lockDoor").connect_timeout(Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn connect_timeout(mut self, within: Duration) -> Self {
        self.connect_timeout = Some(within);
        self
    }
}

/// A patch of twins: `tags` and desired properties. `null` removes a member, or a whole section.
///
/// ```
/// use fanfare_client::TwinPatch;
/// use serde_json::json;
///
/// let both = TwinPatch::desired(json!({"floor": 3})).tags(json!({"ring": 2}));
/// let tags_only = TwinPatch::default().tags(json!({"ring": 2}));
/// assert_eq!(serde_json::to_value(tags_only)?, json!({"tags": {"ring": 2}}));
/// # assert_eq!(both.tags, Some(json!({"ring": 2})));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct TwinPatch {
    /// Merged into the desired properties.
    pub desired: Option<Value>,
    /// Merged into the tags.
    pub tags: Option<Value>,
    /// Everything else in a document, its etag for example.
    pub other: Map<String, Value>,
}

impl TwinPatch {
    /// A patch of the desired properties.
    ///
    /// ```
    /// let patch = fanfare_client::TwinPatch::desired(serde_json::json!({"floor": 3, "oldName": null}));
    /// ```
    #[must_use]
    pub fn desired(patch: impl Into<Value>) -> Self {
        Self {
            desired: Some(patch.into()),
            ..Self::default()
        }
    }

    /// Patches the tags as well.
    ///
    /// ```
    /// use fanfare_client::TwinPatch;
    /// let patch = TwinPatch::default().tags(serde_json::json!({"building": "43"}));
    /// ```
    #[must_use]
    pub fn tags(mut self, patch: impl Into<Value>) -> Self {
        self.tags = Some(patch.into());
        self
    }
}

/// From a document as twins have it: `tags`, and `desired` inside `properties`.
impl From<Map<String, Value>> for TwinPatch {
    fn from(mut document: Map<String, Value>) -> Self {
        let tags = document.remove("tags");
        let mut desired = None;
        if let Some(Value::Object(properties)) = document.get_mut("properties") {
            desired = properties.remove("desired");
            if desired.is_some() && properties.is_empty() {
                document.remove("properties");
            }
        }
        Self {
            desired,
            tags,
            other: document,
        }
    }
}

impl From<TwinPatch> for Map<String, Value> {
    fn from(patch: TwinPatch) -> Self {
        let mut document = patch.other;
        if let Some(tags) = patch.tags {
            document.insert("tags".to_owned(), tags);
        }
        if let Some(desired) = patch.desired {
            let properties = document
                .entry("properties")
                .or_insert_with(|| Value::Object(Map::new()));
            match properties {
                Value::Object(properties) => {
                    properties.insert("desired".to_owned(), desired);
                }
                other => *other = Value::Object(Map::from_iter([("desired".to_owned(), desired)])),
            }
        }
        document
    }
}

/// When a job runs.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use fanfare_client::ScheduleOptions;
///
/// let in_an_hour = ScheduleOptions {
///     start_time: Some((SystemTime::now() + Duration::from_secs(3600)).into()),
///     window: Some(Duration::from_secs(300)),
/// };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ScheduleOptions {
    /// When the job starts; `None` or a time in the past: at once. Sent to the millisecond, a rest to the
    /// microsecond.
    pub start_time: Option<Timestamp>,
    /// How long from its start devices may be reached (`maxExecutionTimeInSeconds`), parts of a second rounded
    /// up; `None`: the hub's default, an hour.
    pub window: Option<Duration>,
}

/// What a job does.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Method(DeviceMethod),
    Twin(TwinPatch),
}

/// The wish to have a job.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) job_id: String,
    pub(super) condition: String,
    pub(super) operation: Operation,
    pub(super) options: ScheduleOptions,
}

impl Schedule {
    /// The body of `PUT /jobs/v2/{id}`: no start is `null`, no window is no member. compat: JOB-3
    pub(super) fn body(&self) -> Value {
        let ScheduleOptions { start_time, window } = self.options;
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("jobId", self.job_id.as_str().into());
        match &self.operation {
            Operation::Method(method) => {
                put("type", JobType::ScheduleDeviceMethod.as_str().into());
                put("cloudToDeviceMethod", document(method));
            }
            Operation::Twin(patch) => {
                put("type", JobType::ScheduleUpdateTwin.as_str().into());
                let mut patch = document(patch);
                // A job patches whatever version a twin has; hubs refuse any other etag. compat: JOB-10
                patch["etag"] = "*".into();
                put("updateTwin", patch);
            }
        }
        put(
            "startTime",
            start_time.map_or(Value::Null, |at| wire_time(at).into()),
        );
        if let Some(window) = window {
            put("maxExecutionTimeInSeconds", seconds::whole(window).into());
        }
        put("queryCondition", self.condition.as_str().into());
        Value::Object(body)
    }

    /// Whether `job` is what this wish has led to, as far as its document tells. For the case that a hub says the
    /// id is taken when the request was sent twice: by the first of the two, or by somebody else?
    pub(super) fn is_fulfilled_by(&self, job: &Job) -> bool {
        let ScheduleOptions { start_time, window } = self.options;
        let same_operation = match &self.operation {
            Operation::Method(asked) => job.cloud_to_device_method.as_ref().is_some_and(|there| {
                let timeout = |method: &DeviceMethod| method.response_timeout.map(seconds::whole);
                there.name == asked.name
                    && there.payload == asked.payload
                    && timeout(there).is_none_or(|_| timeout(there) == timeout(asked))
            }),
            Operation::Twin(asked) => job
                .update_twin
                .as_ref()
                .is_some_and(|there| there.desired == asked.desired && there.tags == asked.tags),
        };
        let same_start = |asked: Timestamp| job.start_time.is_none_or(|there| there == asked);
        let same_window = |asked: Duration| {
            job.window
                .is_none_or(|there| there.as_secs() == seconds::whole(asked))
        };
        same_operation
            && self.has_condition_of(job)
            && start_time.is_none_or(same_start)
            && window.is_none_or(same_window)
    }

    /// Long conditions are shown by length and hash. compat: JOB-16
    fn has_condition_of(&self, job: &Job) -> bool {
        if let Some(there) = &job.query_condition {
            return *there == self.condition;
        }
        let digest = Sha256::digest(self.condition.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let there = job
            .other
            .get("fanfare")
            .and_then(|fanfare| fanfare.get("condition")?.get("sha256")?.as_str());
        there == Some(digest.as_str())
    }
}

fn document(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("methods and patches are JSON objects with text for keys")
}

/// The Node SDK's form, `YYYY-MM-DDTHH:MM:SS.sssZ`; with microseconds, as Python sends them, where there are any.
fn wire_time(at: Timestamp) -> String {
    let text = at.to_string();
    let Some((seconds, fraction)) = text.trim_end_matches('Z').split_once('.') else {
        return text;
    };
    let digits = if at.as_micros() % 1_000 == 0 { 3 } else { 6 };
    format!("{seconds}.{}Z", &fraction[..digits])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wish(operation: Operation, options: ScheduleOptions) -> Schedule {
        Schedule {
            job_id: "j 2".to_owned(),
            condition: "*".to_owned(),
            operation,
            options,
        }
    }

    fn at(text: &str) -> Option<Timestamp> {
        Some(Timestamp::parse(text).unwrap())
    }

    #[test]
    fn bodies_have_the_members_of_nodes_promise_form() {
        let method = DeviceMethod::new("m").response_timeout(Duration::from_secs(15));
        let options = ScheduleOptions {
            start_time: at("2026-11-24T00:00:00Z"),
            window: Some(Duration::from_secs(300)),
        };
        assert_eq!(
            wish(Operation::Method(method), options).body(),
            json!({"jobId": "j 2", "type": "scheduleDeviceMethod",
                "cloudToDeviceMethod": {"methodName": "m", "payload": null, "responseTimeoutInSeconds": 15},
                "startTime": "2026-11-24T00:00:00.000Z", "maxExecutionTimeInSeconds": 300,
                "queryCondition": "*"})
        );
        let patch = TwinPatch::desired(json!({"floor": 3, "gone": null}));
        assert_eq!(
            wish(Operation::Twin(patch), ScheduleOptions::default()).body(),
            json!({"jobId": "j 2", "type": "scheduleUpdateTwin",
                "updateTwin": {"etag": "*", "properties": {"desired": {"floor": 3, "gone": null}}},
                "startTime": null, "queryCondition": "*"})
        );
    }

    #[test]
    fn start_times_are_sent_to_the_millisecond_or_microsecond() {
        for (text, want) in [
            ("2031-02-03T04:05:06Z", "2031-02-03T04:05:06.000Z"),
            ("2031-02-03T04:05:06.12Z", "2031-02-03T04:05:06.120Z"),
            ("2031-02-03T04:05:06.123456Z", "2031-02-03T04:05:06.123456Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(wire_time(at(text).unwrap()), want);
        }
    }

    #[test]
    fn patches_are_read_and_written_without_loss() {
        for document in [
            json!({}),
            json!({"tags": null}),
            json!({"etag": "*", "tags": {"a": 1}, "properties": {"desired": {"b": null}, "reported": {}}}),
            json!({"properties": {}}),
            json!({"properties": null, "x": 1}),
            json!({"properties": {"desired": null}}),
        ] {
            let patch: TwinPatch = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(patch).unwrap(), document);
        }
    }

    #[test]
    fn a_job_is_recognised_by_what_it_does_to_whom_and_when() {
        let method = DeviceMethod::new("lock").payload(json!({"bolt": 2}));
        let options = ScheduleOptions {
            start_time: at("2031-02-03T04:05:06Z"),
            window: Some(Duration::from_secs(60)),
        };
        let wish = wish(Operation::Method(method), options);
        let echo = |change: fn(&mut Value)| {
            let mut document = wish.body();
            document["status"] = "queued".into();
            change(&mut document);
            serde_json::from_value::<Job>(document).unwrap()
        };
        assert!(wish.is_fulfilled_by(&echo(|_| {})));
        assert!(wish.is_fulfilled_by(&echo(|job| job["startTime"] = Value::Null)));
        for change in [
            (|job| job["queryCondition"] = "deviceId = 'd'".into()) as fn(&mut Value),
            |job| job["cloudToDeviceMethod"]["payload"]["bolt"] = 3.into(),
            |job| job["cloudToDeviceMethod"]["methodName"] = "unlock".into(),
            |job| job["cloudToDeviceMethod"]["responseTimeoutInSeconds"] = 31.into(),
            |job| job["startTime"] = "2031-02-03T04:05:07Z".into(),
            |job| job["maxExecutionTimeInSeconds"] = 61.into(),
            |job| job["cloudToDeviceMethod"] = Value::Null,
            |job| job["queryCondition"] = Value::Null,
        ] {
            let other = echo(change);
            assert!(!wish.is_fulfilled_by(&other), "{other:?}");
        }
        assert!(wish.is_fulfilled_by(&echo(|job| {
            job["queryCondition"] = Value::Null;
            let sha256 = "684888c0ebb17f374298b65ee2807526c066094c701bcc7ebbe1c1095f494fc1";
            job["fanfare"] = json!({"condition": {"length": 1, "sha256": sha256}});
        })));
    }

    #[test]
    fn a_patch_is_recognised_whatever_etag_the_echo_has() {
        let patch = TwinPatch::default().tags(json!({"ring": 2}));
        let wish = wish(Operation::Twin(patch), ScheduleOptions::default());
        let mut document = wish.body();
        document["status"] = "running".into();
        let job: Job = serde_json::from_value(document.clone()).unwrap();
        assert!(wish.is_fulfilled_by(&job));
        document["updateTwin"]["properties"] = json!({"desired": {}});
        let job: Job = serde_json::from_value(document).unwrap();
        assert!(!wish.is_fulfilled_by(&job));
    }
}
