//! Locks every door of building 43, then moves them, and watches both jobs to their ends.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::time::Duration;

use fanfare_client::{ClientOptions, DeviceMethod, JobClient, ScheduleOptions, TwinPatch};
use serde_json::json;

const CONDITION: &str = "tags.building = '43'";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("give a connection string")?;
    let jobs = JobClient::from_connection_string(&text, ClientOptions::default())?;

    let lock = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(15));
    let window = ScheduleOptions {
        window: Some(Duration::from_secs(3)),
        ..ScheduleOptions::default()
    };
    jobs.schedule_device_method("lock-rust", CONDITION, lock, window)
        .await?;
    watch(&jobs, "lock-rust").await?;

    let patch = TwinPatch::desired(json!({"building": "43", "floor": 3}));
    jobs.schedule_twin_update("move-rust", CONDITION, patch, None)
        .await?;
    watch(&jobs, "move-rust").await?;
    Ok(())
}

/// Follows a job to its end, by the hub's own event stream where it has one.
async fn watch(jobs: &JobClient, job_id: &str) -> Result<(), fanfare_client::Error> {
    let mut monitor = jobs.monitor(job_id);
    while let Some(progress) = monitor.try_next().await? {
        if progress.job.status.is_terminal() {
            let counts = progress.job.statistics.unwrap_or_default();
            println!(
                "{job_id} is {}: {} succeeded, {} failed",
                progress.job.status, counts.succeeded_count, counts.failed_count
            );
        }
    }
    Ok(())
}
