//! Jobs: the row that changes, the plan that does not, and every move of a job's state.
//!
//! Which moves are legal is the hub's ([`Job`]); here they are made inside the writer. What happens to the
//! devices of a job is in [`super::journal`]; stored shapes are in [`record`] and [`row`].

mod expire;
mod record;
mod row;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use fanfare_hub::{
    access::Actor,
    ids::{IdentityKey, JobId, JobNumber, Ordinal, Term},
    jobs::{
        job::{IllegalMove, Job, JobPlan, JobState, Operation},
        ledger::{Outcome, Rest, RestOutcome, Settled, Standing},
    },
    limits,
    ports::{
        StoreError,
        store::{
            AcceptRules, JobCanceled, JobCommitted, JobDue, JobFilter, JobInserted, JobRecords,
            JobResumed, JobStatusFilter, JobStore, OperationKind, TwinPage,
        },
    },
    time::Timestamp,
};
use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension, params};

pub(super) use self::row::{
    ConditionsUpTo, JobKey, LoadedJob, finish_job, load_job, number_column, write_progress,
};
use self::{
    expire::{EXPIRE_ROWS, expire},
    record::PlanRecord,
    row::{
        CANCELLED, COMPLETED, DRAINING, FAILED, JOB_COLUMNS, RUNNING, WAITING, read_job,
        write_rest, write_state,
    },
};
use super::{
    Embedded,
    core::{Writer, next_number, unavailable},
    journal::{self, conclude, load, record, running, settle_now},
    ordinals::{add_targets, load_targets},
    rows::row_key,
    shell::Lane,
    twins::{PatchedRow, patch_row},
};
use crate::record::corrupt;

fn absent(number: JobNumber) -> StoreError {
    StoreError::Absent(format!("job number {number}"))
}

fn insert_job(
    writer: &Writer<'_>,
    id: JobId,
    plan: JobPlan,
    creator: Option<Actor>,
    at: Timestamp,
    rules: AcceptRules,
) -> Result<JobInserted, StoreError> {
    let db = writer.db;
    if let Some(before) = load_job(db, JobKey::Id(&id), ConditionsUpTo::ECHO)? {
        let is_soon =
            !rules.retry_window.is_zero() && at.since(before.job.created) <= rules.retry_window;
        return Ok(match is_soon && before.job.plan == plan {
            true => JobInserted::Repeated(before.job),
            false => JobInserted::Taken,
        });
    }
    let is_active = plan.start.is_none_or(|start| start <= at);
    if let Some(max) = rules.active_max.filter(|_| is_active)
        && active_jobs(db, at)? >= u64::from(max)
    {
        return Ok(JobInserted::TooManyActive);
    }
    let number = JobNumber(next_number(db, "job").map_err(unavailable)?);
    let operation = match plan.operation {
        Operation::Method(_) => 0,
        Operation::Twin(_) => 1,
    };
    let record = PlanRecord::new(&plan).seal(creator.as_ref());
    let job = Job::accepted(id, number, plan, creator, at);
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
    let condition = &job.plan.condition;
    db.prepare_cached(
        "INSERT INTO job_plan (number, record, condition_bytes, condition_sha256, condition_text)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut insert| {
        let (bytes, sha256) = (condition.bytes(), condition.sha256());
        insert.execute(params![number.0, record, bytes, sha256, condition.text()])
    })
    .map_err(unavailable)?;
    Ok(JobInserted::Accepted(job))
}

/// Jobs that run or drain, and those that wait although their start has come.
fn active_jobs(db: &Connection, at: Timestamp) -> Result<u64, StoreError> {
    db.prepare_cached(
        "SELECT (SELECT count(*) FROM job WHERE state IN (1, 2))
             + (SELECT count(*) FROM job WHERE state = 0 AND start <= ?1)",
    )
    .and_then(|mut select| select.query_row([at.0], |row| row.get(0)))
    .map_err(unavailable)
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
    let before = filter.before.map_or(i64::MAX, number_column);
    let condition = ConditionsUpTo::LIST.columns();
    let sql = format!(
        "SELECT {JOB_COLUMNS}, {condition} FROM job JOIN job_plan AS plan USING (number)
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
    let condition = ConditionsUpTo::NONE.columns();
    let sql = format!(
        "SELECT {JOB_COLUMNS}, {condition} FROM job JOIN job_plan AS plan USING (number)
         WHERE state = 0 AND start <= ?1 ORDER BY start, job.number LIMIT ?2"
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

fn clear_targets(db: &Connection, number: JobNumber) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM job_targets WHERE number = ?1")
        .and_then(|mut delete| delete.execute([number.0]))
        .map(drop)
        .map_err(unavailable)
}

fn seal(writer: &mut Writer<'_>, number: JobNumber, at: Timestamp) -> Result<Job, StoreError> {
    let loaded = load_job(writer.db, JobKey::Number(number), ConditionsUpTo::ECHO)?;
    let mut job = loaded.ok_or_else(|| absent(number))?.job;
    let targets = load_targets(writer.db, number)?;
    if job.seal(targets.len() as u32, at).is_err() {
        return Ok(job);
    }
    write_state(writer.db, &job, writer.term)?;
    conclude(writer, number, at)?;
    let loaded = load_job(writer.db, JobKey::Number(number), ConditionsUpTo::ECHO)?;
    Ok(loaded.ok_or_else(|| absent(number))?.job)
}

/// Cancels by the rule that `by` is: which states it may be done in is the hub's.
fn cancel(
    writer: &mut Writer<'_>,
    id: &JobId,
    at: Timestamp,
    by: impl FnOnce(&mut Job, Timestamp) -> Result<(), IllegalMove>,
) -> Result<JobCanceled, StoreError> {
    let Some(loaded) = load_job(writer.db, JobKey::Id(id), ConditionsUpTo::ECHO)? else {
        return Ok(JobCanceled::Absent);
    };
    let mut job = loaded.job;
    let was_running = job.may_begin();
    if by(&mut job, at).is_err() {
        return Ok(JobCanceled::TooLate(job));
    }
    if was_running {
        // A corrupt journal must be found before anything is written.
        running(writer, job.number)?;
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
    let loaded = load_job(writer.db, JobKey::Id(id), ConditionsUpTo::ECHO)?;
    Ok(loaded.map_or(JobCanceled::Absent, |loaded| JobCanceled::Done(loaded.job)))
}

/// Gives whoever has not begun one outcome; whoever has one keeps it.
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
    let left = match running.ledger.rest() {
        None => running.ledger.progress().pending(),
        // Closed before: they have ended already.
        Some(_) => 0,
    };
    running.ledger.close(rest);
    let rest = running.ledger.rest().unwrap_or(rest);
    writer.ended.add_rest(rest.outcome, left);
    write_rest(db, number, rest)
}

/// Gives every device of a running job that has none its outcome: `in_flight` says which for a call of a
/// term, `rest` for those that have not begun.
fn settle_all(
    writer: &mut Writer<'_>,
    number: JobNumber,
    in_flight: impl Fn(Term) -> Outcome,
    rest: Rest,
) -> Result<(), StoreError> {
    let Some(running) = running(writer, number)? else {
        return Ok(());
    };
    let settled: Vec<Settled> = running
        .ledger
        .in_flight()
        .iter()
        .map(|(ordinal, flight)| Settled {
            ordinal: *ordinal,
            outcome: in_flight(flight.call.term),
            at: rest.at,
        })
        .collect();
    let state = running.job.state.clone();
    settle_now(writer, number, &settled)?;
    close_rest(writer, number, rest, state)
}

/// The window is over: calls in flight end, older terms' as unknown; whoever has not begun never will.
fn close(writer: &mut Writer<'_>, number: JobNumber, at: Timestamp) -> Result<(), StoreError> {
    let term = writer.term;
    let in_flight = |from: Term| match from < term {
        true => Outcome::Unknown,
        false => Outcome::TimedOut,
    };
    let rest = Rest {
        outcome: RestOutcome::Unreachable,
        at,
    };
    settle_all(writer, number, in_flight, rest)?;
    conclude(writer, number, at)?;
    Ok(())
}

/// Ends a job that cannot go on. Of a running one, nobody waits for the calls in flight any more, and
/// whoever has not begun never will: its numbers are final too.
fn fail(
    writer: &mut Writer<'_>,
    number: JobNumber,
    reason: String,
    at: Timestamp,
) -> Result<(), StoreError> {
    let loaded = load_job(writer.db, JobKey::Number(number), ConditionsUpTo::NONE)?;
    let mut job = loaded.ok_or_else(|| absent(number))?.job;
    if job.is_running() {
        let rest = Rest {
            outcome: RestOutcome::Canceled,
            at,
        };
        if let Err(StoreError::Corrupt(_)) = running(writer, number) {
            write_rest(writer.db, number, rest)?;
            return journal::abandon(writer, job, reason, at);
        }
        settle_all(writer, number, |_| Outcome::Unknown, rest)?;
        return journal::fail(writer, number, reason, at);
    }
    match job.fail(reason, at) {
        Ok(()) => finish_job(writer.db, &job, writer.term),
        // It ended before; that end stays.
        Err(_) => Ok(()),
    }
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
    let is_pending = |ordinal: &Ordinal| job.ledger.standing(*ordinal) == Standing::Pending;
    // As a set: in order, and nobody twice.
    let pending: BTreeSet<Ordinal> = devices.iter().copied().filter(is_pending).collect();
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

#[async_trait]
impl JobStore for Embedded {
    async fn job_insert(
        &self,
        id: JobId,
        plan: JobPlan,
        creator: Option<Actor>,
        at: Timestamp,
        rules: AcceptRules,
    ) -> Result<JobInserted, StoreError> {
        self.shell
            .write(Lane::Interactive, 2, move |writer| {
                insert_job(writer, id, plan, creator, at, rules)
            })
            .await
    }

    async fn job_condition(&self, job: JobNumber) -> Result<Arc<str>, StoreError> {
        self.shell
            .read(move |db| {
                db.prepare_cached("SELECT condition_text FROM job_plan WHERE number = ?1")
                    .and_then(|mut select| select.query_row([job.0], |row| row.get(0)).optional())
                    .map_err(unavailable)?
                    .ok_or_else(|| absent(job))
            })
            .await
    }

    async fn job_get(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        let id = id.clone();
        let loaded = self
            .shell
            .read(move |db| load_job(db, JobKey::Id(&id), ConditionsUpTo::ECHO))
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
                let waiting = load_job(writer.db, JobKey::Number(job), ConditionsUpTo::NONE)?
                    .is_some_and(|loaded| loaded.job.state == JobState::Waiting);
                if waiting {
                    clear_targets(writer.db, job)?;
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
                let loaded = load_job(writer.db, JobKey::Number(job), ConditionsUpTo::NONE)?;
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

    async fn job_targets_seal(
        &self,
        job: JobNumber,
        term: Term,
        targets: RoaringBitmap,
        at: Timestamp,
    ) -> Result<Job, StoreError> {
        self.shell
            .write(Lane::Background, 3, move |writer| {
                check_term(writer, term)?;
                let loaded = load_job(writer.db, JobKey::Number(job), ConditionsUpTo::NONE)?
                    .ok_or_else(|| absent(job))?;
                if loaded.job.state == JobState::Waiting {
                    clear_targets(writer.db, job)?;
                    add_targets(writer.db, job, &targets)?;
                }
                seal(writer, job, at)
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
                let loaded = load_job(db, JobKey::Number(job), ConditionsUpTo::NONE)?
                    .ok_or_else(|| absent(job))?;
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
                // A corrupt journal must be found before anything is written: then it ends no transaction.
                for records in &records {
                    running(writer, records.job)?;
                }
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
            .write(Lane::Interactive, 2, move |writer| {
                cancel(writer, &id, at, Job::cancel)
            })
            .await
    }

    async fn job_cancel_waiting(
        &self,
        id: &JobId,
        at: Timestamp,
    ) -> Result<JobCanceled, StoreError> {
        let id = id.clone();
        self.shell
            .write(Lane::Interactive, 2, move |writer| {
                cancel(writer, &id, at, Job::cancel_waiting)
            })
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
                let loaded = load_job(writer.db, JobKey::Number(job), ConditionsUpTo::ECHO)?;
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
                fail(writer, job, reason, at)?;
                let loaded = load_job(writer.db, JobKey::Number(job), ConditionsUpTo::ECHO)?;
                Ok(loaded.ok_or_else(|| absent(job))?.job)
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
