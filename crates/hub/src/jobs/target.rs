//! Takes a job's target set, once: condition to ordinals in one read, kept in records, then sealed; a set of
//! one record in one commit.
//!
//! A crash before the seal leaves a partial set that is thrown away and taken again; nothing of the job
//! leaves before the seal.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use roaring::RoaringBitmap;

use super::job::Job;
use crate::{
    ids::{DeviceId, Term},
    limits,
    overlay::Present,
    ports::{
        Clock, Store, StoreError,
        store::{IdentityRow, IdentityScan},
    },
    presence::Presence,
    query::{Condition, QueryError},
};

/// Why a target set could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// The job cannot run: its condition is not readable (any more).
    #[error("the condition is not valid")]
    Condition(#[source] QueryError),
    /// The store failed; try again.
    #[error("the target set could not be stored")]
    Store(#[from] StoreError),
}

/// Takes and seals the target set of a waiting job; returns the job as it then stands.
pub(super) async fn take(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    presence: &Arc<Presence>,
    job: &Job,
) -> Result<Job, TargetError> {
    let term = store.term();
    let targets = find(store, presence, job).await?;
    if is_one_record(&targets) {
        let at = clock.now();
        let sealed = store.job_targets_seal(job.number, term, targets, at);
        return Ok(sealed.await?);
    }
    store.job_targets_clear(job.number, term).await?;
    keep(store, job, term, &targets).await?;
    Ok(store.job_seal(job.number, term, clock.now()).await?)
}

async fn find(
    store: &Arc<dyn Store>,
    presence: &Arc<Presence>,
    job: &Job,
) -> Result<RoaringBitmap, TargetError> {
    let text = store.job_condition(job.number).await?;
    let condition = Condition::parse(&text).map_err(TargetError::Condition)?;
    let devices = condition.identity_ids().map(|ids| {
        ids.into_iter()
            .filter_map(|id| DeviceId::parse(id).ok())
            .collect()
    });
    let scan = IdentityScan {
        space: job.plan.space,
        after: None,
        devices,
    };
    let found = Arc::new(Mutex::new(RoaringBitmap::new()));
    let (shared, presence) = (found.clone(), presence.clone());
    let connected = presence.connected(job.plan.space);
    let visit = move |row: &dyn IdentityRow| {
        if condition.matches(&Present {
            row,
            connected: &connected,
            presence: &presence,
        }) {
            let mut found = shared.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(row.key().ordinal);
        }
        ControlFlow::Continue(())
    };
    store.identity_scan(scan, Box::new(visit)).await?;
    Ok(std::mem::take(
        &mut *found.lock().unwrap_or_else(PoisonError::into_inner),
    ))
}

/// Whether a set is kept in one record, as most are: that costs one commit instead of three.
fn is_one_record(targets: &RoaringBitmap) -> bool {
    let record = |ordinal| ordinal / limits::TARGETS_PER_RECORD;
    targets.min().map(record) == targets.max().map(record)
}

async fn keep(
    store: &Arc<dyn Store>,
    job: &Job,
    term: Term,
    targets: &RoaringBitmap,
) -> Result<(), StoreError> {
    let mut next = targets.min();
    while let Some(first) = next {
        let last = first | (limits::TARGETS_PER_RECORD - 1);
        let record: RoaringBitmap = targets.range(first..=last).collect();
        store.job_targets_add(job.number, term, record).await?;
        next = last
            .checked_add(1)
            .and_then(|from| targets.range(from..).next());
    }
    Ok(())
}
