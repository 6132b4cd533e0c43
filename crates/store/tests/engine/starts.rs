//! Many small jobs become due at one moment.

use std::time::{Duration, Instant};

use fanfare_hub::ports::store::JobStore;

use tokio::task::JoinSet;

use crate::rig::{Disk, Kind, T0, method, names, request, second};

const JOBS: u32 = 2_000;
const DEVICES_OF_A_JOB: u32 = 5;

/// Prints how fast it was, for whoever changes what a start costs: `cargo test -- --nocapture starts`.
#[tokio::test]
async fn two_thousand_jobs_of_five_devices_start_together() {
    let disk = Disk::new(Kind::Threads);
    let rig = disk.start(T0);
    let names = names(500);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.create(&all).await;
    let mut accepted = JoinSet::new();
    for job in 0..JOBS {
        let first = (job * DEVICES_OF_A_JOB) as usize % names.len();
        let mine = &names[first..first + DEVICES_OF_A_JOB as usize];
        let condition = format!("deviceId IN ['{}']", mine.join("', '"));
        let start = Some(second(60));
        let request = request(&format!("j{job}"), &condition, method("lock"), start);
        let hub = rig.hub.clone();
        // At once, so that they share commits: this is not what is measured.
        accepted.spawn(async move { hub.jobs.schedule(request).await });
    }
    while let Some(ended) = accepted.join_next().await {
        ended
            .expect("nothing panics")
            .expect("nothing speaks against the job");
    }
    let (began, commits) = (Instant::now(), rig.store.commits());
    rig.clock.advance_to(second(60));
    let mut running = 0;
    while running < JOBS as usize {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        rig.clock.advance(Duration::from_millis(1));
        running = rig
            .store
            .job_running()
            .await
            .expect("the store works")
            .len();
    }
    let (took, commits) = (began.elapsed(), rig.store.commits() - commits);
    println!(
        "{JOBS} jobs of {DEVICES_OF_A_JOB} devices started in {took:?}, {:.0} a second, {commits} commits",
        f64::from(JOBS) / took.as_secs_f64()
    );
    for job in [0, JOBS - 1] {
        let progress = rig.progress(&format!("j{job}")).await;
        assert_eq!((progress.total, progress.pending()), (5, 5));
    }
}
