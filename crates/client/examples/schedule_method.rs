//! Locks every door of building 43: schedules a method call, and does not wait for it.
//!
//! ```sh
//! cargo run --example schedule_method -- "$(fanfare connection-string --data-dir DIR)" --ca-file DIR/ca.pem
//! ```
//!
//! `monitor` shows what becomes of the job.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::time::Duration;

use fanfare_client::{DeviceMethod, ScheduleOptions};
use uuid::Uuid;

mod arguments;

const USAGE: &str = "usage: schedule_method [CONNECTION_STRING] [--ca-file PEM]";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (jobs, []) = arguments::job_client(USAGE)?;

    // What devices are asked to do, and how long each may take to answer.
    let lock_door = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(15));

    // Which devices: whatever may follow WHERE in a query over twins, or `*` for all.
    let condition = "tags.building = '43'";

    // When: at once, and whoever is offline may come back within five minutes.
    let options = ScheduleOptions {
        start_time: None,
        window: Some(Duration::from_secs(300)),
    };

    // The id is ours to choose. Should the reply be lost, the client asks again; with the same id that is safe.
    let job_id = Uuid::new_v4().to_string();
    let job = jobs
        .schedule_device_method(&job_id, condition, lock_door, options)
        .await?;
    println!("{} is {}", job.job_id, job.status);
    Ok(())
}
