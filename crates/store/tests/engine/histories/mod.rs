//! Generated histories: random worlds and scripts against the whole engine over the real store, with
//! everything that must hold looked at after every step.
//!
//! A script is devices and modules that answer, are silent, stay away, vanish, are disabled, deleted and
//! made again; jobs of both kinds; cancels; changes of twins; leaps of the clock; full disks, lost results,
//! deaths and stops of the process at any moment. [`script`] says what may happen, [`play`] and [`deeds`]
//! do it, [`known`] is what the world outside knows, [`watch`] is what must hold.
//!
//! A failure is shrunk and told as a story, and its seed is kept in `proptest-regressions/`, whose seeds run
//! first. More cases than the usual: `PROPTEST_CASES=5000 cargo test -p fanfare-store --test engine histories`.

mod deeds;
mod known;
mod play;
mod script;
mod watch;

use std::{cell::RefCell, collections::BTreeMap};

use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use self::play::Played;

/// Histories of an everyday run.
const CASES: u32 = 120;
/// What proptest does when nobody asks for a number.
const UNASKED: u32 = 256;
const SEEDS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/engine/proptest-regressions/histories.txt"
);

#[test]
fn whatever_happens_the_promises_hold() {
    let asked = Config::default();
    let cases = match asked.cases {
        UNASKED => CASES,
        cases => cases,
    };
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 3_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        ..asked
    });
    let total = RefCell::new(Total::default());
    let result = runner.run(&script::scripts(), |script| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("the system has room for one more");
        match runtime.block_on(play::play(&script)) {
            Ok(history) => {
                total.borrow_mut().add(history);
                Ok(())
            }
            Err(story) => Err(TestCaseError::fail(story)),
        }
    });
    let total = total.into_inner();
    println!("{total:?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    if cases >= CASES {
        for outcome in watch::USUAL {
            let times = total.outcomes.get(outcome).copied().unwrap_or(0);
            assert!(
                times > 0,
                "no history has a device job that ends as {outcome}"
            );
        }
    }
}

/// What all histories were made of.
#[derive(Debug, Default)]
struct Total {
    histories: u64,
    steps: u64,
    looks: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, history: Played) {
        self.histories += 1;
        self.steps += history.steps;
        self.looks += history.looks;
        for (outcome, times) in history.outcomes {
            *self.outcomes.entry(outcome).or_default() += times;
        }
    }
}
