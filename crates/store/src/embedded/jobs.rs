//! Jobs: the row that changes, the plan that does not, and every move of a job's state.
//!
//! Which moves are legal is the hub's ([`Job`]); here they are made inside the writer. What happens to the
//! devices of a job is in [`super::journal`].

use std::time::Duration;

use async_trait::async_trait;
use fanfare_hub::{
    ids::{IdentityKey, JobId, JobNumber, MethodName, Ordinal, Space, Term},
    jobs::{
        job::{
            Job, JobEnd, JobPlan, JobState, MethodOperation, Operation, Progress, TwinOperation,
        },
        ledger::{Outcome, Rest, RestOutcome, Settled, Standing},
    },
    json::JsonText,
    limits,
    ports::{
        StoreError,
        store::{
            JobCanceled, JobCommitted, JobDue, JobFilter, JobInserted, JobRecords, JobResumed,
            JobStatusFilter, JobStore, OperationKind, TwinPage,
        },
    },
    time::Timestamp,
    twin::document::{Object, SectionPatch, TwinPatch},
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    journal::{add_targets, conclude, load, load_targets, record, running, settle_now},
    rows::row_key,
    shell::Lane,
    twins::{PatchedRow, patch_row},
};
use crate::record::{corrupt, open_value, seal_value};

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DRAINING: u8 = 2;
const COMPLETED: u8 = 3;
const CANCELLED: u8 = 4;
const FAILED: u8 = 5;

const PLAN_V1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct PlanRecord {
    space: u8,
    operation: OperationRecord,
    start: Option<i64>,
    window_seconds: u32,
}

#[derive(Serialize, Deserialize)]
enum OperationRecord {
    Method {
        name: String,
        payload: String,
        response_seconds: u32,
        connect_seconds: Option<u32>,
    },
    Twin {
        tags: SectionRecord,
        desired: SectionRecord,
        echo: String,
    },
}

/// A section's change; the members of a merge as JSON text.
#[derive(Serialize, Deserialize)]
enum SectionRecord {
    Absent,
    Clear,
    Merge(String),
}

impl PlanRecord {
    fn new(plan: &JobPlan) -> Self {
        let operation = match &plan.operation {
            Operation::Method(method) => OperationRecord::Method {
                name: method.name.to_string(),
                payload: method.payload.as_str().to_owned(),
                response_seconds: method.response_seconds,
                connect_seconds: method.connect_seconds,
            },
            Operation::Twin(twin) => OperationRecord::Twin {
                tags: SectionRecord::new(twin.patch.tags()),
                desired: SectionRecord::new(twin.patch.desired()),
                echo: twin.echo.as_str().to_owned(),
            },
        };
        Self {
            space: plan.space as u8,
            operation,
            start: plan.start.map(|start| start.0),
            window_seconds: plan.window_seconds,
        }
    }

    fn into_plan(self, condition: &str) -> Result<JobPlan, StoreError> {
        let operation = match self.operation {
            OperationRecord::Method {
                name,
                payload,
                response_seconds,
                connect_seconds,
            } => Operation::Method(MethodOperation {
                name: MethodName::parse(&name)
                    .map_err(|_| corrupt("job plan", "names no method"))?,
                payload: json(&payload)?,
                response_seconds,
                connect_seconds,
            }),
            OperationRecord::Twin {
                tags,
                desired,
                echo,
            } => {
                let patch = TwinPatch::new(tags.into_patch()?, desired.into_patch()?)
                    .map_err(|_| corrupt("job plan", "holds a patch outside the rules"))?;
                Operation::Twin(TwinOperation {
                    patch,
                    echo: json(&echo)?,
                })
            }
        };
        Ok(JobPlan {
            condition: condition.into(),
            space: space_of(self.space)?,
            operation,
            start: self.start.map(Timestamp),
            window_seconds: self.window_seconds,
        })
    }
}

impl SectionRecord {
    fn new(patch: &SectionPatch) -> Self {
        match patch {
            SectionPatch::Absent => Self::Absent,
            SectionPatch::Clear => Self::Clear,
            SectionPatch::Merge(members) => {
                Self::Merge(serde_json::to_string(members).expect("JSON objects can be written"))
            }
        }
    }

    fn into_patch(self) -> Result<SectionPatch, StoreError> {
        Ok(match self {
            Self::Absent => SectionPatch::Absent,
            Self::Clear => SectionPatch::Clear,
            Self::Merge(text) => {
                let members: Object = serde_json::from_str(&text)
                    .map_err(|_| corrupt("job plan", "holds a patch that is not JSON"))?;
                SectionPatch::Merge(members)
            }
        })
    }
}

fn json(text: &str) -> Result<JsonText, StoreError> {
    JsonText::parse(text.as_bytes()).ok_or_else(|| corrupt("job plan", "holds no JSON"))
}

pub(super) fn space_of(value: u8) -> Result<Space, StoreError> {
    match value {
        0 => Ok(Space::Devices),
        1 => Ok(Space::Modules),
        _ => Err(corrupt("job", "is in an unknown space")),
    }
}

/// How to find a job.
#[derive(Clone, Copy)]
pub(super) enum JobKey<'a> {
    Id(&'a JobId),
    Number(JobNumber),
}

/// A job as stored.
pub(super) struct LoadedJob {
    pub(super) job: Job,
    pub(super) rest: Option<Rest>,
}

const JOB_COLUMNS: &str = "job.number, id, state, created, sealed, canceled_at, ended, reason, \
     total, succeeded, failed, running, canceled, rest, rest_at, plan.record";

/// One job. `with_condition` false leaves the condition's text empty, which may be large.
pub(super) fn load_job(
    db: &Connection,
    key: JobKey<'_>,
    with_condition: bool,
) -> Result<Option<LoadedJob>, StoreError> {
    let condition = condition_column(with_condition);
    let place = match key {
        JobKey::Id(_) => "id = ?1",
        JobKey::Number(_) => "job.number = ?1",
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

fn condition_column(wanted: bool) -> &'static str {
    if wanted {
        "condition_text"
    } else {
        "'' AS condition_text"
    }
}

/// Reads [`JOB_COLUMNS`] and the condition.
pub(super) fn read_job(row: &Row<'_>) -> Result<LoadedJob, StoreError> {
    let time = |column| {
        let value: rusqlite::Result<Option<i64>> = row.get(column);
        value.map(|value| value.map(Timestamp)).map_err(unavailable)
    };
    let id: String = row.get(1).map_err(unavailable)?;
    let state: u8 = row.get(2).map_err(unavailable)?;
    let record: Vec<u8> = row.get(15).map_err(unavailable)?;
    let condition: String = row.get(16).map_err(unavailable)?;
    let plan: PlanRecord = open_value("job plan", PLAN_V1, &record)?;
    let (sealed, canceled, ended) = (time(4)?, time(5)?, time(6)?);
    let reason: Option<String> = row.get(7).map_err(unavailable)?;
    let job = Job {
        id: JobId::parse(&id).map_err(|_| corrupt("job", "has an impossible id"))?,
        number: JobNumber(row.get(0).map_err(unavailable)?),
        plan: plan.into_plan(&condition)?,
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
fn write_state(db: &Connection, job: &Job, term: Term) -> Result<(), StoreError> {
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
pub(super) fn write_progress(
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

fn write_rest(db: &Connection, number: JobNumber, rest: Rest) -> Result<(), StoreError> {
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
pub(super) fn finish_job(db: &Connection, job: &Job) -> Result<(), StoreError> {
    let term: u32 = db
        .prepare_cached("SELECT term FROM job WHERE number = ?1")
        .and_then(|mut select| select.query_row([job.number.0], |row| row.get(0)))
        .map_err(unavailable)?;
    write_state(db, job, Term(term))?;
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

fn absent(number: JobNumber) -> StoreError {
    StoreError::Absent(format!("job number {number}"))
}

fn insert_job(
    writer: &Writer<'_>,
    id: JobId,
    plan: JobPlan,
    at: Timestamp,
    retry_window: Duration,
) -> Result<JobInserted, StoreError> {
    let db = writer.db;
    if let Some(before) = load_job(db, JobKey::Id(&id), true)? {
        let is_retry = before.job.plan == plan && at.since(before.job.created) <= retry_window;
        return Ok(match is_retry {
            true => JobInserted::Repeated(before.job),
            false => JobInserted::Taken,
        });
    }
    let number = JobNumber(next_number(db, "job").map_err(unavailable)?);
    let operation = match plan.operation {
        Operation::Method(_) => 0,
        Operation::Twin(_) => 1,
    };
    let record = seal_value(PLAN_V1, &PlanRecord::new(&plan));
    let job = Job::accepted(id, number, plan, at);
    db.prepare_cached(
        "INSERT INTO job (number, id, operation, space, state, created, start, term)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            number.0,
            job.id.as_str(),
            operation,
            job.plan.space as u8,
            WAITING,
            job.created.0,
            job.start().0,
            writer.term.0
        ])
    })
    .map_err(unavailable)?;
    db.prepare_cached("INSERT INTO job_plan (number, record, condition_text) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![number.0, record, &*job.plan.condition]))
        .map_err(unavailable)?;
    Ok(JobInserted::Accepted(job))
}

fn list_jobs(
    db: &Connection,
    filter: &JobFilter,
    at: Timestamp,
    limit: u32,
) -> Result<Vec<Job>, StoreError> {
    let any_start = (i64::MIN, i64::MAX);
    let (states, starts) = match filter.status {
        None => ((WAITING, FAILED), any_start),
        Some(JobStatusFilter::Queued) => ((WAITING, WAITING), (i64::MIN, at.0)),
        Some(JobStatusFilter::Scheduled) => ((WAITING, WAITING), (at.0 + 1, i64::MAX)),
        Some(JobStatusFilter::Running) => ((RUNNING, DRAINING), any_start),
        Some(JobStatusFilter::Completed) => ((COMPLETED, COMPLETED), any_start),
        Some(JobStatusFilter::Cancelled) => ((CANCELLED, CANCELLED), any_start),
        Some(JobStatusFilter::Failed) => ((FAILED, FAILED), any_start),
    };
    let operations = match filter.operation {
        None => (0, 1),
        Some(OperationKind::Method) => (0, 0),
        Some(OperationKind::Twin) => (1, 1),
    };
    let before = filter.before.map_or(i64::MAX, |number| number.0 as i64);
    let sql = format!(
        "SELECT {JOB_COLUMNS}, condition_text FROM job JOIN job_plan AS plan USING (number)
         WHERE job.number < ?1 AND operation BETWEEN ?2 AND ?3 AND state BETWEEN ?4 AND ?5
             AND start BETWEEN ?6 AND ?7
         ORDER BY job.number DESC LIMIT ?8"
    );
    let mut select = db.prepare_cached(&sql).map_err(unavailable)?;
    let bounds = params![
        before,
        operations.0,
        operations.1,
        states.0,
        states.1,
        starts.0,
        starts.1,
        limit
    ];
    collect_jobs(&mut select, bounds)
}

fn collect_jobs(
    select: &mut rusqlite::Statement<'_>,
    bounds: impl rusqlite::Params,
) -> Result<Vec<Job>, StoreError> {
    let mut rows = select.query(bounds).map_err(unavailable)?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next().map_err(unavailable)? {
        jobs.push(read_job(row)?.job);
    }
    Ok(jobs)
}

fn due_jobs(db: &Connection, at: Timestamp, limit: u32) -> Result<JobDue, StoreError> {
    let sql = format!(
        "SELECT {JOB_COLUMNS}, condition_text FROM job JOIN job_plan AS plan USING (number)
         WHERE state = 0 AND start <= ?1 ORDER BY start LIMIT ?2"
    );
    let mut select = db.prepare_cached(&sql).map_err(unavailable)?;
    let due = collect_jobs(&mut select, params![at.0, limit])?;
    let next: Option<i64> = db
        .prepare_cached("SELECT min(start) FROM job WHERE state = 0 AND start > ?1")
        .and_then(|mut select| select.query_row([at.0], |row| row.get(0)))
        .map_err(unavailable)?;
    Ok(JobDue {
        due,
        next: next.map(Timestamp),
    })
}

fn check_term(writer: &Writer<'_>, term: Term) -> Result<(), StoreError> {
    if term == writer.term {
        Ok(())
    } else {
        Err(StoreError::Conflict)
    }
}

fn seal(writer: &mut Writer<'_>, number: JobNumber, at: Timestamp) -> Result<Job, StoreError> {
    let loaded = load_job(writer.db, JobKey::Number(number), true)?;
    let mut job = loaded.ok_or_else(|| absent(number))?.job;
    let targets = load_targets(writer.db, number)?;
    if job.seal(targets.len() as u32, at).is_err() {
        return Ok(job);
    }
    write_state(writer.db, &job, writer.term)?;
    conclude(writer, number, at)?;
    let loaded = load_job(writer.db, JobKey::Number(number), true)?;
    Ok(loaded.ok_or_else(|| absent(number))?.job)
}

fn cancel(writer: &mut Writer<'_>, id: &JobId, at: Timestamp) -> Result<JobCanceled, StoreError> {
    let Some(loaded) = load_job(writer.db, JobKey::Id(id), true)? else {
        return Ok(JobCanceled::Absent);
    };
    let mut job = loaded.job;
    let was_running = job.may_begin();
    if job.cancel(at).is_err() {
        return Ok(JobCanceled::TooLate(job));
    }
    write_state(writer.db, &job, writer.term)?;
    if was_running {
        let rest = Rest {
            outcome: RestOutcome::Canceled,
            at,
        };
        close_rest(writer, job.number, rest, job.state)?;
        conclude(writer, job.number, at)?;
    }
    let loaded = load_job(writer.db, JobKey::Id(id), true)?;
    Ok(loaded.map_or(JobCanceled::Absent, |loaded| JobCanceled::Done(loaded.job)))
}

fn close_rest(
    writer: &mut Writer<'_>,
    number: JobNumber,
    rest: Rest,
    state: JobState,
) -> Result<(), StoreError> {
    let db = writer.db;
    let Some(running) = running(writer, number)? else {
        return Ok(());
    };
    running.job.state = state;
    running.ledger.close(rest);
    write_rest(db, number, rest)
}

/// The window is over: calls in flight end, older terms' as unknown; whoever has not begun never will.
fn close(writer: &mut Writer<'_>, number: JobNumber, at: Timestamp) -> Result<(), StoreError> {
    let term = writer.term;
    let Some(running) = running(writer, number)? else {
        return Ok(());
    };
    let outcome = |from: Term| {
        if from < term {
            Outcome::Unknown
        } else {
            Outcome::TimedOut
        }
    };
    let settled: Vec<Settled> = running
        .ledger
        .in_flight()
        .iter()
        .map(|(ordinal, flight)| Settled {
            ordinal: *ordinal,
            outcome: outcome(flight.call.term),
            at,
        })
        .collect();
    let state = running.job.state.clone();
    settle_now(writer, number, &settled)?;
    close_rest(
        writer,
        number,
        Rest {
            outcome: RestOutcome::Unreachable,
            at,
        },
        state,
    )?;
    conclude(writer, number, at)?;
    Ok(())
}

fn twin_page(
    writer: &mut Writer<'_>,
    number: JobNumber,
    devices: &[Ordinal],
    at: Timestamp,
) -> Result<TwinPage, StoreError> {
    let mut changes = Vec::new();
    let mut settled = Vec::with_capacity(devices.len());
    let Some(job) = running(writer, number)? else {
        let (progress, ended) = conclude(writer, number, at)?;
        return Ok(TwinPage {
            changes,
            progress,
            ended,
        });
    };
    let Operation::Twin(operation) = job.job.plan.operation.clone() else {
        return Err(corrupt("job", "has no twin patch"));
    };
    let space = job.job.plan.space;
    let is_pending = |ordinal: &&Ordinal| job.ledger.standing(**ordinal) == Standing::Pending;
    let pending: Vec<Ordinal> = devices.iter().filter(is_pending).copied().collect();
    for ordinal in pending {
        let key = IdentityKey { space, ordinal };
        let outcome = match patch_row(writer, row_key(key), &operation.patch, at)? {
            PatchedRow::Absent => Outcome::Deleted,
            PatchedRow::Refused(error) => Outcome::Rejected {
                reason: error.to_string(),
            },
            PatchedRow::Patched(change) => {
                changes.extend(change.map(|change| (key, change)));
                Outcome::Applied
            }
        };
        settled.push(Settled {
            ordinal,
            outcome,
            at,
        });
    }
    settle_now(writer, number, &settled)?;
    let (progress, ended) = conclude(writer, number, at)?;
    Ok(TwinPage {
        changes,
        progress,
        ended,
    })
}

fn expire(writer: &mut Writer<'_>, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
    let numbers: Vec<u64> = writer
        .db
        .prepare_cached("SELECT number FROM job WHERE state >= 3 AND ended < ?1 LIMIT ?2")
        .and_then(|mut select| {
            select
                .query_map(params![before.0, limit], |row| row.get(0))?
                .collect()
        })
        .map_err(unavailable)?;
    let mut removed = 0;
    for number in numbers {
        writer.running.forget(JobNumber(number));
        if remove_some(writer.db, number)? {
            removed += 1;
        } else {
            // More of this one next time: a transaction stays short.
            removed += 1;
            break;
        }
    }
    Ok(removed)
}

/// Rows of a job's history that one transaction removes.
const EXPIRE_ROWS: u32 = 1_000;

/// Removes rows of one job; true when the job itself is gone.
fn remove_some(db: &Connection, number: u64) -> Result<bool, StoreError> {
    let parts = [
        "DELETE FROM job_payload WHERE rowid IN
             (SELECT rowid FROM job_payload WHERE number = ?1 LIMIT ?2)",
        "DELETE FROM job_segment WHERE sequence IN
             (SELECT sequence FROM job_segment WHERE number = ?1 LIMIT ?2)",
        "DELETE FROM job_targets WHERE rowid IN
             (SELECT rowid FROM job_targets WHERE number = ?1 LIMIT ?2)",
    ];
    let mut left = EXPIRE_ROWS;
    for sql in parts {
        let gone = db
            .prepare_cached(sql)
            .and_then(|mut delete| delete.execute(params![number, left]))
            .map_err(unavailable)?;
        left = left.saturating_sub(gone as u32);
        if left == 0 {
            return Ok(false);
        }
    }
    for sql in [
        "DELETE FROM job_plan WHERE number = ?1",
        "DELETE FROM job WHERE number = ?1",
    ] {
        db.prepare_cached(sql)
            .and_then(|mut delete| delete.execute([number]))
            .map_err(unavailable)?;
    }
    Ok(true)
}

#[async_trait]
impl JobStore for Embedded {
    async fn job_insert(
        &self,
        id: JobId,
        plan: JobPlan,
        at: Timestamp,
        retry_window: Duration,
    ) -> Result<JobInserted, StoreError> {
        self.shell
            .write(Lane::Interactive, 2, move |writer| {
                insert_job(writer, id, plan, at, retry_window)
            })
            .await
    }

    async fn job_get(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        let id = id.clone();
        let loaded = self
            .shell
            .read(move |db| load_job(db, JobKey::Id(&id), true))
            .await?;
        Ok(loaded.map(|loaded| loaded.job))
    }

    async fn job_list(
        &self,
        filter: JobFilter,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        self.shell
            .read(move |db| list_jobs(db, &filter, at, limit))
            .await
    }

    async fn job_due(&self, at: Timestamp, limit: u32) -> Result<JobDue, StoreError> {
        self.shell.read(move |db| due_jobs(db, at, limit)).await
    }

    async fn job_running(&self) -> Result<Vec<JobNumber>, StoreError> {
        self.shell
            .read(|db| {
                db.prepare_cached("SELECT number FROM job WHERE state IN (1, 2) ORDER BY number")
                    .and_then(|mut select| {
                        select
                            .query_map([], |row| row.get(0).map(JobNumber))?
                            .collect()
                    })
                    .map_err(unavailable)
            })
            .await
    }

    async fn job_targets_clear(&self, job: JobNumber, term: Term) -> Result<(), StoreError> {
        self.shell
            .write(Lane::Background, 1, move |writer| {
                check_term(writer, term)?;
                let waiting = load_job(writer.db, JobKey::Number(job), false)?
                    .is_some_and(|loaded| loaded.job.state == JobState::Waiting);
                if waiting {
                    writer
                        .db
                        .prepare_cached("DELETE FROM job_targets WHERE number = ?1")
                        .and_then(|mut delete| delete.execute([job.0]))
                        .map_err(unavailable)?;
                }
                Ok(())
            })
            .await
    }

    async fn job_targets_add(
        &self,
        job: JobNumber,
        term: Term,
        targets: RoaringBitmap,
    ) -> Result<(), StoreError> {
        self.shell
            .write(Lane::Background, 1, move |writer| {
                check_term(writer, term)?;
                let loaded = load_job(writer.db, JobKey::Number(job), false)?;
                match loaded {
                    Some(loaded) if loaded.job.state == JobState::Waiting => {
                        add_targets(writer.db, job, &targets)
                    }
                    // Cancelled meanwhile: the seal will say so.
                    Some(_) => Ok(()),
                    None => Err(absent(job)),
                }
            })
            .await
    }

    async fn job_seal(&self, job: JobNumber, term: Term, at: Timestamp) -> Result<Job, StoreError> {
        self.shell
            .write(Lane::Background, 2, move |writer| {
                check_term(writer, term)?;
                seal(writer, job, at)
            })
            .await
    }

    async fn job_resume(&self, job: JobNumber) -> Result<JobResumed, StoreError> {
        self.shell
            .scan(move |db| {
                let loaded =
                    load_job(db, JobKey::Number(job), false)?.ok_or_else(|| absent(job))?;
                let account = load(db, loaded.job, loaded.rest)?;
                Ok(JobResumed {
                    job: account.job,
                    ledger: account.ledger,
                })
            })
            .await
    }

    async fn job_journal(
        &self,
        term: Term,
        records: Vec<JobRecords>,
        at: Timestamp,
    ) -> Result<Vec<JobCommitted>, StoreError> {
        let rows = records
            .iter()
            .map(|records| 2 + records.settled.len() / 100)
            .sum();
        self.shell
            .write(Lane::Interactive, rows, move |writer| {
                check_term(writer, term)?;
                records
                    .iter()
                    .map(|records| record(writer, records, at))
                    .collect()
            })
            .await
    }

    async fn job_twin_page(
        &self,
        job: JobNumber,
        term: Term,
        devices: Vec<Ordinal>,
        at: Timestamp,
    ) -> Result<TwinPage, StoreError> {
        debug_assert!(
            devices.len() <= limits::TWIN_PAGE_DEVICES,
            "pages are bounded"
        );
        self.shell
            .write(Lane::Background, devices.len(), move |writer| {
                check_term(writer, term)?;
                twin_page(writer, job, &devices, at)
            })
            .await
    }

    async fn job_cancel(&self, id: &JobId, at: Timestamp) -> Result<JobCanceled, StoreError> {
        let id = id.clone();
        self.shell
            .write(Lane::Interactive, 2, move |writer| cancel(writer, &id, at))
            .await
    }

    async fn job_close(
        &self,
        job: JobNumber,
        term: Term,
        at: Timestamp,
    ) -> Result<Job, StoreError> {
        self.shell
            .write(Lane::Interactive, 10, move |writer| {
                check_term(writer, term)?;
                close(writer, job, at)?;
                let loaded = load_job(writer.db, JobKey::Number(job), true)?;
                Ok(loaded.ok_or_else(|| absent(job))?.job)
            })
            .await
    }

    async fn job_fail(
        &self,
        job: JobNumber,
        term: Term,
        reason: String,
        at: Timestamp,
    ) -> Result<Job, StoreError> {
        self.shell
            .write(Lane::Interactive, 2, move |writer| {
                check_term(writer, term)?;
                let loaded = load_job(writer.db, JobKey::Number(job), true)?;
                let mut job = loaded.ok_or_else(|| absent(job))?.job;
                if job.fail(reason, at).is_ok() {
                    writer.running.forget(job.number);
                    finish_job(writer.db, &job)?;
                }
                Ok(job)
            })
            .await
    }

    async fn job_expire(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.shell
            .write(Lane::Background, EXPIRE_ROWS as usize, move |writer| {
                expire(writer, before, limit)
            })
            .await
    }
}
