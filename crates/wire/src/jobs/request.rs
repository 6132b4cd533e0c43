//! The body of `PUT /jobs/v2/{id}`, with everything SDKs do differently.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::method::MethodRequest;
use crate::twin::{self, TwinPatchRequest};
use crate::{Field, Timestamp, field};

/// The wish to schedule a job. Null means absent, numbers may be text, unknown members are ignored.
/// compat: JOB-3, HTTP-9, HTTP-10
///
/// The shape says nothing about validity: whoever reads it checks that the type is known and its part
/// is there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRequest {
    /// The id; the path decides, this may only agree. Node passes on a number as a number. compat: JOB-1
    #[serde(
        default,
        deserialize_with = "field::id_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub job_id: Option<String>,
    /// What to do, as text: an unknown type has an answer of its own. See [`super::JobType::parse`].
    /// compat: JOB-2
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub job_type: Option<String>,
    /// The call, in method jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_method: Option<MethodRequest>,
    /// The patch, in twin jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_twin: Option<UpdateTwin>,
    /// Which devices: what would follow WHERE, or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_condition: Option<String>,
    /// When to start; absent is now. compat: JOB-3
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// How long the window is; absent and 0 mean the default. compat: JOB-3
    #[serde(
        default,
        deserialize_with = "field::whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_execution_time_in_seconds: Option<u64>,
}

/// The patch of a twin job. Kept member by member as it was sent, because tests compare the echo with what
/// they sent; the parts that count are read through the methods. compat: JOB-10
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Box<RawValue>", into = "Map<String, Value>")]
pub struct UpdateTwin {
    members: Map<String, Value>,
    patch: TwinPatchRequest,
}

impl UpdateTwin {
    /// The patch to send, with the etag that every twin job has.
    pub fn new(patch: &TwinPatchRequest) -> Self {
        let mut members = Map::from_iter([("etag".to_owned(), Value::from("*"))]);
        match serde_json::to_value(patch) {
            Ok(Value::Object(parts)) => members.extend(parts),
            _ => unreachable!("a patch is a JSON object"),
        }
        Self {
            members,
            patch: patch.clone(),
        }
    }

    /// The etag, which must be `*`; missing and null mean the same. compat: JOB-10
    pub fn etag(&self) -> Option<&str> {
        self.members.get("etag").and_then(Value::as_str)
    }

    /// What the job does to a twin.
    pub fn patch(&self) -> &TwinPatchRequest {
        &self.patch
    }

    /// Every member as it was sent.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }
}

impl TryFrom<Box<RawValue>> for UpdateTwin {
    type Error = UpdateTwinFault;

    /// From the text as it came, since its numbers must not have been rounded before. compat: TWIN-16
    fn try_from(text: Box<RawValue>) -> Result<Self, Self::Error> {
        let members = twin::object(text.get()).map_err(UpdateTwinFault)?;
        Self::try_from(members)
    }
}

impl TryFrom<Map<String, Value>> for UpdateTwin {
    type Error = UpdateTwinFault;

    fn try_from(members: Map<String, Value>) -> Result<Self, Self::Error> {
        if !matches!(
            members.get("etag"),
            None | Some(Value::Null | Value::String(_))
        ) {
            return Err(fault("etag must be text"));
        }
        let desired = match members.get("properties") {
            None | Some(Value::Null) => Field::Absent,
            Some(Value::Object(properties)) => section(
                properties,
                "desired",
                "properties.desired must be an object or null",
            )?,
            Some(_) => return Err(fault("properties must be an object")),
        };
        let tags = section(&members, "tags", "tags must be an object or null")?;
        Ok(Self {
            patch: TwinPatchRequest { tags, desired },
            members,
        })
    }
}

impl From<UpdateTwin> for Map<String, Value> {
    fn from(update: UpdateTwin) -> Self {
        update.members
    }
}

fn section(
    parent: &Map<String, Value>,
    name: &str,
    problem: &str,
) -> Result<Field<Map<String, Value>>, UpdateTwinFault> {
    match parent.get(name) {
        None => Ok(Field::Absent),
        Some(Value::Null) => Ok(Field::Null),
        Some(Value::Object(members)) => Ok(Field::Value(members.clone())),
        Some(_) => Err(fault(problem)),
    }
}

fn fault(problem: &str) -> UpdateTwinFault {
    UpdateTwinFault(problem.to_owned())
}

/// Why a patch is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UpdateTwinFault(String);
