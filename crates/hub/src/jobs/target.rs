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
use tokio::task::spawn_blocking;

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
    let (condition, devices) = read(text).await.map_err(TargetError::Condition)?;
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

/// A condition, and the devices to look at where it names them.
type Read = (Condition, Option<Vec<DeviceId>>);

/// Reads a condition; a very long one on a thread of its own, since that takes seconds in which the thread it is
/// asked on would serve nobody.
async fn read(text: Arc<str>) -> Result<Read, QueryError> {
    let is_prompt = text.len() <= limits::PROMPT_TEXT_BYTES;
    let parse = move || {
        let condition = Condition::parse(&text)?;
        let devices = condition.identity_ids().map(|ids| {
            ids.into_iter()
                .filter_map(|id| DeviceId::parse(id).ok())
                .collect()
        });
        Ok((condition, devices))
    };
    if is_prompt {
        return parse();
    }
    let read = spawn_blocking(parse).await;
    read.expect("reading does not panic, and who waits for it ends before the runtime does")
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

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::mpsc,
        task::{Context, Waker},
    };

    use tokio::runtime;

    use super::*;

    /// `deviceId IN [...]` with ids enough for a text of so many bytes.
    fn condition(bytes: usize) -> Arc<str> {
        let ids: Vec<_> = (0..bytes / 11).map(|n| format!("'d{n:07}'")).collect();
        format!("deviceId IN [{}]", ids.join(",")).into()
    }

    #[test]
    fn a_very_long_condition_is_read_on_another_thread() {
        let runtime = runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime without timers and sockets");
        let _entered = runtime.enter();
        // The only other thread is busy until it is told.
        let (free, wait) = mpsc::channel::<()>();
        spawn_blocking(move || wait.recv());
        let mut context = Context::from_waker(Waker::noop());

        let prompt = pin!(read(condition(1_000)));
        assert!(prompt.poll(&mut context).is_ready());
        let mut long = pin!(read(condition(limits::PROMPT_TEXT_BYTES + 1_000)));
        assert!(long.as_mut().poll(&mut context).is_pending());
        drop(free);
        let (read, devices) = runtime.block_on(long).expect("it is a condition");
        let devices = devices.expect("it names them");
        assert!(devices.len() > 20_000);
        assert!(
            read.text()
                .ends_with(&format!("'{}']", devices[devices.len() - 1].as_str()))
        );
    }
}
