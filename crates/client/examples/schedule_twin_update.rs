//! Moves every device of building 43 to floor 3: schedules an update of twins, and waits for the job to end.
//!
//! ```sh
//! cargo run --example schedule_twin_update -- "$(fanfare connection-string --data-dir DIR)" --ca-file DIR/ca.pem
//! ```

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::time::Duration;

use fanfare_client::{ScheduleOptions, TwinPatch};
use serde_json::json;
use uuid::Uuid;

mod arguments;

const USAGE: &str = "usage: schedule_twin_update [CONNECTION_STRING] [--ca-file PEM]";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (jobs, []) = arguments::job_client(USAGE)?;

    // Merged into the desired properties of each twin; null would remove a member. Devices that are connected hear
    // of it at once, the others when they come back.
    let patch = TwinPatch::desired(json!({"building": "43", "floor": 3}));

    let job_id = Uuid::new_v4().to_string();
    let options = ScheduleOptions {
        window: Some(Duration::from_secs(300)),
        ..ScheduleOptions::default()
    };
    jobs.schedule_twin_update(&job_id, "tags.building = '43'", patch, options)
        .await?;

    let job = jobs.monitor(&job_id).wait().await?;
    let counts = job.statistics.unwrap_or_default();
    println!(
        "{job_id} is {}: {} of {} twins are updated",
        job.status, counts.succeeded_count, counts.device_count
    );
    Ok(())
}
