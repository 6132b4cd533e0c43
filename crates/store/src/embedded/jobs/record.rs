//! The stored shape of a job's plan, which never changes once the job is accepted.

use fanfare_hub::{
    ids::{MethodName, Space},
    jobs::job::{ConditionText, JobPlan, MethodOperation, Operation, TwinOperation},
    json::JsonText,
    ports::StoreError,
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinPatch},
};
use serde::{Deserialize, Serialize};

use crate::record::{corrupt, open_value, seal_value};

const VERSION: u8 = 1;

/// A plan without its condition, which may be large and is stored beside it.
#[derive(Serialize, Deserialize)]
pub(super) struct PlanRecord {
    space: u8,
    operation: OperationRecord,
    start: Option<i64>,
    window_seconds: u32,
}

#[derive(Serialize, Deserialize)]
enum OperationRecord {
    Method {
        name: String,
        payload: String,
        response_seconds: u32,
        connect_seconds: Option<u32>,
    },
    Twin {
        tags: SectionRecord,
        desired: SectionRecord,
        echo: String,
    },
}

/// A section's change; the members of a merge as JSON text.
#[derive(Serialize, Deserialize)]
enum SectionRecord {
    Absent,
    Clear,
    Merge(String),
}

impl PlanRecord {
    pub(super) fn new(plan: &JobPlan) -> Self {
        let operation = match &plan.operation {
            Operation::Method(method) => OperationRecord::Method {
                name: method.name.to_string(),
                payload: method.payload.as_str().to_owned(),
                response_seconds: method.response_seconds,
                connect_seconds: method.connect_seconds,
            },
            Operation::Twin(twin) => OperationRecord::Twin {
                tags: SectionRecord::new(twin.patch.tags()),
                desired: SectionRecord::new(twin.patch.desired()),
                echo: twin.echo.as_str().to_owned(),
            },
        };
        Self {
            space: plan.space as u8,
            operation,
            start: plan.start.map(|start| start.0),
            window_seconds: plan.window_seconds,
        }
    }

    /// Bytes to store.
    pub(super) fn seal(&self) -> Vec<u8> {
        seal_value(VERSION, self)
    }

    /// What [`Self::seal`] made.
    pub(super) fn open(record: &[u8]) -> Result<Self, StoreError> {
        open_value("job plan", VERSION, record)
    }

    pub(super) fn into_plan(self, condition: ConditionText) -> Result<JobPlan, StoreError> {
        let operation = match self.operation {
            OperationRecord::Method {
                name,
                payload,
                response_seconds,
                connect_seconds,
            } => Operation::Method(MethodOperation {
                name: MethodName::parse(&name)
                    .map_err(|_| corrupt("job plan", "names no method"))?,
                payload: json(&payload)?,
                response_seconds,
                connect_seconds,
            }),
            OperationRecord::Twin {
                tags,
                desired,
                echo,
            } => {
                let patch = TwinPatch::new(tags.into_patch()?, desired.into_patch()?)
                    .map_err(|_| corrupt("job plan", "holds a patch outside the rules"))?;
                Operation::Twin(TwinOperation {
                    patch,
                    echo: json(&echo)?,
                })
            }
        };
        Ok(JobPlan {
            condition,
            space: space_of(self.space)?,
            operation,
            start: self.start.map(Timestamp),
            window_seconds: self.window_seconds,
        })
    }
}

impl SectionRecord {
    fn new(patch: &SectionPatch) -> Self {
        match patch {
            SectionPatch::Absent => Self::Absent,
            SectionPatch::Clear => Self::Clear,
            SectionPatch::Merge(members) => {
                Self::Merge(serde_json::to_string(members).expect("JSON objects can be written"))
            }
        }
    }

    fn into_patch(self) -> Result<SectionPatch, StoreError> {
        Ok(match self {
            Self::Absent => SectionPatch::Absent,
            Self::Clear => SectionPatch::Clear,
            Self::Merge(text) => {
                let members: Object = serde_json::from_str(&text)
                    .map_err(|_| corrupt("job plan", "holds a patch that is not JSON"))?;
                SectionPatch::Merge(members)
            }
        })
    }
}

fn json(text: &str) -> Result<JsonText, StoreError> {
    JsonText::parse(text.as_bytes()).ok_or_else(|| corrupt("job plan", "holds no JSON"))
}

fn space_of(value: u8) -> Result<Space, StoreError> {
    match value {
        0 => Ok(Space::Devices),
        1 => Ok(Space::Modules),
        _ => Err(corrupt("job", "is in an unknown space")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METHOD: &[u8] = include_bytes!("../../../tests/golden/job-plan-method-v1.bin");
    const TWIN: &[u8] = include_bytes!("../../../tests/golden/job-plan-twin-v1.bin");
    const CONDITION: &str = "tags.building = '43'";

    fn json_text(text: &str) -> JsonText {
        JsonText::parse(text.as_bytes()).unwrap()
    }

    fn golden_method() -> JobPlan {
        JobPlan {
            condition: CONDITION.into(),
            space: Space::Modules,
            operation: Operation::Method(MethodOperation {
                name: MethodName::parse("lockDoor").unwrap(),
                payload: json_text(r#"{"door": [1, 2.50]}"#),
                response_seconds: 15,
                connect_seconds: Some(7),
            }),
            start: Some(Timestamp(1_927_857_906_123_456)),
            window_seconds: 3_600,
        }
    }

    fn golden_twin() -> JobPlan {
        let desired = json!({"building": "43", "floor": 3, "gone": null});
        let members: Object = serde_json::from_value(desired).unwrap();
        let patch = TwinPatch::new(SectionPatch::Clear, SectionPatch::Merge(members)).unwrap();
        JobPlan {
            condition: CONDITION.into(),
            space: Space::Devices,
            operation: Operation::Twin(TwinOperation {
                patch,
                echo: json_text(r#"{"etag":"*","tags":null}"#),
            }),
            start: None,
            window_seconds: u32::MAX,
        }
    }

    #[test]
    fn version_1_loads() {
        for (record, expected) in [(METHOD, golden_method()), (TWIN, golden_twin())] {
            let plan = PlanRecord::open(record)
                .unwrap()
                .into_plan(CONDITION.into());
            assert_eq!(plan.unwrap(), expected);
        }
    }

    #[test]
    fn version_1_is_what_is_written() {
        assert!(PlanRecord::new(&golden_method()).seal() == METHOD);
        assert!(PlanRecord::new(&golden_twin()).seal() == TWIN);
    }
}
