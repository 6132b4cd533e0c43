//! The thousand devices of the kill test: who they are and how they behave.

use std::ops::Range;
use std::time::Duration;

use fanfare_cli::fleet::{
    Answer, AnswerQos, Behaviour, DeviceSpec, Payload, Presence, Subscribing, TwinUse, new_key,
};
use fanfare_client::{BulkItem, ImportMode};
use serde_json::json;

/// Devices of the test.
pub(crate) const DEVICES: usize = 1_000;
/// Groups they fall into; a job takes one group, and every group has every kind of device.
pub(crate) const GROUPS: usize = 5;
/// Kinds of device, see [`behaviour`].
const KINDS: usize = 20;

/// Group of a device.
pub(crate) fn group_of(number: usize) -> usize {
    number / KINDS % GROUPS
}

/// Id of a device.
pub(crate) fn id_of(number: usize) -> String {
    format!("kill-{number:04}")
}

/// The ids of a group, sorted.
pub(crate) fn group(group: usize) -> Vec<String> {
    (0..DEVICES)
        .filter(|number| group_of(*number) == group)
        .map(id_of)
        .collect()
}

/// All devices, with fresh keys.
pub(crate) fn cast() -> Vec<DeviceSpec> {
    (0..DEVICES)
        .map(|number| DeviceSpec {
            id: id_of(number),
            key: new_key(),
            behaviour: behaviour(number),
        })
        .collect()
}

/// A device as the registry wants it.
pub(crate) fn new_device(number: usize, spec: &DeviceSpec) -> BulkItem {
    BulkItem::from(spec.identity())
        .mode(ImportMode::Create)
        .tags(json!({"group": group_of(number)}))
}

/// Devices that come and go, that never subscribe again, that are slow, silent, broken or absent.
fn behaviour(number: usize) -> Behaviour {
    let online = Behaviour::answers(ms(0..400));
    let slow = Behaviour::answers(ms(800..4_000));
    let mut behaviour = match number % KINDS {
        0..=6 => online,
        7..=9 => Behaviour {
            presence: flapping(),
            ..online
        },
        10 | 11 => Behaviour {
            subscribing: Subscribing::FirstSessionOnly,
            ..online
        },
        12 => Behaviour {
            subscribing: Subscribing::FirstSessionOnly,
            presence: flapping(),
            ..slow
        },
        13 => Behaviour {
            answer_qos: AnswerQos::AtMostOnce,
            ..online
        },
        14 => Behaviour {
            answer: Answer::Silence,
            ..online
        },
        15 => Behaviour {
            answer: Answer::Reply {
                status: 500,
                payload: Payload::Echo,
                delay: ms(0..400),
            },
            ..online
        },
        16 => Behaviour::offline(),
        17 => slow,
        18 => Behaviour {
            presence: flapping(),
            ..slow
        },
        _ => Behaviour {
            subscribing: Subscribing::FirstSessionOnly,
            ..slow
        },
    };
    if number.is_multiple_of(3) {
        behaviour.twin = TwinUse::ReadAndReport;
    }
    behaviour
}

fn flapping() -> Presence {
    Presence::Flapping {
        there: ms(500..5_000),
        away: ms(200..3_000),
    }
}

fn ms(range: Range<u64>) -> Range<Duration> {
    Duration::from_millis(range.start)..Duration::from_millis(range.end)
}
