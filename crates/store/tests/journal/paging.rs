//! Pages through `devices.jobs` while the job runs, ends, and is merged between the pages.

use std::{collections::BTreeMap, sync::Arc};

use fanfare_hub::{
    ids::Ordinal,
    jobs::{job::Job, ledger::Outcome},
    ports::store::{DeviceJobScan, DeviceJobState, Store},
};

use super::{Bench, Lying, Numbers};
use crate::contract::{
    at,
    jobs::{answer, call, fleet, journal, method_plan, nothing, rows, settled, start},
};

/// Devices that the job has yet to move, and what became of the others.
struct Drive {
    store: Arc<dyn Store>,
    job: Job,
    left: Vec<Ordinal>,
    ended: BTreeMap<Ordinal, Outcome>,
    numbers: Numbers,
}

impl Drive {
    /// One device is called, another one answers.
    async fn step(&mut self) {
        let Some(ordinal) = self.left.pop() else {
            return;
        };
        let size = [10, 3_000, 4_094, 20_000, 128 * 1024 - 2][self.numbers.below(5)];
        let outcome = answer(200, Some(&format!("\"{}\"", "x".repeat(size))));
        let mut records = nothing(&self.job);
        if let Some(next) = self.left.last() {
            let number = u64::from(*next);
            records.dispatched = vec![(*next, call(&self.store, number))];
        }
        records.settled = vec![settled(ordinal, outcome.clone(), 13)];
        self.ended.insert(ordinal, outcome);
        journal(&self.store, records, 13).await;
    }
}

async fn page_through(size: usize, steps_by_page: usize) {
    let bench = Bench::new();
    let store = bench.store();
    let targets = fleet(&store, 150).await;
    let others = start(&store, "before", method_plan(), &targets[3..40]).await;
    let job = start(&store, "j", method_plan(), &targets).await;
    let after_it = start(&store, "z", method_plan(), &targets[..2]).await;
    let mut numbers = Numbers(size as u64 + 1);
    let mut left = targets.clone();
    numbers.shuffle(&mut left);
    // Some devices stay offline until the window ends.
    left.drain(..5);
    let mut drive = Drive {
        store: store.clone(),
        job: job.clone(),
        left,
        ended: BTreeMap::new(),
        numbers,
    };
    let mut seen = Vec::new();
    let (mut after, mut is_merged) = (None, false);
    loop {
        let scan = DeviceJobScan {
            after,
            ..DeviceJobScan::default()
        };
        let page = rows(&store, scan, size).await;
        let Some(last) = page.last() else { break };
        after = Some((last.job.number, last.ordinal));
        for row in &page {
            seen.push((row.job.number, row.ordinal));
            let DeviceJobState::Ended(outcome) = &row.state else {
                assert!(!drive.ended.contains_key(&row.ordinal) || row.job.number != job.number);
                continue;
            };
            let expected = drive
                .ended
                .get(&row.ordinal)
                .unwrap_or(&Outcome::Unreachable);
            // No assert_eq: a failure would print 128 KB.
            assert!(outcome == expected, "row {}", row.ordinal);
        }
        for _ in 0..steps_by_page {
            drive.step().await;
        }
        if drive.left.is_empty() && !is_merged {
            let close = store.job_close(job.number, store.term(), at(3_610));
            assert!(close.await.expect("the store works").is_ended());
            bench.embedded().maintain().expect("the store works");
            is_merged = true;
        }
    }
    assert!(is_merged, "the job ended while somebody paged through it");
    let lying = Lying::of(&bench.raw(), job.number);
    assert!(lying.levels.len() > 1, "and was merged: {lying:?}");
    let expected: Vec<_> = [
        (&others, &targets[3..40]),
        (&job, &targets[..]),
        (&after_it, &targets[..2]),
    ]
    .into_iter()
    .flat_map(|(job, targets)| targets.iter().map(|ordinal| (job.number, *ordinal)))
    .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn one_row_at_a_time() {
    page_through(1, 1).await;
}

#[tokio::test]
async fn seven_rows_at_a_time() {
    page_through(7, 7).await;
}
