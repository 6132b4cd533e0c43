//! The row of a job and the columns of its plan: reading them as a [`Job`], and writing its state, its
//! numbers and its end.

use fanfare_hub::{
    ids::{JobId, JobNumber, Term},
    jobs::{
        job::{ConditionText, Job, JobEnd, JobState, Progress},
        ledger::{Rest, RestOutcome},
    },
    limits,
    ports::StoreError,
    time::Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::record::PlanRecord;
use crate::{embedded::core::unavailable, record::corrupt};

pub(super) const WAITING: u8 = 0;
pub(super) const RUNNING: u8 = 1;
pub(super) const DRAINING: u8 = 2;
pub(super) const COMPLETED: u8 = 3;
pub(super) const CANCELLED: u8 = 4;
pub(super) const FAILED: u8 = 5;
/// Being removed: nobody sees it any more, its rows go step by step.
pub(super) const EXPIRED: u8 = 6;

/// How to find a job.
#[derive(Clone, Copy)]
pub(in crate::embedded) enum JobKey<'a> {
    Id(&'a JobId),
    Number(JobNumber),
}

/// A job as stored.
pub(in crate::embedded) struct LoadedJob {
    pub(in crate::embedded) job: Job,
    pub(in crate::embedded) rest: Option<Rest>,
}

pub(super) const JOB_COLUMNS: &str = "job.number, id, state, created, sealed, canceled_at, ended, reason, \
     total, succeeded, failed, running, canceled, rest, rest_at, plan.record";

/// Which conditions are read with their jobs: those up to so many bytes. All have length and digest.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct ConditionsUpTo(pub(in crate::embedded) i64);

impl ConditionsUpTo {
    pub(in crate::embedded) const NONE: Self = Self(-1);
    /// What a document of one job repeats.
    pub(in crate::embedded) const ECHO: Self = Self(limits::JOB_CONDITION_ECHO_BYTES as i64);
    /// What a list repeats.
    pub(in crate::embedded) const LIST: Self = Self(limits::JOB_CONDITION_LIST_BYTES as i64);

    /// The columns that [`read_job`] expects after [`JOB_COLUMNS`].
    pub(super) fn columns(self) -> String {
        let max = self.0;
        format!(
            "condition_bytes, condition_sha256, \
             CASE WHEN condition_bytes <= {max} THEN condition_text END"
        )
    }
}

/// One job.
pub(in crate::embedded) fn load_job(
    db: &Connection,
    key: JobKey<'_>,
    conditions: ConditionsUpTo,
) -> Result<Option<LoadedJob>, StoreError> {
    let condition = conditions.columns();
    let place = match key {
        JobKey::Id(_) => "id = ?1",
        JobKey::Number(_) => "job.number = ?1 AND state < 6",
    };
    let sql = format!(
        "SELECT {JOB_COLUMNS}, {condition} FROM job JOIN job_plan AS plan USING (number) \
         WHERE {place}"
    );
    let mut select = db.prepare_cached(&sql).map_err(unavailable)?;
    let row = match key {
        JobKey::Id(id) => select
            .query_row([id.as_str()], |row| Ok(read_job(row)))
            .optional(),
        JobKey::Number(number) => select
            .query_row([number.0], |row| Ok(read_job(row)))
            .optional(),
    };
    row.map_err(unavailable)?.transpose()
}

/// Reads [`JOB_COLUMNS`] and [`ConditionsUpTo::columns`].
pub(in crate::embedded) fn read_job(row: &Row<'_>) -> Result<LoadedJob, StoreError> {
    let time = |column| {
        let value: rusqlite::Result<Option<i64>> = row.get(column);
        value.map(|value| value.map(Timestamp)).map_err(unavailable)
    };
    let id: String = row.get(1).map_err(unavailable)?;
    let state: u8 = row.get(2).map_err(unavailable)?;
    let record: Vec<u8> = row.get(15).map_err(unavailable)?;
    let text: Option<String> = row.get(18).map_err(unavailable)?;
    let condition = ConditionText::stored(
        text.as_deref(),
        row.get(16).map_err(unavailable)?,
        row.get(17).map_err(unavailable)?,
    );
    let (plan, creator) = PlanRecord::open(&record)?;
    let (sealed, canceled, ended) = (time(4)?, time(5)?, time(6)?);
    let reason: Option<String> = row.get(7).map_err(unavailable)?;
    let job = Job {
        id: JobId::parse(&id).map_err(|_| corrupt("job", "has an impossible id"))?,
        number: JobNumber(row.get(0).map_err(unavailable)?),
        plan: plan.into_plan(condition)?,
        creator,
        created: Timestamp(row.get(3).map_err(unavailable)?),
        state: state_of(state, sealed, canceled, ended, reason)
            .ok_or_else(|| corrupt("job", "is in an impossible state"))?,
        progress: read_progress(row)?,
    };
    let rest: Option<u8> = row.get(13).map_err(unavailable)?;
    let rest = match (rest, time(14)?) {
        (Some(0), Some(at)) => Some(Rest {
            outcome: RestOutcome::Unreachable,
            at,
        }),
        (Some(1), Some(at)) => Some(Rest {
            outcome: RestOutcome::Canceled,
            at,
        }),
        _ => None,
    };
    Ok(LoadedJob { job, rest })
}

fn read_progress(row: &Row<'_>) -> Result<Option<Progress>, StoreError> {
    let number = |column| row.get::<_, Option<u32>>(column).map_err(unavailable);
    let Some(total) = number(8)? else {
        return Ok(None);
    };
    Ok(Some(Progress {
        total,
        succeeded: number(9)?.unwrap_or(0),
        failed: number(10)?.unwrap_or(0),
        running: number(11)?.unwrap_or(0),
        canceled: number(12)?.unwrap_or(0),
    }))
}

fn state_of(
    state: u8,
    sealed: Option<Timestamp>,
    canceled: Option<Timestamp>,
    ended: Option<Timestamp>,
    reason: Option<String>,
) -> Option<JobState> {
    let end = match state {
        WAITING => return Some(JobState::Waiting),
        RUNNING => return Some(JobState::Running { sealed: sealed? }),
        DRAINING => {
            return Some(JobState::Draining {
                sealed: sealed?,
                canceled: canceled?,
            });
        }
        COMPLETED => JobEnd::Completed,
        CANCELLED => JobEnd::Cancelled,
        FAILED => JobEnd::Failed { reason: reason? },
        _ => return None,
    };
    Some(JobState::Ended {
        end,
        at: ended?,
        sealed,
    })
}

/// Writes a job's state, and nothing else of it.
pub(super) fn write_state(db: &Connection, job: &Job, term: Term) -> Result<(), StoreError> {
    let (state, canceled, ended, reason) = match &job.state {
        JobState::Waiting => (WAITING, None, None, None),
        JobState::Running { .. } => (RUNNING, None, None, None),
        JobState::Draining { canceled, .. } => (DRAINING, Some(canceled.0), None, None),
        JobState::Ended { end, at, .. } => match end {
            JobEnd::Completed => (COMPLETED, None, Some(at.0), None),
            JobEnd::Cancelled => (CANCELLED, None, Some(at.0), None),
            JobEnd::Failed { reason } => (FAILED, None, Some(at.0), Some(reason.as_str())),
        },
    };
    db.prepare_cached(
        "UPDATE job SET state = ?2, sealed = ?3, canceled_at = coalesce(?4, canceled_at),
             ended = ?5, reason = ?6, term = ?7
         WHERE number = ?1",
    )
    .and_then(|mut update| {
        let sealed = job.sealed().map(|sealed| sealed.0);
        update.execute(params![
            job.number.0,
            state,
            sealed,
            canceled,
            ended,
            reason,
            term.0
        ])
    })
    .map(drop)
    .map_err(unavailable)
}

/// Writes a job's numbers.
pub(in crate::embedded) fn write_progress(
    db: &Connection,
    number: JobNumber,
    progress: &Progress,
) -> Result<(), StoreError> {
    let Progress {
        total,
        succeeded,
        failed,
        running,
        canceled,
    } = *progress;
    db.prepare_cached(
        "UPDATE job SET total = ?2, succeeded = ?3, failed = ?4, running = ?5, canceled = ?6
         WHERE number = ?1",
    )
    .and_then(|mut update| {
        update.execute(params![
            number.0, total, succeeded, failed, running, canceled
        ])
    })
    .map(drop)
    .map_err(unavailable)
}

pub(super) fn write_rest(db: &Connection, number: JobNumber, rest: Rest) -> Result<(), StoreError> {
    let outcome = match rest.outcome {
        RestOutcome::Unreachable => 0,
        RestOutcome::Canceled => 1,
    };
    db.prepare_cached("UPDATE job SET rest = ?2, rest_at = ?3 WHERE number = ?1")
        .and_then(|mut update| update.execute(params![number.0, outcome, rest.at.0]))
        .map(drop)
        .map_err(unavailable)
}

/// Writes the end of a job; what only a running job needs goes.
pub(in crate::embedded) fn finish_job(
    db: &Connection,
    job: &Job,
    term: Term,
) -> Result<(), StoreError> {
    write_state(db, job, term)?;
    for sql in [
        "DELETE FROM job_segment WHERE number = ?1 AND kind IN (0, 1)",
        "DELETE FROM job_checkpoint WHERE number = ?1",
    ] {
        db.prepare_cached(sql)
            .and_then(|mut delete| delete.execute([job.number.0]))
            .map_err(unavailable)?;
    }
    Ok(())
}

/// A job's number as a column; numbers that no job can have come from continuations made up by a caller.
pub(in crate::embedded) fn number_column(number: JobNumber) -> i64 {
    i64::try_from(number.0).unwrap_or(i64::MAX)
}
