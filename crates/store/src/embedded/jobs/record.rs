//! The stored shape of a job's plan and of who made it, which never change once the job is accepted.

use fanfare_hub::{
    access::Actor,
    ids::{MethodName, Space},
    jobs::job::{ConditionText, JobPlan, MethodOperation, Operation, TwinOperation},
    json::JsonText,
    ports::StoreError,
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinPatch},
};
use serde::{Deserialize, Serialize};

use crate::{
    embedded::actor::ActorRecord,
    record::{self, corrupt, open_value, seal_value},
};

/// The creator came with version 2: its content is that of version 1 with the creator behind it.
const VERSION: u8 = 2;

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
    pub(super) fn seal(&self, creator: Option<&Actor>) -> Vec<u8> {
        seal_value(VERSION, &(self, creator.map(ActorRecord::new)))
    }

    /// What [`Self::seal`] made. Jobs from before version 2 have no creator.
    pub(super) fn open(bytes: &[u8]) -> Result<(Self, Option<Actor>), StoreError> {
        const WHAT: &str = "job plan";
        let (plan, creator): (Self, Option<ActorRecord>) = match record::open(WHAT, bytes)?.0 {
            1 => (open_value(WHAT, 1, bytes)?, None),
            _ => open_value(WHAT, VERSION, bytes)?,
        };
        Ok((plan, creator.map(ActorRecord::into_actor)))
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
    const METHOD_V2: &[u8] = include_bytes!("../../../tests/golden/job-plan-method-v2.bin");
    const TWIN_V2: &[u8] = include_bytes!("../../../tests/golden/job-plan-twin-v2.bin");
    const CONDITION: &str = "tags.building = '43'";

    fn json_text(text: &str) -> JsonText {
        JsonText::parse(text.as_bytes()).unwrap()
    }

    fn golden_policy() -> Actor {
        Actor::Policy("registryReadWrite".into())
    }

    fn golden_token() -> Actor {
        Actor::Token {
            issuer: "https://login.example/tenant".into(),
            subject: "b5f2c6a0".into(),
            app: Some("1a2b3c".into()),
        }
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
            let (plan, creator) = PlanRecord::open(record).unwrap();
            assert_eq!(plan.into_plan(CONDITION.into()).unwrap(), expected);
            assert_eq!(creator, None);
        }
    }

    #[test]
    fn version_2_loads_and_is_what_is_written() {
        for (record, expected, creator) in [
            (METHOD_V2, golden_method(), Some(golden_token())),
            (TWIN_V2, golden_twin(), Some(golden_policy())),
        ] {
            assert!(PlanRecord::new(&expected).seal(creator.as_ref()) == record);
            let (plan, read) = PlanRecord::open(record).unwrap();
            assert_eq!(plan.into_plan(CONDITION.into()).unwrap(), expected);
            assert_eq!(read, creator);
        }
        let nobody = PlanRecord::new(&golden_twin()).seal(None);
        assert_eq!(PlanRecord::open(&nobody).unwrap().1, None);
    }
}
