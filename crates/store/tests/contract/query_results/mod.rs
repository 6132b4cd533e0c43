//! Differential: what queries yield over a store is what they mean over plain documents.
//!
//! Fleets with twins of every shape and jobs in every state are put into the store. Generated queries then
//! run page by page through the store's plans (narrowing by ids, reading stored bytes, ranks and groups),
//! and once more over JSON documents put together here, filtered by the language's reference semantics
//! and grouped and sorted the plainest way. A failing query is printed, shrunk, with the number of its fleet.

mod cases;
mod fleet;
mod meaning;

use std::sync::Arc;

use fanfare_hub::{
    ports::store::Store,
    presence::Presence,
    queries::{PageRequest, Queries, Rows},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::Value;

use self::{
    cases::{Case, Source, case},
    fleet::Fleet,
};
use super::Scratch;

const FLEETS: u8 = 2;
const QUERIES_PER_FLEET: u32 = 150;

pub(crate) async fn generated_queries_mean_what_they_mean_over_plain_documents(scratch: Scratch) {
    let store = scratch.store();
    for number in 0..FLEETS {
        let fleet = Fleet::create(&store, number).await;
        let queries = Queries::new(store.clone(), Arc::new(Presence::default()));
        // The runner is no future; the store answers it from outside of this thread's runtime.
        let runtime = tokio::runtime::Handle::current();
        let run = move || {
            let mut runner = TestRunner::new(Config {
                cases: QUERIES_PER_FLEET,
                failure_persistence: None,
                ..Config::default()
            });
            let outcome = runner.run(&case(), |case| {
                let shown = runtime.block_on(all_pages(&queries, &case))?;
                let meant = meaning::rows(&case, fleet.documents(case.source));
                prop_assert_eq!(shown, meant, "fleet {}: {}", number, case.text());
                Ok(())
            });
            outcome.unwrap_or_else(|failure| panic!("fleet {number}: {failure}"));
        };
        tokio::task::spawn_blocking(run).await.unwrap();
        fleet::remove(&store).await;
    }
}

/// Everything a query yields, after checks of each page.
async fn all_pages(queries: &Queries, case: &Case) -> Result<Vec<Value>, TestCaseError> {
    let text = case.text();
    let fail = |what: String| TestCaseError::fail(format!("{what}: {text}"));
    let (mut shown, mut continuation) = (Vec::new(), None);
    loop {
        let request = PageRequest {
            limit: Some(case.page),
            continuation: continuation.take(),
        };
        let page = queries.page(&text, request).await;
        let page = page.map_err(|error| fail(error.to_string()))?;
        let rows = documents_of(page.rows);
        if rows.len() > case.page as usize {
            return Err(fail(format!("a page of {} rows", rows.len())));
        }
        shown.extend(rows);
        continuation = page.continuation;
        match &continuation {
            None => return Ok(shown),
            Some(token) if token.len() > 8_000 => return Err(fail("a long token".to_owned())),
            Some(_) if !shown.len().is_multiple_of(case.page as usize) => {
                return Err(fail("a short page is not the last".to_owned()));
            }
            Some(_) => {}
        }
    }
}

fn documents_of(rows: Rows) -> Vec<Value> {
    match rows {
        Rows::Twins(views) => views.iter().map(|view| fleet::twin(&view.twin)).collect(),
        Rows::DeviceJobs(rows) => rows.iter().map(fleet::device_job).collect(),
        Rows::Raw(rows) => {
            let row = |text: &String| serde_json::from_str(text).expect("rows are JSON");
            rows.iter().map(row).collect()
        }
    }
}

/// Stores of a test are shared by its helpers.
type Shared = Arc<dyn Store>;
