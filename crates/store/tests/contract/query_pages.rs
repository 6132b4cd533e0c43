//! Pages go on rightly while devices change: whoever exists and matches throughout is shown exactly once,
//! and nobody twice.
//!
//! Generated devices, queries, page sizes and changes between the pages. A model says who belonged to the
//! result, under which key, at every page.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fanfare_hub::{
    jobs::ledger::Outcome,
    ports::store::{JobRecords, Store},
    presence::Presence,
    queries::{PageRequest, Queries, Rows},
    registry::{IdentityWrite, Precondition},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};

use super::{
    Scratch, at, delete, device,
    jobs::{fleet, journal, method_plan, nothing, settled, start},
    patch, put,
};

/// What happens between two pages.
#[derive(Debug, Clone)]
enum Change {
    Create {
        key: i64,
        is_in: bool,
    },
    Delete(Index),
    /// Another value to order and group by.
    Move(Index, i64),
    /// In or out of the condition.
    Turn(Index, bool),
    /// Nothing that the query looks at.
    Touch(Index),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Columns,
    Ordered,
    OrderedDown,
    WholeOrdered,
    Distinct,
    Grouped,
    GroupedByCount,
}

#[derive(Debug, Clone)]
struct Story {
    form: Form,
    page: u32,
    first: Vec<(i64, bool)>,
    /// The changes after each page, again from the first once they are used up.
    rounds: Vec<Vec<Change>>,
}

impl Form {
    fn text(self) -> &'static str {
        match self {
            Form::Whole => "SELECT * FROM devices WHERE tags.in = true",
            Form::Columns => "SELECT deviceId, tags.key FROM devices WHERE tags.in = true",
            Form::Ordered => {
                "SELECT deviceId, tags.key FROM devices WHERE tags.in = true ORDER BY tags.key"
            }
            Form::OrderedDown => {
                "SELECT deviceId, tags.key FROM devices WHERE tags.in = true ORDER BY tags.key DESC"
            }
            Form::WholeOrdered => "SELECT * FROM devices WHERE tags.in = true ORDER BY tags.key",
            Form::Distinct => "SELECT DISTINCT tags.key FROM devices WHERE tags.in = true",
            Form::Grouped => {
                "SELECT tags.key, COUNT() AS n FROM devices WHERE tags.in = true GROUP BY tags.key"
            }
            Form::GroupedByCount => {
                "SELECT tags.key, COUNT() AS n FROM devices WHERE tags.in = true
                 GROUP BY tags.key ORDER BY n DESC"
            }
        }
    }

    fn is_grouped(self) -> bool {
        matches!(self, Form::Distinct | Form::Grouped | Form::GroupedByCount)
    }
}

fn story() -> impl Strategy<Value = Story> {
    let change = prop_oneof![
        2 => (0i64..5, any::<bool>()).prop_map(|(key, is_in)| Change::Create { key, is_in }),
        2 => any::<Index>().prop_map(Change::Delete),
        2 => (any::<Index>(), 0i64..5).prop_map(|(at, key)| Change::Move(at, key)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(at, is_in)| Change::Turn(at, is_in)),
        1 => any::<Index>().prop_map(Change::Touch),
    ];
    let form = proptest::sample::select(vec![
        Form::Whole,
        Form::Columns,
        Form::Ordered,
        Form::OrderedDown,
        Form::WholeOrdered,
        Form::Distinct,
        Form::Grouped,
        Form::GroupedByCount,
    ]);
    let first = vec((0i64..5, prop::bool::weighted(0.8)), 0..14);
    let rounds = vec(vec(change, 0..4), 1..5);
    (form, 1u32..5, first, rounds).prop_map(|(form, page, first, rounds)| Story {
        form,
        page,
        first,
        rounds,
    })
}

/// A device as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    key: i64,
    is_in: bool,
}

/// Everybody of one story, and how it was at each page.
struct World {
    store: Arc<dyn Store>,
    queries: Queries,
    /// Part of every name, so that stories share no device.
    prefix: String,
    created: usize,
    now: BTreeMap<String, Known>,
    moments: Vec<BTreeMap<String, Known>>,
}

impl World {
    fn create(&mut self, key: i64, is_in: bool) -> IdentityWrite {
        let name = format!("{}-{}", self.prefix, self.created);
        self.created += 1;
        self.now.insert(name.clone(), Known { key, is_in });
        match put(&device(&name), Precondition::Absent) {
            IdentityWrite::Put {
                id,
                settings,
                made,
                modules,
                precondition,
                ..
            } => IdentityWrite::Put {
                id,
                settings,
                made,
                modules,
                precondition,
                twin: Some(patch(json!({"key": key, "in": is_in}), json!(null))),
            },
            other => other,
        }
    }

    fn at(&self, index: &Index) -> Option<String> {
        let names: Vec<_> = self.now.keys().cloned().collect();
        (!names.is_empty()).then(|| index.get(&names).clone())
    }

    async fn change(&mut self, change: &Change) {
        match change {
            Change::Create { key, is_in } => {
                let write = self.create(*key, *is_in);
                self.write(vec![write]).await;
            }
            Change::Delete(index) => {
                if let Some(name) = self.at(index) {
                    self.now.remove(&name);
                    self.write(vec![delete(&device(&name), Precondition::Exists)])
                        .await;
                }
            }
            Change::Move(index, key) => self.tag(index, |known| known.key = *key).await,
            Change::Turn(index, is_in) => self.tag(index, |known| known.is_in = *is_in).await,
            Change::Touch(index) => self.tag(index, |_| {}).await,
        }
    }

    async fn tag(&mut self, index: &Index, change: impl FnOnce(&mut Known)) {
        let Some(name) = self.at(index) else { return };
        let known = self.now.get_mut(&name).expect("the model knows the name");
        change(known);
        let tags = json!({"key": known.key, "in": known.is_in});
        let (id, change) = (device(&name), patch(tags, json!(null)));
        let patched = self.store.twin_patch(&id, change, None, at(5));
        patched.await.unwrap();
    }

    async fn write(&self, writes: Vec<IdentityWrite>) {
        for result in self.store.identity_write(writes, at(0)).await.unwrap() {
            result.unwrap();
        }
    }

    /// All pages, with the changes of the story between them.
    async fn read(&mut self, story: &Story) -> Vec<(String, i64)> {
        let mut shown = Vec::new();
        let mut continuation = None;
        let mut rounds = story.rounds.iter().cycle();
        loop {
            let request = PageRequest {
                limit: Some(story.page),
                continuation: continuation.take(),
            };
            let page = self.queries.page(story.form.text(), request).await.unwrap();
            self.moments.push(self.now.clone());
            shown.extend(rows(page.rows));
            // Whoever creates faster than anybody reads would never see an end.
            if page.continuation.is_none() || self.moments.len() > 60 {
                return shown;
            }
            continuation = page.continuation;
            for change in rounds.next().into_iter().flatten() {
                self.change(change).await;
            }
        }
    }

    /// Whether something was the same at every page.
    fn throughout<T: PartialEq>(&self, what: impl Fn(&BTreeMap<String, Known>) -> T) -> bool {
        let mut moments = self.moments.windows(2);
        moments.all(|two| what(&two[0]) == what(&two[1]))
    }

    fn names(&self) -> BTreeSet<String> {
        self.moments
            .iter()
            .flat_map(|m| m.keys().cloned())
            .collect()
    }
}

/// Device and key of each row; groups have no device.
fn rows(rows: Rows) -> Vec<(String, i64)> {
    let pair = |name: &Value, key: &Value| {
        let name = name.as_str().unwrap_or_default().to_owned();
        (name, key.as_i64().expect("everybody has a key"))
    };
    match rows {
        Rows::Twins(twins) => twins
            .iter()
            .map(|view| {
                let name = view.twin.identity.id.device.as_str().into();
                pair(&name, &view.twin.document.tags["key"])
            })
            .collect(),
        Rows::Raw(rows) => rows
            .iter()
            .map(|row| {
                let row: Value = serde_json::from_str(row).unwrap();
                pair(&row["deviceId"], &row["key"])
            })
            .collect(),
        Rows::DeviceJobs(_) => panic!("no query here is over jobs"),
    }
}

async fn play(world: &mut World, story: &Story) -> Result<(), TestCaseError> {
    let puts: Vec<_> = story
        .first
        .iter()
        .map(|(key, is_in)| world.create(*key, *is_in))
        .collect();
    world.write(puts).await;
    let shown = world.read(story).await;
    let ended = world.moments.len() <= 60;
    let times = |what: &(String, i64)| shown.iter().filter(|row| *row == what).count();
    let check = |what: &str, is_sure: bool, times: usize, once_at_most: bool| {
        prop_assert!(
            !once_at_most || times <= 1,
            "{what}, {times} times: {shown:?}"
        );
        prop_assert!(!is_sure || times == 1, "{what}, {times} times: {shown:?}");
        Ok(())
    };
    if story.form.is_grouped() {
        for key in 0..5 {
            let size = |moment: &BTreeMap<String, Known>| {
                let of_key = moment
                    .values()
                    .filter(|known| known.is_in && known.key == key);
                of_key.count()
            };
            let is_there = world.moments.iter().all(|moment| size(moment) > 0);
            let stays = world.throughout(size);
            let by_count = story.form == Form::GroupedByCount;
            let is_sure = ended && is_there && (stays || !by_count);
            let times = times(&(String::new(), key));
            check(&format!("group {key}"), is_sure, times, stays || !by_count)?;
        }
    } else {
        let is_ordered = !matches!(story.form, Form::Whole | Form::Columns);
        for name in world.names() {
            let is_in =
                |moment: &BTreeMap<String, Known>| moment.get(&name).is_some_and(|k| k.is_in);
            let keys: BTreeSet<i64> = world
                .moments
                .iter()
                .filter_map(|moment| moment.get(&name).map(|known| known.key))
                .collect();
            let stays = keys.len() == 1 || !is_ordered;
            let is_sure = ended && stays && world.moments.iter().all(is_in);
            let times = shown.iter().filter(|(shown, _)| *shown == name).count();
            check(&name, is_sure, times, stays)?;
        }
    }
    // Whatever moves: no page begins before the one ahead of it ended.
    let keys: Vec<i64> = shown.iter().map(|(_, key)| *key).collect();
    match story.form {
        Form::Whole | Form::Columns | Form::GroupedByCount => {}
        Form::OrderedDown => prop_assert!(keys.is_sorted_by(|a, b| a >= b), "{keys:?}"),
        Form::Ordered | Form::WholeOrdered => prop_assert!(keys.is_sorted(), "{keys:?}"),
        Form::Distinct | Form::Grouped => prop_assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}"),
    }
    Ok(())
}

pub(crate) async fn whoever_stays_is_shown_exactly_once_while_devices_change(scratch: Scratch) {
    let store = scratch.store();
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = TestRunner::new(Config {
            cases: 48,
            failure_persistence: None,
            ..Config::default()
        });
        let played = std::cell::Cell::new(0);
        let outcome = runner.run(&story(), |story| {
            played.set(played.get() + 1);
            let mut world = World {
                store: store.clone(),
                queries: Queries::new(store.clone(), Arc::new(Presence::default())),
                prefix: format!("s{}", played.get()),
                created: 0,
                now: BTreeMap::new(),
                moments: Vec::new(),
            };
            runtime.block_on(async {
                let outcome = play(&mut world, &story).await;
                let names: Vec<_> = world.now.keys().map(|name| device(name)).collect();
                let deletes = names.iter().map(|id| delete(id, Precondition::Exists));
                world.write(deletes.collect()).await;
                outcome
            })
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    };
    tokio::task::spawn_blocking(run).await.unwrap();
}

pub(crate) async fn rows_of_jobs_go_on_while_outcomes_come(scratch: Scratch) {
    let store = scratch.store();
    let queries = Queries::new(store.clone(), Arc::new(Presence::default()));
    let targets = fleet(&store, 12).await;
    let job = start(&store, "j", method_plan(), &targets).await;
    for (text, ordered) in [
        ("SELECT * FROM devices.jobs", false),
        ("SELECT * FROM devices.jobs ORDER BY deviceId DESC", true),
    ] {
        let (mut shown, mut continuation) = (Vec::new(), None);
        for ordinal in targets.iter().rev().chain(&targets) {
            let request = PageRequest {
                limit: Some(1),
                continuation: continuation.take(),
            };
            let page = queries.page(text, request).await.unwrap();
            let Rows::DeviceJobs(rows) = page.rows else {
                panic!("whole rows are asked for")
            };
            shown.extend(rows.iter().map(|row| row.id.to_string()));
            let records = JobRecords {
                settled: vec![settled(*ordinal, Outcome::TimedOut, 12)],
                ..nothing(&job)
            };
            journal(&store, records, 12).await;
            continuation = page.continuation;
            if continuation.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = (0..12).map(|n| format!("d{n}")).collect();
        if ordered {
            expected.sort_by(|a, b| b.cmp(a));
        }
        assert_eq!(shown, expected, "{text}");
    }
}

pub(crate) async fn a_place_outlives_the_row_it_was_taken_from(scratch: Scratch) {
    let store = scratch.store();
    let queries = Queries::new(store.clone(), Arc::new(Presence::default()));
    fleet(&store, 4).await;
    let text = "SELECT deviceId FROM devices ORDER BY deviceId DESC";
    let first = PageRequest {
        limit: Some(2),
        continuation: None,
    };
    let page = queries.page(text, first).await.unwrap();
    for name in ["d2", "d3"] {
        let gone = vec![delete(&device(name), Precondition::Exists)];
        store.identity_write(gone, at(1)).await.unwrap();
    }
    let next = PageRequest {
        limit: Some(2),
        continuation: page.continuation,
    };
    let Rows::Raw(rows) = queries.page(text, next).await.unwrap().rows else {
        panic!("columns are asked for")
    };
    assert_eq!(rows, [r#"{"deviceId":"d1"}"#, r#"{"deviceId":"d0"}"#]);
}
