//! What the demo simulates: fifty doors in two buildings, and the two jobs that run over them.

use std::time::Duration;

use fanfare_client::BulkItem;
use serde_json::{Value, json};

use crate::fleet::{Answer, Behaviour, DeviceSpec, Payload, new_key};

/// Buildings of the demo.
const BUILDINGS: [&str; 2] = ["43", "44"];
/// Floors of each building.
const FLOORS: u32 = 5;
/// Doors on each floor.
const DOORS: u32 = 5;
/// The door that is never online.
const OFFLINE: &str = "door-44-505";
/// The door that answers 500.
const JAMMED: &str = "door-43-303";

/// Condition of the twin job.
pub(super) const TWIN_CONDITION: &str = "tags.demo = true AND tags.building = '43'";
/// Condition of the method job.
pub(super) const METHOD_CONDITION: &str = "tags.demo = true";
/// How long the method job may reach devices: short, so that the offline door ends with it.
pub(super) const METHOD_WINDOW: Duration = Duration::from_secs(8);
/// How long a door has to answer.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the twin job writes.
pub(super) fn desired() -> Value {
    json!({"building": "43", "floor": 3})
}

/// One door: where it is and how it behaves.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) building: &'static str,
    pub(super) floor: u32,
    pub(super) spec: DeviceSpec,
}

impl Door {
    /// The door as the registry wants it.
    pub(super) fn item(&self) -> BulkItem {
        let tags = json!({"demo": true, "building": self.building, "floor": self.floor});
        BulkItem::from(self.spec.identity()).tags(tags)
    }
}

/// All doors, in the order of their ids, with fresh keys.
pub(super) fn doors() -> Vec<Door> {
    let mut doors = Vec::new();
    for building in BUILDINGS {
        for floor in 1..=FLOORS {
            for number in 1..=DOORS {
                let id = format!("door-{building}-{floor}{number:02}");
                let behaviour = behaviour(&id, number);
                let spec = DeviceSpec {
                    id,
                    key: new_key(),
                    behaviour,
                };
                doors.push(Door {
                    building,
                    floor,
                    spec,
                });
            }
        }
    }
    doors
}

fn behaviour(id: &str, number: u32) -> Behaviour {
    let reply = |status, payload, from_ms, to_ms| Answer::Reply {
        status,
        payload: Payload::Fixed(payload),
        delay: Duration::from_millis(from_ms)..Duration::from_millis(to_ms),
    };
    let answer = match id {
        OFFLINE => return Behaviour::offline(),
        JAMMED => reply(500, json!({"error": "the bolt is jammed"}), 100, 300),
        // The last door of each floor is slow.
        _ if number == DOORS => reply(200, json!({"locked": true}), 1_500, 4_000),
        _ => reply(200, json!({"locked": true}), 20, 600),
    };
    Behaviour {
        answer,
        ..Behaviour::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Presence;

    #[test]
    fn fifty_doors_one_offline_one_jammed() {
        let doors = doors();
        assert_eq!(doors.len(), 50);
        let count = |wanted: fn(&Behaviour) -> bool| {
            doors
                .iter()
                .filter(|door| wanted(&door.spec.behaviour))
                .count()
        };
        assert_eq!(
            count(|behaviour| matches!(behaviour.presence, Presence::Offline)),
            1
        );
        assert_eq!(
            count(|b| matches!(b.answer, Answer::Reply { status: 500, .. })),
            1
        );
    }
}
