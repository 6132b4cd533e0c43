//! The demo's result: each device's outcomes, as a table, as two sentences and as JSON.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use fanfare_client::{DeviceJob, DeviceJobStatus, Job};
use serde::Serialize;

use super::plan::Door;

/// Everything the demo found out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The twin job as it ended.
    pub(super) twin_job: Job,
    /// The method job as it ended.
    pub(super) method_job: Job,
    /// Seconds from scheduling both jobs until both had ended.
    pub(super) took_s: f64,
    /// One entry for each device.
    pub(super) devices: Vec<DeviceReport>,
}

/// What came of one device.
#[derive(Debug, Serialize)]
pub(super) struct DeviceReport {
    id: String,
    building: &'static str,
    floor: u32,
    /// Its row of the twin job, if it was among the targets.
    twin: Option<DeviceJob>,
    /// Its row of the method job.
    method: Option<DeviceJob>,
}

impl Report {
    pub(super) fn new(
        doors: &[Door],
        jobs: (Job, Job),
        rows: (Vec<DeviceJob>, Vec<DeviceJob>),
        took_s: f64,
    ) -> Self {
        let by_device = |rows: Vec<DeviceJob>| -> BTreeMap<String, DeviceJob> {
            rows.into_iter()
                .map(|row| (row.device_id.clone(), row))
                .collect()
        };
        let (mut twins, mut methods) = (by_device(rows.0), by_device(rows.1));
        let devices = doors
            .iter()
            .map(|door| DeviceReport {
                id: door.spec.id.clone(),
                building: door.building,
                floor: door.floor,
                twin: twins.remove(&door.spec.id),
                method: methods.remove(&door.spec.id),
            })
            .collect();
        Self {
            twin_job: jobs.0,
            method_job: jobs.1,
            took_s,
            devices,
        }
    }

    /// One line for each device.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        // On a terminal long payloads take several lines, and the frame stays whole.
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "device",
            "building",
            "floor",
            "twin update",
            "lockDoor",
            "because",
        ]);
        for device in &self.devices {
            table.add_row([
                device.id.clone(),
                device.building.to_owned(),
                device.floor.to_string(),
                device
                    .twin
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |row| row.status.to_string()),
                device
                    .method
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), outcome),
                device.method.as_ref().map_or_else(String::new, reason),
            ]);
        }
        table
    }

    /// What happened, in two sentences.
    pub(super) fn sentences(&self) -> [String; 2] {
        let twins = self.twin_job.statistics.clone().unwrap_or_default();
        let methods = self.method_job.statistics.clone().unwrap_or_default();
        let answered = self.answers().count();
        let refused: Vec<&str> = self
            .answers()
            .filter(|(_, status)| *status >= 400)
            .map(|(id, _)| id)
            .collect();
        let failed: Vec<&str> = self
            .devices
            .iter()
            .filter(|device| {
                device
                    .method
                    .as_ref()
                    .is_some_and(|row| row.status == DeviceJobStatus::Failed)
            })
            .map(|device| &*device.id)
            .collect();
        [
            format!(
                "Twin job: {} of {} doors of building 43 have desired building '43', floor 3, connected or not.",
                twins.succeeded_count, twins.device_count
            ),
            format!(
                "Method job: {answered} of {} doors answered lockDoor, of which {} with an error of their own ({}); not reached in the window: {}.",
                methods.device_count,
                refused.len(),
                list(&refused),
                list(&failed)
            ),
        ]
    }

    /// Devices that answered, with the status they answered.
    fn answers(&self) -> impl Iterator<Item = (&str, i64)> {
        self.devices
            .iter()
            .filter_map(|device| Some((&*device.id, device.method.as_ref()?.answer()?.0)))
    }
}

/// "answered 200", or where the device job ended.
fn outcome(row: &DeviceJob) -> String {
    match row.answer() {
        Some((status, _)) => format!("answered {status}"),
        None => row.status.to_string(),
    }
}

/// The payload of an answer, or why there is none.
fn reason(row: &DeviceJob) -> String {
    match (row.answer(), &row.error) {
        (Some((_, payload)), _) => payload.to_string(),
        (None, Some(error)) => error.code.clone(),
        (None, None) => String::new(),
    }
}

fn list(ids: &[&str]) -> String {
    if ids.is_empty() {
        "none".to_owned()
    } else {
        ids.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::demo::plan::doors;

    #[test]
    fn the_table_has_a_line_for_each_device_and_the_sentences_name_the_odd_ones() {
        let doors = doors();
        let job = |counts| {
            from_value::<Job>(
                json!({"jobId": "j", "type": "scheduleDeviceMethod", "status": "completed",
                "deviceJobStatistics": counts}),
            )
            .unwrap()
        };
        let rows: Vec<DeviceJob> = doors
            .iter()
            .map(|door| {
                let id = &door.spec.id;
                from_value(match &**id {
                    "door-44-505" => json!({"deviceId": id, "jobId": "j", "status": "failed",
                        "error": {"code": "JobRunPreconditionFailed", "description": "offline"}}),
                    _ => json!({"deviceId": id, "jobId": "j", "status": "completed",
                        "outcome": {"deviceMethodResponse": {
                            "status": if id == "door-43-303" { 500 } else { 200 }, "payload": null}}}),
                })
                .unwrap()
            })
            .collect();
        let counts = json!({"deviceCount": 50, "succeededCount": 49, "failedCount": 1});
        let report = Report::new(
            &doors,
            (job(counts.clone()), job(counts)),
            (vec![], rows),
            8.0,
        );
        assert_eq!(report.table().row_count(), 50);
        let said = report.sentences();
        assert!(said[1].contains("49 of 50"), "{}", said[1]);
        assert!(said[1].contains("(door-43-303)"), "{}", said[1]);
        assert!(
            said[1].ends_with("not reached in the window: door-44-505."),
            "{}",
            said[1]
        );
    }
}
