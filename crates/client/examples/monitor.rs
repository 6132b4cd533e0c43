//! Watches a job until it ends, and tells which devices it failed on.
//!
//! ```sh
//! cargo run --example monitor -- JOB_ID "$(fanfare connection-string --data-dir DIR)" --ca-file DIR/ca.pem
//! ```
//!
//! Ctrl-C ends the watching; the job goes on.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use fanfare_client::DeviceJobStatus;

mod arguments;

const USAGE: &str = "usage: monitor JOB_ID [CONNECTION_STRING] [--ca-file PEM]";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (jobs, [job_id]) = arguments::job_client(USAGE)?;

    // How the job stands now, then each change: told by the hub where it can, asked for elsewhere.
    let mut monitor = jobs.monitor(&job_id);
    while let Some(progress) = monitor.try_next().await? {
        // There are no counts before the job has started and its devices are known.
        match progress.job.statistics {
            None => println!("{}", progress.job.status),
            Some(counts) => println!(
                "{}: {} of {} devices done, {} failed",
                progress.job.status,
                counts.ended_count(),
                counts.device_count,
                counts.failed_count
            ),
        }
    }

    // One row for each device, fetched page by page as they are read.
    let mut rows = jobs.device_jobs(&job_id);
    while let Some(row) = rows.try_next().await? {
        if row.status == DeviceJobStatus::Failed {
            let error = row.error.unwrap_or_default();
            println!("{}: {} ({})", row.device_id, error.description, error.code);
        }
    }
    Ok(())
}
